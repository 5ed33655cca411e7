//! The same loads through librdkafka, as an application would make them.
//!
//! Owns client settings, all of them named here; everything else is librdkafka's default.

pub mod consume;
pub mod e2e;
pub mod produce;

use rdkafka::ClientConfig;

use crate::cli::Records;

/// Longest wait for a broker before a run fails.
const TIMEOUT_MS: &str = "30000";

/// Settings of a producer; `linger_ms` is how long a batch may wait to fill.
pub fn producer_config(bootstrap: &str, records: &Records, linger_ms: u32) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", records.acks.wire().to_string())
        .set("compression.type", records.codec.name())
        .set("batch.size", records.batch_bytes().max(records.size + 256).to_string())
        .set("message.max.bytes", "100000000")
        .set("linger.ms", linger_ms.to_string())
        .set("max.in.flight", records.in_flight.to_string())
        .set("message.timeout.ms", TIMEOUT_MS);
    config
}

/// Settings of a consumer that is assigned its partitions and commits nothing.
pub fn consumer_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // librdkafka wants a group even where none is joined.
        .set("group.id", "chronik-bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    config
}
