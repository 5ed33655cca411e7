//! Leader epochs as clients use them (KIP-320), on a topic whose epoch a crash has raised: fenced and unknown epochs in
//! Fetch, ListOffsets and OffsetForLeaderEpoch, where epochs end, and a client's log that went its own way.

use chronik_protocol::batch::{BatchHeader, split_batches};
use chronik_protocol::codec::messages::fetch_response::PartitionData;
use chronik_protocol::codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::codec::messages::metadata_request::MetadataRequestTopic;
use chronik_protocol::codec::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use chronik_protocol::codec::{Uuid, messages};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::wire::{Client, fetch_request};

mod crash_support;
use crash_support::leader_epochs;

const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

/// Fetch from which on a client says which epoch it believes current.
const FETCH_WITH_EPOCH: i16 = 9;
/// Fetch from which on it says of which epoch its last record was.
const FETCH_WITH_LAST_EPOCH: i16 = 12;
/// Fetch from which on topics have ids.
const FETCH_BY_ID: i16 = 13;
/// Fetch from which on a fenced client is told where the leader listens.
const FETCH_WITH_ENDPOINTS: i16 = 16;
const FETCH_MAX: i16 = 18;

/// Offsets 0 to 2 are of epoch 0, offsets 3 and 4 of epoch 1.
fn broker_of_two_epochs() -> (Broker, Client) {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic_with("two", 1, &[("chronik.durability", "os")]);
    client.produce("two", &[b"a", b"b", b"c"]);
    broker.kill();
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    assert_eq!(leader_epochs(&mut client, &["two"]), [1]);
    assert_eq!(client.produce("two", &[b"d", b"e"]), 3);
    (broker, client)
}

fn topic_id(client: &mut Client) -> Uuid {
    let asked = message!(MetadataRequestTopic { name: Some("two".into()) });
    let response = client.call(&message!(messages::MetadataRequest { topics: Some(vec![asked]) }), 12);
    response.topics[0].topic_id
}

/// One fetch in `version`; the answer, and the node endpoints that came with it.
fn fetch(
    client: &mut Client,
    version: i16,
    offset: i64,
    current_epoch: i32,
    last_epoch: i32,
) -> (PartitionData, usize) {
    let mut request = fetch_request("two", 0, offset);
    if version >= FETCH_BY_ID {
        request.topics[0].topic_id = topic_id(client);
        request.topics[0].topic = Default::default();
    }
    request.topics[0].partitions[0].current_leader_epoch = current_epoch;
    request.topics[0].partitions[0].last_fetched_epoch = last_epoch;
    let response = client.call(&request, version);
    assert_eq!(response.error_code, NONE, "Fetch {version}");
    let endpoints = response.node_endpoints.len();
    let topic = response.responses.into_iter().next().expect("one topic was asked for");
    (topic.partitions.into_iter().next().expect("one partition was asked for"), endpoints)
}

/// Offset of the first record and epoch of each batch.
fn batches(found: &PartitionData) -> Vec<(i64, i32)> {
    let records = found.records.clone().unwrap_or_default();
    let headers = split_batches(records)
        .map(|batch| BatchHeader::parse(&batch).expect("the broker sends good batches"));
    headers.map(|header| (header.base_offset, header.partition_leader_epoch)).collect()
}

#[test]
fn fetch_refuses_epochs_that_are_over_or_not_begun() {
    let (_broker, mut client) = broker_of_two_epochs();
    for version in FETCH_WITH_EPOCH..=FETCH_MAX {
        for current in [-1, 1] {
            let (found, _) = fetch(&mut client, version, 0, current, -1);
            assert_eq!(found.error_code, NONE, "Fetch {version}, epoch {current}");
            assert_eq!(batches(&found), [(0, 0), (3, 1)], "Fetch {version}, epoch {current}");
        }
        let (fenced, endpoints) = fetch(&mut client, version, 0, 0, -1);
        assert_eq!(fenced.error_code, FENCED_LEADER_EPOCH, "Fetch {version}");
        assert_eq!(batches(&fenced), []);
        // KIP-951: the fields are there from 12 on, and Kafka fills them from 16 on.
        if version >= FETCH_WITH_ENDPOINTS {
            let leader = &fenced.current_leader;
            assert_eq!((leader.leader_id, leader.leader_epoch), (1, 1), "Fetch {version} tells the leader");
        }
        assert_eq!(endpoints, usize::from(version >= FETCH_WITH_ENDPOINTS), "Fetch {version}");
        let (unknown, endpoints) = fetch(&mut client, version, 0, 2, -1);
        assert_eq!((unknown.error_code, endpoints), (UNKNOWN_LEADER_EPOCH, 0), "Fetch {version}");
        assert_eq!(batches(&unknown), []);
    }
}

#[test]
fn fetch_tells_a_log_that_went_its_own_way_where_to_cut() {
    let (_broker, mut client) = broker_of_two_epochs();
    for version in FETCH_WITH_LAST_EPOCH..=FETCH_MAX {
        // Read up to here in the epoch that was current then: nothing to cut.
        for (offset, last, expected) in [(3, 0, vec![(3, 1)]), (5, 1, vec![]), (2, 0, vec![(0, 0), (3, 1)])] {
            let (found, _) = fetch(&mut client, version, offset, 1, last);
            assert_eq!(found.error_code, NONE, "Fetch {version} from {offset} of epoch {last}");
            assert_eq!(found.diverging_epoch.end_offset, -1, "Fetch {version} from {offset} of epoch {last}");
            assert_eq!(batches(&found), expected, "Fetch {version} from {offset} of epoch {last}");
        }
        // Epoch 0 ended at 3; whoever has more of it has records that were lost.
        for (offset, last, end) in [(4, 0, (0, 3)), (5, 0, (0, 3)), (9, 1, (1, 5))] {
            let (found, _) = fetch(&mut client, version, offset, 1, last);
            let told = (found.diverging_epoch.epoch, found.diverging_epoch.end_offset);
            assert_eq!(
                (found.error_code, told),
                (NONE, end),
                "Fetch {version} from {offset} of epoch {last}"
            );
            assert_eq!(batches(&found), [], "no data beside a divergence");
        }
        let (never, _) = fetch(&mut client, version, 2, 1, 2);
        assert_eq!(never.error_code, OFFSET_OUT_OF_RANGE, "Fetch {version}: nobody led in epoch 2");
    }
}

#[test]
fn list_offsets_refuses_epochs_that_are_over_or_not_begun_and_tells_the_epoch_of_what_it_finds() {
    let (_broker, mut client) = broker_of_two_epochs();
    let mut ask = |version: i16, current: i32, timestamp: i64| {
        let partition = message!(ListOffsetsPartition {
            partition_index: 0,
            current_leader_epoch: current,
            timestamp: timestamp,
        });
        let topic = message!(ListOffsetsTopic { name: "two".into(), partitions: vec![partition] });
        let request = message!(messages::ListOffsetsRequest { replica_id: -1, topics: vec![topic] });
        let response = client.call(&request, version);
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.offset, found.leader_epoch)
    };
    for version in 4..=11 {
        for current in [-1, 1] {
            assert_eq!(ask(version, current, -2), (NONE, 0, 0), "ListOffsets {version}, earliest");
            assert_eq!(ask(version, current, -1), (NONE, 5, 1), "ListOffsets {version}, latest");
        }
        assert_eq!(ask(version, 0, -1), (FENCED_LEADER_EPOCH, -1, -1), "ListOffsets {version}");
        assert_eq!(ask(version, 2, -1), (UNKNOWN_LEADER_EPOCH, -1, -1), "ListOffsets {version}");
        assert_eq!(ask(version, 0, 1), (FENCED_LEADER_EPOCH, -1, -1), "ListOffsets {version}, by time");
    }
}

#[test]
fn offset_for_leader_epoch_tells_where_each_epoch_ended() {
    let (mut broker, mut client) = broker_of_two_epochs();
    let ask = |client: &mut Client, version: i16, current: i32, epoch: i32| {
        let partition = message!(OffsetForLeaderPartition {
            partition: 0,
            current_leader_epoch: current,
            leader_epoch: epoch,
        });
        let topic = message!(OffsetForLeaderTopic { topic: "two".into(), partitions: vec![partition] });
        let mut request = message!(messages::OffsetForLeaderEpochRequest { topics: vec![topic] });
        if version >= 3 {
            request.replica_id = -1;
        }
        let response = client.call(&request, version);
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    for version in 2..=4 {
        for current in [-1, 1] {
            assert_eq!(ask(&mut client, version, current, 0), (NONE, 0, 3), "version {version}");
            assert_eq!(ask(&mut client, version, current, 1), (NONE, 1, 5), "version {version}");
            assert_eq!(ask(&mut client, version, current, 2), (NONE, -1, -1), "version {version}");
        }
        assert_eq!(ask(&mut client, version, 0, 0), (FENCED_LEADER_EPOCH, -1, -1), "version {version}");
        assert_eq!(ask(&mut client, version, 2, 0), (UNKNOWN_LEADER_EPOCH, -1, -1), "version {version}");
    }
    // Two crashes on, with nothing written in epoch 2: its end is that of the last record before it.
    for _ in 0..2 {
        broker.kill();
        broker.start_again();
    }
    let mut client = Client::connect(broker.kafka_addr());
    assert_eq!(client.produce("two", &[b"f"]), 5);
    assert_eq!(ask(&mut client, 4, 3, 0), (NONE, 0, 3), "remembered across crashes");
    assert_eq!(ask(&mut client, 4, 3, 3), (NONE, 3, 6));
    let (error, epoch, end) = ask(&mut client, 4, 3, 2);
    assert_eq!((error, end), (NONE, 5), "epoch {epoch}");
    assert!((1..=2).contains(&epoch), "the largest epoch up to 2 that is known, not {epoch}");
    assert_eq!(ask(&mut client, 4, 1, 0).0, FENCED_LEADER_EPOCH);
}
