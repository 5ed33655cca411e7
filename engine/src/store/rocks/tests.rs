//! The RocksDB store under the conformance suite, and what only it can get wrong.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::conformance::{self, Testbed, block_on};
use super::*;

/// Set in the child process whose files may not grow past a limit.
const LIMITED: &str = "CHRONIK_TEST_LIMITED_FILES";

struct Bed {
    directory: Arc<tempfile::TempDir>,
    store: Arc<RocksStore>,
    failures: Arc<AtomicUsize>,
}

fn options() -> RocksOptions {
    let mut options = RocksOptions::new(CommitProfile::Balanced, WalProfile::Low);
    options.housekeeping_delay = Duration::from_millis(200);
    options
}

fn open(path: &Path) -> (Arc<RocksStore>, Arc<AtomicUsize>) {
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    let on_fatal = Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    (RocksStore::open(path, options(), on_fatal).unwrap(), failures)
}

fn bed(directory: tempfile::TempDir) -> Box<dyn Testbed> {
    let (store, failures) = open(directory.path());
    Box::new(Bed { directory: Arc::new(directory), store, failures })
}

fn fresh() -> Box<dyn Testbed> {
    bed(tempfile::tempdir().unwrap())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // A file that compaction removed meanwhile is not part of the image.
        let _ = std::fs::copy(file.path(), to.join(file.file_name()));
    }
}

impl Testbed for Bed {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
    /// What `kill -9` leaves: the files as they are, nothing flushed. Background work is stopped first, or the copy
    /// would mix several moments.
    fn crash(self: Box<Self>) -> Box<dyn Testbed> {
        self.store.inner.housekeeping.stop();
        self.store.inner.database.disable_compact();
        self.store.inner.database.db().cancel_all_background_work(true);
        let image = tempfile::tempdir().unwrap();
        copy(self.directory.path(), image.path());
        bed(image)
    }
    fn reopen(self: Box<Self>) -> Box<dyn Testbed> {
        let Self { directory, store, .. } = *self;
        drop(store);
        let directory = Arc::try_unwrap(directory).unwrap();
        bed(directory)
    }
    fn open_checkpoint(&self, path: &Path) -> Box<dyn Testbed> {
        let image = tempfile::tempdir().unwrap();
        copy(path, image.path());
        bed(image)
    }
    fn break_writes(&self) -> bool {
        std::env::var_os(LIMITED).is_some()
    }
    fn break_next_read(&self) -> bool {
        false
    }
    fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }
}

fn put(key: &'static str, bytes: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Batches, key, vec![1; bytes]);
    batch
}

fn commit(store: &RocksStore, batch: WriteBatch) {
    block_on(store.commit(batch, Durability::Sync)).unwrap();
}

#[test]
fn keeps_the_contract() {
    conformance::run_all(&fresh);
}

/// Run by the next test in a process of its own; elsewhere the bed cannot break writes and this does nothing.
#[test]
fn limited_child() {
    let (_, test) =
        conformance::TESTS.iter().find(|(name, _)| name.starts_with("10: a failed write")).unwrap();
    test(&fresh);
}

#[test]
fn a_log_that_cannot_grow_ends_the_store() {
    // A file size limit stands in for a broken disk: the shell sets it and ignores the signal that comes with it.
    let program = std::env::current_exe().unwrap();
    let script =
        "trap '' XFSZ; ulimit -f 32768; exec \"$0\" --exact store::rocks::tests::limited_child --nocapture";
    let mut child = std::process::Command::new("sh");
    child.arg("-c").arg(script).arg(program).env(LIMITED, "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the store hangs after a failed write");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_directory_in_use_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, _) = open(directory.path());
    let second = RocksStore::open(directory.path(), options(), Box::new(|_| ()));
    assert!(matches!(second.map(|_| ()), Err(OpenError::InUse { .. })));
}

#[test]
fn an_unusable_directory_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = RocksStore::open(&file, options(), Box::new(|_| ())).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Inaccessible { .. }), "{error}");
}

/// The newest log file, and what it holds.
fn newest_log(path: &Path) -> (PathBuf, Vec<u8>) {
    let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let log =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap();
    let content = std::fs::read(&log).unwrap();
    (log, content)
}

#[test]
fn a_store_that_lost_acknowledged_data_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    commit(&store, put("kept", 100));
    commit(&store, put("lost", 100_000));
    // The note is written by itself, a while after the commit.
    let inner = Arc::clone(&store.inner);
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(directory.path().join("durable-sequence")).unwrap().len() == 0 {
        assert!(Instant::now() < deadline, "the note was not written");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(inner);
    drop(store);
    let image = tempfile::tempdir().unwrap();
    copy(directory.path(), image.path());
    let (log, content) = newest_log(image.path());
    let written = content.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    std::fs::write(log, &content[..written - 50_000]).unwrap();
    let error = RocksStore::open(image.path(), options(), Box::new(|_| ())).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::DataLost { noted: 2, recovered: 1, .. }), "{error}");
}

#[test]
fn a_torn_unacknowledged_tail_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    commit(&store, put("kept", 100));
    let image = tempfile::tempdir().unwrap();
    copy(directory.path(), image.path());
    commit(&store, put("torn", 100_000));
    let (log, content) = newest_log(directory.path());
    let written = content.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    std::fs::write(image.path().join(log.file_name().unwrap()), &content[..written - 50_000]).unwrap();
    let (store, _) = open(image.path());
    assert!(block_on(store.get(Keyspace::Batches, "kept".into())).unwrap().is_some());
    assert!(block_on(store.get(Keyspace::Batches, "torn".into())).unwrap().is_none());
}

#[test]
fn a_flipped_bit_fails_the_read_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    commit(&store, put("blob", 50_000));
    block_on(store.close()).unwrap();
    drop(store);
    let files = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
    let blob =
        files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "blob")).unwrap();
    let mut content = std::fs::read(&blob).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(blob, content).unwrap();
    let (store, failures) = open(directory.path());
    let read = block_on(store.get(Keyspace::Batches, "blob".into()));
    assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    let range = Bytes::from("a")..Bytes::from("z");
    let scan = block_on(store.scan(Keyspace::Batches, range, ScanLimit::bytes(1 << 20)));
    assert!(matches!(scan, Err(StoreError::Corrupt(_))), "{scan:?}");
    commit(&store, put("other", 50_000));
    assert!(block_on(store.get(Keyspace::Batches, "other".into())).unwrap().is_some());
    assert_eq!(failures.load(Ordering::SeqCst), 0);
}

#[test]
fn caps_bound_what_one_commit_gathers() {
    let queue = Queue::new(1 << 20);
    let tickets: Vec<Ticket> = (0..7).map(|_| queue.submit(put("key", 100), Durability::Os)).collect();
    assert!(queue.bytes() > 700);
    let sizes = |caps: CommitCaps| {
        let queue = Queue::new(1 << 20);
        let submit = |_| {
            std::thread::sleep(Duration::from_micros(50));
            queue.submit(put("key", 100), Durability::Os)
        };
        let _tickets: Vec<Ticket> = (0..7).map(submit).collect();
        queue.close();
        queue.group_sizes(caps)
    };
    let caps = CommitProfile::Extreme.caps();
    assert_eq!(sizes(CommitCaps { max_batches: 1, ..caps }), [1; 7]);
    assert_eq!(sizes(CommitCaps { max_batches: 3, ..caps }), [3, 3, 1]);
    assert_eq!(sizes(CommitCaps { max_bytes: 210, ..caps }), [2, 2, 2, 1]);
    assert_eq!(sizes(CommitCaps { max_bytes: 10, ..caps }), [1; 7], "a large batch goes alone");
    assert_eq!(
        sizes(CommitCaps { max_span: Duration::from_micros(1), ..caps }),
        [1; 7],
        "none came with another"
    );
    drop(tickets);
}

#[test]
fn a_full_queue_holds_writers_back_until_it_drains() {
    let queue = Queue::new(1_000);
    assert!(queue.room().unwrap().is_none());
    let _ticket = queue.submit(put("key", 2_000), Durability::Os);
    let mut room = queue.room().unwrap().expect("no room");
    assert!(room.try_recv().is_err());
    queue.close();
    assert_eq!(queue.group_sizes(CommitProfile::Extreme.caps()), [1]);
    assert!(room.try_recv().is_ok());
}

#[test]
fn internals_tell_what_happens_inside() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    commit(&store, put("key", 100_000));
    let figures: std::collections::BTreeMap<_, _> = store.internals().into_iter().collect();
    assert_eq!(figures["background_errors"], 0.0);
    assert!(figures["memtable_bytes"] >= 100_000.0, "{figures:?}");
    assert!(figures["wal_bytes"] >= 100_000.0, "{figures:?}");
    assert!(store.size_estimate(Keyspace::Batches, Bytes::from("a")..Bytes::from("z")) > 0);
    assert!(store.disk_usage() >= 100_000);
}
