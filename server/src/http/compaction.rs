//! Owns `/v1/admin/compaction`: what the cleaner is told and what it tells.
//!
//! | request | answer |
//! |---|---|
//! | `GET /compaction[?topic=T]` | 200 with every compacted partition and the pass under way |
//! | `POST /compaction` with `{"topic": "T", "dry_run": true}`, both optional | 202 with the number of a job |
//! | `GET /compaction/jobs/N` | 200 with how far the job is |

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::{HttpState, error};
use crate::cleaner::{Cleaner, NoTarget};

/// The routes.
pub fn routes() -> Router<HttpState> {
    Router::new().route("/compaction", get(status).post(ask)).route("/compaction/jobs/{number}", get(job))
}

#[derive(Debug, Deserialize)]
struct Which {
    topic: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    topic: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[expect(clippy::result_large_err, reason = "the answer itself, made once for a refused request")]
fn cleaner(state: &HttpState) -> Result<&Arc<Cleaner>, Response> {
    state.cleaner().ok_or_else(|| {
        error(StatusCode::SERVICE_UNAVAILABLE, "no_broker", "there is no broker behind this address")
    })
}

async fn status(State(state): State<HttpState>, Query(which): Query<Which>) -> Result<Response, Response> {
    let status = cleaner(&state)?.status(which.topic.as_deref()).map_err(|error| refused(&error))?;
    Ok(Json(status).into_response())
}

async fn ask(
    State(state): State<HttpState>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Response, Response> {
    let bad = |rejected: JsonRejection| error(StatusCode::BAD_REQUEST, "bad_request", &rejected.body_text());
    let Json(order) = order.map_err(bad)?;
    let asked =
        cleaner(&state)?.ask(order.topic.as_deref(), order.dry_run).map_err(|error| refused(&error))?;
    match asked {
        Ok(job) => Ok((StatusCode::ACCEPTED, Json(json!({ "job": job }))).into_response()),
        Err(busy) => Err(error(StatusCode::TOO_MANY_REQUESTS, "busy", &busy.to_string())),
    }
}

async fn job(State(state): State<HttpState>, Path(number): Path<u64>) -> Result<Response, Response> {
    match cleaner(&state)?.job(number) {
        Some(job) => Ok(Json(job).into_response()),
        None => Err(error(StatusCode::NOT_FOUND, "no_such_job", "this cleaning is not remembered any more")),
    }
}

fn refused(reason: &NoTarget) -> Response {
    let (status, code) = match reason {
        NoTarget::NoTopic(_) => (StatusCode::NOT_FOUND, "no_such_topic"),
        NoTarget::NotCompacted(_) => (StatusCode::CONFLICT, "not_compacted"),
        NoTarget::None => (StatusCode::CONFLICT, "nothing_compacted"),
    };
    error(status, code, &reason.to_string())
}
