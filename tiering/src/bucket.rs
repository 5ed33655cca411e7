//! Object storage as the rest of this crate sees it: names and bytes in one bucket, counted, bounded in time, and with
//! errors that say whether trying again can help. Which store it is, is known to `backend` alone.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload,
};

use crate::backend::{Backend, BackendError};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::metrics as names;

/// Names that one deletion asks for at most; Amazon's bound.
const DELETE_BATCH: usize = 1000;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// There is no object of this name.
    #[error("there is no object {0}")]
    NotFound(String),
    /// There is one already.
    #[error("an object of this name exists")]
    Exists,
    /// The store does not let us.
    #[error("the object store refuses: {0}")]
    Denied(String),
    /// The store cannot do this.
    #[error("the object store cannot do this: {0}")]
    Unsupported(String),
    /// It did not answer, or not as it should; later it may.
    #[error("the object store failed: {0}")]
    Failed(String),
}

/// What became of a conditional create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is ours.
    Ours,
    /// There was one of this name, with other bytes.
    Taken,
}

/// An object, as a listing tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without the prefix of the bucket.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was written, ms.
    pub modified_ms: i64,
}

/// What became of a deletion.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Objects that are gone for certain; of a failed request none is counted.
    pub gone: Vec<String>,
    /// What kept others from going.
    pub failed: Option<BucketError>,
}

impl Deleted {
    /// All of them, or an error.
    ///
    /// # Errors
    /// What kept any from going.
    pub fn all(self) -> Result<(), BucketError> {
        self.failed.map_or(Ok(()), Err)
    }
}

/// One bucket, or a part of one.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    place: Arc<str>,
    /// Where files are while they are written, if the store is a directory.
    staging: Option<Arc<std::path::Path>>,
}

impl Bucket {
    /// The place that `backend` names. Speaks to nobody yet.
    ///
    /// # Errors
    /// [`BackendError`] when the settings do not fit together.
    pub fn open(backend: &Backend) -> Result<Self, BackendError> {
        let store = crate::backend::build(backend)?;
        let staging = crate::staged::folder(backend).map(Into::into);
        Ok(Self { store, place: backend.to_string().into(), staging })
    }

    /// Over any store; for tests, and for tools that have one.
    pub fn over(store: Arc<dyn ObjectStore>, place: &str) -> Self {
        Self { store, place: place.into(), staging: None }
    }

    /// Where it is, without secrets.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Creates an object that must not exist. A repeat of our own bytes, whose first answer was lost, counts as ours.
    ///
    /// # Errors
    /// [`BucketError`]; the object may be there all the same.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Result<Created, BucketError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = measured("put", self.store.put_opts(&path(name), bytes.clone().into(), options)).await;
        match put {
            Ok(_) => Ok(Created::Ours),
            Err(BucketError::Exists) => {
                let there = self.get(name).await?;
                Ok(if there == bytes { Created::Ours } else { Created::Taken })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes an object whole.
    ///
    /// # Errors
    /// [`BucketError`]; the object may be there all the same.
    pub async fn put(&self, name: &str, chunks: Vec<Bytes>) -> Result<(), BucketError> {
        let payload: PutPayload = chunks.into_iter().collect();
        measured("put", self.store.put_opts(&path(name), payload, PutOptions::default())).await.map(drop)
    }

    /// Begins an object that is written in parts.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn multipart(&self, name: &str) -> Result<Parts, BucketError> {
        let upload = measured("multipart", self.store.put_multipart(&path(name))).await?;
        Ok(Parts { upload })
    }

    /// The whole object, of at most [`MANIFEST_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn get(&self, name: &str) -> Result<Bytes, BucketError> {
        let read = async {
            let answer = self.store.get(&path(name)).await?;
            let size = answer.meta.size;
            Ok(if size > MANIFEST_BYTES_MAX { Err(size) } else { Ok(answer.bytes().await?) })
        };
        let bytes = measured("get", read).await?;
        let bytes = bytes
            .map_err(|size| BucketError::Failed(format!("{name} has {size} bytes, which is too large")))?;
        count_read(bytes.len());
        Ok(bytes)
    }

    /// A part of the object; all of it, or an error.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        let wanted = range.end - range.start;
        let bytes = measured("get", self.store.get_range(&path(name), range)).await?;
        count_read(bytes.len());
        if bytes.len() as u64 != wanted {
            return Err(BucketError::Failed(format!("{} of {wanted} bytes came", bytes.len())));
        }
        Ok(bytes)
    }

    /// Bytes of the object from `begin` on with one request, cut into pieces of these lengths, each in memory of its own.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn get_pieces(
        &self,
        name: &str,
        begin: u64,
        lengths: &[usize],
    ) -> Result<Vec<Bytes>, BucketError> {
        let wanted: usize = lengths.iter().sum();
        let options = GetOptions {
            range: Some(GetRange::Bounded(begin..begin + wanted as u64)),
            ..GetOptions::default()
        };
        let read = async {
            let answer = self.store.get_opts(&path(name), options).await?;
            let mut pieces = Pieces::new(lengths);
            match answer.payload {
                GetResultPayload::File(file, _) => {
                    let lengths = lengths.to_vec();
                    let reading = tokio::task::spawn_blocking(move || read_file(file, begin, &lengths));
                    let read = reading.await.expect("reading does not panic");
                    pieces.done = read.map_err(|error| object_store::Error::Generic {
                        store: "local",
                        source: error.into(),
                    })?;
                }
                GetResultPayload::Stream(mut stream) => {
                    while let Some(chunk) = stream.try_next().await? {
                        pieces.push(&chunk);
                    }
                }
            }
            Ok(pieces)
        };
        let pieces = measured("get", read).await?;
        let bytes = pieces.bytes();
        count_read(bytes);
        if bytes == wanted && !pieces.too_many {
            Ok(pieces.done)
        } else {
            Err(BucketError::Failed(format!("{bytes} of {wanted} bytes came")))
        }
    }

    /// The last `count` bytes of an object and its size; fewer when it is smaller.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn get_end(&self, name: &str, count: u64) -> Result<(Bytes, u64), BucketError> {
        let options = GetOptions { range: Some(GetRange::Suffix(count)), ..GetOptions::default() };
        let read = async {
            let answer = self.store.get_opts(&path(name), options).await?;
            let size = answer.meta.size;
            Ok((answer.bytes().await?, size))
        };
        match measured("get", read).await {
            // Azure has no suffixes.
            Err(BucketError::Unsupported(_)) => {
                let size = self.size(name).await?;
                let range = size.saturating_sub(count)..size;
                Ok((self.get_range(name, range).await?, size))
            }
            answer => answer.inspect(|(bytes, _)| count_read(bytes.len())),
        }
    }

    /// Bytes of an object.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn size(&self, name: &str) -> Result<u64, BucketError> {
        measured("head", self.store.head(&path(name))).await.map(|meta| meta.size)
    }

    /// Removes what writing objects has left that was cut short before `before_ms`, where the store does not do so itself.
    /// Returns how many files went.
    pub async fn sweep_staged(&self, before_ms: i64) -> usize {
        let Some(folder) = self.staging.clone() else { return 0 };
        let swept = tokio::task::spawn_blocking(move || crate::staged::sweep_all(&folder, before_ms));
        swept.await.expect("looking through a directory does not panic")
    }

    /// Deletes objects; one that is not there counts as deleted. One that stays keeps none of the others.
    pub async fn delete(&self, objects: &[String]) -> Deleted {
        let mut deleted = Deleted::default();
        for batch in objects.chunks(DELETE_BATCH) {
            let paths: Vec<_> = batch.iter().map(|name| Ok(path(name))).collect();
            let mut outcomes = self.store.delete_stream(stream::iter(paths).boxed());
            let mut failed = None;
            while let Some(outcome) = outcomes.next().await {
                match measured("delete", std::future::ready(outcome)).await {
                    Ok(_) | Err(BucketError::NotFound(_)) => {}
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                None => deleted.gone.extend_from_slice(batch),
                // The stores do not all say which.
                Some(BucketError::Denied(_)) => self.delete_each(batch, &mut deleted).await,
                failed => {
                    deleted.failed = failed;
                    break;
                }
            }
        }
        deleted
    }

    async fn delete_each(&self, objects: &[String], deleted: &mut Deleted) {
        for name in objects {
            match measured("delete", self.store.delete(&path(name))).await {
                Ok(()) | Err(BucketError::NotFound(_)) => deleted.gone.push(name.clone()),
                Err(error) => deleted.failed = Some(error),
            }
        }
    }

    /// Objects whose names begin with the folder `prefix`, in any order, handed to `each` as they come.
    ///
    /// # Errors
    /// [`BucketError`]; some were handed over.
    pub async fn list(&self, prefix: &str, mut each: impl FnMut(Listed)) -> Result<(), BucketError> {
        let list = async {
            let mut listing = self.store.list(Some(&path(prefix)));
            while let Some(meta) = listing.try_next().await? {
                each(Listed {
                    name: meta.location.to_string(),
                    size: meta.size,
                    modified_ms: meta.last_modified.timestamp_millis(),
                });
            }
            Ok(())
        };
        measured("list", list).await
    }

    /// The names of the folders and objects directly below `prefix`, without it.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn children(&self, prefix: &str) -> Result<Vec<String>, BucketError> {
        let prefix = path(prefix);
        let listed = measured("list", self.store.list_with_delimiter(Some(&prefix))).await?;
        let objects = listed.objects.iter().map(|meta| &meta.location);
        let names = listed.common_prefixes.iter().chain(objects);
        Ok(names.filter_map(|path| path.filename().map(str::to_owned)).collect())
    }
}

/// Chunks as they come, cut into pieces.
struct Pieces<'a> {
    lengths: std::slice::Iter<'a, usize>,
    done: Vec<Bytes>,
    /// The piece under way, and the bytes that it has in the end.
    open: Vec<u8>,
    open_length: usize,
    /// More came than was asked for.
    too_many: bool,
}

impl<'a> Pieces<'a> {
    fn new(lengths: &'a [usize]) -> Self {
        let done = Vec::with_capacity(lengths.len());
        Self { lengths: lengths.iter(), done, open: Vec::new(), open_length: 0, too_many: false }
    }

    fn push(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            if self.open_length == 0 {
                let Some(length) = self.lengths.next() else {
                    self.too_many = true;
                    return;
                };
                (self.open, self.open_length) = (Vec::with_capacity(*length), *length);
            }
            let (now, later) = chunk.split_at(chunk.len().min(self.open_length - self.open.len()));
            self.open.extend_from_slice(now);
            chunk = later;
            if self.open.len() == self.open_length {
                self.done.push(Bytes::from(std::mem::take(&mut self.open)));
                self.open_length = 0;
            }
        }
    }

    fn bytes(&self) -> usize {
        self.done.iter().map(Bytes::len).sum::<usize>() + self.open.len()
    }
}

/// The pieces of a file that are there whole.
fn read_file(mut file: std::fs::File, begin: u64, lengths: &[usize]) -> std::io::Result<Vec<Bytes>> {
    use std::io::{Read, Seek};
    file.seek(std::io::SeekFrom::Start(begin))?;
    let mut done = Vec::with_capacity(lengths.len());
    for length in lengths {
        let mut piece = Vec::with_capacity(*length);
        if (&file).take(*length as u64).read_to_end(&mut piece)? < *length {
            break;
        }
        done.push(Bytes::from(piece));
    }
    Ok(done)
}

/// An object under way in parts. Dropped without an end, it leaves parts behind that the store keeps until its own rules
/// remove them.
#[derive(Debug)]
pub struct Parts {
    upload: Box<dyn MultipartUpload>,
}

impl Parts {
    /// Sends the next part; several may be under way. All but the last have the same size, of 5 MiB at least.
    pub fn part(
        &mut self,
        chunks: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), BucketError>> + Send + 'static {
        let part = self.upload.put_part(chunks.into_iter().collect());
        measured("put", part)
    }

    /// Makes the object of its parts.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn complete(mut self) -> Result<(), BucketError> {
        measured("multipart", self.upload.complete()).await.map(drop)
    }

    /// Gives it up.
    pub async fn abort(mut self) {
        // The store's rules for parts that were left behind take care of the rest.
        let _ = measured("multipart", self.upload.abort()).await;
    }
}

/// Names are ours: ASCII, without empty parts.
fn path(name: &str) -> Path {
    Path::from_iter(name.split('/').filter(|part| !part.is_empty()))
}

fn count_read(bytes: usize) {
    metrics::counter!(names::BYTES_READ).increment(bytes as u64);
}

async fn measured<T>(
    request: &'static str,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T, BucketError> {
    let begun = Instant::now();
    let outcome = work.await.map_err(|error| translate(&error));
    let failed = matches!(&outcome, Err(BucketError::Failed(_) | BucketError::Denied(_)));
    names::count_request(request, begun.elapsed().as_secs_f64(), failed);
    outcome
}

fn translate(error: &object_store::Error) -> BucketError {
    use object_store::Error;
    match error {
        Error::NotFound { path, .. } => BucketError::NotFound(path.clone()),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => BucketError::Exists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => BucketError::Denied(told(error)),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => BucketError::Unsupported(told(error)),
        _ => BucketError::Failed(told(error)),
    }
}

/// The error with its causes, on one line and not too long.
fn told(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(ERROR_CHARS_MAX).collect()
}

/// Characters of an error that are told; stores answer with pages.
const ERROR_CHARS_MAX: usize = 400;

/// How long a caller waits before it tries again: doubling, with jitter, bounded.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// From `first` to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { next: first, max }
    }

    /// The next wait: between half and all of what doubling has come to.
    pub fn wait(&mut self) -> Duration {
        let most = self.next;
        self.next = (self.next * 2).min(self.max);
        let mut random = [0; 4];
        // Without randomness there is no jitter; nothing else depends on it.
        let _ = getrandom::fill(&mut random);
        let part = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        most.mul_f64(0.5 + part / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_wherever_the_chunks_end() {
        let bytes: Vec<u8> = (0..60).collect();
        let lengths = [1, 20, 7, 32];
        for chunk_bytes in 1..=bytes.len() {
            let mut pieces = Pieces::new(&lengths);
            bytes.chunks(chunk_bytes).for_each(|chunk| pieces.push(chunk));
            assert!(!pieces.too_many, "{chunk_bytes}");
            assert_eq!(pieces.bytes(), bytes.len());
            assert_eq!(pieces.done.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
            assert_eq!(pieces.done.concat(), bytes);
        }
    }

    #[test]
    fn too_few_and_too_many_bytes_are_told_from_enough() {
        let mut pieces = Pieces::new(&[4, 4]);
        pieces.push(&[0; 7]);
        assert_eq!((pieces.bytes(), pieces.done.len(), pieces.too_many), (7, 1, false));
        pieces.push(&[0; 2]);
        assert!(pieces.too_many);
    }
}
