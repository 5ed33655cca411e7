//! A producer with transactions of version 2 (KIP-890) on raw connections, for librdkafka has none.
//!
//! Whatever is not answered in time is sent again on another connection while the first one still lies in a socket: the
//! broker may find it there much later. Each end raises the epoch, so that this must do no harm; the same producer goes on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::codec::RequestResponsePair;
use rdkafka::Offset;

use super::client::{self, TRANSACTION_TIMEOUT};
use super::history::{Key, Value};
use super::sender::{Remedy, Trouble};
use super::workload::place_of;
use crate::ledger::reading::Caller;
use crate::transactions::{end_request, init_request, offsets_request};
use crate::wire::produce_request;

/// One request waits no longer for its answer before it is sent again: less than a pause.
const ANSWER: Duration = Duration::from_secs(2);
/// Everything is asked for again and again for this long.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const PRODUCER_FENCED: i16 = 90;
/// Timed out, not the leader, storage error, loading, not available, not the coordinator, still completing.
const BUSY: [i16; 8] = [5, 6, 7, 14, 15, 16, 51, 56];

/// See the module.
pub struct Version2 {
    address: SocketAddr,
    id: String,
    state: RefCell<State>,
}

struct State {
    caller: Option<Caller>,
    producer_id: i64,
    epoch: i16,
    sequences: HashMap<Key, i32>,
    offsets: HashMap<Value, i64>,
    /// Whether the transaction holds anything.
    is_begun: bool,
}

impl Version2 {
    /// A producer that has no id yet.
    pub fn new(address: SocketAddr, id: String) -> Self {
        let state = State {
            caller: None,
            producer_id: -1,
            epoch: -1,
            sequences: HashMap::new(),
            offsets: HashMap::new(),
            is_begun: false,
        };
        Self { address, id, state: RefCell::new(state) }
    }

    /// Sends until it is answered with something else than that the broker is busy; `None` when patience is over.
    fn ask<R: RequestResponsePair>(
        &self,
        request: &R,
        version: i16,
        patience: Duration,
        error: impl Fn(&R::Response) -> Option<i16>,
    ) -> Option<(i16, R::Response)> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.borrow_mut();
        while Instant::now() < deadline {
            if state.caller.is_none() {
                state.caller = Caller::connect_for(self.address, ANSWER).ok();
            }
            let answer = state.caller.as_mut().and_then(|caller| caller.call(request, version).ok());
            let Some(answer) = answer else {
                // What was sent may still come to be read.
                state.caller = None;
                std::thread::sleep(LOOK_AGAIN);
                continue;
            };
            match error(&answer) {
                Some(code) if BUSY.contains(&code) => std::thread::sleep(LOOK_AGAIN),
                Some(code) => return Some((code, answer)),
                None => return None,
            }
        }
        None
    }

    /// InitProducerId.
    pub(super) fn init(&self, timeout: Duration) -> Result<(), Trouble> {
        let request = init_request(&self.id, TRANSACTION_TIMEOUT);
        match self.ask(&request, 5, timeout, |answer| Some(answer.error_code)) {
            None => Err(Trouble::new(Remedy::Repeat, "InitProducerId: no answer")),
            Some((0, answer)) => {
                self.becomes(answer.producer_id, answer.producer_epoch);
                Ok(())
            }
            Some((code, _)) => Err(Trouble::new(Remedy::None, format!("InitProducerId: error {code}"))),
        }
    }

    fn becomes(&self, producer_id: i64, epoch: i16) {
        let mut state = self.state.borrow_mut();
        (state.producer_id, state.epoch, state.is_begun) = (producer_id, epoch, false);
        state.sequences.clear();
    }

    /// Produce of one record; false when it was refused, or not answered.
    pub(super) fn send(&self, key: Key, value: Value) -> bool {
        let (topic, partition) = place_of(key);
        let batch = {
            let mut state = self.state.borrow_mut();
            state.is_begun = true;
            let sequence = *state.sequences.entry(key).or_default();
            let payload = client::payload(key, value);
            let builder = BatchBuilder::new().producer(state.producer_id, state.epoch, sequence);
            builder.transactional(true).record(1, None, Some(&payload)).build().expect("a small batch")
        };
        let mut request = produce_request(topic, partition, -1, batch);
        request.transactional_id = Some(self.id.as_str().into());
        let answered = self.ask(&request, 12, PATIENCE, |answer| {
            Some(answer.responses.first()?.partition_responses.first()?.error_code)
        });
        let Some((0, answer)) = answered else { return false };
        let offset = answer.responses[0].partition_responses[0].base_offset;
        let mut state = self.state.borrow_mut();
        state.offsets.insert(value, offset);
        *state.sequences.entry(key).or_default() += 1;
        true
    }

    pub(super) fn offset_of(&self, value: Value) -> Option<i64> {
        self.state.borrow().offsets.get(&value).copied()
    }

    /// TxnOffsetCommit of a group without members.
    pub(super) fn send_offsets(&self, positions: Vec<(Key, Offset)>, group: &str) -> Result<(), Trouble> {
        let producer = {
            let mut state = self.state.borrow_mut();
            state.is_begun = true;
            (state.producer_id, state.epoch)
        };
        let offsets = positions.into_iter().filter_map(|(key, offset)| {
            let ((topic, partition), Offset::Offset(offset)) = (place_of(key), offset) else { return None };
            Some((topic, partition, offset))
        });
        let request = offsets_request(&self.id, producer, group, offsets);
        let answered = self.ask(&request, 5, PATIENCE, |answer| {
            let mut errors =
                answer.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code);
            Some(errors.find(|error| *error != 0).unwrap_or(0))
        });
        match answered {
            Some((0, _)) => Ok(()),
            other => Err(Trouble::new(
                Remedy::Abort,
                format!("TxnOffsetCommit: {:?}", other.map(|(code, _)| code)),
            )),
        }
    }

    /// EndTxn.
    pub(super) fn end(&self, commit: bool) -> Result<(), Trouble> {
        let producer = {
            let state = self.state.borrow();
            if !state.is_begun {
                return Ok(());
            }
            (state.producer_id, state.epoch)
        };
        let request = end_request(&self.id, producer, commit);
        let Some((code, answer)) = self.ask(&request, 5, PATIENCE, |answer| Some(answer.error_code)) else {
            return Err(Trouble::new(Remedy::None, "EndTxn: no answer"));
        };
        let remedy = match code {
            0 => {
                self.becomes(answer.producer_id, answer.producer_epoch);
                return Ok(());
            }
            // The coordinator aborted it, or none was begun.
            INVALID_TXN_STATE if commit => Remedy::Abort,
            INVALID_PRODUCER_EPOCH | INVALID_PRODUCER_ID_MAPPING | PRODUCER_FENCED => Remedy::Fenced,
            _ => Remedy::None,
        };
        Err(Trouble::new(remedy, format!("EndTxn: error {code}")))
    }
}
