//! The workspace's own files, for suites that hold code and documents to each other.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the workspace").to_owned()
}

/// Every file below a folder of the workspace with one of these endings, as text.
///
/// # Panics
/// When there is none, or one cannot be read.
pub fn texts(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| endings.iter().any(|wanted| end == *wanted)) {
                found.push((path.clone(), fs::read_to_string(&path).expect("a text file")));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}
