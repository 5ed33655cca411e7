//! The watch over free disk space: produce is refused well before the disk is full, and taken again once there is
//! room. Reads go on throughout.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chronik_engine::Engine;
use tokio::sync::watch;

use crate::limits::DISK_CHECK_INTERVAL_MS;

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// In all.
    pub total_bytes: u64,
    /// That this process may still use.
    pub free_bytes: u64,
}

/// The file system that holds `path`.
///
/// # Errors
/// The system's.
pub fn space(path: &Path) -> std::io::Result<DiskSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    #[expect(unsafe_code, reason = "statvfs has no safe wrapper among our dependencies")]
    // SAFETY: `path` is a valid C string, and `stat` is written whole when the call returns 0.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        stat.assume_init()
    };
    #[allow(clippy::unnecessary_cast, reason = "the field types differ between platforms")]
    let (block, total, free) = (stat.f_frsize as u64, stat.f_blocks as u64, stat.f_bavail as u64);
    Ok(DiskSpace { total_bytes: block.saturating_mul(total), free_bytes: block.saturating_mul(free) })
}

/// Free bytes from which on produce is taken again: a quarter above the reserve, so that it does not flap.
pub fn resume_bytes(reserve_bytes: u64) -> u64 {
    reserve_bytes.saturating_add(reserve_bytes / 4)
}

/// Keeps the engine's writable mark true to the disk until `stopping` turns true.
///
/// Produce stops below `reserve()` bytes free, asked at each look, and goes on from [`resume_bytes`].
pub async fn watch_space(
    engine: Arc<Engine>,
    data_dir: PathBuf,
    reserve: impl Fn() -> u64 + Send,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(DISK_CHECK_INTERVAL_MS));
    while !*stopping.borrow() {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.changed() => return,
        }
        let free_bytes = match space(&data_dir) {
            Ok(space) => space.free_bytes,
            Err(error) => {
                tracing::warn!(%error, "free disk space could not be read");
                continue;
            }
        };
        let reserve_bytes = reserve();
        let writable = engine.is_writable();
        if writable && free_bytes < reserve_bytes {
            tracing::error!(
                free_bytes,
                reserve_bytes,
                "disk nearly full: produce is refused until there is room"
            );
            engine.set_writable(false);
        } else if !writable && free_bytes >= resume_bytes(reserve_bytes) {
            tracing::info!(free_bytes, "there is room on the disk again: produce is taken");
            engine.set_writable(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_file_system_has_space_and_a_missing_one_fails() {
        let space = space(Path::new("/")).unwrap();
        assert!(space.total_bytes >= space.free_bytes && space.total_bytes > 0);
        assert!(super::space(Path::new("/no/such/place")).is_err());
    }
}
