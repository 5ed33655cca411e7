//! Files that a directory as the store keeps while an object is written, `NAME#NUMBER` beside it. They are in no listing, and
//! whoever was killed in between leaves them.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::backend::{Backend, Kind};
use crate::copy::SEGMENTS;

/// Folders that are ours, and what their objects end with.
const FOLDERS: [&str; 3] = [SEGMENTS, "manifest", "meta"];
const SUFFIXES: [&str; 4] = [".seg", ".delta", ".snapshot", ".meta"];

/// The folder of everything, if the store is a directory.
pub(crate) fn folder(backend: &Backend) -> Option<PathBuf> {
    let Kind::Local { path } = &backend.kind else { return None };
    Some(backend.prefix.as_ref().map_or_else(|| path.clone(), |prefix| path.join(prefix)))
}

/// Removes what was not written to since `before_ms` in all that is ours. Returns how many files went.
pub(crate) fn sweep_all(root: &Path, before_ms: i64) -> usize {
    FOLDERS.iter().map(|folder| sweep(&root.join(folder), before_ms)).sum()
}

/// Removes what was not written to since `before_ms`. Returns how many files went; what cannot be read or removed stays.
fn sweep(folder: &Path, before_ms: i64) -> usize {
    let mut removed = 0;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            removed += sweep(&entry.path(), before_ms);
            continue;
        }
        let written = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let is_old = written.is_some_and(|written| (written.as_millis() as i64) < before_ms);
        if is_staged(&entry.file_name().to_string_lossy())
            && is_old
            && std::fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    removed
}

fn is_staged(name: &str) -> bool {
    let is_ours = |object: &str| SUFFIXES.iter().any(|suffix| object.ends_with(suffix));
    name.rsplit_once('#').is_some_and(|(object, number)| is_ours(object) && number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    // What a copy had left that was killed used to stay for ever.
    #[test]
    fn staged_files_go_once_they_are_old_and_nothing_else_does() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("segments/t-1/0");
        std::fs::create_dir_all(&folder).unwrap();
        let names = ["a.seg", "a.seg#1", "b.delta#22", "c.seg#x", "d#1"];
        names.iter().for_each(|name| std::fs::write(folder.join(name), b"x").unwrap());
        assert_eq!(sweep_all(scratch.path(), 0), 0);
        assert_eq!(sweep_all(scratch.path(), i64::MAX), 2);
        let left: Vec<&str> = names.into_iter().filter(|name| folder.join(name).exists()).collect();
        assert_eq!(left, ["a.seg", "c.seg#x", "d#1"]);
        assert_eq!(sweep_all(&scratch.path().join("nothing"), i64::MAX), 0);
    }
}
