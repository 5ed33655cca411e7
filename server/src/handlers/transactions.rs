//! Transactions: AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn, and what administrators ask and do.
//!
//! Topics and partitions are found here; whether a transaction may go on is the coordinator's decision. Older versions of
//! most of these call a fenced producer one with an invalid epoch.

mod end;
mod inspect;
mod markers;
mod offsets;
mod partitions;

pub use end::handle as end;
pub use inspect::{describe, list};
pub use markers::write as write_markers;
pub use offsets::{add as add_offsets, commit as commit_offsets};
pub use partitions::add as add_partitions;

use crate::coordinator::txn::{Asker, TxnError};
use crate::error_code::ErrorCode;

/// First version of AddPartitionsToTxn, AddOffsetsToTxn and EndTxn that tells a producer that it was fenced (KIP-588).
const TELLS_FENCED: i16 = 2;

fn asker(transactional_id: &str, producer_id: i64, producer_epoch: i16, raises_epochs: bool) -> Asker {
    Asker { transactional_id: transactional_id.into(), producer_id, producer_epoch, raises_epochs }
}

/// The code of an error for a client that may not know PRODUCER_FENCED.
pub(super) fn code(error: &TxnError, knows_fenced: bool) -> ErrorCode {
    match ErrorCode::from(error) {
        ErrorCode::ProducerFenced if !knows_fenced => ErrorCode::InvalidProducerEpoch,
        code => code,
    }
}
