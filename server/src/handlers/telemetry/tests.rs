//! GetTelemetrySubscriptions and PushTelemetry over a broker's state.

use chronik_protocol::compression::compress;

use super::*;
use crate::handlers::testing::{self, TestContext, encodes_in_every_version};
use crate::telemetry::otlp::tests::gauges;

async fn subscribed(pairs: &[(&str, &str)]) -> TestContext {
    let ctx = testing::context_with(&[("telemetry.max.bytes", "2000")]).await.with_version(0);
    let configs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ctx.broker.dynamic.telemetry.replace(&ctx.broker.engine, "s", configs).await.unwrap();
    ctx
}

fn compressed(codec: Compression, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec, None, payload, &mut out).unwrap();
    out
}

async fn asked(ctx: &TestContext, id: Uuid) -> GetTelemetrySubscriptionsResponse {
    let answer =
        subscriptions(ctx, message!(GetTelemetrySubscriptionsRequest { client_instance_id: id })).await;
    encodes_in_every_version(&answer);
    answer
}

async fn pushed(
    ctx: &TestContext,
    id: Uuid,
    subscription_id: i32,
    codec: Compression,
    payload: &[u8],
) -> i16 {
    let request = message!(PushTelemetryRequest {
        client_instance_id: id,
        subscription_id: subscription_id,
        compression_type: codec.id().cast_signed(),
        metrics: payload.to_vec().into(),
    });
    let answer = push(ctx, request).await;
    encodes_in_every_version(&answer);
    answer.error_code
}

// semantics 3.9.10
#[tokio::test]
async fn a_client_is_given_an_id_and_what_it_pushes_is_kept() {
    let ctx = subscribed(&[("metrics", "org."), ("interval.ms", "100")]).await;
    let answer = asked(&ctx, Uuid::default()).await;
    let id = answer.client_instance_id;
    assert!(answer.error_code == 0 && id != Uuid::default());
    assert_eq!(
        (answer.push_interval_ms, answer.telemetry_max_bytes, answer.delta_temporality),
        (100, 2000, false)
    );
    assert_eq!(answer.accepted_compression_types, [4, 3, 1, 2]);
    assert_eq!(answer.requested_metrics.iter().map(|name| &**name).collect::<Vec<_>>(), ["org."]);
    let payload = gauges(&[("org.x", 1.5), ("com.x", 2.5)]);
    for codec in Compression::ALL {
        let payload = compressed(codec, &payload);
        assert_eq!(pushed(&ctx, id, answer.subscription_id, codec, &payload).await, 0, "{codec:?}");
        ctx.broker.clock.advance(100);
    }
    let (clients, shown) = ctx.broker.dynamic.telemetry.shown(ctx.broker.clock.mono_ms());
    assert_eq!((clients, shown.len()), (1, 1), "nobody asked for the other metric");
    assert_eq!((&*shown[0].sample.name, shown[0].sample.value, &*shown[0].client_id), ("org.x", 1.5, "test"));
}

// semantics 3.9.10
#[tokio::test]
async fn pushes_that_cannot_be_taken_say_why() {
    let ctx = subscribed(&[("metrics", "*"), ("interval.ms", "100")]).await;
    let payload = gauges(&[("org.x", 1.5)]);
    let next = async || {
        ctx.broker.clock.advance(100);
        let answer = asked(&ctx, Uuid::default()).await;
        (answer.client_instance_id, answer.subscription_id)
    };
    let zeros = vec![0; DECOMPRESSED_TELEMETRY_BYTES_MAX + 1];
    let bomb = compressed(Compression::Zstd, &zeros);
    assert!(bomb.len() < 2000, "{}", bomb.len());
    for (codec, payload, code) in [
        (Compression::None, &payload[..payload.len() - 1], ErrorCode::InvalidRecord),
        (Compression::Zstd, &payload[..], ErrorCode::InvalidRecord),
        (Compression::Zstd, &bomb, ErrorCode::TelemetryTooLarge),
        (Compression::None, &zeros[..2001], ErrorCode::TelemetryTooLarge),
    ] {
        let (id, subscription) = next().await;
        assert_eq!(pushed(&ctx, id, subscription, codec, payload).await, code.code(), "{codec:?}");
    }
    let (id, subscription) = next().await;
    let stale = pushed(&ctx, id, subscription + 1, Compression::None, &payload).await;
    assert_eq!(stale, ErrorCode::UnknownSubscriptionId.code());
    let early = pushed(&ctx, id, subscription, Compression::None, &payload).await;
    assert_eq!(early, ErrorCode::ThrottlingQuotaExceeded.code());
    for reserved in [0, 1u128] {
        let reserved = Uuid::from_bytes(reserved.to_be_bytes());
        let code = pushed(&ctx, reserved, subscription, Compression::None, &payload).await;
        assert_eq!(code, ErrorCode::InvalidRequest.code());
    }
}

#[tokio::test]
async fn subscriptions_are_kept_over_a_restart() {
    let ctx = subscribed(&[("metrics", "org."), ("interval.ms", "100")]).await;
    let id = Uuid::from_bytes([3; 16]);
    let before = asked(&ctx, id).await;
    let ctx = ctx.restarted().await.with_version(0);
    assert_eq!(asked(&ctx, id).await, before, "clients need not be told anew");
}
