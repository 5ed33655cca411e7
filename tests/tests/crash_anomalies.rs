//! The anomalies of Jepsen's Kafka workload, looked for under every fault; `docs/anomalies.md` says what is checked.
//!
//! Seeded by `TEST_SEED`; `TEST_FORM` is `short` (every fault once), `full` (each six times, and a real Kafka beside) or
//! `soak` (`SOAK_MINUTES`). `TEST_FAULTS` names the faults to choose from.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chronik_tests::anomaly::faults::{Fault, Schedule, Target};
use chronik_tests::anomaly::workload::{Tally, Traces, Workload};
use chronik_tests::anomaly::{Kind, Report, Shown, check};
use chronik_tests::random::Random;

mod crash_support;
use crash_support::Form;

/// Faults between two readings of everything.
const ROUND_FAULTS: usize = Fault::ALL.len();
/// Rounds of the full form.
const ROUNDS_FULL: usize = 6;
/// Anomalies shown of a list that may have thousands.
const SHOWN_MAX: usize = 10;
/// Faults of a real Kafka's run.
const FAULTS_BESIDE: usize = 6;
/// Shortest and longest peace between two faults.
const PEACE_MS: (usize, usize) = (500, 2_500);

fn seed(salt: u64) -> Random {
    let mut dice = Random::seeded_by("TEST_SEED", 20_261_122);
    Random::new(dice.next_u64() ^ salt)
}

fn peace(dice: &mut Random) {
    let (shortest, longest) = PEACE_MS;
    std::thread::sleep(Duration::from_millis((shortest + dice.below(longest - shortest)) as u64));
}

/// The workload under these many faults, and everything read at the end.
fn round(
    mut target: Target,
    is_transactional: bool,
    mut schedule: Schedule,
    faults: usize,
    dice: &mut Random,
) -> Traces {
    let mut workload = Workload::start(target.address(), is_transactional, dice.next_u64());
    peace(dice);
    for _ in 0..faults {
        let fault = schedule.next(dice);
        let before = workload.clock();
        target.suffer(fault, dice);
        eprintln!("{fault:?} from {before} to {}", workload.clock());
        peace(dice);
    }
    workload.stop();
    target.restart();
    let traces = workload.catch_up();
    eprintln!("faults {:?}", schedule.counts());
    traces
}

/// Prints what there was, and returns what the checker says.
fn judge(traces: &Traces) -> Report {
    let report = check(&traces.history);
    eprintln!("{}", Tally::of(&traces.history));
    eprintln!("{} anomalies; permitted: {:?}", report.anomalies.len(), report.permitted);
    let mut errors: Vec<_> = traces.errors.iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    errors.iter().take(SHOWN_MAX).for_each(|(error, count)| eprintln!("  {count} × {error}"));
    report
}

#[track_caller]
fn assert_clean(traces: &Traces) {
    let report = judge(traces);
    let shown = report.anomalies.iter().take(SHOWN_MAX);
    let shown: String = shown.map(|anomaly| Shown(anomaly, &traces.history).to_string()).collect();
    assert!(
        report.anomalies.is_empty() && traces.complaints.is_empty(),
        "{} anomalies, complaints {:?}\n{shown}",
        report.anomalies.len(),
        traces.complaints
    );
    let tally = Tally::of(&traces.history);
    assert!(tally.committed() > 200 && tally.sent > 200 && tally.polled > 500, "no load: {tally}");
}

fn rounds(is_transactional: bool) {
    let mut dice = seed(u64::from(is_transactional));
    let form = Form::of_environment();
    let started = Instant::now();
    let mut done = 0;
    while form.goes_on(done, 1, ROUNDS_FULL, started) {
        let begun = Instant::now();
        let target = Target::chronik(|builder| builder);
        let schedule = Schedule::of_environment(&Fault::ALL);
        assert_clean(&round(target, is_transactional, schedule, ROUND_FAULTS, &mut dice));
        done += 1;
        eprintln!("round {done}, transactions {is_transactional}: {:?}", begun.elapsed());
    }
}

#[test]
fn no_anomaly_without_transactions_under_faults() {
    rounds(false);
}

#[test]
fn no_anomaly_with_transactions_under_faults() {
    rounds(true);
}

/// That the workload asks for nothing a Kafka does not give.
fn beside(is_transactional: bool, faults: &[Fault]) {
    if Form::of_environment() == Form::Short {
        return eprintln!("SKIPPED: the same workload against a real Kafka; the full form runs it");
    }
    let Some(target) = Target::kafka() else {
        return eprintln!("SKIPPED: a real Kafka; to run it: scripts/setup.sh clients java");
    };
    let mut dice = seed(2 + u64::from(is_transactional));
    let schedule = Schedule::of_environment(faults);
    assert_clean(&round(target, is_transactional, schedule, FAULTS_BESIDE, &mut dice));
}

#[test]
fn no_anomaly_without_transactions_in_a_real_kafka_either() {
    beside(false, &Fault::SIGNALS);
}

#[test]
fn no_anomaly_with_transactions_in_a_real_kafka_either() {
    // Not killed: see docs/anomalies.md.
    beside(true, &[Fault::Pause]);
}

/// The suite's own proof.
#[test]
fn a_broker_that_acknowledges_before_the_fsync_is_found_out_by_the_checker() {
    let mut dice = seed(4);
    let canary = PathBuf::from(env!("CARGO_BIN_EXE_canary_server"));
    let mut target = Target::chronik(|builder| builder.binary(canary));
    let mut workload = Workload::start(target.address(), false, dice.next_u64());
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        target.suffer(Fault::PowerCut, &mut dice);
    }
    // New records at the offsets of those that are gone.
    std::thread::sleep(Duration::from_secs(2));
    workload.stop();
    let report = judge(&workload.catch_up());
    let count = |kind: Kind| report.anomalies.iter().filter(|anomaly| anomaly.kind == kind).count();
    eprintln!(
        "the canary: {} lost, {} inconsistent",
        count(Kind::LostWrite),
        count(Kind::InconsistentOffsets)
    );
    assert!(count(Kind::LostWrite) > 10, "the suite did not notice: {:?}", report.anomalies);
}
