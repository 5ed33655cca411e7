//! `kill -9` while topics are created, written and deleted: each is there whole, under its id, or not at all.
//!
//! Seeded by `TEST_SEED`; `TEST_FORM` is `short`, `full` or `soak` (`SOAK_MINUTES`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chronik_protocol::codec::messages::create_topics_request::CreatableTopic;
use chronik_protocol::codec::messages::delete_topics_request::DeleteTopicState;
use chronik_protocol::codec::messages::metadata_response::MetadataResponseTopic;
use chronik_protocol::codec::messages::{self};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::ledger::reading::Caller;
use chronik_tests::random::Random;
use chronik_tests::wire::{Client, batch, fetch_request, produce_request};

mod crash_support;
use crash_support::Form;

const KILLS_SHORT: usize = 8;
const KILLS_FULL: usize = 80;
const WORKERS: usize = 4;
const NAMES_PER_WORKER: usize = 6;
const PARTITIONS_MAX: usize = 24;

type TopicId = [u8; 16];

/// What is known of a topic that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    id: TopicId,
    partitions: usize,
    /// Records acknowledged in partition 0.
    acked: i64,
    /// Records sent there whose answer was lost.
    unanswered: i64,
}

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Present(Known),
    /// The answer to a creation with so many partitions was lost.
    Creating(usize),
    /// The answer to a deletion was lost.
    Deleting(Known),
}

/// One client with names that nobody else touches.
struct Worker {
    names: BTreeMap<String, State>,
    /// Every id that any topic of these names ever had.
    ids: BTreeSet<TopicId>,
    dice: Random,
    creations: usize,
    deletions: usize,
}

impl Worker {
    fn new(index: usize, seed: u64) -> Self {
        let names = (0..NAMES_PER_WORKER).map(|name| (format!("worker-{index}-{name}"), State::Absent));
        Self {
            names: names.collect(),
            ids: BTreeSet::new(),
            dice: Random::new(seed),
            creations: 0,
            deletions: 0,
        }
    }

    /// Creates, writes and deletes until the broker is gone.
    fn work(&mut self, address: SocketAddr) {
        let Ok(mut caller) = Caller::connect(address) else { return };
        while self.step(&mut caller).is_ok() {}
    }

    /// One request about one name. After an error its answer is lost, and the state says so.
    fn step(&mut self, caller: &mut Caller) -> std::io::Result<()> {
        let names: Vec<String> = self.names.keys().cloned().collect();
        let name = &names[self.dice.below(names.len())];
        match self.names[name].clone() {
            State::Absent => self.create(caller, name),
            State::Present(known) if self.dice.below(3) == 0 => self.delete(caller, name, known),
            State::Present(known) => self.produce(caller, name, known),
            uncertain => panic!("{name} is {uncertain:?} while the broker answers"),
        }
    }

    fn set(&mut self, name: &str, state: State) {
        self.names.insert(name.to_owned(), state);
    }

    fn create(&mut self, caller: &mut Caller, name: &str) -> std::io::Result<()> {
        let partitions = 1 + self.dice.below(PARTITIONS_MAX);
        let topic = message!(CreatableTopic {
            name: name.into(),
            num_partitions: partitions as i32,
            replication_factor: 1,
        });
        let request = message!(messages::CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000 });
        self.set(name, State::Creating(partitions));
        let response = caller.call(&request, 7)?;
        let created = &response.topics[0];
        assert_eq!(created.error_code, 0, "{name} is created: {:?}", created.error_message);
        let id = created.topic_id.to_bytes();
        assert!(self.ids.insert(id), "{name}: an id is never used again");
        self.creations += 1;
        self.set(name, State::Present(Known { id, partitions, acked: 0, unanswered: 0 }));
        // What an earlier topic of this name held is not to be seen.
        for partition in 0..partitions as i32 {
            let response = caller.call(&fetch_request(name, partition, 0), 11)?;
            let found = &response.responses[0].partitions[0];
            let offsets = (found.error_code, found.log_start_offset, found.high_watermark);
            assert_eq!(offsets, (0, 0, 0), "{name}-{partition} is new");
        }
        Ok(())
    }

    fn delete(&mut self, caller: &mut Caller, name: &str, known: Known) -> std::io::Result<()> {
        let mut request = message!(messages::DeleteTopicsRequest { timeout_ms: 30_000 });
        let by_id = self.dice.below(2) == 0;
        if by_id {
            let id = chronik_protocol::codec::Uuid::from_bytes(known.id);
            request.topics = vec![message!(DeleteTopicState { name: None, topic_id: id })];
        } else {
            request.topic_names = vec![name.into()];
        }
        self.set(name, State::Deleting(known));
        let response = caller.call(&request, if by_id { 6 } else { 4 })?;
        assert_eq!(response.responses[0].error_code, 0, "{name} is deleted, by id: {by_id}");
        self.deletions += 1;
        self.set(name, State::Absent);
        Ok(())
    }

    fn produce(&mut self, caller: &mut Caller, name: &str, known: Known) -> std::io::Result<()> {
        let unanswered = Known { unanswered: known.unanswered + 1, ..known.clone() };
        self.set(name, State::Present(unanswered));
        let response = caller.call(&produce_request(name, 0, -1, batch(&[name.as_bytes()])), 8)?;
        let produced = &response.responses[0].partition_responses[0];
        let expected = known.acked + known.unanswered;
        assert_eq!((produced.error_code, produced.base_offset), (0, expected), "{name}");
        self.set(name, State::Present(Known { acked: known.acked + 1, ..known }));
        Ok(())
    }

    /// Holds what the broker shows after a restart to what it acknowledged, and learns what the crash left open.
    fn check(&mut self, client: &mut Client, shown: &BTreeMap<String, MetadataResponseTopic>) {
        let names: Vec<String> = self.names.keys().cloned().collect();
        for name in names {
            let found = shown.get(&name);
            if let Some(topic) = found {
                whole(&name, topic);
            }
            let state = match (self.names[&name].clone(), found) {
                (State::Absent, None) => State::Absent,
                (State::Absent, Some(_)) => panic!("{name}: its deletion was acknowledged, and it is there"),
                (State::Present(known), None) => panic!("{name} {known:?} was acknowledged and is not there"),
                (State::Creating(_) | State::Deleting(_), None) => State::Absent,
                (State::Creating(partitions), Some(topic)) => {
                    assert_eq!(topic.partitions.len(), partitions, "{name}");
                    assert!(self.ids.insert(topic.topic_id.to_bytes()), "{name}: an id is never used again");
                    let id = topic.topic_id.to_bytes();
                    State::Present(Known { id, partitions, acked: 0, unanswered: 0 })
                }
                (State::Present(known) | State::Deleting(known), Some(topic)) => {
                    assert_eq!(topic.topic_id.to_bytes(), known.id, "{name} keeps its id");
                    assert_eq!(topic.partitions.len(), known.partitions, "{name} keeps its partitions");
                    State::Present(known)
                }
            };
            let state = match state {
                State::Present(known) => State::Present(readable(client, &name, known)),
                other => other,
            };
            self.set(&name, state);
        }
    }
}

/// All partitions, each with its leader.
fn whole(name: &str, topic: &MetadataResponseTopic) {
    assert_eq!(topic.error_code, 0, "{name}");
    let mut indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition_index).collect();
    indexes.sort_unstable();
    assert!(indexes.iter().copied().eq(0..indexes.len() as i32), "{name} has partitions {indexes:?}");
    assert!(!indexes.is_empty(), "{name} has partitions");
    for partition in &topic.partitions {
        assert_eq!((partition.error_code, partition.leader_id), (0, 1), "{name}");
        assert!(partition.offline_replicas.is_empty(), "{name}");
    }
}

/// Every partition answers, and partition 0 has what was acknowledged.
fn readable(client: &mut Client, name: &str, known: Known) -> Known {
    let mut held = known;
    for partition in 0..held.partitions as i32 {
        let response = client.call(&fetch_request(name, partition, 0), 11);
        let found = &response.responses[0].partitions[0];
        assert_eq!((found.error_code, found.log_start_offset), (0, 0), "{name}-{partition}");
        if partition > 0 {
            assert_eq!(found.high_watermark, 0, "{name}-{partition} was never written");
            continue;
        }
        let sent = held.acked..=held.acked + held.unanswered;
        assert!(sent.contains(&found.high_watermark), "{name}: {} of {held:?}", found.high_watermark);
        (held.acked, held.unanswered) = (found.high_watermark, 0);
    }
    held
}

/// Every topic, by name.
fn topics(client: &mut Client) -> BTreeMap<String, MetadataResponseTopic> {
    let response = client.call(&message!(messages::MetadataRequest { topics: None }), 12);
    let named = response.topics.into_iter().filter(|topic| !topic.is_internal);
    named.map(|topic| (topic.name.as_deref().unwrap_or_default().to_owned(), topic)).collect()
}

fn check(broker: &Broker, workers: &mut [Worker]) {
    let mut client = Client::connect(broker.kafka_addr());
    let shown = topics(&mut client);
    for worker in workers.iter_mut() {
        worker.check(&mut client, &shown);
    }
    let known: BTreeSet<&String> = workers.iter().flat_map(|worker| worker.names.keys()).collect();
    let strange: Vec<_> = shown.keys().filter(|name| !known.contains(name)).collect();
    assert!(strange.is_empty(), "topics that nobody created: {strange:?}");
}

#[test]
fn topics_are_created_and_deleted_whole_or_not_at_all_under_kill_9() {
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_122);
    let form = Form::of_environment();
    let mut broker = Broker::start();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|index| Worker::new(index, dice.next_u64())).collect();
    let started = Instant::now();
    let mut kills = 0;
    while form.goes_on(kills, KILLS_SHORT, KILLS_FULL, started) {
        let address = broker.kafka_addr();
        let delay = Duration::from_millis(50 + dice.below(600) as u64);
        std::thread::scope(|scope| {
            for worker in &mut workers {
                scope.spawn(move || worker.work(address));
            }
            std::thread::sleep(delay);
            broker.kill();
        });
        kills += 1;
        // Now and then once more, in the middle of recovery.
        if dice.below(3) == 0 {
            broker.start_and_kill_after(Duration::from_millis(dice.below(150) as u64));
            kills += 1;
        }
        broker.start_again();
        check(&broker, &mut workers);
    }
    assert!(broker.stop().success(), "a stop that was asked for is clean");
    broker.start_again();
    check(&broker, &mut workers);
    let creations: usize = workers.iter().map(|worker| worker.creations).sum();
    let deletions: usize = workers.iter().map(|worker| worker.deletions).sum();
    eprintln!("{kills} kills, {creations} creations and {deletions} deletions, {:?}", started.elapsed());
    assert!(creations > 10 * KILLS_SHORT && deletions > 5 * KILLS_SHORT, "no load");
}
