//! The API table: one line per Kafka API that this broker serves. Dispatch, ApiVersions, metric labels and the
//! documentation are all made from it; what is not in it is not advertised and closes the connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chronik_protocol::codec::{self, messages};
use chronik_protocol::frame::RequestPreamble;

use tracing::Instrument;

use crate::broker::{Broker, ListenerInfo};
use crate::handlers;
use crate::net::{BODY_BYTES_MAX, Hold, Reply};
use crate::request::{ClientSoftware, ReplyFuture, RequestContext, RequestError};

const PRODUCE: i16 = 0;
const API_VERSIONS: i16 = 18;

/// One served API.
pub struct Api {
    /// Kafka's number.
    pub key: i16,
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest version served.
    pub min_version: i16,
    /// Highest version served.
    pub max_version: i16,
    /// Whether a request may start before the answer to the one before it was written. True for Produce alone, whose
    /// waiting is all behind its append.
    pub pipelined: bool,
    /// Starts the work, and keeps what the request holds for as long as it needs it.
    pub start: fn(RequestContext, Bytes, Hold) -> ReplyFuture,
}

/// A table line: `api!(key, Name, min..=max, handler)` decodes `NameRequest`, awaits `handler(&ctx, request)` and
/// encodes its response. A handler that waits for other clients is marked `waits`, is given what the request holds as
/// well, and drops it with the request before it waits. A function cannot do this: the handler's future borrows the
/// context and must be `Send`.
macro_rules! api {
    ($key:literal, $name:ident, $request:ident, $min:literal..=$max:literal, $handler:path) => {
        api!($key, $name, $request, $min..=$max, |ctx, request, hold| {
            let response = $handler(&ctx, request).await;
            drop(hold);
            response
        })
    };
    ($key:literal, $name:ident, $request:ident, $min:literal..=$max:literal, waits $handler:path) => {
        api!($key, $name, $request, $min..=$max, |ctx, request, hold| $handler(&ctx, request, hold).await)
    };
    ($key:literal, $name:ident, $request:ident, $min:literal..=$max:literal,
     |$ctx:ident, $decoded:ident, $hold:ident| $work:expr) => {
        Api {
            key: $key,
            name: stringify!($name),
            min_version: $min,
            max_version: $max,
            pipelined: false,
            start: |mut $ctx, body, $hold| {
                Box::pin(async move {
                    let $decoded = codec::decode_body::<messages::$request>(body, $ctx.api_version)
                        .map_err(RequestError::Decode)?;
                    $ctx.detach();
                    let response = $work;
                    let frame = codec::encode_response($ctx.correlation_id, &response, $ctx.api_version)
                        .map_err(RequestError::Encode)?;
                    Ok(Reply::frame(frame))
                })
            },
        }
    };
}

/// Every API served, by key. Version ranges are those of Kafka 4.3.
pub static APIS: &[Api] = &[
    Api {
        key: 0,
        name: "Produce",
        min_version: 3,
        max_version: 13,
        pipelined: true,
        start: handlers::produce::start,
    },
    Api {
        key: 1,
        name: "Fetch",
        min_version: 4,
        max_version: 18,
        pipelined: false,
        start: handlers::fetch::start,
    },
    api!(2, ListOffsets, ListOffsetsRequest, 1..=11, handlers::list_offsets::handle),
    api!(3, Metadata, MetadataRequest, 0..=13, handlers::metadata::handle),
    api!(8, OffsetCommit, OffsetCommitRequest, 2..=10, handlers::group_offsets::commit),
    api!(9, OffsetFetch, OffsetFetchRequest, 1..=10, handlers::group_offsets::fetch),
    api!(10, FindCoordinator, FindCoordinatorRequest, 0..=6, handlers::groups::find_coordinator),
    api!(11, JoinGroup, JoinGroupRequest, 0..=9, waits handlers::groups::join),
    api!(12, Heartbeat, HeartbeatRequest, 0..=4, handlers::groups::heartbeat),
    api!(13, LeaveGroup, LeaveGroupRequest, 0..=5, handlers::groups::leave),
    api!(14, SyncGroup, SyncGroupRequest, 0..=5, waits handlers::groups::sync),
    api!(15, DescribeGroups, DescribeGroupsRequest, 0..=6, handlers::groups::describe),
    api!(16, ListGroups, ListGroupsRequest, 0..=5, handlers::groups::list),
    api!(18, ApiVersions, ApiVersionsRequest, 0..=4, handlers::api_versions::handle),
    api!(19, CreateTopics, CreateTopicsRequest, 2..=7, handlers::topics::create),
    api!(20, DeleteTopics, DeleteTopicsRequest, 1..=6, handlers::topics::delete),
    api!(21, DeleteRecords, DeleteRecordsRequest, 0..=2, handlers::records::delete),
    api!(22, InitProducerId, InitProducerIdRequest, 0..=5, handlers::producer_id::handle),
    api!(
        23,
        OffsetForLeaderEpoch,
        OffsetForLeaderEpochRequest,
        2..=4,
        handlers::list_offsets::for_leader_epoch
    ),
    api!(24, AddPartitionsToTxn, AddPartitionsToTxnRequest, 0..=5, handlers::transactions::add_partitions),
    api!(25, AddOffsetsToTxn, AddOffsetsToTxnRequest, 0..=4, handlers::transactions::add_offsets),
    api!(26, EndTxn, EndTxnRequest, 0..=5, handlers::transactions::end),
    api!(27, WriteTxnMarkers, WriteTxnMarkersRequest, 1..=2, handlers::transactions::write_markers),
    api!(28, TxnOffsetCommit, TxnOffsetCommitRequest, 0..=5, handlers::transactions::commit_offsets),
    api!(32, DescribeConfigs, DescribeConfigsRequest, 1..=4, handlers::configs::describe),
    api!(33, AlterConfigs, AlterConfigsRequest, 0..=2, handlers::configs::alter),
    api!(34, AlterReplicaLogDirs, AlterReplicaLogDirsRequest, 1..=2, handlers::replicas::alter_log_dirs),
    api!(35, DescribeLogDirs, DescribeLogDirsRequest, 1..=5, handlers::cluster::describe_log_dirs),
    api!(37, CreatePartitions, CreatePartitionsRequest, 0..=3, handlers::topics::create_partitions),
    api!(42, DeleteGroups, DeleteGroupsRequest, 0..=2, handlers::groups::delete),
    api!(43, ElectLeaders, ElectLeadersRequest, 0..=2, handlers::replicas::elect_leaders),
    api!(
        44,
        IncrementalAlterConfigs,
        IncrementalAlterConfigsRequest,
        0..=1,
        handlers::configs::incremental_alter
    ),
    api!(
        45,
        AlterPartitionReassignments,
        AlterPartitionReassignmentsRequest,
        0..=1,
        handlers::replicas::reassign
    ),
    api!(
        46,
        ListPartitionReassignments,
        ListPartitionReassignmentsRequest,
        0..=0,
        handlers::replicas::list_reassignments
    ),
    api!(47, OffsetDelete, OffsetDeleteRequest, 0..=0, handlers::group_offsets::delete),
    api!(55, DescribeQuorum, DescribeQuorumRequest, 0..=2, handlers::quorum::describe),
    api!(57, UpdateFeatures, UpdateFeaturesRequest, 0..=2, handlers::features::update),
    api!(60, DescribeCluster, DescribeClusterRequest, 0..=2, handlers::cluster::describe),
    api!(61, DescribeProducers, DescribeProducersRequest, 0..=0, handlers::records::describe_producers),
    api!(64, UnregisterBroker, UnregisterBrokerRequest, 0..=0, handlers::quorum::unregister),
    api!(65, DescribeTransactions, DescribeTransactionsRequest, 0..=0, handlers::transactions::describe),
    api!(66, ListTransactions, ListTransactionsRequest, 0..=2, handlers::transactions::list),
    api!(
        71,
        GetTelemetrySubscriptions,
        GetTelemetrySubscriptionsRequest,
        0..=0,
        handlers::telemetry::subscriptions
    ),
    api!(72, PushTelemetry, PushTelemetryRequest, 0..=0, handlers::telemetry::push),
    api!(74, ListConfigResources, ListConfigResourcesRequest, 0..=1, handlers::configs::list_resources),
    api!(
        75,
        DescribeTopicPartitions,
        DescribeTopicPartitionsRequest,
        0..=0,
        handlers::metadata::describe_topic_partitions
    ),
    api!(80, AddRaftVoter, AddRaftVoterRequest, 0..=1, handlers::quorum::add_voter),
    api!(81, RemoveRaftVoter, RemoveRaftVoterRequest, 0..=0, handlers::quorum::remove_voter),
];

/// The table's line for a key.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, |api| api.key).ok().map(|index| &APIS[index])
}

/// A request that has been found to be well addressed, and has not started.
pub enum Prepared {
    /// One of the table.
    Request {
        /// Its line.
        api: &'static Api,
        /// Who asks.
        context: RequestContext,
        /// The body, undecoded.
        body: Bytes,
    },
    /// ApiVersions in a version nobody knows yet: the one case that is answered all the same.
    UnknownApiVersions {
        /// Matches the answer to the request.
        correlation_id: i32,
    },
}

impl Prepared {
    /// See [`Api::pipelined`].
    pub fn pipelined(&self) -> bool {
        match self {
            Prepared::Request { api, .. } => api.pipelined,
            Prepared::UnknownApiVersions { .. } => false,
        }
    }

    /// Bytes of the body, undecoded.
    pub fn body_bytes(&self) -> usize {
        match self {
            Prepared::Request { body, .. } => body.len(),
            Prepared::UnknownApiVersions { .. } => 0,
        }
    }

    /// Partitions of a Produce; `None` for every other API.
    pub fn produce_partitions(&self) -> Option<usize> {
        match self {
            Prepared::Request { api, context, body } if api.key == PRODUCE => {
                Some(codec::produce_partitions(body, context.api_version))
            }
            Prepared::Request { .. } | Prepared::UnknownApiVersions { .. } => None,
        }
    }

    /// Does the part whose order matters, and returns the rest.
    pub fn start(self, hold: Hold) -> ReplyFuture {
        match self {
            Prepared::Request { api, context, body } => {
                let span = tracing::debug_span!(
                    "request",
                    api = api.name,
                    version = context.api_version,
                    client = context.client_id(),
                    correlation_id = context.correlation_id,
                );
                if span.is_disabled() {
                    return (api.start)(context, body, hold);
                }
                let reply = span.in_scope(|| (api.start)(context, body, hold));
                Box::pin(reply.instrument(span))
            }
            Prepared::UnknownApiVersions { correlation_id } => {
                let frame = handlers::api_versions::unsupported(correlation_id);
                Box::pin(std::future::ready(Ok(Reply::frame(frame))))
            }
        }
    }
}

/// Reads a frame's header and finds its line.
///
/// # Errors
/// [`RequestError`], for which Kafka closes the connection: an unknown API, a version outside its range, a header
/// that cannot be decoded. And one for which Kafka would not: a body that nobody sends.
pub fn prepare(
    broker: &Arc<Broker>,
    listener: &Arc<ListenerInfo>,
    client_addr: SocketAddr,
    software: &Arc<OnceLock<ClientSoftware>>,
    mut frame: Bytes,
) -> Result<Prepared, RequestError> {
    let preamble = RequestPreamble::parse(&frame).map_err(RequestError::Frame)?;
    let (key, version) = (preamble.api_key, preamble.api_version);
    let api = find(key).ok_or(RequestError::UnknownApi(key))?;
    if version < api.min_version || version > api.max_version {
        if key == API_VERSIONS {
            return Ok(Prepared::UnknownApiVersions { correlation_id: preamble.correlation_id });
        }
        return Err(RequestError::UnsupportedVersion { api: api.name, version });
    }
    let header = codec::decode_request_header(&mut frame).map_err(RequestError::Decode)?;
    if key != PRODUCE && frame.len() > BODY_BYTES_MAX {
        return Err(RequestError::TooLong { api: api.name, bytes: frame.len(), max_bytes: BODY_BYTES_MAX });
    }
    broker.metrics.request_received(api.key);
    let context = RequestContext {
        broker: broker.clone(),
        listener: listener.clone(),
        client_addr,
        software: software.clone(),
        client_id: header.client_id,
        api_version: version,
        correlation_id: header.correlation_id,
        received: std::time::Instant::now(),
    };
    Ok(Prepared::Request { api, context, body: frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_within_the_codec() {
        assert!(APIS.is_sorted_by_key(|api| api.key));
        for api in APIS {
            assert!(api.min_version <= api.max_version, "{}", api.name);
            let versions = codec::supported_versions(api.key).expect("the codec knows every API served");
            assert!(
                versions.0 <= api.min_version && api.max_version <= versions.1,
                "{}: {versions:?}",
                api.name
            );
        }
    }
}
