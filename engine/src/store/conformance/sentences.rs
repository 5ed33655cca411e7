//! One function a sentence of the contract; the numbers are in the names given by [`super::TESTS`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{
    Chunk, CommitObserver, Durability, Keyspace, ScanLimit, Store, StoreError, Ticket, Value, WriteBatch,
};
use super::{Factory, block_on};

const EVERYTHING: ScanLimit = ScanLimit { max_bytes: usize::MAX, max_entries: usize::MAX };

fn key(number: usize) -> Bytes {
    Bytes::copy_from_slice(&(number as u64).to_be_bytes())
}

fn all() -> Range<Bytes> {
    Bytes::new()..Bytes::from_static(&[0xFF; 32])
}

fn put(keyspace: Keyspace, key: impl Into<Bytes>, value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(keyspace, key, Bytes::copy_from_slice(value));
    batch
}

fn commit(store: &dyn Store, batch: WriteBatch) {
    block_on(store.commit(batch, Durability::Sync)).expect("the commit succeeds");
}

fn get(store: &dyn Store, keyspace: Keyspace, key: impl Into<Bytes>) -> Option<Bytes> {
    block_on(store.get(keyspace, key.into())).expect("the read succeeds")
}

fn scan(store: &dyn Store, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> Chunk {
    block_on(store.scan(keyspace, range, limit)).expect("the scan succeeds")
}

fn keys(chunk: &Chunk) -> Vec<Bytes> {
    chunk.entries.iter().map(|(key, _)| key.clone()).collect()
}

/// Waits until `done` or fails saying `what`.
fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn keys_are_ordered_as_unsigned_bytes(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let sorted: [&[u8]; 7] = [b"\0", b"\0\0", b"\0\x01", b"\x7F", b"\x80", b"\x80\0", b"\xFE\xFF"];
    for keyspace in Keyspace::ALL {
        for index in [3, 6, 0, 5, 2, 4, 1] {
            commit(&*store, put(keyspace, Bytes::from_static(sorted[index]), b"v"));
        }
        assert_eq!(keys(&scan(&*store, keyspace, all(), EVERYTHING)), sorted, "{keyspace:?}");
    }
}

pub(super) fn keyspaces_are_apart(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    for keyspace in Keyspace::ALL {
        commit(&*store, put(keyspace, "key", keyspace.name().as_bytes()));
    }
    let mut batch = WriteBatch::new();
    batch.trim(Keyspace::Index, Bytes::new(), all().end);
    batch.delete(Keyspace::Meta, "key");
    commit(&*store, batch);
    assert_eq!(get(&*store, Keyspace::Batches, "key"), Some(Bytes::from("batches")));
    assert_eq!(get(&*store, Keyspace::Meta, "key"), None);
    assert_eq!(get(&*store, Keyspace::Index, "key"), None);
}

pub(super) fn no_read_shows_a_part_of_a_batch(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0_u32;
            while !stop.load(Ordering::Relaxed) || seen == 0 {
                let snapshot = store.snapshot();
                let values =
                    Keyspace::ALL.map(|each| block_on(snapshot.get(each, "pair".into())).expect("reads"));
                assert!(
                    values.windows(2).all(|two| two[0] == two[1]),
                    "a part of a batch was seen: {values:?}"
                );
                seen += u32::from(values[0].is_some());
            }
            seen
        });
        for round in 0..200_usize {
            let mut batch = WriteBatch::new();
            Keyspace::ALL.into_iter().for_each(|each| batch.put(each, "pair", key(round)));
            let durability = if round % 8 == 0 { Durability::Sync } else { Durability::Os };
            block_on(store.commit(batch, durability)).expect("the commit succeeds");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader saw whole batches") > 0);
    });
}

pub(super) fn a_crash_leaves_a_prefix_of_whole_batches(make: Factory<'_>) {
    for synced in [0_usize, 1, 7, 20] {
        let bed = make();
        let store = bed.store();
        let mut last_synced = None;
        for number in 0..20 {
            let mut batch = WriteBatch::new();
            batch.put(Keyspace::Batches, key(number), vec![7; 10_000]);
            batch.put(Keyspace::Index, key(number), key(number));
            let durability = if number + 1 == synced { Durability::Sync } else { Durability::Os };
            let ticket = store.commit(batch, durability);
            if number + 1 == synced {
                last_synced = Some(ticket);
            }
        }
        last_synced.into_iter().for_each(|ticket| block_on(ticket).expect("the commit succeeds"));
        drop(store);
        let bed = bed.crash();
        let store = bed.store();
        let batches = keys(&scan(&*store, Keyspace::Batches, all(), EVERYTHING));
        assert_eq!(batches, keys(&scan(&*store, Keyspace::Index, all(), EVERYTHING)), "whole batches");
        assert!(batches.len() >= synced, "{synced} were durable, {} are left", batches.len());
        assert_eq!(batches, (0..batches.len()).map(key).collect::<Vec<_>>(), "no hole");
    }
}

pub(super) fn the_last_commit_wins(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let mut tickets = Vec::new();
    for number in 0..500_usize {
        let durability = if number % 3 == 0 { Durability::Sync } else { Durability::Os };
        tickets.push(store.commit(put(Keyspace::Index, "same", &key(number)), durability));
    }
    tickets.into_iter().for_each(|ticket| block_on(ticket).expect("the commit succeeds"));
    assert_eq!(get(&*store, Keyspace::Index, "same"), Some(key(499)));
}

pub(super) fn operations_of_a_batch_apply_in_order(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Index, "a", "early");
    batch.put(Keyspace::Index, "b", "early");
    batch.trim(Keyspace::Index, "a", "z");
    batch.put(Keyspace::Index, "b", "late");
    batch.put(Keyspace::Index, "c", "late");
    batch.delete(Keyspace::Index, "c");
    batch.delete(Keyspace::Index, "never there");
    commit(&*store, batch);
    assert_eq!(get(&*store, Keyspace::Index, "a"), None);
    assert_eq!(get(&*store, Keyspace::Index, "b"), Some(Bytes::from("late")));
    assert_eq!(get(&*store, Keyspace::Index, "c"), None);
}

#[derive(Default)]
struct Log(Mutex<Vec<u64>>);

impl CommitObserver for Log {
    fn committed(&self, token: u64) {
        self.0.lock().push(token);
    }
}

pub(super) fn observers_are_told_in_order_before_tickets(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let log = Arc::new(Log::default());
    let tickets: Vec<Ticket> = (0..300_u64)
        .map(|token| {
            let mut batch = put(Keyspace::Meta, key(token as usize), b"v");
            batch.observe(log.clone(), token);
            let durability = if token % 5 == 0 { Durability::Sync } else { Durability::Os };
            store.commit(batch, durability)
        })
        .collect();
    for (token, ticket) in tickets.into_iter().enumerate() {
        block_on(ticket).expect("the commit succeeds");
        assert!(log.0.lock().len() > token, "ticket {token} resolved before its observer was told");
    }
    assert_eq!(*log.0.lock(), (0..300).collect::<Vec<_>>());
}

pub(super) fn a_resolved_sync_ticket_covers_all_before(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    for number in 0..50 {
        // Tickets dropped on purpose: nobody waits for these.
        drop(store.commit(put(Keyspace::Batches, key(number), b"before"), Durability::Os));
    }
    block_on(store.commit(put(Keyspace::Batches, key(50), b"synced"), Durability::Sync)).expect("synced");
    drop(store);
    let bed = bed.crash();
    let left = keys(&scan(&*bed.store(), Keyspace::Batches, all(), EVERYTHING));
    assert_eq!(left, (0..51).map(key).collect::<Vec<_>>());
}

pub(super) fn what_was_closed_is_there_again(make: Factory<'_>) {
    let mut bed = make();
    for round in 0..3 {
        let store = bed.store();
        assert_eq!(scan(&*store, Keyspace::Batches, all(), EVERYTHING).entries.len(), round * 10);
        for number in 0..10 {
            let batch = put(Keyspace::Batches, key(round * 10 + number), &vec![round as u8; 20_000]);
            drop(store.commit(batch, Durability::Os));
        }
        block_on(store.close()).expect("closes");
        drop(store);
        bed = bed.reopen();
    }
    let chunk = scan(&*bed.store(), Keyspace::Batches, all(), EVERYTHING);
    assert_eq!(keys(&chunk), (0..30).map(key).collect::<Vec<_>>());
    assert!(chunk.entries.iter().all(|(_, value)| value.len() == 20_000));
}

pub(super) fn a_read_after_the_ticket_sees_the_batch(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    for number in 0..100_usize {
        let durability = if number % 2 == 0 { Durability::Sync } else { Durability::Os };
        block_on(store.commit(put(Keyspace::Index, "key", &key(number)), durability)).expect("commits");
        assert_eq!(get(&*store, Keyspace::Index, "key"), Some(key(number)));
        assert_eq!(scan(&*store, Keyspace::Index, all(), EVERYTHING).entries[0].1, key(number));
        let snapshot = store.snapshot();
        assert_eq!(block_on(snapshot.get(Keyspace::Index, "key".into())).expect("reads"), Some(key(number)));
    }
}

pub(super) fn a_snapshot_shows_one_moment(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    for number in 0..20 {
        commit(&*store, put(Keyspace::Batches, key(number), &vec![1; 9_000]));
    }
    let snapshot = store.snapshot();
    let mut batch = WriteBatch::new();
    batch.trim(Keyspace::Batches, key(0), key(5));
    batch.delete(Keyspace::Batches, key(10));
    batch.put(Keyspace::Batches, key(15), vec![2; 9_000]);
    batch.put(Keyspace::Batches, key(99), vec![2; 9_000]);
    commit(&*store, batch);
    let then = block_on(snapshot.scan(Keyspace::Batches, all(), EVERYTHING)).expect("scans");
    assert_eq!(keys(&then), (0..20).map(key).collect::<Vec<_>>());
    assert!(then.entries.iter().all(|(_, value)| value.iter().all(|&byte| byte == 1)));
    assert_eq!(block_on(snapshot.get(Keyspace::Batches, key(99))).expect("reads"), None);
    assert_eq!(scan(&*store, Keyspace::Batches, all(), EVERYTHING).entries.len(), 20 - 5 - 1 + 1);
}

pub(super) fn a_trimmed_range_is_gone_at_once(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    (0..30).for_each(|number| commit(&*store, put(Keyspace::Batches, key(number), b"v")));
    let mut batch = WriteBatch::new();
    batch.trim(Keyspace::Batches, key(10), key(20));
    batch.trim(Keyspace::Batches, key(25), key(25));
    batch.trim(Keyspace::Batches, key(29), key(3));
    commit(&*store, batch);
    let expected: Vec<Bytes> = (0..10).chain(20..30).map(key).collect();
    assert_eq!(
        keys(&scan(&*store, Keyspace::Batches, all(), EVERYTHING)),
        expected,
        "half-open, and empty ranges"
    );
    assert_eq!(get(&*store, Keyspace::Batches, key(10)), None);
    commit(&*store, put(Keyspace::Batches, key(12), b"again"));
    assert_eq!(
        get(&*store, Keyspace::Batches, key(12)),
        Some(Bytes::from("again")),
        "the range can be used again"
    );
}

pub(super) fn trimmed_space_comes_back_by_itself(make: Factory<'_>) {
    space_comes_back(make, |batch, all| batch.trim(Keyspace::Batches, all.start, all.end));
}

pub(super) fn reclaimed_space_comes_back_by_itself(make: Factory<'_>) {
    space_comes_back(make, |batch, all| {
        for number in 0..VALUES {
            let name = [b"log".as_slice(), &key(number)].concat();
            // Every 16th is overwritten by something small, which stays.
            match number % 16 {
                0 => batch.put(Keyspace::Batches, name, "short"),
                _ => batch.delete(Keyspace::Batches, name),
            }
        }
        batch.reclaim(Keyspace::Batches, all.start, all.end);
        // What is not meant, or is no range, is left alone.
        batch.reclaim(Keyspace::Batches, "kept", "a");
    });
}

const VALUES: usize = 1024;

fn space_comes_back(make: Factory<'_>, remove: impl FnOnce(&mut WriteBatch, std::ops::Range<Bytes>)) {
    let bed = make();
    let store = bed.store();
    let mut random = super::Random(8);
    // Two logs written in turn: one is kept. Values above and below any threshold for storing them apart.
    let mut kept_bytes = 0;
    for number in 0..VALUES {
        let mut value = vec![0; if number % 4 == 0 { 2_000 } else { 65_536 }];
        value
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&random.next().to_be_bytes()[..chunk.len()]));
        let mut batch = WriteBatch::new();
        if number % 8 == 1 {
            kept_bytes += value.len() as u64;
            batch.put(Keyspace::Batches, [b"kept".as_slice(), &key(number)].concat(), value.clone());
        }
        batch.put(Keyspace::Batches, [b"log".as_slice(), &key(number)].concat(), value);
        drop(store.commit(batch, Durability::Os));
    }
    let mut batch = WriteBatch::new();
    let name = |number| Bytes::from([b"log".as_slice(), &key(number)].concat());
    remove(&mut batch, name(0)..name(VALUES));
    let before = store.disk_usage();
    commit(&*store, batch);
    // Room for half as much garbage again, and for logs and indexes.
    let goal = kept_bytes * 5 / 2 + (8 << 20);
    eventually(&format!("space comes back ({before} to {goal} bytes)"), Duration::from_secs(60), || {
        store.disk_usage() < goal
    });
    let kept = scan(&*store, Keyspace::Batches, all(), EVERYTHING).entries;
    let kept = kept.iter().filter(|(key, _)| key.starts_with(b"kept")).count();
    assert_eq!(kept, VALUES / 8, "what was kept is there");
}

pub(super) fn scans_honour_both_bounds(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    (0..20).for_each(|number| commit(&*store, put(Keyspace::Index, key(2 * number), b"v")));
    let scanned = |from, to| keys(&scan(&*store, Keyspace::Index, key(from)..key(to), EVERYTHING));
    assert_eq!(scanned(4, 10), [key(4), key(6), key(8)], "start included, end excluded");
    assert_eq!(scanned(5, 11), [key(6), key(8), key(10)]);
    assert!(scanned(7, 7).is_empty());
    assert!(scanned(9, 3).is_empty());
    assert!(scanned(39, 100).is_empty());
    assert_eq!(scanned(38, 100), [key(38)]);
}

pub(super) fn scans_stop_at_their_budget_never_empty(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    (0..10).for_each(|number| commit(&*store, put(Keyspace::Batches, key(number), &vec![3; 10_000])));
    let scanned = |limit| {
        let chunk = scan(&*store, Keyspace::Batches, key(0)..key(10), limit);
        (chunk.entries.len(), chunk.more)
    };
    assert_eq!(scanned(ScanLimit::bytes(30_000)), (3, true), "exactly the budget");
    assert_eq!(scanned(ScanLimit::bytes(29_999)), (2, true));
    assert_eq!(scanned(ScanLimit::bytes(1)), (1, true), "never nothing");
    assert_eq!(scanned(ScanLimit::bytes(0)), (1, true), "never nothing");
    assert_eq!(scanned(ScanLimit::bytes(100_000)), (10, false));
    assert_eq!(scanned(ScanLimit::entries(4)), (4, true));
    assert_eq!(scanned(ScanLimit::entries(10)), (10, false), "nothing more");
    assert_eq!(scanned(ScanLimit { max_bytes: 50_000, max_entries: 2 }), (2, true));
    let walked =
        block_on(super::super::scan_all(&*store, Keyspace::Batches, key(0)..key(10))).expect("scans");
    assert_eq!(walked.len(), 10);
}

pub(super) fn a_failed_write_is_final(make: Factory<'_>) {
    let bed = make();
    if !bed.break_writes() {
        return;
    }
    let store = bed.store();
    let tickets: Vec<Ticket> = (0..256)
        .map(|number| store.commit(put(Keyspace::Batches, key(number), &vec![9; 1 << 20]), Durability::Sync))
        .collect();
    let outcomes: Vec<_> = tickets.into_iter().map(block_on).collect();
    let first = outcomes.iter().position(Result::is_err).expect("a write fails");
    for outcome in &outcomes[first..] {
        assert!(matches!(outcome, Err(StoreError::WriteFailed(_))), "waiting tickets fail: {outcome:?}");
    }
    let later = block_on(store.commit(put(Keyspace::Meta, "later", b"v"), Durability::Os));
    assert!(matches!(later, Err(StoreError::WriteFailed(_))), "later tickets fail: {later:?}");
    assert!(block_on(store.ready()).is_err(), "writers are not left waiting");
    assert_eq!(bed.failures(), 1, "the failure handler is called once");
    if first > 0 {
        assert!(get(&*store, Keyspace::Batches, key(0)).is_some(), "reads go on");
    }
}

pub(super) fn a_failed_read_fails_that_read_only(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    commit(&*store, put(Keyspace::Batches, "key", b"v"));
    if !bed.break_next_read() {
        return;
    }
    assert!(block_on(store.get(Keyspace::Batches, "key".into())).is_err());
    assert_eq!(get(&*store, Keyspace::Batches, "key"), Some(Bytes::from("v")));
    commit(&*store, put(Keyspace::Batches, "other", b"v"));
    assert_eq!(bed.failures(), 0);
}

pub(super) fn two_part_values_are_joined(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    for (number, (head, body)) in
        [("head", "body"), ("", "body"), ("head", ""), ("", "")].into_iter().enumerate()
    {
        let mut batch = WriteBatch::new();
        batch.put(Keyspace::Batches, key(number), Value { head: head.into(), body: body.into() });
        assert_eq!(batch.bytes(), 8 + head.len() + body.len());
        commit(&*store, batch);
        assert_eq!(get(&*store, Keyspace::Batches, key(number)), Some(Bytes::from(format!("{head}{body}"))));
    }
}

pub(super) fn a_checkpoint_is_a_store_of_its_own(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    (0..10).for_each(|number| commit(&*store, put(Keyspace::Batches, key(number), &vec![4; 20_000])));
    let directory =
        std::env::temp_dir().join(format!("chronik-checkpoint-{}-{:p}", std::process::id(), &bed));
    block_on(store.checkpoint(&directory)).expect("a checkpoint");
    assert!(block_on(store.checkpoint(&directory)).is_err(), "the path must not exist");
    let mut batch = WriteBatch::new();
    batch.trim(Keyspace::Batches, key(0), key(10));
    commit(&*store, batch);
    let copy = bed.open_checkpoint(&directory);
    assert_eq!(scan(&*copy.store(), Keyspace::Batches, all(), EVERYTHING).entries.len(), 10);
    commit(&*copy.store(), put(Keyspace::Batches, key(10), b"v"));
    assert!(scan(&*store, Keyspace::Batches, all(), EVERYTHING).entries.is_empty());
    drop(copy);
    std::fs::remove_dir_all(directory).expect("removes the checkpoint");
}

pub(super) fn a_closed_store_refuses_commits(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let waiting: Vec<Ticket> = (0..50)
        .map(|number| store.commit(put(Keyspace::Index, key(number), b"v"), Durability::Sync))
        .collect();
    block_on(store.close()).expect("closes");
    for ticket in waiting {
        assert!(matches!(ticket.outcome(), Some(Ok(()))), "close waits for what was queued");
    }
    let late = block_on(store.commit(put(Keyspace::Index, "late", b"v"), Durability::Os));
    assert!(matches!(late, Err(StoreError::Closed)));
    assert!(matches!(block_on(store.ready()), Err(StoreError::Closed)));
    assert_eq!(bed.failures(), 0);
}

pub(super) fn writers_wait_for_room(make: Factory<'_>) {
    let bed = make();
    let store = bed.store();
    let mut tickets = Vec::new();
    for number in 0..200 {
        block_on(store.ready()).expect("there is room, or will be");
        tickets.push(store.commit(put(Keyspace::Batches, key(number), &vec![5; 1 << 20]), Durability::Os));
    }
    tickets.into_iter().for_each(|ticket| block_on(ticket).expect("the commit succeeds"));
}
