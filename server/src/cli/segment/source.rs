//! Owns where an export reads: a broker or a directory, behind the same few questions.

use bytes::Bytes;
use uuid::Uuid;

use super::Failure;
use super::client::Client;
use super::directory::Directory;

/// Kafka's timestamp for "the first offset there is".
pub const EARLIEST: i64 = -2;
/// Kafka's timestamp for "the first offset that is not there yet".
pub const LATEST: i64 = -1;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; nil when the broker does not tell.
    pub id: Uuid,
    /// The cluster it is in.
    pub cluster_id: String,
    /// The indexes of its partitions, rising.
    pub partitions: Vec<i32>,
}

/// Whole batches.
#[derive(Debug, Default)]
pub struct Read {
    /// In their order; the first may begin before the offset that was asked for.
    pub batches: Vec<Bytes>,
    /// Producer and first offset of the aborted transactions among them, when only committed data was asked for.
    pub aborted: Vec<(i64, i64)>,
}

/// See the module.
pub enum Source {
    /// A broker.
    Broker(Box<Client>),
    /// A directory that no broker has open.
    Directory(Box<Directory>),
}

impl Source {
    /// The topic.
    pub async fn topic(&mut self) -> Result<Option<Topic>, Failure> {
        match self {
            Self::Broker(client) => client.topic().await,
            Self::Directory(directory) => Ok(directory.topic()),
        }
    }

    /// First offset there is, and first that may not be seen.
    pub async fn bounds(&mut self, partition: i32, committed: bool) -> Result<(i64, i64), Failure> {
        match self {
            Self::Broker(client) => client.bounds(partition, committed).await,
            Self::Directory(directory) => directory.bounds(partition, committed),
        }
    }

    /// The first offset whose record is at `timestamp` or later.
    pub async fn offset_at(&mut self, partition: i32, timestamp: i64) -> Result<Option<i64>, Failure> {
        match self {
            Self::Broker(client) => client.offset_at(partition, timestamp, true).await,
            Self::Directory(directory) => directory.offset_at(partition, timestamp).await,
        }
    }

    /// Whole batches from the one that contains `offset`, which is below the end; never none.
    pub async fn read(&mut self, partition: i32, offset: i64, committed: bool) -> Result<Read, Failure> {
        match self {
            Self::Broker(client) => client.read(partition, offset, committed).await,
            Self::Directory(directory) => directory.read(partition, offset, committed).await,
        }
    }
}
