//! Owns the admin routes. Each is small and reads or changes through the same paths as Kafka's APIs; who may call
//! them is decided before, in `auth`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{HttpState, compaction, tier};

/// Everything under `/v1/admin`.
pub fn routes() -> Router<HttpState> {
    Router::new().route("/config", get(config)).merge(compaction::routes()).merge(tier::routes())
}

/// Every setting with its value (secrets are null) and where the value came from.
async fn config(State(state): State<HttpState>) -> Response {
    let config = state.config();
    let entries = &config.entries;
    let settings: Vec<_> = entries
        .describe()
        .into_iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "value": entry.value,
                "sensitive": entry.sensitive,
                "set": entries.is_set(entry.name),
                "origin": entries.origin(entry.name).map(ToString::to_string),
            })
        })
        .collect();
    Json(json!({ "settings": settings })).into_response()
}
