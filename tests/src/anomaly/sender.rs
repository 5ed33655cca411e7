//! A process's producer, of either version of transactions, and what can be the trouble with one.

use std::fmt::{self, Display};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;

use super::client::{self, Consuming, Producing};
use super::history::{Key, Value};
use super::version_2::Version2;

/// Why a call did not succeed.
#[derive(Debug)]
pub struct Trouble {
    /// What to do about it.
    pub remedy: Remedy,
    text: String,
}

/// What to do about a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same call again.
    Repeat,
    /// The transaction has not committed, and is to be aborted.
    Abort,
    /// The producer was fenced: its transaction has not committed.
    Fenced,
    /// Nobody knows.
    None,
}

impl Trouble {
    /// With its cause.
    pub fn new(remedy: Remedy, text: impl Display) -> Self {
        Self { remedy, text: text.to_string() }
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<KafkaError> for Trouble {
    fn from(error: KafkaError) -> Self {
        let remedy = match &error {
            KafkaError::Transaction(error) if error.is_retriable() => Remedy::Repeat,
            KafkaError::Transaction(error) if error.txn_requires_abort() => Remedy::Abort,
            KafkaError::Transaction(error) if error.is_fatal() => Remedy::Fenced,
            KafkaError::Flush(_) => Remedy::Repeat,
            _ => Remedy::None,
        };
        Self::new(remedy, error)
    }
}

/// A producer.
pub enum Sender {
    /// librdkafka's: idempotent, or with transactions of version 1.
    Rdkafka(Producing),
    /// With transactions of version 2 (KIP-890).
    Version2(Version2),
}

impl Sender {
    /// Registers the transactional id.
    ///
    /// # Errors
    /// [`Remedy::Repeat`] asks for another call.
    pub fn init(&self, timeout: Duration) -> Result<(), Trouble> {
        match self {
            Self::Rdkafka(producer) => Ok(producer.init_transactions(timeout)?),
            Self::Version2(producer) => producer.init(timeout),
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn begin(&self) -> Result<(), Trouble> {
        match self {
            Self::Rdkafka(producer) => Ok(producer.begin_transaction()?),
            Self::Version2(_) => Ok(()),
        }
    }

    /// Hands a value over; false when it is not taken.
    pub fn send(&self, key: Key, value: Value) -> bool {
        match self {
            Self::Rdkafka(producer) => client::send(producer, key, value),
            Self::Version2(producer) => producer.send(key, value),
        }
    }

    /// The offset of a value, once it is known.
    pub fn offset_of(&self, value: Value) -> Option<i64> {
        match self {
            Self::Rdkafka(producer) => producer.context().0.offset_of(value),
            Self::Version2(producer) => producer.offset_of(value),
        }
    }

    /// Waits for what becomes of a value: its offset, or none when it failed or nobody knows.
    pub fn wait_for(&self, value: Value, timeout: Duration) -> Option<i64> {
        match self {
            Self::Rdkafka(producer) => producer.context().0.wait_for(value, timeout),
            Self::Version2(producer) => producer.offset_of(value),
        }
    }

    /// Commits positions of the consumer's group in the transaction.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn send_offsets(
        &self,
        positions: Vec<(Key, Offset)>,
        group: &str,
        consumer: &Consuming,
        timeout: Duration,
    ) -> Result<(), Trouble> {
        match self {
            Self::Rdkafka(producer) => {
                let member = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
                Ok(producer.send_offsets_to_transaction(&client::list(positions), &member, timeout)?)
            }
            // Only where consumers assign their partitions: there are no members to fence.
            Self::Version2(producer) => producer.send_offsets(positions, group),
        }
    }

    /// Waits until everything that was handed over is acknowledged.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn flush(&self, timeout: Duration) -> Result<(), Trouble> {
        match self {
            Self::Rdkafka(producer) => Ok(producer.flush(timeout)?),
            Self::Version2(_) => Ok(()),
        }
    }

    /// Commits or aborts.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn end(&self, commit: bool, timeout: Duration) -> Result<(), Trouble> {
        match self {
            Self::Rdkafka(producer) if commit => Ok(producer.commit_transaction(timeout)?),
            Self::Rdkafka(producer) => Ok(producer.abort_transaction(timeout)?),
            Self::Version2(producer) => producer.end(commit),
        }
    }

    /// Whether a request that was delayed and sent again can do no harm to the next transaction.
    pub fn is_safe_after_delays(&self) -> bool {
        matches!(self, Self::Version2(_))
    }
}
