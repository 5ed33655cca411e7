//! Owns `doctor`: every check of `start` and some that only warn, each with a remedy. Leaves the machine as it found
//! it: the test file is removed, and so is the data directory if it was not there.

mod storage;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{EXIT_UNWELL, probe};
use crate::config::{BrokerConfig, Sources, load_with_faults};
use crate::disk;

/// An fsync slower than this makes every acknowledgement slow.
const FSYNC_SLOW: Duration = Duration::from_millis(20);
/// fsyncs that are measured.
const FSYNC_ROUNDS: usize = 20;
/// Open files below which a few hundred connections and RocksDB's tables do not fit together.
const OPEN_FILES_MIN: u64 = 4096;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Doubtful,
    Bad,
}

/// One line of the answer.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    check: &'static str,
    found: String,
    remedy: String,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, check, found: found.into(), remedy: String::new() }
    }

    fn of(
        verdict: Verdict,
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict, check, found: found.into(), remedy: remedy.into() }
    }
}

/// Checks the machine and prints.
pub fn run(sources: &Sources) -> ExitCode {
    tell(&examine(sources))
}

/// Checks the object store and prints.
pub fn run_storage(sources: &Sources) -> ExitCode {
    tell(&storage::examine(sources))
}

#[expect(clippy::print_stdout, reason = "the answer to `doctor`")]
fn tell(findings: &[Finding]) -> ExitCode {
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Doubtful => "warn",
            Verdict::Bad => "FAIL",
        };
        println!("{mark}  {:14}  {}", finding.check, finding.found);
        if !finding.remedy.is_empty() {
            println!("      {:14}  -> {}", "", finding.remedy);
        }
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Bad) {
        ExitCode::from(EXIT_UNWELL)
    } else {
        ExitCode::SUCCESS
    }
}

fn examine(sources: &Sources) -> Vec<Finding> {
    let (config, faults) = load_with_faults(sources);
    let wrong = |option: &str| faults.0.iter().any(|fault| fault.option == option);
    let mut findings = vec![processor()];
    if faults.0.is_empty() {
        let set = config.entries.describe().iter().filter(|entry| config.entries.is_set(entry.name)).count();
        findings.push(Finding::good("configuration", format!("{set} setting(s) changed, all valid")));
    }
    for fault in &faults.0 {
        let found = format!("{} ({}): {}", fault.option, fault.origin, fault.problem);
        findings.push(Finding::of(Verdict::Bad, "configuration", found, fault.remedy.clone()));
    }
    for (option, address) in probe::addresses(&config) {
        if wrong(option) {
            continue;
        }
        findings.push(match probe::address_free(&config, option, address) {
            None => Finding::good("address", format!("{address} is free ({option})")),
            Some(fault) => Finding::of(Verdict::Bad, "address", fault.problem, fault.remedy),
        });
    }
    if !wrong("data.dir") {
        findings.extend(directory(&config));
    }
    findings.extend(open_files(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default()));
    findings
}

fn processor() -> Finding {
    match probe::cpu() {
        None => Finding::good("processor", "has what this binary uses"),
        Some(fault) => Finding::of(Verdict::Bad, "processor", fault.problem, fault.remedy),
    }
}

fn directory(config: &BrokerConfig) -> Vec<Finding> {
    let dir = &config.node.data_dir;
    let existed = dir.exists();
    let lock = match probe::lock_data_dir(dir) {
        Ok(lock) => lock,
        Err((problem, remedy)) => return vec![Finding::of(Verdict::Bad, "data directory", problem, remedy)],
    };
    let writable = format!("{} can be written and is not in use", dir.display());
    let mut findings = vec![Finding::good("data directory", writable)];
    let unfit = probe::directory_unfit(config);
    findings
        .extend(unfit.map(|fault| Finding::of(Verdict::Bad, "data directory", fault.problem, fault.remedy)));
    findings.push(fsync(dir));
    findings.extend(free_space(config));
    drop(lock);
    if !existed {
        let _ = std::fs::remove_dir_all(dir);
    }
    findings
}

fn fsync(dir: &Path) -> Finding {
    match fsync_median(dir) {
        Ok(median) if median <= FSYNC_SLOW => {
            Finding::good("fsync", format!("{:.2} ms (median of {FSYNC_ROUNDS})", median.as_secs_f64() * 1e3))
        }
        Ok(median) => {
            let found = format!(
                "{:.1} ms (median of {FSYNC_ROUNDS}): acknowledgements wait for it",
                median.as_secs_f64() * 1e3
            );
            let remedy = "Put data.dir on an SSD or NVMe disk, not on a network or spinning one";
            Finding::of(Verdict::Doubtful, "fsync", found, remedy)
        }
        Err(error) => {
            let remedy = "Put data.dir on a file system that can fsync";
            Finding::of(Verdict::Bad, "fsync", format!("failed: {error}"), remedy)
        }
    }
}

fn fsync_median(dir: &Path) -> std::io::Result<Duration> {
    let path = dir.join(format!("doctor-{}.tmp", std::process::id()));
    let measured = File::create(&path).and_then(|mut file| {
        let mut times = Vec::with_capacity(FSYNC_ROUNDS);
        for _ in 0..FSYNC_ROUNDS {
            file.write_all(&[0; 4096])?;
            let started = Instant::now();
            file.sync_data()?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        Ok(times[FSYNC_ROUNDS / 2])
    });
    let _ = std::fs::remove_file(&path);
    measured
}

fn free_space(config: &BrokerConfig) -> Option<Finding> {
    let space = disk::space(&config.node.data_dir).ok()?;
    let reserve = config.storage.disk_reserve_bytes;
    let found = format!("{} MiB free, {} MiB reserved", space.free_bytes >> 20, reserve >> 20);
    Some(if space.free_bytes > reserve {
        Finding::good("disk space", found)
    } else {
        let remedy = "Free some, or lower chronik.disk.reserve.bytes; until then produce is refused";
        Finding::of(Verdict::Doubtful, "disk space", found, remedy)
    })
}

/// The soft limit from `/proc/self/limits`; nothing to say where there is none.
fn open_files(limits: &str) -> Option<Finding> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    let enough = soft == "unlimited" || soft.parse::<u64>().is_ok_and(|limit| limit >= OPEN_FILES_MIN);
    let found = format!("{soft} allowed");
    Some(if enough {
        Finding::good("open files", found)
    } else {
        let remedy = format!("Raise it: `ulimit -n {OPEN_FILES_MIN}`, or LimitNOFILE in the service's unit");
        Finding::of(Verdict::Doubtful, "open files", found, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(pairs: &[(&str, &str)]) -> Sources {
        let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { env, ..Sources::default() }
    }

    #[test]
    fn a_sound_machine_passes_and_is_left_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let given = sources(&[
            ("CHRONIK_DATA_DIR", dir.to_str().unwrap()),
            ("CHRONIK_LISTENERS", "PLAINTEXT://127.0.0.1:0"),
            ("CHRONIK_HTTP_ADDR", "127.0.0.1:0"),
        ]);
        let findings = examine(&given);
        assert!(findings.iter().all(|finding| finding.verdict != Verdict::Bad), "{findings:?}");
        assert!(findings.iter().any(|finding| finding.check == "fsync"));
        assert!(!dir.exists());
    }

    // It used to pass what a start refuses.
    #[test]
    fn a_directory_that_a_start_refuses_does_not_pass() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(probe::UNFINISHED_RESTORE)).unwrap();
        let given = sources(&[
            ("CHRONIK_DATA_DIR", dir.path().to_str().unwrap()),
            ("CHRONIK_LISTENERS", "PLAINTEXT://127.0.0.1:0"),
            ("CHRONIK_HTTP_ADDR", "127.0.0.1:0"),
            ("CHRONIK_DISK_RESERVE_BYTES", "1152921504606846976"),
        ]);
        let findings = examine(&given);
        let bad: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).collect();
        assert_eq!(bad.len(), 2, "{findings:?}");
        assert!(bad[0].found.contains("was being restored"), "{bad:?}");
        assert!(bad[1].remedy.contains("larger"), "{bad:?}");
    }

    #[test]
    fn every_fault_has_a_remedy() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("PLAINTEXT://{}", taken.local_addr().unwrap());
        let given = sources(&[
            ("CHRONIK_DATA_DIR", "/proc/none"),
            ("CHRONIK_LISTENERS", &address),
            ("CHRONIK_HTTP_ADDR", "127.0.0.1:0"),
            ("CHRONIK_NUM_PARTITIONS", "-1"),
        ]);
        let findings = examine(&given);
        let bad: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).collect();
        assert_eq!(bad.len(), 3, "{findings:?}");
        assert!(bad.iter().all(|finding| !finding.remedy.is_empty()));
    }

    #[test]
    fn a_low_limit_of_open_files_is_doubtful() {
        let verdict = |text: &str| open_files(text).map(|finding| finding.verdict);
        assert_eq!(
            verdict("Max open files            1024                 4096   files"),
            Some(Verdict::Doubtful)
        );
        assert_eq!(
            verdict("Max open files            65536                65536  files"),
            Some(Verdict::Good)
        );
        assert_eq!(verdict(""), None);
    }
}
