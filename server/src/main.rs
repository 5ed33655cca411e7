//! The binary: allocator, then the command line. Everything else is in the library, where tests reach it.

use std::process::ExitCode;

/// glibc's allocator keeps an arena a core and gives little back; RocksDB's buffers come and go by the megabyte.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Four arenas are enough for a few busy threads; pages unused for ten seconds go back to the system; no background
/// thread, so that an idle broker sleeps.
#[expect(unsafe_code, reason = "jemalloc reads its settings from this symbol; nothing else defines it")]
#[cfg_attr(target_os = "macos", unsafe(export_name = "_rjem_malloc_conf"))]
#[cfg_attr(not(target_os = "macos"), unsafe(export_name = "malloc_conf"))]
pub static MALLOC_CONF: &[u8; 72] =
    b"narenas:4,background_thread:false,dirty_decay_ms:10000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    chronik_server::cli::run()
}
