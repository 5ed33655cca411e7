//! What befalls a broker under the workload: crashes, power cuts, pauses, slow and failing syncs, full disks.
//!
//! Each fault states what the broker must do about it, and panics when it does something else: go on, or exit with an
//! error and recover at the next start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::client::{SESSION_TIMEOUT, TRANSACTION_TIMEOUT};
use super::workload::{ALPHA, BETA, PARTITIONS};
use crate::broker::{Broker, BrokerBuilder};
use crate::ledger::power::{Disk, PowerRig, Syncs, Tail};
use crate::random::Random;
use crate::sources::root;
use crate::wire::Client;

/// A pause goes on for so long after sessions and transactions are over their time.
const PAUSE_MARGIN: Duration = Duration::from_millis(1_500);
/// A sync takes this long when it is slow.
const SLOW_SYNC_MS: u32 = 400;
/// And this long otherwise, so that a cut finds something that is not synced.
const SYNC_MS: u32 = 2;
/// A broker that cannot write exits within this.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The exit code of a broker whose store failed.
const EXIT_STORE: i32 = 4;

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`.
    Kill,
    /// `kill -9`, and again while it recovers.
    KillTwice,
    /// `SIGTERM`.
    Stop,
    /// `SIGSTOP` for longer than sessions and transactions live.
    Pause,
    /// Power fails; bytes that were not synced are gone or damaged.
    PowerCut,
    /// Every sync takes 400 ms.
    SlowSync,
    /// Every sync fails.
    FailingSync,
    /// One sync fails, and the next would say that all is well.
    OneFailingSync,
    /// The disk has no room, as `statvfs` tells.
    FullDisk,
    /// A write fails in the middle with ENOSPC.
    NoSpace,
}

impl Fault {
    /// All that a broker on a disk of ours can be put through.
    pub const ALL: [Fault; 10] = [
        Fault::Kill,
        Fault::Pause,
        Fault::PowerCut,
        Fault::SlowSync,
        Fault::FailingSync,
        Fault::FullDisk,
        Fault::OneFailingSync,
        Fault::NoSpace,
        Fault::KillTwice,
        Fault::Stop,
    ];
    /// What needs nothing but signals.
    pub const SIGNALS: [Fault; 3] = [Fault::Kill, Fault::Pause, Fault::Stop];
}

/// The broker under test.
pub enum Target {
    /// Ours, its disk under control.
    Chronik {
        /// The process.
        broker: Box<Broker>,
        /// Its disk.
        rig: PowerRig,
    },
    /// Apache Kafka, to show that the workload finds nothing there either.
    Kafka(Kafka),
}

impl Target {
    /// Ours, with both topics. `adjust` may choose another binary or settings.
    pub fn chronik(adjust: impl FnOnce(BrokerBuilder) -> BrokerBuilder) -> Self {
        let rig = PowerRig::new();
        rig.syncs(SYNC_MS, Syncs::Work);
        let builder = Broker::builder().set("group.initial.rebalance.delay.ms", 100);
        // The canary serves no CreateTopics differently, but the honest broker makes durable what it makes.
        let mut broker = rig.watch(builder.clone()).start();
        create_topics(broker.kafka_addr());
        assert!(broker.stop().success(), "a stop that was asked for is clean");
        let broker = Box::new(rig.watch(adjust(builder)).start());
        Target::Chronik { broker, rig }
    }

    /// A real Kafka; none when this machine has none.
    pub fn kafka() -> Option<Self> {
        let kafka = Kafka::start()?;
        create_topics(kafka.address);
        Some(Target::Kafka(kafka))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Target::Chronik { broker, .. } => broker.kafka_addr(),
            Target::Kafka(kafka) => kafka.address,
        }
    }

    /// Lets it happen, and returns when the broker serves again.
    ///
    /// # Panics
    /// When the broker does not do what it must.
    pub fn suffer(&mut self, fault: Fault, dice: &mut Random) {
        match self {
            Target::Chronik { broker, rig } => suffer(broker, rig, fault, dice),
            Target::Kafka(kafka) => kafka.suffer(fault),
        }
    }

    /// Kills it once more, so that what is read afterwards comes from the disk.
    pub fn restart(&mut self) {
        match self {
            Target::Chronik { broker, .. } => broker.start_again(),
            Target::Kafka(kafka) => kafka.suffer(Fault::Kill),
        }
    }
}

fn create_topics(address: SocketAddr) {
    let mut client = Client::connect(address);
    [ALPHA, BETA].iter().for_each(|topic| client.create_topic(topic, PARTITIONS));
}

/// Longer than sessions and transactions live.
fn pause() -> Duration {
    SESSION_TIMEOUT.max(TRANSACTION_TIMEOUT) + PAUSE_MARGIN
}

fn suffer(broker: &mut Broker, rig: &PowerRig, fault: Fault, dice: &mut Random) {
    let tails = [Tail::Lost, Tail::Torn, Tail::Short];
    match fault {
        Fault::Kill => broker.kill(),
        Fault::KillTwice => {
            broker.kill();
            broker.start_and_kill_after(Duration::from_millis(dice.below(250) as u64));
        }
        Fault::Stop => assert!(broker.stop().success(), "a stop that was asked for is clean"),
        Fault::Pause => {
            broker.signal(libc::SIGSTOP);
            std::thread::sleep(pause());
            broker.signal(libc::SIGCONT);
        }
        Fault::PowerCut => {
            broker.kill();
            cut(rig, tails[dice.below(3)], dice);
        }
        Fault::SlowSync => {
            rig.syncs(SLOW_SYNC_MS, Syncs::Work);
            std::thread::sleep(Duration::from_secs(4));
        }
        Fault::FailingSync | Fault::OneFailingSync => {
            let how = if fault == Fault::FailingSync { Syncs::Fail } else { Syncs::FailOnce };
            rig.syncs(SYNC_MS, how);
            fails(broker, "Input/output error");
            // What was not synced is not on the disk, and may never come there.
            cut(rig, tails[dice.below(3)], dice);
        }
        Fault::FullDisk => {
            rig.disk(Disk::Full);
            std::thread::sleep(Duration::from_secs(4));
            assert!(
                broker.log().contains("disk nearly full"),
                "the broker did not notice:\n{}",
                broker.log()
            );
        }
        Fault::NoSpace => {
            rig.disk(Disk::NoSpace);
            fails(broker, "No space left on device");
        }
    }
    rig.syncs(SYNC_MS, Syncs::Work);
    rig.disk(Disk::Real);
    match fault {
        Fault::Pause | Fault::SlowSync | Fault::FullDisk => {
            assert!(broker.is_running(), "the broker ended under {fault:?}:\n{}", broker.log());
        }
        _ => broker.start_again(),
    }
}

/// The broker must end with an error that names its cause.
fn fails(broker: &mut Broker, cause: &str) {
    let status = broker.wait_exit(EXIT_TIMEOUT);
    assert_eq!(status.code(), Some(EXIT_STORE), "{status:?}\n{}", broker.log());
    let log = broker.log();
    assert!(log.contains("the store failed") && log.contains(cause), "{log}");
}

fn cut(rig: &PowerRig, tail: Tail, dice: &mut Random) {
    let cut = rig.cut(tail, dice);
    assert_eq!(cut.unmodelled, 0, "durable bytes were overwritten; the cut cannot be trusted");
}

/// An Apache Kafka of `tests/oracle/kafka.sh`.
pub struct Kafka {
    directory: TempDir,
    address: SocketAddr,
}

impl Kafka {
    /// None when this machine has no Java or no Kafka.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = run(directory.path(), 0)?;
        Some(Self { directory, address })
    }

    fn suffer(&self, fault: Fault) {
        let signal = |name: &str| {
            let status = Command::new("kill").args([name, &self.pid()]).status();
            assert!(status.is_ok_and(|status| status.success()), "kill {name}");
        };
        match fault {
            Fault::Pause => {
                signal("-STOP");
                std::thread::sleep(pause());
                signal("-CONT");
                return;
            }
            Fault::Stop => oracle(&["stop", &self.directory.path().to_string_lossy()]).map_or((), drop),
            _ => {
                let pid = PathBuf::from("/proc").join(self.pid());
                signal("-KILL");
                // Until the kernel has let go of its sockets.
                while pid.exists() && !is_zombie(&pid) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                // The script would take a zombie for alive.
                std::fs::remove_file(self.pid_path()).expect("written at the start");
            }
        }
        let address = run(self.directory.path(), self.address.port()).expect("Kafka starts again");
        assert_eq!(address, self.address);
    }

    fn pid_path(&self) -> PathBuf {
        self.directory.path().join("kafka.pid")
    }

    fn pid(&self) -> String {
        let pid = std::fs::read_to_string(self.pid_path());
        pid.expect("Kafka runs").trim().to_owned()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        oracle(&["stop", &self.directory.path().to_string_lossy()]);
    }
}

fn is_zombie(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z"))
}

/// What the script prints; none when it fails.
fn oracle(arguments: &[&str]) -> Option<String> {
    let output = Command::new(root().join("tests/oracle/kafka.sh")).args(arguments).output().ok()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(directory: &Path, port: u16) -> Option<SocketAddr> {
    let settings = [
        "group.initial.rebalance.delay.ms=100",
        "offsets.topic.num.partitions=2",
        "transaction.state.log.num.partitions=2",
        // As soon as ours finds transactions that are over their time.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
    ];
    let (directory, port) = (directory.to_string_lossy(), port.to_string());
    let mut arguments = vec!["start", &directory, &port, "--heap", "512M"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    oracle(&arguments)?.trim().strip_prefix("bootstrap=")?.parse().ok()
}

/// The order in which faults come: each kind once before any comes again.
#[derive(Debug)]
pub struct Schedule {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
    counts: BTreeMap<Fault, usize>,
}

impl Schedule {
    /// Of these kinds; of those that `TEST_FAULTS` names instead, if it does.
    ///
    /// # Panics
    /// For a name that is none.
    pub fn of_environment(kinds: &[Fault]) -> Self {
        let named = std::env::var("TEST_FAULTS").unwrap_or_default();
        let find = |name: &str| Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        let named = named.split(',').filter(|name| !name.is_empty());
        let named: Vec<Fault> =
            named.map(|name| find(name).unwrap_or_else(|| panic!("TEST_FAULTS: no fault {name}"))).collect();
        let kinds = if named.is_empty() { kinds.to_vec() } else { named };
        Self { kinds, left: Vec::new(), counts: BTreeMap::new() }
    }

    /// The next one.
    pub fn next(&mut self, dice: &mut Random) -> Fault {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
        }
        let fault = self.left.swap_remove(dice.below(self.left.len()));
        *self.counts.entry(fault).or_default() += 1;
        fault
    }

    /// How often each came.
    pub fn counts(&self) -> &BTreeMap<Fault, usize> {
        &self.counts
    }
}
