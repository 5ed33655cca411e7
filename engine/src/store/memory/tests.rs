//! The memory store under the conformance suite, and what only it can do.

use super::super::conformance::{self, Testbed, block_on};
use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Bed {
    store: Arc<MemoryStore>,
    failures: Arc<AtomicUsize>,
    keep: CrashPoint,
}

fn bed(store: MemoryStore, keep: CrashPoint) -> Box<dyn Testbed> {
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    store.on_failure(Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    Box::new(Bed { store: Arc::new(store), failures, keep })
}

impl Testbed for Bed {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
    fn crash(self: Box<Self>) -> Box<dyn Testbed> {
        bed(self.store.crash(self.keep), self.keep)
    }
    fn reopen(self: Box<Self>) -> Box<dyn Testbed> {
        bed(self.store.crash(CrashPoint::Durable), self.keep)
    }
    fn open_checkpoint(&self, path: &Path) -> Box<dyn Testbed> {
        bed(MemoryStore::open_checkpoint(path).unwrap(), self.keep)
    }
    fn break_writes(&self) -> bool {
        self.store.fail_next_write("broken by the test");
        true
    }
    fn break_next_read(&self) -> bool {
        self.store.fail_next_read(StoreError::Corrupt("broken by the test".into()));
        true
    }
    fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }
}

#[test]
fn keeps_the_contract_whatever_a_crash_leaves() {
    for keep in [CrashPoint::Durable, CrashPoint::Applied, CrashPoint::Random(3)] {
        conformance::run_all(&|| bed(MemoryStore::new(), keep));
    }
}

fn put(key: &'static str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Meta, key, "v");
    batch
}

fn has(store: &MemoryStore, key: &'static str) -> bool {
    block_on(store.get(Keyspace::Meta, key.into())).unwrap().is_some()
}

#[test]
fn a_stepped_store_moves_only_when_told() {
    let store = MemoryStore::stepped();
    let tickets = [Durability::Os, Durability::Sync, Durability::Os]
        .map(|durability| store.commit(put("key"), durability));
    assert_eq!(store.queued(), 3);
    assert!(!has(&store, "key") && tickets.iter().all(|ticket| ticket.outcome().is_none()));
    assert_eq!(store.step(1), 1);
    assert!(has(&store, "key"), "applied batches are visible");
    assert!(tickets[0].outcome().is_some());
    assert_eq!(store.step(9), 2);
    assert!(
        tickets[1].outcome().is_none() && tickets[2].outcome().is_none(),
        "in order: both wait for the fsync"
    );
    store.sync_applied();
    assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(())))));
}

#[test]
fn a_crash_image_holds_what_was_synced_and_a_prefix_of_the_rest() {
    let store = MemoryStore::stepped();
    let commit = |key| drop(store.commit(put(key), Durability::Sync));
    commit("synced");
    store.sync();
    commit("applied 1");
    commit("applied 2");
    store.step(2);
    commit("queued");
    let held = |keep| {
        let image = store.crash(keep);
        ["synced", "applied 1", "applied 2", "queued"].map(|key| has(&image, key))
    };
    assert_eq!(held(CrashPoint::Durable), [true, false, false, false]);
    assert_eq!(held(CrashPoint::DurablePlus(1)), [true, true, false, false]);
    assert_eq!(held(CrashPoint::Applied), [true, true, true, false]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let image = held(CrashPoint::Random(seed));
        assert!(image[0] && image.windows(2).all(|two| two[0] || !two[1]), "a prefix: {image:?}");
        seen.insert(image);
    }
    assert_eq!(seen.len(), 4, "every prefix is tried");
    assert!(!has(&store, "queued"), "the store itself goes on as it was");
}

#[test]
fn an_observer_may_take_a_lock_that_the_committing_caller_holds() {
    struct Locks(Mutex<u64>);
    impl CommitObserver for Locks {
        fn committed(&self, token: u64) {
            *self.0.lock() = token;
        }
    }
    let store = MemoryStore::new();
    let locks = Arc::new(Locks(Mutex::new(0)));
    let ticket = {
        let _held = locks.0.lock();
        let mut batch = put("key");
        batch.observe(locks.clone(), 7);
        store.commit(batch, Durability::Sync)
    };
    block_on(ticket).unwrap();
    assert_eq!(*locks.0.lock(), 7);
}
