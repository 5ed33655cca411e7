//! Requests and responses of every version, through a real coordinator.

use chronik_protocol::codec::messages::join_group_request::JoinGroupRequestProtocol;
use chronik_protocol::codec::messages::leave_group_request::MemberIdentity;
use chronik_protocol::codec::messages::sync_group_request::SyncGroupRequestAssignment;

use super::*;
use crate::coordinator::group::{JoinRefused, Joined, JoinedMember, Synced};
use crate::handlers::testing::{self, TestContext, encodes_in_every_version};

async fn context() -> TestContext {
    testing::context_with(&[("group.initial.rebalance.delay.ms", "0")]).await
}

async fn join(ctx: &RequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
    super::join(ctx, request, Hold::default()).await
}

async fn sync(ctx: &RequestContext, request: SyncGroupRequest) -> SyncGroupResponse {
    super::sync(ctx, request, Hold::default()).await
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    let protocol = message!(JoinGroupRequestProtocol {
        name: "range".into(),
        metadata: Bytes::from_static(b"\0\0\0\0\0\0")
    });
    message!(JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
    })
}

/// Joins and syncs one member; its id.
async fn stable_member(ctx: &TestContext) -> StrBytes {
    let joined = join(&ctx.with_version(3), join_request("")).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let share = message!(SyncGroupRequestAssignment {
        member_id: joined.member_id.clone(),
        assignment: Bytes::from_static(b"a")
    });
    let synced = sync(
        &ctx.with_version(3),
        message!(SyncGroupRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: joined.member_id.clone(),
            assignments: vec![share],
        }),
    )
    .await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"a"[..]));
    joined.member_id
}

// semantics 3.7.11
#[tokio::test]
async fn every_group_is_coordinated_here_under_the_listeners_address() {
    let ctx = context().await;
    let one =
        find_coordinator(&ctx.with_version(3), message!(FindCoordinatorRequest { key: "g".into() })).await;
    assert_eq!(
        (one.error_code, one.node_id, &*one.host, one.port),
        (0, testing::NODE, "broker.example", 19092)
    );
    let request = message!(FindCoordinatorRequest { coordinator_keys: vec!["a".into(), "".into()] });
    let many = find_coordinator(&ctx.with_version(6), request).await;
    let found: Vec<_> =
        many.coordinators.iter().map(|found| (&*found.key, found.node_id, found.error_code)).collect();
    assert_eq!(found, [("a", testing::NODE, 0), ("", testing::NODE, 0)]);
}

#[tokio::test]
async fn a_coordinator_of_another_type_is_an_invalid_request() {
    let ctx = context().await;
    let share = message!(FindCoordinatorRequest { key_type: 2, coordinator_keys: vec!["g:t:0".into()] });
    let answer = find_coordinator(&ctx.with_version(6), share).await;
    assert_eq!((answer.coordinators[0].error_code, answer.coordinators[0].node_id), (42, -1));
    let answer =
        find_coordinator(&ctx.with_version(3), message!(FindCoordinatorRequest { key_type: 9 })).await;
    assert_eq!((answer.error_code, answer.port), (42, -1));
}

#[tokio::test]
async fn from_version_4_on_a_member_is_given_its_id_first() {
    let ctx = context().await.with_version(9);
    let first = join(&ctx, join_request("")).await;
    assert_eq!((first.error_code, first.generation_id), (79, -1));
    assert!(first.member_id.starts_with("test-"));
    let second = join(&ctx, join_request(&first.member_id)).await;
    assert_eq!((second.error_code, &second.leader, second.members.len()), (0, &second.member_id, 1));
    assert_eq!(second.protocol_name.as_deref(), Some("range"));
    assert_eq!(second.member_id, first.member_id);
}

#[tokio::test]
async fn version_0_takes_the_session_timeout_for_the_rebalance_timeout() {
    let ctx = context().await;
    let mut request = join_request("");
    request.rebalance_timeout_ms = -1;
    assert_eq!(join(&ctx.with_version(0), request).await.error_code, 0);
    let stored = ctx.broker.groups.describe("g").await.unwrap();
    assert_eq!(stored.state, "CompletingRebalance");
}

#[tokio::test]
async fn refusals_have_kafkas_codes() {
    let ctx = context().await.with_version(9);
    type Change = fn(&mut JoinGroupRequest);
    let changes: [(Change, i16); 3] = [
        (|request| request.group_id = "".into(), 24),
        (|request| request.session_timeout_ms = 5_999, 26),
        (|request| request.protocols.clear(), 23),
    ];
    for (change, code) in changes {
        let mut request = join_request("");
        change(&mut request);
        assert_eq!(join(&ctx, request).await.error_code, code);
    }
    let stranger = join(&ctx, join_request("x")).await;
    assert_eq!((stranger.error_code, &*stranger.member_id), (25, "x"));
    let alive = message!(HeartbeatRequest { group_id: "g".into(), member_id: "x".into() });
    assert_eq!(heartbeat(&ctx, alive).await.error_code, 25);
}

#[tokio::test]
async fn from_version_5_on_sync_must_name_type_and_protocol() {
    let ctx = context().await;
    let member_id = stable_member(&ctx).await;
    let request = message!(SyncGroupRequest { group_id: "g".into(), generation_id: 1, member_id: member_id });
    assert_eq!(sync(&ctx.with_version(5), request.clone()).await.error_code, 23);
    let mut named = request;
    named.protocol_type = Some("consumer".into());
    named.protocol_name = Some("range".into());
    let synced = sync(&ctx.with_version(5), named).await;
    assert_eq!((synced.error_code, synced.protocol_name.as_deref()), (0, Some("range")));
}

#[tokio::test]
async fn members_heartbeat_leave_and_the_group_is_deleted() {
    let ctx = context().await;
    let member_id = stable_member(&ctx).await;
    let alive =
        message!(HeartbeatRequest { group_id: "g".into(), generation_id: 1, member_id: member_id.clone() });
    assert_eq!(heartbeat(&ctx.with_version(4), alive).await.error_code, 0);
    let request = message!(DeleteGroupsRequest { groups_names: vec!["g".into(), "none".into(), "g".into()] });
    let deleted = delete(&ctx.with_version(2), request.clone()).await;
    let codes: Vec<_> = deleted.results.iter().map(|result| (&*result.group_id, result.error_code)).collect();
    assert_eq!(codes, [("g", 68), ("none", 69)]);
    let member = message!(MemberIdentity { member_id: member_id });
    let left = leave(
        &ctx.with_version(5),
        message!(LeaveGroupRequest {
            group_id: "g".into(),
            members: vec![member.clone(), message!(MemberIdentity { member_id: "x".into() })],
        }),
    )
    .await;
    let codes: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!((left.error_code, codes), (0, vec![0, 25]));
    let old = message!(LeaveGroupRequest { group_id: "g".into(), member_id: member.member_id });
    assert_eq!(
        leave(&ctx.with_version(2), old).await.error_code,
        25,
        "one member, so its error is the answer's"
    );
    assert_eq!(delete(&ctx.with_version(2), request).await.results[0].error_code, 0);
}

#[tokio::test]
async fn a_group_that_is_not_there_is_dead_and_an_error_from_version_6_on() {
    let ctx = context().await;
    let request =
        message!(DescribeGroupsRequest { groups: vec!["none".into()], include_authorized_operations: true });
    let old = describe(&ctx.with_version(5), request.clone()).await.groups.remove(0);
    assert_eq!((old.error_code, &*old.group_state), (0, "Dead"));
    let new = describe(&ctx.with_version(6), request).await.groups.remove(0);
    assert_eq!((new.error_code, &*new.group_state), (69, "Dead"));
    assert_eq!(new.error_message.as_deref(), Some("Group none not found."));
}

#[tokio::test]
async fn groups_are_described_and_listed() {
    let ctx = context().await;
    let member_id = stable_member(&ctx).await;
    let request =
        message!(DescribeGroupsRequest { groups: vec!["g".into()], include_authorized_operations: true });
    let described = describe(&ctx.with_version(6), request).await.groups.remove(0);
    assert_eq!((&*described.group_state, &*described.protocol_data), ("Stable", "range"));
    assert_eq!(described.authorized_operations, authorized_operations::GROUP);
    let member = &described.members[0];
    assert_eq!(
        (&member.member_id, &*member.client_id, &*member.client_host),
        (&member_id, "test", "/127.0.0.1")
    );
    let stable = message!(ListGroupsRequest { states_filter: vec!["stable".into()] });
    let listed = list(&ctx.with_version(5), stable).await.groups.remove(0);
    assert_eq!((&*listed.group_id, &*listed.group_state, &*listed.group_type), ("g", "Stable", "classic"));
    let empty = message!(ListGroupsRequest { states_filter: vec!["Empty".into()] });
    assert!(list(&ctx.with_version(5), empty).await.groups.is_empty());
}

#[test]
fn answers_can_be_written_in_every_version() {
    let member_id: Arc<str> = "m".into();
    let joined = Joined {
        member_id: member_id.clone(),
        generation: 1,
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        leader: member_id.clone(),
        skip_assignment: false,
        members: vec![JoinedMember {
            member_id: member_id.clone(),
            instance_id: Some("i".into()),
            metadata: Bytes::from_static(b"x"),
        }],
    };
    for version in 0..=9 {
        let refused = JoinRefused { error: GroupError::UnknownMember, member_id: member_id.clone() };
        for reply in [Ok(joined.clone()), Err(refused)] {
            let response = join_response(version, reply);
            chronik_protocol::codec::encode_response(1, &response, version).unwrap();
        }
    }
    for version in 0..=5 {
        let members = [LeavingMember { member_id: member_id.clone(), instance_id: Some("i".into()) }];
        for outcomes in [Ok(vec![Err(GroupError::UnknownMember)]), Err(GroupError::CoordinatorStopped)] {
            let response = leave_response(version, &members, outcomes);
            chronik_protocol::codec::encode_response(1, &response, version).unwrap();
        }
    }
    for version in 0..=6 {
        let group = described_group(version, &"g".into(), Err(GroupError::GroupNotFound), i32::MIN);
        let response = message!(DescribeGroupsResponse { groups: vec![group] });
        chronik_protocol::codec::encode_response(1, &response, version).unwrap();
    }
    let synced = Synced {
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        assignment: Bytes::from_static(b"x"),
    };
    encodes_in_every_version(&sync_response(Ok(synced)));
    encodes_in_every_version(&sync_response(Err(GroupError::IllegalGeneration)));
}

#[tokio::test]
async fn found_coordinators_and_lists_can_be_written_in_every_version() {
    let ctx = context().await;
    stable_member(&ctx).await;
    for version in 0..=6 {
        let mut request = message!(FindCoordinatorRequest { key: "g".into() });
        request.coordinator_keys = vec!["g".into()];
        let response = find_coordinator(&ctx.with_version(version), request).await;
        chronik_protocol::codec::encode_response(1, &response, version).unwrap();
    }
    let listed = list(&ctx.with_version(5), ListGroupsRequest::default()).await;
    assert_eq!(listed.groups.len(), 1);
    encodes_in_every_version(&listed);
    for version in 0..=6 {
        let request = message!(DescribeGroupsRequest { groups: vec!["g".into()] });
        let response = describe(&ctx.with_version(version), request).await;
        chronik_protocol::codec::encode_response(1, &response, version).unwrap();
    }
}
