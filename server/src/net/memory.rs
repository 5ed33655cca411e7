//! The memory that requests may take together: reserved before it is allocated, held until the answer is ready.
//!
//! A peer that announces much and sends little must not keep others waiting. So a large frame reserves as it arrives,
//! never more than twice what has come; and small frames, which is all that most clients send but for records, draw
//! on a share that large ones cannot touch. Frames that grow could in the end all wait for each other; one of them at a
//! time may then go over the bound, by its own length at most, and what it gives back lets the next one on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::SMALL_FRAME_BYTES;

/// One part in so many is kept for small frames.
const SMALL_SHARE: usize = 8;

/// A bound in bytes over every connection (`queued.max.request.bytes`). First come, first served, so a large frame is
/// not starved by smaller ones.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    small: Pool,
    large: Pool,
}

#[derive(Clone, Debug)]
struct Pool {
    permits: Arc<Semaphore>,
    limit_bytes: usize,
    /// One permit: to grow without the pool, for a frame that holds some of it already.
    overdraft: Arc<Semaphore>,
}

/// Bytes reserved; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    pool: Pool,
    permit: OwnedSemaphorePermit,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    /// A bound of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(u32::MAX as usize);
        let small_bytes = limit_bytes / SMALL_SHARE;
        Self { small: Pool::new(small_bytes), large: Pool::new(limit_bytes - small_bytes) }
    }

    /// A reservation for a frame of `frame_bytes`, empty as yet; see [`Reserved::grow`].
    pub fn open(&self, frame_bytes: usize) -> Reserved {
        let pool = if frame_bytes <= SMALL_FRAME_BYTES { &self.small } else { &self.large };
        let permit = pool.permits.clone().try_acquire_many_owned(0).expect("nothing is always there");
        Reserved { pool: pool.clone(), permit, overdraft: None }
    }

    /// Waits for `bytes` in one go.
    pub async fn reserve(&self, bytes: usize) -> Reserved {
        let mut reserved = self.open(bytes);
        reserved.grow(bytes).await;
        reserved
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.small.used_bytes() + self.large.used_bytes()
    }
}

impl Pool {
    fn new(limit_bytes: usize) -> Self {
        let overdraft = Arc::new(Semaphore::new(1));
        Self { permits: Arc::new(Semaphore::new(limit_bytes)), limit_bytes, overdraft }
    }

    fn used_bytes(&self) -> usize {
        self.limit_bytes - self.permits.available_permits()
    }
}

impl Reserved {
    /// Waits until `total` bytes are held; a frame larger than the whole bound takes all of it. Cancel safe.
    pub async fn grow(&mut self, total: usize) {
        let held = self.permit.num_permits();
        let missing = total.min(self.pool.limit_bytes).saturating_sub(held);
        if missing == 0 || self.overdraft.is_some() {
            return;
        }
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            more = self.pool.permits.clone().acquire_many_owned(missing) => {
                self.permit.merge(more.expect("the semaphore is never closed"));
            }
            // Who holds nothing yet keeps nobody waiting, and may wait.
            overdraft = self.pool.overdraft.clone().acquire_owned(), if held > 0 => {
                self.overdraft = Some(overdraft.expect("the semaphore is never closed"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_is_reserved_is_given_back() {
        let memory = RequestMemory::new(800 << 10);
        let mut reserved = memory.open(500 << 10);
        reserved.grow(100 << 10).await;
        reserved.grow(500 << 10).await;
        reserved.grow(200 << 10).await;
        assert_eq!(memory.used_bytes(), 500 << 10);
        assert!(memory.open(300 << 10).grow(300 << 10).now_or_never().is_none(), "nothing held, so it waits");
        drop(reserved);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn frames_that_grow_never_all_wait_for_each_other() {
        let memory = RequestMemory::new(800 << 10);
        let mut frames: Vec<_> = (0..7).map(|_| memory.open(400 << 10)).collect();
        for frame in &mut frames {
            frame.grow(100 << 10).await;
        }
        // Each holds a seventh and wants four: none fits, and one goes on.
        while let Some(mut first) = frames.pop() {
            first.grow(400 << 10).await;
            if let Some(second) = frames.last_mut().filter(|_| first.overdraft.is_some()) {
                assert!(second.grow(800 << 10).now_or_never().is_none(), "one at a time");
            }
        }
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn large_frames_leave_room_for_small_ones() {
        let memory = RequestMemory::new(800 << 10);
        let mut everything = memory.open(usize::MAX);
        everything.grow(usize::MAX).await;
        assert!(memory.open(100 << 10).grow(100 << 10).now_or_never().is_none());
        assert!(memory.open(1000).grow(1000).now_or_never().is_some());
    }
}
