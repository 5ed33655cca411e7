//! What a client makes of each of our errors: the code, whether it sends the same again, and whether its data may be
//! there already.

use chronik_protocol::batch::{Compression, CompressionError, RecordError};

use super::*;

/// What a client does with a code (`RetriableException` in Kafka's `Errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Sends the same again, perhaps after asking for metadata or the coordinator.
    Retry,
    /// Tells the application.
    GiveUp,
}

/// Whether the change that was asked for may be there in spite of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    No,
    Maybe,
}

use Then::{GiveUp, Retry};
use Written::{Maybe, No};

/// Kafka's retriable codes among ours.
fn then(code: ErrorCode) -> Then {
    let retriable = [
        ErrorCode::CorruptMessage,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::RequestTimedOut,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::ConcurrentTransactions,
        ErrorCode::UnstableOffsetCommit,
        ErrorCode::KafkaStorageError,
        ErrorCode::FetchSessionIdNotFound,
        ErrorCode::InvalidFetchSessionEpoch,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::UnknownLeaderEpoch,
        ErrorCode::ThrottlingQuotaExceeded,
        ErrorCode::UnknownTopicId,
        ErrorCode::InconsistentTopicId,
        ErrorCode::FetchSessionTopicIdError,
    ];
    if retriable.contains(&code) { Retry } else { GiveUp }
}

/// A table: every variant once, its code, what the client does then, whether data may have been written.
fn check<E: std::fmt::Debug>(table: &[(E, i16, Then, Written)], variants: usize, written: fn(&E) -> Written)
where
    for<'a> ErrorCode: From<&'a E>,
{
    let mut seen: Vec<std::mem::Discriminant<E>> = Vec::new();
    for (error, code, expected_then, expected_written) in table {
        let mapped = ErrorCode::from(error);
        assert_eq!((mapped.code(), then(mapped)), (*code, *expected_then), "{error:?}");
        assert_eq!(written(error), *expected_written, "{error:?}");
        if !seen.contains(&std::mem::discriminant(error)) {
            seen.push(std::mem::discriminant(error));
        }
    }
    assert_eq!(seen.len(), variants, "every variant has its row");
}

// Each of the functions below is exhaustive: who adds a variant comes here, counts one more, and adds its row.

fn store_written(error: &StoreError) -> Written {
    match error {
        StoreError::WriteFailed(_) | StoreError::Closed => Maybe,
        StoreError::ReadFailed(_) | StoreError::Corrupt(_) => No,
    }
}

fn store_errors() -> [(StoreError, i16, Then, Written); 4] {
    [
        (StoreError::WriteFailed("".into()), 56, Retry, Maybe),
        (StoreError::ReadFailed("".into()), 56, Retry, No),
        (StoreError::Corrupt("".into()), 56, Retry, No),
        (StoreError::Closed, 56, Retry, Maybe),
    ]
}

#[test]
fn errors_of_the_store() {
    check(&store_errors(), 4, store_written);
}

#[test]
fn errors_of_an_append() {
    let sequence = AppendError::OutOfOrderSequence { producer_id: 1, epoch: 0, got: 5, expected: 1 };
    let table = [
        (sequence, 45, GiveUp, No),
        (AppendError::StaleProducerEpoch { producer_id: 1, got: 0, current: 1 }, 47, GiveUp, No),
        (AppendError::NoTransaction { producer_id: 1 }, 48, GiveUp, No),
        (AppendError::TransactionOpen { producer_id: 1 }, 48, GiveUp, No),
        (AppendError::StaleCoordinatorEpoch { got: 0, current: 1 }, 52, GiveUp, No),
        (AppendError::DiskFull, 56, Retry, No),
        (AppendError::Offline, 56, Retry, No),
        (AppendError::Deleted, 3, Retry, No),
        (AppendError::OffsetsExhausted, -1, GiveUp, No),
    ];
    check(&table, 9, |error| match error {
        AppendError::OutOfOrderSequence { .. }
        | AppendError::NoTransaction { .. }
        | AppendError::TransactionOpen { .. }
        | AppendError::StaleCoordinatorEpoch { .. }
        | AppendError::StaleProducerEpoch { .. }
        | AppendError::DiskFull
        | AppendError::Offline
        | AppendError::Deleted
        | AppendError::OffsetsExhausted => No,
    });
}

#[test]
fn errors_of_a_transaction() {
    let table = [
        (TxnError::InvalidRequest, 42, GiveUp, No),
        (TxnError::InvalidTimeout, 50, GiveUp, No),
        (TxnError::InvalidProducerIdMapping, 49, GiveUp, No),
        (TxnError::ProducerFenced, 90, GiveUp, No),
        (TxnError::Ending, 51, Retry, No),
        (TxnError::InvalidState, 48, GiveUp, No),
        (TxnError::NotIncluded, 120, GiveUp, No),
        (TxnError::StoreFailed, 15, Retry, Maybe),
        (TxnError::Stopped, 15, Retry, Maybe),
    ];
    check(&table, 9, |error| match error {
        TxnError::StoreFailed | TxnError::Stopped => Maybe,
        TxnError::InvalidRequest
        | TxnError::InvalidTimeout
        | TxnError::InvalidProducerIdMapping
        | TxnError::ProducerFenced
        | TxnError::Ending
        | TxnError::InvalidState
        | TxnError::NotIncluded => No,
    });
}

#[test]
fn errors_of_object_storage() {
    let (object, reason): (std::sync::Arc<str>, std::sync::Arc<str>) = ("o".into(), "r".into());
    let table = [
        (RemoteError::Missing(object.clone()), 56, Retry, No),
        (RemoteError::Corrupt { object: object.clone(), reason: reason.clone() }, 56, Retry, No),
        (RemoteError::Store { object, reason }, 56, Retry, No),
        (RemoteError::Log(ReadError::Offline), 56, Retry, No),
    ];
    check(&table, 4, |error| match error {
        RemoteError::Missing(_)
        | RemoteError::Corrupt { .. }
        | RemoteError::Store { .. }
        | RemoteError::Log(_) => No,
    });
}

#[test]
fn errors_of_a_read() {
    let outside = ReadError::OffsetOutOfRange { offset: 9, log_start_offset: 0, next_offset: 5 };
    let own =
        [(outside, 1, GiveUp, No), (ReadError::Offline, 56, Retry, No), (ReadError::Deleted, 3, Retry, No)];
    let moved = ReadError::Tiered { offset: 1, local_start_offset: 2 };
    let own = own.into_iter().chain([(moved, 56, Retry, No)]);
    // A read by itself; what DeleteRecords moved may be moved.
    let from_store = store_errors().map(|(error, code, then, written)| (error.into(), code, then, written));
    let table: Vec<(ReadError, i16, Then, Written)> = own.chain(from_store).collect();
    check(&table, 5, |error| match error {
        ReadError::OffsetOutOfRange { .. }
        | ReadError::Tiered { .. }
        | ReadError::Offline
        | ReadError::Deleted => No,
        ReadError::Store(error) => store_written(error),
    });
}

#[test]
fn errors_of_topics() {
    let shrinking = TopicError::PartitionsNotMore { topic: "t".into(), current: 3, asked: 2 };
    let own = [
        (TopicError::AlreadyExists("t".into()), 36, GiveUp, No),
        (TopicError::NotFound("t".into()), 3, Retry, No),
        (shrinking, 37, GiveUp, No),
        (TopicError::PartitionCount(0), 37, GiveUp, No),
    ];
    let from_store = store_errors().map(|(error, code, then, written)| (error.into(), code, then, written));
    let table: Vec<(TopicError, i16, Then, Written)> = own.into_iter().chain(from_store).collect();
    check(&table, 5, |error| match error {
        TopicError::AlreadyExists(_)
        | TopicError::NotFound(_)
        | TopicError::PartitionsNotMore { .. }
        | TopicError::PartitionCount(_) => No,
        TopicError::Store(error) => store_written(error),
    });
}

#[test]
fn errors_of_groups() {
    let table = [
        (GroupError::InvalidGroupId, 24, GiveUp, No),
        (GroupError::InvalidSessionTimeout, 26, GiveUp, No),
        // Clients join again by themselves after the next five; "give up" is what a bare request does.
        (GroupError::MemberIdRequired, 79, GiveUp, No),
        (GroupError::UnknownMember, 25, GiveUp, No),
        (GroupError::IllegalGeneration, 22, GiveUp, No),
        (GroupError::RebalanceInProgress, 27, GiveUp, No),
        (GroupError::FencedInstance, 82, GiveUp, No),
        (GroupError::InconsistentProtocol, 23, GiveUp, No),
        (GroupError::GroupFull, 81, GiveUp, No),
        (GroupError::GroupNotFound, 69, GiveUp, No),
        (GroupError::GroupNotEmpty, 68, GiveUp, No),
        (GroupError::SubscribedToTopic, 86, GiveUp, No),
        (GroupError::OffsetMetadataTooLarge, 12, GiveUp, No),
        (GroupError::CoordinatorStopped, 15, Retry, Maybe),
        (GroupError::StoreFailed, 15, Retry, Maybe),
    ];
    check(&table, 15, |error| match error {
        GroupError::InvalidGroupId
        | GroupError::InvalidSessionTimeout
        | GroupError::MemberIdRequired
        | GroupError::UnknownMember
        | GroupError::IllegalGeneration
        | GroupError::RebalanceInProgress
        | GroupError::FencedInstance
        | GroupError::InconsistentProtocol
        | GroupError::GroupFull
        | GroupError::GroupNotFound
        | GroupError::GroupNotEmpty
        | GroupError::SubscribedToTopic
        | GroupError::OffsetMetadataTooLarge => No,
        GroupError::CoordinatorStopped | GroupError::StoreFailed => Maybe,
    });
}

#[test]
fn errors_of_validation() {
    let malformed = || CompressionError::Malformed { codec: Compression::Gzip, reason: String::new() };
    let records = |kind| ValidateError::Records { kind, errors: Vec::new(), message: String::new() };
    let table = [
        (ValidateError::Empty, 87),
        (ValidateError::NotOneBatch, 87),
        (ValidateError::Magic(1), 87),
        (ValidateError::BaseOffset(5), 87),
        (ValidateError::OffsetRange { last_offset_delta: 3, record_count: 1 }, 87),
        (ValidateError::Control, 87),
        (ValidateError::SequenceWithoutProducer(-1), 87),
        (ValidateError::Decompress(malformed()), 87),
        (ValidateError::MalformedRecord { index: 0, error: RecordError::Truncated }, 87),
        (ValidateError::RecordCount { declared: 2 }, 87),
        (ValidateError::OffsetDelta { index: 0, found: 1 }, 87),
        (records(RecordErrorKind::InvalidRecord), 87),
        (records(RecordErrorKind::InvalidTimestamp), 32),
        (ValidateError::TimestampTypeFromClient, 32),
        (ValidateError::TooLarge { size: 2, max: 1 }, 10),
        (ValidateError::DecompressedTooLarge { max: 1 }, 10),
        (ValidateError::UnsupportedCompression(7), 76),
        (ValidateError::Recompress(malformed()), 76),
    ];
    // Damage on the way is the one fault that sending again can mend.
    let retried = [(ValidateError::Corrupt("crc"), 2, Retry, No)];
    let table = table.into_iter().map(|(error, code)| (error, code, GiveUp, No)).chain(retried);
    check(&table.collect::<Vec<_>>(), 18, |error| match error {
        ValidateError::Empty
        | ValidateError::NotOneBatch
        | ValidateError::Magic(_)
        | ValidateError::BaseOffset(_)
        | ValidateError::OffsetRange { .. }
        | ValidateError::Control
        | ValidateError::SequenceWithoutProducer(_)
        | ValidateError::Decompress(_)
        | ValidateError::MalformedRecord { .. }
        | ValidateError::RecordCount { .. }
        | ValidateError::OffsetDelta { .. }
        | ValidateError::Records { .. }
        | ValidateError::TimestampTypeFromClient
        | ValidateError::TooLarge { .. }
        | ValidateError::DecompressedTooLarge { .. }
        | ValidateError::UnsupportedCompression(_)
        | ValidateError::Recompress(_)
        | ValidateError::Corrupt(_) => No,
    });
}

#[test]
fn errors_of_client_metrics() {
    let table = [
        (TelemetryError::Throttled, 89, Retry, No),
        (TelemetryError::InvalidInstance, 42, GiveUp, No),
        (TelemetryError::Terminated, 42, GiveUp, No),
        // It asks for its subscription again.
        (TelemetryError::UnknownSubscription, 117, GiveUp, No),
        (TelemetryError::UnsupportedCompression, 76, GiveUp, No),
        (TelemetryError::TooLarge, 118, GiveUp, No),
        (TelemetryError::Malformed, 87, GiveUp, No),
    ];
    check(&table, 7, |error| match error {
        TelemetryError::Throttled
        | TelemetryError::InvalidInstance
        | TelemetryError::Terminated
        | TelemetryError::UnknownSubscription
        | TelemetryError::UnsupportedCompression
        | TelemetryError::TooLarge
        | TelemetryError::Malformed => No,
    });
}
