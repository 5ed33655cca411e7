//! Which part of a log can be cleaned, and whether it is time (Kafka's `LogCleanerManager`). Looks at segments only.

use super::super::{LogConfig, LogState, PartitionLog, Segment, Status};

/// What a pass would find in a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cleanable {
    /// First offset that no pass has looked at.
    pub first_dirty: i64,
    /// First offset that a pass must not touch.
    pub end: i64,
    /// Bytes below the first dirty offset.
    pub clean_bytes: u64,
    /// Bytes from there to the end.
    pub dirty_bytes: u64,
    /// A record that may have been superseded has waited for `max.compaction.lag.ms`.
    pub overdue: bool,
    /// Tombstones or markers below the first dirty offset may go now.
    pub horizon_passed: bool,
    /// Bytes in object storage, and of them those with which the rest there was not compared.
    pub remote_bytes: u64,
    /// See `remote_bytes`.
    pub remote_dirty_bytes: u64,
}

impl Cleanable {
    /// How much of what a pass reads is new.
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            all => self.dirty_bytes as f64 / all as f64,
        }
    }

    /// Whether a pass would find anything to do.
    pub fn has_work(&self) -> bool {
        self.has_local_work() || self.remote_dirty_bytes > 0
    }

    /// Whether it would find it in the local part.
    pub fn has_local_work(&self) -> bool {
        self.end > self.first_dirty || self.horizon_passed
    }

    /// Whether it is time for a pass (Kafka's `grabFilthiestCompactedLog`; it leaves passed horizons to the next pass
    /// that finds dirt, and an idle log keeps its tombstones for ever).
    pub fn is_due(&self, config: &LogConfig) -> bool {
        let dirty =
            self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio() > config.min_cleanable_dirty_ratio);
        // Each time it has doubled, by default: a cleaning reads all of it.
        let remote =
            self.remote_dirty_bytes as f64 > self.remote_bytes as f64 * config.min_cleanable_dirty_ratio;
        dirty || self.horizon_passed || remote
    }
}

impl PartitionLog {
    /// What a pass would find now; `None` if the log is not compacted, or does not serve.
    pub fn cleanable(&self, now_ms: i64) -> Option<Cleanable> {
        let config = self.config();
        let stable = self.offsets().last_stable_offset;
        let state = self.state.lock();
        (config.cleanup_compact && state.status == Status::Online)
            .then(|| cleanable(&state, &config, stable, now_ms))
    }
}

pub(super) fn cleanable(state: &LogState, config: &LogConfig, stable: i64, now_ms: i64) -> Cleanable {
    let first_dirty = state.clean.first_dirty_offset.max(state.local_from());
    let dirty = || state.sealed.iter().filter(|segment| segment.next_offset > first_dirty);
    let end = dirty()
        .find(|segment| too_young(segment, config, now_ms))
        .map_or(state.active.base_offset, |segment| segment.base_offset)
        .min(stable)
        .max(first_dirty);
    let oldest_ms = dirty()
        .filter(|segment| segment.base_offset < end)
        .map(
            |segment| if segment.first_timestamp >= 0 { segment.first_timestamp } else { segment.created_ms },
        )
        .min();
    let horizon_ms = state.clean.next_horizon_ms;
    Cleanable {
        first_dirty,
        end,
        // A pass reads what is in object storage alone, too.
        clean_bytes: state.sealed.iter().map(|segment| bytes_in(segment, 0, first_dirty)).sum::<u64>()
            + state.remote_alone_bytes(),
        dirty_bytes: state.sealed.iter().map(|segment| bytes_in(segment, first_dirty, end)).sum(),
        overdue: oldest_ms
            .is_some_and(|oldest_ms| now_ms.saturating_sub(oldest_ms) > config.max_compaction_lag_ms),
        remote_bytes: state.remote.iter().map(|segment| segment.bytes).sum(),
        remote_dirty_bytes: state
            .remote
            .iter()
            .filter(|segment| segment.next_offset > state.clean.remote_dirty_offset)
            .map(|segment| segment.bytes)
            .sum(),
        horizon_passed: horizon_ms >= 0 && horizon_ms <= now_ms && first_dirty > state.log_start_offset,
    }
}

/// Whether a segment holds records that `min.compaction.lag.ms` protects.
pub(super) fn too_young(segment: &Segment, config: &LogConfig, now_ms: i64) -> bool {
    config.min_compaction_lag_ms > 0
        && segment.retention_timestamp() > now_ms.saturating_sub(config.min_compaction_lag_ms)
}

/// Bytes of a segment between two offsets, as if they were spread evenly.
fn bytes_in(segment: &Segment, from: i64, to: i64) -> u64 {
    let (from, to) = (from.max(segment.base_offset), to.min(segment.next_offset));
    if from >= to {
        return 0;
    }
    let offsets = (segment.next_offset - segment.base_offset) as u128;
    (u128::from(segment.bytes) * (to - from) as u128 / offsets) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_part_of_a_segment_are_its_share() {
        let segment = Segment { next_offset: 110, bytes: 1000, ..Segment::empty(10) };
        for (from, to, bytes) in [(0, 200, 1000), (0, 60, 500), (60, 61, 10), (0, 10, 0), (110, 200, 0)] {
            assert_eq!(bytes_in(&segment, from, to), bytes, "{from}..{to}");
        }
    }

    #[test]
    fn a_log_is_due_by_ratio_by_age_or_by_a_passed_horizon_and_never_without_dirt() {
        let config = LogConfig { min_cleanable_dirty_ratio: 0.5, ..LogConfig::default() };
        let base = Cleanable {
            first_dirty: 10,
            end: 20,
            clean_bytes: 100,
            dirty_bytes: 100,
            overdue: false,
            horizon_passed: false,
            remote_bytes: 100,
            remote_dirty_bytes: 50,
        };
        assert!(!base.is_due(&config), "half is not more than half");
        assert!(Cleanable { dirty_bytes: 101, ..base }.is_due(&config));
        assert!(Cleanable { overdue: true, ..base }.is_due(&config));
        assert!(Cleanable { horizon_passed: true, dirty_bytes: 0, ..base }.is_due(&config));
        assert!(!Cleanable { overdue: true, dirty_bytes: 0, clean_bytes: 0, ..base }.is_due(&config));
        assert!(Cleanable { remote_dirty_bytes: 51, dirty_bytes: 0, ..base }.is_due(&config));
        assert!(!Cleanable { end: 10, remote_dirty_bytes: 0, ..base }.has_work());
        assert!(Cleanable { end: 10, ..base }.has_work() && !Cleanable { end: 10, ..base }.has_local_work());
    }
}
