//! Settings of the broker, changed while it runs.

use super::*;

/// Value and source of one setting, as DescribeConfigs tells it.
async fn setting(ctx: &TestContext, resource: &str, name: &str) -> Option<(Option<String>, i8)> {
    let told = described(ctx, BROKER, resource, Some(&[name])).await;
    let config = told.configs.first()?;
    Some((config.value.as_deref().map(str::to_owned), config.config_source))
}

async fn synonyms(ctx: &TestContext, kind: i8, resource: &str, name: &str) -> Vec<(String, String, i8)> {
    let told = described(ctx, kind, resource, Some(&[name])).await;
    let synonyms = told.configs[0].synonyms.iter();
    let all = synonyms
        .map(|one| (one.name.to_string(), one.value.as_deref().unwrap_or("null").to_owned(), one.source));
    all.collect()
}

fn triple(name: &str, value: &str, source: i8) -> (String, String, i8) {
    (name.to_owned(), value.to_owned(), source)
}

// semantics 3.9.4
#[tokio::test]
async fn a_changed_broker_default_reaches_every_topic_that_does_not_override_it() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    ctx.topic_with("b", 1, &[("retention.ms", "7")]).await;
    assert_eq!(incremental(&ctx, BROKER, "", &[("log.retention.ms", SET, Some("6000"))]).await, 0);
    assert_eq!(ctx.log("a", 0).config().retention_ms, Some(6000));
    assert_eq!(incremental(&ctx, BROKER, "1", &[("log.retention.ms", SET, Some("5000"))]).await, 0);
    assert_eq!(ctx.log("a", 0).config().retention_ms, Some(5000));
    assert_eq!(ctx.log("b", 0).config().retention_ms, Some(7));
    ctx.topic("c", 1).await;
    assert_eq!(ctx.log("c", 0).config().retention_ms, Some(5000));
    let expected = [
        triple("log.retention.ms", "5000", 2),
        triple("log.retention.ms", "6000", 3),
        triple("log.retention.hours", "168", 5),
    ];
    assert_eq!(synonyms(&ctx, BROKER, "1", "log.retention.ms").await, expected);
    assert_eq!(synonyms(&ctx, TOPIC, "a", "retention.ms").await, expected);
    assert_eq!(setting(&ctx, "", "log.retention.ms").await, Some((Some("6000".to_owned()), 3)));
    assert_eq!(synonyms(&ctx, BROKER, "", "log.retention.ms").await, expected[1..2]);
    for resource in ["1", ""] {
        assert_eq!(incremental(&ctx, BROKER, resource, &[("log.retention.ms", DELETE, None)]).await, 0);
    }
    assert_eq!(ctx.log("a", 0).config().retention_ms, Some(604_800_000));
    assert_eq!(setting(&ctx, "1", "log.retention.ms").await, Some((None, 5)));
}

// semantics 3.9.4
#[tokio::test]
async fn settings_of_the_start_cannot_be_changed_and_bad_values_change_nothing() {
    let ctx = testing::context().await.with_version(1);
    for (name, value) in [
        ("node.id", "2"),
        ("num.partitions", "2"),
        ("group.max.size", "2"),
        ("offsets.retention.minutes", "2"),
        ("log.retention.hours", "2"),
        ("log.retention.minutes", "2"),
        ("chronik.admin.api.key", "k"),
        ("no.such", "2"),
        ("log.retention.ms", "soon"),
        ("message.max.bytes", "-5"),
        ("log.segment.bytes", "5"),
    ] {
        for resource in ["1", ""] {
            let code = incremental(&ctx, BROKER, resource, &[(name, SET, Some(value))]).await;
            assert_eq!(code, InvalidRequest.code(), "{name} {value}");
        }
    }
    let mixed = [("log.retention.ms", SET, Some("1")), ("node.id", SET, Some("2"))];
    assert_eq!(incremental(&ctx, BROKER, "1", &mixed).await, InvalidRequest.code());
    assert_eq!(setting(&ctx, "1", "log.retention.ms").await, Some((None, 5)));
    let code = incremental(&ctx, BROKER, "1", &[("log.retention.ms", APPEND, Some("1"))]).await;
    assert_eq!(code, InvalidConfig.code());
    // What is not set can be taken away all the same.
    assert_eq!(incremental(&ctx, BROKER, "1", &[("node.id", DELETE, None)]).await, 0);
}

#[tokio::test]
async fn lists_start_from_what_is_set_or_the_default() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    assert_eq!(incremental(&ctx, BROKER, "1", &[("log.cleanup.policy", APPEND, Some("compact"))]).await, 0);
    assert_eq!(setting(&ctx, "1", "log.cleanup.policy").await, Some((Some("delete,compact".to_owned()), 2)));
    assert_eq!(incremental(&ctx, BROKER, "1", &[("log.cleanup.policy", SUBTRACT, Some("delete"))]).await, 0);
    let config = ctx.log("a", 0).config();
    assert_eq!((config.cleanup_delete, config.cleanup_compact), (false, true));
}

#[tokio::test]
async fn validating_and_replacing_work_as_for_topics() {
    let ctx = testing::context().await.with_version(1);
    let change: &[(&str, i8, Option<&str>)] = &[("max.connections", SET, Some("77"))];
    assert_eq!(incremental_with(&ctx, &[(BROKER, "1")], change, true).await, [0]);
    assert_eq!(setting(&ctx, "1", "max.connections").await, Some((Some("10000".to_owned()), 5)));
    assert_eq!(incremental(&ctx, BROKER, "1", change).await, 0);
    assert_eq!(ctx.broker.dynamic.settings.current().network.max_connections, 77);
    assert_eq!(replace(&ctx, BROKER, "1", &[("message.max.bytes", Some("99"))]).await, 0);
    assert_eq!(setting(&ctx, "1", "max.connections").await, Some((Some("10000".to_owned()), 5)));
    assert_eq!(setting(&ctx, "1", "message.max.bytes").await, Some((Some("99".to_owned()), 2)));
    assert_eq!(ctx.broker.config.network.max_connections, 10_000, "the start's stays as it was");
}

// semantics 3.9.4
#[tokio::test]
async fn what_was_changed_is_kept_over_a_restart_and_bad_values_are_passed_over() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    assert_eq!(incremental(&ctx, BROKER, "", &[("log.retention.ms", SET, Some("6000"))]).await, 0);
    assert_eq!(incremental(&ctx, BROKER, "1", &[("log.segment.bytes", SET, Some("2097152"))]).await, 0);
    // As another version might have written it.
    let bad = [
        ("log.retention.ms", "soon"),
        ("node.id", "9"),
        ("left.in.5.0", "x"),
        ("log.segment.bytes", "2097152"),
    ];
    let bad = bad.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    ctx.broker.engine.save_config(4, "1", &bad).await.unwrap();
    ctx.broker.engine.save_config(4, "2", &bad).await.unwrap();
    let ctx = ctx.restarted().await.with_version(1);
    let config = ctx.log("a", 0).config();
    assert_eq!((config.retention_ms, config.segment_bytes), (Some(6000), 2_097_152));
    assert_eq!(setting(&ctx, "1", "log.retention.ms").await, Some((Some("6000".to_owned()), 3)));
    assert_eq!(ctx.broker.dynamic.settings.current().node.node_id, 1);
    // They can still be taken away.
    for name in ["log.retention.ms", "node.id", "left.in.5.0"] {
        assert_eq!(incremental(&ctx, BROKER, "1", &[(name, DELETE, None)]).await, 0, "{name}");
    }
    assert_eq!(incremental(&ctx, BROKER, "1", &[("log.roll.ms", SET, Some("1"))]).await, 0);
}

#[test]
fn every_dynamic_setting_is_read_where_its_change_is_seen() {
    // Topics are told of changed defaults. Who reads a field of its own must ask `dynamic.settings` each time: add the
    // setting here only with a test that shows it.
    let fields: Vec<&str> = crate::config::settings()
        .iter()
        .filter(|setting| setting.dynamic && setting.field_path().is_some())
        .map(|setting| setting.name)
        .collect();
    assert_eq!(
        fields,
        [
            "max.connections",
            "max.connections.per.ip",
            // The cleaner asks for these before each turn (cleaner/mod.rs).
            "log.cleaner.backoff.ms",
            "log.cleaner.io.max.bytes.per.second",
            "log.cleaner.dedupe.buffer.size",
            "producer.id.expiration.ms",
            "chronik.disk.reserve.bytes",
            // Asked for with each part of an upload (tier.rs), and with each fetch (handlers/fetch/mod.rs).
            "remote.log.manager.copy.max.bytes.per.second",
            "remote.fetch.max.wait.ms",
        ]
    );
}
