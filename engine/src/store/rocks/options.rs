//! What can be chosen about a RocksDB store, and what is fixed: every RocksDB option is set here, with its reason.
//!
//! Refused, whatever they promise: `recycle_log_file_num` (upstream keeps a disabled reproducer of data loss),
//! `enable_blob_direct_write` (the log cannot replay active blob files), `wal_bytes_per_sync` (may persist a newer
//! log before an older one), `delete_file_in_range` on blob families (garbage goes uncounted), `manual_wal_flush`
//! with synced writes, `advise_random_on_open`.

use std::str::FromStr;
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options,
};

use super::super::Keyspace;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// Values from this size on live in blob files, so that compaction moves keys only; below it they stay in tables,
/// because scans of small blobs are several times slower.
const MIN_BLOB_BYTES: u64 = 8 * KIB as u64;

/// RocksDB's own diary, in the data directory: this many files of this size.
const INFO_LOG_FILES: usize = 4;
const INFO_LOG_FILE_BYTES: usize = 4 * MIB;

/// What one commit may gather at most. Ceilings under load; nothing ever waits for them to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitCaps {
    /// Batches in one write; at least 1.
    pub max_batches: usize,
    /// Payload bytes in one write; one larger batch still goes alone.
    pub max_bytes: usize,
    /// Time between the arrivals of the first and the last batch in one write. Batches queue while the write before
    /// theirs is fsynced, so this matters after a slow one: the oldest are not held up by all that came since.
    pub max_span: Duration,
}

/// Named [`CommitCaps`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitProfile {
    /// 1 batch, 10 ms, 16 MiB: each batch has an fsync of its own.
    LowLatency,
    /// 10 batches, 100 ms, 32 MiB.
    Balanced,
    /// 100 batches, 500 ms, 128 MiB.
    #[default]
    HighThroughput,
    /// 500 batches, 2 s, 512 MiB.
    Extreme,
}

impl CommitProfile {
    /// Every profile, from the smallest commits to the largest.
    pub const ALL: [Self; 4] = [Self::LowLatency, Self::Balanced, Self::HighThroughput, Self::Extreme];

    /// What the profile allows one commit.
    pub const fn caps(self) -> CommitCaps {
        let (max_batches, span_ms, mebibytes) = match self {
            Self::LowLatency => (1, 10, 16),
            Self::Balanced => (10, 100, 32),
            Self::HighThroughput => (100, 500, 128),
            Self::Extreme => (500, 2000, 512),
        };
        CommitCaps { max_batches, max_bytes: mebibytes * MIB, max_span: Duration::from_millis(span_ms) }
    }

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LowLatency => "low-latency",
            Self::Balanced => "balanced",
            Self::HighThroughput => "high-throughput",
            Self::Extreme => "extreme",
        }
    }
}

/// A name that is not one of the profiles'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile `{given}`; one of {known}")]
pub struct UnknownProfile {
    given: String,
    known: String,
}

fn by_name<T: Copy>(given: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, UnknownProfile> {
    all.iter().copied().find(|&profile| name(profile).eq_ignore_ascii_case(given)).ok_or_else(|| {
        UnknownProfile {
            given: given.to_owned(),
            known: all.iter().map(|&profile| name(profile)).collect::<Vec<_>>().join(", "),
        }
    })
}

impl FromStr for CommitProfile {
    type Err = UnknownProfile;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        by_name(given, &Self::ALL, Self::name)
    }
}

/// How much memory and how many threads the store and what sits on it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalProfile {
    /// Under 2 GiB of memory.
    Low,
    /// From 2 GiB on: a small server, an edge box.
    Medium,
    /// From 12 GiB on.
    High,
    /// From 48 GiB on.
    Ultra,
}

/// The numbers a [`WalProfile`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalBudget {
    /// Size at which a memtable of record batches is written out; the log is bounded by four of them.
    pub memtable_bytes: usize,
    /// Memtables of record batches, the active one and those being written out, before writers wait.
    pub memtables: usize,
    /// Cache of table blocks (keys, indexes, small values).
    pub block_cache_bytes: usize,
    /// Threads for flush and compaction.
    pub background_jobs: usize,
    /// Bytes of recent batches that logs may keep in memory, all partitions together. Read by the log layer.
    pub ring_bytes: usize,
    /// Bytes of batches that may wait for the disk before `ready` holds writers back.
    pub queue_bytes: usize,
    /// Table and blob files kept open.
    pub open_files: usize,
    /// Threads for reads.
    pub read_threads: usize,
}

impl WalProfile {
    /// Every profile, smallest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Ultra];

    /// The profile that fits this machine's memory, or the control group's limit.
    pub fn detect() -> Self {
        Self::for_memory(memory_bytes())
    }

    /// The profile for a machine of `memory` bytes. Memtables and ring together take a fifth of it at most.
    pub const fn for_memory(memory: u64) -> Self {
        match memory / GIB {
            48.. => Self::Ultra,
            12.. => Self::High,
            2.. => Self::Medium,
            _ => Self::Low,
        }
    }

    /// The numbers for a process that may use the cores it has.
    pub fn budget(self) -> WalBudget {
        self.budget_on(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The numbers on `cores` cores: memory is the profile's, threads are what the cores can feed.
    pub fn budget_on(self, cores: usize) -> WalBudget {
        let (memtable, memtables, cache, jobs, ring, queue, open_files, read_threads) = match self {
            Self::Low => (16, 3, 8, 2, 16, 32, 256, 2),
            Self::Medium => (32, 4, 32, 2, 256, 128, 1024, 4),
            Self::High => (64, 4, 128, 4, 2048, 256, 4096, 8),
            Self::Ultra => (128, 6, 512, 8, 8192, 1024, 16_384, 16),
        };
        // Flush and compaction each need one; readers mostly wait for the disk.
        let (jobs, read_threads) = (jobs.min(cores.max(2)), read_threads.min(4 * cores));
        WalBudget {
            memtable_bytes: memtable * MIB,
            memtables,
            block_cache_bytes: cache * MIB,
            background_jobs: jobs,
            ring_bytes: ring * MIB,
            queue_bytes: queue * MIB,
            open_files,
            read_threads,
        }
    }

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Ultra => "ultra",
        }
    }
}

impl FromStr for WalProfile {
    type Err = UnknownProfile;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        by_name(given, &Self::ALL, Self::name)
    }
}

/// Memory this process may use: the machine's, or less if its control group (version 2, then 1) says so.
fn memory_bytes() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total_bytes(&text));
    let group =
        number("/sys/fs/cgroup/memory.max").or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    // Without either (not Linux): a machine that somebody develops on.
    machine.into_iter().chain(group).min().unwrap_or(4 * GIB)
}

fn mem_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How to open a RocksDB store.
#[derive(Clone, Copy, Debug)]
pub struct RocksOptions {
    /// What one commit may gather.
    pub caps: CommitCaps,
    /// Memory, threads, files.
    pub budget: WalBudget,
    /// How long trimmed ranges gather before their space is given back, well under the 60 s it may take.
    pub housekeeping_delay: Duration,
    /// Write tables and blobs past the page cache, where the file system can.
    pub direct_io: bool,
}

impl RocksOptions {
    /// Options for two profiles.
    pub fn new(commit: CommitProfile, wal: WalProfile) -> Self {
        Self {
            caps: commit.caps(),
            budget: wal.budget(),
            housekeeping_delay: Duration::from_secs(5),
            direct_io: true,
        }
    }
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self::new(CommitProfile::default(), WalProfile::detect())
    }
}

/// Options of the database as a whole.
pub(super) fn database(options: &RocksOptions) -> Options {
    let budget = &options.budget;
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);

    // Durability: a hole in the log ends recovery there, and `recovery` then refuses what acknowledged data lies
    // behind; families are flushed together, or a cold one would pin the log of all.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_track_and_verify_wals_in_manifest(true);
    db.set_paranoid_checks(true);
    db.set_atomic_flush(true);
    db.set_max_total_wal_size(4 * budget.memtable_bytes as u64);
    db.set_use_fsync(false);
    super::ffi::never_resume(&mut db);

    // Background writes reach the disk as they go, so that a commit's fsync does not wait behind a whole file.
    db.set_bytes_per_sync(MIB as u64);
    db.set_max_background_jobs(budget.background_jobs as i32);
    db.set_compaction_readahead_size(2 * MIB);
    // Fetches read forward. RocksDB's default tells the kernel not to read ahead, and a cold log is then read one
    // batch a disk request.
    db.set_advise_random_on_open(false);
    db.set_avoid_unnecessary_blocking_io(true);

    // Flushed data is in the ring as long as it is likely to be read; a second copy in the page cache would cost more
    // processor time than all else on the way to the disk.
    db.set_use_direct_io_for_flush_and_compaction(options.direct_io);

    // Opening: no work that grows with the number of files.
    db.set_max_open_files(budget.open_files as i32);
    db.set_max_file_opening_threads(2);
    db.set_skip_stats_update_on_db_open(true);

    // An idle store wakes for nothing.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_log_level(LogLevel::Info);
    db.set_max_log_file_size(INFO_LOG_FILE_BYTES);
    db.set_keep_log_file_num(INFO_LOG_FILES);
    db
}

/// The column families: one a keyspace, and RocksDB's `default`, unused.
pub(super) fn families(options: &RocksOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.budget.block_cache_bytes);
    let mut families: Vec<_> = Keyspace::ALL
        .into_iter()
        .map(|keyspace| ColumnFamilyDescriptor::new(keyspace.name(), family(keyspace, options, &cache)))
        .collect();
    let mut unused = plain(&cache, 4 * KIB);
    unused.set_write_buffer_size(64 * KIB);
    families.push(ColumnFamilyDescriptor::new("default", unused));
    families
}

fn plain(cache: &Cache, block_bytes: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(block_bytes);
    table.set_format_version(5);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // The crate is built without codecs: record batches come compressed by whoever cared.
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

fn family(keyspace: Keyspace, options: &RocksOptions, cache: &Cache) -> Options {
    let budget = &options.budget;
    match keyspace {
        Keyspace::Batches => {
            let mut family = plain(cache, 16 * KIB);
            family.set_write_buffer_size(budget.memtable_bytes);
            family.set_max_write_buffer_number(budget.memtables as i32);
            family.set_max_bytes_for_level_base(4 * budget.memtable_bytes as u64);
            family.set_enable_blob_files(true);
            family.set_min_blob_size(MIN_BLOB_BYTES);
            family.set_blob_file_size(4 * budget.memtable_bytes as u64);
            family.set_blob_compression_type(DBCompressionType::None);
            // RocksDB's own collection moves every live blob of the oldest files in any compaction, garbage or not: a
            // log was written two to three times. `reclaim` collects, when there is garbage.
            family.set_enable_blob_gc(false);
            family.set_blob_compaction_readahead_size(2 * MIB as u64);
            family
        }
        Keyspace::Index => {
            let mut family = plain(cache, 8 * KIB);
            family.set_write_buffer_size((budget.memtable_bytes / 4).max(4 * MIB));
            family.set_max_write_buffer_number(budget.memtables as i32);
            family
        }
        Keyspace::Meta => {
            let mut family = plain(cache, 4 * KIB);
            family.set_write_buffer_size(4 * MIB);
            family.set_max_write_buffer_number(budget.memtables as i32);
            family
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_the_name_they_give() {
        for profile in CommitProfile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        for profile in WalProfile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        assert!(
            "fastest".parse::<CommitProfile>().is_err_and(|error| error.to_string().contains("low-latency"))
        );
    }

    #[test]
    fn every_larger_profile_allows_more() {
        for pair in CommitProfile::ALL.windows(2) {
            let (small, large) = (pair[0].caps(), pair[1].caps());
            assert!(small.max_batches < large.max_batches && small.max_bytes < large.max_bytes);
        }
        for pair in WalProfile::ALL.windows(2) {
            let (small, large) = (pair[0].budget(), pair[1].budget());
            assert!(small.memtable_bytes < large.memtable_bytes && small.ring_bytes < large.ring_bytes);
        }
    }

    #[test]
    fn memory_decides_the_profile_and_cores_its_threads() {
        assert_eq!(WalProfile::for_memory(GIB / 2), WalProfile::Low);
        assert_eq!(WalProfile::for_memory(4 * GIB), WalProfile::Medium);
        assert_eq!(WalProfile::for_memory(24 * GIB), WalProfile::High);
        assert_eq!(WalProfile::for_memory(64 * GIB), WalProfile::Ultra);
        let (narrow, wide) = (WalProfile::Ultra.budget_on(1), WalProfile::Ultra.budget_on(64));
        assert_eq!((narrow.background_jobs, narrow.read_threads), (2, 4));
        assert_eq!((wide.background_jobs, wide.read_threads), (8, 16));
        assert_eq!(narrow.ring_bytes, wide.ring_bytes);
    }

    #[test]
    fn no_profile_takes_more_than_a_fifth_of_the_least_memory_it_is_chosen_for() {
        for (profile, least) in [(WalProfile::Medium, 2), (WalProfile::High, 12), (WalProfile::Ultra, 48)] {
            let budget = profile.budget_on(4);
            let taken = budget.memtable_bytes * budget.memtables + budget.ring_bytes;
            assert!((taken as u64) < least * GIB / 5, "{profile:?}");
        }
    }

    #[test]
    fn meminfo_is_understood() {
        assert_eq!(mem_total_bytes("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(mem_total_bytes("nothing"), None);
    }
}
