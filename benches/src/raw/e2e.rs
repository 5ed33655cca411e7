//! Both ends of an end-to-end run over raw connections: one produces, one fetches with a long poll.

use std::time::Duration;

use tokio::time::timeout_at;

use super::fetch::Fetcher;
use super::produce::{MakeBatch, Producer};
use super::{Result, batches};
use crate::batch;
use crate::cli::{Kind, Records};
use crate::e2e::{Ends, Receipts};
use crate::produce::since_ns;
use crate::progress::Counter;
use crate::values::{filler, stamp};
use crate::window::{Slot, Tally};

/// Sends, receives, and returns the consumer's tally; the producer's refusals are added to it.
pub async fn run(ends: Ends) -> Result<Vec<Tally>> {
    let fetcher = Fetcher::open(&ends.bootstrap, &ends.topic, ends.limits, ends.start.clone()).await?;
    let deadline = tokio::time::Instant::from_std(ends.deadline);
    let producer = Producer {
        bootstrap: ends.bootstrap,
        topic: ends.topic,
        partitions: ends.start.iter().map(|position| position.partition).collect(),
        acks: ends.records.acks.wire(),
        in_flight: ends.records.in_flight,
        make_batch: stamped(ends.records, ends.began),
        schedule: ends.schedule,
        window: ends.window,
        counter: Counter::default(),
        kind: Kind::Plain,
        transaction: Duration::ZERO,
        index: 0,
    };
    let producing = tokio::spawn(producer.run());
    let consuming = tokio::spawn(async move {
        let mut receipts = ends.receipts;
        let received = receive(fetcher, &mut receipts);
        // Past the deadline what has not come is lost, and `close` says so.
        timeout_at(deadline, received).await.unwrap_or(Ok(()))?;
        Ok::<Tally, super::Error>(receipts.close())
    });
    let sent = producing.await??;
    Ok(vec![consuming.await??, sent.errors_only()])
}

async fn receive(mut fetcher: Fetcher, receipts: &mut Receipts) -> Result<()> {
    while !receipts.is_complete() {
        for fetched in fetcher.fetch().await? {
            for found in batches::walk(&fetched.records) {
                batch::for_each_value(found?.bytes, |value| receipts.received(value))?;
            }
        }
    }
    Ok(())
}

/// Batches whose values carry their number and the time they were due.
fn stamped(records: Records, began: std::time::Instant) -> MakeBatch {
    let mut sequence = 0;
    let template = filler(records.size);
    Box::new(move |slot: Slot| {
        let due_ns = since_ns(began, slot.due);
        let values: Vec<Vec<u8>> = (0..slot.records)
            .map(|index| {
                let mut value = template.clone();
                stamp(&mut value, sequence + index, due_ns);
                value
            })
            .collect();
        sequence += slot.records;
        batch::build(records.codec, values.iter().map(Vec::as_slice))
    })
}
