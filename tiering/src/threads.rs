//! Threads for what nobody waits for: copying, tidying, comparing.
//!
//! They are few, and used for nothing else, since a checksum or a signature over megabytes would keep a worker from answering
//! clients; and of a lower priority, since with every core busy clients come first.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// With more, copying would take what the clients of a small machine need.
const THREADS_MAX: usize = 2;

/// Steps below everybody else's priority: with every core busy, about a tenth of their time.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Starts them.
///
/// # Errors
/// What the system says when it has no more threads.
pub fn background() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .thread_name("chronik-tier")
        .on_thread_start(|| {
            // Linux has a priority for each thread. Where it is refused, the threads are like all others.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, NICE);
        })
        .enable_all()
        .build()
}
