//! InitProducerId: a producer takes a transactional id over, and fences whoever had it (Kafka's
//! `prepareInitProducerIdTransit`).

use std::sync::Arc;

use super::state::{LAST_EPOCH, Producer, Txn, TxnState};
use super::{Record, Transactions, TxnError};
use crate::coordinator::limits::TRANSACTIONAL_ID_BYTES_MAX;

/// InitProducerId with a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitRequest {
    /// The transactional id.
    pub transactional_id: Arc<str>,
    /// How long its transactions may be open, ms.
    pub timeout_ms: i32,
    /// The producer id and epoch that the client has, if it wants its epoch raised (KIP-360).
    pub own: Option<(i64, i16)>,
    /// A producer id that nobody has had, for when one is needed.
    pub fresh: Option<i64>,
}

/// What InitProducerId led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialized {
    /// The producer may begin.
    Ready(Producer),
    /// A transaction of the one before is aborted first; ask again.
    Aborting,
    /// Ask again with a fresh producer id.
    NeedsProducerId,
}

impl Transactions {
    /// InitProducerId.
    ///
    /// # Errors
    /// [`TxnError::InvalidRequest`], [`TxnError::InvalidTimeout`], [`TxnError::ProducerFenced`], [`TxnError::Ending`].
    pub fn init(
        &mut self,
        now_ms: i64,
        request: &InitRequest,
        records: &mut Vec<Record>,
    ) -> Result<Initialized, TxnError> {
        let id = &request.transactional_id;
        if id.is_empty() || id.len() > TRANSACTIONAL_ID_BYTES_MAX {
            return Err(TxnError::InvalidRequest);
        }
        if !(1..=self.config.max_timeout_ms).contains(&request.timeout_ms) {
            return Err(TxnError::InvalidTimeout);
        }
        let known = match self.by_id.get(id) {
            Some(known) => known.clone(),
            None => match request.fresh {
                Some(producer_id) => Txn::new(producer_id, request.timeout_ms, now_ms),
                None => return Ok(Initialized::NeedsProducerId),
            },
        };
        if let Some(own) = request.own
            && !may_own(&known.producer, own)
        {
            return Err(TxnError::ProducerFenced);
        }
        match known.state {
            TxnState::PrepareCommit | TxnState::PrepareAbort => Err(TxnError::Ending),
            TxnState::Ongoing => {
                self.fence_and_abort(now_ms, id, records);
                Ok(Initialized::Aborting)
            }
            TxnState::Empty | TxnState::CompleteCommit | TxnState::CompleteAbort => {
                let Some(producer) = next_producer(&known.producer, request)? else {
                    return Ok(Initialized::NeedsProducerId);
                };
                let txn = Txn {
                    producer,
                    raises_epochs: known.raises_epochs,
                    ..Txn::new(producer.id, request.timeout_ms, now_ms)
                };
                self.commit(id, txn, records);
                Ok(Initialized::Ready(producer))
            }
        }
    }
}

/// Whether whoever had `own` can be the producer, as far as the id tells.
fn may_own(producer: &Producer, own: (i64, i16)) -> bool {
    producer.epoch.is_none()
        || own.0 == producer.id
        // It was not told that its epochs were used up and its id was replaced.
        || (producer.previous_id == Some(own.0) && own.1 >= LAST_EPOCH)
}

/// The producer that begins; none when it needs an id that is not there.
fn next_producer(current: &Producer, request: &InitRequest) -> Result<Option<Producer>, TxnError> {
    let own_epoch = request.own.map(|(_, epoch)| epoch);
    // A fence takes the epoch behind the last one, which nobody is ever given.
    let is_spent = current.epoch.is_some_and(|epoch| epoch > LAST_EPOCH);
    let may_be_replaced = own_epoch
        .is_none_or(|own| current.epoch == Some(own) || (is_spent && current.last_epoch == Some(own)));
    if current.is_exhausted() && may_be_replaced {
        return Ok(request.fresh.map(|id| Producer {
            id,
            epoch: Some(0),
            last_epoch: own_epoch.and(current.epoch),
            previous_id: Some(current.id),
        }));
    }
    let raised = current.raised();
    match own_epoch {
        None => Ok(Some(Producer { last_epoch: None, ..raised })),
        Some(own) if current.epoch.is_none_or(|epoch| epoch == own) => Ok(Some(raised)),
        // It was raised already, and the answer did not arrive.
        Some(own) if current.last_epoch == Some(own) => Ok(Some(*current)),
        Some(_) => Err(TxnError::ProducerFenced),
    }
}
