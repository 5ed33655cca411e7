//! Kafka's error codes, and the one place where our errors become them.
//!
//! No wildcard arms: a new variant does not compile until it is placed here, and in the table of `tests`.
#![deny(clippy::wildcard_enum_match_arm)]

use chronik_engine::error::{AppendError, ReadError, TopicError};
use chronik_engine::store::StoreError;
use chronik_protocol::batch::{RecordErrorKind, ValidateError};
use chronik_tiering::read::RemoteError;

use crate::coordinator::group::GroupError;
use crate::coordinator::txn::TxnError;
use crate::telemetry::TelemetryError;

/// The codes this broker answers (Kafka's `Errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
#[expect(missing_docs, reason = "the names are Kafka's, and its documentation is theirs")]
pub enum ErrorCode {
    UnknownServerError = -1,
    None = 0,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    RequestTimedOut = 7,
    MessageTooLarge = 10,
    OffsetMetadataTooLarge = 12,
    CoordinatorNotAvailable = 15,
    InvalidTopicException = 17,
    RecordListTooLarge = 18,
    NotEnoughReplicas = 19,
    InvalidRequiredAcks = 21,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    TopicAuthorizationFailed = 29,
    InvalidTimestamp = 32,
    UnsupportedVersion = 35,
    TopicAlreadyExists = 36,
    InvalidPartitions = 37,
    InvalidReplicationFactor = 38,
    InvalidReplicaAssignment = 39,
    InvalidConfig = 40,
    InvalidRequest = 42,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    InvalidTransactionTimeout = 50,
    ConcurrentTransactions = 51,
    TransactionCoordinatorFenced = 52,
    TransactionalIdAuthorizationFailed = 53,
    OperationNotAttempted = 55,
    KafkaStorageError = 56,
    LogDirNotFound = 57,
    FetchSessionIdNotFound = 70,
    InvalidFetchSessionEpoch = 71,
    TopicDeletionDisabled = 73,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    MemberIdRequired = 79,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    ElectionNotNeeded = 84,
    NoReassignmentInProgress = 85,
    GroupSubscribedToTopic = 86,
    InvalidRecord = 87,
    UnstableOffsetCommit = 88,
    ThrottlingQuotaExceeded = 89,
    ProducerFenced = 90,
    InvalidUpdateVersion = 95,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    UnknownTopicId = 100,
    BrokerIdNotRegistered = 102,
    InconsistentTopicId = 103,
    InconsistentClusterId = 104,
    TransactionalIdNotFound = 105,
    FetchSessionTopicIdError = 106,
    MismatchedEndpointType = 114,
    UnsupportedEndpointType = 115,
    UnknownSubscriptionId = 117,
    TelemetryTooLarge = 118,
    TransactionAbortable = 120,
    InvalidRegularExpression = 128,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> i16 {
        code.code()
    }
}

impl From<&AppendError> for ErrorCode {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::StaleProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            // Retriable; clients refresh metadata and come back.
            AppendError::DiskFull | AppendError::Offline => ErrorCode::KafkaStorageError,
            AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
            AppendError::NoTransaction { .. } | AppendError::TransactionOpen { .. } => {
                ErrorCode::InvalidTxnState
            }
            AppendError::StaleCoordinatorEpoch { .. } => ErrorCode::TransactionCoordinatorFenced,
            AppendError::OffsetsExhausted => ErrorCode::UnknownServerError,
        }
    }
}

impl From<&ReadError> for ErrorCode {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            // It was moved to object storage while it was read here: asked again, it is read there.
            ReadError::Offline | ReadError::Tiered { .. } => ErrorCode::KafkaStorageError,
            ReadError::Deleted => ErrorCode::UnknownTopicOrPartition,
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<&RemoteError> for ErrorCode {
    fn from(error: &RemoteError) -> Self {
        match error {
            RemoteError::Log(error) => error.into(),
            // Worth asking again: the store may be back, or the segment may have been replaced.
            RemoteError::Missing(_) | RemoteError::Corrupt { .. } | RemoteError::Store { .. } => {
                ErrorCode::KafkaStorageError
            }
        }
    }
}

impl From<&GroupError> for ErrorCode {
    fn from(error: &GroupError) -> Self {
        match error {
            GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
            GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
            GroupError::UnknownMember => ErrorCode::UnknownMemberId,
            GroupError::FencedInstance => ErrorCode::FencedInstanceId,
            GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
            GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
            GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            GroupError::GroupNotFound => ErrorCode::GroupIdNotFound,
            GroupError::GroupNotEmpty => ErrorCode::NonEmptyGroup,
            GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            // Retriable: clients look for the coordinator and come back, as after Kafka's `Dead` group or a failed
            // append. After a failed store the change may have been written.
            GroupError::CoordinatorStopped | GroupError::StoreFailed => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl From<&TxnError> for ErrorCode {
    fn from(error: &TxnError) -> Self {
        match error {
            TxnError::InvalidRequest => ErrorCode::InvalidRequest,
            TxnError::InvalidTimeout => ErrorCode::InvalidTransactionTimeout,
            TxnError::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
            TxnError::ProducerFenced => ErrorCode::ProducerFenced,
            TxnError::Ending => ErrorCode::ConcurrentTransactions,
            TxnError::InvalidState => ErrorCode::InvalidTxnState,
            TxnError::NotIncluded => ErrorCode::TransactionAbortable,
            // Retriable: clients look for the coordinator and come back. After a failed store the change may have been
            // written; each operation recognises its repeat.
            TxnError::StoreFailed | TxnError::Stopped => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl From<&StoreError> for ErrorCode {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::WriteFailed(_)
            | StoreError::ReadFailed(_)
            | StoreError::Corrupt(_)
            | StoreError::Closed => ErrorCode::KafkaStorageError,
        }
    }
}

impl From<&TelemetryError> for ErrorCode {
    fn from(error: &TelemetryError) -> Self {
        match error {
            TelemetryError::Throttled => ErrorCode::ThrottlingQuotaExceeded,
            TelemetryError::InvalidInstance | TelemetryError::Terminated => ErrorCode::InvalidRequest,
            TelemetryError::UnknownSubscription => ErrorCode::UnknownSubscriptionId,
            TelemetryError::UnsupportedCompression => ErrorCode::UnsupportedCompressionType,
            TelemetryError::TooLarge => ErrorCode::TelemetryTooLarge,
            TelemetryError::Malformed => ErrorCode::InvalidRecord,
        }
    }
}

impl From<&TopicError> for ErrorCode {
    fn from(error: &TopicError) -> Self {
        match error {
            TopicError::AlreadyExists(_) => ErrorCode::TopicAlreadyExists,
            TopicError::NotFound(_) => ErrorCode::UnknownTopicOrPartition,
            TopicError::PartitionsNotMore { .. } | TopicError::PartitionCount(_) => {
                ErrorCode::InvalidPartitions
            }
            TopicError::Store(error) => error.into(),
        }
    }
}

impl From<&ValidateError> for ErrorCode {
    /// Kafka's codes for `LogValidator`, `UnifiedLog.analyzeAndValidateRecords` and `ProduceRequest.validateRecords`.
    fn from(error: &ValidateError) -> Self {
        match error {
            ValidateError::Empty
            | ValidateError::NotOneBatch
            | ValidateError::Magic(_)
            | ValidateError::BaseOffset(_)
            | ValidateError::OffsetRange { .. }
            | ValidateError::Control
            | ValidateError::SequenceWithoutProducer(_)
            // The CRC held, so sending it again cannot help; CORRUPT_MESSAGE would be retried.
            | ValidateError::Decompress(_)
            | ValidateError::MalformedRecord { .. }
            | ValidateError::RecordCount { .. }
            | ValidateError::OffsetDelta { .. }
            | ValidateError::Records { kind: RecordErrorKind::InvalidRecord, .. } => ErrorCode::InvalidRecord,
            ValidateError::Records { kind: RecordErrorKind::InvalidTimestamp, .. }
            | ValidateError::TimestampTypeFromClient => ErrorCode::InvalidTimestamp,
            ValidateError::TooLarge { .. } | ValidateError::DecompressedTooLarge { .. } => {
                ErrorCode::MessageTooLarge
            }
            ValidateError::Corrupt(_) => ErrorCode::CorruptMessage,
            ValidateError::UnsupportedCompression(_) | ValidateError::Recompress(_) => {
                ErrorCode::UnsupportedCompressionType
            }
        }
    }
}

#[cfg(test)]
mod tests;
