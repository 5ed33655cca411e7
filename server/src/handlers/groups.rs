//! Group membership: FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups,
//! DeleteGroups.
//!
//! What is decided is decided by the coordinator; here requests of every version become its requests, and its replies
//! become responses of that version. Bytes that a group keeps are copied out of the request, so that a member does
//! not hold on to a connection's buffer for as long as it lives.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::codec::StrBytes;
use chronik_protocol::codec::messages::delete_groups_response::DeletableGroupResult;
use chronik_protocol::codec::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use chronik_protocol::codec::messages::find_coordinator_response::Coordinator;
use chronik_protocol::codec::messages::join_group_response::JoinGroupResponseMember;
use chronik_protocol::codec::messages::leave_group_response::MemberResponse;
use chronik_protocol::codec::messages::list_groups_response::ListedGroup;
use chronik_protocol::codec::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use chronik_protocol::message;
use futures_util::future::join_all;
use uuid::Uuid;

use super::authorized_operations;
use super::distinct::distinct;
use crate::coordinator::group::{self, GroupDescription, GroupError, JoinReply, LeavingMember, SyncReply};
use crate::error_code::ErrorCode;
use crate::net::Hold;
use crate::request::RequestContext;

/// Kafka's `CoordinatorType`.
const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;

/// FindCoordinator from which on several keys are asked for at once.
const BATCHED_KEYS: i16 = 4;
/// JoinGroup 0 has no rebalance timeout.
const REBALANCE_TIMEOUT: i16 = 1;
/// JoinGroup from which on dynamic members are given their id first (KIP-394).
const KNOWN_MEMBER_REQUIRED: i16 = 4;
/// JoinGroup from which on "no protocol" is null.
const NULL_PROTOCOL: i16 = 7;
/// JoinGroup from which on a leader can be told not to assign (KIP-814).
const SKIP_ASSIGNMENT: i16 = 9;
/// SyncGroup from which on type and protocol are mandatory (KIP-559).
const MANDATORY_PROTOCOL: i16 = 5;
/// LeaveGroup from which on several members leave at once (KIP-345).
const BATCHED_LEAVE: i16 = 3;
/// DescribeGroups from which on a group that is not there is an error (KIP-1043).
const UNKNOWN_GROUP_IS_ERROR: i16 = 6;

fn shared(text: &StrBytes) -> Arc<str> {
    Arc::from(&**text)
}

fn shared_option(text: &Option<StrBytes>) -> Option<Arc<str>> {
    text.as_ref().map(shared)
}

fn wire(text: &str) -> StrBytes {
    StrBytes::from(text)
}

fn wire_option(text: &Option<Arc<str>>) -> Option<StrBytes> {
    text.as_deref().map(StrBytes::from)
}

fn code<T>(outcome: &Result<T, GroupError>) -> i16 {
    outcome.as_ref().map_or_else(|error| ErrorCode::from(error).code(), |_| ErrorCode::None.code())
}

/// FindCoordinator: this node, for every group and transactional id.
pub async fn find_coordinator(
    ctx: &RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let found = matches!(request.key_type, GROUP_KEY | TRANSACTION_KEY);
    let node_id = if found { ctx.broker.config.node.node_id } else { -1 };
    let host = if found { wire(&ctx.listener.advertised_host) } else { StrBytes::default() };
    let port = if found { i32::from(ctx.listener.advertised_port) } else { -1 };
    let error = if found { ErrorCode::None } else { ErrorCode::InvalidRequest };
    if ctx.api_version < BATCHED_KEYS {
        let text = if found { "NONE" } else { "This coordinator type is not served." };
        return message!(FindCoordinatorResponse {
            error_code: error.code(),
            error_message: Some(wire(text)),
            node_id: node_id,
            host: host,
            port: port,
        });
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        message!(Coordinator {
            key: key,
            node_id: node_id,
            host: host.clone(),
            port: port,
            error_code: error.code()
        })
    });
    message!(FindCoordinatorResponse { coordinators: coordinators.collect() })
}

/// JoinGroup; keeps nothing of the request while it waits for the other members.
pub async fn join(ctx: &RequestContext, request: JoinGroupRequest, hold: Hold) -> JoinGroupResponse {
    let version = ctx.api_version;
    let has_rebalance_timeout = version >= REBALANCE_TIMEOUT;
    let protocols = request.protocols.iter().map(|protocol| group::Protocol {
        name: shared(&protocol.name),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    let joining = group::JoinRequest {
        group_id: shared(&request.group_id),
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
        client_id: ctx.client_id().into(),
        client_host: format!("/{}", ctx.client_addr.ip()).into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if has_rebalance_timeout {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        protocol_type: shared(&request.protocol_type),
        protocols: protocols.collect(),
        require_known_member: version >= KNOWN_MEMBER_REQUIRED,
        can_skip_assignment: version >= SKIP_ASSIGNMENT,
        fresh: Uuid::nil(),
    };
    drop((request, hold));
    join_response(version, ctx.broker.groups.join(joining).await)
}

fn join_response(version: i16, reply: JoinReply) -> JoinGroupResponse {
    let no_protocol = if version >= NULL_PROTOCOL { None } else { Some(StrBytes::default()) };
    let joined = match reply {
        Ok(joined) => joined,
        Err(refused) => {
            return message!(JoinGroupResponse {
                error_code: ErrorCode::from(&refused.error).code(),
                generation_id: -1,
                protocol_name: no_protocol,
                member_id: wire(&refused.member_id),
            });
        }
    };
    let members = joined.members.into_iter().map(|member| {
        message!(JoinGroupResponseMember {
            member_id: wire(&member.member_id),
            group_instance_id: wire_option(&member.instance_id),
            metadata: member.metadata,
        })
    });
    message!(JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: wire_option(&joined.protocol_type),
        protocol_name: wire_option(&joined.protocol).or(no_protocol),
        leader: wire(&joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: wire(&joined.member_id),
        members: members.collect(),
    })
}

/// SyncGroup; keeps nothing of the request while it waits for the leader.
pub async fn sync(ctx: &RequestContext, request: SyncGroupRequest, hold: Hold) -> SyncGroupResponse {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if ctx.api_version >= MANDATORY_PROTOCOL && !names_protocol {
        return sync_response(Err(GroupError::InconsistentProtocol));
    }
    let assignments = request
        .assignments
        .iter()
        .map(|share| (shared(&share.member_id), Bytes::copy_from_slice(&share.assignment)));
    let syncing = group::SyncRequest {
        group_id: shared(&request.group_id),
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
        generation: request.generation_id,
        protocol_type: shared_option(&request.protocol_type),
        protocol: shared_option(&request.protocol_name),
        assignments: assignments.collect(),
    };
    drop((request, hold));
    sync_response(ctx.broker.groups.sync(syncing).await)
}

fn sync_response(reply: SyncReply) -> SyncGroupResponse {
    match reply {
        Ok(synced) => message!(SyncGroupResponse {
            protocol_type: wire_option(&synced.protocol_type),
            protocol_name: wire_option(&synced.protocol),
            assignment: synced.assignment,
        }),
        Err(error) => message!(SyncGroupResponse { error_code: ErrorCode::from(&error).code() }),
    }
}

/// Heartbeat.
pub async fn heartbeat(ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let outcome = ctx
        .broker
        .groups
        .heartbeat(group::HeartbeatRequest {
            group_id: shared(&request.group_id),
            member_id: shared(&request.member_id),
            instance_id: shared_option(&request.group_instance_id),
            generation: request.generation_id,
        })
        .await;
    message!(HeartbeatResponse { error_code: code(&outcome) })
}

/// LeaveGroup.
pub async fn leave(ctx: &RequestContext, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members: Vec<LeavingMember> = if ctx.api_version >= BATCHED_LEAVE {
        let leaving = request.members.iter().map(|member| LeavingMember {
            member_id: shared(&member.member_id),
            instance_id: shared_option(&member.group_instance_id),
        });
        leaving.collect()
    } else {
        vec![LeavingMember { member_id: shared(&request.member_id), instance_id: None }]
    };
    let asked = group::LeaveRequest { group_id: shared(&request.group_id), members: members.clone() };
    let outcomes = ctx.broker.groups.leave(asked).await;
    leave_response(ctx.api_version, &members, outcomes)
}

fn leave_response(
    version: i16,
    members: &[LeavingMember],
    outcomes: Result<Vec<Result<(), GroupError>>, GroupError>,
) -> LeaveGroupResponse {
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => return message!(LeaveGroupResponse { error_code: ErrorCode::from(&error).code() }),
    };
    if version < BATCHED_LEAVE {
        return message!(LeaveGroupResponse { error_code: outcomes.first().map_or(0, code) });
    }
    let members = members.iter().zip(&outcomes).map(|(member, outcome)| {
        message!(MemberResponse {
            member_id: wire(&member.member_id),
            group_instance_id: wire_option(&member.instance_id),
            error_code: code(outcome),
        })
    });
    message!(LeaveGroupResponse { members: members.collect() })
}

/// DescribeGroups.
pub async fn describe(ctx: &RequestContext, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let operations = if request.include_authorized_operations {
        authorized_operations::GROUP
    } else {
        authorized_operations::NOT_ASKED
    };
    let asked = distinct(&request.groups, |group_id| (*group_id).clone());
    let described = asked.map(|group_id| async {
        let description = ctx.broker.groups.describe(group_id).await;
        described_group(ctx.api_version, group_id, description, operations)
    });
    message!(DescribeGroupsResponse { groups: join_all(described).await })
}

fn described_group(
    version: i16,
    group_id: &StrBytes,
    description: Result<GroupDescription, GroupError>,
    operations: i32,
) -> DescribedGroup {
    let description = match description {
        Ok(description) => description,
        Err(GroupError::GroupNotFound) if version < UNKNOWN_GROUP_IS_ERROR => {
            return message!(DescribedGroup {
                group_id: group_id.clone(),
                group_state: wire("Dead"),
                authorized_operations: operations,
            });
        }
        Err(error) => {
            let unknown = error == GroupError::GroupNotFound;
            return message!(DescribedGroup {
                error_code: ErrorCode::from(&error).code(),
                error_message: unknown.then(|| format!("Group {group_id} not found.").into()),
                group_id: group_id.clone(),
                group_state: if unknown { wire("Dead") } else { StrBytes::default() },
            });
        }
    };
    let members = description.members.into_iter().map(|member| {
        message!(DescribedGroupMember {
            member_id: wire(&member.member_id),
            group_instance_id: wire_option(&member.instance_id),
            client_id: wire(&member.client_id),
            client_host: wire(&member.client_host),
            member_metadata: member.metadata,
            member_assignment: member.assignment,
        })
    });
    message!(DescribedGroup {
        group_id: group_id.clone(),
        group_state: wire(description.state),
        protocol_type: wire(&description.protocol_type),
        protocol_data: wire(&description.protocol),
        members: members.collect(),
        authorized_operations: operations,
    })
}

/// ListGroups.
pub async fn list(ctx: &RequestContext, request: ListGroupsRequest) -> ListGroupsResponse {
    let owned = |filter: &[StrBytes]| filter.iter().map(StrBytes::to_string).collect();
    match ctx.broker.groups.list(owned(&request.states_filter), owned(&request.types_filter)).await {
        Ok(listed) => {
            let groups = listed.iter().map(|group| {
                message!(ListedGroup {
                    group_id: wire(&group.group_id),
                    protocol_type: wire(&group.protocol_type),
                    group_state: wire(group.state),
                    group_type: wire(group.kind),
                })
            });
            message!(ListGroupsResponse { groups: groups.collect() })
        }
        Err(error) => message!(ListGroupsResponse { error_code: ErrorCode::from(&error).code() }),
    }
}

/// DeleteGroups. A name that is there twice is answered once, as in Kafka.
pub async fn delete(ctx: &RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let names: BTreeSet<&str> = request.groups_names.iter().map(|name| &**name).collect();
    let deleted = names.into_iter().map(|group_id| async move {
        let error = match ctx.broker.groups.delete(group_id).await {
            // Nor may a transaction bring its offsets back.
            Ok(()) => {
                let forgotten = ctx.broker.txns.forget_offsets(&group_id.into(), |_| true).await;
                forgotten.err().map_or(ErrorCode::None, |error| ErrorCode::from(&error))
            }
            Err(error) => ErrorCode::from(&error),
        };
        message!(DeletableGroupResult { group_id: wire(group_id), error_code: error.code() })
    });
    message!(DeleteGroupsResponse { results: join_all(deleted).await })
}

#[cfg(test)]
mod tests;
