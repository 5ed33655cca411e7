//! What the tests of this crate share: an engine over memory, a bucket over memory, and faults on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chronik_engine::log::{LogConfig, PartitionLog};
use chronik_engine::store::{MemoryStore, Store};
use chronik_engine::topic::TopicOverrides;
use chronik_engine::{Engine, EngineOptions};
use chronik_protocol::batch::{BatchBuilder, TargetCompression, TimestampType, ValidateOptions, validate};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bucket::Bucket;
use crate::tier::{Tier, TierOptions};

/// Where the clock begins.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A store in memory that fails, or sends wrong bytes, when told to.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<InMemory>,
    /// Requests that fail from now on.
    pub(crate) failures: AtomicUsize,
    /// GETs that come with a wrong byte from now on.
    pub(crate) corruptions: AtomicUsize,
    /// GETs so far.
    pub(crate) gets: AtomicUsize,
    /// Puts that arrive, but whose answer is lost.
    pub(crate) lost_answers: AtomicUsize,
    /// What puts begin with that fail; empty is none.
    pub(crate) away: Mutex<&'static str>,
    /// Objects that may not be deleted.
    pub(crate) held: Mutex<Vec<String>>,
    /// Names of puts, in their order.
    pub(crate) puts: Mutex<Vec<String>>,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn failure() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "told to fail".into() }
}

impl Faulty {
    fn check(&self) -> Result<()> {
        if take(&self.failures) { Err(failure()) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check()?;
        let away = *self.away.lock();
        if !away.is_empty() && location.as_ref().starts_with(away) {
            return Err(failure());
        }
        self.puts.lock().push(location.to_string());
        let put = self.inner.put_opts(location, payload, options).await?;
        if take(&self.lost_answers) { Err(failure()) } else { Ok(put) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.puts.lock().push(location.to_string());
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        if options.head {
            return self.inner.get_opts(location, options).await;
        }
        self.gets.fetch_add(1, Ordering::SeqCst);
        let got = self.inner.get_opts(location, options).await?;
        if !take(&self.corruptions) {
            return Ok(got);
        }
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let mut bytes = got.bytes().await?.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let stream = futures_util::stream::once(async move { Ok(Bytes::from(bytes)) });
        let payload = object_store::GetResultPayload::Stream(Box::pin(stream));
        Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let held = self.held.lock().clone();
        let denied = move |path: &Path| held.iter().any(|held| held == path.as_ref());
        let allowed = locations.map(move |location| match location {
            Ok(path) if denied(&path) => Err(object_store::Error::PermissionDenied {
                path: path.to_string(),
                source: "it is held".into(),
            }),
            location => location,
        });
        // The store in memory gives up at the first error, and this one shall not.
        let inner = self.inner.clone();
        allowed
            .then(move |location| {
                let inner = inner.clone();
                async move {
                    let path = location?;
                    let one = futures_util::stream::iter([Ok(path.clone())]).boxed();
                    inner.delete_stream(one).next().await.unwrap_or(Ok(path))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A data directory in memory, a bucket, and the broker's part between them.
pub(crate) struct Rig {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<Faulty>,
    pub(crate) tier: Arc<Tier>,
    /// The time, for whoever wants to see it pass.
    pub(crate) now_ms: Arc<AtomicI64>,
    pub(crate) config: LogConfig,
    pub(crate) stop: watch::Sender<bool>,
}

/// Segments of about 20 kB, of which nothing stays local once it is copied.
pub(crate) fn tiered() -> LogConfig {
    LogConfig {
        segment_bytes: 20_000,
        remote_storage: true,
        retention_ms: None,
        local_retention_bytes: Some(0),
        ..LogConfig::default()
    }
}

async fn engine_on(store: Arc<MemoryStore>, config: LogConfig) -> Arc<Engine> {
    // Nothing stays in the tail ring: what is read comes from a tier.
    let options =
        EngineOptions { ring_bytes: 0, resolve: Box::new(move |_: &TopicOverrides| config.clone()) };
    let stores: Vec<Arc<dyn Store>> = vec![store];
    Engine::open(stores, options).await.unwrap()
}

impl Rig {
    pub(crate) async fn new(config: LogConfig) -> Self {
        Self::over(Arc::new(MemoryStore::new()), Arc::default(), config).await
    }

    /// On a directory and a bucket that are there.
    pub(crate) async fn over(store: Arc<MemoryStore>, objects: Arc<Faulty>, config: LogConfig) -> Self {
        let engine = engine_on(store.clone(), config.clone()).await;
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let clock = now_ms.clone();
        let bucket = Bucket::over(objects.clone(), "memory");
        let options = TierOptions::eager(std::path::PathBuf::new(), move || clock.load(Ordering::SeqCst));
        let tier = Tier::open(engine.clone(), bucket, options);
        Self { store, engine, objects, tier, now_ms, config, stop: watch::channel(false).0 }
    }

    /// The bucket, past the tier.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::over(self.objects.clone(), "memory")
    }

    /// Names of the manifest's deltas, in the order in which they were written.
    pub(crate) fn deltas(&self) -> Vec<String> {
        self.objects.puts.lock().iter().filter(|name| name.ends_with(".delta")).cloned().collect()
    }

    /// Runs the tasks until [`Self::stop`].
    pub(crate) fn start(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.tier.clone().run(self.stop.subscribe()))
    }

    pub(crate) async fn topic(&self, name: &str) -> Arc<PartitionLog> {
        let topic = match self.engine.topics().get(name) {
            Some(topic) => topic.clone(),
            None => self.engine.create_topic(name, 1, TopicOverrides::new(), NOW_MS).await.unwrap(),
        };
        topic.log(0).unwrap().clone()
    }

    /// Batches of three records of about 1 kB together, ten milliseconds apart; the value says the offset.
    pub(crate) async fn fill(&self, log: &Arc<PartitionLog>, batches: usize) {
        for _ in 0..batches {
            let base = log.offsets().next_offset;
            let mut builder = BatchBuilder::new();
            for delta in 0..3 {
                let value = format!("{:0>330}", base + delta);
                builder = builder.record(NOW_MS + base * 10, Some(b"key"), Some(value.as_bytes()));
            }
            append(log, builder.build().unwrap()).await;
        }
    }

    /// Waits until everything closed is copied and nothing else is local.
    pub(crate) async fn settled(&self, log: &Arc<PartitionLog>) {
        let copied = || log.to_copy(1).is_empty() && log.has_remote();
        until(|| copied() && log.offsets().local_from == log.copied_to().unwrap_or(0)).await;
    }
}

pub(crate) async fn append(log: &Arc<PartitionLog>, batch: Bytes) {
    let options = ValidateOptions {
        now_ms: NOW_MS,
        max_batch_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        require_keys: false,
        compression: TargetCompression::Producer,
        max_decompressed_bytes: 1 << 20,
    };
    log.append(&validate(batch, &options).unwrap(), NOW_MS).unwrap().ticket.await.unwrap();
}

/// Waits for something that is about to happen.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it has not happened in ten seconds");
}
