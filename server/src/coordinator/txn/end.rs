//! The end of a transaction: EndTxn of both versions, the fence of a new owner, and what follows once the decision was
//! carried out. Kafka's `TransactionCoordinator.endTransaction` and `endTransactionWithTV1`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::state::{LAST_EPOCH, Producer, Txn, TxnState};
use super::{Asker, Record, Transactions, TxnError};

/// EndTxn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndRequest {
    /// Who ends it.
    pub asker: Asker,
    /// Whether it commits.
    pub commit: bool,
    /// A producer id that nobody has had, for when one is needed.
    pub fresh: Option<i64>,
}

/// What EndTxn led to. The producer is what the client goes on as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The end is decided and has to be carried out.
    Prepared(Producer),
    /// It had ended like that before.
    Already(Producer),
    /// Ask again with a fresh producer id.
    NeedsProducerId,
}

/// What the state allows.
enum Verdict {
    End,
    /// Version 2 may abort when nothing was written: the epoch is raised all the same.
    EndOfNothing,
    Already,
}

impl Transactions {
    /// EndTxn.
    ///
    /// # Errors
    /// [`TxnError::InvalidRequest`], [`TxnError::InvalidProducerIdMapping`], [`TxnError::ProducerFenced`],
    /// [`TxnError::Ending`], [`TxnError::InvalidState`].
    pub fn end(
        &mut self,
        now_ms: i64,
        request: &EndRequest,
        records: &mut Vec<Record>,
    ) -> Result<Ended, TxnError> {
        let asker = &request.asker;
        if asker.transactional_id.is_empty() {
            return Err(TxnError::InvalidRequest);
        }
        let txn = self.by_id.get(&asker.transactional_id).ok_or(TxnError::InvalidProducerIdMapping)?;
        let verdict = if asker.raises_epochs {
            judge_version_2(txn, asker, request.commit)?
        } else {
            judge_version_1(txn, asker, request.commit)?
        };
        let begun_now = match verdict {
            Verdict::Already => return Ok(Ended::Already(txn.producer)),
            Verdict::End => false,
            Verdict::EndOfNothing => true,
        };
        let next_producer_id = match (txn.producer.is_exhausted() && asker.raises_epochs, request.fresh) {
            (false, _) => None,
            (true, None) => return Ok(Ended::NeedsProducerId),
            (true, fresh) => fresh,
        };
        let mut ending = prepared(txn, now_ms, request.commit, asker.raises_epochs);
        ending.next_producer_id = next_producer_id;
        if begun_now {
            ending.started_ms = Some(now_ms);
        }
        let producer = replaced(&ending);
        self.commit(&asker.transactional_id, ending, records);
        Ok(Ended::Prepared(producer))
    }

    /// Raises the epoch of an open transaction's producer, so that whatever it still sends is refused, and decides the
    /// abort.
    pub(super) fn fence_and_abort(&mut self, now_ms: i64, id: &Arc<str>, records: &mut Vec<Record>) {
        let Some(txn) = self.by_id.get(id) else { return };
        // Once, in both versions: whoever had the epoch may ask how its transaction ended, and goes on from the next.
        let ending = Txn { raises_epochs: txn.raises_epochs, ..prepared(txn, now_ms, false, true) };
        self.commit(id, ending, records);
    }

    /// The decision was carried out.
    pub fn complete(&mut self, now_ms: i64, id: &Arc<str>, records: &mut Vec<Record>) {
        let Some(txn) = self.by_id.get(id) else { return };
        let state = match txn.state {
            TxnState::PrepareCommit => TxnState::CompleteCommit,
            TxnState::PrepareAbort => TxnState::CompleteAbort,
            TxnState::Empty | TxnState::Ongoing | TxnState::CompleteCommit | TxnState::CompleteAbort => {
                return;
            }
        };
        let complete = Txn {
            state,
            producer: replaced(txn),
            next_producer_id: None,
            updated_ms: now_ms,
            partitions: BTreeSet::new(),
            groups: BTreeMap::new(),
            ..txn.clone()
        };
        self.commit(id, complete, records);
    }
}

fn prepared(txn: &Txn, now_ms: i64, commit: bool, raises_epochs: bool) -> Txn {
    let mut producer = txn.producer;
    if raises_epochs {
        producer = producer.raised();
    }
    Txn {
        state: if commit { TxnState::PrepareCommit } else { TxnState::PrepareAbort },
        producer,
        updated_ms: now_ms,
        raises_epochs,
        ..txn.clone()
    }
}

/// The producer once the transaction is complete.
fn replaced(txn: &Txn) -> Producer {
    match txn.next_producer_id {
        Some(id) => Producer {
            id,
            epoch: Some(0),
            last_epoch: txn.producer.last_epoch,
            previous_id: Some(txn.producer.id),
        },
        None => txn.producer,
    }
}

fn judge_version_1(txn: &Txn, asker: &Asker, commit: bool) -> Result<Verdict, TxnError> {
    if txn.producer.id != asker.producer_id {
        return Err(TxnError::InvalidProducerIdMapping);
    }
    if txn.producer.epoch != Some(asker.producer_epoch) {
        return Err(TxnError::ProducerFenced);
    }
    match (txn.state, commit) {
        (TxnState::Ongoing, _) => Ok(Verdict::End),
        (TxnState::CompleteCommit, true) | (TxnState::CompleteAbort, false) => Ok(Verdict::Already),
        (state, commit) => Err(refusal(state, commit)),
    }
}

/// What an end is told that the state does not allow: to wait for one of its kind, or that it is a mistake.
fn refusal(state: TxnState, commit: bool) -> TxnError {
    match (state, commit) {
        (TxnState::PrepareCommit, true) | (TxnState::PrepareAbort, false) => TxnError::Ending,
        _ => TxnError::InvalidState,
    }
}

/// Every end raises the epoch, so the epoch tells a repeat from the end of the next transaction.
fn judge_version_2(txn: &Txn, asker: &Asker, commit: bool) -> Result<Verdict, TxnError> {
    let current = txn.producer.epoch_or_none();
    let own = asker.producer_epoch;
    let id_was_replaced =
        txn.producer.previous_id == Some(asker.producer_id) && own == LAST_EPOCH && current == 0;
    if txn.producer.id != asker.producer_id && !id_was_replaced {
        return Err(TxnError::InvalidProducerIdMapping);
    }
    let was_raised = own.checked_add(1) == Some(current);
    let is_repeat = was_raised || id_was_replaced;
    let is_known = match txn.state {
        TxnState::Ongoing | TxnState::Empty => own == current,
        TxnState::PrepareCommit | TxnState::PrepareAbort => was_raised,
        TxnState::CompleteCommit | TxnState::CompleteAbort => is_repeat || own == current,
    };
    if !is_known {
        return Err(TxnError::ProducerFenced);
    }
    match (txn.state, commit) {
        (TxnState::Ongoing, _) => Ok(Verdict::End),
        (TxnState::CompleteCommit, true) | (TxnState::CompleteAbort, false) if is_repeat => {
            Ok(Verdict::Already)
        }
        (TxnState::Empty, false) => Ok(Verdict::EndOfNothing),
        (TxnState::CompleteCommit | TxnState::CompleteAbort, false) if !is_repeat => {
            Ok(Verdict::EndOfNothing)
        }
        (state, commit) => Err(refusal(state, commit)),
    }
}
