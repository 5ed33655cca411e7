//! Whatever the object store does, and however the broker ends: produce and the newest records go on, nothing acknowledged
//! is lost, the backlog drains afterwards, wrong bytes are never served.
//!
//! Seeded by `TEST_SEED`; `TEST_FORM` is `short`, `full` or `soak` (`SOAK_MINUTES`).

use std::process::Command;
use std::time::{Duration, Instant};

use chronik_tests::broker::{Broker, binary};
use chronik_tests::fault_proxy::{Fault, FaultProxy};
use chronik_tests::ledger::load::Load;
use chronik_tests::ledger::{check, reading};
use chronik_tests::object_store::{Kind, ObjectStore, TIERED, tiered_broker};
use chronik_tests::random::Random;
use chronik_tests::wire::Client;

mod crash_support;
use crash_support::{Form, leader_epochs, verdict};

const TOPICS: [(&str, i32); 2] = [("ledger", 2), ("trimmed", 2)];

fn create_topics(broker: &Broker) {
    let mut client = Client::connect(broker.kafka_addr());
    for (topic, partitions) in TOPICS {
        client.create_topic_with(topic, partitions, &TIERED);
    }
}

fn load(broker: &Broker, dice: &mut Random) -> Load {
    Load::new(broker.kafka_addr(), &TOPICS, dice.next_u64())
        .raw_producer(-1, Duration::from_millis(1))
        .raw_producer(1, Duration::from_millis(1))
        .idempotent_producer("lz4", Duration::from_millis(2))
        .tail_reader()
        .trimmer("trimmed", 2)
}

fn produce_all(client: &mut Client, values: &[Vec<u8>]) {
    for value in values {
        client.produce("t", &[value]);
    }
}

/// Waits until nothing closed is local alone any more.
fn drained(broker: &Broker) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while broker.metric("chronik_tier_lag_seconds") > 0.0 {
        assert!(Instant::now() < deadline, "the backlog does not drain\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_store_that_misbehaves_costs_nothing_but_time() {
    let Some(store) = ObjectStore::start(Kind::Seaweedfs) else { return };
    let proxy = FaultProxy::start(store.address());
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_125);
    let form = Form::of_environment();
    let started = Instant::now();
    let mut broker = tiered_broker(&store.env_through(proxy.address())).start();
    create_topics(&broker);
    let load = load(&broker, &mut dice);
    std::thread::sleep(Duration::from_millis(1500));
    let mut rounds = 0;
    while form.goes_on(rounds, Fault::ALL.len(), 5 * Fault::ALL.len(), started) {
        let fault = Fault::ALL[rounds % Fault::ALL.len()];
        let (acked, hits) = (load.history().totals().acked, proxy.hits());
        proxy.set(fault);
        std::thread::sleep(Duration::from_millis(1500 + dice.below(1000) as u64));
        let more = load.history().totals().acked - acked;
        assert!(more > 50, "{fault:?}: produce stands still with the store, {more} records");
        // A copy may wait for its next try.
        let deadline = Instant::now() + Duration::from_secs(90);
        while proxy.hits() == hits {
            assert!(Instant::now() < deadline, "{fault:?} hit nothing");
            std::thread::sleep(Duration::from_millis(100));
        }
        proxy.set(Fault::None);
        std::thread::sleep(Duration::from_millis(300));
        rounds += 1;
    }
    // The server itself is away for a while, and comes back.
    store.stop();
    std::thread::sleep(Duration::from_secs(3));
    store.start_again();
    let (mut history, complaints) = load.finish();
    drained(&broker);
    // In the middle of reading everything, too.
    proxy.set(Fault::WrongBytes);
    std::thread::sleep(Duration::from_millis(200));
    proxy.set(Fault::None);
    assert!(broker.stop().success());
    broker.start_again();
    reading::read_all(broker.kafka_addr(), &mut history);
    eprintln!("{rounds} faults, {} hits in {:?}: {:?}", proxy.hits(), started.elapsed(), history.totals());
    verdict(&check(&history), &complaints);
    assert!(broker.metric("chronik_tier_remote_bytes") > 0.0);
}

#[test]
fn wrong_bytes_are_never_served() {
    let Some(store) = ObjectStore::start(Kind::Seaweedfs) else { return };
    let proxy = FaultProxy::start(store.address());
    let env = store.env_through(proxy.address());
    let mut broker = tiered_broker(&env).set("chronik.tier.cache.disk.bytes", 0).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic_with("t", 1, &TIERED);
    let mut dice = Random::new(1);
    let values: Vec<Vec<u8>> = (0..40).map(|_| dice.bytes(50_000)).collect();
    produce_all(&mut client, &values);
    drained(&broker);
    assert!(broker.stop().success());
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    proxy.set(Fault::WrongBytes);
    // An error, and not a byte of it.
    let (error, _, records) = client.fetch("t", 0);
    assert!(records.is_empty() && (error == 56 || error == 0), "{error}");
    proxy.set(Fault::None);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut next = 0;
    while next < values.len() {
        assert!(Instant::now() < deadline);
        let (_, _, records) = client.fetch("t", next as i64);
        for batch in chronik_protocol::batch::split_batches(records) {
            for (offset, _, value) in chronik_tests::wire::records_of(&batch) {
                assert_eq!((offset as usize, value.as_deref()), (next, Some(&values[next][..])));
                next += 1;
            }
        }
    }
    assert!(broker.metric("chronik_tier_corrupt_blocks_total") >= 1.0);
}

#[test]
fn kill_9_at_any_step_of_copying_and_deleting_loses_nothing() {
    let store = ObjectStore::start(Kind::Local).expect("a directory");
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_125);
    let form = Form::of_environment();
    let started = Instant::now();
    let mut broker = tiered_broker(store.env()).set("chronik.tier.orphan.grace.ms", 60_000).start();
    create_topics(&broker);
    let load = load(&broker, &mut dice);
    let mut kills = 0;
    while form.goes_on(kills, 15, 80, started) {
        std::thread::sleep(Duration::from_millis(200 + dice.below(1500) as u64));
        broker.kill();
        kills += 1;
        if dice.below(3) == 0 {
            broker.start_and_kill_after(Duration::from_millis(dice.below(300) as u64));
            kills += 1;
        }
        broker.start_again();
    }
    std::thread::sleep(Duration::from_secs(1));
    let (mut history, complaints) = load.finish();
    drained(&broker);
    assert!(broker.stop().success());
    broker.start_again();
    reading::read_all(broker.kafka_addr(), &mut history);
    eprintln!("{kills} kills in {:?}: {:?}", started.elapsed(), history.totals());
    verdict(&check(&history), &complaints);
    assert!(broker.metric("chronik_tier_remote_bytes") > 0.0 && history.totals().acked > 500);
}

/// Runs a subcommand of the binary; its standard output.
fn run(env: &[(String, String)], arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(binary());
    command.args(arguments).envs(env.iter().cloned());
    let output = command.output().expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), told + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_lost_directory_is_restored_and_the_broker_that_had_it_stops_uploading() {
    for kind in [Kind::Local, Kind::Seaweedfs] {
        let Some(store) = ObjectStore::start(kind) else { continue };
        let mut lost = tiered_broker(store.env()).start();
        let mut client = Client::connect(lost.kafka_addr());
        client.create_topic_with("t", 1, &[TIERED[0], TIERED[1], ("local.retention.bytes", "1000000")]);
        client.create_topic("plain", 2);
        let mut dice = Random::new(5);
        let values: Vec<Vec<u8>> = (0..100).map(|_| dice.bytes(20_000)).collect();
        produce_all(&mut client, &values);
        drained(&lost);
        let epoch = leader_epochs(&mut client, &["t"])[0];
        std::thread::sleep(Duration::from_millis(800));
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = scratch.path().join("new");
        let path = dir.display().to_string();
        let url = store.url();
        let (well, told) = run(store.env(), &["restore", "--from", &url, "--dry-run", "-d", &path]);
        assert!(well && !dir.exists(), "{told}");
        let (well, told) = run(store.env(), &["restore", "--from", &url, "--json", "-d", &path]);
        assert!(well, "{told}");
        let report: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let partitions = report["partitions"].as_array().expect("partitions");
        let restored = partitions.iter().find(|partition| partition["topic"] == "t").expect("the topic");
        let end = restored["end_offset"].as_i64().expect("a number");
        assert!((60..=100).contains(&end), "{report}");
        assert_eq!(partitions.len(), 3, "what is not tiered comes back empty: {report}");
        // Into a directory with data: refused.
        let (well, told) = run(store.env(), &["restore", "--from", &url, "-d", &path]);
        assert!(!well && told.contains("holds data already"), "{told}");
        let broker = tiered_broker(store.env()).data_dir(&dir).start();
        let mut restored_client = Client::connect(broker.kafka_addr());
        let mut next = 0;
        while next < end as usize {
            let (error, high_watermark, records) = restored_client.fetch("t", next as i64);
            assert_eq!((error, high_watermark), (0, end));
            for batch in chronik_protocol::batch::split_batches(records) {
                for (offset, _, value) in chronik_tests::wire::records_of(&batch) {
                    assert_eq!((offset as usize, value.as_deref()), (next, Some(&values[next][..])));
                    next += 1;
                }
            }
        }
        assert!(leader_epochs(&mut restored_client, &["t"])[0] > epoch);
        assert_eq!(restored_client.produce("t", &[b"on"]), end);
        // The one that was thought lost goes on serving, and uploads no more.
        produce_all(&mut client, &values);
        let deadline = Instant::now() + Duration::from_secs(30);
        let leads = |broker: &Broker| broker.metric("chronik_tier_leading") > 0.0;
        while leads(&lost) || !leads(&broker) {
            assert!(
                Instant::now() < deadline,
                "both write to the bucket, or none\n{}\n{}",
                lost.log(),
                broker.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(lost.stop().success());
    }
}

#[test]
fn doctor_storage_tries_every_store() {
    for kind in Kind::ALL {
        let Some(store) = ObjectStore::start(kind) else { continue };
        let (well, told) = run(store.env(), &["doctor", "storage"]);
        assert!(well, "{kind:?}:\n{told}");
        for check in ["put", "get", "range", "list", "create", "multipart", "delete"] {
            assert!(told.contains(&format!("ok    {check}")), "{kind:?} {check}:\n{told}");
        }
    }
}
