//! Levels of logs, as Kafka's clients list and set them (KIP-412).

use super::*;

async fn level(ctx: &TestContext, logger: &str) -> (Option<String>, i8, i8) {
    let told = described(ctx, LOGGER, "1", Some(&[logger])).await;
    let config = &told.configs[0];
    (config.value.as_deref().map(str::to_owned), config.config_source, config.config_type)
}

// semantics 3.9.4. One test, for the levels are those of the process.
#[tokio::test]
async fn levels_are_set_by_module_and_taken_back() {
    let ctx = testing::context().await.with_version(1);
    let told = described(&ctx, LOGGER, "1", None).await;
    assert_eq!(told.configs.len(), crate::logging::LOGGERS.len());
    let before = level(&ctx, "chronik_server::http").await;
    assert_eq!(before, (Some("INFO".to_owned()), 6, 0));
    let set: &[(&str, i8, Option<&str>)] = &[("chronik_server::http", SET, Some("DEBUG"))];
    assert_eq!(incremental_with(&ctx, &[(LOGGER, "1")], set, true).await, [0]);
    assert_eq!(level(&ctx, "chronik_server::http").await, before);
    assert_eq!(incremental(&ctx, LOGGER, "1", set).await, 0);
    assert_eq!(level(&ctx, "chronik_server::http").await.0.as_deref(), Some("DEBUG"));
    assert_eq!(level(&ctx, "chronik_server::net").await.0.as_deref(), Some("INFO"));
    for (name, operation, value, code) in [
        ("chronik_server::http", SET, Some("NOISE"), InvalidConfig),
        ("chronik_server::http", SET, Some("info"), InvalidConfig),
        ("no.such.Logger", SET, Some("INFO"), InvalidConfig),
        ("no.such.Logger", DELETE, None, InvalidConfig),
        ("root", DELETE, None, InvalidRequest),
        ("root", APPEND, Some("INFO"), InvalidRequest),
        ("root", SUBTRACT, Some("INFO"), InvalidRequest),
    ] {
        let both = [("chronik_server::net", SET, Some("TRACE")), (name, operation, value)];
        assert_eq!(incremental(&ctx, LOGGER, "1", &both).await, code.code(), "{name} {value:?}");
    }
    assert_eq!(level(&ctx, "chronik_server::net").await.0.as_deref(), Some("INFO"), "all or none");
    assert_eq!(incremental(&ctx, LOGGER, "1", &[("chronik_server::http", DELETE, None)]).await, 0);
    assert_eq!(level(&ctx, "chronik_server::http").await, before);
}
