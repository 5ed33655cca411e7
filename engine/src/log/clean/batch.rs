//! What a pass leaves of one batch (Kafka's `Cleaner.cleanInto` with `MemoryRecords.filterTo`). Pure: bytes, a map of
//! latest offsets and the time in, a verdict out.

use bytes::Bytes;
use chronik_protocol::batch::{
    BatchBuilder, BatchError, BatchHeader, BatchView, RecordView, RecordWalker, TimestampType,
};

use super::offset_map::OffsetMap;
use crate::limits::DECOMPRESSED_BYTES_MAX;

/// What the verdicts of a pass rest on.
pub(super) struct Rules<'a> {
    /// The latest offset of each key among the new records.
    pub(super) latest: &'a OffsetMap,
    /// First offset that no pass has looked at.
    pub(super) first_dirty: i64,
    /// When the pass began.
    pub(super) now_ms: i64,
    /// How long tombstones and markers stay after the first pass that saw them.
    pub(super) delete_retention_ms: i64,
    /// Tombstones from this offset on stay: what they cover may still be in object storage.
    pub(super) covered_to: i64,
}

/// What is known of the batch from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Data of an aborted transaction, or the marker of one whose data is gone.
    pub(super) discardable: bool,
    /// Must stay, if need be without records: the last of a live producer, or of what the pass cleans.
    pub(super) must_stay: bool,
}

/// What becomes of a batch's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Rewrite(Bytes),
    Drop,
}

/// A batch, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) fate: Fate,
    /// Records before and after.
    pub(super) records: (u64, u64),
    /// The largest timestamp of the records left; -1 when none has one.
    pub(super) max_timestamp: i64,
    /// The delete horizon of what is left, ms.
    pub(super) horizon_ms: Option<i64>,
}

/// The delete horizon that an earlier pass has set.
pub(super) fn horizon_of(header: &BatchHeader) -> Option<i64> {
    header.has_delete_horizon().then_some(header.base_timestamp)
}

/// Decides about a batch.
pub(super) fn judge(
    view: &BatchView<'_>,
    rules: &Rules<'_>,
    standing: Standing,
) -> Result<Verdict, BatchError> {
    let header = view.header();
    let horizon_passed = horizon_of(header).is_some_and(|horizon_ms| horizon_ms <= rules.now_ms);
    let kept = |horizon_ms| Verdict {
        fate: Fate::Keep,
        records: (count(header), count(header)),
        max_timestamp: if header.record_count > 0 { header.max_timestamp } else { -1 },
        horizon_ms,
    };
    if header.record_count == 0 {
        return nothing_left(header, standing);
    }
    let new_horizon_ms = Some(rules.now_ms.saturating_add(rules.delete_retention_ms));
    if header.is_control() {
        return match horizon_of(header) {
            _ if !standing.discardable => Ok(kept(None)),
            Some(_) if horizon_passed => nothing_left(header, standing),
            Some(horizon_ms) => Ok(kept(Some(horizon_ms))),
            None => rewrite(view, &mut view.records(DECOMPRESSED_BYTES_MAX)?, new_horizon_ms, |_| true),
        };
    }
    if standing.discardable {
        return nothing_left(header, standing);
    }
    if rules.latest.is_empty() && header.last_offset() < rules.first_dirty && !horizon_passed {
        // An earlier pass has done what there was to do.
        return Ok(kept(horizon_of(header)));
    }
    let stays = |record: &RecordView<'_>| {
        let offset = header.base_offset.wrapping_add(record.offset_delta.into());
        let Some(key) = record.key else { return false };
        let superseded = rules.latest.get(key).is_some_and(|latest| latest > offset);
        !superseded && (record.value.is_some() || !horizon_passed || offset >= rules.covered_to)
    };
    let (mut left, mut tombstones) = (0, 0_u64);
    let mut records = view.records(DECOMPRESSED_BYTES_MAX)?;
    while let Some(record) = records.next_record()? {
        if stays(&record) {
            left += 1;
            tombstones += u64::from(record.value.is_none());
        }
    }
    let horizon_ms = match horizon_of(header) {
        None if tombstones > 0 => new_horizon_ms,
        set => set,
    };
    if left == 0 {
        return nothing_left(header, standing);
    }
    if left == count(header) && horizon_ms == horizon_of(header) {
        return Ok(kept(horizon_ms.filter(|_| tombstones > 0)));
    }
    records.rewind();
    let mut verdict = rewrite(view, &mut records, horizon_ms, stays)?;
    verdict.horizon_ms = horizon_ms.filter(|_| tombstones > 0);
    Ok(verdict)
}

fn count(header: &BatchHeader) -> u64 {
    u64::try_from(header.record_count).unwrap_or(0)
}

fn nothing_left(header: &BatchHeader, standing: Standing) -> Result<Verdict, BatchError> {
    let fate = match (standing.must_stay, header.record_count) {
        (false, _) => Fate::Drop,
        (true, 0) => Fate::Keep,
        (true, _) => Fate::Rewrite(BatchBuilder::emptied(header)?),
    };
    Ok(Verdict { fate, records: (count(header), 0), max_timestamp: -1, horizon_ms: None })
}

fn rewrite(
    view: &BatchView<'_>,
    records: &mut RecordWalker<'_>,
    horizon_ms: Option<i64>,
    stays: impl Fn(&RecordView<'_>) -> bool,
) -> Result<Verdict, BatchError> {
    let header = view.header();
    let mut builder = BatchBuilder::rewrite(header, horizon_ms)?;
    let mut max_timestamp = -1;
    while let Some(record) = records.next_record()? {
        if !stays(&record) {
            continue;
        }
        // Stored bytes are not trusted to be in range.
        let timestamp_ms = header.base_timestamp.wrapping_add(record.timestamp_delta);
        max_timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => timestamp_ms.max(max_timestamp),
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        builder.retain(&record, timestamp_ms);
    }
    let left = u64::try_from(builder.record_count()).unwrap_or(0);
    let fate = Fate::Rewrite(builder.build()?);
    Ok(Verdict { fate, records: (count(header), left), max_timestamp, horizon_ms })
}
