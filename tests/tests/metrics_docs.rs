//! Compares `docs/metrics.md` with a running broker: what is documented is served, what is served is documented.

use std::collections::BTreeMap;
use std::path::Path;

use chronik_tests::broker::Broker;
use chronik_tests::wire::{Client, batch, produce_request};

/// Name and kind of each row of the table.
fn documented() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(path).expect("docs/metrics.md and /metrics keep their layout");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").expect("docs/metrics.md and /metrics keep their layout");
        (
            name.to_owned(),
            rest.split(' ').next().expect("docs/metrics.md and /metrics keep their layout").to_owned(),
        )
    })
    .collect()
}

/// Name and kind of each family on the endpoint.
fn served(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').expect("docs/metrics.md and /metrics keep their layout");
            (name.to_owned(), kind.to_owned())
        })
        .collect()
}

#[test]
fn the_endpoint_serves_what_the_table_says_and_counts() {
    let broker = Broker::start();
    let mut connection = Client::connect(broker.kafka_addr());
    connection.create_topic("seen", 1);
    connection.produce("seen", &[b"one", b"two"]);
    connection.fetch("seen", 0);
    // An error of some code, so that the family exists.
    connection.call(&produce_request("never-created", 0, -1, batch(&[b"x"])), 8);
    let (status, text) = broker.http_get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert_eq!(served(&text), documented());
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok()), "{line}");
    }
    assert_eq!(broker.metric("chronik_messages_stored_total"), 2.0);
    assert!(broker.metric("chronik_messages_received_total") >= 2.0);
    assert!(text.contains("chronik_request_errors_total{code=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1"), "{text}");
    assert!(text.contains("chronik_requests_total{api=\"Produce\"} 2"), "{text}");
    assert_eq!(broker.metric("chronik_produce_latency_seconds_count"), 2.0);
    assert_eq!(broker.metric("chronik_topics_count"), 1.0);
    assert_eq!(broker.metric("chronik_active_connections"), 1.0);
    assert!(broker.metric("chronik_store_commit_seconds_count") > 0.0);
}
