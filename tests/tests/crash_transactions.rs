//! `kill -9` in the middle of transactions: whatever the moment, each is committed or aborted as a whole, over all its
//! partitions and groups, and nothing it held stays held.
//!
//! Seeded by `TEST_SEED`; `TEST_FORM` is `short`, `full` or `soak` (`SOAK_MINUTES`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_tests::broker::Broker;
use chronik_tests::random::Random;
use chronik_tests::transactions::{Producer, stable_offset};
use chronik_tests::wire::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

mod crash_support;
use crash_support::Form;

/// Many markers take longer to write than few: more moments for the kill.
const PARTITIONS: i32 = 16;
/// Nothing here takes longer, or it fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn quick_broker() -> Broker {
    Broker::builder().set("group.initial.rebalance.delay.ms", 0).start()
}

fn config(broker_address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker_address).set_log_level(RDKafkaLogLevel::Critical);
    config.set("reconnect.backoff.max.ms", "200");
    config
}

/// Every partition from its beginning to the end that this isolation level has.
fn read_all(broker_address: &str, topic: &str, partitions: i32, isolation: &str) -> Vec<Vec<String>> {
    let mut config = config(broker_address);
    config.set("group.id", "readers").set("isolation.level", isolation).set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().expect("a good config");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a good offset");
    }
    consumer.assign(&list).expect("an assignment");
    let mut found = vec![Vec::new(); partitions as usize];
    let (mut ended, deadline) = (0, Instant::now() + PATIENCE);
    while ended < partitions {
        assert!(Instant::now() < deadline, "{ended} of {partitions} partitions were read to their end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                found[message.partition() as usize].push(value);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
    found
}

#[test]
fn an_end_cut_off_by_kill_9_is_whole_when_it_is_asked_for_again_or_its_producer_starts_again() {
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_122);
    let (form, started) = (Form::of_environment(), Instant::now());
    let mut broker = quick_broker();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("cut", PARTITIONS);
    let mut producer = Producer::start(&mut client, "cutter");
    let (mut expected, mut offset, mut rounds) = (Vec::new(), -1, 0);
    let (mut committed, mut aborted) = (0, 0);
    while form.goes_on(rounds, 14, 100, started) {
        let value = format!("round {rounds}");
        producer.produce(&mut client, "cut", PARTITIONS, &[Bytes::from(value.clone())]);
        producer.commit_offset(&mut client, "cutters", "cut", rounds as i64);
        let commit = dice.below(3) > 0;
        // Not waiting for the answer: the kill comes before, between or after prepare, markers and completion.
        client.send(&producer.end_request(commit), 5);
        std::thread::sleep(Duration::from_micros(dice.below(6_000) as u64));
        broker.kill();
        broker.start_again();
        client = Client::connect(broker.kafka_addr());
        let asks_again = dice.below(2) == 0;
        if asks_again {
            assert_eq!(producer.end(&mut client, commit), 0, "round {rounds}, commit {commit}");
        } else {
            producer = Producer::start(&mut client, "cutter");
        }
        // The group's offset tells how it ended; the records must agree.
        let now = stable_offset(&mut client, "cutters", "cut");
        let kept = now == rounds as i64;
        assert!(kept || now == offset, "round {rounds}: offset {now} after {offset}");
        assert!(!kept || commit, "round {rounds} was to be aborted");
        assert!(kept || !commit || !asks_again, "round {rounds} was to be committed");
        if kept {
            (offset, committed) = (now, committed + 1);
            expected.push(value);
        } else {
            aborted += 1;
        }
        rounds += 1;
    }
    eprintln!("{rounds} kills in {:?}: {committed} committed, {aborted} aborted", started.elapsed());
    let found = read_all(&broker.bootstrap(), "cut", PARTITIONS, "read_committed");
    assert!(found.iter().all(|values| *values == expected), "expected {expected:?}, found {found:?}");
    let everything = read_all(&broker.bootstrap(), "cut", PARTITIONS, "read_uncommitted");
    assert!(everything.iter().all(|values| values.len() == rounds), "every batch was acknowledged");
    assert!(committed > 0 && aborted > 0, "both kinds: {committed}, {aborted}");
}

#[test]
fn a_transaction_open_over_kill_9_goes_on_or_is_aborted_by_its_producers_next_start() {
    let mut broker = quick_broker();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("open", PARTITIONS);
    let mut first = Producer::start(&mut client, "goes-on");
    let mut second = Producer::start(&mut client, "starts-again");
    first.produce(&mut client, "open", PARTITIONS, &[Bytes::from_static(b"a")]);
    second.produce(&mut client, "open", PARTITIONS, &[Bytes::from_static(b"never")]);
    second.commit_offset(&mut client, "openers", "open", 7);
    broker.kill();
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    let nothing = vec![Vec::<String>::new(); PARTITIONS as usize];
    assert_eq!(read_all(&broker.bootstrap(), "open", PARTITIONS, "read_committed"), nothing);
    first.produce(&mut client, "open", PARTITIONS, &[Bytes::from_static(b"b")]);
    assert_eq!(first.end(&mut client, true), 0);
    let old = second.clone();
    second = Producer::start(&mut client, "starts-again");
    assert!(second.producer_id != old.producer_id || second.epoch > old.epoch, "{old:?} is fenced");
    assert_eq!(stable_offset(&mut client, "openers", "open"), -1);
    let mut late = old;
    assert!([47, 90].contains(&late.end(&mut client, true)), "its epoch is over");
    let found = read_all(&broker.bootstrap(), "open", PARTITIONS, "read_committed");
    assert!(found.iter().all(|values| *values == ["a", "b"]), "{found:?}");
    // Again across a restart: what is stable and what is aborted is not forgotten.
    broker.kill();
    broker.start_again();
    assert_eq!(read_all(&broker.bootstrap(), "open", PARTITIONS, "read_committed"), found);
}

/// A consumer at the group's committed offsets, and a producer of the one transactional id.
struct Copier {
    consumer: BaseConsumer,
    producer: BaseProducer,
}

impl Copier {
    fn start(address: &str) -> KafkaResult<Self> {
        let mut consumer = config(address);
        consumer.set("group.id", "copiers").set("isolation.level", "read_committed");
        consumer.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = consumer.set("session.timeout.ms", "6000").create()?;
        consumer.subscribe(&["from"])?;
        let mut producer = config(address);
        producer.set("transactional.id", "copier").set("transaction.timeout.ms", "30000");
        let producer: BaseProducer = producer.set("linger.ms", "1").create()?;
        producer.init_transactions(PATIENCE)?;
        Ok(Self { consumer, producer })
    }

    /// Copies a few records in one transaction; how many. An error says to start again.
    fn copy(&self) -> KafkaResult<usize> {
        let (mut records, deadline) = (Vec::new(), Instant::now() + Duration::from_millis(500));
        while records.len() < 20 && Instant::now() < deadline {
            if let Some(message) = self.consumer.poll(Duration::from_millis(20)) {
                records.push(message?.detach());
            } else if !records.is_empty() {
                break;
            }
        }
        if records.is_empty() {
            return Ok(0);
        }
        self.producer.begin_transaction()?;
        let mut positions = TopicPartitionList::new();
        for record in &records {
            let payload = record.payload().unwrap_or_default();
            let copy: BaseRecord<'_, (), [u8]> =
                BaseRecord::to("to").partition(record.partition()).payload(payload);
            self.producer.send(copy).map_err(|(error, _)| error)?;
        }
        for partition in 0..3 {
            if let Some(last) = records.iter().rfind(|record| record.partition() == partition) {
                positions.add_partition_offset("from", partition, Offset::Offset(last.offset() + 1))?;
            }
        }
        let group = self.consumer.group_metadata().expect("a member of a group");
        self.producer.send_offsets_to_transaction(&positions, &group, PATIENCE)?;
        self.producer.commit_transaction(PATIENCE)?;
        Ok(records.len())
    }
}

#[test]
fn consume_transform_produce_copies_each_record_once_under_kill_9() {
    const RECORDS: usize = 3_000;
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_122);
    let mut broker = quick_broker();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("from", 3);
    client.create_topic("to", 3);
    let mut filler = Producer::start(&mut client, "filler");
    for first in (0..RECORDS).step_by(500) {
        let values: Vec<Bytes> = (first..first + 500).map(|n| n.to_string().into()).collect();
        filler.produce(&mut client, "from", 3, &values);
        assert_eq!(filler.end(&mut client, true), 0);
    }
    let (address, done, started) = (broker.bootstrap(), AtomicBool::new(false), Instant::now());
    let (mut starts, mut errors) = (0, 0);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(300 + dice.below(900) as u64));
                broker.kill();
                broker.start_again();
                kills += 1;
            }
            kills
        });
        let mut idle_since = None;
        // Until nothing came for a while that is longer than a restart and a rebalance.
        while idle_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(9)) {
            assert!(started.elapsed() < 2 * PATIENCE, "{starts} starts, {errors} errors");
            starts += 1;
            let Ok(copier) = Copier::start(&address) else { continue };
            loop {
                match copier.copy() {
                    Ok(0) if idle_since.is_some_and(|since| since.elapsed() > Duration::from_secs(9)) => {
                        break;
                    }
                    Ok(0) => idle_since = idle_since.or_else(|| Some(Instant::now())),
                    Ok(_) => idle_since = None,
                    Err(_) => {
                        errors += 1;
                        break;
                    }
                }
                if idle_since.is_some() {
                    done.store(true, Ordering::Relaxed);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        let kills = killer.join().expect("the broker starts each time");
        eprintln!("{kills} kills, {starts} starts, {errors} errors in {:?}", started.elapsed());
        assert!(kills > 0, "no kill");
    });
    let found = read_all(&broker.bootstrap(), "to", 3, "read_committed");
    let expected: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    for (partition, values) in found.iter().enumerate() {
        let wrong = values.iter().zip(&expected).position(|(found, wanted)| found != wanted);
        let count = values.len();
        assert!(*values == expected, "partition {partition}: {count} of {RECORDS}, wrong from {wrong:?} on");
    }
}
