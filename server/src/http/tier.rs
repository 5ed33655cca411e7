//! Owns `/v1/admin/tier`: what is in object storage, who writes there, and a comparison on demand.
//!
//! | request | answer |
//! |---|---|
//! | `GET /tier[?topic=T]` | 200 with the bucket, this broker's standing and every tiered partition |
//! | `POST /tier/scrub` | 200 with what a comparison of bucket and logs has found, or nothing while it goes on |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chronik_tiering::{ScrubReport, Standing};
use serde::{Deserialize, Serialize};

use super::{HttpState, error};
use crate::broker::Broker;

/// How long a comparison is waited for; less than a request may take.
const SCRUB_WAIT: Duration = Duration::from_secs(20);

/// The routes.
pub fn routes() -> Router<HttpState> {
    Router::new().route("/tier", get(status)).route("/tier/scrub", post(scrub))
}

#[derive(Debug, Deserialize)]
struct Which {
    topic: Option<String>,
}

/// What is told of tiered storage.
#[derive(Debug, Serialize, Deserialize)]
pub struct TierStatus {
    /// The bucket.
    pub bucket: String,
    /// Whether this broker writes there: `idle`, `leading`, `trying` or `replaced`.
    pub standing: String,
    /// The epoch of one that does, or why one does not.
    pub detail: String,
    /// Tiered partitions.
    pub partitions: Vec<TierPartition>,
}

/// What a comparison has found.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScrubAnswer {
    /// `None` while it goes on; what it finds is logged.
    pub report: Option<ScrubReport>,
}

/// One tiered partition.
#[derive(Debug, Serialize, Deserialize)]
pub struct TierPartition {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: usize,
    /// First offset there is.
    pub log_start_offset: i64,
    /// First offset that is local.
    pub local_start_offset: i64,
    /// First offset that is local alone.
    pub copied_to: i64,
    /// First offset that is not durable.
    pub high_watermark: i64,
    /// Remote segments.
    pub segments: usize,
    /// Bytes of their batches.
    pub remote_bytes: u64,
    /// Bytes of local batches.
    pub local_bytes: u64,
    /// Bytes that are local alone.
    pub uncopied_bytes: u64,
}

#[expect(clippy::result_large_err, reason = "the answer itself, made once for a refused request")]
fn broker(state: &HttpState) -> Result<&Arc<Broker>, Response> {
    state.broker().ok_or_else(|| {
        error(StatusCode::SERVICE_UNAVAILABLE, "no_broker", "there is no broker behind this address")
    })
}

async fn status(State(state): State<HttpState>, Query(which): Query<Which>) -> Result<Response, Response> {
    let broker = broker(&state)?;
    let (standing, detail) = match broker.tier.standing() {
        Standing::Idle => ("idle", "nothing was to be done yet".to_owned()),
        Standing::Leading(epoch) => ("leading", format!("epoch {epoch}")),
        Standing::Trying(reason) => ("trying", reason),
        Standing::Replaced(reason) => ("replaced", reason),
    };
    let mut partitions = Vec::new();
    for topic in broker.engine.topics().iter() {
        if which.topic.as_ref().is_some_and(|asked| **asked != *topic.name) {
            continue;
        }
        for (partition, place) in topic.partitions.iter().enumerate() {
            if !place.log.config().remote_storage && !place.log.has_remote() {
                continue;
            }
            let (offsets, figures) = (place.log.offsets(), place.log.tier_figures());
            partitions.push(TierPartition {
                topic: topic.name.to_string(),
                partition,
                log_start_offset: offsets.log_start_offset,
                local_start_offset: offsets.local_from,
                copied_to: figures.copied_to,
                high_watermark: offsets.high_watermark,
                segments: figures.segments,
                remote_bytes: figures.remote_bytes,
                local_bytes: figures.local_bytes,
                uncopied_bytes: figures.uncopied_bytes,
            });
        }
    }
    let bucket = broker.tier.bucket().place().to_owned();
    Ok(Json(TierStatus { bucket, standing: standing.to_owned(), detail, partitions }).into_response())
}

async fn scrub(State(state): State<HttpState>) -> Result<Response, Response> {
    let tier = broker(&state)?.tier.clone();
    // Goes on when the caller does not wait for it.
    let scrubbing = tokio::spawn(async move { tier.scrub().await });
    let report = match tokio::time::timeout(SCRUB_WAIT, scrubbing).await {
        Err(_) => None,
        Ok(Ok(Ok(report))) => Some(report),
        Ok(Ok(Err(failed))) => {
            return Err(error(StatusCode::BAD_GATEWAY, "object_storage", &failed.to_string()));
        }
        Ok(Err(failed)) => {
            return Err(error(StatusCode::INTERNAL_SERVER_ERROR, "scrub", &failed.to_string()));
        }
    };
    Ok(Json(ScrubAnswer { report }).into_response())
}
