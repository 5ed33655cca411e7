//! Owns the server's metrics: their names, what they mean, histogram buckets, and handles that are resolved once so
//! that the hot path looks nothing up. The store records its own; their names and meanings are described here too,
//! for `/metrics` and for `docs/metrics.md`, which a test compares with the live endpoint.
//!
//! Names are `chronik_<area>_<noun>_<unit>`; label values come from fixed sets, and those that name topics are capped.

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::dispatch;
use crate::error_code::ErrorCode;

/// Records in produce requests, refused ones included.
pub const MESSAGES_RECEIVED: &str = "chronik_messages_received_total";
/// Records appended.
pub const MESSAGES_STORED: &str = "chronik_messages_stored_total";
/// Bytes of record batches in produce requests.
pub const BYTES_RECEIVED: &str = "chronik_bytes_received_total";
/// Bytes of record batches in fetch responses.
pub const BYTES_FETCHED: &str = "chronik_bytes_fetched_total";
/// From the whole frame read to the reply ready, fsync included.
pub const PRODUCE_LATENCY: &str = "chronik_produce_latency_seconds";
/// From the whole frame read to the reply ready, the wait of a long poll included.
pub const FETCH_LATENCY: &str = "chronik_fetch_latency_seconds";
/// Bytes the store takes on disk.
pub const STORAGE_USAGE: &str = "chronik_storage_usage_bytes";
/// Bytes free on the data directory's disk.
pub const DISK_FREE: &str = "chronik_disk_free_bytes";
/// Open Kafka connections.
pub const ACTIVE_CONNECTIONS: &str = "chronik_active_connections";
/// Requests by API.
pub const REQUESTS: &str = "chronik_requests_total";
/// Error codes answered.
pub const REQUEST_ERRORS: &str = "chronik_request_errors_total";
/// Topics.
pub const TOPICS: &str = "chronik_topics_count";
/// Partitions.
pub const PARTITIONS: &str = "chronik_partitions_count";
/// Records between a group's committed offset and the end of the partition.
pub const CONSUMER_LAG: &str = "chronik_consumer_lag_records";
/// Clients that push metrics.
pub const CLIENT_INSTANCES: &str = "chronik_client_instances_count";
/// What clients push.
pub const CLIENT_METRIC: &str = "chronik_client_metric_value";
/// What clients push and finds no room.
pub const CLIENT_METRICS_DROPPED: &str = "chronik_client_metrics_dropped_total";
/// Transactions that committed.
pub const TRANSACTIONS_COMMITTED: &str = "chronik_transactions_committed_total";
/// Transactions that aborted.
pub const TRANSACTIONS_ABORTED: &str = "chronik_transactions_aborted_total";
/// Transactions that were aborted because they were open for too long.
pub const TRANSACTIONS_TIMED_OUT: &str = "chronik_transactions_timed_out_total";
/// Transactions that are open.
pub const TRANSACTIONS_OPEN: &str = "chronik_transactions_open_count";
/// Transactional ids.
pub const TRANSACTIONAL_IDS: &str = "chronik_transactional_ids_count";
/// Recent batches kept in memory.
pub const RING_BYTES: &str = "chronik_ring_bytes";
/// What recent batches may take.
pub const RING_LIMIT: &str = "chronik_ring_limit_bytes";
/// Store internals, by the store's own names.
pub const STORE_INTERNALS: &str = "chronik_store_internals";
/// Compacted logs that wait for the cleaner.
pub const CLEANER_DUE: &str = "chronik_cleaner_logs_due_count";
/// The dirtiest log's ratio.
pub const CLEANER_DIRTY_RATIO: &str = "chronik_cleaner_dirty_ratio_max";
/// Logs that cannot be cleaned.
pub const CLEANER_FAILED_LOGS: &str = "chronik_cleaner_failed_logs_count";
/// Cleanings that failed.
pub const CLEANER_FAILURES: &str = "chronik_cleaner_failures_total";
/// Bytes read.
pub const CLEANER_READ: &str = "chronik_cleaner_read_bytes_total";
/// Bytes written.
pub const CLEANER_WRITTEN: &str = "chronik_cleaner_written_bytes_total";
/// Records that went.
pub const CLEANER_DROPPED: &str = "chronik_cleaner_records_dropped_total";
/// How long the last cleaning took.
pub const CLEANER_SECONDS: &str = "chronik_cleaner_last_pass_seconds";
/// How far the pass under way is.
pub const CLEANER_PROGRESS: &str = "chronik_cleaner_progress_ratio";
/// Memory of this process.
pub const RESIDENT_MEMORY: &str = "chronik_process_resident_memory_bytes";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

/// One line of `docs/metrics.md`.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Unit, for the exporter.
    pub unit: Unit,
    /// Meaning.
    pub help: &'static str,
}

use MetricKind::{Counter as C, Gauge as G, Histogram as H};
use chronik_engine::metrics as log;
use chronik_engine::store::rocks::metrics as store;
use chronik_tiering::metrics as tier;

const fn metric(name: &'static str, kind: MetricKind, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, unit, help }
}

/// Every metric of the broker.
#[rustfmt::skip]
pub static ALL: &[Metric] = &[
    metric(MESSAGES_RECEIVED, C, Unit::Count, "Records in produce requests, refused ones included"),
    metric(MESSAGES_STORED, C, Unit::Count, "Records appended, each one durable when its producer was told"),
    metric(BYTES_RECEIVED, C, Unit::Bytes, "Bytes of record batches in produce requests"),
    metric(BYTES_FETCHED, C, Unit::Bytes, "Bytes of record batches in fetch responses"),
    metric(PRODUCE_LATENCY, H, Unit::Seconds, "Produce, from the whole request read to the reply ready, fsync included"),
    metric(FETCH_LATENCY, H, Unit::Seconds, "Fetch, from the whole request read to the reply ready, the wait of a long poll included"),
    metric(STORAGE_USAGE, G, Unit::Bytes, "Bytes the store takes on disk"),
    metric(DISK_FREE, G, Unit::Bytes, "Bytes free on the data directory's disk; produce is refused below chronik.disk.reserve.bytes"),
    metric(ACTIVE_CONNECTIONS, G, Unit::Count, "Open Kafka connections"),
    metric(REQUESTS, C, Unit::Count, "Requests, by label `api`"),
    metric(REQUEST_ERRORS, C, Unit::Count, "Error codes answered, by label `code` (Kafka's name)"),
    metric(TOPICS, G, Unit::Count, "Topics"),
    metric(PARTITIONS, G, Unit::Count, "Partitions"),
    metric(CONSUMER_LAG, G, Unit::Count, "Records between a group's committed offset and the end of the partition, by labels `group`, `topic` and `partition`; at most 1000 series"),
    metric(CLIENT_INSTANCES, G, Unit::Count, "Clients that asked which metrics to push (KIP-714) and were not silent since; at most 4096"),
    metric(CLIENT_METRIC, G, Unit::Count, "The newest value of each metric that a client pushed, by labels `name` (the client's), `client_id`, `client_instance_id` and `attributes` (key=value, comma separated); at most 5000 series"),
    metric(CLIENT_METRICS_DROPPED, C, Unit::Count, "Values that clients pushed and that were left out: too many, or names too long"),
    metric(TRANSACTIONS_COMMITTED, C, Unit::Count, "Transactions that committed"),
    metric(TRANSACTIONS_ABORTED, C, Unit::Count, "Transactions that aborted, those that timed out included"),
    metric(TRANSACTIONS_TIMED_OUT, C, Unit::Count, "Transactions aborted because they were open for longer than their timeout"),
    metric(TRANSACTIONS_OPEN, G, Unit::Count, "Transactions that are open or ending"),
    metric(TRANSACTIONAL_IDS, G, Unit::Count, "Transactional ids that are remembered"),
    metric(store::COMMIT_SECONDS, H, Unit::Seconds, "One commit of the store, its fsync included"),
    metric(store::COMMIT_BATCHES, H, Unit::Count, "Write batches that one commit gathered"),
    metric(store::COMMIT_BYTES, H, Unit::Bytes, "Bytes that one commit gathered"),
    metric(store::QUEUE_BYTES, G, Unit::Bytes, "Bytes that wait for the disk"),
    metric(log::PARTITIONS_OFFLINE, C, Unit::Count, "Partitions taken offline because their stored data could not be read"),
    metric(RING_BYTES, G, Unit::Bytes, "Recent batches kept in memory, which fetches are served from"),
    metric(RING_LIMIT, G, Unit::Bytes, "What recent batches may take, as chronik.wal.profile says"),
    metric(CLEANER_DUE, G, Unit::Count, "Compacted partitions that wait to be cleaned"),
    metric(CLEANER_DIRTY_RATIO, G, Unit::Count, "Largest part of a compacted partition's closed segments that is new, 0 to 1"),
    metric(CLEANER_FAILED_LOGS, G, Unit::Count, "Compacted partitions that cannot be cleaned; `chronik-server compact status` says why"),
    metric(CLEANER_FAILURES, C, Unit::Count, "Cleanings of a partition that failed"),
    metric(CLEANER_READ, C, Unit::Bytes, "Bytes of record batches that the cleaner has read"),
    metric(CLEANER_WRITTEN, C, Unit::Bytes, "Bytes of record batches that the cleaner has written"),
    metric(CLEANER_DROPPED, C, Unit::Count, "Records that the cleaner has dropped"),
    metric(CLEANER_SECONDS, G, Unit::Seconds, "How long the last cleaning of a partition took"),
    metric(CLEANER_PROGRESS, G, Unit::Count, "How far the cleaning under way is, 0 to 1"),
    metric(tier::REMOTE_BYTES, G, Unit::Bytes, "Bytes of record batches in object storage, by label `topic`; at most 1000 series"),
    metric(tier::LAG_BYTES, G, Unit::Bytes, "Bytes of record batches of a tiered topic that are local alone, by label `topic`; at most 1000 series"),
    metric(tier::LAG_SECONDS, G, Unit::Seconds, "Age of the oldest closed segment of a tiered topic that waits to be copied, by label `topic`; at most 1000 series"),
    metric(tier::SEGMENTS_COPIED, C, Unit::Count, "Segments copied to object storage and proven"),
    metric(tier::COPY_FAILURES, C, Unit::Count, "Copies of a segment that failed; each is tried again"),
    metric(tier::OBJECTS_DELETED, C, Unit::Count, "Objects deleted from object storage"),
    metric(tier::GARBAGE, G, Unit::Count, "Objects that nothing needs and that wait to be deleted"),
    metric(tier::LEADING, G, Unit::Count, "1 while this broker may write to the bucket; 0 before it has to, and after another has taken over"),
    metric(tier::SCRUB_FAULTS, G, Unit::Count, "What the last comparison of bucket and logs found wrong"),
    metric(tier::REQUESTS, C, Unit::Count, "Requests to object storage, by label `request` (a listing or a deletion of many counts as one)"),
    metric(tier::REQUEST_FAILURES, C, Unit::Count, "Requests to object storage that failed, by label `request`"),
    metric(tier::REQUEST_SECONDS, H, Unit::Seconds, "Requests to object storage, by label `request`"),
    metric(tier::BYTES_READ, C, Unit::Bytes, "Bytes read from object storage"),
    metric(tier::BYTES_WRITTEN, C, Unit::Bytes, "Bytes written to object storage"),
    metric(tier::BLOCKS, C, Unit::Count, "Blocks of remote segments that were read, by label `from`: `memory`, `disk` or `store`"),
    metric(tier::CORRUPT_BLOCKS, C, Unit::Count, "Blocks that came with wrong bytes and were not served, by label `from`"),
    metric(tier::HIT_RATIO, G, Unit::Count, "Part of the blocks that memory or disk had, 0 to 1, since the start"),
    metric(tier::COST, G, Unit::Count, "What the requests since the start have cost, by Amazon's prices for S3 Standard in us-east-1"),
    metric(STORE_INTERNALS, G, Unit::Count, "The store's own figures, by label `name` (memtables, tables, blobs, compactions, background errors, …)"),
    metric(RESIDENT_MEMORY, G, Unit::Bytes, "Resident memory of the process (Linux)"),
];

/// 100 µs to 10 s: from a commit that found the disk idle to a disk in trouble.
const SECONDS_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Up to the largest profile's 500 batches.
const BATCHES_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];
/// 1 KiB to 512 MiB in steps of eight, the last being the largest profile's ceiling.
const BYTES_BUCKETS: &[f64] =
    &[1024.0, 8192.0, 65_536.0, 524_288.0, 4_194_304.0, 33_554_432.0, 134_217_728.0, 536_870_912.0];

/// Installs the recorder of this process, once, describes every metric, and returns the handle that renders them.
/// Later calls return the same handle: brokers of one process share their figures.
pub fn install() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder was installed first; /metrics shows nothing");
        }
        describe();
        handle
    })
}

fn builder() -> PrometheusBuilder {
    let mut builder = PrometheusBuilder::new();
    for metric in ALL.iter().filter(|metric| metric.kind == MetricKind::Histogram) {
        let buckets = match metric.unit {
            Unit::Seconds => SECONDS_BUCKETS,
            Unit::Bytes => BYTES_BUCKETS,
            _ => BATCHES_BUCKETS,
        };
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
            .expect("bucket lists are not empty");
    }
    builder
}

fn describe() {
    for metric in ALL {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// The meaning of one of [`ALL`].
pub fn help(name: &str) -> &'static str {
    ALL.iter().find(|metric| metric.name == name).map_or("", |metric| metric.help)
}

/// Error codes from -1 up; Kafka has 134 so far.
const CODES_MAX: usize = 160;
/// API keys from 0 up; Kafka has 93 so far.
const API_KEYS_MAX: usize = 128;

/// The hot path's figures, each resolved once.
pub struct BrokerMetrics {
    /// [`MESSAGES_RECEIVED`].
    pub messages_received: Counter,
    /// [`MESSAGES_STORED`].
    pub messages_stored: Counter,
    /// [`BYTES_RECEIVED`].
    pub bytes_received: Counter,
    /// [`BYTES_FETCHED`].
    pub bytes_fetched: Counter,
    /// [`PRODUCE_LATENCY`].
    pub produce_latency: Histogram,
    /// [`FETCH_LATENCY`].
    pub fetch_latency: Histogram,
    /// [`ACTIVE_CONNECTIONS`].
    pub active_connections: Gauge,
    /// [`CLIENT_METRICS_DROPPED`].
    pub client_metrics_dropped: Counter,
    /// By API key; every served API is there from the start.
    requests: Vec<Option<Counter>>,
    /// By code plus one, each registered when it is first answered.
    errors: Vec<OnceLock<Counter>>,
}

impl BrokerMetrics {
    /// Resolves the handles, installing the recorder when nobody has.
    pub fn new() -> Self {
        install();
        let mut requests: Vec<Option<Counter>> = (0..API_KEYS_MAX).map(|_| None).collect();
        for api in dispatch::APIS {
            if let Some(slot) = usize::try_from(api.key).ok().and_then(|key| requests.get_mut(key)) {
                *slot = Some(metrics::counter!(REQUESTS, "api" => api.name));
            }
        }
        // Registered at zero, so that an alert on it works before the first one.
        metrics::counter!(log::PARTITIONS_OFFLINE).increment(0);
        for name in [TRANSACTIONS_COMMITTED, TRANSACTIONS_ABORTED, TRANSACTIONS_TIMED_OUT] {
            metrics::counter!(name).increment(0);
        }
        crate::cleaner::register_metrics();
        tier::register();
        Self {
            messages_received: metrics::counter!(MESSAGES_RECEIVED),
            messages_stored: metrics::counter!(MESSAGES_STORED),
            bytes_received: metrics::counter!(BYTES_RECEIVED),
            bytes_fetched: metrics::counter!(BYTES_FETCHED),
            produce_latency: metrics::histogram!(PRODUCE_LATENCY),
            fetch_latency: metrics::histogram!(FETCH_LATENCY),
            active_connections: metrics::gauge!(ACTIVE_CONNECTIONS),
            client_metrics_dropped: metrics::counter!(CLIENT_METRICS_DROPPED),
            requests,
            errors: (0..CODES_MAX).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Counts a request of an API that is served.
    pub fn request_received(&self, api_key: i16) {
        let slot = usize::try_from(api_key).ok().and_then(|key| self.requests.get(key));
        if let Some(Some(counter)) = slot {
            counter.increment(1);
        }
    }

    /// Counts an error code answered; `None` (0) is no error.
    pub fn error(&self, code: ErrorCode) {
        if code == ErrorCode::None {
            return;
        }
        let slot = usize::try_from(code as i16 + 1).ok().and_then(|index| self.errors.get(index));
        if let Some(slot) = slot {
            slot.get_or_init(|| metrics::counter!(REQUEST_ERRORS, "code" => code_label(code))).increment(1);
        }
    }
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// `UnknownTopicOrPartition` as Kafka writes it: `UNKNOWN_TOPIC_OR_PARTITION`.
fn code_label(code: ErrorCode) -> String {
    let mut label = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(letter.to_ascii_uppercase());
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_pattern() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        for metric in ALL {
            assert!(metric.name.starts_with("chronik_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
        }
    }

    #[test]
    fn what_is_counted_is_rendered_with_its_help() {
        let metrics = BrokerMetrics::new();
        metrics.messages_received.increment(3);
        metrics.error(ErrorCode::UnknownTopicOrPartition);
        metrics.error(ErrorCode::None);
        metrics.request_received(0);
        metrics.request_received(-5);
        metrics.produce_latency.record(0.002);
        let text = install().render();
        assert!(text.contains("# HELP chronik_messages_received_total Records"), "{text}");
        assert!(text.contains("chronik_request_errors_total{code=\"UNKNOWN_TOPIC_OR_PARTITION\"}"), "{text}");
        assert!(!text.contains("code=\"NONE\""));
        assert!(text.contains("chronik_requests_total{api=\"Produce\"}"), "{text}");
        assert!(text.contains("chronik_produce_latency_seconds_bucket{le=\"0.0025\"}"), "{text}");
    }

    #[test]
    fn bucket_lists_rise() {
        for list in [SECONDS_BUCKETS, BATCHES_BUCKETS, BYTES_BUCKETS] {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
