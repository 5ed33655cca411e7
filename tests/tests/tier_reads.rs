//! Reading across tiers where it is not about the bytes: who waits for whom when the store does not answer, leader epochs
//! that are in the bucket, and a log that nobody writes to any more.

use std::process::Command;
use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use chronik_protocol::message;
use chronik_tests::broker::{Broker, binary};
use chronik_tests::fault_proxy::{Fault, FaultProxy};
use chronik_tests::object_store::{Kind, LATEST_TIERED, ObjectStore, TIERED, tiered_broker};
use chronik_tests::wire::{Client, fetch_request};

/// A few of these make a segment of [`TIERED`].
const VALUE_BYTES: usize = 100_000;
const EARLIEST_LOCAL: i64 = -4;

fn until(broker: &Broker, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Produces one large record after the other until `offset` is in the bucket alone.
fn produce_until_cold(broker: &Broker, client: &mut Client, topic: &str, offset: i64) {
    until(broker, "nothing goes to the bucket", || {
        client.produce(topic, &[&vec![b'v'; VALUE_BYTES]]);
        client.offset_at(topic, 0, EARLIEST_LOCAL).1 > offset
    });
}

/// A fetch of the beginning of both topics that may wait long for a first byte.
fn both(patience: Duration) -> messages::FetchRequest {
    let (mut request, hot) = (fetch_request("cold", 0, 0), fetch_request("hot", 0, 0));
    request.topics.extend(hot.topics);
    request.min_bytes = 1;
    request.max_wait_ms = patience.as_millis() as i32;
    request
}

fn bytes_of(response: &messages::FetchResponse, topic: &str) -> (i16, usize) {
    let data =
        response.responses.iter().find(|answer| *answer.topic == *topic).map(|answer| &answer.partitions[0]);
    // A partition with nothing to say need not be there.
    data.map_or((0, 0), |data| (data.error_code, data.records.as_ref().map_or(0, bytes::Bytes::len)))
}

#[test]
fn a_cold_partition_keeps_no_hot_one_waiting() {
    let Some(store) = ObjectStore::start(Kind::Seaweedfs) else { return };
    let proxy = FaultProxy::start(store.address());
    let mut broker = tiered_broker(&store.env_through(proxy.address())).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic_with("cold", 1, &TIERED);
    client.create_topic("hot", 1);
    produce_until_cold(&broker, &mut client, "cold", 0);
    // Nothing is left in memory.
    assert!(broker.stop().success());
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    client.produce("hot", &[b"here"]);
    proxy.set(Fault::Silent);
    for _ in 0..3 {
        let asked = Instant::now();
        let response = client.call(&both(Duration::from_secs(20)), 11);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert_eq!(bytes_of(&response, "cold"), (0, 0));
        assert!(bytes_of(&response, "hot").1 > 0);
    }
    // The tail of the cold one neither.
    let asked = Instant::now();
    let end = client.produce("cold", &[b"last"]);
    assert!(!client.fetch("cold", end).2.is_empty());
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    proxy.set(Fault::None);
    until(&broker, "the cold one never answers", || {
        let response = client.call(&both(Duration::ZERO), 11);
        let (error, bytes) = bytes_of(&response, "cold");
        assert_eq!(error, 0);
        bytes > 0
    });
}

#[test]
fn what_nobody_adds_to_is_copied_all_the_same() {
    let store = ObjectStore::start(Kind::Local).expect("a directory needs no program");
    let broker = tiered_broker(store.env()).set("chronik.tier.roll.ms", 300).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic_with("idle", 1, &[("remote.storage.enable", "true"), ("local.retention.ms", "1")]);
    client.produce("idle", &[b"a", b"b"]);
    until(&broker, "it stays where it is", || client.offset_at("idle", 0, LATEST_TIERED).1 == 1);
    until(&broker, "it stays here, too", || client.offset_at("idle", 0, EARLIEST_LOCAL).1 == 2);
    assert!(!client.fetch("idle", 0).2.is_empty());
}

/// Error, epoch and end offset.
fn end_of_epoch(client: &mut Client, topic: &str, epoch: i32) -> (i16, i32, i64) {
    let partition =
        message!(OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch: epoch });
    let topic = message!(OffsetForLeaderTopic { topic: topic.into(), partitions: vec![partition] });
    let request = message!(messages::OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] });
    let answer = client.call(&request, 4);
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

#[test]
fn leader_epochs_are_known_of_what_is_in_the_bucket_and_after_a_restore() {
    let store = ObjectStore::start(Kind::Local).expect("a directory needs no program");
    let mut broker = tiered_broker(store.env()).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic_with("t", 1, &[&TIERED[..], &[("chronik.durability", "os")]].concat());
    let first = client.produce("t", &[b"of epoch 0"]) + 1;
    broker.kill();
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    produce_until_cold(&broker, &mut client, "t", first + 1);
    let (_, _, end) = end_of_epoch(&mut client, "t", 1);
    assert_eq!(end_of_epoch(&mut client, "t", 0), (0, 0, first));
    assert_eq!(end_of_epoch(&mut client, "t", 1), (0, 1, end));
    assert!(broker.stop().success());
    let (_, tiered, _) = {
        broker.start_again();
        let mut client = Client::connect(broker.kafka_addr());
        client.offset_at("t", 0, LATEST_TIERED)
    };
    broker.kill();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dir = scratch.path().join("restored");
    let mut command = Command::new(binary());
    command.args(["restore", "--from", &store.url(), "-d"]).arg(&dir).envs(store.env().iter().cloned());
    assert!(command.output().expect("the binary runs").status.success());
    let restored = tiered_broker(store.env()).data_dir(&dir).start();
    let mut client = Client::connect(restored.kafka_addr());
    assert_eq!(end_of_epoch(&mut client, "t", 0), (0, 0, first));
    // What the last epoch had beyond the copy is lost, and whoever had read it finds out.
    assert!(end_of_epoch(&mut client, "t", 1).2 <= tiered + 1);
    assert!(!client.fetch("t", 0).2.is_empty());
}
