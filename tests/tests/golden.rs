//! Data directories of earlier formats open for ever, with everything that was in them.

use std::path::Path;
use std::time::{Duration, Instant};

use chronik_protocol::batch::{BatchHeader, split_batches};
use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::codec::messages::offset_fetch_request::OffsetFetchRequestTopic;
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::transactions::{Producer, stable_offset};
use chronik_tests::wire::{Client, fetch_request, records_of};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a scratch directory");
    for entry in std::fs::read_dir(from).expect("the golden directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A broker on a copy of the golden directory, in `scratch`.
fn open(format: &str, scratch: &Path) -> Broker {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format), scratch);
    // It looks for abandoned transactions at once.
    let looks = "transaction.abort.timed.out.transaction.cleanup.interval.ms";
    Broker::builder().data_dir(scratch).set(looks, 100).start()
}

/// Format 1 holds `golden`, 25 records of an idempotent kcat, five in each codec; `configured` with three partitions
/// and configs of its own; and `golden-group`, committed at 10.
#[test]
fn format_1_opens_with_its_records_offsets_and_configs() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = open("format-1", scratch.path());
    let mut client = Client::connect(broker.kafka_addr());

    let (error, high_watermark, records) = client.fetch("golden", 0);
    assert_eq!((error, high_watermark), (0, 25));
    let records = split_batches(records).flat_map(|batch| records_of(&batch));
    let keys: Vec<String> =
        records.map(|(_, key, _)| String::from_utf8(key.expect("a key")).expect("text")).collect();
    let expected = ["none", "gzip", "snappy", "lz4", "zstd"]
        .iter()
        .flat_map(|codec| (1..=5).map(move |number| format!("key-{codec}-{number}")));
    assert_eq!(keys, expected.collect::<Vec<_>>());

    let topic = message!(OffsetFetchRequestTopic { name: "golden".into(), partition_indexes: vec![0] });
    let request =
        message!(messages::OffsetFetchRequest { group_id: "golden-group".into(), topics: Some(vec![topic]) });
    let response = client.call(&request, 5);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.committed_offset), (0, 10));

    let request = message!(messages::MetadataRequest { topics: None });
    let topics = client.call(&request, 8).topics;
    let configured = topics.iter().find(|topic| topic.name.as_deref() == Some("configured"));
    assert_eq!(configured.map(|topic| topic.partitions.len()), Some(3));

    assert_eq!(client.produce("golden", &[b"one more"]), 25);
}

/// Offset and value of every record that a reader of committed data is given.
fn committed(client: &mut Client, topic: &str) -> Vec<(i64, String)> {
    let mut request = fetch_request(topic, 0, 0);
    request.isolation_level = 1;
    let answer = client.call(&request, 11);
    let partition = answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    let partition = partition.expect("one partition was asked for");
    assert_eq!(partition.error_code, 0);
    let aborted = partition.aborted_transactions.unwrap_or_default();
    let mut found = Vec::new();
    for batch in split_batches(partition.records.unwrap_or_default()) {
        let header = BatchHeader::parse(&batch).expect("a stored batch");
        let is_aborted = |txn: &messages::fetch_response::AbortedTransaction| {
            txn.producer_id == header.producer_id && txn.first_offset <= header.base_offset
        };
        if header.is_control() || aborted.iter().any(is_aborted) {
            continue;
        }
        let values =
            records_of(&batch).into_iter().map(|(offset, _, value)| (offset, value.unwrap_or_default()));
        found.extend(values.map(|(offset, value)| (offset, String::from_utf8(value).expect("text"))));
    }
    found
}

/// Format 2 holds `ledger`: a committed transaction of `keeper` (offsets 0 to 2), one that `breaker` aborted (3 to 5), a
/// plain record (6), one that `leaver` left open (7); `copiers`, at 2 by the first and at 7 by the last; `table`, cleaned to
/// the last of 30 values for each of ten keys; `message.max.bytes` of every broker.
#[test]
fn format_2_opens_with_its_transactions_and_a_cleaned_log() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = open("format-2", scratch.path());
    let mut client = Client::connect(broker.kafka_addr());

    let kept = vec![(0, "first".to_owned()), (1, "of two".to_owned()), (6, "plain".to_owned())];
    assert_eq!(committed(&mut client, "ledger"), kept);
    // The one that was left open is over its time, and aborted. Its offset waits no more, and does not count.
    assert_eq!(stable_offset(&mut client, "copiers", "ledger"), 2);
    let (deadline, mut keeper) =
        (Instant::now() + Duration::from_secs(30), Producer::start(&mut client, "keeper"));
    keeper.produce(&mut client, "ledger", 1, &["and on".into()]);
    assert_eq!(keeper.end(&mut client, true), 0);
    while committed(&mut client, "ledger").len() == kept.len() {
        assert!(Instant::now() < deadline, "an open transaction hides what comes after it");
    }
    let (offset, value) = committed(&mut client, "ledger").pop().expect("it is there");
    assert!(offset >= 9 && value == "and on", "{offset} {value}");

    let table = committed(&mut client, "table");
    assert_eq!(table, (290..300).map(|offset| (offset, "29".to_owned())).collect::<Vec<_>>());

    let broker_default = message!(DescribeConfigsResource {
        resource_type: 4,
        resource_name: "".into(),
        configuration_keys: Some(vec!["message.max.bytes".into()]),
    });
    let answer =
        client.call(&message!(messages::DescribeConfigsRequest { resources: vec![broker_default] }), 4);
    assert_eq!(answer.results[0].configs[0].value.as_deref(), Some("1100000"));
}

/// Format 3 holds `moved`: 60 records of an idempotent producer in one batch each, of which 0 to 55 are in the directory's own
/// object store and from 49 on in RocksDB.
#[test]
fn format_3_opens_with_what_is_in_object_storage() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = open("format-3", scratch.path());
    let mut client = Client::connect(broker.kafka_addr());
    let mut next = 0;
    while next < 60 {
        let (error, high_watermark, records) = client.fetch("moved", next);
        assert_eq!((error, high_watermark), (0, 60), "at {next}");
        for (offset, key, value) in split_batches(records).flat_map(|batch| records_of(&batch)) {
            let value = String::from_utf8(value.expect("a value")).expect("text");
            assert_eq!((offset, key), (next, Some(format!("k{next}").into_bytes())));
            assert!(value.starts_with(&format!("value {next} ")), "{value}");
            next += 1;
        }
    }
    assert!(broker.metric("chronik_tier_remote_bytes") > 0.0);
    assert!(broker.metric("chronik_tier_read_bytes_total") > 0.0, "a part comes from the bucket");
    assert_eq!(client.produce("moved", &[b"one more"]), 60);
}
