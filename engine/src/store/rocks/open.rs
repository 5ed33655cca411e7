//! Opening a store: the directory, RocksDB, the check of what must be there; and each failure with its remedy.

use std::path::{Path, PathBuf};

use rocksdb::DB;

use super::ffi::Database;
use super::options::{self, RocksOptions};
use super::recovery::SequenceNote;

/// Why a store does not open, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, holds the directory.
    #[error("{path} is in use by another process; stop it, or choose another data directory")]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The directory cannot be created, read or written.
    #[error(
        "{path} cannot be used: {reason}; check that it exists on a mounted disk and that this user may write to it"
    )]
    Inaccessible {
        /// The store's directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The disk is full.
    #[error("no space is left on the disk of {path} ({reason}); free some and start again")]
    DiskFull {
        /// The store's directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Acknowledged data is missing.
    #[error(
        "acknowledged data is missing in {path}: sequence {noted} was durable, the log ends at {recovered}. Restore the \
         directory from a copy; to go on without the lost records, delete the file `durable-sequence` in it"
    )]
    DataLost {
        /// The store's directory.
        path: PathBuf,
        /// The last sequence known to have been durable.
        noted: u64,
        /// The last sequence that is there.
        recovered: u64,
    },
    /// Stored bytes do not say what they must.
    #[error("{path} is corrupt: {reason}. Check the disk and restore the directory from a copy")]
    Corrupt {
        /// The store's directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// The directory holds something that this version does not know.
    #[error(
        "{path} was written by another program or a newer version ({reason}); start the version that wrote it"
    )]
    Unknown {
        /// The store's directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// Anything else.
    #[error("{path} could not be opened: {reason}")]
    Failed {
        /// The store's directory.
        path: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
}

/// Opens `path`, creating it if need be, and checks it against its note.
pub(super) fn open(path: &Path, options: &RocksOptions) -> Result<(Database, SequenceNote), OpenError> {
    let inaccessible = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => {
            OpenError::DiskFull { path: path.to_owned(), reason: error.to_string() }
        }
        _ => OpenError::Inaccessible { path: path.to_owned(), reason: error.to_string() },
    };
    create_durably(path).map_err(inaccessible)?;
    let open_with = |options: &RocksOptions| {
        DB::open_cf_descriptors(&options::database(options), path, options::families(options))
            .map_err(rocksdb::Error::into_string)
    };
    let opened = match open_with(options) {
        Err(reason) if options.direct_io && reason.contains("Direct I/O is not supported") => {
            tracing::info!(path = %path.display(), "the file system has no direct I/O; writing through the page cache");
            open_with(&RocksOptions { direct_io: false, ..*options })
        }
        opened => opened,
    };
    let db = opened.map_err(|reason| classify(path, reason))?;
    // Read under RocksDB's directory lock.
    let note = SequenceNote::open(path).map_err(inaccessible)?;
    let recovered = db.latest_sequence_number();
    if recovered < note.noted() {
        return Err(OpenError::DataLost { path: path.to_owned(), noted: note.noted(), recovered });
    }
    Ok((Database::new(db), note))
}

/// Creates `path` and what is missing above it. RocksDB fsyncs its directory, but nobody else fsyncs the entry of that
/// directory in the one above: a power cut would take the whole store.
///
/// # Errors
/// The system's.
pub fn create_durably(path: &Path) -> std::io::Result<()> {
    let missing = path.ancestors().take_while(|ancestor| !ancestor.exists()).count();
    std::fs::create_dir_all(path)?;
    // At least the store's own entry each time: the process that made it may have been killed before this line.
    for above in path.ancestors().skip(1).take(missing.max(1)) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// RocksDB tells its failures apart by text alone.
fn classify(path: &Path, reason: String) -> OpenError {
    let path = path.to_owned();
    let has = |part: &str| reason.contains(part);
    if has("lock hold by current process") || (has("LOCK") && has("temporarily unavailable")) {
        OpenError::InUse { path }
    } else if has("No space left") {
        OpenError::DiskFull { path, reason }
    } else if has("Permission denied") || has("Read-only file system") || has("Not a directory") {
        OpenError::Inaccessible { path, reason }
    } else if reason.starts_with("Corruption") {
        OpenError::Corrupt { path, reason }
    } else if reason.starts_with("Invalid argument") || reason.starts_with("Not implemented") {
        OpenError::Unknown { path, reason }
    } else {
        OpenError::Failed { path, reason }
    }
}
