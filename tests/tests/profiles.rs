//! Each value of `CHRONIK_PRODUCE_PROFILE` and of `CHRONIK_WAL_PROFILE` changes what the real binary does.

use std::time::{Duration, Instant};

use chronik_protocol::codec::messages;
use chronik_protocol::codec::messages::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::message;
use chronik_tests::broker::Broker;
use chronik_tests::random::Random;
use chronik_tests::wire::{Client, batch, produce_request};

/// One request for so many partitions is so many batches that wait for the disk at once: more than `extreme` takes.
const PARTITIONS: i32 = 700;
/// Full commits are seen within this, or never.
const PATIENCE: Duration = Duration::from_secs(30);

fn produce_everywhere(client: &mut Client) {
    let partition_data = (0..PARTITIONS)
        .map(|index| message!(PartitionProduceData { index: index, records: Some(batch(&[b"small"])) }))
        .collect();
    let topic = message!(TopicProduceData { name: "wide".into(), partition_data: partition_data });
    let request =
        message!(messages::ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic] });
    let response = client.call(&request, 8);
    assert!(response.responses[0].partition_responses.iter().all(|partition| partition.error_code == 0));
}

/// The commits so far that gathered at most `batches`, a bucket's bound.
fn commits_up_to(broker: &Broker, batches: &str) -> u64 {
    let (_, text) = broker.http_get("/metrics").expect("the metrics answer");
    let start = format!("chronik_store_commit_batches_bucket{{le=\"{batches}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no bucket {batches} in\n{text}"))
}

#[test]
fn a_produce_profile_caps_what_a_commit_gathers_and_lets_it_gather_that_much() {
    // No commit is larger than the cap; some are larger than the largest bucket below it.
    for (profile, cap, below) in [
        ("low-latency", "1", None),
        ("balanced", "10", Some("5")),
        ("high-throughput", "100", Some("50")),
        ("extreme", "500", Some("100")),
    ] {
        let broker = Broker::builder().env("CHRONIK_PRODUCE_PROFILE", profile).start();
        let mut client = Client::connect(broker.kafka_addr());
        client.create_topic("wide", PARTITIONS);
        let begun = Instant::now();
        loop {
            produce_everywhere(&mut client);
            let all = commits_up_to(&broker, "+Inf");
            assert_eq!(commits_up_to(&broker, cap), all, "{profile}: no commit of more than {cap} batches");
            let Some(below) = below else {
                assert!(all >= PARTITIONS as u64, "{profile}: {all} commits for {PARTITIONS} batches");
                break;
            };
            let large = all - commits_up_to(&broker, below);
            if large > 0 {
                eprintln!("{profile}: {large} of {all} commits gathered {below} to {cap} batches");
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{profile}: no commit of more than {below} batches of {all}");
        }
    }
}

#[test]
fn no_profile_makes_a_lone_producer_wait_for_its_timer() {
    for profile in ["low-latency", "balanced", "high-throughput", "extreme"] {
        let broker = Broker::builder().env("CHRONIK_PRODUCE_PROFILE", profile).start();
        let mut client = Client::connect(broker.kafka_addr());
        client.create_topic("lone", 1);
        let mut fastest = Duration::MAX;
        for _ in 0..20 {
            let begun = Instant::now();
            client.produce("lone", &[b"alone"]);
            fastest = fastest.min(begun.elapsed());
        }
        // The profiles' times are 10 to 2,000 ms; a disk that is slow now and then must not fail this.
        assert!(fastest < Duration::from_millis(100), "{profile}: {fastest:?}");
    }
}

/// A number of RocksDB's own account of the options it runs with; `section` is how its part begins.
fn store_option(broker: &Broker, section: &str, name: &str) -> u64 {
    let entries = std::fs::read_dir(broker.data_dir().join("store")).expect("the store's directory");
    let newest = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("OPTIONS-")))
        .max();
    let text = std::fs::read_to_string(newest.expect("RocksDB writes its options")).expect("a text file");
    let part = text.split_once(section).unwrap_or_else(|| panic!("no {section} in\n{text}")).1;
    let part = part.split("\n[").next().unwrap_or(part);
    let line = part.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{part}"))
}

/// Sum of one of the store's own figures.
fn internal(broker: &Broker, name: &str) -> u64 {
    let (_, text) = broker.http_get("/metrics").expect("the metrics answer");
    let start = format!("chronik_store_internals{{name=\"{name}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

#[test]
fn a_wal_profile_sets_the_budgets_that_the_store_runs_with() {
    let budgets = ["low", "medium", "high", "ultra"].map(|profile| {
        let broker = Broker::builder().env("CHRONIK_WAL_PROFILE", profile).start();
        let budgets = [
            store_option(&broker, "[CFOptions \"batches\"]", "write_buffer_size"),
            store_option(&broker, "[DBOptions]", "max_total_wal_size"),
            store_option(&broker, "[DBOptions]", "max_open_files"),
            internal(&broker, "block_cache_limit_bytes"),
            broker.metric("chronik_ring_limit_bytes") as u64,
        ];
        eprintln!("{profile}: memtable, WAL, files, cache, ring {budgets:?}");
        budgets
    });
    for (smaller, larger) in budgets.iter().zip(&budgets[1..]) {
        for (less, more) in smaller.iter().zip(larger) {
            assert!(less < more, "{smaller:?} before {larger:?}");
        }
    }
}

#[test]
fn a_wal_profile_decides_how_much_waits_in_memory_before_it_is_flushed() {
    const BATCHES: u64 = 26;
    const BATCH_BYTES: u64 = 900_000;
    let kept = ["low", "high"].map(|profile| {
        let broker = Broker::builder().env("CHRONIK_WAL_PROFILE", profile).start();
        let mut client = Client::connect(broker.kafka_addr());
        client.create_topic("filling", 1);
        let mut random = Random::new(11);
        for _ in 0..BATCHES {
            let value = random.bytes(BATCH_BYTES as usize);
            client.call(&produce_request("filling", 0, -1, batch(&[&value])), 8);
        }
        assert_eq!(client.fetch("filling", BATCHES as i64).1, BATCHES as i64);
        // A flush that is due runs in the background; where none is due there is nothing to await.
        let begun = Instant::now();
        loop {
            let flushed = internal(&broker, "blob_bytes");
            if flushed > 0 || profile != "low" || begun.elapsed() > PATIENCE {
                return (flushed, broker.metric("chronik_ring_bytes") as u64);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let written = BATCHES * BATCH_BYTES;
    eprintln!("of {written} bytes, flushed and kept in the ring with low and high: {kept:?}");
    let [(low_flushed, low_ring), (high_flushed, high_ring)] = kept;
    assert!(low_flushed > 8 << 20, "low gathers 16 MiB, then writes them out: {low_flushed}");
    assert_eq!(high_flushed, 0, "high gathers 64 MiB");
    assert!(low_ring <= 16 << 20, "low keeps the newest 16 MiB: {low_ring}");
    assert!(high_ring >= written, "high keeps all: {high_ring} of {written}");
}
