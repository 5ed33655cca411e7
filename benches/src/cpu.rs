//! What a run cost: processor seconds and resident memory of this process and of the broker.
//!
//! Owns the reading of `/proc/PID/{stat,status}`. It refuses to guess: where `/proc` is missing
//! (macOS) or a process has gone, the figure is absent from the report, never zero.

use std::fs;

use serde::Serialize;

/// `/proc/PID/stat` counts in clock ticks. The kernel has shown user space 100 a second on every
/// Linux port since 2.6, whatever its own `HZ` is; `sysconf` would need an unsafe call to say so.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process since it began.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    user_s: f64,
    system_s: f64,
}

impl CpuTime {
    /// Reads the time used so far by `pid`, all its threads together, or by this process.
    pub fn of(pid: Option<u32>) -> Option<Self> {
        parse_stat(&fs::read_to_string(proc_path(pid, "stat")).ok()?)
    }

    /// The processor seconds spent between `earlier` and this reading.
    pub fn since(self, earlier: Self) -> f64 {
        (self.user_s + self.system_s) - (earlier.user_s + earlier.system_s)
    }
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Resident now, in MB of 10^6 bytes.
    pub resident_mb: f64,
    /// The most that was ever resident, in MB of 10^6 bytes.
    pub peak_mb: f64,
    /// Resident and not backed by a file, in MB of 10^6 bytes: what the page cache does not explain.
    pub anonymous_mb: f64,
}

impl Memory {
    /// Reads the memory of `pid`.
    pub fn of(pid: u32) -> Option<Self> {
        parse_status(&fs::read_to_string(proc_path(Some(pid), "status")).ok()?)
    }
}

fn proc_path(pid: Option<u32>, file: &str) -> String {
    match pid {
        Some(pid) => format!("/proc/{pid}/{file}"),
        None => format!("/proc/self/{file}"),
    }
}

fn parse_stat(stat: &str) -> Option<CpuTime> {
    // The second field is the command in parentheses and may itself hold spaces and parentheses,
    // so fields are counted from the last one. utime and stime are fields 14 and 15 of proc(5).
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<u64>().ok().map(|n| n as f64);
    Some(CpuTime {
        user_s: ticks(fields.next())? / TICKS_PER_SECOND,
        system_s: ticks(fields.next())? / TICKS_PER_SECOND,
    })
}

fn parse_status(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0 / 1e6)
    };
    Some(Memory {
        resident_mb: field("VmRSS:")?,
        peak_mb: field("VmHWM:")?,
        anonymous_mb: field("RssAnon:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1 1";
        let time = parse_stat(stat).unwrap();
        assert_eq!((time.user_s, time.system_s), (2.5, 0.5));
    }

    #[test]
    fn memory_is_read_in_kibibytes_and_told_in_megabytes() {
        let status = "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\nRssAnon:\t     500 kB\n";
        let memory = parse_status(status).unwrap();
        assert_eq!(memory, Memory { resident_mb: 1.024, peak_mb: 2.048, anonymous_mb: 0.512 });
    }

    #[test]
    fn a_process_that_is_gone_has_no_figures() {
        assert!(CpuTime::of(Some(u32::MAX)).is_none());
        assert!(Memory::of(u32::MAX).is_none());
    }
}
