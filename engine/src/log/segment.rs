//! Logical segments: runs of whole batches that retention, time lookup, sizes, export and indexing count in.

use crate::keys::log::SegmentValue;

use super::LogConfig;

/// One segment. The active one grows; a sealed one changes only by cleaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First offset.
    pub base_offset: i64,
    /// First offset after it.
    pub next_offset: i64,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Largest record timestamp, ms; -1 when none has one.
    pub max_timestamp: i64,
    /// Timestamp of its first batch, ms; -1 when it has none.
    pub first_timestamp: i64,
    /// When its first batch was appended, ms by our clock.
    pub created_ms: i64,
    /// When its last batch was appended, ms by our clock.
    pub appended_ms: i64,
    /// Every batch that ends before this offset is covered by the time index.
    pub time_indexed_to: i64,
    /// Running maximum timestamp of the time index; `i64::MIN` before the first entry.
    pub time_indexed_max: i64,
    /// Bytes since the last time index entry.
    pub time_pending_bytes: u64,
}

impl LogConfig {
    /// Age at which a segment is closed, ms. What a compacted topic's active segment holds cannot be cleaned, so it
    /// closes in time for the longest lag (Kafka's `LogConfig.maxSegmentMs`).
    pub fn roll_ms(&self) -> i64 {
        if self.cleanup_compact { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }
}

impl Segment {
    /// An empty segment.
    pub fn empty(base_offset: i64) -> Self {
        Self {
            base_offset,
            next_offset: base_offset,
            bytes: 0,
            max_timestamp: -1,
            first_timestamp: -1,
            created_ms: 0,
            appended_ms: 0,
            time_indexed_to: base_offset,
            time_indexed_max: i64::MIN,
            time_pending_bytes: 0,
        }
    }

    /// Whether it holds no batch.
    pub fn is_empty(&self) -> bool {
        self.next_offset == self.base_offset
    }

    /// Whether a batch of `batch_bytes` with `max_timestamp` must begin a new segment
    /// (Kafka's `LogSegment.shouldRoll`: time counts from the first batch's timestamp, else from its arrival).
    pub fn must_roll(&self, batch_bytes: u64, max_timestamp: i64, now_ms: i64, config: &LogConfig) -> bool {
        if self.is_empty() {
            return false;
        }
        let age = if self.first_timestamp >= 0 && max_timestamp >= 0 {
            max_timestamp.saturating_sub(self.first_timestamp)
        } else {
            now_ms.saturating_sub(self.created_ms)
        };
        self.bytes + batch_bytes > config.segment_bytes || age > config.roll_ms()
    }

    /// Adds a batch.
    pub fn push(&mut self, next_offset: i64, batch_bytes: u64, max_timestamp: i64, now_ms: i64) {
        if self.is_empty() {
            self.first_timestamp = max_timestamp;
            self.created_ms = now_ms;
        }
        self.next_offset = next_offset;
        self.bytes += batch_bytes;
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        self.appended_ms = now_ms;
    }

    /// The time that retention compares, ms: the newest record's, else the newest batch's arrival.
    pub fn retention_timestamp(&self) -> i64 {
        if self.max_timestamp >= 0 { self.max_timestamp } else { self.appended_ms }
    }

    /// As stored.
    pub fn to_value(self) -> SegmentValue {
        SegmentValue {
            next_offset: self.next_offset,
            bytes: self.bytes,
            max_timestamp: self.max_timestamp,
            first_timestamp: self.first_timestamp,
            appended_ms: self.appended_ms,
            created_ms: self.created_ms,
        }
    }

    /// From what was stored; a sealed segment is indexed to its end.
    pub fn from_value(base_offset: i64, value: SegmentValue) -> Self {
        Self {
            base_offset,
            next_offset: value.next_offset,
            bytes: value.bytes,
            max_timestamp: value.max_timestamp,
            first_timestamp: value.first_timestamp,
            created_ms: value.created_ms,
            appended_ms: value.appended_ms,
            time_indexed_to: value.next_offset,
            time_indexed_max: value.max_timestamp,
            time_pending_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_by_size_and_by_the_records_time() {
        let config = LogConfig { segment_bytes: 100, segment_ms: 1000, ..LogConfig::default() };
        let mut segment = Segment::empty(5);
        assert!(!segment.must_roll(1000, 0, 0, &config), "an empty segment takes any batch");
        segment.push(6, 90, 50, 7);
        assert!(!segment.must_roll(10, 1050, 7, &config));
        assert!(segment.must_roll(11, 1050, 7, &config));
        assert!(segment.must_roll(1, 1051, 7, &config));
        let mut timeless = Segment::empty(0);
        timeless.push(1, 1, -1, 7);
        assert!(!timeless.must_roll(1, -1, 1007, &config));
        assert!(timeless.must_roll(1, -1, 1008, &config));
        let lag = LogConfig { cleanup_compact: true, max_compaction_lag_ms: 500, ..config };
        assert!(timeless.must_roll(1, -1, 508, &lag), "a compacted log rolls in time for its longest lag");
    }
}
