//! WriteTxnMarkers: brokers end transactions on each other's partitions with it, and administrators those that hang
//! (`kafka-transactions.sh abort`). Only the latter come here.

use std::sync::Arc;

use chronik_engine::error::AppendError;
use chronik_engine::log::PartitionLog;
use chronik_engine::producer::Marker;
use chronik_protocol::codec::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use chronik_protocol::codec::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use chronik_protocol::codec::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use chronik_protocol::message;

use crate::error_code::ErrorCode;
use crate::handlers::lookup::{self, Place};
use crate::request::RequestContext;

/// First version of transactions in which a marker must have a newer epoch (KIP-890).
const RAISES_EPOCHS: i8 = 2;

/// WriteTxnMarkers; durable when this returns.
pub async fn write(ctx: &RequestContext, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for asked in &request.markers {
        let mut topics = Vec::with_capacity(asked.topics.len());
        for topic in &asked.topics {
            topics.push(write_to(ctx, &marker(asked), topic).await);
        }
        markers.push(message!(WritableTxnMarkerResult { producer_id: asked.producer_id, topics: topics }));
    }
    message!(WriteTxnMarkersResponse { markers: markers })
}

fn marker(asked: &WritableTxnMarker) -> Marker {
    Marker {
        producer_id: asked.producer_id,
        producer_epoch: asked.producer_epoch,
        coordinator_epoch: asked.coordinator_epoch,
        commit: asked.transaction_result,
        raises_epoch: asked.transaction_version >= RAISES_EPOCHS,
    }
}

async fn write_to(
    ctx: &RequestContext,
    marker: &Marker,
    topic: &WritableTxnMarkerTopic,
) -> WritableTxnMarkerTopicResult {
    let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
    for &index in &topic.partition_indexes {
        let error = match lookup::find(ctx, &topic.name, index) {
            Ok(Place::Log(log)) => append(ctx, &log, marker).await,
            // What a transaction does to groups ends with the transaction, which the coordinator alone can end.
            Ok(Place::Virtual) => ErrorCode::None,
            Err(error) => error,
        };
        ctx.broker.metrics.error(error);
        partitions.push(message!(WritableTxnMarkerPartitionResult {
            partition_index: index,
            error_code: error.code(),
        }));
    }
    message!(WritableTxnMarkerTopicResult { name: topic.name.clone(), partitions: partitions })
}

async fn append(ctx: &RequestContext, log: &Arc<PartitionLog>, marker: &Marker) -> ErrorCode {
    match log.append_marker(marker, ctx.broker.clock.now_ms()) {
        Ok(appended) => match appended.ticket.await {
            Ok(()) => ErrorCode::None,
            Err(error) => ErrorCode::from(&error),
        },
        Err(error @ AppendError::StaleProducerEpoch { .. }) => {
            tracing::info!(%error, "a marker was refused");
            ErrorCode::InvalidProducerEpoch
        }
        Err(error) => ErrorCode::from(&error),
    }
}
