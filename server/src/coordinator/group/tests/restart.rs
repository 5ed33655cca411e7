//! What a restart keeps: the records, replayed, are the persisted state.

use super::*;

/// Another process, later, with what this one persisted.
fn restarted(driver: &Driver) -> Driver {
    let mut again = Driver::with_config(*driver.groups.config());
    again.now = Now { mono_ms: 0, wall_ms: driver.now.wall_ms + 1_000 };
    again.next_token = driver.next_token;
    for record in &driver.log {
        again.groups.apply(record, again.now);
    }
    let effects = again.groups.loaded(again.now);
    again.run(effects);
    again.log.clone_from(&driver.log);
    again
}

#[test]
fn a_stable_group_goes_on_where_it_was() {
    let mut driver = Driver::without_delay();
    let tokens = [driver.join(old_join()), driver.join(old_join())];
    driver.advance(0);
    let joined = tokens.map(|token| driver.joined(token));
    driver.sync(sync_request(&joined[0], &[(&joined[0].member_id, "a"), (&joined[1].member_id, "b")]));
    driver.sync(sync_request(&joined[1], &[]));
    driver.commit(commit_request(&joined[0].member_id, 1, &[(1, 0, 6)])).unwrap();

    let mut again = restarted(&driver);
    assert_eq!(again.groups.describe(GROUP), driver.groups.describe(GROUP));
    assert_eq!(again.committed(1, 0), Some(6));
    again.heartbeat(&heartbeat_request(&joined[1])).unwrap();
    let share = again.sync(sync_request(&joined[1], &[]));
    assert_eq!(again.share(share).unwrap(), "b");
    again.advance(SESSION_MS);
    let gone = again.heartbeat(&heartbeat_request(&joined[0]));
    assert_eq!(gone, Err(GroupError::UnknownMember), "sessions count from the restart");
}

#[test]
fn a_generation_that_nobody_assigned_is_forgotten_and_its_members_rejoin() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(1);
    let token = driver.join(join_request(&members[0].member_id));
    let second = driver.joined(token);
    assert_eq!(second.generation, 2);
    let mut again = restarted(&driver);
    let token = again.sync(sync_request(&second, &[]));
    assert_eq!(again.share(token), Err(GroupError::IllegalGeneration));
    let token = again.join(join_request(&members[0].member_id));
    assert_eq!(again.joined(token).generation, 2);
}

#[test]
fn static_members_and_empty_groups_survive() {
    let mut driver = Driver::without_delay();
    let token = driver.join(static_join("i1"));
    driver.advance(0);
    let joined = driver.joined(token);
    driver.sync(sync_request(&joined, &[(&joined.member_id, "a")]));
    let mut again = restarted(&driver);
    let token = again.join(static_join("i1"));
    let back = again.joined(token);
    assert_eq!((back.generation, back.skip_assignment), (1, true));
    let old = HeartbeatRequest { instance_id: Some("i1".into()), ..heartbeat_request(&joined) };
    assert_eq!(again.heartbeat(&old), Err(GroupError::FencedInstance));
    again.leave(&[("", Some("i1"))]).unwrap();
    let mut third = restarted(&again);
    assert_eq!(third.state(), "Empty");
    let token = third.join(old_join());
    third.advance(0);
    assert_eq!(third.joined(token).generation, 3, "generations go on from the empty one");
}

#[test]
fn a_group_above_a_lowered_limit_rebalances_after_a_restart() {
    let mut driver = Driver::without_delay();
    let members = driver.stable_group(3);
    let mut again = Driver::with_config(GroupConfig { max_size: 2, ..*driver.groups.config() });
    for record in &driver.log {
        again.groups.apply(record, again.now);
    }
    let effects = again.groups.loaded(again.now);
    again.run(effects);
    assert_eq!(again.state(), "PreparingRebalance");
    let tokens: Vec<Token> =
        members.iter().map(|member| again.join(join_request(&member.member_id))).collect();
    assert_eq!(again.join_error(tokens[2]), GroupError::GroupFull);
    assert_eq!(again.joined(tokens[0]).members.len(), 2);
}

#[test]
fn deleted_and_expired_state_does_not_come_back() {
    let mut driver = Driver::new();
    driver.commit(commit_request("", -1, &[(1, 0, 5), (1, 1, 6)])).unwrap();
    let mut effects = Effects::default();
    driver.groups.topics_deleted(driver.now, &BTreeSet::from([topic(1)]), &mut effects);
    driver.run(effects);
    assert_eq!(restarted(&driver).groups.offset_count(), 0);
    driver.expire();
    assert!(restarted(&driver).groups.is_empty());
}
