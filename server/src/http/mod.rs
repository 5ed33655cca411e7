//! Owns the HTTP address: health, metrics and administration, within limits on connections, time and sizes.
//!
//! What needs no key is mounted at the top; everything under `/v1/admin` passes [`auth`] first. This module binds no
//! Kafka listener and decides nothing about topics: administration goes through the same engine calls as Kafka's APIs.

mod admin;
mod auth;
mod compaction;
mod figures;
mod limited;
pub mod tier;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::cleaner::Cleaner;
use crate::config::BrokerConfig;
use crate::dynamic::settings::Settings;
use crate::metrics;
use crate::runtime::Readiness;

pub use figures::Figures;

/// Longest request body that is read, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest time one request may take before it is answered 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stop waits for requests under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often histograms are folded into their buckets when nobody scrapes, so that samples do not pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What the routes share.
#[derive(Clone)]
pub struct HttpState(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    readiness: Readiness,
    figures: Box<dyn Figures>,
    broker: Option<Arc<Broker>>,
}

impl HttpState {
    /// The state of a running broker.
    pub fn new(broker: Arc<Broker>, readiness: Readiness) -> Self {
        let settings = broker.dynamic.settings.clone();
        let figures = Box::new(figures::BrokerFigures::new(broker.clone()));
        Self(Arc::new(Shared { settings, readiness, figures, broker: Some(broker) }))
    }

    /// As [`new`](Self::new), with the gauges of something else than a broker.
    pub fn with_figures(config: Arc<BrokerConfig>, readiness: Readiness, figures: Box<dyn Figures>) -> Self {
        Self(Arc::new(Shared { settings: Settings::new(config), readiness, figures, broker: None }))
    }

    fn config(&self) -> Arc<BrokerConfig> {
        self.0.settings.current()
    }

    fn broker(&self) -> Option<&Arc<Broker>> {
        self.0.broker.as_ref()
    }

    fn cleaner(&self) -> Option<&Arc<Cleaner>> {
        self.broker().map(|broker| &broker.cleaner)
    }
}

/// Binds the address; must be called in a runtime.
///
/// # Errors
/// The system's, `AddrInUse` among them.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    limited::bind(address)
}

/// Every route.
pub fn router(state: HttpState) -> Router {
    // With a fallback of its own, an unknown route under /v1/admin passes the guard as well.
    let admin = admin::routes()
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(state.clone(), auth::require_key));
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .nest("/v1/admin", admin)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(within_time))
        .with_state(state)
}

/// Serves until `stopping` turns true, then gives requests under way a moment.
pub async fn serve(listener: TcpListener, state: HttpState, mut stopping: watch::Receiver<bool>) {
    let upkeep = tokio::spawn(upkeep(stopping.clone()));
    let mut stop = stopping.clone();
    let serving = axum::serve(limited::LimitedListener::new(listener), router(state)).with_graceful_shutdown(
        async move {
            let _ = stop.wait_for(|stop| *stop).await;
        },
    );
    let too_long = async {
        let _ = stopping.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        served = serving.into_future() => {
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP address stopped serving");
            }
        }
        () = too_long => tracing::debug!("gave up on HTTP requests under way"),
    }
    upkeep.abort();
}

async fn upkeep(mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP_INTERVAL) => metrics::install().run_upkeep(),
            _ = stopping.changed() => return,
        }
    }
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the request took too long"),
    }
}

async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

async fn ready(State(state): State<HttpState>) -> Response {
    if state.0.readiness.is_ready() {
        Json(json!({ "status": "ready" })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready" }))).into_response()
    }
}

async fn render_metrics(State(state): State<HttpState>) -> Response {
    let worked_out = state.0.figures.refresh().await;
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, metrics::install().render() + &worked_out).into_response()
}

async fn not_found() -> Response {
    error(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here: /metrics, /health/live and /health/ready are",
    )
}

/// An error as every route tells it.
fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

/// What an async method of a trait object returns.
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[cfg(test)]
mod tests;
