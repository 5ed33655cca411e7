//! Memory that requests hold in the real binary: what waits, what is refused and what repeats itself takes none of it
//! from other clients, and none for ever.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use chronik_protocol::codec::messages::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::codec::messages::join_group_request::JoinGroupRequestProtocol;
use chronik_protocol::codec::{self, messages};
use chronik_protocol::message;
use chronik_tests::broker::{Broker, BrokerBuilder};
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

/// Far more than an answer takes, far less than any wait here.
const SOON: Duration = Duration::from_secs(10);

/// Kafka's resource type of a topic.
const TOPIC: i8 = 2;

/// A broker whose requests have 1 MiB together: 128 KiB for small frames, and as much again for decoding.
fn small_memory() -> BrokerBuilder {
    Broker::builder().set("socket.request.max.bytes", 1 << 20).set("queued.max.request.bytes", 1 << 20)
}

/// The frame of a request with `padding` more bytes behind its body, which are ignored.
fn padded<R: codec::KafkaRequest>(request: &R, version: i16, padding: usize) -> Vec<u8> {
    let frame = codec::encode_request(7, "padded", request, version).expect("a good request");
    let mut body = frame[4..].to_vec();
    body.resize(body.len() + padding, 0);
    [&(body.len() as i32).to_be_bytes(), &body[..]].concat()
}

#[test]
fn requests_that_wait_for_others_keep_no_memory_from_them() {
    let broker = small_memory().start();
    let mut bystander = Client::connect(broker.kafka_addr());
    bystander.create_topic("waits", 1);
    let mut waiting = Vec::new();
    // Each nearly half of what all small frames have.
    for index in 0..10 {
        let mut poll = fetch_request("waits", 0, 0);
        (poll.max_wait_ms, poll.min_bytes) = (i32::MAX, 1);
        let mut client = Client::connect(broker.kafka_addr());
        assert!(client.send_bytes(&padded(&poll, 11, 60_000)));
        waiting.push(client);
        let protocol = message!(JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from(vec![0; 50_000]),
        });
        let join = message!(messages::JoinGroupRequest {
            group_id: format!("group-{index}").as_str().into(),
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
        });
        let mut client = Client::connect(broker.kafka_addr());
        client.send(&join, 3);
        waiting.push(client);
    }
    bystander.stream().set_read_timeout(Some(SOON)).unwrap();
    assert!(bystander.answers());
    // Wakes the polls as well.
    let value = vec![b'x'; 200_000];
    assert_eq!(bystander.produce("waits", &[&value]), 0);
    for poll in waiting.iter_mut().step_by(2) {
        let (_, answer) = poll.receive::<messages::FetchRequest>(11);
        assert_eq!(answer.responses[0].partitions[0].high_watermark, 1);
    }
}

#[test]
fn what_is_durable_is_answered_before_a_bad_request_behind_it_ends_the_connection() {
    let broker = Broker::start();
    Client::connect(broker.kafka_addr()).create_topic("good", 1);
    // A Produce that cannot be decoded, and one that is refused without an answer.
    let mut undecodable = BytesMut::new();
    undecodable.put_slice(&[0, 0, 0, 8, 0, 0, 0, 9, 0xff, 0xff, 0x7f]);
    let refused =
        codec::encode_request(8, "bad", &produce_request("missing", 0, 0, batch(&[b"x"])), 8).unwrap();
    for behind in [[&(undecodable.len() as i32).to_be_bytes(), &undecodable[..]].concat(), refused.to_vec()] {
        for round in 0..20 {
            let mut client = Client::connect(broker.kafka_addr());
            let good =
                codec::encode_request(round, "good", &produce_request("good", 0, -1, batch(&[b"x"])), 8);
            assert!(client.send_bytes(&[&good.unwrap()[..], &behind].concat()));
            let (answered, response) = client.receive::<messages::ProduceRequest>(8);
            assert_eq!((answered, response.responses[0].partition_responses[0].error_code), (round, 0));
            assert!(client.is_closed_within(SOON));
        }
    }
}

#[test]
fn who_has_closed_its_sending_side_is_still_answered() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("halved", 1);
    client.send(&produce_request("halved", 0, -1, batch(&[b"x"])), 8);
    client.stream().shutdown(Shutdown::Write).unwrap();
    let (_, response) = client.receive::<messages::ProduceRequest>(8);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert!(client.is_closed_within(SOON));
}

#[test]
fn what_is_asked_many_times_is_answered_once() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("often", 1);
    let often = message!(DescribeConfigsResource { resource_type: TOPIC, resource_name: "often".into() });
    let request = message!(messages::DescribeConfigsRequest { resources: vec![often; 10_000] });
    assert_eq!(client.call(&request, 4).results.len(), 1);
    let request = message!(messages::DescribeGroupsRequest { groups: vec!["nobody".into(); 10_000] });
    assert_eq!(client.call(&request, 5).groups.len(), 1);
}

#[test]
fn bodies_that_nobody_sends_are_refused_before_they_are_decoded() {
    let broker = Broker::start();
    let mut bystander = Client::connect(broker.kafka_addr());
    bystander.create_topic("plain", 1);
    let mut client = Client::connect(broker.kafka_addr());
    client.send_bytes(&padded(&messages::MetadataRequest::default(), 12, 9 << 20));
    assert!(client.is_closed_within(SOON));
    // 3 million partitions of six bytes: an index, and no records.
    let mut many = BytesMut::new();
    many.put_slice(&[0, 0, 0, 9, 0, 0, 0, 9, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 9, 2, 2, b'x']);
    many.put_slice(&[0xc0, 0x8d, 0xb7, 0x01]);
    many.put_slice(&[0; 18 << 20]);
    let mut client = Client::connect(broker.kafka_addr());
    client.send_bytes(&[&(many.len() as i32).to_be_bytes(), &many[..]].concat());
    assert!(client.is_closed_within(SOON));
    assert!(bystander.answers());
    assert_eq!(bystander.produce("plain", &[b"x"]), 0);
    let resident = broker.rss_bytes().expect("it runs");
    assert!(resident < 300 << 20, "{resident} bytes resident");
}

#[test]
fn a_small_batch_does_not_keep_the_large_frame_it_came_in() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("small", 1);
    let request = produce_request("small", 0, -1, batch(&[b"small"]));
    let frame = padded(&request, 8, 20 << 20);
    for _ in 0..40 {
        assert!(client.send_bytes(&frame));
        let (_, response) = client.receive::<messages::ProduceRequest>(8);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    // 800 MB came; the allocator takes its time with what is free.
    let begun = Instant::now();
    while broker.rss_bytes().expect("it runs") > 200 << 20 {
        assert!(begun.elapsed() < 4 * SOON, "{:?} bytes resident", broker.rss_bytes());
        std::thread::sleep(Duration::from_millis(200));
    }
}
