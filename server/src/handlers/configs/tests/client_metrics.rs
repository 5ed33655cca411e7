//! Client metrics subscriptions as resources with configs (KIP-714).

use super::*;

async fn shown(ctx: &TestContext, name: &str) -> Vec<(String, String, i8, usize)> {
    let told = described(ctx, CLIENT_METRICS, name, None).await;
    let configs = told.configs.iter().map(|config| {
        let value = config.value.as_deref().unwrap_or("null").to_owned();
        (config.name.to_string(), value, config.config_source, config.synonyms.len())
    });
    configs.collect()
}

async fn listed(ctx: &TestContext) -> Vec<String> {
    let request = message!(ListConfigResourcesRequest { resource_types: vec![CLIENT_METRICS] });
    let answer = list_resources(ctx, request).await;
    answer.config_resources.iter().map(|found| found.resource_name.to_string()).collect()
}

// semantics 3.9.4
#[tokio::test]
async fn a_subscription_is_there_while_something_is_set_on_it() {
    let ctx = testing::context().await.with_version(1);
    let default = |name: &str, value: &str| (name.to_owned(), value.to_owned(), 5, 0);
    let nothing = [default("interval.ms", "300000"), default("match", ""), default("metrics", "")];
    assert_eq!(shown(&ctx, "m").await, nothing);
    let change: &[(&str, i8, Option<&str>)] =
        &[("interval.ms", SET, Some("100")), ("metrics", SET, Some("a.,b."))];
    assert_eq!(incremental_with(&ctx, &[(CLIENT_METRICS, "m")], change, true).await, [0]);
    assert_eq!((shown(&ctx, "m").await, listed(&ctx).await), (nothing.to_vec(), Vec::new()));
    assert_eq!(incremental(&ctx, CLIENT_METRICS, "m", change).await, 0);
    assert_eq!(listed(&ctx).await, ["m"]);
    let told = shown(&ctx, "m").await;
    assert_eq!(told[0], ("interval.ms".to_owned(), "100".to_owned(), 7, 1));
    assert_eq!(replace(&ctx, CLIENT_METRICS, "m", &[("metrics", Some("c"))]).await, 0);
    assert_eq!(shown(&ctx, "m").await[0], nothing[0]);
    assert_eq!(incremental(&ctx, CLIENT_METRICS, "m", &[("metrics", DELETE, None)]).await, 0);
    assert_eq!((shown(&ctx, "m").await, listed(&ctx).await), (nothing.to_vec(), Vec::new()));
}

// semantics 3.9.4
#[tokio::test]
async fn bad_subscriptions_are_refused_and_there_is_a_bound() {
    let ctx = testing::context().await.with_version(1);
    for (resource, name, operation, value, code) in [
        ("m", "interval.ms", SET, "99", InvalidRequest),
        ("m", "interval.ms", SET, "soon", InvalidConfig),
        ("m", "no.such", SET, "1", InvalidRequest),
        ("m", "match", SET, "client_id=(", InvalidConfig),
        ("m", "metrics", APPEND, "a", InvalidConfig),
        ("", "metrics", SET, "a", InvalidRequest),
    ] {
        let found = incremental(&ctx, CLIENT_METRICS, resource, &[(name, operation, Some(value))]).await;
        assert_eq!(found, code.code(), "{resource} {name} {value}");
    }
    assert!(listed(&ctx).await.is_empty());
    let change: &[(&str, i8, Option<&str>)] = &[("metrics", SET, Some("a"))];
    for number in 0..crate::telemetry::SUBSCRIPTIONS_MAX {
        assert_eq!(incremental(&ctx, CLIENT_METRICS, &format!("m{number}"), change).await, 0);
    }
    assert_eq!(incremental(&ctx, CLIENT_METRICS, "more", change).await, ErrorCode::PolicyViolation.code());
    assert_eq!(incremental(&ctx, CLIENT_METRICS, "m0", &[("metrics", SET, Some("b"))]).await, 0);
}
