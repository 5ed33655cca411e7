//! One librdkafka producer on a thread of its own.
//!
//! Owns the pacing of messages and the delivery reports; batches are librdkafka's business.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::producer_config;
use crate::cli::Records;
use crate::progress::Counter;
use crate::raw::Result;
use crate::window::{Schedule, Tally, Window};

/// Java's and librdkafka's default.
const LINGER_MS: u32 = 5;

/// Longest sleep while nothing is due: delivery reports are served between sleeps.
const NAP: Duration = Duration::from_millis(1);

/// Messages sent between two looks at the delivery reports.
const SENDS_PER_POLL: u64 = 64;

/// One producer.
pub struct Producer {
    /// `host:port`.
    pub bootstrap: String,
    /// Topic name.
    pub topic: String,
    /// Partitions this producer takes in turn, a batch's worth of messages each.
    pub partitions: Vec<u16>,
    /// Size, acks, codec.
    pub records: Records,
    /// The value of every message.
    pub value: Arc<Vec<u8>>,
    /// When to send, one message a slot.
    pub schedule: Schedule,
    /// What counts.
    pub window: Window,
    /// Messages delivered.
    pub counter: Counter,
}

/// Takes delivery reports. They come on the producer's own thread, inside `poll`; the lock is
/// never contended.
struct Reports {
    began: Instant,
    tally: Mutex<Tally>,
    counter: Counter,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// Nanoseconds after `began` at which the message was due.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due_ns: usize) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                tally.done(self.began + Duration::from_nanos(due_ns as u64), 1);
                self.counter.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => tally.failed(&error.to_string()),
        }
    }
}

impl Producer {
    /// Sends until the schedule ends and everything is delivered or refused. Blocks.
    pub fn run(mut self) -> Result<Tally> {
        let began = Instant::now();
        let timed = self.records.acks.wire() != 0;
        let reports = Reports {
            began,
            tally: Mutex::new(Tally::new(self.window, timed)),
            counter: Arc::clone(&self.counter),
        };
        let config = producer_config(&self.bootstrap, &self.records, LINGER_MS);
        let producer: BaseProducer<Reports> = config.create_with_context(reports)?;
        let per_batch = self.records.per_batch();
        let mut sent = 0_u64;
        while let Some(slot) = self.schedule.next() {
            wait(&producer, slot.due);
            let turn = (sent / per_batch) as usize % self.partitions.len();
            let due_ns = slot.due.saturating_duration_since(began).as_nanos() as usize;
            let mut record = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, due_ns)
                .payload(&self.value)
                .partition(i32::from(self.partitions[turn]));
            while let Err((error, back)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(NAP);
                record = back;
            }
            sent += 1;
            if sent.is_multiple_of(SENDS_PER_POLL) {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Duration::from_secs(60))?;
        let mut tally = producer.context().tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *tally, Tally::new(self.window, timed)))
    }
}

fn wait(producer: &BaseProducer<Reports>, due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // A poll of zero and a nanosleep, not a poll that sleeps: its timeout has whole
        // milliseconds only.
        producer.poll(Duration::ZERO);
        std::thread::sleep(left.min(NAP));
    }
}
