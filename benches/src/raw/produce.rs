//! Produce requests encoded once and sent again and again.
//!
//! Owns the frame: head and tail belong to a partition, the batch between them is shared by all, so
//! a hundred partitions cost the sender's cache no more than one. Base offset and leader epoch of
//! what is sent are the client's usual zeros; the broker assigns its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::codec;
use chronik_protocol::codec::messages::{
    ProduceRequest,
    produce_request::{PartitionProduceData, TopicProduceData},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Result;
use super::connection::{CLIENT_ID, CORRELATION_AT, Connection, Receiver, expect_correlation};
use super::identity::Identity;
use crate::cli::Kind;
use crate::progress::Counter;
use crate::window::{Schedule, Slot, Tally, Window, sleep_until};

/// Any broker of the last years has it.
const PRODUCE_VERSION: i16 = 9;
/// The version in which partitions join the transaction by being written to (KIP-890); the last that names topics (KIP-516).
const TRANSACTIONAL_VERSION: i16 = 12;

const TIMEOUT_MS: i32 = 30_000;

/// Makes the batch of a slot; the same bytes again where nothing in them depends on the slot.
pub type MakeBatch = Box<dyn FnMut(Slot) -> Result<Bytes> + Send>;

/// What surrounds a batch in a Produce request for one partition.
pub struct Envelope {
    batch_bytes: usize,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Envelope {
    /// The envelope of requests that carry a batch as long as `batch` for one partition.
    pub fn new(
        topic: &str,
        partition: u16,
        acks: i16,
        batch: &Bytes,
        transactional_id: Option<&str>,
    ) -> Result<Self> {
        let mut data = PartitionProduceData::default();
        data.index = i32::from(partition);
        data.records = Some(batch.clone());
        let mut named = TopicProduceData::default();
        named.name = topic.into();
        named.partition_data = vec![data];
        let mut request = ProduceRequest::default();
        request.acks = acks;
        request.timeout_ms = TIMEOUT_MS;
        request.transactional_id = transactional_id.map(Into::into);
        request.topic_data = vec![named];
        let frame = codec::encode_request(0, CLIENT_ID, &request, version_of(transactional_id.is_some()))?;
        // What follows the records is three empty sections of tagged fields (KIP-482), one byte
        // each: of the partition, the topic and the request.
        let tail_at = frame.len() - 3;
        let head_end = tail_at - batch.len();
        if frame[head_end..tail_at] != batch[..] {
            return Err("the encoded request does not end with its batch".into());
        }
        let (head, tail) = (frame[..head_end].to_vec(), frame[tail_at..].to_vec());
        Ok(Self { batch_bytes: batch.len(), head, tail })
    }

    /// The parts of one request, in order.
    pub fn parts<'a>(&'a mut self, correlation: i32, batch: &'a [u8]) -> [&'a [u8]; 3] {
        self.head[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        [&self.head, batch, &self.tail]
    }
}

fn version_of(transactional: bool) -> i16 {
    if transactional { TRANSACTIONAL_VERSION } else { PRODUCE_VERSION }
}

/// Checks that the reply acknowledges, and returns its correlation id.
pub fn check(reply: Bytes, version: i16) -> Result<(i32, std::result::Result<(), i16>)> {
    let (correlation, response) = codec::decode_response::<ProduceRequest>(reply, version)?;
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let refused = partitions.map(|partition| partition.error_code).find(|&code| code != 0);
    Ok((correlation, refused.map_or(Ok(()), Err)))
}

/// One producer of a raw run.
pub struct Producer {
    /// `host:port`.
    pub bootstrap: String,
    /// Topic name.
    pub topic: String,
    /// Partitions this producer takes in turn.
    pub partitions: Vec<u16>,
    /// Acks as on the wire.
    pub acks: i16,
    /// Requests unanswered at most.
    pub in_flight: u16,
    /// What a slot sends.
    pub make_batch: MakeBatch,
    /// When to send.
    pub schedule: Schedule,
    /// What counts.
    pub window: Window,
    /// Records acknowledged.
    pub counter: Counter,
    /// What it promises.
    pub kind: Kind,
    /// How long each transaction lasts.
    pub transaction: Duration,
    /// Which producer of the run it is.
    pub index: u16,
}

/// A request that awaits its reply.
struct Sent {
    correlation: i32,
    due: Instant,
    records: u64,
    _permit: OwnedSemaphorePermit,
}

impl Producer {
    /// Sends until the schedule ends and every reply is in.
    pub async fn run(mut self) -> Result<Tally> {
        let (mut sender, receiver) = Connection::open(&self.bootstrap).await?.split();
        let mut identity = Identity::take(self.kind, &self.bootstrap, self.index, self.transaction).await?;
        let version = version_of(self.kind == Kind::Transactional);
        let slots = Arc::new(Semaphore::new(usize::from(self.in_flight)));
        let (sent, waiting) = mpsc::channel(usize::from(self.in_flight));
        let replies = (self.acks != 0).then(|| {
            let counter = Arc::clone(&self.counter);
            tokio::spawn(collect(receiver, version, waiting, Tally::new(self.window, true), counter))
        });
        let mut unanswered = Tally::new(self.window, false);
        let mut envelopes: Vec<Option<Envelope>> = self.partitions.iter().map(|_| None).collect();
        let mut correlation = 0_i32;
        let mut turn = 0;
        loop {
            // The permit comes first: a closed loop is due when it may send, and an open loop's
            // slot stays due when it was, however long the permit took.
            let permit = Arc::clone(&slots).acquire_owned().await?;
            let Some(slot) = self.schedule.next() else { break };
            sleep_until(slot.due).await;
            let mut batch = (self.make_batch)(slot)?;
            let at = turn % self.partitions.len();
            turn += 1;
            if let Some(identity) = &mut identity {
                batch = identity.stamp(self.partitions[at], &batch, slot.records)?;
            }
            let envelope = self.envelope(&mut envelopes[at], at, &batch, identity.as_ref())?;
            correlation = correlation.wrapping_add(1);
            if self.acks == 0 {
                sender.send(&envelope.parts(correlation, &batch)).await?;
                unanswered.done(slot.due, slot.records);
                self.counter.fetch_add(slot.records, Ordering::Relaxed);
                continue;
            }
            let entry = Sent { correlation, due: slot.due, records: slot.records, _permit: permit };
            if sent.send(entry).await.is_err() {
                break; // The collector failed; its error is the one to report.
            }
            sender.send(&envelope.parts(correlation, &batch)).await?;
            if let Some(identity) = identity.as_mut().filter(|identity| identity.is_due()) {
                // All permits are back when every batch was answered.
                let _all = slots.acquire_many(u32::from(self.in_flight)).await?;
                identity.commit().await?;
            }
        }
        if let Some(identity) = &mut identity {
            let _all = slots.acquire_many(u32::from(self.in_flight)).await?;
            identity.commit().await?;
        }
        drop(sent);
        match replies {
            Some(replies) => replies.await?,
            None => Ok(unanswered),
        }
    }

    /// What surrounds this batch; the one of before where it fits.
    fn envelope<'a>(
        &self,
        kept: &'a mut Option<Envelope>,
        at: usize,
        batch: &Bytes,
        identity: Option<&Identity>,
    ) -> Result<&'a mut Envelope> {
        let fitting = kept.take().filter(|envelope| envelope.batch_bytes == batch.len());
        Ok(kept.insert(match fitting {
            Some(envelope) => envelope,
            None => {
                let id = identity.and_then(Identity::transactional_id);
                Envelope::new(&self.topic, self.partitions[at], self.acks, batch, id)?
            }
        }))
    }
}

async fn collect(
    mut receiver: Receiver,
    version: i16,
    mut waiting: mpsc::Receiver<Sent>,
    mut tally: Tally,
    counter: Counter,
) -> Result<Tally> {
    while let Some(sent) = waiting.recv().await {
        let (correlation, answer) = check(receiver.next().await?, version)?;
        expect_correlation(sent.correlation, correlation)?;
        match answer {
            Ok(()) => {
                tally.done(sent.due, sent.records);
                counter.fetch_add(sent.records, Ordering::Relaxed);
            }
            Err(code) => tally.failed(&format!("Produce: error code {code}")),
        }
    }
    Ok(tally)
}
