//! The memory that all fetches share: what they hold of the store's bytes, and of themselves while they wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::limits::WAITING_PARTITION_BYTES;

/// Bounds in bytes over all connections. Readers that stall, and readers that wait, must not fill the memory; nor may
/// they keep others waiting beyond the time that these have asked for.
#[derive(Clone, Debug)]
pub struct FetchMemory {
    scanned: Arc<Semaphore>,
    scanned_bytes: usize,
    waiting: Arc<Semaphore>,
}

impl FetchMemory {
    /// Room for `scanned_bytes` of what was read from the store, until the clients have taken their answers (what comes
    /// from the tail ring is shared, and bounded there), and for `waiting_bytes` of fetches that wait for records.
    pub fn new(scanned_bytes: usize, waiting_bytes: usize) -> Self {
        let scanned_bytes = scanned_bytes.min(u32::MAX as usize);
        let waiting_bytes = waiting_bytes.min(u32::MAX as usize);
        Self {
            scanned: Arc::new(Semaphore::new(scanned_bytes)),
            scanned_bytes,
            waiting: Arc::new(Semaphore::new(waiting_bytes)),
        }
    }

    /// Waits for `bytes`, or for all there are; `None` when they are not free by the deadline. A fetch asks once for
    /// all it may need: were it to hold some and wait for more, two could wait for each other.
    pub(super) async fn scan_with(&self, bytes: usize, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(self.scanned_bytes)).unwrap_or(u32::MAX);
        let permit = timeout_at(deadline, self.scanned.clone().acquire_many_owned(bytes)).await.ok()?;
        Some(permit.expect("the semaphore is never closed"))
    }

    /// Leave to wait for records of so many partitions; `None` when too many wait, and the fetch is answered as it is.
    pub(super) fn wait_with(&self, partitions: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(partitions.saturating_mul(WAITING_PARTITION_BYTES)).ok()?;
        self.waiting.clone().try_acquire_many_owned(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_needs_more_than_is_free_waits_until_the_deadline_only() {
        let memory = FetchMemory::new(1000, 0);
        let soon = Instant::now() + std::time::Duration::from_millis(100);
        let most = memory.scan_with(900, soon).await.expect("free");
        assert!(memory.scan_with(200, soon).await.is_none());
        assert_eq!(Instant::now(), soon);
        drop(most);
        assert!(memory.scan_with(5000, soon).await.is_some(), "all there is, though the deadline has passed");
    }

    #[test]
    fn too_many_do_not_wait() {
        let memory = FetchMemory::new(0, 10 * WAITING_PARTITION_BYTES);
        let some = memory.wait_with(7).expect("free");
        assert!(memory.wait_with(4).is_none());
        drop(some);
        assert!(memory.wait_with(4).is_some());
        assert!(memory.wait_with(usize::MAX).is_none());
    }
}
