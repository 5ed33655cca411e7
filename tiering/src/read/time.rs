//! From a time to an offset in the part of a log that is in object storage alone: segments are ruled out by their largest
//! timestamp, blocks by theirs, and what is left is looked at.

use std::sync::Arc;

use chronik_engine::log::{PartitionLog, RemoteSegment, TimestampOffset, first_record_at};
use chronik_protocol::batch::{BatchError, BatchView, split_batches};

use super::{RemoteError, RemoteReader};

impl RemoteReader {
    /// The first record of the log, in whichever tier, whose timestamp is at least `timestamp_ms`.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn offset_for_timestamp(
        &self,
        log: &Arc<PartitionLog>,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, RemoteError> {
        loop {
            let local_from = log.offsets().local_from;
            for segment in remote_part(log).iter().filter(|segment| segment.max_timestamp >= timestamp_ms) {
                if let Some(found) = self.search(log, segment, timestamp_ms).await? {
                    return Ok(Some(found));
                }
            }
            let found = log.offset_for_timestamp(timestamp_ms).await?;
            // What moved to the bucket in between was in neither.
            if log.offsets().local_from == local_from {
                return Ok(found);
            }
        }
    }

    /// The first record that bears the log's largest timestamp (KIP-734).
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn offset_of_max_timestamp(
        &self,
        log: &Arc<PartitionLog>,
    ) -> Result<Option<TimestampOffset>, RemoteError> {
        // In this order: what moves to the bucket in between is in both.
        let local = log.offset_of_max_timestamp().await?;
        let mut remote = remote_part(log);
        // The largest first, and of several the oldest.
        remote.sort_by_key(|segment| (-segment.max_timestamp, segment.base_offset));
        let mut best = local;
        for segment in remote {
            // What is in the bucket is older, so an equal time is the one that is asked for.
            if segment.max_timestamp < 0 || best.is_some_and(|best| best.timestamp_ms > segment.max_timestamp)
            {
                break;
            }
            let found = match self.search(log, &segment, segment.max_timestamp).await? {
                Some(found) => Some(found),
                // DeleteRecords has cut it off.
                None => self.largest_in(log, &segment).await?,
            };
            let better = found.filter(|found| {
                best.is_none_or(|best| {
                    (found.timestamp_ms, -found.offset) > (best.timestamp_ms, -best.offset)
                })
            });
            best = better.or(best);
        }
        Ok(best)
    }

    async fn search(
        &self,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, RemoteError> {
        let index = self.indexes.get(log, segment).await?;
        let floor = log.offsets().readable_from;
        for (place, block) in index.blocks.iter().enumerate() {
            if block.max_timestamp < timestamp_ms || block.last_offset < floor {
                continue;
            }
            let bytes = self.blocks.get(log, segment, &index, place).await?;
            for batch in split_batches(bytes) {
                let view = view(segment, &batch)?;
                if view.header().max_timestamp < timestamp_ms {
                    continue;
                }
                let found =
                    first_record_at(&view, timestamp_ms, floor).map_err(|error| corrupt(segment, &error))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp of what is left of a segment.
    async fn largest_in(
        &self,
        log: &Arc<PartitionLog>,
        segment: &Arc<RemoteSegment>,
    ) -> Result<Option<TimestampOffset>, RemoteError> {
        let index = self.indexes.get(log, segment).await?;
        let floor = log.offsets().readable_from;
        let mut best: Option<TimestampOffset> = None;
        for (place, block) in index.blocks.iter().enumerate() {
            if block.last_offset < floor || best.is_some_and(|best| best.timestamp_ms >= block.max_timestamp)
            {
                continue;
            }
            let bytes = self.blocks.get(log, segment, &index, place).await?;
            for batch in split_batches(bytes) {
                best = larger_in(segment, &batch, floor, best)?;
            }
        }
        Ok(best)
    }
}

/// The first record of a batch with the largest timestamp above that of `best`, or `best`.
fn larger_in(
    segment: &RemoteSegment,
    batch: &[u8],
    floor: i64,
    mut best: Option<TimestampOffset>,
) -> Result<Option<TimestampOffset>, RemoteError> {
    let view = view(segment, batch)?;
    loop {
        let above = best.map_or(0, |best| best.timestamp_ms + 1);
        if view.header().last_offset() < floor || view.header().max_timestamp < above {
            return Ok(best);
        }
        // The largest at once, unless it lies before the log's start: then step by step.
        let wanted = if view.header().base_offset < floor { above } else { view.header().max_timestamp };
        match first_record_at(&view, wanted, floor).map_err(|error| corrupt(segment, &error))? {
            Some(found) => best = Some(found),
            None => return Ok(best),
        }
    }
}

/// Segments with something that is not local, oldest first.
fn remote_part(log: &PartitionLog) -> Vec<Arc<RemoteSegment>> {
    let local_from = log.offsets().local_from;
    let mut segments = log.remote_segments();
    segments.retain(|segment| segment.base_offset < local_from);
    segments
}

fn view<'a>(segment: &RemoteSegment, batch: &'a [u8]) -> Result<BatchView<'a>, RemoteError> {
    BatchView::new(batch).map_err(|error| corrupt(segment, &error))
}

fn corrupt(segment: &RemoteSegment, error: &BatchError) -> RemoteError {
    RemoteError::Corrupt { object: segment.object.clone(), reason: error.to_string().into() }
}
