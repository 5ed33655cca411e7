//! Sizes a single node must carry: a thousand partitions, hundreds of connections, and still a start in a moment.

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

const PARTITIONS: i32 = 1000;
const CONNECTIONS: usize = 500;

/// One batch to every partition of the topic, in one request.
fn produce_everywhere(client: &mut Client, topic: &str, value: &[u8]) {
    let partition_data = (0..PARTITIONS)
        .map(|index| message!(PartitionProduceData { index: index, records: Some(batch(&[value])) }))
        .collect();
    let topic = message!(TopicProduceData { name: topic.into(), partition_data: partition_data });
    let request =
        message!(messages::ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic] });
    let response = client.call(&request, 8);
    let partitions = &response.responses.first().expect("one topic").partition_responses;
    assert_eq!(partitions.len(), PARTITIONS as usize);
    assert!(partitions.iter().all(|partition| partition.error_code == 0));
}

#[test]
fn a_thousand_partitions_are_written_read_and_reopened() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("wide", PARTITIONS);
    produce_everywhere(&mut client, "wide", b"first");
    produce_everywhere(&mut client, "wide", b"second");
    for crash in [false, true] {
        if crash {
            broker.kill();
        } else {
            assert!(broker.stop().success());
        }
        let begun = Instant::now();
        broker.start_again();
        let took = begun.elapsed();
        eprintln!(
            "start with {PARTITIONS} partitions after a {}: {took:?}",
            if crash { "crash" } else { "stop" }
        );
        assert!(took < Duration::from_secs(20), "{took:?}");
        let mut client = Client::connect(broker.kafka_addr());
        for partition in [0, 1, PARTITIONS / 2, PARTITIONS - 1] {
            let response = client.call(&fetch_request("wide", partition, 0), 11);
            let found = &response.responses[0].partitions[0];
            assert_eq!(
                (found.error_code, found.high_watermark),
                (0, 2),
                "partition {partition}, crash {crash}"
            );
        }
    }
}

#[test]
fn five_hundred_connections_produce_and_poll_at_once() {
    let broker = Broker::start();
    let mut first = Client::connect(broker.kafka_addr());
    first.create_topic("many", 1);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(broker.kafka_addr())).collect();
    for client in &mut clients {
        client.send(&produce_request("many", 0, -1, batch(&[b"x"])), 8);
    }
    let mut offsets: Vec<i64> = clients
        .iter_mut()
        .map(|client| {
            let (_, response) = client.receive::<messages::ProduceRequest>(8);
            response.responses[0].partition_responses[0].base_offset
        })
        .collect();
    offsets.sort_unstable();
    assert!(offsets.iter().copied().eq(0..CONNECTIONS as i64), "every record has an offset of its own");
    for client in &mut clients {
        let mut poll = fetch_request("many", 0, CONNECTIONS as i64);
        (poll.max_wait_ms, poll.min_bytes) = (20_000, 1);
        client.send(&poll, 11);
    }
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    first.produce("many", &[b"wake up"]);
    for client in &mut clients {
        let (_, response) = client.receive::<messages::FetchRequest>(11);
        assert!(
            response.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty())
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "all are woken by one record");
    assert!(broker.metric("chronik_active_connections") >= CONNECTIONS as f64);
}
