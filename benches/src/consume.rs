//! `chronik-bench consume`: fills the topic when asked, starts the consumers, adds up.
//!
//! The bytes it reports are those of the values it was told about (`--size`), which must be what
//! the topic holds.

use std::sync::Arc;

use crate::cli::{Client, ConsumeArgs};
use crate::librd;
use crate::produce::{Worker, fill, share};
use crate::progress::{Counter, Progress};
use crate::raw::admin::{End, ensure_topic, offsets};
use crate::raw::consume::Stop;
use crate::raw::fetch::{Limits, Position};
use crate::raw::{self, Result};
use crate::report::{Costs, Meter, Outcome};
use crate::window::{Tally, Window};

/// `fetch.max.wait.ms` of the Java consumer.
const MAX_WAIT_MS: i32 = 500;

/// Runs the load and says what came of it.
pub async fn run(args: &ConsumeArgs) -> Result<(Outcome, Costs)> {
    let common = &args.common;
    ensure_topic(&common.bootstrap, &common.topic, common.partitions).await?;
    let ends = |end| offsets(&common.bootstrap, &common.topic, common.partitions, end);
    let (earliest, latest) = (ends(End::Earliest).await?, ends(End::Latest).await?);
    let held = u64::try_from(latest.iter().sum::<i64>() - earliest.iter().sum::<i64>())?;
    if held < args.prefill {
        fill(common, &args.records, args.prefill - held).await?;
    } else if held == 0 {
        return Err(format!("{} is empty: give --prefill", common.topic).into());
    }

    let limited = args.once || args.messages.is_some();
    let window = Window::new(args.warmup, args.duration, limited);
    let counter = Counter::default();
    let all = args.once.then_some(held.max(args.prefill));
    let progress = Progress::start(common.quiet, window, args.messages.or(all), Arc::clone(&counter));
    let stop = Stop { once: args.once, limit: args.messages, measured: Arc::default() };
    let workers = start(args, window, &counter, &stop, &earliest);
    tokio::time::sleep_until(window.measured_from.into()).await;
    let meter = Meter::start(common.broker_pid);
    let mut tallies = Vec::with_capacity(workers.len());
    for worker in workers {
        tallies.push(worker.await??);
    }
    let costs = meter.stop();
    drop(progress);
    Ok((Tally::sum(tallies, window, args.records.size), costs))
}

fn start(
    args: &ConsumeArgs,
    window: Window,
    counter: &Counter,
    stop: &Stop,
    earliest: &[i64],
) -> Vec<Worker> {
    // A partition is read by one consumer, as in a group: more consumers than partitions idle.
    let consumers = args.consumers.min(args.common.partitions);
    let limits = Limits {
        max_wait_ms: MAX_WAIT_MS,
        max_bytes: args.fetch_bytes,
        partition_max_bytes: args.partition_fetch_bytes,
    };
    let worker = |index| {
        let position = |partition| Position { partition, offset: earliest[usize::from(partition)] };
        let start = share(args.common.partitions, index, consumers).into_iter().map(position).collect();
        let (bootstrap, topic) = (args.common.bootstrap.clone(), args.common.topic.clone());
        let (verify, stop, counter) = (args.common.verify, stop.clone(), Arc::clone(counter));
        match args.common.client {
            Client::Raw => tokio::spawn(
                raw::consume::Consumer { bootstrap, topic, start, limits, verify, stop, window, counter }
                    .run(),
            ),
            Client::Rdkafka => {
                let consumer = librd::consume::Consumer {
                    bootstrap,
                    topic,
                    start,
                    limits,
                    verify,
                    stop,
                    window,
                    counter,
                };
                tokio::task::spawn_blocking(move || consumer.run())
            }
        }
    };
    (0..consumers).map(worker).collect()
}
