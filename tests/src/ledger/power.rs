//! A power cut on a real directory. The interposer (`tests/power-loss/interposer.c`, compiled here) journals what the
//! broker has made durable; [`PowerRig::cut`] then leaves the directory as a disk might after the plug was pulled.
//!
//! Modelled: bytes never synced are gone, or there in part and damaged; of a directory's changes since its last
//! fsync only the oldest few have happened. Not modelled, and reported: durable bytes overwritten in large pieces.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::broker::BrokerBuilder;
use crate::random::Random;

/// A disk writes sectors whole.
const SECTOR_BYTES: u64 = 512;

/// What is left of bytes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, of directory changes neither.
    Lost,
    /// Some, with sectors of zeros and of damaged bits among them; and some directory changes.
    Torn,
    /// Some, all of them as written; and some directory changes.
    Short,
}

/// What becomes of syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// They succeed.
    Work,
    /// Each fails with an I/O error.
    Fail,
    /// The next one fails, those after it succeed: the kernel reports a lost page once.
    FailOnce,
}

/// How much room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// As much as there is.
    Real,
    /// None, as `statvfs` tells; writes succeed.
    Full,
    /// None: a write takes half its bytes, and then fails.
    NoSpace,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// Files that lost bytes.
    pub files_cut: usize,
    /// Bytes that were not durable.
    pub bytes_unsynced: u64,
    /// Creates, renames and removals undone.
    pub entries_undone: usize,
    /// Syncs the broker had made since the last cut.
    pub syncs: usize,
    /// Overwrites that this model does not know how to undo; must be zero.
    pub unmodelled: usize,
}

/// A directory under watch.
#[derive(Debug)]
pub struct PowerRig {
    scratch: TempDir,
    library: PathBuf,
}

impl PowerRig {
    /// Compiles the interposer.
    ///
    /// # Panics
    /// Without a C compiler.
    pub fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power-loss/interposer.c");
        let library = scratch.path().join("interposer.so");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status =
            Command::new(compiler).args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        assert!(status.expect("a C compiler, cc or $CC").success(), "the interposer does not compile");
        for directory in ["data", "graves"] {
            fs::create_dir(scratch.path().join(directory)).expect("a writable temporary directory");
        }
        let rig = Self { scratch, library };
        rig.syncs_take(0);
        rig.disk(Disk::Real);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        // As the kernel names open files.
        self.scratch.path().canonicalize().expect("it exists").join(name)
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// Has a broker run under watch, on [`data_dir`](Self::data_dir).
    #[must_use]
    pub fn watch(&self, builder: BrokerBuilder) -> BrokerBuilder {
        builder
            .data_dir(self.data_dir())
            .env("LD_PRELOAD", self.library.display())
            .env("POWER_DIR", self.data_dir().display())
            .env("POWER_JOURNAL", self.path("journal").display())
            .env("POWER_GRAVES", self.path("graves").display())
            .env("POWER_CONTROL", self.path("control").display())
    }

    /// From now on each sync takes this long.
    ///
    /// # Panics
    /// When the control file cannot be written.
    pub fn syncs_take(&self, milliseconds: u32) {
        self.syncs(milliseconds, Syncs::Work);
    }

    /// From now on each sync fails with an I/O error.
    ///
    /// # Panics
    /// When the control file cannot be written.
    pub fn syncs_fail(&self) {
        self.syncs(0, Syncs::Fail);
    }

    /// From now on syncs take this long and end like this.
    ///
    /// # Panics
    /// When the control file cannot be written.
    pub fn syncs(&self, milliseconds: u32, end: Syncs) {
        let end: u32 = match end {
            Syncs::Work => 0,
            Syncs::Fail => 1,
            Syncs::FailOnce => 2,
        };
        self.control(0, &[milliseconds, end]);
    }

    /// From now on the disk has so much room.
    ///
    /// # Panics
    /// When the control file cannot be written.
    pub fn disk(&self, disk: Disk) {
        let word = match disk {
            Disk::Real => 0,
            Disk::Full => 1,
            Disk::NoSpace => 2,
        };
        self.control(2, &[word]);
    }

    fn control(&self, from: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.path("control"));
        // In place: the broker has it mapped.
        file.and_then(|file| file.write_all_at(&bytes, 4 * from)).expect("a writable temporary directory");
    }

    /// Pulls the plug: call it once the broker is dead, before it is started again.
    ///
    /// # Panics
    /// When the directory cannot be changed.
    pub fn cut(&self, tail: Tail, dice: &mut Random) -> Cut {
        let journal = fs::read(self.path("journal")).unwrap_or_default();
        let mut state = State::default();
        for line in String::from_utf8_lossy(&journal).lines() {
            state.replay(&line.split('\t').collect::<Vec<_>>());
        }
        let mut cut = Cut { syncs: state.syncs, unmodelled: state.unmodelled, ..Cut::default() };
        state.undo_entries(tail, dice, &mut cut);
        state.cut_files(tail, dice, &mut cut);
        File::create(self.path("journal")).expect("a writable temporary directory");
        for grave in fs::read_dir(self.path("graves")).expect("made above").flatten() {
            fs::remove_file(grave.path()).expect("a grave is a file");
        }
        cut
    }
}

impl Default for PowerRig {
    fn default() -> Self {
        Self::new()
    }
}

/// What of a file is durable.
#[derive(Clone, Debug, Default)]
struct Synced {
    bytes: u64,
    /// Offset and former bytes of overwrites since the last sync.
    overwritten: Vec<(u64, Vec<u8>)>,
}

/// A change of a directory that may not have reached the disk.
#[derive(Debug)]
enum Change {
    Created(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, grave: Option<PathBuf>, was: Option<Synced> },
    Removed { path: PathBuf, grave: Option<PathBuf>, was: Option<Synced> },
}

impl Change {
    fn directory(&self) -> &Path {
        let path = match self {
            Change::Created(path) | Change::Removed { path, .. } | Change::Renamed { to: path, .. } => path,
        };
        path.parent().expect("below the data directory")
    }
}

#[derive(Debug, Default)]
struct State {
    /// Files of the journal; any other is durable as it is.
    files: HashMap<PathBuf, Synced>,
    changes: Vec<Change>,
    syncs: usize,
    unmodelled: usize,
}

impl State {
    fn replay(&mut self, fields: &[&str]) {
        let size = |text: &str| text.parse().expect("a number");
        let grave = |text: &str| (text != "-").then(|| PathBuf::from(text));
        match *fields {
            ["E", path, bytes] => {
                let bytes = size(bytes);
                self.files.entry(path.into()).or_insert(Synced { bytes, overwritten: Vec::new() });
            }
            ["C", path] => {
                self.files.insert(path.into(), Synced::default());
                self.changes.push(Change::Created(path.into()));
            }
            ["T", path] => drop(self.files.insert(path.into(), Synced::default())),
            ["S", path, bytes] => {
                self.syncs += 1;
                self.files.insert(path.into(), Synced { bytes: size(bytes), overwritten: Vec::new() });
            }
            ["O", path, at, hex] => {
                let (at, file) = (size(at), self.files.entry(path.into()).or_default());
                if at < file.bytes {
                    file.overwritten.push((at, bytes_of(hex)));
                }
            }
            // Bytes that are not durable may be changed as anyone likes.
            ["X", path, at] => {
                let durable = self.files.get(Path::new(path)).map_or(u64::MAX, |synced| synced.bytes);
                self.unmodelled += usize::from(size(at) < durable);
            }
            ["D", path] => {
                self.syncs += 1;
                self.changes.retain(|change| change.directory() != Path::new(path));
            }
            ["R", from, to, old] => {
                let was = self.files.remove(Path::new(to));
                if let Some(moved) = self.files.remove(Path::new(from)) {
                    self.files.insert(to.into(), moved);
                }
                self.changes.push(Change::Renamed {
                    from: from.into(),
                    to: to.into(),
                    grave: grave(old),
                    was,
                });
            }
            ["U", path, old] => {
                let was = self.files.remove(Path::new(path));
                self.changes.push(Change::Removed { path: path.into(), grave: grave(old), was });
            }
            _ => panic!("the journal has a line {fields:?}"),
        }
    }

    fn undo_entries(&mut self, tail: Tail, dice: &mut Random, cut: &mut Cut) {
        let mut pending: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for change in &self.changes {
            *pending.entry(change.directory().to_owned()).or_default() += 1;
        }
        if tail != Tail::Lost {
            // A file system keeps the order: the oldest changes have happened, the rest has not.
            pending.values_mut().for_each(|count| *count = dice.below(*count + 1));
        }
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            let left = pending.get_mut(change.directory()).expect("counted above");
            if *left > 0 {
                *left -= 1;
                cut.entries_undone += 1;
                self.undo(change);
            }
        }
    }

    fn undo(&mut self, change: Change) {
        match change {
            Change::Created(path) => {
                self.files.remove(&path);
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                // A directory above it may have gone already.
                assert!(removed.is_ok() || !path.exists(), "{}", path.display());
            }
            Change::Renamed { from, to, grave, was } => {
                if fs::rename(&to, &from).is_ok()
                    && let Some(moved) = self.files.remove(&to)
                {
                    self.files.insert(from, moved);
                }
                self.restore(to, grave, was);
            }
            Change::Removed { path, grave, was } => self.restore(path, grave, was),
        }
    }

    fn restore(&mut self, path: PathBuf, grave: Option<PathBuf>, was: Option<Synced>) {
        if grave.is_some_and(|grave| fs::hard_link(grave, &path).is_ok())
            && let Some(was) = was
        {
            self.files.insert(path, was);
        }
    }

    fn cut_files(&self, tail: Tail, dice: &mut Random, cut: &mut Cut) {
        // In a fixed order, so that a seed means the same cut.
        for (path, synced) in self.files.iter().collect::<BTreeMap<_, _>>() {
            let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { continue };
            for (at, old) in synced.overwritten.iter().rev() {
                if tail == Tail::Lost || dice.below(2) == 0 {
                    file.write_all_at(old, *at).expect("a writable file");
                }
            }
            let length = file.metadata().expect("an open file").len();
            // RocksDB's own log is for people.
            if length <= synced.bytes || path.file_name() == Some(OsStr::new("LOG")) {
                continue;
            }
            let unsynced = length - synced.bytes;
            let kept = if tail == Tail::Lost { 0 } else { dice.next_u64() % (unsynced + 1) };
            file.set_len(synced.bytes + kept).expect("a writable file");
            if tail == Tail::Torn {
                damage(&file, synced.bytes, synced.bytes + kept, dice);
            }
            cut.files_cut += 1;
            cut.bytes_unsynced += unsynced;
        }
    }
}

/// Damages about a third of the sectors in `from..to`, beginning at the first that holds no durable byte.
fn damage(file: &File, from: u64, to: u64, dice: &mut Random) {
    let mut sector = from.next_multiple_of(SECTOR_BYTES);
    while sector < to {
        let length = (to - sector).min(SECTOR_BYTES) as usize;
        let mut bytes = vec![0; length];
        match dice.below(6) {
            0 => file.write_all_at(&bytes, sector).expect("a writable file"),
            1 => {
                file.read_exact_at(&mut bytes, sector).expect("a readable file");
                bytes[dice.below(length)] ^= 1 << dice.below(8);
                file.write_all_at(&bytes, sector).expect("a writable file");
            }
            _ => {}
        }
        sector += SECTOR_BYTES;
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does to a directory what a program did, and plays the cut.
    fn played(journal: &[&str], directory: &Path, tail: Tail) -> Cut {
        let mut state = State::default();
        for line in journal {
            let line = line.replace('@', &directory.display().to_string());
            state.replay(&line.split(' ').collect::<Vec<_>>());
        }
        let mut cut = Cut::default();
        state.undo_entries(tail, &mut Random::new(1), &mut cut);
        state.cut_files(tail, &mut Random::new(1), &mut cut);
        cut
    }

    #[test]
    fn unsynced_bytes_creates_renames_and_removals_are_undone() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for (name, content) in
            [("log", "durable+not"), ("new", "x"), ("CURRENT", "2"), ("g1", "1"), ("g2", "removed")]
        {
            fs::write(at(name), content).unwrap();
        }
        let journal = [
            "C @/log",
            "C @/tmp",
            "S @/log 7",
            "S @/tmp 1",
            "D @",
            "C @/new",
            "S @/new 1",
            "R @/tmp @/CURRENT @/g1",
            "U @/gone @/g2",
        ];
        let cut = played(&journal, scratch.path(), Tail::Lost);
        assert_eq!(fs::read(at("log")).unwrap(), b"durable");
        assert!(!at("new").exists(), "its directory was not synced");
        assert_eq!(fs::read(at("CURRENT")).unwrap(), b"1");
        assert_eq!(fs::read(at("tmp")).unwrap(), b"2");
        assert_eq!(fs::read(at("gone")).unwrap(), b"removed");
        assert_eq!((cut.entries_undone, cut.files_cut, cut.bytes_unsynced), (3, 1, 4));
    }

    #[test]
    fn synced_changes_stay_and_overwrites_go_back() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("note");
        fs::write(&path, "newXYZ").unwrap();
        let cut = played(&["E @/note 6", "O @/note 0 6f6c64"], scratch.path(), Tail::Lost);
        assert_eq!(fs::read(&path).unwrap(), b"oldXYZ");
        fs::write(&path, "newXYZ").unwrap();
        played(&["C @/note", "O @/note 0 6f6c64", "S @/note 6", "D @"], scratch.path(), Tail::Lost);
        assert_eq!(fs::read(&path).unwrap(), b"newXYZ");
        assert_eq!(cut.entries_undone, 0);
    }

    #[test]
    fn a_torn_tail_never_touches_durable_bytes() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        for seed in 0..50 {
            let content = Random::new(seed).bytes(20_000);
            fs::write(&path, &content).unwrap();
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            damage(&file, 5_000, 20_000, &mut Random::new(seed));
            let after = fs::read(&path).unwrap();
            assert_eq!(after[..5_000], content[..5_000]);
            assert_ne!(after[5_000..], content[5_000..]);
        }
    }
}
