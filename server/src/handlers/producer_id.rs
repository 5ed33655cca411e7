//! InitProducerId: ids for idempotent and transactional producers (KIP-98, KIP-360).
//!
//! Without a transactional id the answer is always a fresh id with epoch 0, whatever the client had before, as in
//! Kafka (`TransactionCoordinator.handleInitProducerId`): nobody remembers who holds which id, so raising the epoch of
//! one would let a client fence another. Idempotent clients raise their epoch by themselves (KIP-360). With one, the
//! transaction coordinator decides.

use chronik_protocol::codec::messages::{InitProducerIdRequest, InitProducerIdResponse};
use chronik_protocol::message;

use super::transactions;
use crate::coordinator::txn::InitRequest;
use crate::error_code::ErrorCode;
use crate::request::RequestContext;

/// "None" on the wire.
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

/// First version that tells a producer that it was fenced (KIP-588).
const TELLS_FENCED: i16 = 4;

/// Answers InitProducerId.
pub async fn handle(ctx: &RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let (error, producer_id, epoch) = match init(ctx, &request).await {
        Ok((producer_id, epoch)) => (ErrorCode::None, producer_id, epoch),
        Err(error) => (error, NO_PRODUCER_ID, NO_PRODUCER_EPOCH),
    };
    ctx.broker.metrics.error(error);
    message!(InitProducerIdResponse {
        error_code: error.code(),
        producer_id: producer_id,
        producer_epoch: epoch,
    })
}

async fn init(ctx: &RequestContext, request: &InitProducerIdRequest) -> Result<(i64, i16), ErrorCode> {
    if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == NO_PRODUCER_EPOCH) {
        return Err(ErrorCode::InvalidRequest);
    }
    let Some(transactional_id) = &request.transactional_id else {
        let allocated = ctx.broker.engine.allocate_producer_id().await;
        return allocated.map(|id| (id, 0)).map_err(|error| ErrorCode::from(&error));
    };
    let own =
        (request.producer_id != NO_PRODUCER_ID).then_some((request.producer_id, request.producer_epoch));
    let request = InitRequest {
        transactional_id: (&**transactional_id).into(),
        timeout_ms: request.transaction_timeout_ms,
        own,
        fresh: None,
    };
    let producer = ctx.broker.txns.init(request).await;
    let producer = producer.map_err(|error| transactions::code(&error, ctx.api_version >= TELLS_FENCED))?;
    Ok((producer.id, producer.epoch_or_none()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::handlers::testing;

    fn request(producer_id: i64, producer_epoch: i16) -> InitProducerIdRequest {
        message!(InitProducerIdRequest {
            transactional_id: None,
            producer_id: producer_id,
            producer_epoch: producer_epoch,
        })
    }

    // semantics 3.3.7
    #[tokio::test]
    async fn every_producer_id_is_new_and_its_epoch_zero_even_after_a_restart() {
        let mut ctx = testing::context().await;
        let mut seen = HashSet::new();
        for round in 0..3 {
            for _ in 0..5 {
                let answer = handle(&ctx, request(-1, -1)).await;
                assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
                assert!(seen.insert(answer.producer_id), "{} again in round {round}", answer.producer_id);
            }
            ctx = ctx.restarted().await;
        }
    }

    #[tokio::test]
    async fn a_client_that_has_an_id_gets_a_new_one_and_fences_nobody() {
        let ctx = testing::context().await.with_version(4);
        let first = handle(&ctx, request(-1, -1)).await;
        let again = handle(&ctx, request(first.producer_id, 3)).await;
        assert_eq!((again.error_code, again.producer_epoch), (0, 0));
        assert_ne!(again.producer_id, first.producer_id);
    }

    #[tokio::test]
    async fn an_id_without_an_epoch_is_an_invalid_request() {
        let ctx = testing::context().await.with_version(4);
        for (producer_id, epoch) in [(5, -1), (-1, 5)] {
            let answer = handle(&ctx, request(producer_id, epoch)).await;
            assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
            assert_eq!((answer.producer_id, answer.producer_epoch), (-1, -1));
        }
    }
}
