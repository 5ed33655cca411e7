//! `kill -9` in the middle of load, again and again: everything acknowledged is there, once, at its offset, in order.
//!
//! Seeded by `TEST_SEED`; `TEST_FORM` is `short`, `full` (100 kills) or `soak` (`SOAK_MINUTES`).

use std::time::{Duration, Instant};

use chronik_tests::broker::Broker;
use chronik_tests::ledger::load::Load;
use chronik_tests::ledger::{check, reading};
use chronik_tests::random::Random;
use chronik_tests::wire::Client;

mod crash_support;
use crash_support::{Form, leader_epochs, verdict};

const KILLS_SHORT: usize = 30;
const KILLS_FULL: usize = 100;
const TOPICS: [(&str, i32); 3] = [("ledger", 6), ("unsynced", 2), ("trimmed", 2)];

#[test]
fn every_acknowledged_record_survives_kill_9_under_load() {
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_122);
    let form = Form::of_environment();
    let mut broker = Broker::builder().set("group.initial.rebalance.delay.ms", 100).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("ledger", 6);
    // Its records are lost in a power cut, not in a crash of the process: the kernel has them.
    client.create_topic_with("unsynced", 2, &[("chronik.durability", "os")]);
    client.create_topic("trimmed", 2);
    drop(client);
    let load = Load::new(broker.kafka_addr(), &TOPICS, dice.next_u64())
        .raw_producer(1, Duration::from_millis(1))
        .raw_producer(-1, Duration::from_millis(1))
        .idempotent_producer("none", Duration::from_millis(5))
        .idempotent_producer("lz4", Duration::from_millis(5))
        .group_member()
        .group_member()
        .tail_reader()
        .trimmer("trimmed", 2);
    let started = Instant::now();
    let mut kills = 0;
    let mut starts = Vec::new();
    while form.goes_on(kills, KILLS_SHORT, KILLS_FULL, started) {
        std::thread::sleep(Duration::from_millis(200 + dice.below(3_000) as u64));
        broker.kill();
        kills += 1;
        // Now and then once more, in the middle of recovery.
        if dice.below(3) == 0 {
            broker.start_and_kill_after(Duration::from_millis(dice.below(250) as u64));
            kills += 1;
        }
        let begin = Instant::now();
        broker.start_again();
        starts.push(begin.elapsed());
        load.note_positions().expect("the broker answers");
    }
    // The last members may have joined a moment ago only; retries need the broker up.
    std::thread::sleep(Duration::from_secs(2));
    load.note_positions().expect("the broker answers");
    let (mut history, complaints) = load.finish();
    assert!(broker.stop().success(), "a stop that was asked for is clean");
    broker.start_again();
    assert!(
        broker
            .log()
            .lines()
            .rev()
            .find(|line| line.contains("ready"))
            .is_some_and(|line| line.contains("after_crash=false"))
    );
    reading::read_all(broker.kafka_addr(), &mut history);
    let slowest = starts.iter().max().expect("one start");
    eprintln!(
        "{kills} kills, slowest start {slowest:?}, {:?} in all: {:?}",
        started.elapsed(),
        history.totals()
    );
    verdict(&check(&history), &complaints);
    let totals = history.totals();
    assert!(totals.acked > 1_000 && totals.polled > 1_000 && totals.commits > 10, "no load: {totals:?}");
}

#[test]
fn a_crash_raises_the_leader_epoch_of_topics_that_are_not_fsynced_only() {
    let mut broker = Broker::start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("synced", 1);
    client.create_topic_with("unsynced", 1, &[("chronik.durability", "os")]);
    client.produce("unsynced", &[b"a", b"b"]);
    client.produce("synced", &[b"a"]);
    assert_eq!(leader_epochs(&mut client, &["synced", "unsynced"]), [0, 0]);
    assert!(broker.stop().success());
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    assert_eq!(leader_epochs(&mut client, &["synced", "unsynced"]), [0, 0], "a clean stop changes nothing");
    for crash in 1..=2 {
        broker.kill();
        broker.start_again();
        let mut client = Client::connect(broker.kafka_addr());
        assert_eq!(leader_epochs(&mut client, &["synced", "unsynced"]), [0, crash]);
        assert_eq!(client.fetch("unsynced", 0).1, 2, "kill -9 loses nothing the kernel has");
    }
}
