//! Gets blocks: from the cache, from a GET that is under way for somebody else, or by a GET of its own, which goes on when
//! whoever asked first has gone.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::log::{PartitionLog, RemoteSegment};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::cache::BlockCache;
use super::index::{Indexes, SegmentIndex};
use super::window::{Plan, Windows};
use super::{ReadOptions, RemoteError};
use crate::bucket::Bucket;
use crate::limits::READ_BYTES_MAX;
use crate::metrics as names;
use crate::segment::{BLOCK_TARGET_BYTES, Block, SegmentError, check_block};

/// Times that an object is asked for bytes which come wrong.
const TRIES: usize = 3;

/// Blocks that came with one GET: the first one's place, and their bytes.
type Window = Arc<(usize, Vec<Bytes>)>;
type Flight = Shared<BoxFuture<'static, Result<Window, RemoteError>>>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    shared: Arc<State>,
}

struct State {
    bucket: Bucket,
    cache: BlockCache,
    indexes: Arc<Indexes>,
    /// GETs under way, by object and block.
    flights: Mutex<HashMap<(Arc<str>, usize), Flight>>,
    windows: Mutex<Windows>,
    /// Bytes that may be on their way.
    budget: Semaphore,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Blocks {
    pub(super) fn new(
        bucket: Bucket,
        cache: BlockCache,
        indexes: Arc<Indexes>,
        options: &ReadOptions,
    ) -> Self {
        // A window and the one ahead of it for a few readers must fit into memory, or they would push each other out.
        let window = options.read_ahead_bytes.min(options.memory_bytes / 8);
        Self {
            shared: Arc::new(State {
                bucket,
                cache,
                indexes,
                flights: Mutex::new(HashMap::new()),
                windows: Mutex::new(Windows::new(window / BLOCK_TARGET_BYTES)),
                budget: Semaphore::new(READ_BYTES_MAX),
            }),
        }
    }

    /// Whether the block can be had without waiting.
    pub(super) fn is_at_hand(&self, segment: &RemoteSegment, index: &SegmentIndex, place: usize) -> bool {
        let block = index.blocks.get(place);
        block.is_some_and(|block| self.shared.cache.in_memory(&segment.object, block).is_some())
    }

    /// The block at `place`.
    pub(super) async fn get(
        &self,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
        index: &Arc<SegmentIndex>,
        place: usize,
    ) -> Result<Bytes, RemoteError> {
        let plan = self.shared.windows.lock().read(&segment.object, place, index.blocks.len());
        let block = &index.blocks[place];
        let memory = self.shared.cache.in_memory(&segment.object, block);
        // Ahead of everything that waits.
        if memory.is_some() || self.under_way(segment, place).is_some() {
            self.look_ahead(log, segment, index, &plan);
        }
        if let Some(bytes) = memory {
            names::count_block("memory");
            return Ok(bytes);
        }
        if let Some(bytes) = self.shared.cache.on_disk_of(&segment.object, block).await {
            names::count_block("disk");
            self.look_ahead(log, segment, index, &plan);
            return Ok(bytes);
        }
        let flight = self.start(segment, index, plan.now.clone());
        self.look_ahead(log, segment, index, &plan);
        let window = flight.await?;
        names::count_block("store");
        let bytes = place.checked_sub(window.0).and_then(|at| window.1.get(at)).cloned();
        Ok(bytes.expect("a flight brings the blocks that it was noted for"))
    }

    fn under_way(&self, segment: &RemoteSegment, place: usize) -> Option<Flight> {
        self.shared.flights.lock().get(&(segment.object.clone(), place)).cloned()
    }

    fn look_ahead(
        &self,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
        index: &Arc<SegmentIndex>,
        plan: &Plan,
    ) {
        if !plan.ahead.is_empty() && !self.is_at_hand(segment, index, plan.ahead.start) {
            drop(self.start(segment, index, plan.ahead.clone()));
        }
        if let Some(window) = plan.next_segment
            && let Some(next) = log.remote_after(segment)
        {
            self.shared.windows.lock().expect(&next.object, window);
            let (this, log) = (self.clone(), log.clone());
            tokio::spawn(async move {
                let Ok(index) = this.shared.indexes.get(&log, &next).await else { return };
                let range = 0..window.min(index.blocks.len());
                if !range.is_empty() && !this.is_at_hand(&next, &index, 0) {
                    drop(this.start(&next, &index, range));
                }
            });
        }
    }

    /// Joins the GET that brings the first block of `range`, or begins one for it and what follows, up to what is under way
    /// or at hand already.
    fn start(&self, segment: &Arc<RemoteSegment>, index: &Arc<SegmentIndex>, range: Range<usize>) -> Flight {
        let object = &segment.object;
        let mut flights = self.shared.flights.lock();
        if let Some(flight) = flights.get(&(object.clone(), range.start)) {
            return flight.clone();
        }
        let missing = range.clone().skip(1).find(|place| {
            flights.contains_key(&(object.clone(), *place)) || self.is_at_hand(segment, index, *place)
        });
        let range = range.start..missing.unwrap_or(range.end);
        let task = tokio::spawn(fetch(self.shared.clone(), segment.clone(), index.clone(), range.clone()));
        let flight: Flight = async move { task.await.expect("a GET does not panic") }.boxed().shared();
        for place in range {
            flights.insert((object.clone(), place), flight.clone());
        }
        flight
    }

    pub(super) async fn close(&self) {
        self.shared.cache.close().await;
    }
}

/// One GET, checked, kept in the cache, and no longer under way.
async fn fetch(
    state: Arc<State>,
    segment: Arc<RemoteSegment>,
    index: Arc<SegmentIndex>,
    range: Range<usize>,
) -> Result<Window, RemoteError> {
    let wanted = &index.blocks[range.clone()];
    let outcome = get_missing(&state, &segment.object, wanted).await;
    // Now: whoever comes from here on finds the cache.
    let mut flights = state.flights.lock();
    for place in range.clone() {
        flights.remove(&(segment.object.clone(), place));
    }
    drop(flights);
    outcome.map(|blocks| Arc::new((range.start, blocks)))
}

/// What is not on disk, up to the end; all of it is in memory then.
async fn get_missing(state: &State, object: &Arc<str>, wanted: &[Block]) -> Result<Vec<Bytes>, RemoteError> {
    let mut blocks = Vec::with_capacity(wanted.len());
    for block in wanted {
        let Some(bytes) = state.cache.on_disk_of(object, block).await else { break };
        blocks.push(bytes);
    }
    let missing = &wanted[blocks.len()..];
    for (block, bytes) in missing.iter().zip(get_checked(state, object, missing).await?) {
        state.cache.put(object, block, bytes.clone());
        blocks.push(bytes);
    }
    Ok(blocks)
}

async fn get_checked(state: &State, object: &Arc<str>, wanted: &[Block]) -> Result<Vec<Bytes>, RemoteError> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
    let bytes = last.range().end - first.position;
    let cost = u32::try_from(bytes.min(READ_BYTES_MAX as u64)).unwrap_or(u32::MAX);
    let lengths: Vec<usize> = wanted.iter().map(|block| block.length as usize).collect();
    let _permit = state.budget.acquire_many(cost).await.expect("the semaphore is never closed");
    let mut fault = None;
    for _ in 0..TRIES {
        // Each block by itself, so that one of them does not keep all in memory.
        let blocks = state.bucket.get_pieces(object, first.position, &lengths).await;
        let blocks = blocks.map_err(|error| RemoteError::bucket(object, &error))?;
        match check(wanted, &blocks).await {
            Ok(()) => return Ok(blocks),
            Err(error) => {
                metrics::counter!(names::CORRUPT_BLOCKS, "from" => "store").increment(1);
                tracing::warn!(%object, %error, "object storage has sent wrong bytes; asking again");
                fault = Some(error);
            }
        }
    }
    Err(fault
        .map_or_else(|| RemoteError::Missing(object.clone()), |error| RemoteError::segment(object, &error)))
}

/// Compares the checksums of blocks, and lets others have the thread in between.
async fn check(wanted: &[Block], blocks: &[Bytes]) -> Result<(), SegmentError> {
    for (block, bytes) in wanted.iter().zip(blocks) {
        check_block(block, bytes)?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
