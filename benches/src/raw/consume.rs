//! One consumer of a raw run: fetches its partitions round and round.
//!
//! Owns when it stops and what it checks; what a fetch is belongs to `fetch.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::fetch::{Fetched, Fetcher, Limits, Position};
use super::{Result, batches};
use crate::batch;
use crate::progress::Counter;
use crate::window::{Tally, Window};

/// When a consumer stops before the window does.
#[derive(Clone, Debug)]
pub struct Stop {
    /// After every partition was read once.
    pub once: bool,
    /// After this many measured records of all consumers together, counted in `measured`.
    pub limit: Option<u64>,
    /// See `limit`.
    pub measured: Arc<AtomicU64>,
}

/// One consumer.
pub struct Consumer {
    /// `host:port`.
    pub bootstrap: String,
    /// Topic name.
    pub topic: String,
    /// Where to begin, and to begin again after the end; in rising order of partition.
    pub start: Vec<Position>,
    /// Fetch limits.
    pub limits: Limits,
    /// Whether to check CRCs and that offsets have no gap.
    pub verify: bool,
    /// When to stop.
    pub stop: Stop,
    /// What counts.
    pub window: Window,
    /// Records received.
    pub counter: Counter,
}

impl Consumer {
    /// Fetches until told to stop.
    pub async fn run(self) -> Result<Tally> {
        let mut tally = Tally::new(self.window, false);
        let start = self.start.clone();
        let mut fetcher = Fetcher::open(&self.bootstrap, &self.topic, self.limits, start).await?;
        let mut unread: HashSet<u16> = self.start.iter().map(|position| position.partition).collect();
        loop {
            for fetched in fetcher.fetch().await? {
                let now = Instant::now();
                tally.done(now, fetched.record_count);
                self.counter.fetch_add(fetched.record_count, Ordering::Relaxed);
                if now >= self.window.measured_from {
                    self.stop.measured.fetch_add(fetched.record_count, Ordering::Relaxed);
                }
                if self.verify
                    && let Err(error) = check(&fetched)
                {
                    tally.failed(&error.to_string());
                }
                if fetched.at_end {
                    unread.remove(&fetched.partition);
                    self.begin_again(&mut fetcher, fetched.partition);
                }
            }
            let enough =
                self.stop.limit.is_some_and(|limit| self.stop.measured.load(Ordering::Relaxed) >= limit);
            if enough || (self.stop.once && unread.is_empty()) || Instant::now() >= self.window.until {
                return Ok(tally);
            }
        }
    }

    fn begin_again(&self, fetcher: &mut Fetcher, partition: u16) {
        if self.stop.once {
            return;
        }
        let found = self.start.binary_search_by_key(&partition, |position| position.partition);
        fetcher.seek(partition, self.start[found.expect("only its own partitions")].offset);
    }
}

/// Every CRC right, every offset once.
fn check(fetched: &Fetched) -> Result<()> {
    let mut next_offset = None;
    for found in batches::walk(&fetched.records) {
        let found = found?;
        let expected = next_offset.unwrap_or(found.base_offset.min(fetched.asked_offset));
        if found.base_offset != expected {
            let (partition, got) = (fetched.partition, found.base_offset);
            return Err(format!("partition {partition}: offset {got} where {expected} was due").into());
        }
        batch::check_crc(found.bytes)?;
        next_offset = Some(found.next_offset);
    }
    Ok(())
}
