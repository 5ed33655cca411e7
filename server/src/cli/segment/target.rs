//! Owns where an import writes: a broker or a directory, behind the same few questions.

use bytes::Bytes;

use super::Failure;
use super::client::{Client, SentMark, Written};
use super::directory::Directory;
use super::source::Topic;

/// See the module.
pub enum Target {
    /// A broker.
    Broker(Box<Client>),
    /// A directory that no broker has open.
    Directory(Box<Directory>),
}

impl Target {
    /// The topic; `None` when there is none.
    pub async fn topic(&mut self) -> Result<Option<Topic>, Failure> {
        match self {
            Self::Broker(client) => client.topic().await,
            Self::Directory(directory) => Ok(directory.topic()),
        }
    }

    /// Creates the topic with so many partitions.
    pub async fn create(&mut self, partitions: i32) -> Result<(), Failure> {
        match self {
            Self::Broker(client) => client.create(partitions).await,
            Self::Directory(directory) => directory.create(partitions).await,
        }
    }

    /// Gives a batch away. What became of an older one is returned, when it had to be waited for.
    pub async fn send(
        &mut self,
        partition: i32,
        batch: Bytes,
        records: i64,
        mark: SentMark,
    ) -> Result<Option<Written>, Failure> {
        match self {
            Self::Broker(client) => client.send(partition, batch, records, mark).await,
            Self::Directory(directory) => directory.send(partition, batch, records, mark).await,
        }
    }

    /// What became of the oldest batch that was given away; `None` when all are known.
    pub async fn acknowledged(&mut self) -> Result<Option<Written>, Failure> {
        match self {
            Self::Broker(client) => client.acknowledged().await,
            Self::Directory(directory) => directory.acknowledged().await,
        }
    }
}
