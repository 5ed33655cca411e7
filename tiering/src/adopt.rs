//! What a broker makes of the manifest when it begins: it may be ahead of the logs by what was done just before the last
//! stop, and the logs take that in.
//!
//! Nothing is deleted that may be the only copy of anything. An object goes when the log has its offsets and needs it not;
//! what cannot be judged stays in the manifest and is told by a scrub; and where log and object say different things of
//! one offset this broker writes nothing at all, for then the directory is not the one that wrote the object.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chronik_engine::error::{ReadError, TierError};
use chronik_engine::log::{PartitionLog, RemoteSegment};
use chronik_engine::store::StoreError;
use chronik_protocol::batch::BatchHeader;
use uuid::Uuid;

use crate::bucket::BucketError;
use crate::limits::COPY_SCAN_BYTES;
use crate::manifest::{Entry, refuse};
use crate::read::{TailError, read_tail};
use crate::segment::{Tail, check_block};
use crate::tier::Tier;

/// Why the logs are not in line with the manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// The bucket; later it may answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The directory's own store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory has not written what the bucket holds.
    #[error("{0}")]
    Differs(String),
}

/// What became of a segment that a log did not know.
enum Fate {
    TakenIn,
    /// The log needs it not.
    Needless(&'static str),
    /// It stays in the manifest, and with it what follows.
    LeftAlone(String),
}

/// What the log has at the offsets of an object.
enum Compared {
    Same,
    /// Not all of it any more.
    Deleted,
    Other,
    Unreadable(ReadError),
}

impl Tier {
    /// Brings the logs in line with the manifest.
    pub(crate) async fn adopt(&self, entries: &[Entry]) -> Result<(), AdoptError> {
        let topics = self.engine.topics();
        let garbage: HashSet<String> = self.engine.garbage(usize::MAX).await?.into_iter().collect();
        let mut sorted: Vec<&Entry> =
            entries.iter().filter(|entry| !garbage.contains(&entry.segment.object)).collect();
        sorted.sort_by_key(|entry| (&entry.topic_id, entry.partition, entry.base_offset));
        for run in sorted.chunk_by(|a, b| (&a.topic_id, a.partition) == (&b.topic_id, b.partition)) {
            let (id, partition) = (Uuid::from_slice(&run[0].topic_id).unwrap_or_default(), run[0].partition);
            match topics.get_by_id(&id).and_then(|topic| topic.log(partition)) {
                Some(log) => self.adopt_run(log, run).await?,
                None => self.leave_unknown(run).await?,
            }
        }
        Ok(())
    }

    /// Segments of no topic are waiting to be deleted. Those of a topic that is not there are another matter: this directory
    /// may be one from before it was created.
    async fn leave_unknown(&self, run: &[&Entry]) -> Result<(), AdoptError> {
        for entry in run {
            if entry.topic.is_empty() {
                self.engine.add_garbage(&entry.segment.object).await?;
            } else {
                tracing::warn!(
                    object = entry.segment.object,
                    topic = entry.topic,
                    "the manifest names a segment of a topic that is not known here: it is left alone"
                );
            }
        }
        Ok(())
    }

    async fn adopt_run(&self, log: &Arc<PartitionLog>, run: &[&Entry]) -> Result<(), AdoptError> {
        let segments = log.remote_segments();
        let known: HashSet<&str> = segments.iter().map(|segment| &*segment.object).collect();
        for entry in run.iter().filter(|entry| !known.contains(&*entry.segment.object)) {
            let object = &entry.segment.object;
            match self.adopt_one(log, entry).await? {
                Fate::TakenIn => {
                    tracing::info!(object, "took in a segment that was copied just before the last stop");
                }
                Fate::Needless(reason) => {
                    tracing::warn!(object, reason, "a segment of the manifest is not needed");
                    self.engine.add_garbage(object).await?;
                }
                Fate::LeftAlone(reason) => {
                    tracing::warn!(object, reason, "a segment of the manifest is left alone");
                    break;
                }
            }
        }
        Ok(())
    }

    async fn adopt_one(&self, log: &Arc<PartitionLog>, entry: &Entry) -> Result<Fate, AdoptError> {
        let segment = RemoteSegment::from_value(entry.base_offset, entry.segment.clone());
        let tail = match read_tail(&self.bucket, &segment.object, Some(segment.tail_bytes)).await {
            Ok((tail, size)) if size == segment.size => tail,
            Ok(_) | Err(TailError::Segment(_) | TailError::Bucket(BucketError::NotFound(_))) => {
                return Ok(Fate::Needless("it is missing or damaged, and the log has what it held"));
            }
            Err(TailError::Bucket(error)) => return Err(error.into()),
        };
        let there = log.remote_segments().into_iter().find(|there| there.base_offset == segment.base_offset);
        let taken = match there {
            // It was cleaned, and is not compared.
            Some(old) => log.swap_remote(&old, segment, Bytes::new()),
            None => {
                if let Some(fate) = self.judge(log, &segment, &tail).await? {
                    return Ok(fate);
                }
                log.add_remote(segment, Bytes::new())
            }
        };
        match taken {
            Ok(ticket) => {
                ticket.await?;
                Ok(Fate::TakenIn)
            }
            Err(TierError::Deleted) => Ok(Fate::Needless("its offsets were deleted")),
            Err(TierError::NoPlace { .. }) => Ok(Fate::Needless("its offsets are in other objects")),
            Err(TierError::NotServing) => Ok(Fate::LeftAlone("the partition is offline".to_owned())),
        }
    }

    /// Whether a segment at an offset where the log knows none may stand for a part of it; `None` if so.
    async fn judge(
        &self,
        log: &Arc<PartitionLog>,
        segment: &RemoteSegment,
        tail: &Tail,
    ) -> Result<Option<Fate>, AdoptError> {
        let copied_to = log.copied_to().unwrap_or(segment.base_offset);
        if segment.base_offset < copied_to {
            return Ok(Some(Fate::Needless("its offsets are in other objects")));
        }
        if segment.base_offset > copied_to || segment.next_offset > log.offsets().next_offset {
            return Ok(Some(Fate::LeftAlone("it does not join on to what the log has".to_owned())));
        }
        Ok(match compare(log, segment, tail).await {
            Compared::Same => None,
            Compared::Deleted => Some(Fate::Needless("its offsets were deleted")),
            Compared::Unreadable(error) => Some(Fate::LeftAlone(error.to_string())),
            // Cleaned since, which only a log does that was not tiered at the time.
            Compared::Other if log.config().cleanup_compact || log.cleaned_to().cleaned_ms.is_some() => {
                Some(Fate::Needless("the log was cleaned since"))
            }
            Compared::Other => {
                let reason = format!(
                    "{} holds other records than this data directory has at offsets {} to {}",
                    segment.object,
                    segment.base_offset,
                    segment.next_offset - 1
                );
                refuse(&self.engine, &reason).await?;
                return Err(AdoptError::Differs(reason));
            }
        })
    }
}

/// Compares by the checksums of the object's blocks, wherever those were cut.
async fn compare(log: &PartitionLog, segment: &RemoteSegment, tail: &Tail) -> Compared {
    let mut blocks = tail.blocks.iter().peekable();
    let mut open = BytesMut::new();
    let mut next = segment.base_offset;
    while next < segment.next_offset {
        let batches = match log.read_span(next, segment.next_offset, COPY_SCAN_BYTES).await {
            Ok(batches) => batches,
            Err(ReadError::OffsetOutOfRange { .. }) => return Compared::Deleted,
            Err(error) => return Compared::Unreadable(error),
        };
        let Some(last) = batches.last().and_then(|last| BatchHeader::parse(last).ok()) else { break };
        next = last.last_offset() + 1;
        for batch in batches {
            open.extend_from_slice(&batch);
            while let Some(block) = blocks.next_if(|block| block.length as usize <= open.len()) {
                if check_block(block, &open.split_to(block.length as usize)).is_err() {
                    return Compared::Other;
                }
            }
        }
    }
    if open.is_empty() && blocks.peek().is_none() { Compared::Same } else { Compared::Other }
}
