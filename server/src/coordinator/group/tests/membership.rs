//! SyncGroup, Heartbeat, LeaveGroup, static members, sessions, DescribeGroups and ListGroups.

use super::*;

#[test]
fn followers_wait_for_the_leader_and_everyone_gets_its_share() {
    let mut driver = Driver::new();
    let tokens = [driver.join(old_join()), driver.join(old_join()), driver.join(old_join())];
    driver.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| driver.joined(token));
    // A follower's assignments are not looked at.
    let follower = driver.sync(sync_request(&joined[1], &[(&joined[1].member_id, "forged")]));
    assert!(!driver.syncs.contains_key(&follower));
    let shares = [(&*joined[0].member_id, "a"), (&joined[1].member_id, "b"), ("stranger", "c")];
    let leader = driver.sync(sync_request(&joined[0], &shares));
    assert_eq!(driver.share(leader).unwrap(), "a");
    assert_eq!(driver.share(follower).unwrap(), "b");
    assert_eq!(driver.state(), "Stable");
    let late = driver.sync(sync_request(&joined[2], &[]));
    assert_eq!(driver.share(late).unwrap(), "", "the leader gave it nothing");
    let again = driver.sync(sync_request(&joined[1], &[]));
    assert_eq!(driver.share(again).unwrap(), "b", "Stable answers the current assignment");
}

// semantics 3.7.10: what cooperative assignors say to each other is theirs, a text or not
#[test]
fn metadata_and_shares_are_handed_on_byte_for_byte() {
    let mut driver = Driver::without_delay();
    // Version 1: topics, user data, and the partitions that are still owned.
    let owning = Bytes::from_static(
        b"\0\x01\0\0\0\x01\0\x07topic-1\0\0\0\x02\xff\0\0\0\0\x01\0\x07topic-1\0\0\0\x01\0\0\0\x05",
    );
    let foreign = Bytes::from_static(b"\xff\xfe\0 no subscription at all \x80");
    let says = |metadata: &Bytes| {
        let protocol = Protocol { name: "cooperative-sticky".into(), metadata: metadata.clone() };
        JoinRequest { protocols: vec![protocol], ..old_join() }
    };
    let leader = driver.join(says(&owning));
    driver.advance(0);
    let leader = driver.joined(leader);
    driver.sync(sync_request(&leader, &[]));
    let follower = driver.join(says(&foreign));
    let leader = driver.join(JoinRequest { member_id: leader.member_id.clone(), ..says(&owning) });
    let (leader, follower) = (driver.joined(leader), driver.joined(follower));
    let told: BTreeSet<Bytes> = leader.members.iter().map(|member| member.metadata.clone()).collect();
    assert_eq!(told, BTreeSet::from([owning, foreign]));
    assert_eq!((leader.generation, follower.generation), (2, 2));
    let share = Bytes::from_static(b"\0\x01\xff\xfe\0");
    let waiting = driver.sync(sync_request(&follower, &[]));
    let mut assigning = sync_request(&leader, &[]);
    assigning.assignments = vec![(follower.member_id.clone(), share.clone())];
    driver.sync(assigning);
    assert_eq!(driver.share(waiting).unwrap(), share);
}

#[test]
fn sync_is_refused_for_strangers_other_generations_and_other_protocols() {
    let mut driver = Driver::new();
    let token = driver.join(old_join());
    driver.advance(DELAY_MS);
    let joined = driver.joined(token);
    let good = sync_request(&joined, &[]);
    let refused = [
        (SyncRequest { member_id: "x".into(), ..good.clone() }, GroupError::UnknownMember),
        (SyncRequest { group_id: "other".into(), ..good.clone() }, GroupError::UnknownMember),
        (SyncRequest { generation: 0, ..good.clone() }, GroupError::IllegalGeneration),
        (SyncRequest { generation: 2, ..good.clone() }, GroupError::IllegalGeneration),
        (
            SyncRequest { protocol_type: Some("connect".into()), ..good.clone() },
            GroupError::InconsistentProtocol,
        ),
        (SyncRequest { protocol: Some("sticky".into()), ..good.clone() }, GroupError::InconsistentProtocol),
    ];
    for (request, error) in refused {
        let token = driver.sync(request);
        assert_eq!(driver.share(token), Err(error));
    }
    // Versions before 5 name neither.
    let token = driver.sync(SyncRequest { protocol: None, protocol_type: None, ..good });
    assert!(driver.share(token).is_ok());
}

#[test]
fn sync_during_a_rebalance_asks_to_rejoin() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    driver.join(join_request(&members[0].member_id));
    let token = driver.sync(sync_request(&members[1], &[]));
    assert_eq!(driver.share(token), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_leader_that_dies_before_assigning_makes_everyone_rejoin() {
    let mut driver = Driver::new();
    let tokens = [driver.join(old_join()), driver.join(old_join())];
    driver.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| driver.joined(token));
    let follower = driver.sync(sync_request(&joined[1], &[]));
    driver.advance(SESSION_MS);
    assert_eq!(driver.share(follower), Err(GroupError::RebalanceInProgress));
    assert_eq!(driver.state(), "PreparingRebalance");
    let rejoined = driver.join(join_request(&joined[1].member_id));
    let rejoined = driver.joined(rejoined);
    assert_eq!((rejoined.generation, &rejoined.leader), (2, &joined[1].member_id));
}

#[test]
fn members_that_heartbeat_but_never_sync_are_removed_after_the_rebalance_timeout() {
    let mut driver = Driver::new();
    let tokens = [driver.join(old_join()), driver.join(old_join())];
    driver.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| driver.joined(token));
    driver.sync(sync_request(&joined[0], &[]));
    assert_eq!(driver.state(), "Stable");
    for _ in 0..11 {
        driver.advance(5_000);
        for member in &joined {
            driver.heartbeat(&heartbeat_request(member)).unwrap();
        }
    }
    driver.advance(5_000);
    assert_eq!(driver.heartbeat(&heartbeat_request(&joined[1])), Err(GroupError::UnknownMember));
    assert_eq!(driver.heartbeat(&heartbeat_request(&joined[0])), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_heartbeat_is_fine_while_the_leader_assigns_and_asks_to_rejoin_during_a_rebalance() {
    let mut driver = Driver::new();
    let tokens = [driver.join(old_join()), driver.join(old_join())];
    driver.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| driver.joined(token));
    assert_eq!(driver.state(), "CompletingRebalance");
    driver.heartbeat(&heartbeat_request(&joined[1])).unwrap();
    for member in &joined {
        driver.sync(sync_request(member, &[]));
    }
    driver.heartbeat(&heartbeat_request(&joined[1])).unwrap();
    driver.join(join_request(&joined[0].member_id));
    assert_eq!(driver.heartbeat(&heartbeat_request(&joined[1])), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_heartbeat_is_refused_for_strangers_other_generations_and_fenced_members() {
    let mut driver = Driver::without_delay();
    let token = driver.join(static_join("i1"));
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[]));
    let good = HeartbeatRequest { instance_id: Some("i1".into()), ..heartbeat_request(&joined) };
    driver.heartbeat(&good).unwrap();
    let refused = [
        (HeartbeatRequest { group_id: "other".into(), ..good.clone() }, GroupError::UnknownMember),
        (
            HeartbeatRequest { member_id: "x".into(), instance_id: None, ..good.clone() },
            GroupError::UnknownMember,
        ),
        (HeartbeatRequest { instance_id: Some("i2".into()), ..good.clone() }, GroupError::UnknownMember),
        (HeartbeatRequest { generation: 7, ..good.clone() }, GroupError::IllegalGeneration),
        (HeartbeatRequest { member_id: "x".into(), ..good.clone() }, GroupError::FencedInstance),
    ];
    for (request, error) in refused {
        assert_eq!(driver.heartbeat(&request), Err(error));
    }
}

#[test]
fn once_the_coordinator_stops_waiting_members_are_told_and_groups_are_dead() {
    let mut driver = Driver::new();
    let token = driver.join(old_join());
    let effects = driver.groups.stop(driver.now);
    driver.run(effects);
    assert_eq!(driver.join_error(token), GroupError::CoordinatorStopped);
    let joined = Driver::new().stable_group(1).remove(0);
    assert_eq!(driver.heartbeat(&heartbeat_request(&joined)), Err(GroupError::CoordinatorStopped));
    let token = driver.join(old_join());
    assert_eq!(driver.join_error(token), GroupError::CoordinatorStopped);
    assert_eq!(driver.commit(commit_request("", -1, &[(1, 0, 1)])), Err(GroupError::CoordinatorStopped));
    driver.advance(10 * REBALANCE_MS);
    assert!(driver.log.is_empty());
}

#[test]
fn a_silent_member_is_removed_after_its_session_and_the_others_rebalance() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    driver.advance(SESSION_MS - 1);
    driver.heartbeat(&heartbeat_request(&members[0])).unwrap();
    driver.advance(1);
    assert_eq!(driver.heartbeat(&heartbeat_request(&members[1])), Err(GroupError::UnknownMember));
    assert_eq!(driver.heartbeat(&heartbeat_request(&members[0])), Err(GroupError::RebalanceInProgress));
    let token = driver.join(join_request(&members[0].member_id));
    assert_eq!(driver.joined(token).generation, 2);
}

#[test]
fn the_last_member_to_go_leaves_an_empty_generation() {
    let mut driver = Driver::without_delay();
    driver.stable_group(1);
    driver.advance(SESSION_MS);
    assert_eq!(driver.state(), "Empty");
    let Some(Record::Group { value, .. }) = driver.log.last() else { panic!("not stored") };
    assert_eq!((value.generation, value.members.len()), (2, 0));
    assert_eq!(value.protocol_type.as_deref(), Some("consumer"));
    assert!(driver.timers.is_empty(), "an idle group costs no timer");
}

#[test]
fn a_static_member_keeps_its_share_over_a_restart_and_its_predecessor_is_fenced() {
    let mut driver = Driver::without_delay();
    let tokens = [driver.join(static_join("i1")), driver.join(static_join("i2"))];
    driver.advance(0);
    let joined = tokens.map(|token| driver.joined(token));
    assert!(joined[0].member_id.starts_with("i1-"), "a static member joins without being asked for an id");
    let shares = [(&*joined[0].member_id, "a"), (&*joined[1].member_id, "b")];
    let (leader, follower) = if joined[0].leader == joined[0].member_id { (0, 1) } else { (1, 0) };
    driver.sync(sync_request(&joined[follower], &[]));
    driver.sync(sync_request(&joined[leader], &shares));
    let instance = if follower == 0 { "i1" } else { "i2" };
    let token = driver.join(static_join(instance));
    let back = driver.joined(token);
    assert_eq!((back.generation, back.skip_assignment), (1, false));
    assert_ne!(back.member_id, joined[follower].member_id);
    assert_eq!(driver.state(), "Stable");
    let old = HeartbeatRequest { instance_id: Some(instance.into()), ..heartbeat_request(&joined[follower]) };
    assert_eq!(driver.heartbeat(&old), Err(GroupError::FencedInstance));
    let share = driver.sync(sync_request(&back, &[]));
    assert_eq!(driver.share(share).unwrap(), shares[follower].1);
    let stored = driver.log.last().unwrap();
    assert!(matches!(stored, Record::Group { value, .. }
        if value.members.iter().any(|member| *member.member_id == *back.member_id)));
}

#[test]
fn a_static_leader_that_restarts_is_told_to_skip_the_assignment() {
    for can_skip_assignment in [true, false] {
        let mut driver = Driver::without_delay();
        let token = driver.join(static_join("i1"));
        driver.advance(0);
        let before = driver.joined(token);
        driver.sync(sync_request(&before, &[(&before.member_id, "a")]));
        let token = driver.join(JoinRequest { can_skip_assignment, ..static_join("i1") });
        let back = driver.joined(token);
        assert_eq!(back.skip_assignment, can_skip_assignment);
        assert_eq!(
            back.leader == back.member_id,
            can_skip_assignment,
            "older clients are told the old leader"
        );
        assert_eq!(back.members.len(), usize::from(can_skip_assignment));
    }
}

#[test]
fn a_static_member_that_takes_over_answers_its_waiting_predecessor_as_fenced() {
    let mut driver = Driver::new();
    let first = driver.join(static_join("i1"));
    let second = driver.join(static_join("i1"));
    assert_eq!(driver.join_error(first), GroupError::FencedInstance);
    driver.advance(2 * DELAY_MS);
    assert_eq!(driver.joined(second).members.len(), 1);
}

#[test]
fn a_static_member_that_takes_over_ends_the_wait_for_its_predecessors_share() {
    let mut driver = Driver::without_delay();
    let tokens = [driver.join(old_join()), driver.join(static_join("i1"))];
    driver.advance(0);
    let joined = tokens.map(|token| driver.joined(token));
    assert_eq!(joined[0].leader, joined[0].member_id);
    let waiting = driver.sync(sync_request(&joined[1], &[]));
    driver.join(static_join("i1"));
    assert_eq!(driver.share(waiting), Err(GroupError::FencedInstance));
}

#[test]
fn a_rebalance_that_interrupts_the_leader_takes_the_old_shares_back() {
    let mut driver = Driver::without_delay();
    let token = driver.join(old_join());
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[(&joined.member_id, "a")]));
    driver.join(join_request(&joined.member_id));
    assert_eq!(driver.state(), "CompletingRebalance");
    driver.new_id();
    driver.join(JoinRequest { protocols: protocols(&["range", "x"]), ..join_request(&joined.member_id) });
    let described = driver.groups.describe(GROUP).unwrap();
    assert_eq!((described.state, &described.members[0].assignment[..]), ("PreparingRebalance", &b""[..]));
}

#[test]
fn a_static_member_that_restarts_while_the_leader_assigns_starts_over() {
    let mut driver = Driver::without_delay();
    let token = driver.join(static_join("i1"));
    driver.advance(0);
    assert_eq!(driver.joined(token).generation, 1);
    let token = driver.join(static_join("i1"));
    assert_eq!(driver.joined(token).generation, 2);
}

#[test]
fn a_static_member_whose_restart_changes_the_chosen_protocol_starts_a_rebalance() {
    let mut driver = Driver::without_delay();
    let token = driver.join(JoinRequest { protocols: protocols(&["range", "sticky"]), ..static_join("i1") });
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[]));
    let token = driver.join(JoinRequest { protocols: protocols(&["sticky", "range"]), ..static_join("i1") });
    let joined = driver.joined(token);
    assert_eq!((joined.generation, joined.protocol.as_deref()), (2, Some("sticky")));
}

#[test]
fn a_static_member_that_is_away_is_waited_for_until_its_session_ends() {
    let mut driver = Driver::without_delay();
    let session_timeout_ms = 600_000;
    let away = driver.join(JoinRequest { session_timeout_ms, ..static_join("i1") });
    let dynamic = driver.join(old_join());
    driver.advance(0);
    let (away, dynamic) = (driver.joined(away), driver.joined(dynamic));
    for member in [&away, &dynamic] {
        driver.sync(sync_request(member, &[]));
    }
    let changed = JoinRequest { protocols: protocols(&["range", "x"]), ..join_request(&dynamic.member_id) };
    let token = driver.join(changed);
    driver.advance(REBALANCE_MS);
    let joined = driver.joined(token);
    assert_eq!((joined.generation, joined.members.len()), (2, 2), "the static one is still a member");
    assert_eq!(joined.leader, dynamic.member_id);
}

#[test]
fn leaving_reports_each_member_and_rebalances_the_rest() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let pending = driver.new_id();
    let outcomes = driver.leave(&[(&members[1].member_id, None), ("nobody", None), (&pending, None)]);
    assert_eq!(outcomes, Ok(vec![Ok(()), Err(GroupError::UnknownMember), Ok(())]));
    assert_eq!(driver.heartbeat(&heartbeat_request(&members[0])), Err(GroupError::RebalanceInProgress));
    let token = driver.join(join_request(&members[0].member_id));
    assert_eq!(driver.joined(token).members.len(), 1);
    assert_eq!(driver.leave(&[(&members[0].member_id, None)]), Ok(vec![Ok(())]));
    assert_eq!(driver.state(), "Empty");
    assert!(driver.timers.is_empty());
}

#[test]
fn leaving_an_unknown_group_makes_every_member_unknown() {
    let mut driver = Driver::new();
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(driver.leave(&[("a", None), ("b", None)]), Ok(vec![unknown, unknown]));
}

#[test]
fn an_administrator_removes_static_members_by_instance_id() {
    let mut driver = Driver::without_delay();
    let token = driver.join(static_join("i1"));
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[]));
    let wrong = driver.leave(&[("", Some("i2")), ("", None), ("other", Some("i1"))]);
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(wrong, Ok(vec![unknown, unknown, Err(GroupError::FencedInstance)]));
    assert_eq!(driver.state(), "Stable");
    assert_eq!(driver.leave(&[("", Some("i1"))]), Ok(vec![Ok(())]));
    assert_eq!(driver.state(), "Empty");
}

#[test]
fn a_member_that_leaves_while_its_requests_wait_is_answered() {
    let mut driver = Driver::new();
    let tokens = [driver.join(old_join()), driver.join(old_join())];
    driver.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| driver.joined(token));
    let waiting = driver.sync(sync_request(&joined[1], &[]));
    driver.leave(&[(&joined[1].member_id, None)]).unwrap();
    assert_eq!(driver.share(waiting), Err(GroupError::UnknownMember));
}

#[test]
fn describe_shows_metadata_only_of_stable_groups_and_no_unknown_ones() {
    let mut driver = Driver::new();
    assert_eq!(driver.groups.describe(GROUP), Err(GroupError::GroupNotFound));
    let token = driver.join(old_join());
    driver.advance(DELAY_MS);
    let described = driver.groups.describe(GROUP).unwrap();
    assert_eq!((described.state, &*described.protocol), ("CompletingRebalance", ""));
    assert_eq!(described.members[0].metadata, "");
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[(&joined.member_id, "a")]));
    let described = driver.groups.describe(GROUP).unwrap();
    assert_eq!(
        (described.state, &*described.protocol, &*described.protocol_type),
        ("Stable", "range", "consumer")
    );
    let member = &described.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("client", "/127.0.0.1"));
    assert_eq!((member.metadata.clone(), &member.assignment[..]), (subscription(&["topic-1"]), &b"a"[..]));
}

#[test]
fn list_filters_by_state_and_type_without_regard_to_case() {
    let mut driver = Driver::without_delay();
    driver.stable_group(1);
    let simple = CommitRequest { group_id: "simple".into(), ..commit_request("", -1, &[(1, 0, 5)]) };
    driver.commit(simple).unwrap();
    let list = |states: &[&str], kinds: &[&str]| {
        let owned = |filter: &[&str]| filter.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let listed = driver.groups.list(&owned(states), &owned(kinds)).unwrap();
        listed.into_iter().map(|group| (group.group_id.to_string(), group.state)).collect::<Vec<_>>()
    };
    let (stable, simple) = (("g".to_owned(), "Stable"), ("simple".to_owned(), "Empty"));
    assert_eq!(list(&[], &[]), [stable.clone(), simple.clone()]);
    assert_eq!(list(&[" stable"], &[]), [stable]);
    assert_eq!(list(&["EMPTY", "Dead"], &["Classic"]), [simple]);
    assert_eq!(list(&["Stable"], &["consumer"]), []);
}
