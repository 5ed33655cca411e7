//! Log cleaning in the real binary: by itself and under `kill -9`, and with `chronik-server compact`.

use std::collections::{BTreeMap, HashMap};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use chronik_protocol::batch::{BatchBuilder, BatchHeader, split_batches};
use chronik_tests::broker::{Broker, binary};
use chronik_tests::random::Random;
use chronik_tests::wire::{Client, produce_request, records_of};
use serde_json::Value;

/// What is promised: the space of what was cleaned comes back within a minute of the pass.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: usize = 60;
const VALUE_BYTES: usize = 12_000;
const RECORDS_PER_BATCH: usize = 8;
const BATCHES: usize = 250;
const KILLS: usize = 4;

/// Every record by offset, and the last offset of each key.
#[derive(Default)]
struct Ledger {
    records: BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>,
    latest: HashMap<Vec<u8>, i64>,
}

impl Ledger {
    fn write(&mut self, client: &mut Client, topic: &str, records: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut builder = BatchBuilder::new();
        for (key, value) in &records {
            builder = builder.record(1, Some(key), value.as_deref());
        }
        let response =
            client.call(&produce_request(topic, 0, -1, builder.build().expect("the test made it sound")), 8);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0);
        for (offset, (key, value)) in (answer.base_offset..).zip(records) {
            self.latest.insert(key.clone(), offset);
            self.records.insert(offset, (key, value));
        }
    }

    /// Reads all, and returns how many records there are: every one as it was written, and the latest of each key.
    fn check(&self, client: &mut Client, topic: &str) -> usize {
        let (mut next, mut found) = (0, BTreeMap::new());
        loop {
            let (error, high_watermark, records) = client.fetch(topic, next);
            assert_eq!(error, 0, "at {next}");
            if next >= high_watermark {
                break;
            }
            let before = next;
            for batch in split_batches(records) {
                next = BatchHeader::parse(&batch).expect("the test made it sound").last_offset() + 1;
                let records = records_of(&batch).into_iter();
                found.extend(
                    records.map(|(offset, key, value)| (offset, (key.expect("each has one"), value))),
                );
            }
            assert!(next > before, "a reader at {next} comes to the end at {high_watermark}");
        }
        for (offset, record) in &found {
            assert_eq!(Some(record), self.records.get(offset), "offset {offset}");
        }
        for (key, offset) in &self.latest {
            let (_, value) = &self.records[offset];
            assert!(
                value.is_none() || found.contains_key(offset),
                "the latest of {key:?} at {offset} is lost"
            );
        }
        found.len()
    }
}

fn await_that(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

// semantics 3.9.7
#[test]
fn a_log_cleaned_under_kills_keeps_the_latest_of_every_key_and_gives_its_space_back() {
    let mut broker = Broker::builder()
        .set("log.cleaner.backoff.ms", 100)
        // Slow enough to be killed in the middle.
        .set("log.cleaner.io.max.bytes.per.second", 8 << 20)
        .start();
    let mut client = Client::connect(broker.kafka_addr());
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    client.create_topic_with("kept", 1, &compacted);
    let mut random = Random::seeded_by("compaction", 7);
    let mut ledger = Ledger::default();
    let record = |random: &mut Random| {
        let key = format!("key-{}", random.below(KEYS)).into_bytes();
        let value = (random.below(10) > 0).then(|| random.bytes(VALUE_BYTES));
        (key, value)
    };
    for _ in 0..BATCHES {
        let records = (0..RECORDS_PER_BATCH).map(|_| record(&mut random)).collect();
        ledger.write(&mut client, "kept", records);
    }
    let full = (BATCHES * RECORDS_PER_BATCH * VALUE_BYTES) as u64;
    for kill in 0..KILLS {
        let written = || broker.metric("chronik_cleaner_written_bytes_total");
        let before = written();
        await_that("the cleaner is at work", PATIENCE, || written() > before);
        std::thread::sleep(Duration::from_millis(50 + random.below(300) as u64));
        broker.kill();
        broker.start_again();
        client = Client::connect(broker.kafka_addr());
        let left = ledger.check(&mut client, "kept");
        eprintln!("kill {kill}: {left} of {} records are left", ledger.records.len());
        for _ in 0..20 {
            let records = (0..RECORDS_PER_BATCH).map(|_| record(&mut random)).collect();
            ledger.write(&mut client, "kept", records);
        }
    }
    // What is left: a value a key, the active segment, and the one before it while it waits.
    let goal = (KEYS * VALUE_BYTES) as u64 + (6 << 20);
    await_that("most records are gone", PATIENCE, || {
        ledger.check(&mut client, "kept") * VALUE_BYTES < goal as usize
    });
    // As for retention: room for half as much garbage again, and the log of the store.
    let begun = Instant::now();
    await_that("the space comes back", GIVEN_BACK_WITHIN, || {
        broker.disk_usage() < full.saturating_sub(full / 2)
    });
    eprintln!("{full} bytes became {} in {:?}", broker.disk_usage(), begun.elapsed());
    assert_eq!(broker.metric("chronik_cleaner_failures_total"), 0.0);
    assert!(broker.metric("chronik_cleaner_records_dropped_total") > 0.0);
    broker.stop();
    broker.start_again();
    ledger.check(&mut Client::connect(broker.kafka_addr()), "kept");
}

fn compact(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.arg("compact").args(arguments).envs(environment.iter().copied());
    command.output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", told(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn fill(client: &mut Client) -> Ledger {
    client.create_topic_with("kept", 1, &[("cleanup.policy", "compact")]);
    client.create_topic("plain", 1);
    let mut ledger = Ledger::default();
    for round in 0..30 {
        let record = |key: usize| (format!("k{key}").into_bytes(), Some(format!("{round}").into_bytes()));
        ledger.write(client, "kept", (0..10).map(record).collect());
    }
    ledger
}

#[test]
fn compact_asks_the_broker_tells_what_would_go_and_cleans() {
    let broker = Broker::builder().set("log.cleaner.enable", false).start();
    let mut client = Client::connect(broker.kafka_addr());
    let ledger = fill(&mut client);
    let http = broker.http_addr().to_string();
    let at = |arguments: &[&'static str]| compact(&[arguments, &["--http-addr", &http]].concat(), &[]);

    let status = json(&at(&["status", "--json"]));
    assert_eq!(
        (&status["enabled"], &status["partitions"][0]["topic"]),
        (&Value::Bool(false), &"kept".into())
    );
    let dry = json(&at(&["now", "--dry-run", "--json"]));
    let outcome = &dry["partitions"][0];
    assert_eq!((&outcome["records"], &outcome["records_dropped"]), (&300.into(), &290.into()));
    assert_eq!(ledger.check(&mut client, "kept"), 300, "nothing was changed");
    let now = at(&["now", "--topic", "kept"]);
    assert!(
        now.status.success() && told(&now).contains("kept-0: dropped 290 of 300 records"),
        "{}",
        told(&now)
    );
    assert_eq!(ledger.check(&mut client, "kept"), 10);
    assert!(told(&at(&["status"])).contains("kept-0"));

    for (arguments, words) in [
        (["now", "--topic", "nope"], "there is no topic 'nope'"),
        (["now", "--topic", "plain"], "not compacted: set its cleanup.policy"),
        (["status", "--topic", "nope"], "there is no topic 'nope'"),
    ] {
        let refused = at(&arguments);
        assert!(refused.status.code() == Some(6) && told(&refused).contains(words), "{}", told(&refused));
    }
    let dir = broker.data_dir().to_str().expect("a plain path");
    let in_use = compact(&["status", "-d", dir, "--http-addr", "127.0.0.1:1"], &[]);
    assert!(in_use.status.code() == Some(6) && told(&in_use).contains("in use"), "{}", told(&in_use));
    let via_directory = compact(&["status", "-d", dir, "--http-addr", &http, "--json"], &[]);
    assert_eq!(json(&via_directory)["partitions"][0]["dirty_bytes"], 0);
    let nobody = compact(&["status", "--http-addr", "127.0.0.1:1"], &[]);
    assert!(told(&nobody).contains("no broker answers"), "{}", told(&nobody));
}

#[test]
fn compact_needs_the_admin_key_where_the_broker_does() {
    let broker = Broker::builder().set("chronik.admin.api.key", "secret").start();
    let http = broker.http_addr().to_string();
    let arguments = ["status", "--http-addr", &http];
    let without = compact(&arguments, &[]);
    assert!(told(&without).contains("set CHRONIK_ADMIN_API_KEY"), "{}", told(&without));
    let with = compact(&arguments, &[("CHRONIK_ADMIN_API_KEY", "secret")]);
    assert!(with.status.success() && told(&with).contains("no topic is compacted"), "{}", told(&with));
}

#[test]
fn compact_opens_a_directory_that_no_broker_has_open() {
    let mut broker = Broker::builder().set("log.cleaner.enable", false).start();
    let ledger = fill(&mut Client::connect(broker.kafka_addr()));
    broker.stop();
    let dir = broker.data_dir().to_str().expect("a plain path").to_owned();
    let offline = |arguments: &[&'static str]| compact(&[arguments, &["-d", &dir, "--json"]].concat(), &[]);
    assert_eq!(json(&offline(&["now", "--dry-run"]))["partitions"][0]["records_dropped"], 290);
    assert_eq!(json(&offline(&["now"]))["partitions"][0]["records_dropped"], 290);
    assert_eq!(json(&offline(&["status"]))["partitions"][0]["dirty_bytes"], 0);
    let refused = offline(&["now", "--topic", "plain"]);
    assert!(told(&refused).contains("not compacted"), "{}", told(&refused));
    broker.start_again();
    assert_eq!(ledger.check(&mut Client::connect(broker.kafka_addr()), "kept"), 10);
    let nothing = tempfile::tempdir().expect("a directory");
    let empty = compact(&["status", "-d", nothing.path().to_str().expect("a plain path")], &[]);
    assert!(told(&empty).contains("holds no data"), "{}", told(&empty));
}
