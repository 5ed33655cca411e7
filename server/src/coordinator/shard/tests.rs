//! The task over the memory store: what is told when, in which order, and what a restart finds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_engine::store::MemoryStore;

use super::*;
use crate::coordinator::group::{Joined, OffsetToCommit, Protocol};
use crate::coordinator::{EngineGroupStore, GroupCoordinator};

const WAIT: Duration = Duration::from_secs(10);
const NOTHING: [i64; 0] = [];
const QUIET: Duration = Duration::from_millis(50);

fn config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 0, min_session_timeout_ms: 10, ..GroupConfig::default() }
}

fn topic() -> Uuid {
    Uuid::from_u128(1)
}

async fn coordinator(store: &Arc<MemoryStore>) -> GroupCoordinator {
    let topics: TopicNames = Arc::new(|id| (id == topic()).then(|| "t".into()));
    let groups = Arc::new(EngineGroupStore::new(store.clone()));
    GroupCoordinator::start(groups, config(), Clock::system(), topics).await.unwrap()
}

fn join_request(session_timeout_ms: i32) -> JoinRequest {
    JoinRequest {
        group_id: "g".into(),
        member_id: "".into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t"),
        }],
        require_known_member: false,
        can_skip_assignment: true,
        fresh: Uuid::nil(),
    }
}

fn sync_request(joined: &Joined) -> SyncRequest {
    SyncRequest {
        group_id: "g".into(),
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member_id.clone(), Bytes::from_static(b"all"))],
    }
}

fn commit_request(group_id: &str, partition: u32, offset: i64) -> CommitRequest {
    CommitRequest {
        group_id: group_id.into(),
        member_id: "".into(),
        instance_id: None,
        generation: -1,
        retention_ms: None,
        knows_group_not_found: true,
        offsets: vec![OffsetToCommit {
            topic: topic(),
            partition,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }],
    }
}

fn fetch_request(group_id: &str) -> FetchRequest {
    FetchRequest { group_id: group_id.into(), partitions: None }
}

async fn committed(groups: &GroupCoordinator, group_id: &str) -> Vec<i64> {
    let fetched = groups.fetch_offsets(fetch_request(group_id)).await.unwrap();
    fetched.into_iter().map(|found| found.committed.unwrap().offset).collect()
}

/// Ticks the stepped store until `task` is done.
async fn settle<T>(store: &MemoryStore, task: tokio::task::JoinHandle<T>) -> T {
    let deadline = Instant::now() + WAIT;
    while !task.is_finished() && Instant::now() < deadline {
        store.sync();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.await.unwrap()
}

#[tokio::test]
async fn a_member_joins_syncs_commits_and_a_restart_knows_it_all() {
    let store = Arc::new(MemoryStore::new());
    let groups = coordinator(&store).await;
    let joined = groups.join(join_request(10_000)).await.unwrap();
    assert_eq!((joined.generation, joined.leader == joined.member_id), (1, true));
    assert_eq!(groups.sync(sync_request(&joined)).await.unwrap().assignment, "all");
    let alive = HeartbeatRequest {
        group_id: "g".into(),
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: 1,
    };
    groups.heartbeat(alive.clone()).await.unwrap();
    let commit =
        CommitRequest { member_id: joined.member_id.clone(), generation: 1, ..commit_request("g", 3, 7) };
    assert_eq!(groups.commit_offsets(commit).await, Ok(vec![Ok(())]));
    let before = groups.describe("g").await;
    drop(groups);

    let again = coordinator(&store).await;
    assert_eq!(again.describe("g").await, before);
    assert_eq!(committed(&again, "g").await, [7]);
    again.heartbeat(alive).await.unwrap();
    let listed = again.list(Vec::new(), vec!["classic".to_owned()]).await.unwrap();
    assert_eq!((&*listed[0].group_id, listed[0].state), ("g", "Stable"));
}

#[tokio::test]
async fn nothing_is_told_before_it_is_durable_not_even_to_who_only_reads() {
    let store = Arc::new(MemoryStore::stepped());
    let groups = coordinator(&store).await;
    let commit = tokio::spawn({
        let groups = groups.clone();
        async move { groups.commit_offsets(commit_request("g", 0, 5)).await }
    });
    tokio::time::sleep(QUIET).await;
    let fetch = tokio::spawn({
        let groups = groups.clone();
        async move { committed(&groups, "g").await }
    });
    let list = tokio::spawn({
        let groups = groups.clone();
        async move { groups.list(Vec::new(), Vec::new()).await }
    });
    tokio::time::sleep(QUIET).await;
    assert!(!commit.is_finished() && !fetch.is_finished() && !list.is_finished());
    // A group that nobody wrote to is not held up.
    assert_eq!(tokio::time::timeout(WAIT, committed(&groups, "other")).await.unwrap(), NOTHING);
    assert_eq!(settle(&store, commit).await, Ok(vec![Ok(())]));
    assert_eq!(settle(&store, fetch).await, [5]);
    assert_eq!(settle(&store, list).await.unwrap().len(), 1);
    assert_eq!(tokio::time::timeout(WAIT, committed(&groups, "g")).await.unwrap(), [5], "durable: no wait");
}

#[tokio::test]
async fn a_share_is_not_given_out_before_the_generation_is_durable() {
    let store = Arc::new(MemoryStore::stepped());
    let groups = coordinator(&store).await;
    let joined = groups.join(join_request(10_000)).await.unwrap();
    let sync = tokio::spawn({
        let (groups, request) = (groups.clone(), sync_request(&joined));
        async move { groups.sync(request).await }
    });
    tokio::time::sleep(QUIET).await;
    assert!(!sync.is_finished());
    assert_eq!(settle(&store, sync).await.unwrap().assignment, "all");
}

#[tokio::test]
async fn a_store_that_fails_fails_the_commit_and_later_reads_of_it() {
    let store = Arc::new(MemoryStore::new());
    let groups = coordinator(&store).await;
    store.fail_next_write("the disk is gone");
    let outcome = groups.commit_offsets(commit_request("g", 0, 5)).await;
    assert_eq!(outcome, Err(GroupError::StoreFailed));
    assert_eq!(groups.fetch_offsets(fetch_request("g")).await, Err(GroupError::StoreFailed));
}

#[tokio::test]
async fn sessions_end_by_themselves_and_the_shard_sleeps_in_between() {
    let store = Arc::new(MemoryStore::new());
    let groups = coordinator(&store).await;
    let joined = groups.join(join_request(200)).await.unwrap();
    groups.sync(sync_request(&joined)).await.unwrap();
    let started = Instant::now();
    while groups.describe("g").await.unwrap().state != "Empty" {
        assert!(started.elapsed() < WAIT, "the member stays for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(150), "the session ended early");
}

#[tokio::test]
async fn stopping_answers_who_waits() {
    let store = Arc::new(MemoryStore::new());
    let groups = coordinator(&store).await;
    let joined = groups.join(join_request(10_000)).await.unwrap();
    groups.sync(sync_request(&joined)).await.unwrap();
    let waiting = tokio::spawn({
        let groups = groups.clone();
        async move { groups.join(join_request(10_000)).await }
    });
    tokio::time::sleep(QUIET).await;
    assert!(!waiting.is_finished());
    groups.stop().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().error, GroupError::CoordinatorStopped);
    assert_eq!(groups.fetch_offsets(fetch_request("g")).await, Err(GroupError::CoordinatorStopped));
}

#[tokio::test]
async fn commits_of_many_callers_are_all_kept_through_a_crash() {
    let store = Arc::new(MemoryStore::new());
    let groups = coordinator(&store).await;
    let tasks: Vec<_> = (0..200u32)
        .map(|number| {
            let groups = groups.clone();
            tokio::spawn(async move {
                groups.commit_offsets(commit_request("g", number, i64::from(number))).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let crashed = Arc::new(store.crash(chronik_engine::store::CrashPoint::Durable));
    let again = coordinator(&crashed).await;
    assert_eq!(committed(&again, "g").await, (0..200).collect::<Vec<i64>>());
    again.topics_deleted(BTreeSet::from([topic()])).await.unwrap();
    assert_eq!(committed(&again, "g").await, NOTHING);
    again.delete("g").await.unwrap();
    assert_eq!(again.delete("g").await, Err(GroupError::GroupNotFound));
    drop(again);
    assert_eq!(coordinator(&crashed).await.list(Vec::new(), Vec::new()).await, Ok(Vec::new()));
}

/// Bytes this process holds, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

/// What this thread has used of the processor, where the system tells it: a busy machine must not fail a test.
fn thread_seconds(since: Instant) -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let used: Option<f64> = schedstat.and_then(|line| line.split_whitespace().next()?.parse().ok());
    used.map_or_else(|| since.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

#[tokio::test]
async fn ten_thousand_groups_and_a_hundred_thousand_offsets_load_quickly_and_stay_small() {
    let store = Arc::new(MemoryStore::new());
    let groups = EngineGroupStore::new(store.clone());
    for number in 0..10_000u128 {
        let group_id: Arc<str> = format!("group-{number}").into();
        let offsets = (0..10u32).map(|partition| Record::Offset {
            group_id: group_id.clone(),
            topic: Uuid::from_u128(1),
            partition,
            value: chronik_engine::keys::group::OffsetValue { offset: 1 << 40, ..Default::default() },
        });
        groups.persist(offsets.collect()).await.unwrap();
    }
    let started = Instant::now();
    let (before, used) = (resident_bytes(), thread_seconds(started));
    let loaded = coordinator(&store).await;
    let seconds = thread_seconds(started) - used;
    assert_eq!(committed(&loaded, "group-9999").await.len(), 10);
    assert!(seconds < 1.0, "loading took {seconds} s");
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 100 << 20, "loading took {grown} bytes");
    }
}
