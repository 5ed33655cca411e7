//! Names of the figures, and the few counts from which others are worked out. Their meaning is in `docs/metrics.md`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests to object storage, by kind.
pub const REQUESTS: &str = "chronik_tier_requests_total";
/// Requests that failed, by kind.
pub const REQUEST_FAILURES: &str = "chronik_tier_request_failures_total";
/// How long requests took, by kind.
pub const REQUEST_SECONDS: &str = "chronik_tier_request_seconds";
/// Bytes read from object storage.
pub const BYTES_READ: &str = "chronik_tier_read_bytes_total";
/// Bytes written to object storage.
pub const BYTES_WRITTEN: &str = "chronik_tier_written_bytes_total";
/// Segments copied.
pub const SEGMENTS_COPIED: &str = "chronik_tier_segments_copied_total";
/// Copies that failed and are tried again.
pub const COPY_FAILURES: &str = "chronik_tier_copy_failures_total";
/// Objects deleted.
pub const OBJECTS_DELETED: &str = "chronik_tier_objects_deleted_total";
/// Blocks that did not have the bytes they should have, by where they came from.
pub const CORRUPT_BLOCKS: &str = "chronik_tier_corrupt_blocks_total";
/// Blocks asked of the cache, by where they were.
pub const BLOCKS: &str = "chronik_tier_blocks_total";
/// 1 while this broker may write to the bucket.
pub const LEADING: &str = "chronik_tier_leading";
/// Objects that wait to be deleted.
pub const GARBAGE: &str = "chronik_tier_garbage_objects_count";
/// What the last comparison of bucket and logs found wrong.
pub const SCRUB_FAULTS: &str = "chronik_tier_scrub_faults_count";
/// Part of the blocks that the caches had.
pub const HIT_RATIO: &str = "chronik_tier_cache_hit_ratio";
/// What the requests since the start have cost, roughly.
pub const COST: &str = "chronik_tier_estimated_request_cost_dollars";
/// Bytes of batches in object storage, by topic.
pub const REMOTE_BYTES: &str = "chronik_tier_remote_bytes";
/// Bytes of batches that are local alone, by topic.
pub const LAG_BYTES: &str = "chronik_tier_lag_bytes";
/// How long the oldest segment has waited to be copied, by topic.
pub const LAG_SECONDS: &str = "chronik_tier_lag_seconds";

/// Kinds of requests, and what a thousand of each cost in dollars: Amazon's prices for S3 Standard in us-east-1. Deleting
/// is free.
const KINDS: [(&str, f64); 6] = [
    ("put", 0.005),
    ("multipart", 0.005),
    ("list", 0.005),
    ("get", 0.0004),
    ("head", 0.0004),
    ("delete", 0.0),
];

/// Where a block was.
const PLACES: [&str; 3] = ["memory", "disk", "store"];

static REQUEST_COUNTS: [AtomicU64; KINDS.len()] = [const { AtomicU64::new(0) }; KINDS.len()];
static BLOCK_COUNTS: [AtomicU64; PLACES.len()] = [const { AtomicU64::new(0) }; PLACES.len()];

/// Notes a request of one of the kinds, and how it went.
pub(crate) fn count_request(kind: &'static str, seconds: f64, failed: bool) {
    if let Some(place) = KINDS.iter().position(|(known, _)| *known == kind) {
        REQUEST_COUNTS[place].fetch_add(1, Ordering::Relaxed);
    }
    metrics::counter!(REQUESTS, "request" => kind).increment(1);
    if failed {
        metrics::counter!(REQUEST_FAILURES, "request" => kind).increment(1);
    }
    metrics::histogram!(REQUEST_SECONDS, "request" => kind).record(seconds);
}

/// Requests of a kind since the process began.
pub fn requests(kind: &str) -> u64 {
    let place = KINDS.iter().position(|(known, _)| *known == kind);
    place.map_or(0, |place| REQUEST_COUNTS[place].load(Ordering::Relaxed))
}

/// Notes where a block was.
pub(crate) fn count_block(place: &'static str) {
    if let Some(index) = PLACES.iter().position(|known| *known == place) {
        BLOCK_COUNTS[index].fetch_add(1, Ordering::Relaxed);
    }
    metrics::counter!(BLOCKS, "from" => place).increment(1);
}

/// Works out what others are worked out from.
pub fn refresh() {
    let counts: Vec<u64> = BLOCK_COUNTS.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let (hits, all) = (counts[0] + counts[1], counts.iter().sum::<u64>());
    metrics::gauge!(HIT_RATIO).set(if all == 0 { 0.0 } else { hits as f64 / all as f64 });
    let cost = KINDS.iter().zip(&REQUEST_COUNTS);
    let cost = cost.map(|((_, price), count)| count.load(Ordering::Relaxed) as f64 / 1000.0 * price);
    metrics::gauge!(COST).set(cost.sum::<f64>());
}

/// Registers everything at zero, so that it is there before anything has happened.
pub fn register() {
    for (kind, _) in KINDS {
        metrics::counter!(REQUESTS, "request" => kind).increment(0);
        metrics::counter!(REQUEST_FAILURES, "request" => kind).increment(0);
        let _ = metrics::histogram!(REQUEST_SECONDS, "request" => kind);
    }
    for place in PLACES {
        metrics::counter!(BLOCKS, "from" => place).increment(0);
    }
    for place in ["disk", "store"] {
        metrics::counter!(CORRUPT_BLOCKS, "from" => place).increment(0);
    }
    for name in [BYTES_READ, BYTES_WRITTEN, SEGMENTS_COPIED, COPY_FAILURES, OBJECTS_DELETED] {
        metrics::counter!(name).increment(0);
    }
    for name in [LEADING, GARBAGE, SCRUB_FAULTS] {
        metrics::gauge!(name).set(0.0);
    }
    refresh();
}
