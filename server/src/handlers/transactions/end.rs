//! EndTxn (KIP-98; from version 5 on KIP-890: the answer tells the producer who it is from here on).

use chronik_protocol::codec::messages::{EndTxnRequest, EndTxnResponse};
use chronik_protocol::message;

use super::{TELLS_FENCED, asker, code};
use crate::coordinator::txn::EndRequest;
use crate::error_code::ErrorCode;
use crate::request::RequestContext;

/// First version whose transactions raise the epoch at each end.
const RAISES_EPOCHS: i16 = 5;
/// "None" on the wire.
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

/// EndTxn.
pub async fn handle(ctx: &RequestContext, request: EndTxnRequest) -> EndTxnResponse {
    let raises_epochs = ctx.api_version >= RAISES_EPOCHS;
    let asker = asker(&request.transactional_id, request.producer_id, request.producer_epoch, raises_epochs);
    let ended = ctx.broker.txns.end(EndRequest { asker, commit: request.committed, fresh: None }).await;
    let error =
        ended.as_ref().err().map_or(ErrorCode::None, |error| code(error, ctx.api_version >= TELLS_FENCED));
    ctx.broker.metrics.error(error);
    let (producer_id, producer_epoch) = match ended {
        Ok(producer) if raises_epochs => (producer.id, producer.epoch_or_none()),
        _ => (NO_PRODUCER_ID, NO_PRODUCER_EPOCH),
    };
    message!(EndTxnResponse {
        error_code: error.code(),
        producer_id: producer_id,
        producer_epoch: producer_epoch,
    })
}
