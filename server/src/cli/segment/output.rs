//! Owns files that are there whole or not at all: written under a name of their own, made durable, and renamed. What was not
//! finished is removed.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Failure;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that does not have its name yet.
pub struct NewFile {
    folder: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    is_done: bool,
}

impl NewFile {
    /// Begins a file in `folder`, which is made if it is not there. `label` tells it from others that are under way.
    pub fn create(folder: &Path, label: &str) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let temporary = folder.join(format!(".{label}.{}.tmp", std::process::id()));
        let file = File::create(&temporary)
            .map_err(|error| format!("{} cannot be written: {error}", temporary.display()))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self { folder: folder.to_owned(), temporary, file, bytes: 0, is_done: false })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        format!("{} cannot be written: {error}", self.folder.display())
    }

    /// Appends.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the first bytes.
    pub fn rewrite_beginning(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rewrite = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(bytes)?;
            self.file.seek(SeekFrom::End(0))
        };
        rewrite().map(drop).map_err(|error| self.failed(&error))
    }

    /// Makes it durable and gives it its name. A file of this name is an error, unless it is to be replaced.
    pub fn finish(mut self, name: &str, replace: bool) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        refuse_existing(&path, replace)?;
        let done = self.file.flush().and_then(|()| {
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.temporary, &path)?;
            File::open(&self.folder)?.sync_all()
        });
        done.map_err(|error| self.failed(&error))?;
        self.is_done = true;
        Ok(path)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            // Best effort: the error that led here is the one to tell.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// An error when there is such a file and it is not to be replaced.
pub fn refuse_existing(path: &Path, replace: bool) -> Result<(), Failure> {
    if replace || !path.exists() {
        return Ok(());
    }
    Err(format!("{} is there already: choose another directory, or replace it with --force", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let count = || std::fs::read_dir(&folder).unwrap().count();
        let mut file = NewFile::create(&folder, "a").unwrap();
        file.append(b"0123").unwrap();
        drop(file);
        assert_eq!(count(), 0);
        let mut file = NewFile::create(&folder, "a").unwrap();
        file.append(b"0123").unwrap();
        file.rewrite_beginning(b"ab").unwrap();
        file.append(b"4").unwrap();
        assert_eq!(file.bytes(), 5);
        let path = file.finish("a.txt", false).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), count()), (b"ab234".to_vec(), 1));
        let again = NewFile::create(&folder, "a").unwrap().finish("a.txt", false).unwrap_err();
        assert!(again.contains("--force"), "{again}");
        NewFile::create(&folder, "a").unwrap().finish("a.txt", true).unwrap();
        assert_eq!((std::fs::read(&path).unwrap().len(), count()), (0, 1));
    }
}
