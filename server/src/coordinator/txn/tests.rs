//! The pure core under a manual clock. After each step a second core that replays the records must be its equal.

use chronik_engine::keys::group::OffsetValue;
use uuid::Uuid;

use super::state::LAST_EPOCH;
use super::*;
use crate::coordinator::limits::{GROUP_ID_BYTES_MAX, GROUPS_PER_TXN_MAX};

const ID: &str = "orders";
const NOW: i64 = 1_700_000_000_000;
const TIMEOUT_MS: i32 = 60_000;

fn partition(index: u32) -> TopicPartition {
    (Uuid::from_u128(1), index)
}

fn offset(offset: i64, serial: u64) -> OffsetValue {
    OffsetValue { offset, serial, ..OffsetValue::default() }
}

struct Driver {
    txns: Transactions,
    replayed: Transactions,
    now_ms: i64,
    next_producer_id: i64,
}

impl Driver {
    fn new() -> Self {
        let config = TxnConfig::default();
        Self {
            txns: Transactions::new(config),
            replayed: Transactions::new(config),
            now_ms: NOW,
            next_producer_id: 100,
        }
    }

    fn run<T>(&mut self, operation: impl FnOnce(&mut Transactions, i64, &mut Vec<Record>) -> T) -> T {
        let mut records = Vec::new();
        let outcome = operation(&mut self.txns, self.now_ms, &mut records);
        for record in &records {
            // Through its stored form.
            let stored = match record {
                Record::Put { transactional_id, txn } => Record::Put {
                    transactional_id: transactional_id.clone(),
                    txn: Txn::from_value(txn.to_value()).unwrap(),
                },
                removed @ Record::Removed { .. } => removed.clone(),
            };
            self.replayed.apply(&stored);
        }
        assert_eq!(self.txns.by_id, self.replayed.by_id, "the records are the state");
        assert_eq!(self.txns.pending, self.replayed.pending);
        outcome
    }

    fn init(&mut self, own: Option<(i64, i16)>) -> Result<Initialized, TxnError> {
        let mut request =
            InitRequest { transactional_id: ID.into(), timeout_ms: TIMEOUT_MS, own, fresh: None };
        loop {
            let outcome = self.run(|txns, now_ms, records| txns.init(now_ms, &request, records));
            if outcome != Ok(Initialized::NeedsProducerId) {
                return outcome;
            }
            request.fresh = Some(self.next_producer_id);
            self.next_producer_id += 1;
        }
    }

    fn begin(&mut self) -> Producer {
        match self.init(None) {
            Ok(Initialized::Ready(producer)) => producer,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, asker: &Asker, index: u32) -> Result<(), TxnError> {
        self.run(|txns, now_ms, records| txns.add_partitions(now_ms, asker, &[partition(index)], records))
    }

    fn end(&mut self, asker: &Asker, commit: bool) -> Result<Ended, TxnError> {
        let mut request = EndRequest { asker: asker.clone(), commit, fresh: None };
        loop {
            let outcome = self.run(|txns, now_ms, records| txns.end(now_ms, &request, records));
            if outcome != Ok(Ended::NeedsProducerId) {
                return outcome;
            }
            request.fresh = Some(self.next_producer_id);
            self.next_producer_id += 1;
        }
    }

    fn complete(&mut self) {
        self.run(|txns, now_ms, records| txns.complete(now_ms, &ID.into(), records));
    }

    fn state(&self) -> TxnState {
        self.txns.get(ID).unwrap().state
    }

    /// Puts the producer's epoch where only years of use would.
    fn set_epoch(&mut self, epoch: i16) {
        let mut txn = self.txns.get(ID).unwrap().clone();
        txn.producer.epoch = Some(epoch);
        self.run(|txns, _, records| txns.commit(&ID.into(), txn, records));
    }
}

fn version_1(producer: Producer) -> Asker {
    Asker {
        transactional_id: ID.into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch_or_none(),
        raises_epochs: false,
    }
}

fn version_2(producer: Producer) -> Asker {
    Asker { raises_epochs: true, ..version_1(producer) }
}

fn prepared(outcome: Result<Ended, TxnError>) -> Producer {
    match outcome {
        Ok(Ended::Prepared(producer)) => producer,
        other => panic!("{other:?}"),
    }
}

fn ready(outcome: Result<Initialized, TxnError>) -> (i64, i16) {
    match outcome {
        Ok(Initialized::Ready(producer)) => (producer.id, producer.epoch_or_none()),
        other => panic!("{other:?}"),
    }
}

// semantics 3.4.1
#[test]
fn each_init_raises_the_epoch_and_bad_ones_are_refused() {
    let mut driver = Driver::new();
    assert_eq!(ready(driver.init(None)), (100, 0));
    assert_eq!(ready(driver.init(None)), (100, 1));
    for timeout_ms in [0, -1, 900_001] {
        let request = InitRequest { transactional_id: ID.into(), timeout_ms, own: None, fresh: None };
        let outcome = driver.run(|txns, now_ms, records| txns.init(now_ms, &request, records));
        assert_eq!(outcome, Err(TxnError::InvalidTimeout));
    }
    let request = InitRequest { transactional_id: "".into(), timeout_ms: 1, own: None, fresh: None };
    let outcome = driver.run(|txns, now_ms, records| txns.init(now_ms, &request, records));
    assert_eq!(outcome, Err(TxnError::InvalidRequest));
}

// semantics 3.4.1
#[test]
fn a_producer_raises_its_own_epoch_and_may_ask_again() {
    let mut driver = Driver::new();
    driver.begin();
    assert_eq!(ready(driver.init(Some((100, 0)))), (100, 1));
    assert_eq!(ready(driver.init(Some((100, 0)))), (100, 1), "the answer was lost");
    assert_eq!(ready(driver.init(Some((100, 1)))), (100, 2));
    for own in [(100, 0), (100, 3), (5, 2)] {
        assert_eq!(driver.init(Some(own)), Err(TxnError::ProducerFenced), "{own:?}");
    }
}

// semantics 3.4.1
#[test]
fn an_init_during_a_transaction_fences_and_aborts_it_first() {
    let mut driver = Driver::new();
    let first = version_1(driver.begin());
    driver.add(&first, 0).unwrap();
    assert_eq!(driver.init(None), Ok(Initialized::Aborting));
    assert_eq!(driver.state(), TxnState::PrepareAbort);
    assert_eq!(driver.init(None), Err(TxnError::Ending));
    assert_eq!(driver.add(&first, 1), Err(TxnError::ProducerFenced));
    driver.complete();
    assert_eq!(ready(driver.init(None)), (100, 2));
    assert_eq!(driver.end(&first, true), Err(TxnError::ProducerFenced));
}

// semantics 3.4.1
#[test]
fn a_producer_whose_epochs_are_used_up_gets_a_new_id() {
    let mut driver = Driver::new();
    driver.begin();
    driver.set_epoch(LAST_EPOCH);
    assert_eq!(ready(driver.init(Some((100, LAST_EPOCH)))), (101, 0));
    assert_eq!(ready(driver.init(Some((100, LAST_EPOCH)))), (101, 0), "it was not told yet");
    assert_eq!(driver.init(Some((100, 3))), Err(TxnError::ProducerFenced));
    driver.set_epoch(LAST_EPOCH);
    assert_eq!(ready(driver.init(None)), (102, 0));
}

// semantics 3.4.2
#[test]
fn only_its_producer_extends_a_transaction() {
    let mut driver = Driver::new();
    let producer = driver.begin();
    let own = version_1(producer);
    let empty = Asker { transactional_id: "".into(), ..own.clone() };
    let unknown = Asker { transactional_id: "other".into(), ..own.clone() };
    let stranger = Asker { producer_id: 5, ..own.clone() };
    assert_eq!(driver.add(&empty, 0), Err(TxnError::InvalidRequest));
    assert_eq!(driver.add(&unknown, 0), Err(TxnError::InvalidProducerIdMapping));
    assert_eq!(driver.add(&stranger, 0), Err(TxnError::InvalidProducerIdMapping));
    for producer_epoch in [-1, 1] {
        let other = Asker { producer_epoch, ..own.clone() };
        assert_eq!(driver.add(&other, 0), Err(TxnError::ProducerFenced));
    }
    assert_eq!(driver.state(), TxnState::Empty);
    driver.add(&own, 0).unwrap();
    driver.now_ms += 10;
    driver.add(&own, 0).unwrap();
    assert_eq!(driver.txns.get(ID).unwrap().started_ms, Some(NOW));
    assert_eq!(driver.txns.verify(&own, &[partition(0), partition(1)]), Ok(vec![true, false]));
    prepared(driver.end(&own, true));
    assert_eq!(driver.add(&own, 1), Err(TxnError::Ending));
    driver.complete();
    driver.add(&own, 1).unwrap();
    assert_eq!(driver.txns.get(ID).unwrap().started_ms, Some(NOW + 10), "the next one");
}

// semantics 3.4.4
#[test]
fn version_1_ends_with_the_epoch_it_has_and_recognises_a_repeat() {
    let mut driver = Driver::new();
    let own = version_1(driver.begin());
    assert_eq!(driver.end(&own, true), Err(TxnError::InvalidState));
    assert_eq!(driver.end(&own, false), Err(TxnError::InvalidState));
    for commit in [true, false] {
        driver.add(&own, 0).unwrap();
        assert_eq!(prepared(driver.end(&own, commit)).epoch, Some(0));
        assert_eq!(driver.end(&own, commit), Err(TxnError::Ending));
        assert_eq!(driver.end(&own, !commit), Err(TxnError::InvalidState));
        driver.complete();
        assert!(matches!(driver.end(&own, commit), Ok(Ended::Already(_))));
        assert_eq!(driver.end(&own, !commit), Err(TxnError::InvalidState));
        assert!(driver.txns.get(ID).unwrap().partitions.is_empty());
    }
}

// semantics 3.4.4
#[test]
fn version_2_raises_the_epoch_at_each_end() {
    let mut driver = Driver::new();
    let first = version_2(driver.begin());
    assert_eq!(driver.end(&first, true), Err(TxnError::InvalidState));
    driver.add(&first, 0).unwrap();
    let second = prepared(driver.end(&first, true));
    assert_eq!(second.epoch, Some(1));
    assert_eq!(driver.end(&first, true), Err(TxnError::Ending));
    driver.complete();
    assert_eq!(driver.end(&first, true), Ok(Ended::Already(driver.txns.get(ID).unwrap().producer)));
    assert_eq!(driver.end(&first, false), Err(TxnError::InvalidState));
    // Nothing was written in the next one: an abort raises the epoch all the same, a commit is a mistake.
    let second = version_2(second);
    assert_eq!(driver.end(&second, true), Err(TxnError::InvalidState));
    let third = version_2(prepared(driver.end(&second, false)));
    assert_eq!(third.producer_epoch, 2);
    driver.complete();
    driver.add(&third, 0).unwrap();
    assert_eq!(
        driver.end(&second, true),
        Err(TxnError::ProducerFenced),
        "it ended, and the next one is open"
    );
}

// semantics 3.4.4
#[test]
fn version_2_changes_the_producer_id_when_the_epochs_are_used_up() {
    let mut driver = Driver::new();
    let mut own = version_2(driver.begin());
    driver.set_epoch(LAST_EPOCH);
    own.producer_epoch = LAST_EPOCH;
    driver.add(&own, 0).unwrap();
    let next = prepared(driver.end(&own, true));
    assert_eq!((next.id, next.epoch), (101, Some(0)));
    let ending = driver.txns.get(ID).unwrap();
    assert_eq!((ending.producer.id, ending.producer.epoch), (100, Some(i16::MAX)), "the markers' epoch");
    driver.complete();
    assert_eq!(driver.end(&own, true), Ok(Ended::Already(next)), "the answer was lost");
    driver.add(&version_2(next), 0).unwrap();
}

// semantics 3.4.6
#[test]
fn a_transaction_past_its_timeout_is_aborted_and_its_producer_fenced() {
    for raises_epochs in [false, true] {
        let mut driver = Driver::new();
        let own = Asker { raises_epochs, ..version_1(driver.begin()) };
        driver.add(&own, 0).unwrap();
        driver.now_ms += i64::from(TIMEOUT_MS);
        let timed_out = driver.run(|txns, now_ms, records| txns.abort_timed_out(now_ms, usize::MAX, records));
        assert!(timed_out.is_empty());
        driver.now_ms += 1;
        let timed_out = driver.run(|txns, now_ms, records| txns.abort_timed_out(now_ms, usize::MAX, records));
        assert_eq!(timed_out, [ID.into()]);
        assert_eq!(driver.state(), TxnState::PrepareAbort);
        driver.complete();
        assert_eq!(driver.add(&own, 0), Err(TxnError::ProducerFenced));
        let fenced = driver.txns.get(ID).unwrap().producer;
        assert_eq!(fenced.epoch, Some(1));
        // Version 2 is told by its own end; either version by asking who it is.
        let ended = if raises_epochs {
            (Ok(Ended::Already(fenced)), Err(TxnError::InvalidState))
        } else {
            (Err(TxnError::ProducerFenced), Err(TxnError::ProducerFenced))
        };
        assert_eq!((driver.end(&own, false), driver.end(&own, true)), ended);
        assert_eq!(driver.init(Some((fenced.id, 0))), Ok(Initialized::Ready(fenced)));
    }
}

// semantics 3.4.1
#[test]
fn the_epoch_behind_the_last_one_is_for_fencing_and_given_to_nobody() {
    for raises_epochs in [false, true] {
        let mut driver = Driver::new();
        let mut own = Asker { raises_epochs, ..version_1(driver.begin()) };
        driver.set_epoch(LAST_EPOCH);
        own.producer_epoch = LAST_EPOCH;
        driver.add(&own, 0).unwrap();
        let own_init = Some((own.producer_id, LAST_EPOCH));
        assert_eq!(driver.init(own_init), Ok(Initialized::Aborting));
        driver.complete();
        let Ok(Initialized::Ready(next)) = driver.init(own_init) else { panic!("the producer goes on") };
        assert_eq!((next.id, next.epoch), (101, Some(0)));
        assert_eq!(driver.add(&own, 0), Err(TxnError::InvalidProducerIdMapping), "a zombie");
    }
}

// semantics 3.4.6
#[test]
fn an_unused_id_is_forgotten_and_an_open_transaction_never() {
    let mut driver = Driver::new();
    let own = version_1(driver.begin());
    driver.add(&own, 0).unwrap();
    driver.now_ms += TxnConfig::default().id_expiration_ms;
    let expire =
        |txns: &mut Transactions, now_ms, records: &mut Vec<Record>| txns.expire_ids(now_ms, records);
    assert_eq!(driver.run(expire), 0);
    prepared(driver.end(&own, true));
    driver.complete();
    assert_eq!(driver.run(expire), 0);
    driver.now_ms += TxnConfig::default().id_expiration_ms;
    assert_eq!(driver.run(expire), 1);
    assert_eq!(driver.add(&own, 0), Err(TxnError::InvalidProducerIdMapping));
}

// semantics 3.4.10
#[test]
fn offsets_wait_for_the_end_of_their_transaction() {
    let mut driver = Driver::new();
    let own = version_1(driver.begin());
    let group: Arc<str> = "g".into();
    let pending = |value| vec![(partition(0), value)];
    let outcome = driver
        .run(|txns, now_ms, records| txns.add_offsets(now_ms, &own, &group, pending(offset(5, 1)), records));
    assert_eq!(outcome, Err(TxnError::NotIncluded));
    driver.run(|txns, now_ms, records| txns.add_group(now_ms, &own, &group, records)).unwrap();
    for value in [offset(5, 1), offset(7, 2)] {
        driver
            .run(|txns, now_ms, records| txns.add_offsets(now_ms, &own, &group, pending(value), records))
            .unwrap();
    }
    assert_eq!(driver.txns.pending_of("g"), [partition(0)]);
    assert_eq!(driver.txns.last_serial(), 2);
    prepared(driver.end(&own, true));
    assert_eq!(driver.txns.pending_of("g"), [partition(0)], "until the end is carried out");
    let ended = driver.txns.get(ID).unwrap().ended_offsets();
    assert_eq!(ended[0].offsets, [(partition(0).0, 0, offset(7, 2))]);
    driver.complete();
    assert!(driver.txns.pending.is_empty());
    // Deleted offsets do not come back.
    let own = version_2(driver.begin());
    driver.run(|txns, now_ms, records| txns.add_group(now_ms, &own, &group, records)).unwrap();
    driver
        .run(|txns, now_ms, records| txns.add_offsets(now_ms, &own, &group, pending(offset(9, 3)), records))
        .unwrap();
    driver.run(|txns, now_ms, records| txns.forget_offsets(now_ms, &group, |_| true, records));
    assert!(driver.txns.pending.is_empty());
    prepared(driver.end(&own, true));
    assert!(driver.txns.get(ID).unwrap().ended_offsets().is_empty());
}

#[test]
fn a_transaction_has_a_bound_of_groups_and_of_their_names() {
    let mut driver = Driver::new();
    let own = version_1(driver.begin());
    let add = |driver: &mut Driver, group: String| {
        driver.run(|txns, now_ms, records| txns.add_group(now_ms, &own, &group.into(), records))
    };
    assert_eq!(add(&mut driver, "g".repeat(GROUP_ID_BYTES_MAX + 1)), Err(TxnError::InvalidRequest));
    for index in 0..GROUPS_PER_TXN_MAX {
        add(&mut driver, index.to_string()).unwrap();
    }
    assert_eq!(add(&mut driver, "one more".into()), Err(TxnError::InvalidRequest));
    add(&mut driver, "0".into()).expect("it is there already");
}

// semantics 3.4.11
#[test]
fn listings_are_filtered_by_state_producer_and_duration() {
    let mut driver = Driver::new();
    let own = version_1(driver.begin());
    driver.add(&own, 0).unwrap();
    driver.now_ms += 10;
    let listed =
        |driver: &Driver, filter: TxnFilter| driver.txns.list(driver.now_ms, &filter, |_| true).len();
    let all = || TxnFilter { longer_than_ms: -1, ..TxnFilter::default() };
    assert_eq!(listed(&driver, all()), 1);
    assert_eq!(listed(&driver, TxnFilter { states: vec![TxnState::Ongoing], ..all() }), 1);
    assert_eq!(listed(&driver, TxnFilter { states: vec![TxnState::Empty], ..all() }), 0);
    assert_eq!(listed(&driver, TxnFilter { producer_ids: vec![7, 100], ..all() }), 1);
    assert_eq!(listed(&driver, TxnFilter { producer_ids: vec![7], ..all() }), 0);
    assert_eq!(listed(&driver, TxnFilter { longer_than_ms: 9, ..all() }), 1);
    assert_eq!(listed(&driver, TxnFilter { longer_than_ms: 10, ..all() }), 0);
    assert_eq!(driver.txns.list(driver.now_ms, &all(), |id| id != ID), []);
    assert_eq!(driver.txns.describe("other"), None);
}

#[test]
fn what_is_stored_is_read_back_or_corrupt() {
    let mut driver = Driver::new();
    let own = version_2(driver.begin());
    driver.add(&own, 3).unwrap();
    driver.add(&own, 4).unwrap();
    let value = driver.txns.get(ID).unwrap().to_value();
    assert_eq!(&Txn::from_value(value.clone()).unwrap(), driver.txns.get(ID).unwrap());
    let broken: [fn(&mut chronik_engine::keys::txn::TxnValue); 3] = [
        |value| value.state = 9,
        |value| value.producer_epoch = Some(70_000),
        |value| value.topics[0].topic = bytes::Bytes::from_static(b"short"),
    ];
    for break_it in broken {
        let mut value = value.clone();
        break_it(&mut value);
        assert!(Txn::from_value(value).is_err());
    }
}
