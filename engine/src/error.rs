//! What the engine's operations can fail with. No Kafka error code appears here: the server maps each variant once.

use crate::store::StoreError;

/// Why a batch was not appended. Nothing was written unless the variant says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// A sequence number is missing, or is older than the batches remembered.
    #[error(
        "out of order sequence for producer {producer_id}: got {got}, expected {expected} (epoch {epoch})"
    )]
    OutOfOrderSequence {
        /// Who sent it.
        producer_id: i64,
        /// The producer epoch of the batch.
        epoch: i16,
        /// First sequence of the batch.
        got: i32,
        /// The only sequence that could be accepted.
        expected: i32,
    },
    /// The producer has been fenced by a newer epoch.
    #[error("producer {producer_id} has epoch {current}, the batch says {got}")]
    StaleProducerEpoch {
        /// Who sent it.
        producer_id: i64,
        /// The epoch of the batch.
        got: i16,
        /// The newest epoch seen.
        current: i16,
    },
    /// A record of a transaction that nobody has begun here: the coordinator has to be asked first.
    #[error("producer {producer_id} has no open transaction on this partition")]
    NoTransaction {
        /// Who sent it.
        producer_id: i64,
    },
    /// A record outside of the transaction that its producer has open here.
    #[error("producer {producer_id} has a transaction open on this partition: it must write in it")]
    TransactionOpen {
        /// Who sent it.
        producer_id: i64,
    },
    /// A newer coordinator has written a marker already.
    #[error("the coordinator has epoch {got}, a newer one with epoch {current} has taken over")]
    StaleCoordinatorEpoch {
        /// The epoch of the marker.
        got: i32,
        /// The newest epoch seen.
        current: i32,
    },
    /// The disk is nearly full; retry later.
    #[error("the disk is nearly full; free space or lower retention, then retry")]
    DiskFull,
    /// The partition met corrupt data and serves nothing until restarted.
    #[error("the partition is offline: its stored data could not be read")]
    Offline,
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
    /// The offset space is used up.
    #[error("the partition has no offsets left")]
    OffsetsExhausted,
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is outside `log_start_offset..=next_offset`.
    #[error("offset {offset} is outside [{log_start_offset}, {next_offset}]")]
    OffsetOutOfRange {
        /// What was asked.
        offset: i64,
        /// First offset there is.
        log_start_offset: i64,
        /// First offset not yet assigned.
        next_offset: i64,
    },
    /// The offset is below the local start: object storage has it.
    #[error("offset {offset} is below the local start {local_start_offset}: it is in object storage")]
    Tiered {
        /// What was asked.
        offset: i64,
        /// First offset whose batch is in the store.
        local_start_offset: i64,
    },
    /// The partition met corrupt data; it is offline from here on.
    #[error("the partition is offline: its stored data could not be read")]
    Offline,
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a directory was not restored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in it.
    #[error("the data directory is not empty: restore into a new one")]
    NotEmpty,
    /// The copy was made by a newer version.
    #[error("the copy has format version {0}: restore it with the newer chronik-server that wrote it")]
    NewerFormat(u64),
    /// The store, or a value of the copy.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a copied segment was not taken in. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// The log begins behind the segment now, or its place was given to another.
    #[error("the range was deleted or replaced meanwhile")]
    Deleted,
    /// The segment does not follow what was copied before.
    #[error("{base_offset}..{next_offset} does not fit to what is copied up to {copied_to:?}")]
    NoPlace {
        /// First offset of the segment.
        base_offset: i64,
        /// First offset after it.
        next_offset: i64,
        /// First offset that was not copied before.
        copied_to: Option<i64>,
    },
    /// The partition is offline or deleted.
    #[error("the partition does not serve")]
    NotServing,
}

/// Why a topic operation failed. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// A topic of that name is there.
    #[error("topic '{0}' already exists")]
    AlreadyExists(String),
    /// No topic of that name or id.
    #[error("no topic '{0}'")]
    NotFound(String),
    /// A topic's partitions can only grow.
    #[error("topic '{topic}' has {current} partitions; {asked} is not more")]
    PartitionsNotMore {
        /// Whose.
        topic: String,
        /// How many there are.
        current: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// More partitions than [`crate::limits::PARTITIONS_PER_TOPIC_MAX`], or none.
    #[error("{0} partitions asked for; 1 to {max} are possible", max = crate::limits::PARTITIONS_PER_TOPIC_MAX)]
    PartitionCount(usize),
    /// The store failed; whether the change is durable is unknown until restart.
    #[error(transparent)]
    Store(#[from] StoreError),
}
