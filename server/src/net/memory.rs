//! The memory that requests may take together: reserved before a frame is read, held until its answer is ready.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound in bytes over every connection (`queued.max.request.bytes`). First come, first served, so a large frame is
/// not starved by small ones.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    permits: Arc<Semaphore>,
    limit_bytes: usize,
}

/// Bytes reserved; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    _permit: OwnedSemaphorePermit,
}

impl RequestMemory {
    /// A bound of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit_bytes)), limit_bytes }
    }

    /// Waits for `bytes`; a frame larger than the whole bound takes all of it. Cancel safe.
    pub async fn reserve(&self, bytes: usize) -> Reserved {
        let bytes = u32::try_from(bytes.min(self.limit_bytes)).unwrap_or(u32::MAX);
        let permit = self.permits.clone().acquire_many_owned(bytes).await;
        Reserved { _permit: permit.expect("the semaphore is never closed") }
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.limit_bytes - self.permits.available_permits()
    }
}
