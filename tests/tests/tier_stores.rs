//! Consumers read across three tiers, memory, RocksDB and bucket, with identical bytes: the same suite on a directory, on
//! a real S3 server, on Azurite and on a fake of Google's.
//!
//! `TEST_FORM` is `short` (some thousand batches) or `full` (1,000,000 records).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, BatchHeader, Compression, split_batches};
use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::object_store::{Kind, LATEST_TIERED, ObjectStore, TIERED, tiered_broker};
use chronik_tests::random::Random;
use chronik_tests::transactions::Producer;
use chronik_tests::wire::{Client, fetch_request, produce_request};

const TOPIC: &str = "tiered";
const RECORDS_PER_BATCH: i64 = 10;
/// In the future: markers bear the time they are written at, and a search by time finds those, too.
const START_MS: i64 = 4_000_000_000_000;

/// What was written: by base offset the batch as it was sent from the CRC on, which is what the log does not change.
#[derive(Default)]
struct Written {
    batches: BTreeMap<i64, Bytes>,
    /// Base offsets of batches in transactions that were aborted.
    aborted: Vec<i64>,
    end: i64,
}

/// Where the CRC begins in a batch.
const CRC_AT: usize = 17;

impl Written {
    fn produce(&mut self, client: &mut Client, dice: &mut Random, batches: usize) {
        for _ in 0..batches {
            let codec = Compression::ALL[dice.below(Compression::ALL.len())];
            let mut builder = BatchBuilder::new().compression(codec, None);
            for index in 0..RECORDS_PER_BATCH {
                let length = 50 + dice.below(400);
                let value = dice.bytes(length);
                // The time of a record tells its offset.
                builder = builder.record(START_MS + self.end + index, Some(b"key"), Some(&value));
            }
            let batch = builder.build().expect("a small batch");
            let response = client.call(&produce_request(TOPIC, 0, -1, batch.clone()), 8);
            let partition = &response.responses[0].partition_responses[0];
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, self.end),
                "{:?}",
                partition.error_message
            );
            self.batches.insert(self.end, batch.slice(CRC_AT..));
            self.end += RECORDS_PER_BATCH;
        }
    }

    /// A transaction of a few batches, whose records take their own and one more offset.
    fn transact(&mut self, client: &mut Client, producer: &mut Producer, dice: &mut Random, commit: bool) {
        let base = self.end;
        let values: Vec<Bytes> = (0..5).map(|_| Bytes::from(dice.bytes(200))).collect();
        producer.produce(client, TOPIC, 1, &values);
        assert_eq!(producer.end(client, commit), 0);
        if !commit {
            self.aborted.push(base);
        }
        self.end = base + 6;
    }

    /// Reads from an offset to the end, and compares. `committed` readers must be told of what was aborted.
    fn check(&self, client: &mut Client, from: i64, committed: bool) {
        let mut next = from;
        let mut told = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(120);
        while next < self.end {
            assert!(Instant::now() < deadline, "at {next} of {}", self.end);
            let mut request = fetch_request(TOPIC, 0, next);
            request.max_wait_ms = 500;
            request.min_bytes = 1;
            request.isolation_level = i8::from(committed);
            let response = client.call(&request, 11);
            let partition = &response.responses[0].partitions[0];
            assert_eq!(partition.error_code, 0, "at {next}");
            let aborted = partition.aborted_transactions.iter().flatten();
            told.extend(aborted.map(|txn| txn.first_offset));
            for batch in split_batches(partition.records.clone().unwrap_or_default()) {
                let header = BatchHeader::parse(&batch).expect("a batch");
                let first = next == from && header.base_offset <= from;
                assert!(header.base_offset == next || first, "{} after {next}", header.base_offset);
                if let Some(sent) = self.batches.get(&header.base_offset) {
                    assert!(batch[CRC_AT..] == sent[..], "other bytes at {}", header.base_offset);
                }
                next = header.last_offset() + 1;
            }
        }
        told.sort_unstable();
        told.dedup();
        if committed {
            let expected: Vec<i64> = self.aborted.iter().copied().filter(|first| first + 5 >= from).collect();
            assert_eq!(told, expected, "aborted transactions");
        }
    }
}

/// ListOffsets of partition 0.
fn offset_at(client: &mut Client, timestamp: i64) -> (i16, i64, i64) {
    client.offset_at(TOPIC, 0, timestamp)
}

const EARLIEST: i64 = -2;
const EARLIEST_LOCAL: i64 = -4;
const EARLIEST_PENDING: i64 = -6;

/// Waits until most of the log is in the bucket alone.
fn moved(broker: &Broker, client: &mut Client, at_least: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (error, local, _) = offset_at(client, EARLIEST_LOCAL);
        assert_eq!(error, 0);
        if local >= at_least {
            return;
        }
        assert!(Instant::now() < deadline, "the local start is {local}, not {at_least}\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn suite(kind: Kind) {
    let Some(store) = ObjectStore::start(kind) else { return };
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_125);
    let is_full = std::env::var("TEST_FORM").is_ok_and(|form| form != "short");
    let rounds = if is_full && kind == Kind::Seaweedfs { 250 } else { 8 };
    let mut broker = tiered_broker(store.env()).start();
    let mut client = Client::connect(broker.kafka_addr());
    let future = ("message.timestamp.after.max.ms", "9223372036854775807");
    client.create_topic_with(TOPIC, 1, &[&TIERED[..], &[future]].concat());
    let mut producer = Producer::start(&mut client, "tx");
    let mut written = Written::default();
    for round in 0..rounds {
        written.produce(&mut client, &mut dice, if is_full && rounds > 8 { 400 } else { 100 });
        written.transact(&mut client, &mut producer, &mut dice, round % 2 == 0);
        // While it is copied and dropped.
        if round % 10 == 3 {
            let from = dice.below(written.end as usize) as i64;
            written.check(&mut client, from, round % 20 == 3);
        }
    }
    moved(&broker, &mut client, written.end * 2 / 3);
    read_everywhere(&mut client, &written, &mut dice);
    // Nothing is left in memory: RocksDB and bucket alone.
    assert!(broker.stop().success());
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    read_everywhere(&mut client, &written, &mut dice);
    written.check(&mut client, 0, true);
    delete_some(&mut client, &mut written, &mut dice);
    delete_topic(&broker, &mut client);
    eprintln!("{kind:?}: {} records, {} GETs", written.end, broker.metric("chronik_tier_requests_total"));
}

/// From any offset, under either isolation level, and from any time.
fn read_everywhere(client: &mut Client, written: &Written, dice: &mut Random) {
    written.check(client, 0, false);
    for _ in 0..4 {
        let from = dice.below(written.end as usize) as i64;
        written.check(client, from, dice.below(2) == 0);
    }
    for _ in 0..10 {
        let bases: Vec<i64> = written.batches.keys().copied().collect();
        let offset = bases[dice.below(bases.len())] + dice.below(RECORDS_PER_BATCH as usize) as i64;
        assert_eq!(offset_at(client, START_MS + offset), (0, offset, START_MS + offset));
    }
    let (_, local, _) = offset_at(client, EARLIEST_LOCAL);
    let (_, tiered, _) = offset_at(client, LATEST_TIERED);
    let (_, pending, _) = offset_at(client, EARLIEST_PENDING);
    assert_eq!(offset_at(client, EARLIEST).1, 0);
    assert!(local > 0 && tiered + 1 >= local && pending == tiered + 1, "{local} {tiered} {pending}");
}

/// DeleteRecords into the part that is in the bucket alone.
fn delete_some(client: &mut Client, written: &mut Written, dice: &mut Random) {
    let (_, local, _) = offset_at(client, EARLIEST_LOCAL);
    let start = local / 2;
    let partition = message!(DeleteRecordsPartition { partition_index: 0, offset: start });
    let topic = message!(DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![partition] });
    let request = message!(messages::DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 });
    assert_eq!(client.call(&request, 1).topics[0].partitions[0].low_watermark, start);
    assert_eq!(client.fetch(TOPIC, start - 1).0, 1, "OFFSET_OUT_OF_RANGE");
    assert_eq!(offset_at(client, EARLIEST).1, start);
    assert!(offset_at(client, START_MS).1 >= start);
    written.check(client, start, false);
    written.produce(client, dice, 5);
    written.check(client, written.end - 30, true);
}

/// A deleted topic leaves nothing in the bucket.
fn delete_topic(broker: &Broker, client: &mut Client) {
    let before = broker.metric("chronik_tier_objects_deleted_total");
    let request =
        message!(messages::DeleteTopicsRequest { topic_names: vec![TOPIC.into()], timeout_ms: 30_000 });
    assert_eq!(client.call(&request, 4).responses[0].error_code, 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while broker.metric("chronik_tier_objects_deleted_total") <= before
        || broker.metric("chronik_tier_garbage_objects_count") > 0.0
    {
        assert!(Instant::now() < deadline, "objects of a deleted topic stay\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn three_tiers_are_one_log_on_a_directory() {
    suite(Kind::Local);
}

#[test]
fn three_tiers_are_one_log_on_s3() {
    suite(Kind::Seaweedfs);
}

#[test]
fn three_tiers_are_one_log_on_azure() {
    suite(Kind::Azurite);
}

#[test]
fn three_tiers_are_one_log_on_google_storage() {
    suite(Kind::Gcs);
}

/// What is produced is twenty times what may stay local.
#[test]
fn the_disk_stays_bounded_while_twenty_times_the_local_retention_is_produced() {
    const LOCAL: u64 = 8 << 20;
    const SEGMENT: u64 = 1 << 20;
    /// Beyond the local retention (docs/tiering.md): as much again for what RocksDB has yet to give back, the active segment and
    /// those on their way, and RocksDB's write-ahead log.
    const MARGIN: u64 = 2 * LOCAL + 4 * SEGMENT + (64 << 20);
    let store = ObjectStore::start(Kind::Local).expect("a directory");
    let broker = tiered_broker(store.env()).set("chronik.wal.profile", "low").start();
    let mut client = Client::connect(broker.kafka_addr());
    let (local, segment) = (LOCAL.to_string(), SEGMENT.to_string());
    client.create_topic_with(
        TOPIC,
        1,
        &[("remote.storage.enable", "true"), ("segment.bytes", &segment), ("local.retention.bytes", &local)],
    );
    let mut dice = Random::new(3);
    let (mut produced, mut largest) = (0, 0);
    while produced < 20 * LOCAL {
        let value = dice.bytes(200_000);
        client.produce(TOPIC, &[&value]);
        // About 30 MB/s: what is produced between two looks of the copier is part of the margin.
        std::thread::sleep(Duration::from_millis(5));
        produced += value.len() as u64;
        if produced % (4 << 20) < 200_000 {
            largest = largest.max(broker.disk_usage());
        }
    }
    largest = largest.max(broker.disk_usage());
    eprintln!("{produced} bytes produced, {largest} bytes on disk at most, {LOCAL} to stay");
    assert!(largest < LOCAL + MARGIN, "{largest}");
    moved(&broker, &mut client, (produced - LOCAL - 4 * SEGMENT) as i64 / 200_000);
}
