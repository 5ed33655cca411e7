//! Retention, DeleteRecords and DeleteTopics give the disk space back, without further writes.

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::random::Random;
use chronik_tests::wire::Client;

/// What is promised: deleted data gives its space back within a minute.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);
const BATCH_BYTES: usize = 900_000;
const BATCHES: usize = 120;

fn fill(client: &mut Client, topic: &str) {
    client.create_topic(topic, 1);
    let mut random = Random::new(7);
    for _ in 0..BATCHES {
        let value = random.bytes(BATCH_BYTES);
        client.produce(topic, &[&value]);
    }
}

/// Waits until the directory has shrunk by most of what was written.
fn must_shrink(broker: &Broker, full: u64, what: &str) {
    let begun = Instant::now();
    let target = full.saturating_sub((BATCHES * BATCH_BYTES) as u64 * 8 / 10);
    loop {
        let used = broker.disk_usage();
        if used <= target {
            eprintln!("{what}: {full} bytes became {used} in {:?}", begun.elapsed());
            return;
        }
        assert!(begun.elapsed() < GIVEN_BACK_WITHIN, "{what}: still {used} of {full} bytes, wanted {target}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn deleted_topics_and_records_give_their_space_back_within_a_minute() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    fill(&mut client, "deleted");
    let full = broker.disk_usage();
    let request =
        message!(messages::DeleteTopicsRequest { topic_names: vec!["deleted".into()], timeout_ms: 30_000 });
    assert_eq!(client.call(&request, 4).responses[0].error_code, 0);
    must_shrink(&broker, full, "DeleteTopics");

    fill(&mut client, "trimmed");
    let full = broker.disk_usage();
    let partition = message!(DeleteRecordsPartition { partition_index: 0, offset: -1 });
    let topic = message!(DeleteRecordsTopic { name: "trimmed".into(), partitions: vec![partition] });
    let request = message!(messages::DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 });
    let response = client.call(&request, 1);
    assert_eq!(response.topics[0].partitions[0].low_watermark, BATCHES as i64);
    must_shrink(&broker, full, "DeleteRecords");
    let (error, high_watermark, records) = client.fetch("trimmed", BATCHES as i64);
    assert_eq!((error, high_watermark, records.len()), (0, BATCHES as i64, 0));
}

#[test]
fn retention_by_size_gives_the_space_back_and_keeps_the_newest() {
    let broker = Broker::builder()
        .set("log.retention.check.interval.ms", 1000)
        .set("log.segment.bytes", 8 << 20)
        .set("log.retention.bytes", 16 << 20)
        // The records are stamped 1970.
        .set("log.retention.ms", -1)
        .start();
    let mut client = Client::connect(broker.kafka_addr());
    fill(&mut client, "bounded");
    let full = broker.disk_usage().max((BATCHES * BATCH_BYTES) as u64);
    must_shrink(&broker, full, "retention.bytes");
    let (error, _, _) = client.fetch("bounded", 0);
    assert_eq!(error, 1, "the oldest records are out of range");
    let (error, _, records) = client.fetch("bounded", BATCHES as i64 - 1);
    assert_eq!(error, 0);
    assert!(records.len() > BATCH_BYTES);
}
