//! The background cleaner over a store in memory: who is taken first, what a failure does, what an order does.

use std::sync::Arc;
use std::time::Duration;

use chronik_engine::log::PartitionLog;
use chronik_protocol::batch::{BatchBuilder, ValidateOptions, validate};
use tokio::sync::watch;

use super::*;
use crate::handlers::testing::{NOW_MS, OPTIONS, TestContext, context_with};

async fn put(log: &Arc<PartitionLog>, key: &str, times: usize) {
    let options = ValidateOptions { require_keys: true, ..OPTIONS };
    for _ in 0..times {
        let batch = BatchBuilder::new().record(NOW_MS, Some(key.as_bytes()), Some(b"value")).build().unwrap();
        log.append(&validate(batch, &options).unwrap(), NOW_MS).unwrap().ticket.await.unwrap();
    }
    if let Some(rolled) = log.roll_for_cleaning(NOW_MS, true) {
        rolled.await.unwrap();
    }
}

async fn topic(ctx: &TestContext, name: &str, configs: &[(&str, &str)]) -> Arc<PartitionLog> {
    let overrides = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let topic = ctx.broker.engine.create_topic(name, 1, overrides, NOW_MS).await.unwrap();
    topic.log(0).unwrap().clone()
}

const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.1")];

fn never_stopping() -> watch::Receiver<bool> {
    watch::channel(false).1
}

fn failure(ctx: &TestContext, topic: &str) -> Option<String> {
    ctx.broker.cleaner.status(Some(topic)).unwrap().partitions[0].failure.clone()
}

#[tokio::test]
async fn the_dirtiest_log_goes_first_and_one_that_fails_is_told_and_stops_no_other() {
    let ctx = context_with(&[("log.cleaner.dedupe.buffer.size", "1048576")]).await;
    let cleaner = ctx.broker.cleaner.clone();
    let (half, whole, bad) = (
        topic(&ctx, "half", COMPACTED).await,
        topic(&ctx, "whole", COMPACTED).await,
        topic(&ctx, "bad", COMPACTED).await,
    );
    put(&half, "a", 10).await;
    let mut throttle = Throttle::default();
    assert!(cleaner.run_dirtiest(&mut throttle, &never_stopping()).await);
    assert!(!cleaner.run_dirtiest(&mut throttle, &never_stopping()).await, "nothing is left");
    put(&half, "b", 1).await;
    put(&whole, "a", 10).await;
    assert_eq!(cleaner.dirtiest().unwrap().topic, "whole");
    // More keys in one batch than the buffer holds.
    let mut builder = BatchBuilder::new();
    for key in 0..60_000_i32 {
        builder.push(key, NOW_MS, Some(&key.to_be_bytes()), None, &[]);
    }
    let options = ValidateOptions {
        max_batch_bytes: 16 << 20,
        max_decompressed_bytes: 16 << 20,
        require_keys: true,
        ..OPTIONS
    };
    let large = validate(builder.build().unwrap(), &options).unwrap();
    bad.append(&large, NOW_MS).unwrap().ticket.await.unwrap();
    put(&bad, "a", 1).await;
    let mut rounds = 0;
    while cleaner.run_dirtiest(&mut throttle, &never_stopping()).await {
        rounds += 1;
        assert!(rounds < 10, "a log that fails is not tried again and again");
    }
    let told = failure(&ctx, "bad").expect("it failed");
    assert!(told.contains("log.cleaner.dedupe.buffer.size"), "{told}");
    assert_eq!(failure(&ctx, "whole"), None);
    assert!(whole.cleaned_to().cleaned_ms.is_some());
    ctx.broker.clock.advance(RETRY_AFTER_MS);
    assert!(cleaner.dirtiest().is_some_and(|target| target.topic == "bad"), "it has another chance");
}

#[tokio::test]
async fn an_order_is_carried_out_by_the_task_even_where_it_is_turned_off() {
    let ctx = context_with(&[("log.cleaner.enable", "false")]).await;
    let cleaner = ctx.broker.cleaner.clone();
    let log = topic(&ctx, "t", COMPACTED).await;
    topic(&ctx, "plain", &[]).await;
    put(&log, "a", 10).await;
    assert_eq!(cleaner.ask(Some("nope"), false), Err(NoTarget::NoTopic("nope".to_owned())));
    assert_eq!(cleaner.ask(Some("plain"), false), Err(NoTarget::NotCompacted("plain".to_owned())));
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(cleaner.clone().run(stopping));
    for (dry_run, cleaned) in [(true, false), (false, true)] {
        let number = cleaner.ask(None, dry_run).unwrap().unwrap();
        let job = loop {
            let job = cleaner.job(number).unwrap();
            if job.state == State::Done {
                break job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!((job.partitions.len(), job.partitions[0].records_dropped), (1, 9));
        assert_eq!(log.cleaned_to().cleaned_ms.is_some(), cleaned);
    }
    assert!(cleaner.job(99).is_none());
    stop.send(true).unwrap();
    task.await.unwrap();
    for _ in 0..CLEANER_JOBS_KEPT {
        assert!(cleaner.ask(None, true).unwrap().is_ok(), "what is done makes room");
    }
    assert_eq!(cleaner.ask(None, true).unwrap(), Err(TooMany));
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_bytes_is_kept() {
    let ctx = context_with(&[("log.cleaner.io.max.bytes.per.second", "1000")]).await;
    let log = topic(&ctx, "t", COMPACTED).await;
    for round in 0..50 {
        put(&log, &format!("{}", round % 5), 1).await;
    }
    let cleaner = ctx.broker.cleaner.clone();
    let mut throttle = Throttle::default();
    let begun = tokio::time::Instant::now();
    assert!(cleaner.run_dirtiest(&mut throttle, &never_stopping()).await);
    // Some 80 bytes a record, read twice.
    let took = begun.elapsed().as_secs_f64();
    assert!((6.0..12.0).contains(&took), "{took} s for about 8000 bytes at 1000 a second");
}

// A stop waited for all that was owed, and so did a new rate: eight minutes for 4.5 MB at 2,000 bytes a second.
#[tokio::test(start_paused = true)]
async fn a_stop_and_a_new_budget_do_not_wait_for_the_old_one() {
    let ctx = context_with(&[("log.cleaner.io.max.bytes.per.second", "1")]).await;
    let log = topic(&ctx, "t", COMPACTED).await;
    for round in 0..50 {
        put(&log, &format!("{}", round % 5), 1).await;
    }
    let cleaner = ctx.broker.cleaner.clone();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let begun = tokio::time::Instant::now();
    let task = tokio::spawn(cleaner.clone().run(stopping));
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(cleaner.status(None).unwrap().current.is_some(), "it is at work");
    stop.send(true).unwrap();
    task.await.unwrap();
    assert!(begun.elapsed().as_secs_f64() < 6.0);
}
