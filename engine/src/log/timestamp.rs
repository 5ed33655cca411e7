//! From a time to an offset: the first *record* at or after it (KIP-79; Kafka's `UnifiedLog.fetchOffsetByTimestamp`).
//!
//! Segments are ruled out by their maximum, a place inside one is found by the time index, and from there batches are
//! looked at one by one; only the batch that holds the answer is decompressed.

use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::batch::{BatchError, BatchView, TimestampType};

use super::{PartitionLog, Segment};
use crate::error::ReadError;
use crate::keys;
use crate::limits::{DECOMPRESSED_BYTES_MAX, TIMESTAMP_SCAN_BYTES};
use crate::store::{Keyspace, ScanLimit, StoreError};

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp, ms.
    pub timestamp_ms: i64,
    /// The leader epoch of its batch.
    pub leader_epoch: i32,
}

/// The first record of a batch at or after a time, and not before the offset `floor`.
///
/// # Errors
/// [`BatchError`] when the batch cannot be read.
pub fn first_record_at(
    view: &BatchView<'_>,
    timestamp_ms: i64,
    floor: i64,
) -> Result<Option<TimestampOffset>, BatchError> {
    let header = view.header();
    let found = |offset, timestamp_ms| {
        Some(TimestampOffset { offset, timestamp_ms, leader_epoch: header.partition_leader_epoch })
    };
    let stamped = header.timestamp_type() == TimestampType::LogAppendTime;
    if stamped && header.record_count == header.last_offset_delta.saturating_add(1) {
        // Every record bears the batch's time, and none was cleaned away.
        return Ok(found(header.base_offset.max(floor), header.max_timestamp));
    }
    let mut records = view.records(DECOMPRESSED_BYTES_MAX)?;
    while let Some(record) = records.next_record()? {
        // Stored bytes are not trusted to be in range.
        let offset = header.base_offset.wrapping_add(record.offset_delta.into());
        let record_ms = match stamped {
            true => header.max_timestamp,
            false => header.base_timestamp.wrapping_add(record.timestamp_delta),
        };
        if record_ms >= timestamp_ms && offset >= floor {
            return Ok(found(offset, record_ms));
        }
    }
    Ok(None)
}

impl PartitionLog {
    /// The first durable record in the store whose timestamp is at least `timestamp_ms`. What is in object storage is not
    /// asked.
    ///
    /// # Errors
    /// Failures of the partition or the store.
    pub async fn offset_for_timestamp(
        self: &Arc<Self>,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.search(|segment| segment.max_timestamp >= timestamp_ms, timestamp_ms).await
    }

    /// The first durable record in the store that bears the largest timestamp there (KIP-734).
    ///
    /// # Errors
    /// Failures of the partition or the store.
    pub async fn offset_of_max_timestamp(self: &Arc<Self>) -> Result<Option<TimestampOffset>, ReadError> {
        self.check_online()?;
        let (segments, written) = self.segments_and_ticket();
        // What the maxima are of may not be durable yet.
        written.await.map_err(ReadError::Store)?;
        let Some((oldest, others)) = segments.split_first() else { return Ok(None) };
        let of_oldest = self.max_of_oldest(oldest).await?;
        let largest = others.iter().map(|segment| segment.max_timestamp).max().unwrap_or(-1);
        if largest < 0 || of_oldest.is_some_and(|found| found.timestamp_ms >= largest) {
            return Ok(of_oldest);
        }
        let found = self.search(|segment| segment.max_timestamp == largest, largest).await?;
        if found.is_some() {
            return Ok(found);
        }
        // A pass of the cleaner has dropped the record and not yet come to the end of its segment.
        self.look_through(self.high_watermark()).await
    }

    /// The first record of the oldest segment that bears the largest timestamp there. DeleteRecords may have cut into
    /// this segment alone, and only if it took the largest must all that is left be looked through.
    async fn max_of_oldest(self: &Arc<Self>, oldest: &Segment) -> Result<Option<TimestampOffset>, ReadError> {
        if oldest.max_timestamp < 0 {
            return Ok(None);
        }
        let found = self.search_in(oldest, oldest.max_timestamp).await?;
        if found.is_some() {
            return Ok(found);
        }
        self.look_through(oldest.next_offset).await
    }

    async fn search(
        self: &Arc<Self>,
        may_hold: impl Fn(&Segment) -> bool,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.check_online()?;
        for segment in self.segments().iter().filter(|segment| may_hold(segment)) {
            if let Some(found) = self.search_in(segment, timestamp_ms).await? {
                return Ok(Some(found));
            }
            // The segment's maximum was deleted (DeleteRecords cut into it), or is not durable yet.
        }
        Ok(None)
    }

    async fn search_in(
        &self,
        segment: &Segment,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let from = self.place_in(segment, timestamp_ms).await?;
        self.scan_from(from, segment.next_offset, timestamp_ms).await
    }

    /// Where in `segment` the first batch that reaches `timestamp_ms` may be.
    async fn place_in(&self, segment: &Segment, timestamp_ms: i64) -> Result<i64, ReadError> {
        let range = keys::log::time_range(self.id, segment.base_offset, timestamp_ms);
        let chunk = self
            .store
            .scan(Keyspace::Index, range, ScanLimit::entries(1))
            .await
            .map_err(|error| self.read_failed(error))?;
        match chunk.entries.first() {
            Some((_, value)) => keys::log::parse_time_value(value).map_err(|error| self.read_failed(error)),
            None => Ok(segment.time_indexed_to),
        }
    }

    /// Looks at batches from the one that holds `from`, up to `to` or the high watermark.
    async fn scan_from(
        &self,
        from: i64,
        to: i64,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut next = from;
        loop {
            let start = self.offsets().local_from;
            let end = to.min(self.high_watermark());
            next = next.max(start);
            if next >= end {
                return Ok(None);
            }
            let batches = self.scan_batches(next, end, TIMESTAMP_SCAN_BYTES).await?;
            if batches.is_empty() {
                return Ok(None);
            }
            for batch in batches {
                let view = self.view(&batch)?;
                let header = *view.header();
                next = header.last_offset() + 1;
                if header.max_timestamp < timestamp_ms {
                    continue;
                }
                let floor = self.offsets().local_from.max(start);
                if let Some(found) = self.first_record(&view, timestamp_ms, floor)? {
                    return Ok(Some(found));
                }
            }
        }
    }

    /// The first record with the largest timestamp from the log's start up to `end`.
    async fn look_through(&self, end: i64) -> Result<Option<TimestampOffset>, ReadError> {
        let mut best: Option<TimestampOffset> = None;
        let mut next = self.offsets().local_from;
        while next < end.min(self.high_watermark()) {
            let batches =
                self.scan_batches(next, end.min(self.high_watermark()), TIMESTAMP_SCAN_BYTES).await?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                let view = self.view(&batch)?;
                next = view.header().last_offset() + 1;
                let largest = view.header().max_timestamp;
                if best.is_some_and(|best| best.timestamp_ms >= largest) {
                    continue;
                }
                let floor = self.offsets().local_from;
                best = self.first_record(&view, largest, floor)?.or(best);
            }
        }
        Ok(best)
    }

    pub(super) async fn scan_batches(
        &self,
        from: i64,
        to: i64,
        bytes: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let range = keys::batch::range(self.id, from, to);
        let chunk = self
            .store
            .scan(Keyspace::Batches, range, ScanLimit::bytes(bytes))
            .await
            .map_err(|error| self.read_failed(error))?;
        Ok(chunk.entries.into_iter().map(|(_, batch)| batch).collect())
    }

    fn view<'a>(&self, batch: &'a Bytes) -> Result<BatchView<'a>, ReadError> {
        BatchView::new(batch).map_err(|error| self.corrupt_batch(&error))
    }

    /// The first record of a batch at or after a time, and not before `floor`.
    fn first_record(
        &self,
        view: &BatchView<'_>,
        timestamp_ms: i64,
        floor: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        first_record_at(view, timestamp_ms, floor).map_err(|error| self.corrupt_batch(&error))
    }

    fn corrupt_batch(&self, error: &dyn std::fmt::Display) -> ReadError {
        self.read_failed(StoreError::Corrupt(format!("a stored batch cannot be read: {error}").into()))
    }
}
