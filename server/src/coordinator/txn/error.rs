//! Why an operation on a transaction was refused. Which code that is on the wire is said in `crate::error_code` alone.

/// Why an operation on a transaction was refused. Nothing was written, unless the variant says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TxnError {
    /// The transactional id is empty, or too long to be stored; or so is the group's, or there are too many groups.
    #[error("the transactional id is empty or too long, or the group's is, or there are too many groups")]
    InvalidRequest,
    /// The timeout is not above zero, or above `transaction.max.timeout.ms`.
    #[error("the transaction timeout is not within 1 ms and transaction.max.timeout.ms")]
    InvalidTimeout,
    /// The producer id is not the transactional id's.
    #[error("the producer id is not the transactional id's")]
    InvalidProducerIdMapping,
    /// Another producer has taken the transactional id over.
    #[error("another producer has taken the transactional id over")]
    ProducerFenced,
    /// The transaction is ending; ask again.
    #[error("the transaction is ending; ask again")]
    Ending,
    /// The transaction is not in a state for this.
    #[error("the transaction is not in a state for this")]
    InvalidState,
    /// The transaction does not include what is written to.
    #[error("the transaction does not include it")]
    NotIncluded,
    /// The store failed while the answer waited: what was asked for may or may not have been written.
    #[error("the coordinator could not store the change")]
    StoreFailed,
    /// The coordinator stops. The transaction's end may have been decided, and is then carried out at the next start.
    #[error("the coordinator has stopped")]
    Stopped,
}
