//! `chronik-bench produce`: prepares the topic, starts the producers, adds up what they saw.
//!
//! Also fills topics for `consume`. Owns the check that the broker's end offsets account for every
//! acknowledged record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batch;
use crate::cli::{Acks, Client, Common, Kind, ProduceArgs, Rate, Records};
use crate::progress::{Counter, Progress};
use crate::raw::admin::{End, ensure_topic, offsets};
use crate::raw::{self, Result};
use crate::report::{Costs, Meter, Outcome};
use crate::window::{Schedule, Slot, Tally, Window};
use crate::{librd, values};

/// Runs the load and says what came of it.
pub async fn run(args: &ProduceArgs) -> Result<(Outcome, Costs)> {
    let common = &args.common;
    if args.kind != Kind::Plain && (common.client != Client::Raw || args.records.acks != Acks::All) {
        return Err("--kind other than plain needs --client raw and --acks all".into());
    }
    ensure_topic(&common.bootstrap, &common.topic, common.partitions).await?;
    let before = latest(common).await?;
    let window = Window::new(args.warmup, args.duration, args.messages.is_some());
    let counter = Counter::default();
    let progress = Progress::start(common.quiet, window, args.messages, Arc::clone(&counter));
    let workers = start(args, window, &counter)?;
    tokio::time::sleep_until(window.measured_from.into()).await;
    let meter = Meter::start(common.broker_pid);
    let mut tallies = Vec::with_capacity(workers.len());
    for worker in workers {
        tallies.push(worker.await??);
    }
    let costs = meter.stop();
    drop(progress);
    let mut outcome = Tally::sum(tallies, window, args.records.size);
    if common.verify && args.records.acks != Acks::None {
        let stored = latest(common).await? - before;
        let acknowledged = counter.load(std::sync::atomic::Ordering::Relaxed) as i64;
        // Markers of transactions take offsets too.
        let fits =
            if args.kind == Kind::Transactional { stored >= acknowledged } else { stored == acknowledged };
        if !fits {
            outcome.errors += 1;
            outcome.first_error = Some(format!("{acknowledged} records acknowledged, {stored} stored"));
        }
    }
    Ok((outcome, costs))
}

/// Produces `messages` records as fast as the broker takes them, for a later `consume`.
pub async fn fill(common: &Common, records: &Records, messages: u64) -> Result<()> {
    /// Two connections keep a broker busy without the memory of many.
    const PRODUCERS: u16 = 2;
    let args = ProduceArgs {
        common: Common { client: Client::Raw, verify: true, ..common.clone() },
        records: records.clone(),
        producers: PRODUCERS,
        kind: Kind::Plain,
        transaction: Duration::ZERO,
        rate: None,
        duration: Duration::ZERO,
        messages: Some(messages),
        warmup: Duration::ZERO,
    };
    let (outcome, _) = run(&args).await?;
    match outcome.first_error {
        Some(error) => Err(format!("filling the topic: {error}").into()),
        None => Ok(()),
    }
}

async fn latest(common: &Common) -> Result<i64> {
    let ends = offsets(&common.bootstrap, &common.topic, common.partitions, End::Latest).await?;
    Ok(ends.iter().sum())
}

/// A worker of either client.
pub type Worker = tokio::task::JoinHandle<Result<Tally>>;

fn start(args: &ProduceArgs, window: Window, counter: &Counter) -> Result<Vec<Worker>> {
    let rate = args.rate.map(|rate: Rate| rate.messages_per_s(args.records.size));
    let producers = u64::from(args.producers);
    let value = Arc::new(values::filler(args.records.size));
    let schedule = |per_slot, index| Schedule::new(window, rate, per_slot, args.messages, index, producers);
    (0..args.producers)
        .map(|index| {
            let partitions = share(args.common.partitions, index, args.producers);
            let bootstrap = args.common.bootstrap.clone();
            let (topic, counter) = (args.common.topic.clone(), Arc::clone(counter));
            Ok(match args.common.client {
                Client::Raw => tokio::spawn(
                    raw::produce::Producer {
                        bootstrap,
                        topic,
                        partitions,
                        acks: args.records.acks.wire(),
                        in_flight: args.records.in_flight,
                        make_batch: same_batches(&args.records, Arc::clone(&value)),
                        schedule: schedule(args.records.per_batch(), u64::from(index)),
                        window,
                        counter,
                        kind: args.kind,
                        transaction: args.transaction,
                        index,
                    }
                    .run(),
                ),
                Client::Rdkafka => {
                    let producer = librd::produce::Producer {
                        bootstrap,
                        topic,
                        partitions,
                        records: args.records.clone(),
                        value: Arc::clone(&value),
                        schedule: schedule(1, u64::from(index)),
                        window,
                        counter,
                    };
                    tokio::task::spawn_blocking(move || producer.run())
                }
            })
        })
        .collect()
}

/// Batches that are built once per number of records: only the last of a run is shorter.
fn same_batches(records: &Records, value: Arc<Vec<u8>>) -> raw::produce::MakeBatch {
    let codec = records.codec;
    let mut built: Option<(u64, Bytes)> = None;
    Box::new(move |slot: Slot| {
        if let Some((records, bytes)) = &built
            && *records == slot.records
        {
            return Ok(bytes.clone());
        }
        let count = usize::try_from(slot.records)?;
        let bytes = batch::build(codec, std::iter::repeat_n(value.as_slice(), count))?;
        built = Some((slot.records, bytes.clone()));
        Ok(bytes)
    })
}

/// The partitions of worker `index` of `workers`: every `workers`-th, or, when there are fewer
/// partitions than workers, one that it shares.
pub fn share(partitions: u16, index: u16, workers: u16) -> Vec<u16> {
    if workers > partitions {
        return vec![index % partitions];
    }
    (index..partitions).step_by(usize::from(workers)).collect()
}

/// The wall clock in milliseconds, as record timestamps have it.
pub fn wall_clock_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Nanoseconds from `began` to `due`.
pub fn since_ns(began: Instant, due: Instant) -> u64 {
    due.saturating_duration_since(began).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_shared_without_gap_or_overlap() {
        for (partitions, workers) in [(1, 1), (100, 16), (16, 16), (7, 3)] {
            let mut all: Vec<u16> =
                (0..workers).flat_map(|index| share(partitions, index, workers)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..partitions).collect::<Vec<_>>());
        }
        assert_eq!(share(1, 15, 16), [0]);
    }
}
