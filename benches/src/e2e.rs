//! `chronik-bench e2e`: records produced at a fixed rate and consumed as they come.
//!
//! Every record carries its sequence number and the time it was due. Owns the account of them:
//! latency runs from due to received, each record must come exactly once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cli::{Client, E2eArgs, Records};
use crate::librd;
use crate::progress::{Counter, Progress};
use crate::raw::admin::{End, ensure_topic, offsets};
use crate::raw::fetch::{Limits, Position};
use crate::raw::{self, Result};
use crate::report::{Costs, Meter, Outcome};
use crate::values::read_stamp;
use crate::window::{Schedule, Tally, Window};

/// Records one run may have: the account is a byte each.
const RECORDS_MAX: u64 = 200_000_000;

/// How long received records may lag behind the last one sent before they count as lost.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// The account of what was received, kept by the consumer.
pub struct Receipts {
    began: Instant,
    tally: Tally,
    counter: Counter,
    seen: Vec<bool>,
    missing: u64,
}

impl Receipts {
    fn new(began: Instant, window: Window, counter: Counter, records: u64) -> Self {
        let seen = vec![false; records as usize];
        Self { began, tally: Tally::new(window, true), counter, seen, missing: records }
    }

    /// A record with this value came.
    pub fn received(&mut self, value: &[u8]) {
        let slot = read_stamp(value)
            .and_then(|(sequence, due_ns)| Some((self.seen.get_mut(sequence as usize)?, due_ns)));
        match slot {
            Some((seen, due_ns)) if !*seen => {
                *seen = true;
                self.missing -= 1;
                self.tally.done(self.began + Duration::from_nanos(due_ns), 1);
                self.counter.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => self.tally.failed("a record came twice"),
            None => self.tally.failed("a record came that this run did not send"),
        }
    }

    /// Whether every record came.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Closes the account.
    pub fn close(mut self) -> Tally {
        for _ in 0..self.missing {
            self.tally
                .failed("a record did not come in time: lost, or the rate is more than the broker sustains");
        }
        self.tally
    }
}

/// Both ends of a run.
pub struct Ends {
    /// `host:port`.
    pub bootstrap: String,
    /// Topic name.
    pub topic: String,
    /// Where the consumer begins: the ends of the partitions.
    pub start: Vec<Position>,
    /// What is sent.
    pub records: Records,
    /// Fetch limits.
    pub limits: Limits,
    /// When to send.
    pub schedule: Schedule,
    /// The zero of stamps.
    pub began: Instant,
    /// What counts for the producer, whose acknowledgements are not timed.
    pub window: Window,
    /// The account.
    pub receipts: Receipts,
    /// When to stop waiting for records.
    pub deadline: Instant,
}

/// Runs the load and says what came of it.
pub async fn run(args: &E2eArgs) -> Result<(Outcome, Costs)> {
    let common = &args.common;
    ensure_topic(&common.bootstrap, &common.topic, common.partitions).await?;
    let latest = offsets(&common.bootstrap, &common.topic, common.partitions, End::Latest).await?;
    let start = (0..common.partitions).zip(latest);
    let rate = args.rate.messages_per_s(args.records.size);
    let whole_s = (args.warmup + args.duration).as_secs_f64();
    let per_batch = args.records.batch_bytes.map_or(1, |_| args.records.per_batch());
    let batches = (rate * whole_s / per_batch as f64).floor() as u64;
    let total = batches * per_batch;
    if total == 0 || total > RECORDS_MAX {
        return Err(format!("the run would have {total} records, not 1 to {RECORDS_MAX}").into());
    }
    let began = Instant::now();
    let window = Window::new(args.warmup, args.duration, false);
    // The number of slots is exact, so that the account is; time ends it only in overload.
    let unlimited = Window { until: window.give_up, ..window };
    let schedule = Schedule::counted(unlimited, rate, per_batch, batches);
    let counter = Counter::default();
    let progress = Progress::start(common.quiet, window, None, Arc::clone(&counter));
    let ends = Ends {
        bootstrap: common.bootstrap.clone(),
        topic: common.topic.clone(),
        start: start.map(|(partition, offset)| Position { partition, offset }).collect(),
        records: args.records.clone(),
        limits: Limits { max_wait_ms: 500, max_bytes: 52_428_800, partition_max_bytes: 1_048_576 },
        schedule,
        began,
        window,
        receipts: Receipts::new(began, window, counter, total),
        deadline: window.give_up + STRAGGLERS,
    };
    let work = match common.client {
        Client::Raw => tokio::spawn(raw::e2e::run(ends)),
        Client::Rdkafka => tokio::task::spawn_blocking(move || librd::e2e::run(ends)),
    };
    tokio::time::sleep_until(window.measured_from.into()).await;
    let meter = Meter::start(common.broker_pid);
    let tallies = work.await??;
    let costs = meter.stop();
    drop(progress);
    Ok((Tally::sum(tallies, window, args.records.size), costs))
}
