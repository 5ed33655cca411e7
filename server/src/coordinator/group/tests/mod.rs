//! The pure core under a manual clock: a driver that does what the shard does, and tests by subject. Together they
//! cover each line of semantics 3.7.

mod joining;
mod membership;
mod model;
mod offsets;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::coordinator::timer::TimerQueue;

const GROUP: &str = "g";
const SESSION_MS: i64 = 10_000;
const REBALANCE_MS: i64 = 60_000;
const DELAY_MS: i64 = 3_000;
const EPOCH_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn topic_name(id: Uuid) -> Option<Arc<str>> {
    (id.as_u128() < 100).then(|| format!("topic-{}", id.as_u128()).into())
}

/// A consumer's metadata: a version 0 subscription.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    names.iter().map(|&name| Protocol { name: name.into(), metadata: subscription(&["topic-1"]) }).collect()
}

/// A dynamic consumer without an id, of a client that must be given one.
fn join_request(member_id: &str) -> JoinRequest {
    JoinRequest {
        group_id: GROUP.into(),
        member_id: member_id.into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: i32::try_from(SESSION_MS).unwrap(),
        rebalance_timeout_ms: i32::try_from(REBALANCE_MS).unwrap(),
        protocol_type: "consumer".into(),
        protocols: protocols(&["range"]),
        require_known_member: true,
        can_skip_assignment: true,
        fresh: Uuid::nil(),
    }
}

fn static_join(instance_id: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance_id.into()), ..join_request("") }
}

/// One to whom the id is given on joining, as before JoinGroup 4.
fn old_join() -> JoinRequest {
    JoinRequest { require_known_member: false, ..join_request("") }
}

fn sync_request(joined: &Joined, assignments: &[(&str, &str)]) -> SyncRequest {
    SyncRequest {
        group_id: GROUP.into(),
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: Some("consumer".into()),
        protocol: joined.protocol.clone(),
        assignments: assignments
            .iter()
            .map(|&(member_id, share)| (member_id.into(), Bytes::copy_from_slice(share.as_bytes())))
            .collect(),
    }
}

fn heartbeat_request(joined: &Joined) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: GROUP.into(),
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
    }
}

fn commit_request(member_id: &str, generation: i32, offsets: &[(u128, u32, i64)]) -> CommitRequest {
    CommitRequest {
        group_id: GROUP.into(),
        member_id: member_id.into(),
        instance_id: None,
        generation,
        retention_ms: None,
        knows_group_not_found: true,
        offsets: offsets
            .iter()
            .map(|&(id, partition, offset)| OffsetToCommit {
                topic: topic(id),
                partition,
                offset,
                leader_epoch: 0,
                metadata: "m".into(),
            })
            .collect(),
    }
}

/// Does what the shard does, with a clock that only moves when told.
struct Driver {
    groups: Groups,
    now: Now,
    timers: TimerQueue<TimerKey>,
    next_token: u64,
    waiting: BTreeSet<Token>,
    joins: BTreeMap<Token, JoinReply>,
    syncs: BTreeMap<Token, SyncReply>,
    log: Vec<Record>,
}

impl Driver {
    fn new() -> Self {
        Self::with_config(GroupConfig::default())
    }

    fn with_config(config: GroupConfig) -> Self {
        Self {
            groups: Groups::new(config),
            now: Now { mono_ms: 0, wall_ms: EPOCH_MS },
            timers: TimerQueue::default(),
            next_token: 0,
            waiting: BTreeSet::new(),
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn without_delay() -> Self {
        Self::with_config(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() })
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.waiting.insert(token);
        token
    }

    fn run(&mut self, effects: Effects) {
        for (token, _, reply) in effects.joins {
            assert!(self.waiting.remove(&token), "a JoinGroup was answered twice");
            self.joins.insert(token, reply);
        }
        for (token, _, reply) in effects.syncs {
            assert!(self.waiting.remove(&token), "a SyncGroup was answered twice");
            self.syncs.insert(token, reply);
        }
        for (key, deadline_ms) in effects.timers {
            match deadline_ms {
                Some(deadline_ms) => self.timers.set(key, deadline_ms),
                None => self.timers.cancel(&key),
            }
        }
        self.log.extend(effects.records);
    }

    /// Moves the clock, firing what comes due on the way.
    fn advance(&mut self, ms: i64) {
        let end = self.now.mono_ms + ms;
        while let Some(deadline_ms) = self.timers.next_deadline_ms().filter(|&deadline_ms| deadline_ms <= end)
        {
            self.move_clock_to(deadline_ms.max(self.now.mono_ms));
            let key = self.timers.pop_due(self.now.mono_ms).expect("one is due");
            let effects = self.groups.timer_fired(self.now, &key);
            self.run(effects);
        }
        self.move_clock_to(end);
    }

    fn move_clock_to(&mut self, mono_ms: i64) {
        self.now.wall_ms += mono_ms - self.now.mono_ms;
        self.now.mono_ms = mono_ms;
    }

    fn join(&mut self, mut request: JoinRequest) -> Token {
        let token = self.token();
        if request.fresh.is_nil() {
            request.fresh = Uuid::from_u128(u128::from(token.0));
        }
        let effects = self.groups.join(self.now, token, request);
        self.run(effects);
        token
    }

    fn sync(&mut self, request: SyncRequest) -> Token {
        let token = self.token();
        let effects = self.groups.sync(self.now, token, request);
        self.run(effects);
        token
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        let mut effects = Effects::default();
        let outcome = self.groups.heartbeat(self.now, request, &mut effects);
        self.run(effects);
        outcome
    }

    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let members = members.iter().map(|&(member_id, instance_id)| LeavingMember {
            member_id: member_id.into(),
            instance_id: instance_id.map(Arc::from),
        });
        let request = LeaveRequest { group_id: GROUP.into(), members: members.collect() };
        let mut effects = Effects::default();
        let outcome = self.groups.leave(self.now, &request, &mut effects);
        self.run(effects);
        outcome
    }

    fn commit(&mut self, request: CommitRequest) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let mut effects = Effects::default();
        let outcome = self.groups.commit_offsets(self.now, request, &mut effects);
        self.run(effects);
        outcome
    }

    fn expire(&mut self) {
        self.expire_but(&[]);
    }

    /// While transactions hold offsets for these.
    fn expire_but(&mut self, waiting: &[(Uuid, u32)]) {
        let effects = self.groups.expire(self.now, &topic_name, &|_| waiting.to_vec());
        self.run(effects);
    }

    fn committed(&self, id: u128, partition: u32) -> Option<i64> {
        let request = FetchRequest { group_id: GROUP.into(), partitions: Some(vec![(topic(id), partition)]) };
        let fetched = self.groups.fetch_offsets(&request).unwrap();
        fetched[0].committed.as_ref().map(|value| value.offset)
    }

    fn state(&self) -> &'static str {
        self.groups.describe(GROUP).map_or("none", |description| description.state)
    }

    #[track_caller]
    fn joined(&self, token: Token) -> Joined {
        self.joins.get(&token).expect("the JoinGroup still waits").clone().expect("the JoinGroup was refused")
    }

    #[track_caller]
    fn join_refused(&self, token: Token) -> JoinRefused {
        self.joins
            .get(&token)
            .expect("the JoinGroup still waits")
            .clone()
            .expect_err("the JoinGroup succeeded")
    }

    #[track_caller]
    fn join_error(&self, token: Token) -> GroupError {
        self.join_refused(token).error
    }

    #[track_caller]
    fn share(&self, token: Token) -> Result<Bytes, GroupError> {
        let reply = self.syncs.get(&token).expect("the SyncGroup still waits").clone();
        reply.map(|synced| synced.assignment)
    }

    /// Has a dynamic member given an id; its first real JoinGroup comes after.
    fn new_id(&mut self) -> Arc<str> {
        let token = self.join(join_request(""));
        let refused = self.join_refused(token);
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        refused.member_id
    }

    /// A stable group of dynamic members, the leader first.
    fn stable_group(&mut self, size: usize) -> Vec<Joined> {
        let tokens: Vec<Token> = (0..size).map(|_| self.join(old_join())).collect();
        self.advance(2 * i64::from(self.groups.config().initial_rebalance_delay_ms));
        let mut members: Vec<Joined> = tokens.iter().map(|&token| self.joined(token)).collect();
        members.sort_by_key(|joined| joined.member_id != joined.leader);
        for joined in members.iter().rev() {
            self.sync(sync_request(joined, &[]));
        }
        assert_eq!(self.state(), "Stable");
        members
    }
}
