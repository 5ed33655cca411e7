//! What must be known of a segment before a block is asked for: its block index, and for readers of committed data its
//! aborted transactions. From memory, from the log's own store, or from the object's tail.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::log::{AbortedTxn, PartitionLog, RemoteSegment};
use foyer::{Cache, CacheBuilder};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use super::RemoteError;
use crate::bucket::Bucket;
use crate::limits::{ABORTED_KEPT_MAX, INDEX_CACHE_BYTES, TAIL_BYTES_MAX, TAIL_GUESS_BYTES};
use crate::segment::{self, Block, FOOTER_BYTES, SegmentError, Tail};

type TailFlight = Shared<BoxFuture<'static, Result<Arc<Tail>, RemoteError>>>;

/// See the module.
#[derive(Debug, PartialEq)]
pub(super) struct SegmentIndex {
    pub(super) blocks: Vec<Block>,
    /// `None` when there are too many to be kept: they are read from the tail.
    pub(super) aborted: Option<Vec<AbortedTxn>>,
}

impl SegmentIndex {
    pub(super) fn block_for(&self, offset: i64) -> Option<usize> {
        segment::block_for(&self.blocks, offset)
    }

    fn of(tail: &Tail) -> Self {
        let few = tail.aborted.len() <= ABORTED_KEPT_MAX;
        Self { blocks: tail.blocks.clone(), aborted: few.then(|| tail.aborted.clone()) }
    }

    fn bytes(&self) -> usize {
        let aborted = self.aborted.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + self.blocks.len() * size_of::<Block>() + aborted * size_of::<AbortedTxn>()
    }
}

/// The index of a segment as the log's store keeps it: bytes of the block index (4, big-endian), the block index, and
/// the aborted transactions with one byte before them that says whether they are there.
pub fn encode_index(tail: &Tail) -> Bytes {
    let index = SegmentIndex::of(tail);
    let blocks = segment::encode_blocks(&index.blocks);
    let mut out = Vec::with_capacity(blocks.len() + 5);
    out.extend_from_slice(&u32::try_from(blocks.len()).expect("a tail is far below 4 GiB").to_be_bytes());
    out.extend_from_slice(&blocks);
    out.push(u8::from(index.aborted.is_some()));
    out.extend_from_slice(&segment::encode_aborted(&index.aborted.unwrap_or_default()));
    out.into()
}

fn decode_index(bytes: &[u8]) -> Result<SegmentIndex, SegmentError> {
    let short = || SegmentError::NotASegment("the kept index ends too early");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let (blocks, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(short)?;
    let (kept, aborted) = rest.split_first().ok_or_else(short)?;
    let aborted = segment::decode_aborted(aborted)?;
    Ok(SegmentIndex { blocks: segment::decode_blocks(blocks)?, aborted: (*kept == 1).then_some(aborted) })
}

/// Indexes of segments, in memory up to [`INDEX_CACHE_BYTES`].
pub(super) struct Indexes {
    bucket: Bucket,
    cache: Cache<Arc<str>, Arc<SegmentIndex>>,
    /// Tails with more aborted transactions than are kept with an index.
    large: Cache<Arc<str>, Arc<Tail>>,
    /// Tails that are on their way, by object.
    tails: Mutex<HashMap<Arc<str>, TailFlight>>,
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexes").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Indexes {
    pub(super) fn new(bucket: Bucket) -> Arc<Self> {
        let cache = CacheBuilder::new(INDEX_CACHE_BYTES)
            .with_weighter(|object: &Arc<str>, index: &Arc<SegmentIndex>| object.len() + index.bytes())
            .build();
        let large = CacheBuilder::new(INDEX_CACHE_BYTES)
            .with_weighter(|_: &Arc<str>, tail: &Arc<Tail>| tail.aborted.len() * size_of::<AbortedTxn>())
            .build();
        Arc::new(Self { bucket, cache, large, tails: Mutex::new(HashMap::new()) })
    }

    /// The index of a segment, if it is in memory.
    pub(super) fn at_hand(&self, segment: &RemoteSegment) -> Option<Arc<SegmentIndex>> {
        self.cache.get(&segment.object).map(|entry| entry.value().clone())
    }

    /// The index of a segment.
    pub(super) async fn get(
        self: &Arc<Self>,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
    ) -> Result<Arc<SegmentIndex>, RemoteError> {
        if let Some(index) = self.at_hand(segment) {
            return Ok(index);
        }
        let kept = log.blocks(segment).await?;
        let index = match kept.as_deref().map(decode_index) {
            Some(Ok(index)) => index,
            // Not there after a restore, or of another version: the object knows.
            Some(Err(_)) | None => SegmentIndex::of(&*self.tail(log, segment).await?),
        };
        let index = Arc::new(index);
        self.cache.insert(segment.object.clone(), index.clone());
        Ok(index)
    }

    /// Every aborted transaction that overlaps the segment.
    pub(super) async fn aborted(
        self: &Arc<Self>,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
        index: &SegmentIndex,
    ) -> Result<Vec<AbortedTxn>, RemoteError> {
        match &index.aborted {
            Some(aborted) => Ok(aborted.clone()),
            None => match self.large.get(&segment.object) {
                Some(tail) => Ok(tail.value().aborted.clone()),
                None => Ok(self.tail(log, segment).await?.aborted.clone()),
            },
        }
    }

    /// The tail, from the object: one GET for all who ask at the same time, which goes on when whoever asked has gone. A
    /// fetch that is answered early, because another partition has something, must find it the next time.
    fn tail(self: &Arc<Self>, log: &Arc<PartitionLog>, segment: &Arc<RemoteSegment>) -> TailFlight {
        let mut tails = self.tails.lock();
        if let Some(flight) = tails.get(&segment.object) {
            return flight.clone();
        }
        let (this, log, wanted) = (self.clone(), log.clone(), segment.clone());
        let task = tokio::spawn(async move {
            let object = &wanted.object;
            let read = read_tail(&this.bucket, object, Some(wanted.tail_bytes)).await;
            let read = read.map(|(tail, _)| Arc::new(tail)).map_err(|error| match error {
                TailError::Bucket(error) => RemoteError::bucket(object, &error),
                TailError::Segment(error) => RemoteError::segment(object, &error),
            });
            if let Ok(tail) = &read {
                log.put_blocks(&wanted, encode_index(tail));
                let index = SegmentIndex::of(tail);
                if index.aborted.is_none() {
                    this.large.insert(object.clone(), tail.clone());
                }
                this.cache.insert(object.clone(), Arc::new(index));
            }
            this.tails.lock().remove(object);
            read
        });
        let flight: TailFlight = async move { task.await.expect("a GET does not panic") }.boxed().shared();
        tails.insert(segment.object.clone(), flight.clone());
        flight
    }
}

/// Why a tail was not read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The store.
    #[error(transparent)]
    Bucket(#[from] crate::bucket::BucketError),
    /// The bytes.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Reads the tail of an object, in one GET if its length is known or guessed, else in two. Returns the object's size, too.
///
/// # Errors
/// [`TailError`].
pub async fn read_tail(bucket: &Bucket, object: &str, length: Option<u64>) -> Result<(Tail, u64), TailError> {
    let guess = length.unwrap_or(TAIL_GUESS_BYTES).clamp(FOOTER_BYTES as u64, TAIL_BYTES_MAX);
    let (bytes, size) = bucket.get_end(object, guess).await?;
    let needed = Tail::length(&bytes)?;
    if needed > TAIL_BYTES_MAX {
        return Err(SegmentError::Contradiction(format!("its tail has {needed} bytes")).into());
    }
    if needed <= bytes.len() as u64 {
        return Ok((Tail::decode(&bytes, size)?, size));
    }
    let (bytes, size) = bucket.get_end(object, needed).await?;
    Ok((Tail::decode(&bytes, size)?, size))
}
