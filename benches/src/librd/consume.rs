//! One librdkafka consumer on a thread of its own.
//!
//! Owns assignment, starting again at the end, and the check of offsets. librdkafka checks CRCs.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::consumer_config;
use crate::progress::Counter;
use crate::raw::Result;
use crate::raw::consume::Stop;
use crate::raw::fetch::{Limits, Position};
use crate::window::{Tally, Window};

const POLL: Duration = Duration::from_millis(100);

/// One consumer.
pub struct Consumer {
    /// `host:port`.
    pub bootstrap: String,
    /// Topic name.
    pub topic: String,
    /// Where to begin, and to begin again after the end.
    pub start: Vec<Position>,
    /// Fetch limits.
    pub limits: Limits,
    /// Whether to check that offsets have no gap (and to let librdkafka check CRCs).
    pub verify: bool,
    /// When to stop.
    pub stop: Stop,
    /// What counts.
    pub window: Window,
    /// Records received.
    pub counter: Counter,
}

impl Consumer {
    /// Polls until told to stop. Blocks.
    pub fn run(self) -> Result<Tally> {
        let consumer: BaseConsumer = consumer_config(&self.bootstrap)
            .set("fetch.max.bytes", self.limits.max_bytes.to_string())
            .set("max.partition.fetch.bytes", self.limits.partition_max_bytes.to_string())
            .set("fetch.wait.max.ms", self.limits.max_wait_ms.to_string())
            .set("check.crcs", self.verify.to_string())
            .create()?;
        assign(&consumer, &self.topic, &self.start)?;
        let mut tally = Tally::new(self.window, false);
        let mut unread: HashSet<i32> = self.start.iter().map(|p| i32::from(p.partition)).collect();
        let mut expected: HashMap<i32, i64> = HashMap::new();
        loop {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let now = Instant::now();
                    tally.done(now, 1);
                    self.counter.fetch_add(1, Ordering::Relaxed);
                    if now >= self.window.measured_from {
                        self.stop.measured.fetch_add(1, Ordering::Relaxed);
                    }
                    if self.verify {
                        let (partition, offset) = (message.partition(), message.offset());
                        let due = expected.insert(partition, offset + 1).unwrap_or(offset);
                        if due != offset {
                            tally.failed(&format!(
                                "partition {partition}: offset {offset} where {due} was due"
                            ));
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                    expected.remove(&partition);
                    if !self.stop.once {
                        self.begin_again(&consumer, partition)?;
                    }
                }
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
            let enough =
                self.stop.limit.is_some_and(|limit| self.stop.measured.load(Ordering::Relaxed) >= limit);
            if enough || (self.stop.once && unread.is_empty()) || Instant::now() >= self.window.until {
                return Ok(tally);
            }
        }
    }

    fn begin_again(&self, consumer: &BaseConsumer, partition: i32) -> Result<()> {
        let start = self.start.iter().find(|position| i32::from(position.partition) == partition);
        let offset = start.expect("only its own partitions").offset;
        consumer.seek(&self.topic, partition, Offset::Offset(offset), Duration::from_secs(10))?;
        Ok(())
    }
}

/// Assigns `positions` of `topic`.
pub fn assign(consumer: &BaseConsumer, topic: &str, positions: &[Position]) -> Result<()> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for position in positions {
        let partition = i32::from(position.partition);
        list.add_partition_offset(topic, partition, Offset::Offset(position.offset))?;
    }
    consumer.assign(&list)?;
    Ok(())
}
