//! `restore` after a broker was lost in the middle of things: transactions without their ends, offsets committed behind what was
//! copied, partitions and topics younger than the last copy of the metadata, and restores that were themselves cut off.
//!
//! Seeded by `TEST_SEED`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::create_partitions_request::CreatePartitionsTopic;
use chronik_protocol::message;
use chronik_tests::broker::{Broker, binary};
use chronik_tests::object_store::{Kind, LATEST_TIERED, ObjectStore, TIERED, tiered_broker};
use chronik_tests::random::Random;
use chronik_tests::transactions::{Producer, init_request, stable_offset};
use chronik_tests::wire::{Client, fetch_request, produce_request};

/// More than half a segment of [`TIERED`]: each batch is a segment of its own, and the last of a log stays local.
const VALUE_BYTES: usize = 200_000;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

fn restore(store: &ObjectStore, dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["restore", "--json", "--from", &store.url(), "-d"]).arg(dir);
    command.envs(store.env().iter().cloned()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn report(command: &mut Command) -> serde_json::Value {
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Waits until a partition is in the bucket up to before `next`.
fn copied(broker: &Broker, client: &mut Client, topic: &str, partition: i32, next: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (error, tiered, _) = client.offset_at(topic, partition, LATEST_TIERED);
        assert_eq!(error, 0);
        if tiered >= next - 1 {
            return;
        }
        assert!(Instant::now() < deadline, "{topic}-{partition} is not copied\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Error, high watermark, stable offset and first offsets of aborted transactions, as a reader of committed records sees them.
fn fetch_committed(client: &mut Client, topic: &str) -> (i16, i64, i64, Vec<i64>) {
    let mut request = fetch_request(topic, 0, 0);
    request.isolation_level = 1;
    let answer = client.call(&request, 11);
    let partition = &answer.responses[0].partitions[0];
    let aborted = partition.aborted_transactions.iter().flatten().map(|txn| txn.first_offset).collect();
    (partition.error_code, partition.high_watermark, partition.last_stable_offset, aborted)
}

/// One batch of an idempotent producer: error and base offset.
fn produce_once(
    client: &mut Client,
    topic: &str,
    producer: (i64, i16),
    sequence: i32,
    value: &[u8],
) -> (i16, i64) {
    let builder = BatchBuilder::new().producer(producer.0, producer.1, sequence);
    let batch = builder.record(1, None, Some(value)).build().expect("a small batch");
    let answer = client.call(&produce_request(topic, 0, -1, batch), 8);
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// A broker in whose logs a transaction each was committed and aborted, whose last batches and markers are not copied.
struct Lost {
    committed: Producer,
    idempotent: (i64, i16),
    values: Vec<Bytes>,
}

/// As long as Kafka lets a name be.
fn long_name() -> String {
    "n".repeat(249)
}

fn lose(store: &ObjectStore, dice: &mut Random) -> Lost {
    let mut broker = tiered_broker(store.env()).start();
    let mut client = Client::connect(broker.kafka_addr());
    let long = long_name();
    for topic in [&long, "aborted", "once", "open"] {
        client.create_topic_with(topic, 1, &TIERED);
    }
    let values: Vec<Bytes> = (0..3).map(|_| Bytes::from(dice.bytes(VALUE_BYTES))).collect();
    let mut committed = Producer::start(&mut client, "committed");
    let mut aborted = Producer::start(&mut client, "aborted");
    let mut open = Producer::start(&mut client, "open");
    let idempotent = {
        let mut request = init_request("", Duration::from_secs(60));
        request.transactional_id = None;
        let answer = client.call(&request, 3);
        (answer.producer_id, answer.producer_epoch)
    };
    for (sequence, value) in values.iter().enumerate() {
        committed.produce(&mut client, &long, 1, std::slice::from_ref(value));
        aborted.produce(&mut client, "aborted", 1, std::slice::from_ref(value));
        let placed = produce_once(&mut client, "once", idempotent, sequence as i32, value);
        assert_eq!(placed, (0, sequence as i64));
    }
    committed.commit_offset(&mut client, "group", "once", 3);
    assert_eq!((committed.end(&mut client, true), aborted.end(&mut client, false)), (0, 0));
    // A marker is of now and the records are of 1970: it begins a segment, which stays local.
    for (topic, end) in [(&*long, 3), ("aborted", 3), ("once", 2)] {
        copied(&broker, &mut client, topic, 0, end);
    }
    // Never ended and never copied.
    open.produce(&mut client, "open", 1, &values[..1]);
    // The metadata is copied every 200 ms.
    std::thread::sleep(Duration::from_millis(1000));
    broker.kill();
    Lost { committed, idempotent, values }
}

/// A start on what a restore left behind ends at once, with a word about it.
fn assert_refused(dir: &Path) {
    let mut start = Command::new(binary());
    start.args(["start", "--kafka-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "-d"]).arg(dir);
    let mut child = start.stderr(Stdio::piped()).spawn().expect("the binary runs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it serves");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it has ended");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && told.contains("was being restored"), "{told}");
}

/// Kills restores in the middle. What one leaves behind is no cluster, and the next one begins again.
fn cut_restores(store: &ObjectStore, dir: &Path, dice: &mut Random) {
    let (mut cut, mut whole) = (0, 0);
    for _ in 0..30 {
        let mut child = restore(store, dir).spawn().expect("the binary runs");
        std::thread::sleep(Duration::from_millis(dice.below(100) as u64));
        let _ = child.kill();
        let output = child.wait_with_output().expect("it has ended");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        if dir.join("store").exists() {
            std::fs::remove_dir_all(dir).expect("a directory");
            whole += 1;
        } else if dir.join("store.restoring").exists() {
            assert_refused(dir);
            cut += 1;
        }
    }
    eprintln!("{cut} restores were cut, {whole} were not");
}

#[test]
fn what_was_in_the_middle_of_things_comes_back_consistent() {
    for kind in [Kind::Local, Kind::Seaweedfs] {
        let Some(store) = ObjectStore::start(kind) else { continue };
        let mut dice = Random::seeded_by("TEST_SEED", 20_261_126);
        let lost = lose(&store, &mut dice);
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = scratch.path().join("new");
        let clamped = serde_json::json!([
            {"group": "group", "topic": "once", "partition": 0, "committed": 3, "now": 2}
        ]);
        let told = report(restore(&store, &dir).arg("--dry-run"));
        assert_eq!(told["clamped"], clamped, "{told}");
        cut_restores(&store, &dir, &mut dice);
        let told = report(&mut restore(&store, &dir));
        assert_eq!((&told["clamped"], &told["faults"]), (&clamped, &serde_json::json!([])), "{told}");
        let partitions = told["partitions"].as_array().expect("a list");
        let ends: Vec<_> =
            partitions.iter().filter_map(|partition| partition["end_offset"].as_i64()).collect();
        assert_eq!(ends, [3, 3, 2, 0], "{told}");

        let broker = tiered_broker(store.env()).data_dir(&dir).start();
        let mut client = Client::connect(broker.kafka_addr());
        // The records, and the marker that was lost, of the kind it had been.
        assert_eq!(fetch_committed(&mut client, &long_name()), (0, 4, 4, vec![]));
        assert_eq!(fetch_committed(&mut client, "aborted"), (0, 4, 4, vec![0]));
        assert_eq!(fetch_committed(&mut client, "once"), (0, 2, 2, vec![]));
        assert_eq!(stable_offset(&mut client, "group", "once"), 2);
        // What a producer still has to send comes behind a hole: it must hear of it. What came back is not written twice.
        let mut send =
            |sequence| produce_once(&mut client, "once", lost.idempotent, sequence, &lost.values[0]);
        assert_eq!(send(3).0, OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(send(1), (0, 1));
        assert_eq!(send(2), (0, 2));
        // Whoever takes a transactional id next is newer than whoever had it.
        let again = Producer::start(&mut client, "committed");
        let before = (lost.committed.producer_id, lost.committed.epoch);
        assert!(
            again.producer_id != before.0 || again.epoch > before.1,
            "{again:?} is not newer than {before:?}"
        );
        let mut open = Producer::start(&mut client, "open");
        open.produce(&mut client, "open", 1, &lost.values[..1]);
        assert_eq!(open.end(&mut client, true), 0);
        // The marker of the one that was cut off, a record, and its marker.
        assert_eq!(fetch_committed(&mut client, "open"), (0, 3, 3, vec![]));
    }
}

/// A segment used to be copied before the bucket knew of its partition, and a restore then left it out.
#[test]
fn partitions_younger_than_the_last_copy_of_the_metadata_come_back() {
    let store = ObjectStore::start(Kind::Local).expect("a directory");
    let mut broker = tiered_broker(store.env()).set("chronik.tier.meta.interval.ms", 3_600_000).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic_with("grows", 1, &TIERED);
    let mut dice = Random::new(11);
    let values: Vec<Vec<u8>> = (0..3).map(|_| dice.bytes(VALUE_BYTES)).collect();
    for value in &values {
        client.produce("grows", &[value]);
    }
    copied(&broker, &mut client, "grows", 0, 2);
    let grown = message!(CreatePartitionsTopic { name: "grows".into(), count: 2, assignments: None });
    let request = message!(messages::CreatePartitionsRequest { topics: vec![grown], timeout_ms: 30_000 });
    assert_eq!(client.call(&request, 2).results[0].error_code, 0);
    client.create_topic_with("younger", 1, &TIERED);
    for value in &values {
        let batch = chronik_tests::wire::batch(&[value]);
        for (topic, partition) in [("grows", 1), ("younger", 0)] {
            let answer = client.call(&produce_request(topic, partition, -1, batch.clone()), 8);
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
    }
    copied(&broker, &mut client, "grows", 1, 2);
    copied(&broker, &mut client, "younger", 0, 2);
    broker.kill();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let told = report(&mut restore(&store, &scratch.path().join("new")));
    let partitions = told["partitions"].as_array().expect("a list");
    assert_eq!((partitions.len(), &told["faults"]), (3, &serde_json::json!([])), "{told}");
    assert!(partitions.iter().all(|partition| partition["end_offset"] == 2), "{told}");
}
