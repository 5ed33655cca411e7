//! Both ends of an end-to-end run through librdkafka, a thread each.
//!
//! `linger.ms` is 0: the run asks how fast the broker passes a record on, not how long the client
//! waits for company.

use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message};

use super::consume::assign;
use super::{consumer_config, producer_config};
use crate::cli::Records;
use crate::e2e::{Ends, Receipts};
use crate::produce::since_ns;
use crate::raw::Result;
use crate::values::{filler, stamp};
use crate::window::{Schedule, Tally};

const POLL: Duration = Duration::from_millis(100);

/// Sends, receives, and returns the consumer's tally. Blocks.
pub fn run(ends: Ends) -> Result<Vec<Tally>> {
    let consumer: BaseConsumer = consumer_config(&ends.bootstrap)
        .set("fetch.wait.max.ms", ends.limits.max_wait_ms.to_string())
        .create()?;
    assign(&consumer, &ends.topic, &ends.start)?;
    let config = producer_config(&ends.bootstrap, &ends.records, 0);
    let partitions: Vec<i32> = ends.start.iter().map(|position| i32::from(position.partition)).collect();
    let (topic, records) = (ends.topic.clone(), ends.records);
    let (schedule, began) = (ends.schedule, ends.began);
    let producing =
        std::thread::spawn(move || produce(&config, &topic, &partitions, &records, schedule, began));
    let receipts = receive(&consumer, ends.receipts, ends.deadline)?;
    producing.join().map_err(|_| "the producing thread panicked")??;
    Ok(vec![receipts.close()])
}

fn receive(consumer: &BaseConsumer, mut receipts: Receipts, deadline: Instant) -> Result<Receipts> {
    while !receipts.is_complete() && Instant::now() < deadline {
        match consumer.poll(POLL) {
            Some(Ok(message)) => receipts.received(message.payload().unwrap_or_default()),
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(receipts)
}

fn produce(
    config: &ClientConfig,
    topic: &str,
    partitions: &[i32],
    records: &Records,
    mut schedule: Schedule,
    began: Instant,
) -> Result<()> {
    let producer: BaseProducer = config.create()?;
    let mut value = filler(records.size);
    let mut sequence = 0_u64;
    let mut batch = 0_usize;
    while let Some(slot) = schedule.next() {
        std::thread::sleep(slot.due.saturating_duration_since(Instant::now()));
        for _ in 0..slot.records {
            stamp(&mut value, sequence, since_ns(began, slot.due));
            sequence += 1;
            let partition = partitions[batch % partitions.len()];
            let mut record = BaseRecord::<(), [u8]>::to(topic).payload(&value).partition(partition);
            while let Err((error, back)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(Duration::from_millis(1));
                record = back;
            }
        }
        batch += 1;
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}
