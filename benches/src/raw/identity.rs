//! Who a producer is: nobody in particular, an idempotent producer, or one with a transactional id.
//!
//! Owns producer ids, sequences and the ends of transactions. Batches are encoded without an identity; it is stamped into a
//! copy of the header's fields, and the CRC made right again, so that the load stays cheap.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chronik_protocol::codec::messages::{EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest};

use super::Result;
use super::connection::Connection;
use crate::cli::Kind;

const INIT_PRODUCER_ID_VERSION: i16 = 4;
const FIND_COORDINATOR_VERSION: i16 = 2;
/// Every end raises the epoch (KIP-890).
const END_TXN_VERSION: i16 = 5;
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
/// How long a coordinator may be busy before the run fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Loading, not available, not the coordinator, still completing.
const BUSY: [i16; 4] = [14, 15, 16, 51];

/// Fields of a record batch v2 (KIP-98), from its first byte.
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const PRODUCER_ID_AT: usize = 43;
const EPOCH_AT: usize = 51;
const SEQUENCE_AT: usize = 53;
const TRANSACTIONAL: u8 = 0x10;

/// An identity and what it has sent.
pub struct Identity {
    connection: Connection,
    /// None for an idempotent producer.
    transactional_id: Option<String>,
    producer_id: i64,
    epoch: i16,
    /// The next sequence by partition.
    sequences: HashMap<u16, i32>,
    /// When the open transaction began.
    begun: Option<Instant>,
    length: Duration,
}

impl Identity {
    /// The identity of producer `index` of a run; none for a plain one.
    pub async fn take(kind: Kind, bootstrap: &str, index: u16, length: Duration) -> Result<Option<Self>> {
        let mut connection = Connection::open(bootstrap).await?;
        let transactional_id = match kind {
            Kind::Plain => return Ok(None),
            Kind::Idempotent => None,
            Kind::Transactional => Some(format!("chronik-bench-{}-{index}", std::process::id())),
        };
        if let Some(id) = &transactional_id {
            find_coordinator(&mut connection, id).await?;
        }
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = transactional_id.as_deref().map(Into::into);
        request.transaction_timeout_ms = TRANSACTION_TIMEOUT_MS;
        request.producer_id = -1;
        request.producer_epoch = -1;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = connection.call(&request, INIT_PRODUCER_ID_VERSION).await?;
            if wait_or_fail("InitProducerId", answer.error_code, deadline).await? {
                let (producer_id, epoch) = (answer.producer_id, answer.producer_epoch);
                let sequences = HashMap::new();
                let begun = None;
                return Ok(Some(Self {
                    connection,
                    transactional_id,
                    producer_id,
                    epoch,
                    sequences,
                    begun,
                    length,
                }));
            }
        }
    }

    /// The transactional id, if it has one.
    pub fn transactional_id(&self) -> Option<&str> {
        self.transactional_id.as_deref()
    }

    /// The batch as this producer's next one for the partition.
    pub fn stamp(&mut self, partition: u16, batch: &Bytes, records: u64) -> Result<Bytes> {
        let next = self.sequences.entry(partition).or_default();
        let sequence = *next;
        // Sequences wrap from the largest to 0; a run does not get there, and an error is better than a wrong figure.
        *next = next.checked_add(i32::try_from(records)?).ok_or("too many records for one producer")?;
        let mut bytes = BytesMut::from(&batch[..]);
        if self.transactional_id.is_some() {
            bytes[ATTRIBUTES_AT + 1] |= TRANSACTIONAL;
            self.begun.get_or_insert_with(Instant::now);
        }
        bytes[PRODUCER_ID_AT..EPOCH_AT].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[EPOCH_AT..SEQUENCE_AT].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        Ok(bytes.freeze())
    }

    /// Whether the open transaction has lasted long enough.
    pub fn is_due(&self) -> bool {
        self.begun.is_some_and(|begun| begun.elapsed() >= self.length)
    }

    /// Commits the open transaction, if there is one. Every batch must have been answered.
    pub async fn commit(&mut self) -> Result<()> {
        let (Some(id), Some(_)) = (&self.transactional_id, self.begun) else { return Ok(()) };
        let mut request = EndTxnRequest::default();
        request.transactional_id = id.as_str().into();
        request.producer_id = self.producer_id;
        request.producer_epoch = self.epoch;
        request.committed = true;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.connection.call(&request, END_TXN_VERSION).await?;
            if wait_or_fail("EndTxn", answer.error_code, deadline).await? {
                (self.producer_id, self.epoch) = (answer.producer_id, answer.producer_epoch);
                self.begun = None;
                self.sequences.clear();
                return Ok(());
            }
        }
    }
}

/// A Kafka just started makes its transaction log when it is first asked for a coordinator.
async fn find_coordinator(connection: &mut Connection, id: &str) -> Result<()> {
    let mut request = FindCoordinatorRequest::default();
    request.key = id.into();
    request.key_type = 1;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = connection.call(&request, FIND_COORDINATOR_VERSION).await?;
        if wait_or_fail("FindCoordinator", answer.error_code, deadline).await? {
            return Ok(());
        }
    }
}

/// Whether it worked; false after a pause when the coordinator was busy.
async fn wait_or_fail(what: &str, error: i16, deadline: Instant) -> Result<bool> {
    if error == 0 {
        return Ok(true);
    }
    if !BUSY.contains(&error) || Instant::now() > deadline {
        return Err(format!("{what}: error code {error}").into());
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(false)
}
