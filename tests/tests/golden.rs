//! Data directories of earlier formats open for ever, with everything that was in them.

use std::path::Path;

use chronik_protocol::batch::{BatchView, split_batches};
use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::offset_fetch_request::OffsetFetchRequestTopic;
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::wire::Client;

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

/// Format 1 holds `golden`, 25 records of an idempotent kcat, five in each codec; `configured` with three partitions
/// and configs of its own; and `golden-group`, committed at 10.
#[test]
fn format_1_opens_with_its_records_offsets_and_configs() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/format-1"), scratch.path());
    let broker = Broker::builder().data_dir(scratch.path()).start();
    let mut client = Client::connect(broker.kafka_addr());

    let (error, high_watermark, records) = client.fetch("golden", 0);
    assert_eq!((error, high_watermark), (0, 25));
    let mut keys = Vec::new();
    for batch in split_batches(records) {
        let view = BatchView::new(&batch).expect("a stored batch");
        view.verify_crc().expect("its CRC holds");
        let mut records = view.records(1 << 20).expect("its codec is known");
        while let Some(record) = records.next_record().expect("a record") {
            keys.push(String::from_utf8_lossy(record.key.expect("a key")).into_owned());
        }
    }
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
