//! Power cuts, slow and failing syncs on the real RocksDB directory, through the interposer of `tests/power-loss`.
//!
//! Seeded by `TEST_SEED`; `TEST_FORM` is `short`, `full` (40 cuts) or `soak` (`SOAK_MINUTES`).
#![cfg(target_os = "linux")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chronik_tests::broker::Broker;
use chronik_tests::ledger::load::Load;
use chronik_tests::ledger::power::{PowerRig, Tail};
use chronik_tests::ledger::reading::{self, Caller};
use chronik_tests::ledger::{Anomaly, check};
use chronik_tests::random::Random;
use chronik_tests::wire::{Client, batch, produce_request};

mod crash_support;
use crash_support::{Form, verdict};

const CUTS_SHORT: usize = 16;
const CUTS_FULL: usize = 40;
/// A sync takes this long, so that a cut finds something that is not synced.
const SYNC_MS: u32 = 4;
/// Kafka's REQUEST_TIMED_OUT.
const REQUEST_TIMED_OUT: i16 = 7;
/// Kafka's KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: i16 = 56;

fn seed() -> Random {
    Random::seeded_by("TEST_SEED", 20_261_122)
}

#[test]
fn every_acknowledged_record_survives_power_cuts() {
    let mut dice = seed();
    let form = Form::of_environment();
    let rig = PowerRig::new();
    rig.syncs_take(SYNC_MS);
    let mut broker = rig.watch(Broker::builder()).set("group.initial.rebalance.delay.ms", 100).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("ledger", 4);
    client.create_topic("trimmed", 2);
    drop(client);
    let load = Load::new(broker.kafka_addr(), &[("ledger", 4), ("trimmed", 2)], dice.next_u64())
        .raw_producer(1, Duration::from_millis(1))
        .raw_producer(-1, Duration::from_millis(1))
        .idempotent_producer("none", Duration::from_millis(5))
        .idempotent_producer("gzip", Duration::from_millis(5))
        .group_member()
        .tail_reader()
        .trimmer("trimmed", 2);
    let started = Instant::now();
    let mut cuts = 0;
    while form.goes_on(cuts, CUTS_SHORT, CUTS_FULL, started) {
        std::thread::sleep(Duration::from_millis(300 + dice.below(2_500) as u64));
        // Now and then the plug is pulled right after a clean stop, or during the recovery from the last cut.
        match dice.below(4) {
            0 => assert!(broker.stop().success()),
            1 => {
                broker.kill();
                broker.start_and_kill_after(Duration::from_millis(dice.below(250) as u64));
            }
            _ => broker.kill(),
        }
        let tail = [Tail::Lost, Tail::Torn, Tail::Short][dice.below(3)];
        let cut = rig.cut(tail, &mut dice);
        eprintln!("{tail:?}: {cut:?}");
        assert_eq!(cut.unmodelled, 0, "durable bytes were overwritten; the cut cannot be trusted");
        assert!(cut.syncs > 0, "the interposer saw no sync");
        cuts += 1;
        broker.start_again();
        load.note_positions().expect("the broker answers");
    }
    std::thread::sleep(Duration::from_secs(2));
    load.note_positions().expect("the broker answers");
    let (mut history, complaints) = load.finish();
    reading::read_all(broker.kafka_addr(), &mut history);
    eprintln!("{cuts} cuts, {:?}: {:?}", started.elapsed(), history.totals());
    verdict(&check(&history), &complaints);
    assert!(history.totals().acked > 500, "no load: {:?}", history.totals());
}

#[test]
fn a_topic_just_created_survives_a_power_cut() {
    let mut dice = seed();
    let rig = PowerRig::new();
    let mut broker = rig.watch(Broker::builder()).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("first", 1);
    assert_eq!(client.produce("first", &[b"a"]), 0);
    broker.kill();
    rig.cut(Tail::Lost, &mut dice);
    broker.start_again();
    let mut client = Client::connect(broker.kafka_addr());
    assert_eq!(client.fetch("first", 0).1, 1, "directories and files of a new store are synced, too");
}

/// The suite's own proof.
#[test]
fn a_broker_that_acknowledges_before_the_fsync_is_found_out() {
    let mut dice = seed();
    let rig = PowerRig::new();
    let canary = PathBuf::from(env!("CARGO_BIN_EXE_canary_server"));
    // The honest broker makes the topic, so that it is there to be read.
    let mut honest = rig.watch(Broker::builder()).start();
    Client::connect(honest.kafka_addr()).create_topic("ledger", 4);
    assert!(honest.stop().success());
    let mut broker = rig.watch(Broker::builder()).binary(canary).start();
    let load = Load::new(broker.kafka_addr(), &[("ledger", 4)], dice.next_u64())
        .raw_producer(-1, Duration::ZERO)
        .raw_producer(1, Duration::ZERO);
    std::thread::sleep(Duration::from_secs(2));
    broker.kill();
    let (mut history, _) = load.finish();
    rig.cut(Tail::Lost, &mut dice);
    broker.start_again();
    reading::read_all(broker.kafka_addr(), &mut history);
    let found = check(&history);
    let lost = found.iter().filter(|anomaly| matches!(anomaly, Anomaly::LostWrite(..))).count();
    eprintln!("the canary acknowledged {} and lost {lost}", history.totals().acked);
    assert!(history.totals().acked > 100 && lost > 100, "the suite did not notice: {found:?}");
}

#[test]
fn a_slow_fsync_delays_acknowledgements_and_nothing_else() {
    let rig = PowerRig::new();
    let broker = rig.watch(Broker::builder()).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    client.produce("t", &[b"early"]);
    rig.syncs_take(2_000);
    let mut reader = Client::connect(broker.kafka_addr());
    let begin = Instant::now();
    let writer = std::thread::spawn(move || (client.produce("t", &[b"late"]), begin.elapsed()));
    let mut reads = 0;
    while begin.elapsed() < Duration::from_millis(1_500) {
        let asked = Instant::now();
        let (error, high_watermark, _) = reader.fetch("t", 0);
        assert_eq!((error, high_watermark), (0, 1), "nothing is shown before it is synced");
        assert!(asked.elapsed() < Duration::from_millis(1_000), "a read waited for the disk");
        reads += 1;
    }
    let (offset, took) = writer.join().unwrap();
    assert_eq!(offset, 1);
    assert!(took >= Duration::from_millis(1_900), "acknowledged after {took:?}, before the fsync");
    assert!(reads > 10);
    rig.syncs_take(0);
}

// semantics 3.2.12
#[test]
fn a_produce_that_times_out_says_so_and_may_be_written_all_the_same() {
    let rig = PowerRig::new();
    let broker = rig.watch(Broker::builder()).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    client.produce("t", &[b"early"]);
    rig.syncs_take(2_000);
    let begin = Instant::now();
    let mut impatient = produce_request("t", 0, -1, batch(&[b"late"]));
    impatient.timeout_ms = 200;
    let answer = client.call(&impatient, 8);
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!((answer.error_code, answer.base_offset), (REQUEST_TIMED_OUT, -1));
    let took = begin.elapsed();
    assert!((200..1_900).contains(&took.as_millis()), "answered after {took:?}");
    assert_eq!(client.fetch("t", 0).1, 1, "it is not durable yet");
    // The timeout is that of acks=all; acks=1 waits for as long as the disk takes.
    let mut patient = produce_request("t", 0, 1, batch(&[b"later"]));
    patient.timeout_ms = 200;
    let answer = client.call(&patient, 8);
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!((answer.error_code, answer.base_offset), (0, 2), "the batch that timed out has offset 1");
    rig.syncs_take(0);
    assert_eq!(client.fetch("t", 0).1, 3);
}

#[test]
fn a_failing_fsync_ends_the_process_and_acknowledges_nothing() {
    let mut dice = seed();
    let rig = PowerRig::new();
    let mut broker = rig.watch(Broker::builder()).start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("ledger", 2);
    let load = Load::new(broker.kafka_addr(), &[("ledger", 2)], dice.next_u64())
        .raw_producer(-1, Duration::ZERO)
        .raw_producer(1, Duration::ZERO)
        .tail_reader();
    std::thread::sleep(Duration::from_millis(700));
    rig.syncs_fail();
    // Its own connection sees an error or the end, never an acknowledgement.
    let mut caller = Caller::connect(broker.kafka_addr());
    let answer =
        caller.as_mut().map(|caller| caller.call(&produce_request("ledger", 0, -1, batch(&[b"x"])), 8));
    if let Ok(Ok(answer)) = answer {
        assert_ne!(
            answer.responses[0].partition_responses[0].error_code, 0,
            "acknowledged what cannot be durable"
        );
    }
    let status = broker.wait_exit(Duration::from_secs(20));
    assert_eq!(status.code(), Some(4), "{status:?}");
    let log = broker.log();
    assert!(log.contains("the store failed") && log.contains("Input/output error"), "{log}");
    let (mut history, complaints) = load.finish();
    rig.cut(Tail::Lost, &mut dice);
    rig.syncs_take(0);
    broker.start_again();

    reading::read_all(broker.kafka_addr(), &mut history);
    verdict(&check(&history), &complaints);
    assert!(history.totals().acked > 50, "no load: {:?}", history.totals());
}

#[test]
fn a_full_disk_refuses_produce_serves_reads_and_recovers_by_itself() {
    if let Some(mount) = Mount::new(256 << 20) {
        let reserve = 64 << 20;
        return fill_and_clear(mount.0.path(), reserve, |free| free - reserve / 2);
    }
    // Without the right to mount, on the disk that is there. Produce comes back a quarter above the reserve, so the
    // ballast has to be more than a fifth of what is free: two fifths leave a tenth to either side of the reserve for
    // whatever else writes to this disk meanwhile.
    eprintln!("no right to mount a small file system: a reserve just above what is free stands in");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let free = free_bytes(scratch.path());
    fill_and_clear(scratch.path(), free / 10 * 7, |_| free / 10 * 4);
}

fn fill_and_clear(disk: &Path, reserve: u64, ballast_bytes: impl Fn(u64) -> u64) {
    let broker = Broker::builder()
        .data_dir(disk.join("data"))
        .set("chronik.disk.reserve.bytes", reserve)
        .set("chronik.wal.profile", "low")
        .start();
    let mut client = Client::connect(broker.kafka_addr());
    client.create_topic("t", 1);
    client.produce("t", &[b"a"]);
    let Some(ballast) = ballast(disk, ballast_bytes(free_bytes(disk))) else {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to fill a disk, or to allocate on one");
        return eprintln!("SKIPPED: a full disk; this file system cannot allocate without writing");
    };
    assert!(free_bytes(disk) < reserve, "the ballast takes effect");
    assert_eq!(wait_for_produce(&mut client, STORAGE_ERROR), STORAGE_ERROR);
    assert!(broker.is_ready(), "reads go on, so the broker stays in service");
    let (error, high_watermark, records) = client.fetch("t", 0);
    assert!(error == 0 && high_watermark >= 1 && !records.is_empty(), "reads go on");
    let refused = client.call(&produce_request("t", 0, -1, batch(&[b"c"])), 8);
    assert_eq!(refused.responses[0].partition_responses[0].error_code, STORAGE_ERROR);
    assert_eq!(client.fetch("t", 0).1, high_watermark, "what is refused is not written");
    drop(ballast);
    assert_eq!(wait_for_produce(&mut client, 0), 0, "there is room again");
    assert_eq!(client.fetch("t", 0).1, high_watermark + 1);
}

fn free_bytes(path: &Path) -> u64 {
    chronik_server::disk::space(path).expect("a file system has space").free_bytes
}

/// Takes so many bytes of a disk until it is dropped, or this process ends in whatever way: the file has no name.
/// None where the file system cannot allocate without writing.
fn ballast(disk: &Path, bytes: u64) -> Option<File> {
    let path = disk.join("ballast");
    let file = File::create_new(&path).expect("a file on the disk under test");
    let allocated = Command::new("fallocate")
        .args(["--length", &bytes.to_string()])
        .arg(&path)
        .stderr(Stdio::null())
        .status();
    std::fs::remove_file(&path).expect("it was just created");
    allocated.is_ok_and(|status| status.success()).then_some(file)
}

/// Produces until the answer is `wanted`, for some seconds; the last error code.
fn wait_for_produce(client: &mut Client, wanted: i16) -> i16 {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let response = client.call(&produce_request("t", 0, -1, batch(&[b"b"])), 8);
        let error = response.responses[0].partition_responses[0].error_code;
        if error == wanted || Instant::now() > deadline {
            return error;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A small file system in memory, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().ok()?;
        let options = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(directory))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
