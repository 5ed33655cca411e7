//! The coordinator over a store that crashes between any two of its batches.

use std::time::Duration;

use chronik_engine::EngineOptions;
use chronik_engine::log::{Isolation, LogConfig, Vouched};
use chronik_engine::store::{CrashPoint, MemoryStore, Store};
use chronik_engine::topic::TopicOverrides;
use chronik_protocol::batch::{BatchBuilder, ValidBatch, validate};
use uuid::Uuid;

use super::*;
use crate::config::{BrokerConfig, Sources};
use crate::coordinator::group::{CommitRequest, FetchRequest, OffsetToCommit};
use crate::handlers::testing::OPTIONS;

const NOW: i64 = 1_700_000_000_000;
const ID: &str = "orders";
const GROUP: &str = "g";

/// A store that commits only when told, and what runs on it.
struct Bed {
    store: Arc<MemoryStore>,
    engine: Arc<Engine>,
    groups: GroupCoordinator,
    txns: Arc<TxnCoordinator>,
    clock: Clock,
}

/// Runs `work`, making everything durable that it waits for.
async fn synced<T: Send + 'static>(
    store: &Arc<MemoryStore>,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = tokio::spawn(work);
    while !task.is_finished() {
        store.sync();
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    task.await.unwrap()
}

fn config() -> BrokerConfig {
    crate::config::load(&Sources::default()).expect("the defaults are good")
}

impl Bed {
    async fn open(store: MemoryStore) -> Self {
        let store = Arc::new(store);
        let stores: Vec<Arc<dyn Store>> = vec![store.clone()];
        let resolve = |_: &TopicOverrides| LogConfig::default();
        let options = EngineOptions { ring_bytes: 0, resolve: Box::new(resolve) };
        let engine = synced(&store, Engine::open(stores, options)).await.unwrap();
        let clock = Clock::manual(NOW);
        let (opened, time) = (engine.clone(), clock.clone());
        let groups =
            synced(
                &store,
                async move { GroupCoordinator::open(&opened, &config().group, time).await.unwrap() },
            )
            .await;
        let opening =
            TxnCoordinator::open(engine.clone(), groups.clone(), TxnConfig::default(), clock.clone());
        let txns = synced(&store, opening).await.unwrap();
        Self { store, engine, groups, txns, clock }
    }

    /// What is left when everything stops now and `batches` of those on their way were written.
    async fn after_crash(&self, batches: usize) -> Self {
        Self::open(self.store.crash(CrashPoint::DurablePlus(batches))).await
    }

    fn log(&self, index: i32) -> Arc<PartitionLog> {
        self.engine.topics().get("t").unwrap().log(index).unwrap().clone()
    }

    fn topic(&self) -> Uuid {
        self.engine.topics().get("t").unwrap().id
    }

    async fn begin(&self) -> Asker {
        let txns = self.txns.clone();
        let request = InitRequest { transactional_id: ID.into(), timeout_ms: 60_000, own: None, fresh: None };
        let producer = synced(&self.store, async move { txns.init(request).await }).await.unwrap();
        Asker {
            transactional_id: ID.into(),
            producer_id: producer.id,
            producer_epoch: producer.epoch_or_none(),
            raises_epochs: true,
        }
    }

    /// A record on both partitions, and an offset of the group.
    async fn write(&self, asker: &Asker) {
        for index in 0..2 {
            let log = self.log(index);
            let batch = batch(asker);
            let append = || log.append_vouched(&batch, NOW, Vouched::Implicitly).unwrap();
            self.txns.append_first(asker, (self.topic(), index.unsigned_abs()), append).unwrap();
        }
        let request = commit_of(self.topic(), 7);
        let (groups, txns, topic, asker) =
            (self.groups.clone(), self.txns.clone(), self.topic(), asker.clone());
        synced(&self.store, async move {
            txns.include_group(&asker, &GROUP.into()).unwrap();
            let admitted = groups.admit_transactional(request).await.unwrap();
            let kept = admitted.into_iter().map(|value| ((topic, 0), value.unwrap())).collect();
            txns.add_offsets(&asker, &GROUP.into(), kept).await.unwrap();
        })
        .await;
    }

    /// Ends the transaction as far as that goes without the disk; returns how many batches are on their way.
    async fn end(&self, asker: &Asker, commit: bool) -> usize {
        let (txns, request) = (self.txns.clone(), EndRequest { asker: asker.clone(), commit, fresh: None });
        let task = tokio::spawn(async move { txns.end(request).await });
        let mut queued = 0;
        let mut still = 0;
        while still < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            still = if self.store.queued() == queued { still + 1 } else { 0 };
            queued = self.store.queued();
        }
        assert!(!task.is_finished(), "no answer before it is durable");
        task.abort();
        queued
    }

    fn state(&self) -> TxnState {
        self.txns.state.lock().transactions.get(ID).unwrap().state
    }

    async fn committed_offset(&self) -> Option<i64> {
        let groups = self.groups.clone();
        let request = FetchRequest { group_id: GROUP.into(), partitions: Some(vec![(self.topic(), 0)]) };
        let found = synced(&self.store, async move { groups.fetch_offsets(request).await }).await.unwrap();
        found[0].committed.as_ref().map(|value| value.offset)
    }

    /// What a reader of committed data sees: stable end, and how many transactions it skips.
    async fn seen(&self, index: i32) -> (i64, usize) {
        let log = self.log(index);
        let read = synced(&self.store, async move { log.read(0, 1 << 20, true, Isolation::Committed).await });
        let read = read.await.unwrap();
        (read.offsets.last_stable_offset, read.aborted.len())
    }
}

/// A simple consumer's commit for partition 0.
fn commit_of(topic: Uuid, offset: i64) -> CommitRequest {
    CommitRequest {
        group_id: GROUP.into(),
        member_id: "".into(),
        instance_id: None,
        generation: -1,
        retention_ms: None,
        knows_group_not_found: false,
        offsets: vec![OffsetToCommit {
            topic,
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }],
    }
}

fn batch(asker: &Asker) -> ValidBatch {
    let builder = BatchBuilder::new()
        .producer(asker.producer_id, asker.producer_epoch, 0)
        .transactional(true)
        .record(NOW, None, Some(b"v"));
    validate(builder.build().unwrap(), &OPTIONS).unwrap()
}

async fn topic_bed() -> Bed {
    let bed = Bed::open(MemoryStore::stepped()).await;
    let engine = bed.engine.clone();
    synced(&bed.store, async move { engine.create_topic("t", 2, TopicOverrides::new(), NOW).await })
        .await
        .unwrap();
    bed
}

// semantics 3.4.12
#[tokio::test]
async fn an_end_that_a_crash_cut_short_anywhere_is_carried_out_whole() {
    for commit in [true, false] {
        let bed = topic_bed().await;
        let asker = bed.begin().await;
        bed.write(&asker).await;
        let on_their_way = bed.end(&asker, commit).await;
        // The decision, two markers, the completion; and the group's offset, if it counts.
        assert_eq!(on_their_way, if commit { 5 } else { 4 });
        for written in 0..=on_their_way {
            let after = bed.after_crash(written).await;
            if written == 0 {
                assert_eq!(after.state(), TxnState::Ongoing);
                assert_eq!((after.seen(0).await.0, after.committed_offset().await), (0, None));
                assert_eq!(after.txns.pending_of(GROUP), [(after.topic(), 0)]);
                continue;
            }
            let complete = if commit { TxnState::CompleteCommit } else { TxnState::CompleteAbort };
            assert_eq!(after.state(), complete, "{written} of {on_their_way}");
            for index in 0..2 {
                let (stable, aborted) = after.seen(index).await;
                assert_eq!((stable, aborted), (2, usize::from(!commit)), "{written} of {on_their_way}");
                assert!(after.log(index).open_transactions().is_empty());
            }
            assert_eq!(after.committed_offset().await, commit.then_some(7), "{written}");
            assert_eq!(after.txns.pending_of(GROUP), []);
        }
    }
}

// semantics 3.4.12
#[tokio::test]
async fn what_is_open_in_a_log_and_in_no_transaction_is_aborted_at_the_start() {
    let bed = topic_bed().await;
    let asker = bed.begin().await;
    // As if the decision had been on another shard, and lost.
    bed.log(1).append_vouched(&batch(&asker), NOW, Vouched::Explicitly).unwrap();
    bed.store.sync();
    let after = bed.after_crash(0).await;
    assert_eq!(after.seen(1).await, (2, 1));
}

// semantics 3.4.6
#[tokio::test]
async fn an_abandoned_transaction_is_aborted_in_the_logs_too() {
    let bed = topic_bed().await;
    let asker = bed.begin().await;
    bed.write(&asker).await;
    bed.clock.advance(60_001);
    let txns = bed.txns.clone();
    synced(&bed.store, async move { txns.abort_timed_out().await }).await;
    assert_eq!(bed.state(), TxnState::CompleteAbort);
    assert_eq!(bed.seen(0).await, (2, 1));
    assert!(matches!(bed.log(0).append(&batch(&asker), NOW), Err(AppendError::StaleProducerEpoch { .. })));
}

// An administrator's marker with another coordinator's epoch made the log refuse ours, and the end was called complete.
#[tokio::test]
async fn a_marker_by_hand_with_any_coordinator_epoch_does_not_stop_later_ends() {
    let bed = topic_bed().await;
    let mut asker = bed.begin().await;
    bed.write(&asker).await;
    let by_hand = Marker {
        producer_id: asker.producer_id,
        producer_epoch: asker.producer_epoch,
        coordinator_epoch: 10,
        commit: false,
        raises_epoch: false,
    };
    bed.log(0).append_marker(&by_hand, NOW).unwrap();
    for stable in [4, 6] {
        let txns = bed.txns.clone();
        let request = EndRequest { asker: asker.clone(), commit: true, fresh: None };
        let producer = synced(&bed.store, async move { txns.end(request).await }).await.unwrap();
        assert_eq!(bed.state(), TxnState::CompleteCommit);
        // The record by hand aborted is the only one to skip.
        assert_eq!(bed.seen(0).await, (stable - 1, 1));
        asker.producer_epoch = producer.epoch_or_none();
        if stable == 4 {
            bed.write(&asker).await;
        }
    }
    let after = bed.after_crash(0).await;
    assert_eq!(after.seen(0).await, (5, 1), "nothing is left for the start to abort");
}

// semantics 3.7.8
#[tokio::test]
async fn a_group_stays_while_an_offset_waits_for_it() {
    let bed = topic_bed().await;
    let asker = bed.begin().await;
    bed.write(&asker).await;
    bed.clock.advance(30 * 24 * 3_600_000);
    let listed = |bed: &Bed| {
        let groups = bed.groups.clone();
        async move { groups.list(Vec::new(), Vec::new()).await.unwrap().len() }
    };
    // The first one's turn ends with the timers that are due.
    for _ in 0..2 {
        assert_eq!(synced(&bed.store, listed(&bed)).await, 1);
    }
}

// semantics 3.4.10
#[tokio::test]
async fn a_commit_outside_of_the_transaction_that_came_later_stays() {
    let bed = topic_bed().await;
    let asker = bed.begin().await;
    bed.write(&asker).await;
    let (groups, topic) = (bed.groups.clone(), bed.topic());
    let request = commit_of(topic, 9);
    synced(&bed.store, async move { groups.commit_offsets(request).await }).await.unwrap();
    let txns = bed.txns.clone();
    let request = EndRequest { asker, commit: true, fresh: None };
    let producer = synced(&bed.store, async move { txns.end(request).await }).await.unwrap();
    assert_eq!(producer.epoch, Some(1));
    assert_eq!(bed.committed_offset().await, Some(9));
    let after = bed.after_crash(0).await;
    assert_eq!(after.committed_offset().await, Some(9), "and after a restart");
}
