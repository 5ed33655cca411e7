//! What must hold between the batches of a segment and its tail, beyond checksums and counts: offsets without gaps, records
//! that can be read, aborted transactions that are those of the markers, epochs that are those of the batches.

use std::collections::{BTreeMap, BTreeSet};

use chronik_protocol::batch::{BatchView, TimestampType};

use super::tail::Tail;

/// Bytes that a marker's record may have decompressed; it has ten.
const MARKER_BYTES_MAX: usize = 1 << 16;
/// Bytes that a batch's records may have decompressed.
const RECORDS_BYTES_MAX: usize = 1 << 30;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It was committed.
    Commit,
    /// It was aborted.
    Abort,
    /// A control record of another kind, which concerns no transaction.
    Other(i16),
}

/// What the control record of a batch says; `None` when it has none that can be read.
pub fn marker_of(view: &BatchView<'_>) -> Option<Marker> {
    let mut records = view.records(MARKER_BYTES_MAX).ok()?;
    let record = records.next_record().ok()??;
    // Version and type, two bytes each.
    let [_, _, kind @ ..] = record.key?.first_chunk::<4>()?;
    Some(match i16::from_be_bytes(*kind) {
        0 => Marker::Abort,
        1 => Marker::Commit,
        other => Marker::Other(other),
    })
}

/// What was seen of the batches so far.
#[derive(Debug)]
pub(super) struct Contents {
    next: i64,
    /// No batch was seen.
    is_new: bool,
    /// First offset of each transaction that is open, by producer.
    open: BTreeMap<i64, i64>,
    /// Producer, first offset here and marker of transactions that were aborted.
    aborted: BTreeSet<(i64, i64, i64)>,
    /// Producer and offset of every abort marker.
    markers: BTreeSet<(i64, i64)>,
}

impl Contents {
    pub(super) fn new(base_offset: i64) -> Self {
        Self {
            next: base_offset,
            is_new: true,
            open: BTreeMap::new(),
            aborted: BTreeSet::new(),
            markers: BTreeSet::new(),
        }
    }

    /// Takes a batch into account, and says what is wrong with it.
    pub(super) fn problems(&mut self, view: &BatchView<'_>, tail: &Tail) -> Vec<String> {
        let header = view.header();
        let mut problems = Vec::new();
        if !tail.description.cleaned {
            // The log's start may lie inside the first batch.
            let begins_before = self.is_new && header.base_offset < self.next;
            if header.base_offset != self.next && !begins_before {
                let (next, base) = (self.next, header.base_offset);
                problems.push(format!("offsets {next}..{base} are missing, and no cleaner has been here"));
            }
            if header.record_count != header.last_offset_delta.wrapping_add(1) {
                problems.push(format!(
                    "the batch at offset {} has {} records for {} offsets, and no cleaner has been here",
                    header.base_offset,
                    header.record_count,
                    header.last_offset_delta.wrapping_add(1)
                ));
            }
        }
        (self.next, self.is_new) = (header.last_offset().saturating_add(1), false);
        problems.extend(unreadable(view));
        problems.extend(wrong_epoch(view, tail));
        self.note(view);
        problems
    }

    fn note(&mut self, view: &BatchView<'_>) {
        let header = view.header();
        let producer = header.producer_id;
        if header.is_control() {
            let first = self.open.remove(&producer);
            if marker_of(view) == Some(Marker::Abort) {
                self.markers.insert((producer, header.base_offset));
                self.aborted.extend(first.map(|first| (producer, first, header.base_offset)));
            }
        } else if header.is_transactional() {
            self.open.entry(producer).or_insert(header.base_offset);
        }
    }

    /// What is wrong, once all batches were seen.
    pub(super) fn problems_at_the_end(&self, tail: &Tail) -> Vec<String> {
        let description = &tail.description;
        let (base, next) = (description.base_offset, description.next_offset);
        let mut problems = Vec::new();
        if !description.cleaned && self.next != next {
            problems.push(format!("offsets {}..{next} are missing, and no cleaner has been here", self.next));
        }
        for pair in tail.epochs.windows(2) {
            if pair[0].epoch >= pair[1].epoch || pair[0].start_offset > pair[1].start_offset {
                problems.push(format!("leader epoch {} does not follow {}", pair[1].epoch, pair[0].epoch));
            }
        }
        if !tail.aborted.is_sorted_by_key(|txn| txn.last_offset) {
            problems.push("the aborted transactions are not in the order of their markers".to_owned());
        }
        for txn in &tail.aborted {
            let (id, first, last) = (txn.producer_id, txn.first_offset, txn.last_offset);
            if first > last || first >= next || last < base {
                problems
                    .push(format!("the aborted transaction {first}..={last} of producer {id} is elsewhere"));
            } else if !description.cleaned && last < next && !self.markers.contains(&(id, last)) {
                problems.push(format!("at {last} is no marker that aborts a transaction of producer {id}"));
            }
        }
        // A cleaner takes the data of aborted transactions, and word of them with it.
        let unknown = self.aborted.iter().filter(|(id, first, last)| {
            // One that began before the range has an earlier first offset.
            let is_it = |txn: &chronik_engine::log::AbortedTxn| {
                let begun = txn.first_offset == *first || txn.first_offset < base;
                txn.producer_id == *id && txn.last_offset == *last && begun
            };
            !description.cleaned && !tail.aborted.iter().any(is_it)
        });
        problems.extend(unknown.map(|(id, first, last)| {
            format!("the tail does not know of the aborted transaction {first}..={last} of producer {id}")
        }));
        problems
    }
}

/// What keeps a batch's records from being read, or contradicts its header.
fn unreadable(view: &BatchView<'_>) -> Option<String> {
    let header = view.header();
    let told = |reason: String| Some(format!("the batch at offset {}: {reason}", header.base_offset));
    let mut records = match view.records(RECORDS_BYTES_MAX) {
        Ok(records) => records,
        Err(error) => return told(error.to_string()),
    };
    let mut next_delta = 0;
    loop {
        let record = match records.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => return None,
            Err(error) => return told(error.to_string()),
        };
        if record.offset_delta < next_delta || record.offset_delta > header.last_offset_delta {
            return told(format!("a record has the offset delta {}", record.offset_delta));
        }
        next_delta = record.offset_delta.saturating_add(1);
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if header.timestamp_type() == TimestampType::CreateTime && timestamp > header.max_timestamp {
            return told(format!(
                "a record has the timestamp {timestamp}, and {} is told to be the largest",
                header.max_timestamp
            ));
        }
    }
}

/// Whether the tail has another epoch for the batch than it bears.
fn wrong_epoch(view: &BatchView<'_>, tail: &Tail) -> Option<String> {
    // The log's start may lie inside the first batch.
    let offset = view.header().base_offset.max(tail.description.base_offset);
    let epoch = view.header().partition_leader_epoch;
    let told = tail.epochs.iter().rfind(|entry| entry.start_offset <= offset).map(|entry| entry.epoch);
    // A batch without an epoch says nothing.
    (epoch >= 0 && told != Some(epoch)).then(|| {
        let told = told.map_or("none".to_owned(), |epoch| epoch.to_string());
        format!("the batch at offset {offset} bears the leader epoch {epoch}, the tail says {told}")
    })
}
