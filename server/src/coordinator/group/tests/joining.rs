//! JoinGroup, and how generations come about.

use super::*;

#[test]
fn an_empty_group_id_is_invalid_for_members() {
    let mut driver = Driver::new();
    let token = driver.join(JoinRequest { group_id: "".into(), ..join_request("") });
    assert_eq!(driver.join_error(token), GroupError::InvalidGroupId);
    let joined = Driver::new().stable_group(1).remove(0);
    let request = SyncRequest { group_id: "".into(), ..sync_request(&joined, &[]) };
    let token = driver.sync(request);
    assert_eq!(driver.share(token), Err(GroupError::InvalidGroupId));
    let request = HeartbeatRequest { group_id: "".into(), ..heartbeat_request(&joined) };
    assert_eq!(driver.heartbeat(&request), Err(GroupError::InvalidGroupId));
    assert!(driver.groups.is_empty());
}

#[test]
fn a_session_timeout_outside_the_brokers_bounds_is_refused() {
    let mut driver = Driver::new();
    for (session_timeout_ms, fits) in [(5_999, false), (6_000, true), (1_800_000, true), (1_800_001, false)] {
        let token = driver.join(JoinRequest { session_timeout_ms, ..join_request("") });
        let expected = if fits { GroupError::MemberIdRequired } else { GroupError::InvalidSessionTimeout };
        assert_eq!(driver.join_error(token), expected);
    }
}

#[test]
fn a_dynamic_member_is_first_given_an_id() {
    let mut driver = Driver::new();
    let token = driver.join(JoinRequest { fresh: topic(7), ..join_request("") });
    let refused = driver.join_refused(token);
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    assert_eq!(&*refused.member_id, "client-00000000-0000-0000-0000-000000000007");
    assert_eq!(driver.state(), "Empty");
    let token = driver.join(join_request(&refused.member_id));
    driver.advance(DELAY_MS);
    let joined = driver.joined(token);
    assert_eq!((joined.member_id, joined.generation), (refused.member_id, 1));
}

#[test]
fn before_version_4_a_member_joins_at_once() {
    let mut driver = Driver::without_delay();
    let token = driver.join(old_join());
    driver.advance(0);
    assert!(driver.joined(token).member_id.starts_with("client-"));
}

#[test]
fn an_id_that_is_not_used_within_the_session_is_forgotten() {
    let mut driver = Driver::new();
    let member_id = driver.new_id();
    driver.advance(SESSION_MS);
    let token = driver.join(join_request(&member_id));
    assert_eq!(driver.join_error(token), GroupError::UnknownMember);
}

#[test]
fn an_unknown_member_id_is_refused_in_any_group() {
    let mut driver = Driver::new();
    let token = driver.join(join_request("nobody"));
    assert_eq!(driver.join_error(token), GroupError::UnknownMember);
    assert!(driver.groups.is_empty());
    driver.stable_group(1);
    let token = driver.join(join_request("nobody"));
    assert_eq!(driver.join_refused(token).member_id.as_ref(), "nobody");
    assert_eq!(driver.state(), "Stable");
}

#[test]
fn a_rebalance_waits_for_ids_given_out() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(1);
    let member_id = driver.new_id();
    let rejoin = driver.join(join_request(&members[0].member_id));
    assert!(!driver.joins.contains_key(&rejoin), "the new member is expected");
    let token = driver.join(join_request(&member_id));
    assert_eq!(driver.joined(rejoin).generation, 2);
    assert_eq!(driver.joined(token).generation, 2);
}

#[test]
fn empty_protocols_or_a_missing_type_are_inconsistent() {
    let mut driver = Driver::new();
    let token = driver.join(JoinRequest { protocols: Vec::new(), ..join_request("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentProtocol);
    let token = driver.join(JoinRequest { protocol_type: "".into(), ..join_request("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentProtocol);
    assert!(driver.groups.is_empty(), "a refused join makes no group");
}

#[test]
fn another_protocol_type_or_no_common_protocol_is_inconsistent() {
    let mut driver = Driver::new();
    let members = driver.stable_group(1);
    let token = driver.join(JoinRequest { protocol_type: "connect".into(), ..join_request("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentProtocol);
    let token = driver.join(JoinRequest { protocols: protocols(&["sticky"]), ..join_request("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentProtocol);
    let known = JoinRequest { protocols: protocols(&["sticky"]), ..join_request(&members[0].member_id) };
    let token = driver.join(known);
    assert_eq!(driver.join_error(token), GroupError::InconsistentProtocol);
    assert_eq!(driver.state(), "Stable");
}

#[test]
fn a_full_group_takes_no_more_members() {
    let config = GroupConfig { max_size: 2, initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
    let mut driver = Driver::with_config(config);
    let members = driver.stable_group(2);
    let token = driver.join(old_join());
    let refused = driver.join_refused(token);
    assert_eq!((refused.error, refused.member_id.as_ref()), (GroupError::GroupFull, ""));
    assert_eq!(driver.state(), "Stable");
    // While members join, those who have joined count.
    let first = driver.join(join_request(&members[0].member_id));
    let second = driver.join(join_request(&members[1].member_id));
    assert_eq!(driver.joined(first).generation, 2);
    assert_eq!(driver.joined(second).generation, 2);
}

#[test]
fn ids_given_out_are_bounded() {
    let mut driver = Driver::new();
    for _ in 0..crate::coordinator::limits::PENDING_MEMBERS_MAX {
        driver.new_id();
    }
    let token = driver.join(join_request(""));
    assert_eq!(driver.join_error(token), GroupError::GroupFull);
    driver.advance(SESSION_MS);
    assert!(driver.timers.is_empty());
    driver.new_id();
}

#[test]
fn the_first_rebalance_waits_for_the_initial_delay() {
    let mut driver = Driver::new();
    let token = driver.join(old_join());
    driver.advance(DELAY_MS - 1);
    assert_eq!(driver.state(), "PreparingRebalance");
    driver.advance(1);
    assert_eq!(driver.joined(token).generation, 1);
    assert_eq!(driver.state(), "CompletingRebalance");
}

#[test]
fn the_initial_delay_is_extended_while_members_join_up_to_the_rebalance_timeout() {
    let mut driver = Driver::new();
    let rebalance_timeout_ms = 8_000;
    let first = driver.join(JoinRequest { rebalance_timeout_ms, ..old_join() });
    let mut tokens = vec![first];
    // Someone joins in each delay; the delays are 3 s, 3 s and the 2 s that are left.
    for _ in 0..2 {
        driver.advance(2_000);
        tokens.push(driver.join(JoinRequest { rebalance_timeout_ms, ..old_join() }));
        driver.advance(1_000);
        assert!(!driver.joins.contains_key(&first));
    }
    tokens.push(driver.join(JoinRequest { rebalance_timeout_ms, ..old_join() }));
    driver.advance(1_999);
    assert!(!driver.joins.contains_key(&first));
    driver.advance(1);
    let generations: Vec<i32> = tokens.iter().map(|&token| driver.joined(token).generation).collect();
    assert_eq!(generations, [1, 1, 1, 1]);
}

#[test]
fn without_initial_delay_the_first_member_starts_at_once() {
    let mut driver = Driver::without_delay();
    let token = driver.join(old_join());
    driver.advance(0);
    assert_eq!(driver.joined(token).generation, 1);
}

#[test]
fn the_leader_gets_the_members_and_their_metadata_and_others_get_an_empty_list() {
    let mut driver = Driver::new();
    let tokens = [driver.join(old_join()), driver.join(old_join()), driver.join(old_join())];
    driver.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| driver.joined(token));
    assert!(joined.iter().all(|member| member.leader == joined[0].member_id), "the first to join leads");
    assert_eq!(joined[0].members.len(), 3);
    assert_eq!(joined[0].members[1].metadata, subscription(&["topic-1"]));
    assert!(joined[1].members.is_empty() && joined[2].members.is_empty());
    assert_eq!(joined[2].protocol.as_deref(), Some("range"));
    assert_eq!(joined[2].protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn members_vote_for_their_first_choice_among_the_common_protocols() {
    let mut driver = Driver::new();
    let choices = [&["only-mine", "sticky", "range"][..], &["range", "sticky"], &["sticky", "range"]];
    let tokens = choices.map(|names| driver.join(JoinRequest { protocols: protocols(names), ..old_join() }));
    driver.advance(2 * DELAY_MS);
    assert_eq!(driver.joined(tokens[1]).protocol.as_deref(), Some("sticky"));
}

#[test]
fn the_rebalance_timeout_is_the_longest_of_the_members() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let late = JoinRequest { rebalance_timeout_ms: 5_000, ..join_request(&members[1].member_id) };
    let token = driver.join(JoinRequest { protocols: protocols(&["range", "x"]), ..late });
    assert_eq!(driver.state(), "PreparingRebalance");
    // The other member is alive but does not rejoin; its own rebalance timeout is the longer one.
    for _ in 0..11 {
        driver.advance(5_000);
        driver.heartbeat(&heartbeat_request(&members[0])).unwrap_err();
        assert!(!driver.joins.contains_key(&token));
    }
    driver.advance(5_000);
    let joined = driver.joined(token);
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
}

#[test]
fn dynamic_members_that_do_not_rejoin_in_time_are_removed_and_the_leader_is_replaced() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let token = driver
        .join(JoinRequest { protocols: protocols(&["range", "x"]), ..join_request(&members[1].member_id) });
    let leader = heartbeat_request(&members[0]);
    for _ in 0..11 {
        driver.advance(5_000);
        assert_eq!(driver.heartbeat(&leader), Err(GroupError::RebalanceInProgress));
    }
    driver.advance(5_000);
    let joined = driver.joined(token);
    assert_eq!(joined.leader, members[1].member_id);
    assert_eq!(driver.heartbeat(&leader), Err(GroupError::UnknownMember));
}

#[test]
fn an_unchanged_follower_rejoins_a_stable_group_without_a_rebalance() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let token = driver.join(join_request(&members[1].member_id));
    let joined = driver.joined(token);
    assert_eq!((joined.generation, joined.members.len()), (1, 0));
    assert_eq!(driver.state(), "Stable");
}

#[test]
fn a_rejoining_leader_or_changed_metadata_starts_a_rebalance() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let token = driver.join(join_request(&members[0].member_id));
    assert_eq!(driver.state(), "PreparingRebalance");
    let other = driver.join(join_request(&members[1].member_id));
    assert_eq!((driver.joined(token).generation, driver.joined(other).generation), (2, 2));
    // Nobody has a share yet: the same request gets the same answer, another one starts over.
    let again = driver.join(join_request(&members[1].member_id));
    assert_eq!(driver.joined(again).generation, 2);
    driver.join(JoinRequest { protocols: protocols(&["range", "x"]), ..join_request(&members[1].member_id) });
    assert_eq!(driver.state(), "PreparingRebalance");
}

#[test]
fn a_joining_member_needs_no_heartbeat_while_it_waits() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let token = driver.join(join_request(&members[0].member_id));
    for _ in 0..4 {
        driver.advance(SESSION_MS - 1);
        assert_eq!(driver.heartbeat(&heartbeat_request(&members[1])), Err(GroupError::RebalanceInProgress));
    }
    let other = driver.join(join_request(&members[1].member_id));
    assert_eq!(driver.joined(token).generation, 2);
    assert_eq!(driver.joined(other).members.len(), 0);
}

#[test]
fn a_new_member_whose_client_is_gone_leaves_after_five_minutes() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(1);
    let long = JoinRequest { rebalance_timeout_ms: 900_000, ..old_join() };
    let token = driver.join(long);
    for _ in 0..60 {
        driver.advance(5_000);
        driver.heartbeat(&heartbeat_request(&members[0])).unwrap_err();
    }
    assert_eq!(
        driver.join_refused(token),
        JoinRefused { error: GroupError::UnknownMember, member_id: "".into() }
    );
}

#[test]
fn a_join_that_replaces_a_waiting_one_answers_it() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let first = driver.join(join_request(&members[0].member_id));
    let second = driver.join(join_request(&members[0].member_id));
    assert_eq!(driver.join_error(first), GroupError::RebalanceInProgress);
    driver.join(join_request(&members[1].member_id));
    assert_eq!(driver.joined(second).generation, 2);
}
