//! Owns one segment wherever it is: a file, or an object in S3, Google or Azure. Read by ranges; of its data, one group of
//! blocks is held at a time.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chronik_tiering::bucket::Bucket;
use chronik_tiering::limits::{TAIL_BYTES_MAX, TAIL_GUESS_BYTES};
use chronik_tiering::segment::{FOOTER_BYTES, SegmentError, Tail};

use super::Failure;
use crate::config::BrokerConfig;
use crate::tier;

/// Bytes of blocks that are read at once, from the first read on and at most, unless one block has more.
const GROUP_BYTES_MIN: u64 = 2 << 20;
const GROUP_BYTES_MAX: u64 = 16 << 20;

/// See the module.
pub struct Object {
    /// As it was named.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    place: Place,
}

enum Place {
    File(File),
    Bucket(Bucket, String),
}

/// Why there is no tail.
pub enum NoTail {
    /// It could not be read.
    Unread(Failure),
    /// It was read, and is not one. Where, in bytes.
    Wrong(u64, SegmentError),
}

impl NoTail {
    /// For whoever cannot go on without one.
    pub fn told(&self, name: &str) -> Failure {
        match self {
            Self::Unread(failure) => failure.clone(),
            Self::Wrong(position, error) => format!("{name}: at byte {position}: {error}"),
        }
    }
}

impl Object {
    /// Opens what a path or a URL names.
    pub async fn open(name: &str, config: &BrokerConfig) -> Result<Self, Failure> {
        if let Some((url, object)) = remote(name) {
            let bucket = bucket(url, config)?;
            let size = bucket.size(object).await.map_err(|error| format!("{name}: {error}"))?;
            return Ok(Self { name: name.to_owned(), size, place: Place::Bucket(bucket, object.to_owned()) });
        }
        let path = local(name);
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(told)?;
        let size = file.metadata().map_err(told)?.len();
        Ok(Self { name: name.to_owned(), size, place: Place::File(file) })
    }

    /// A part of it.
    pub async fn range(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        match &self.place {
            Place::Bucket(bucket, object) => {
                bucket.get_range(object, range).await.map_err(|error| format!("{}: {error}", self.name))
            }
            Place::File(file) => {
                let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, range.start)
                    .map_err(|error| format!("{}: {error}", self.name))?;
                Ok(bytes.into())
            }
        }
    }

    /// The tail, and its bytes.
    pub async fn tail(&self) -> Result<(Tail, Bytes), NoTail> {
        let footer_at = self.size.saturating_sub(FOOTER_BYTES as u64);
        let guess = self.size.min(TAIL_GUESS_BYTES);
        let mut bytes = self.range(self.size - guess..self.size).await.map_err(NoTail::Unread)?;
        let length = Tail::length(&bytes).map_err(|error| NoTail::Wrong(footer_at, error))?;
        if length > self.size || length > TAIL_BYTES_MAX {
            let error = SegmentError::Contradiction(format!("its tail should have {length} bytes"));
            return Err(NoTail::Wrong(footer_at, error));
        }
        let begin = self.size - length;
        if length > guess {
            bytes = self.range(begin..self.size).await.map_err(NoTail::Unread)?;
        }
        let bytes = bytes.slice(bytes.len() - usize::try_from(length).unwrap_or(0)..);
        let tail = Tail::decode(&bytes, self.size).map_err(|error| NoTail::Wrong(begin, error))?;
        Ok((tail, bytes))
    }
}

/// Blocks that were read together; more with each read, so that little is read for little.
pub struct Group {
    begin: u64,
    bytes: Bytes,
    /// Bytes that the next read asks for.
    window: u64,
}

impl Default for Group {
    fn default() -> Self {
        Self { begin: 0, bytes: Bytes::new(), window: GROUP_BYTES_MIN }
    }
}

impl Group {
    /// The bytes of a block, not compared with its checksum; and what follows it is read along.
    pub async fn block(&mut self, object: &Object, tail: &Tail, index: usize) -> Result<Bytes, Failure> {
        let blocks = tail.blocks.get(index..).unwrap_or_default();
        let Some(block) = blocks.first() else { return Ok(Bytes::new()) };
        let range = block.range();
        if range.start < self.begin || range.end > self.begin + self.bytes.len() as u64 {
            let ends = blocks.iter().map(|block| block.range().end);
            let end = ends.take_while(|end| end - range.start <= self.window).last().unwrap_or(range.end);
            (self.begin, self.bytes) = (range.start, object.range(range.start..end).await?);
            self.window = (2 * self.window).min(GROUP_BYTES_MAX);
        }
        let at = usize::try_from(range.start - self.begin).unwrap_or(usize::MAX);
        Ok(self.bytes.slice(at..at + block.length as usize))
    }
}

/// Everything that names stand for: a directory, or a URL that ends with a slash, stands for the segments below it.
pub async fn expand(names: &[String], config: &BrokerConfig) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        if name.contains("://") && !name.starts_with("file://") {
            if !name.ends_with('/') {
                found.push(name.clone());
                continue;
            }
            let bucket = bucket(name, config)?;
            let listed = bucket.list("", |object| found.push(format!("{name}{}", object.name))).await;
            listed.map_err(|error| format!("{name}: {error}"))?;
        } else if local(name).is_dir() {
            below(local(name), &mut found).map_err(|error| format!("{name}: {error}"))?;
        } else {
            found.push(name.clone());
            continue;
        }
        let mut new = found.split_off(before);
        new.retain(|name: &String| name.ends_with(".seg"));
        new.sort();
        found.extend(new);
        if found.len() == before {
            return Err(format!("{name}: no segment is below it"));
        }
    }
    Ok(found)
}

fn below(folder: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = path.to_str() {
                found.push(name.to_owned());
            }
        }
    }
    Ok(())
}

fn bucket(url: &str, config: &BrokerConfig) -> Result<Bucket, Failure> {
    let backend = tier::backend_of_url(url, config).map_err(|error| error.to_string())?;
    Bucket::open(&backend).map_err(|error| error.to_string())
}

/// The path that a name is.
fn local(name: &str) -> &Path {
    Path::new(name.strip_prefix("file://").unwrap_or(name))
}

/// The place and the object's name in it, when it is not a file.
fn remote(name: &str) -> Option<(&str, &str)> {
    if !name.contains("://") || name.starts_with("file://") {
        return None;
    }
    name.rsplit_once('/')
}
