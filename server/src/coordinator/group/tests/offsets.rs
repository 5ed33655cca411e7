//! OffsetCommit, OffsetFetch, expiry, DeleteGroups, OffsetDelete.

use super::*;

const RETENTION_MS: i64 = 7 * 24 * HOUR_MS;

#[test]
fn a_simple_consumer_commits_to_a_group_that_is_not_there_even_with_an_empty_id() {
    let mut driver = Driver::new();
    for group_id in [GROUP, ""] {
        let request = CommitRequest { group_id: group_id.into(), ..commit_request("", -1, &[(1, 0, 5)]) };
        assert_eq!(driver.commit(request), Ok(vec![Ok(())]));
    }
    assert_eq!(driver.committed(1, 0), Some(5));
    assert_eq!(driver.state(), "Empty");
}

#[test]
fn a_commit_to_an_unknown_group_with_a_generation_depends_on_the_version() {
    let mut driver = Driver::new();
    let request = commit_request("m", 3, &[(1, 0, 5)]);
    assert_eq!(driver.commit(request.clone()), Err(GroupError::GroupNotFound));
    let older = CommitRequest { knows_group_not_found: false, ..request };
    assert_eq!(driver.commit(older), Err(GroupError::IllegalGeneration));
    assert!(driver.groups.is_empty());
}

#[test]
fn a_commit_needs_a_member_of_the_current_generation() {
    let mut driver = Driver::without_delay();
    let member_id = driver.stable_group(1).remove(0).member_id;
    let offsets = [(1, 0, 5)];
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(
        driver.commit(commit_request("", -1, &offsets)),
        unknown,
        "a stranger, while there are members"
    );
    assert_eq!(driver.commit(commit_request("x", 1, &offsets)), unknown);
    for generation in [-1, 0, 2] {
        let outcome = driver.commit(commit_request(&member_id, generation, &offsets));
        assert_eq!(outcome, Err(GroupError::IllegalGeneration));
    }
    assert_eq!(driver.committed(1, 0), None);
    assert_eq!(driver.commit(commit_request(&member_id, 1, &offsets)), Ok(vec![Ok(())]));
    assert_eq!(driver.committed(1, 0), Some(5));
}

#[test]
fn a_fenced_static_member_cannot_commit() {
    let mut driver = Driver::without_delay();
    let token = driver.join(static_join("i1"));
    driver.advance(0);
    let old = driver.joined(token);
    driver.sync(sync_request(&old, &[]));
    let token = driver.join(static_join("i1"));
    let new = driver.joined(token);
    let request = |member_id: &str| CommitRequest {
        instance_id: Some("i1".into()),
        ..commit_request(member_id, 1, &[(1, 0, 5)])
    };
    assert_eq!(driver.commit(request(&old.member_id)), Err(GroupError::FencedInstance));
    assert_eq!(driver.commit(request(&new.member_id)), Ok(vec![Ok(())]));
}

#[test]
fn a_commit_is_refused_while_the_leader_assigns_but_not_while_members_rejoin() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(2);
    let request = commit_request(&members[1].member_id, 1, &[(1, 0, 5)]);
    driver.join(join_request(&members[0].member_id));
    assert_eq!(driver.state(), "PreparingRebalance");
    assert_eq!(driver.commit(request.clone()), Ok(vec![Ok(())]));
    driver.join(join_request(&members[1].member_id));
    assert_eq!(driver.state(), "CompletingRebalance");
    let next = CommitRequest { generation: 2, ..request };
    assert_eq!(driver.commit(next), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_commit_keeps_the_session_alive() {
    let mut driver = Driver::without_delay();
    let member_id = driver.stable_group(1).remove(0).member_id;
    for offset in 0..3 {
        driver.advance(SESSION_MS - 1);
        driver.commit(commit_request(&member_id, 1, &[(1, 0, offset)])).unwrap();
    }
    assert_eq!(driver.state(), "Stable");
}

#[test]
fn metadata_beyond_the_limit_fails_its_partition_alone() {
    let mut driver = Driver::new();
    let mut request = commit_request("", -1, &[(1, 0, 5), (1, 1, 6), (1, 2, 7)]);
    request.offsets[0].metadata = "x".repeat(4_097);
    request.offsets[1].metadata = "ü".repeat(4_096);
    request.offsets[2].metadata = "x".repeat(4_096);
    let outcomes = driver.commit(request).unwrap();
    assert_eq!(outcomes, [Err(GroupError::OffsetMetadataTooLarge), Ok(()), Ok(())]);
    assert_eq!(driver.committed(1, 0), None);
    assert_eq!(driver.committed(1, 1), Some(6), "counted in UTF-16 units, not in bytes");
}

#[test]
fn fetching_answers_what_was_committed_and_nothing_for_the_rest() {
    let mut driver = Driver::new();
    let all = FetchRequest { group_id: GROUP.into(), partitions: None };
    assert_eq!(driver.groups.fetch_offsets(&all), Ok(Vec::new()), "an unknown group is no error");
    assert_eq!(driver.committed(1, 0), None);
    driver.commit(commit_request("", -1, &[(2, 1, 6), (1, 0, 5)])).unwrap();
    driver.commit(commit_request("", -1, &[(1, 0, 4)])).unwrap();
    let fetched = driver.groups.fetch_offsets(&all).unwrap();
    let offsets: Vec<_> = fetched
        .iter()
        .map(|found| (found.topic.as_u128(), found.partition, found.committed.as_ref().unwrap().offset))
        .collect();
    assert_eq!(offsets, [(1, 0, 4), (2, 1, 6)], "a commit may go back: it is the client's to say");
    let value = fetched[0].committed.clone().unwrap();
    assert_eq!((value.leader_epoch, value.metadata.as_str(), value.committed_ms), (0, "m", EPOCH_MS));
    assert_eq!(driver.committed(1, 7), None);
}

// semantics 3.7.8
#[test]
fn offsets_of_a_simple_consumer_expire_by_commit_time_and_the_group_with_the_last() {
    let mut driver = Driver::new();
    driver.commit(commit_request("", -1, &[(1, 0, 5)])).unwrap();
    driver.advance(HOUR_MS);
    driver.commit(commit_request("", -1, &[(1, 1, 6)])).unwrap();
    driver.advance(RETENTION_MS - HOUR_MS - 1);
    driver.expire();
    assert_eq!(driver.committed(1, 0), Some(5));
    driver.advance(1);
    driver.expire();
    assert_eq!((driver.committed(1, 0), driver.committed(1, 1)), (None, Some(6)));
    driver.advance(HOUR_MS);
    driver.expire();
    assert!(driver.groups.is_empty());
    assert!(matches!(driver.log.last(), Some(Record::GroupRemoved { .. })));
}

// semantics 3.7.8
#[test]
fn what_a_transaction_holds_an_offset_for_stays_and_so_does_its_group() {
    let mut driver = Driver::new();
    driver.commit(commit_request("", -1, &[(1, 0, 5), (1, 1, 6)])).unwrap();
    driver.advance(RETENTION_MS);
    driver.expire_but(&[(topic(1), 0)]);
    assert_eq!((driver.committed(1, 0), driver.committed(1, 1)), (Some(5), None));
    // Of a partition that has no offset yet.
    driver.expire_but(&[(topic(1), 2)]);
    assert_eq!((driver.committed(1, 0), driver.groups.len()), (None, 1));
    driver.expire();
    assert!(driver.groups.is_empty());
}

// semantics 3.7.8
#[test]
fn offsets_of_a_group_expire_after_it_became_empty_however_old_they_are() {
    let mut driver = Driver::without_delay();
    let member_id = driver.stable_group(1).remove(0).member_id;
    driver.commit(commit_request(&member_id, 1, &[(1, 0, 5)])).unwrap();
    let keep_alive = HeartbeatRequest {
        group_id: GROUP.into(),
        member_id: member_id.clone(),
        instance_id: None,
        generation: 1,
    };
    // Far longer than the retention, without a clock tick per heartbeat.
    driver.now.wall_ms += 2 * RETENTION_MS;
    driver.heartbeat(&keep_alive).unwrap();
    driver.expire();
    assert_eq!(driver.committed(1, 0), Some(5), "the group is in use and subscribed");
    driver.leave(&[(&member_id, None)]).unwrap();
    driver.advance(RETENTION_MS - 1);
    driver.expire();
    assert_eq!(driver.committed(1, 0), Some(5));
    driver.advance(1);
    driver.expire();
    assert!(driver.groups.is_empty());
}

#[test]
fn offsets_of_topics_a_group_left_expire_by_commit_time_while_it_is_stable() {
    let mut driver = Driver::without_delay();
    let member_id = driver.stable_group(1).remove(0).member_id;
    driver.commit(commit_request(&member_id, 1, &[(1, 0, 5), (2, 0, 6)])).unwrap();
    driver.now.wall_ms += RETENTION_MS;
    driver.expire();
    assert_eq!(
        (driver.committed(1, 0), driver.committed(2, 0)),
        (Some(5), None),
        "topic-2 is not subscribed to"
    );
    assert_eq!(driver.state(), "Stable");
}

#[test]
fn groups_that_are_not_consumers_keep_their_offsets_while_they_have_members() {
    let mut driver = Driver::without_delay();
    let token = driver.join(JoinRequest { protocol_type: "connect".into(), ..old_join() });
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(SyncRequest { protocol_type: None, ..sync_request(&joined, &[]) });
    driver.commit(commit_request(&joined.member_id, 1, &[(2, 0, 6)])).unwrap();
    driver.now.wall_ms += RETENTION_MS;
    driver.expire();
    assert_eq!(driver.committed(2, 0), Some(6));
}

#[test]
fn a_retention_asked_for_by_the_client_counts_from_its_commit() {
    let mut driver = Driver::new();
    let request = CommitRequest { retention_ms: Some(1_000), ..commit_request("", -1, &[(1, 0, 5)]) };
    driver.commit(request).unwrap();
    driver.advance(999);
    driver.expire();
    assert_eq!(driver.committed(1, 0), Some(5));
    driver.advance(1);
    driver.expire();
    assert!(driver.groups.is_empty());
}

#[test]
fn an_empty_group_without_offsets_goes_but_not_while_an_id_is_out() {
    let mut driver = Driver::new();
    driver.new_id();
    driver.expire();
    assert_eq!(driver.groups.len(), 1);
    driver.advance(SESSION_MS);
    driver.expire();
    assert!(driver.groups.is_empty());
}

#[test]
fn offsets_go_with_their_topic_and_a_new_topic_of_that_name_has_none() {
    let mut driver = Driver::new();
    driver.commit(commit_request("", -1, &[(1, 0, 5), (1, 1, 6), (2, 0, 7)])).unwrap();
    let mut effects = Effects::default();
    driver.groups.topics_deleted(driver.now, &BTreeSet::from([topic(1)]), &mut effects);
    assert_eq!(effects.records.len(), 2);
    driver.run(effects);
    assert_eq!((driver.committed(1, 0), driver.committed(2, 0)), (None, Some(7)));
    // A deletion that was not told, because the process died in between, is found out.
    driver.commit(commit_request("", -1, &[(100, 0, 8)])).unwrap();
    driver.expire();
    assert_eq!((driver.committed(100, 0), driver.committed(2, 0)), (None, Some(7)));
}

#[test]
fn a_group_with_members_or_an_unknown_one_cannot_be_deleted() {
    let mut driver = Driver::without_delay();
    let mut effects = Effects::default();
    let unknown = driver.groups.delete(driver.now, &GROUP.into(), &mut effects);
    assert_eq!(unknown, Err(GroupError::GroupNotFound));
    let member_id = driver.stable_group(1).remove(0).member_id;
    driver.commit(commit_request(&member_id, 1, &[(1, 0, 5)])).unwrap();
    let in_use = driver.groups.delete(driver.now, &GROUP.into(), &mut effects);
    assert_eq!(in_use, Err(GroupError::GroupNotEmpty));
    driver.leave(&[(&member_id, None)]).unwrap();
    driver.groups.delete(driver.now, &GROUP.into(), &mut effects).unwrap();
    let kinds: Vec<bool> =
        effects.records.iter().map(|record| matches!(record, Record::OffsetRemoved { .. })).collect();
    assert_eq!(kinds, [true, false], "the offsets first, the group after them");
    driver.run(effects);
    assert_eq!((driver.committed(1, 0), driver.state()), (None, "none"));
}

#[test]
fn offsets_of_a_subscribed_topic_cannot_be_deleted() {
    let mut driver = Driver::without_delay();
    let member_id = driver.stable_group(1).remove(0).member_id;
    driver.commit(commit_request(&member_id, 1, &[(1, 0, 5), (2, 0, 6)])).unwrap();
    let request = OffsetDeleteRequest {
        group_id: GROUP.into(),
        topics: vec![("topic-1".into(), topic(1), vec![0]), ("topic-2".into(), topic(2), vec![0, 9])],
    };
    let mut effects = Effects::default();
    let outcomes = driver.groups.delete_offsets(driver.now, &request, &mut effects).unwrap();
    assert_eq!(outcomes, [Err(GroupError::SubscribedToTopic), Ok(())]);
    assert_eq!(effects.records.len(), 1, "nothing is written for a partition without an offset");
    assert_eq!((driver.committed(1, 0), driver.committed(2, 0)), (Some(5), None));
    driver.run(effects);
    driver.leave(&[(&member_id, None)]).unwrap();
    let mut effects = Effects::default();
    let outcomes = driver.groups.delete_offsets(driver.now, &request, &mut effects).unwrap();
    assert_eq!(outcomes, [Ok(()), Ok(())]);
    assert_eq!(driver.committed(1, 0), None);
}

#[test]
fn offset_deletion_is_refused_for_unknown_groups_and_members_of_other_types() {
    let mut driver = Driver::without_delay();
    let request = OffsetDeleteRequest { group_id: GROUP.into(), topics: Vec::new() };
    let mut effects = Effects::default();
    let outcome = driver.groups.delete_offsets(driver.now, &request, &mut effects);
    assert_eq!(outcome, Err(GroupError::GroupNotFound));
    driver.join(JoinRequest { protocol_type: "connect".into(), ..old_join() });
    let outcome = driver.groups.delete_offsets(driver.now, &request, &mut effects);
    assert_eq!(outcome, Err(GroupError::GroupNotEmpty));
}

#[test]
fn subscriptions_that_cannot_be_read_protect_every_topic() {
    let mut driver = Driver::without_delay();
    let unreadable = vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"?") }];
    let token = driver.join(JoinRequest { protocols: unreadable, ..old_join() });
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[]));
    driver.commit(commit_request(&joined.member_id, 1, &[(2, 0, 6)])).unwrap();
    driver.now.wall_ms += RETENTION_MS;
    driver.expire();
    assert_eq!(driver.committed(2, 0), Some(6));
    let request =
        OffsetDeleteRequest { group_id: GROUP.into(), topics: vec![("topic-2".into(), topic(2), vec![0])] };
    let mut effects = Effects::default();
    let outcomes = driver.groups.delete_offsets(driver.now, &request, &mut effects).unwrap();
    assert_eq!(outcomes, [Err(GroupError::SubscribedToTopic)]);
}
