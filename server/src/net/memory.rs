//! The memory that requests may take together: reserved before it is allocated, held until the answer is ready, or until
//! a request that has to wait for others keeps nothing of it. Frames have one bound, what they decode into another: a
//! request takes the second while it holds the first, and never the other way round.
//!
//! A peer that announces much and sends little must not keep others waiting. So a large frame reserves as it arrives,
//! never more than twice what has come; and small frames, which is all that most clients send but for records, draw
//! on a share that large ones cannot touch. Frames that grow could in the end all wait for each other; one of them at a
//! time may then go over the bound, by its own length at most, and what it gives back lets the next one on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{DECODED_BYTES_PER_BYTE, SMALL_BODY_BYTES, SMALL_FRAME_BYTES};

/// One part in so many is kept for small frames.
const SMALL_SHARE: usize = 8;

/// What requests may hold over every connection: `queued.max.request.bytes` of frames, and as much again of what they
/// decode into.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    pub(super) frames: MemoryBound,
    pub(super) decoded: MemoryBound,
}

impl RequestMemory {
    /// Bounds of `limit_bytes` each.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            frames: MemoryBound::new(limit_bytes),
            decoded: MemoryBound::with_small(limit_bytes, SMALL_BODY_BYTES * DECODED_BYTES_PER_BYTE),
        }
    }
}

/// A bound in bytes. First come, first served, so a large frame is not starved by smaller ones.
#[derive(Clone, Debug)]
pub(super) struct MemoryBound {
    small: Pool,
    large: Pool,
    /// Reservations up to this many bytes are small.
    small_bytes: usize,
}

#[derive(Clone, Debug)]
struct Pool {
    permits: Arc<Semaphore>,
    limit_bytes: usize,
    /// One permit: to grow without the pool, for a frame that holds some of it already.
    overdraft: Arc<Semaphore>,
}

/// Bytes reserved; given back when dropped.
pub(super) struct Reserved {
    pool: Pool,
    permit: OwnedSemaphorePermit,
    overdraft: Option<OwnedSemaphorePermit>,
    /// A place in the queue, kept when [`Reserved::grow`] is given up and called again.
    waiting: Option<Pin<Box<dyn Future<Output = Grown> + Send>>>,
}

enum Grown {
    Pool(OwnedSemaphorePermit),
    Overdraft(OwnedSemaphorePermit),
}

/// What one request holds, for its handler to drop: at the end, or before a wait for other clients.
#[derive(Debug, Default)]
pub struct Hold {
    /// The frame's bytes.
    _frame: Option<Reserved>,
    /// What the frame decodes into.
    _decoded: Option<Reserved>,
}

impl Hold {
    /// A frame, not decoded.
    pub(super) fn of_frame(reserved: Reserved) -> Self {
        Self { _frame: Some(reserved), _decoded: None }
    }

    /// What it will decode into.
    pub(super) fn add_decoded(&mut self, reserved: Reserved) {
        self._decoded = Some(reserved);
    }
}

impl MemoryBound {
    /// A bound of `limit_bytes` for frames.
    pub fn new(limit_bytes: usize) -> Self {
        Self::with_small(limit_bytes, SMALL_FRAME_BYTES)
    }

    /// A bound of `limit_bytes`, of which reservations up to `small_bytes` have a share of their own.
    pub fn with_small(limit_bytes: usize, small_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(u32::MAX as usize);
        let share = limit_bytes / SMALL_SHARE;
        Self { small: Pool::new(share), large: Pool::new(limit_bytes - share), small_bytes }
    }

    /// A reservation of `bytes` in the end, empty as yet; see [`Reserved::grow`].
    pub fn open(&self, bytes: usize) -> Reserved {
        let pool = if bytes <= self.small_bytes { &self.small } else { &self.large };
        let permit = pool.permits.clone().try_acquire_many_owned(0).expect("nothing is always there");
        Reserved { pool: pool.clone(), permit, overdraft: None, waiting: None }
    }

    /// Waits for `bytes` in one go.
    #[cfg(test)]
    pub async fn reserve(&self, bytes: usize) -> Reserved {
        let mut reserved = self.open(bytes);
        reserved.grow(bytes).await;
        reserved
    }

    /// Bytes in use.
    #[cfg(test)]
    pub fn used_bytes(&self) -> usize {
        self.small.used_bytes() + self.large.used_bytes()
    }
}

impl Pool {
    fn new(limit_bytes: usize) -> Self {
        let overdraft = Arc::new(Semaphore::new(1));
        Self { permits: Arc::new(Semaphore::new(limit_bytes)), limit_bytes, overdraft }
    }

    #[cfg(test)]
    fn used_bytes(&self) -> usize {
        self.limit_bytes - self.permits.available_permits()
    }

    /// Waits for `missing` bytes. Who holds some already may go over the bound instead; who holds nothing yet keeps
    /// nobody waiting, and may wait.
    async fn wait(self, missing: u32, holds_some: bool) -> Grown {
        const OPEN: &str = "the semaphore is never closed";
        tokio::select! {
            biased;
            more = self.permits.acquire_many_owned(missing) => Grown::Pool(more.expect(OPEN)),
            overdraft = self.overdraft.acquire_owned(), if holds_some => Grown::Overdraft(overdraft.expect(OPEN)),
        }
    }
}

impl Reserved {
    /// Waits until `total` bytes are held; one larger than the whole bound takes all of it. Cancel safe: called again,
    /// it goes on waiting where it was in the queue.
    pub async fn grow(&mut self, total: usize) {
        loop {
            let held = self.permit.num_permits();
            let missing = total.min(self.pool.limit_bytes).saturating_sub(held);
            if missing == 0 || self.overdraft.is_some() {
                return;
            }
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            if self.waiting.is_none() {
                if let Ok(more) = self.pool.permits.clone().try_acquire_many_owned(missing) {
                    self.permit.merge(more);
                    return;
                }
                self.waiting = Some(Box::pin(self.pool.clone().wait(missing, held > 0)));
            }
            let waiting = self.waiting.as_mut().expect("set above");
            let grown = waiting.await;
            self.waiting = None;
            match grown {
                Grown::Pool(more) => self.permit.merge(more),
                Grown::Overdraft(overdraft) => self.overdraft = Some(overdraft),
            }
        }
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.waiting.is_some();
        out.debug_struct("Reserved")
            .field("bytes", &self.permit.num_permits())
            .field("waits", &waits)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_is_reserved_is_given_back() {
        let memory = MemoryBound::new(800 << 10);
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
        let memory = MemoryBound::new(800 << 10);
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
    async fn who_gives_up_waiting_for_a_moment_keeps_its_place() {
        let memory = MemoryBound::new(800 << 10);
        let held = memory.reserve(700 << 10).await;
        let (mut first, mut second) = (memory.open(500 << 10), memory.open(500 << 10));
        assert!(first.grow(500 << 10).now_or_never().is_none());
        assert!(second.grow(500 << 10).now_or_never().is_none());
        drop(held);
        assert!(second.grow(500 << 10).now_or_never().is_none(), "it came later");
        assert!(first.grow(500 << 10).now_or_never().is_some());
        drop(first);
        assert!(second.grow(500 << 10).now_or_never().is_some());
    }

    #[tokio::test]
    async fn large_frames_leave_room_for_small_ones() {
        let memory = MemoryBound::new(800 << 10);
        let mut everything = memory.open(usize::MAX);
        everything.grow(usize::MAX).await;
        assert!(memory.open(100 << 10).grow(100 << 10).now_or_never().is_none());
        assert!(memory.open(1000).grow(1000).now_or_never().is_some());
    }
}
