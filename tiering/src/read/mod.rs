//! Reading what is in object storage: from an offset to whole batches, and from a time to a record.
//!
//! | file | owns |
//! |---|---|
//! | `index` | what must be known of a segment before a block is asked for |
//! | `cache` | blocks in memory and on disk, under bounds |
//! | `window` | how far ahead a reader is served (pure) |
//! | `blocks` | one GET for what is missing, shared by all who wait for it |
//! | `time` | lookups by timestamp |
//!
//! Invariant: no byte leaves here that is not covered by a checksum of the segment which was compared after the byte came
//! from the store or the disk.

mod blocks;
mod cache;
mod index;
mod time;
mod window;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::error::ReadError;
use chronik_engine::log::{AbortedTxn, Isolation, PartitionLog, RemoteSegment};
use chronik_protocol::batch::BatchHeader;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use crate::bucket::{Bucket, BucketError};
use crate::segment::SegmentError;
use blocks::Blocks;
pub use index::encode_index;
use index::{Indexes, SegmentIndex};
pub use index::{TailError, read_tail};

/// Bounds of the reader.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Bytes of blocks in memory.
    pub memory_bytes: usize,
    /// Bytes of blocks on disk; 0 is none.
    pub disk_bytes: u64,
    /// Where they are. Emptied when it cannot be read.
    pub disk_path: PathBuf,
    /// Bytes that one GET asks for at most.
    pub read_ahead_bytes: usize,
}

/// Why a remote read came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// The object is not there.
    #[error("object {0} is missing")]
    Missing(Arc<str>),
    /// The bytes are not what they should be, also when asked again.
    #[error("object {object}: {reason}")]
    Corrupt {
        /// Its name.
        object: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// The store failed.
    #[error("object {object}: {reason}")]
    Store {
        /// Its name.
        object: Arc<str>,
        /// What the store said.
        reason: Arc<str>,
    },
    /// The log's own part.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl RemoteError {
    fn bucket(object: &Arc<str>, error: &BucketError) -> Self {
        match error {
            BucketError::NotFound(_) => Self::Missing(object.clone()),
            error => Self::Store { object: object.clone(), reason: error.to_string().into() },
        }
    }

    fn segment(object: &Arc<str>, error: &SegmentError) -> Self {
        Self::Corrupt { object: object.clone(), reason: error.to_string().into() }
    }
}

/// Whole batches of a remote segment.
#[derive(Clone, Debug, Default)]
pub struct RemoteRead {
    /// Their bytes; each chunk begins and ends with a batch.
    pub chunks: Vec<Bytes>,
    /// Bytes of all chunks.
    pub bytes: usize,
    /// Aborted transactions with an offset in them, for readers of committed data alone.
    pub aborted: Vec<AbortedTxn>,
    /// A cleaner has left nothing at the offset or behind it in this segment: go on with the next.
    pub is_gap: bool,
    /// The last offset of the batches, if there are any.
    pub last_offset: i64,
    /// There are records, and not only batches from which a cleaner has taken all.
    pub has_records: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct RemoteReader {
    indexes: Arc<Indexes>,
    blocks: Blocks,
    /// What readers wait for, by object and offset.
    arriving: Arc<Mutex<Arrivals>>,
}

/// The index of a segment and the block with an offset, if there is one.
type Arrived = (Arc<SegmentIndex>, Option<Bytes>);
type Arrivals = HashMap<(Arc<str>, i64), Arrival>;
type Arrival = Shared<BoxFuture<'static, Result<Arrived, RemoteError>>>;

impl RemoteReader {
    /// A reader of `bucket`.
    pub async fn open(bucket: Bucket, options: &ReadOptions) -> Self {
        let indexes = Indexes::new(bucket.clone());
        let cache = cache::BlockCache::open(options).await;
        Self {
            blocks: Blocks::new(bucket, cache, indexes.clone(), options),
            indexes,
            arriving: Arc::default(),
        }
    }

    /// Reads from `offset`, which `segment` contains: at most `max_bytes`, except that with `at_least_one` the first batch
    /// comes whatever its size. Empty where a cleaned segment has nothing at `offset` or behind.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn read(
        &self,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
        offset: i64,
        limits: Limits,
    ) -> Result<RemoteRead, RemoteError> {
        let (index, mut first) = match self.at_hand(segment, offset) {
            Some(index) => (index, None),
            None => self.arrive(log, segment, offset).await?,
        };
        let mut read = RemoteRead { is_gap: index.block_for(offset).is_none(), ..RemoteRead::default() };
        let mut position = offset;
        while let Some(place) = index.block_for(position) {
            let block = match first.take() {
                Some(block) => block,
                None => self.blocks.get(log, segment, &index, place).await?,
            };
            let budget = Limits {
                max_bytes: limits.max_bytes.saturating_sub(read.bytes),
                at_least_one: limits.at_least_one && read.bytes == 0,
                ..limits
            };
            let taken = take(&block, position, budget);
            if taken.bytes.is_empty() {
                break;
            }
            let whole = block.as_ptr_range().end == taken.bytes.as_ptr_range().end;
            read.bytes += taken.bytes.len();
            read.chunks.push(taken.bytes);
            read.last_offset = taken.last_offset;
            read.has_records |= taken.has_records;
            position = index.blocks[place].last_offset + 1;
            // What is behind is taken along only if it need not be waited for: the reader has something.
            if !whole || read.bytes >= limits.max_bytes || !self.blocks.is_at_hand(segment, &index, place + 1)
            {
                break;
            }
        }
        if limits.isolation == Isolation::Committed && read.bytes > 0 {
            let end = read.last_offset + 1;
            let aborted = self.indexes.aborted(log, segment, &index).await?;
            read.aborted = aborted
                .iter()
                .filter(|txn| txn.first_offset < end && txn.last_offset >= offset)
                .copied()
                .collect();
        }
        Ok(read)
    }

    /// The index, if neither it nor the block with `offset` has to be waited for.
    fn at_hand(&self, segment: &RemoteSegment, offset: i64) -> Option<Arc<SegmentIndex>> {
        let index = self.indexes.at_hand(segment)?;
        let waits =
            index.block_for(offset).is_some_and(|place| !self.blocks.is_at_hand(segment, &index, place));
        (!waits).then_some(index)
    }

    /// Gets them, once for all who ask, and to the end when whoever asked has gone: a fetch is answered as soon as another
    /// partition has something, and must find more the next time.
    fn arrive(&self, log: &Arc<PartitionLog>, segment: &Arc<RemoteSegment>, offset: i64) -> Arrival {
        let key = (segment.object.clone(), offset);
        let mut arriving = self.arriving.lock();
        if let Some(arrival) = arriving.get(&key) {
            return arrival.clone();
        }
        let (this, log, segment, noted) = (self.clone(), log.clone(), segment.clone(), key.clone());
        let task = tokio::spawn(async move {
            let arrived = this.get(&log, &segment, offset).await;
            this.arriving.lock().remove(&noted);
            arrived
        });
        let arrival: Arrival = async move { task.await.expect("reading does not panic") }.boxed().shared();
        arriving.insert(key, arrival.clone());
        arrival
    }

    async fn get(
        &self,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
        offset: i64,
    ) -> Result<Arrived, RemoteError> {
        let index = self.indexes.get(log, segment).await?;
        let block = match index.block_for(offset) {
            Some(place) => Some(self.blocks.get(log, segment, &index, place).await?),
            None => None,
        };
        Ok((index, block))
    }

    /// Writes what is in memory to the disk cache.
    pub async fn close(&self) {
        self.blocks.close().await;
    }
}

/// How much a read may return, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of whole batches.
    pub max_bytes: usize,
    /// The first batch may be larger than that.
    pub at_least_one: bool,
    /// Whether the reader has to be told of aborted transactions.
    pub isolation: Isolation,
}

/// Batches of a block.
#[derive(Default)]
struct Taken {
    bytes: Bytes,
    last_offset: i64,
    has_records: bool,
}

/// Of a block, the batches from the one that contains `offset`, as far as the budget goes.
fn take(block: &Bytes, offset: i64, limits: Limits) -> Taken {
    let mut taken = Taken::default();
    let (mut begin, mut end) = (None, 0);
    let mut at = 0;
    while let Some(Ok(header)) = block.get(at..).map(BatchHeader::parse) {
        let next = at + header.size_bytes();
        if next > block.len() {
            break;
        }
        if header.last_offset() >= offset {
            let from = *begin.get_or_insert(at);
            let first = from == at;
            if next - from > limits.max_bytes && !(first && limits.at_least_one) {
                break;
            }
            end = next;
            taken.last_offset = header.last_offset();
            taken.has_records |= header.record_count > 0;
        }
        at = next;
        if at >= block.len() {
            break;
        }
    }
    if let Some(begin) = begin.filter(|begin| end > *begin) {
        taken.bytes = block.slice(begin..end);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    // A length that reached beyond the block used to end the task that read it.
    #[test]
    fn a_batch_that_is_longer_than_its_block_is_not_taken() {
        let batch = chronik_protocol::batch::BatchBuilder::new().record(1, None, Some(b"v")).build().unwrap();
        let limits = Limits { max_bytes: 1 << 20, at_least_one: true, isolation: Isolation::Uncommitted };
        assert_eq!(take(&batch, 0, limits).bytes, batch);
        for cut in 0..batch.len() {
            assert!(take(&batch.slice(..cut), 0, limits).bytes.is_empty(), "{cut} bytes");
        }
    }
}
