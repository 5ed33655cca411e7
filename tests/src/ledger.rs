//! A ledger of what a broker promised, and the check that it kept it.
//!
//! Producers, consumers and readers write down what they sent, what was acknowledged and what they were shown, while
//! the broker is killed under them. At the end the whole log is read, and [`check`] tells every promise that is
//! broken. It knows records, offsets and positions only; how they came about is the business of [`load`].

pub mod load;
pub mod power;
pub mod reading;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::random::Random;

/// Bytes of a value that carry its identity; the rest is derived from it.
const IDENTITY_BYTES: usize = 12;

/// The identity of one record: who sent it, and as his how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// The producer.
    pub producer: u32,
    /// Counts up in the order of sending, over all partitions.
    pub sequence: u64,
}

impl RecordId {
    /// A value of about `length` bytes that [`decode`](Self::decode) recognises, and nothing else.
    pub fn encode(self, length: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(length.max(IDENTITY_BYTES + 8));
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend(self.filling(length.saturating_sub(IDENTITY_BYTES).max(8)));
        value
    }

    /// The identity in a value; none when a single byte is not as it was sent.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let producer = u32::from_be_bytes(*value.first_chunk()?);
        let sequence = u64::from_be_bytes(*value.get(4..)?.first_chunk()?);
        let id = Self { producer, sequence };
        let filling = value.get(IDENTITY_BYTES..)?;
        (filling.len() >= 8 && filling == id.filling(filling.len())).then_some(id)
    }

    fn filling(self, length: usize) -> Vec<u8> {
        let mut dice = Random::new((u64::from(self.producer) << 40) ^ self.sequence);
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&dice.next_u64().to_be_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// A partition by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
}

impl Place {
    /// The two together.
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.to_owned(), partition }
    }
}

/// What happened to one group's position in one place, in the order of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The broker acknowledged a commit of this offset.
    Committed(i64),
    /// The broker answered this when asked.
    Fetched(i64),
}

/// One partition as read from end to end once all is over.
#[derive(Clone, Debug, Default)]
pub struct FinalLog {
    /// The log's start.
    pub start: i64,
    /// Its high watermark.
    pub end: i64,
    /// Offset and identity in the order read; none for a value nobody sent.
    pub records: Vec<(i64, Option<RecordId>)>,
}

/// What was seen of one place.
#[derive(Clone, Debug, Default)]
struct Seen {
    sent: HashSet<RecordId>,
    acked: Vec<(RecordId, i64)>,
    /// Session, offset, identity.
    polled: Vec<(u64, i64, Option<RecordId>)>,
    /// The highest log start that DeleteRecords acknowledged, and the highest that anyone asked for.
    trimmed: i64,
    trim_asked: i64,
    log: Option<FinalLog>,
}

/// Everything that was written down. One lock around it is enough: clients spend their time waiting.
#[derive(Clone, Debug, Default)]
pub struct History {
    places: BTreeMap<Place, Seen>,
    positions: BTreeMap<(String, Place), Vec<Position>>,
    next_session: u64,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Acknowledged and not there.
    LostWrite(Place, RecordId, i64),
    /// One record at two offsets, though its producer is idempotent, or sent it once.
    Duplicate(Place, RecordId, i64, i64),
    /// Not at the offset that the acknowledgement or an earlier read told.
    InconsistentOffset(Place, i64, Option<RecordId>, Option<RecordId>),
    /// A session was shown an offset at or below one it had seen.
    NonmonotonicPoll(Place, u64, i64, i64),
    /// A producer's later record before an earlier one.
    Reordered(Place, RecordId, RecordId),
    /// A group's position fell behind an acknowledged commit.
    CommittedWentBack(String, Place, i64, i64),
    /// A record nobody sent here, or with damaged bytes.
    Phantom(Place, i64),
    /// Offsets with no record between two that have one, or before the end.
    Hole(Place, i64, i64),
    /// The log starts elsewhere than DeleteRecords left it.
    WrongStart(Place, i64),
    /// The place could not be read at the end.
    Unread(Place),
}

/// Numbers for a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records handed to a client.
    pub sent: usize,
    /// Records acknowledged.
    pub acked: usize,
    /// Records shown to consumers.
    pub polled: usize,
    /// Records in the logs at the end.
    pub kept: usize,
    /// Acknowledged commits of positions.
    pub commits: usize,
}

impl History {
    /// Before the record leaves.
    pub fn sent(&mut self, place: &Place, id: RecordId) {
        self.seen(place).sent.insert(id);
    }

    /// After its acknowledgement came.
    pub fn acked(&mut self, place: &Place, id: RecordId, offset: i64) {
        self.seen(place).acked.push((id, offset));
    }

    /// A number for a consumer that begins at a position of its own: anew after each assignment.
    pub fn session(&mut self) -> u64 {
        self.next_session += 1;
        self.next_session
    }

    /// A record as a consumer was shown it.
    pub fn polled(&mut self, place: &Place, session: u64, offset: i64, id: Option<RecordId>) {
        self.seen(place).polled.push((session, offset, id));
    }

    /// A group's position.
    pub fn position(&mut self, group: &str, place: &Place, position: Position) {
        self.positions.entry((group.to_owned(), place.clone())).or_default().push(position);
    }

    /// Before DeleteRecords leaves.
    pub fn trim_asked(&mut self, place: &Place, offset: i64) {
        let seen = self.seen(place);
        seen.trim_asked = seen.trim_asked.max(offset);
    }

    /// After its acknowledgement came.
    pub fn trimmed(&mut self, place: &Place, low_watermark: i64) {
        let seen = self.seen(place);
        seen.trimmed = seen.trimmed.max(low_watermark);
    }

    /// The partition as read from end to end.
    pub fn read(&mut self, place: &Place, log: FinalLog) {
        self.seen(place).log = Some(log);
    }

    /// Every place anyone wrote to.
    pub fn places(&self) -> Vec<Place> {
        self.places.keys().cloned().collect()
    }

    /// How much there is.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for seen in self.places.values() {
            totals.sent += seen.sent.len();
            totals.acked += seen.acked.len();
            totals.polled += seen.polled.len();
            totals.kept += seen.log.as_ref().map_or(0, |log| log.records.len());
        }
        let positions = self.positions.values().flatten();
        totals.commits = positions.filter(|position| matches!(position, Position::Committed(_))).count();
        totals
    }

    fn seen(&mut self, place: &Place) -> &mut Seen {
        // Looked up before it is cloned: this runs once a record.
        if !self.places.contains_key(place) {
            self.places.insert(place.clone(), Seen::default());
        }
        self.places.get_mut(place).expect("inserted above")
    }
}

/// Every broken promise of a history whose places have been [`read`](History::read).
pub fn check(history: &History) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (place, seen) in &history.places {
        match &seen.log {
            Some(log) => check_place(place, seen, log, &mut found),
            None => found.push(Anomaly::Unread(place.clone())),
        }
        check_polls(place, seen, &mut found);
    }
    for ((group, place), positions) in &history.positions {
        let mut highest = i64::MIN;
        for position in positions {
            match *position {
                Position::Committed(offset) => highest = highest.max(offset),
                Position::Fetched(offset) if offset < highest => {
                    found.push(Anomaly::CommittedWentBack(group.clone(), place.clone(), highest, offset));
                }
                // Another member's commit may have succeeded though its answer was lost.
                Position::Fetched(offset) => highest = offset,
            }
        }
    }
    found
}

fn check_place(place: &Place, seen: &Seen, log: &FinalLog, found: &mut Vec<Anomaly>) {
    if log.start < seen.trimmed || log.start > seen.trim_asked {
        found.push(Anomaly::WrongStart(place.clone(), log.start));
    }
    check_log(place, seen, log, found);
    let at: HashMap<i64, Option<RecordId>> = log.records.iter().copied().collect();
    let there: HashSet<RecordId> = log.records.iter().filter_map(|(_, id)| *id).collect();
    for &(id, offset) in &seen.acked {
        if offset < log.start {
            continue;
        }
        if !there.contains(&id) {
            found.push(Anomaly::LostWrite(place.clone(), id, offset));
        } else if at.get(&offset) != Some(&Some(id)) {
            let other = at.get(&offset).copied().flatten();
            found.push(Anomaly::InconsistentOffset(place.clone(), offset, Some(id), other));
        }
    }
    // What a consumer was shown must still be there: nothing is shown before it is safe.
    for &(_, offset, id) in &seen.polled {
        let kept = at.get(&offset).copied();
        if offset >= log.start && kept != Some(id) {
            found.push(Anomaly::InconsistentOffset(place.clone(), offset, id, kept.flatten()));
        }
    }
}

fn check_log(place: &Place, seen: &Seen, log: &FinalLog, found: &mut Vec<Anomaly>) {
    let mut next = log.start;
    let mut first_at: HashMap<RecordId, i64> = HashMap::with_capacity(log.records.len());
    let mut newest: HashMap<u32, RecordId> = HashMap::new();
    for &(offset, id) in &log.records {
        if offset != next {
            found.push(Anomaly::Hole(place.clone(), next, offset));
        }
        next = offset + 1;
        let Some(id) = id.filter(|id| seen.sent.contains(id)) else {
            found.push(Anomaly::Phantom(place.clone(), offset));
            continue;
        };
        // Of every producer: one that is not idempotent sends each record once, whatever the outcome.
        if let Some(first) = first_at.insert(id, offset) {
            found.push(Anomaly::Duplicate(place.clone(), id, first, offset));
            continue;
        }
        if let Some(before) = newest.insert(id.producer, id).filter(|before| before.sequence > id.sequence) {
            found.push(Anomaly::Reordered(place.clone(), before, id));
        }
    }
    if next != log.end {
        found.push(Anomaly::Hole(place.clone(), next, log.end));
    }
}

fn check_polls(place: &Place, seen: &Seen, found: &mut Vec<Anomaly>) {
    let mut newest: HashMap<u64, i64> = HashMap::new();
    for &(session, offset, _) in &seen.polled {
        if let Some(before) = newest.insert(session, offset).filter(|before| *before >= offset) {
            found.push(Anomaly::NonmonotonicPoll(place.clone(), session, before, offset));
        }
    }
}

#[cfg(test)]
mod tests;
