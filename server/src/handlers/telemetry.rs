//! GetTelemetrySubscriptions and PushTelemetry (KIP-714): what clients are asked to measure, and what they measured.

use chronik_protocol::codec::Uuid;
use chronik_protocol::codec::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
    PushTelemetryResponse,
};
use chronik_protocol::compression::{Compression, CompressionError, decompress};
use chronik_protocol::message;

use crate::error_code::ErrorCode;
use crate::limits::DECOMPRESSED_TELEMETRY_BYTES_MAX;
use crate::request::RequestContext;
use crate::runtime;
use crate::telemetry::subscription::ClientFacts;
use crate::telemetry::{ACCEPTED_COMPRESSION, InstanceId, Push, SAMPLES_MAX, TelemetryError, otlp};

/// Answers GetTelemetrySubscriptions. A client without an id is given one.
pub async fn subscriptions(
    ctx: &RequestContext,
    request: GetTelemetrySubscriptionsRequest,
) -> GetTelemetrySubscriptionsResponse {
    let mut id: InstanceId = *request.client_instance_id.as_bytes();
    while reserved(&id) {
        let mut random = [0; 16];
        runtime::random_bytes(&mut random);
        id = *uuid::Builder::from_random_bytes(random).into_uuid().as_bytes();
    }
    let telemetry = &ctx.broker.dynamic.telemetry;
    match telemetry.ask(id, &facts(ctx, &id), ctx.broker.clock.mono_ms()) {
        Err(error) => {
            message!(GetTelemetrySubscriptionsResponse { error_code: counted(ctx, &error).code() })
        }
        Ok(asked) => message!(GetTelemetrySubscriptionsResponse {
            client_instance_id: Uuid::from_bytes(id),
            subscription_id: asked.subscription_id,
            accepted_compression_types: ACCEPTED_COMPRESSION.map(|codec| codec.id().cast_signed()).to_vec(),
            push_interval_ms: asked.interval_ms,
            telemetry_max_bytes: max_bytes(ctx),
            // A page that is scraped wants what there is in all, not what came since the last push.
            delta_temporality: false,
            requested_metrics: asked.metrics.iter().map(|prefix| prefix.as_str().into()).collect(),
        }),
    }
}

/// Answers PushTelemetry.
pub async fn push(ctx: &RequestContext, request: PushTelemetryRequest) -> PushTelemetryResponse {
    let code = match take(ctx, &request) {
        Ok(()) => ErrorCode::None,
        Err(error) => counted(ctx, &error),
    };
    message!(PushTelemetryResponse { error_code: code.code() })
}

fn take(ctx: &RequestContext, request: &PushTelemetryRequest) -> Result<(), TelemetryError> {
    let id: InstanceId = *request.client_instance_id.as_bytes();
    if reserved(&id) {
        return Err(TelemetryError::InvalidInstance);
    }
    let telemetry = &ctx.broker.dynamic.telemetry;
    let push = Push {
        subscription_id: request.subscription_id,
        terminating: request.terminating,
        compression: request.compression_type,
        bytes: request.metrics.len(),
        max_bytes: usize::try_from(max_bytes(ctx)).unwrap_or(0),
    };
    let asked = telemetry.admit(id, &facts(ctx, &id), &push, ctx.broker.clock.mono_ms())?;
    if request.metrics.is_empty() {
        return Ok(());
    }
    let read = payload(request).and_then(|payload| {
        otlp::read(&payload, SAMPLES_MAX, |name| asked.wants(name)).map_err(|_| TelemetryError::Malformed)
    });
    let read = read.inspect_err(|error| telemetry.failed(id, *error))?;
    let dropped = read.dropped + telemetry.keep(id, read.samples);
    ctx.broker.metrics.client_metrics_dropped.increment(dropped as u64);
    Ok(())
}

/// The payload, decompressed under a ceiling of its own: a client can make a few bytes grow a thousandfold.
fn payload(request: &PushTelemetryRequest) -> Result<Vec<u8>, TelemetryError> {
    let codec = u8::try_from(request.compression_type).ok().and_then(Compression::from_id);
    match codec {
        None => Err(TelemetryError::UnsupportedCompression),
        Some(codec) => {
            let mut payload = Vec::new();
            let done = decompress(codec, &request.metrics, DECOMPRESSED_TELEMETRY_BYTES_MAX, &mut payload);
            done.map(|()| payload).map_err(|error| match error {
                CompressionError::TooLarge { .. } => TelemetryError::TooLarge,
                CompressionError::Malformed { .. } => TelemetryError::Malformed,
            })
        }
    }
}

fn counted(ctx: &RequestContext, error: &TelemetryError) -> ErrorCode {
    let code = ErrorCode::from(error);
    ctx.broker.metrics.error(code);
    code
}

fn max_bytes(ctx: &RequestContext) -> i32 {
    ctx.broker.config.telemetry.telemetry_max_bytes
}

/// Kafka's `Uuid.RESERVED`: zero and one.
fn reserved(id: &InstanceId) -> bool {
    u128::from_be_bytes(*id) <= 1
}

fn facts(ctx: &RequestContext, id: &InstanceId) -> ClientFacts {
    let software = ctx.software.get();
    ClientFacts {
        instance_id: chronik_engine::base64_url(id),
        client_id: ctx.client_id().to_owned(),
        software_name: software.map_or(String::new(), |software| software.name.clone()),
        software_version: software.map_or(String::new(), |software| software.version.clone()),
        source_address: ctx.client_addr.ip().to_string(),
        source_port: ctx.client_addr.port().to_string(),
    }
}

#[cfg(test)]
mod tests;
