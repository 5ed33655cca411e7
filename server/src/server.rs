//! The broker's life: open, bind, serve, stop.
//!
//! Order matters. Addresses are bound before the store is opened, so that an address in use costs nothing; readiness
//! is told only once requests are answered; a stop first ends the connections, then makes everything durable.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronik_engine::store::Store;
use chronik_engine::store::rocks::RocksStore;
use chronik_engine::{Engine, EngineOptions};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::broker::{Broker, ListenerInfo};
use crate::config::BrokerConfig;
use crate::coordinator::txn::TxnConfig;
use crate::coordinator::{GroupCoordinator, TxnCoordinator};
use crate::disk;
use crate::dynamic::Dynamic;
use crate::dynamic::settings::Settings;
use crate::http::{self, HttpState};
use crate::limits::CLOSE_TIMEOUT_SECONDS;
use crate::net::{self, BoundListener, ConnectionLimits, NamedListener, RequestMemory};
use crate::runtime::{self, Clock, Readiness, Stopping};
use crate::tier;

/// Why the broker did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{option}: {address} cannot be bound: {reason}; choose another address, or stop what uses it")]
    Bind {
        /// The setting that names the address.
        option: String,
        /// The address.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// The data directory cannot be opened.
    #[error("data.dir: {0}")]
    DataDir(String),
    /// The object store's settings do not fit together.
    #[error("object storage: {0}")]
    ObjectStore(String),
    /// The store failed while serving, and the process must end: what was acknowledged is safe, what was not is not
    /// known.
    #[error("the store failed: {0}")]
    StoreFailed(String),
    /// The last changes could not be made durable in good order; the next start recovers.
    #[error("the stop was not clean: {0}")]
    Close(String),
}

/// Runs a broker until `shutdown` turns true or its store fails; on the threads of `background`, what nobody waits for.
///
/// # Errors
/// See [`StartError`].
pub async fn run(
    config: Arc<BrokerConfig>,
    readiness: Readiness,
    shutdown: watch::Receiver<bool>,
    background: Handle,
) -> Result<(), StartError> {
    run_wrapped(config, readiness, shutdown, background, |store| store).await
}

/// As [`run`], on what `wrap` makes of the store; the crash suites prove with a lying one that they can fail.
///
/// # Errors
/// See [`StartError`].
pub async fn run_wrapped(
    config: Arc<BrokerConfig>,
    readiness: Readiness,
    shutdown: watch::Receiver<bool>,
    background: Handle,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> Result<(), StartError> {
    let started = Instant::now();
    let listeners = bind_listeners(&config)?;
    let http_listener = http::bind(config.http.http_addr).map_err(|error| StartError::Bind {
        option: "http.addr".to_owned(),
        address: config.http.http_addr.to_string(),
        reason: error.to_string(),
    })?;
    let (fatal_sender, fatal) = watch::channel(None);
    let store = wrap(open_store(&config, fatal_sender).await?);
    let running = Running { started, listeners, http_listener, store, fatal, background };
    run_on(config, readiness, shutdown, running).await
}

/// What `run` has opened, or a test brings along.
pub struct Running {
    /// When the start began.
    pub started: Instant,
    /// Kafka's listeners.
    pub listeners: Vec<NamedListener>,
    /// The HTTP socket.
    pub http_listener: tokio::net::TcpListener,
    /// The one shard's store.
    pub store: Arc<dyn Store>,
    /// Holds the reason once the store has failed.
    pub fatal: watch::Receiver<Option<String>>,
    /// Threads for what nobody waits for.
    pub background: Handle,
}

/// As [`run`], on a store that is open already; the crash suites put a faulty one here.
///
/// # Errors
/// See [`StartError`].
pub async fn run_on(
    config: Arc<BrokerConfig>,
    readiness: Readiness,
    mut shutdown: watch::Receiver<bool>,
    running: Running,
) -> Result<(), StartError> {
    let Running { started, listeners, http_listener, store, mut fatal, background } = running;
    let (stop, stopping) = watch::channel(false);
    let broker = open_broker(config.clone(), store, Stopping::new(stopping.clone())).await?;
    let engine = broker.engine.clone();

    let (stop_http, http_stopping) = watch::channel(false);
    let memory = RequestMemory::new(config.network.queued_max_request_bytes);
    let http_state = HttpState::new(broker.clone(), readiness.clone());
    let http_task = tokio::spawn(http::serve(http_listener, http_state, http_stopping));
    let kafka_task = tokio::spawn(net::serve(
        listeners,
        broker.clone(),
        memory,
        connection_limits(&config),
        stopping.clone(),
    ));
    let disk_task = runtime::spawn_vital(
        "disk space",
        disk::watch_space(
            engine.clone(),
            config.node.data_dir.clone(),
            disk_reserve(&broker),
            stopping.clone(),
        ),
    );
    let retention_task = runtime::spawn_vital("retention", retention(broker.clone(), stopping.clone()));
    let transactions_task =
        runtime::spawn_vital("transactions", transactions(broker.clone(), stopping.clone()));
    warn_of_shared_disk(&broker);
    let tier_task = {
        let _on_its_threads = background.enter();
        runtime::spawn_vital("tiered storage", broker.tier.clone().run(stopping.clone()))
    };
    let cleaner_task = runtime::spawn_vital("cleaner", broker.cleaner.clone().run(stopping));
    readiness.set(true);
    tracing::info!(
        elapsed_ms = started.elapsed().as_millis() as u64,
        topics = engine.topics().len(),
        partitions = engine.topics().partition_count(),
        after_crash = engine.started_unclean(),
        "ready"
    );

    let failed = tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => None,
        failed = fatal.wait_for(Option::is_some) => failed.ok().and_then(|reason| reason.clone()),
    };
    readiness.set(false);
    let _ = stop.send(true);
    if let Some(reason) = failed {
        // Nothing more can be made durable; clients see their connections end and retry after the restart.
        return Err(StartError::StoreFailed(reason));
    }
    // Parked joins are answered first, so that their connections need not wait out the drain.
    let _ = broker.groups.stop().await;
    let _ = tokio::join!(kafka_task, disk_task, retention_task, transactions_task, cleaner_task, tier_task);
    // Last, so that whoever watches can tell a broker that drains from one that is gone.
    let _ = stop_http.send(true);
    let _ = http_task.await;
    let closing = tokio::time::timeout(Duration::from_secs(CLOSE_TIMEOUT_SECONDS), engine.close()).await;
    closing
        .map_err(|_| StartError::Close(format!("the store took longer than {CLOSE_TIMEOUT_SECONDS} s")))?
        .map_err(|error| StartError::Close(error.to_string()))
}

/// Objects beside the data they are to outlive protect from nothing; told where something is tiered.
fn warn_of_shared_disk(broker: &Broker) {
    let is_tiered = broker
        .engine
        .topics()
        .iter()
        .any(|topic| topic.partitions.iter().any(|partition| partition.log.config().remote_storage));
    if is_tiered && tier::shares_the_disk(&broker.config) {
        tracing::warn!(
            path = %broker.config.local_objects().display(),
            "tiered segments are kept on the disk of data.dir: set local.storage.path to another, or use a bucket"
        );
    }
}

/// The reserve of this moment.
fn disk_reserve(broker: &Arc<Broker>) -> impl Fn() -> u64 + Send + use<> {
    let broker = broker.clone();
    move || broker.dynamic.settings.current().storage.disk_reserve_bytes
}

/// What handlers share, over what the store holds.
async fn open_broker(
    config: Arc<BrokerConfig>,
    store: Arc<dyn Store>,
    stopping: Stopping,
) -> Result<Arc<Broker>, StartError> {
    let clock = Clock::system();
    let settings = Settings::new(config.clone());
    let engine = Engine::open(vec![store], engine_options(&settings))
        .await
        .map_err(|error| StartError::DataDir(error.to_string()))?;
    let dynamic =
        Dynamic::open(&engine, settings).await.map_err(|error| StartError::DataDir(error.to_string()))?;
    let groups = GroupCoordinator::open(&engine, &config.group, clock.clone())
        .await
        .map_err(|error| StartError::DataDir(error.to_string()))?;
    let txns = TxnCoordinator::open(engine.clone(), groups.clone(), txn_config(&config), clock.clone())
        .await
        .map_err(|error| StartError::DataDir(error.to_string()))?;
    let tier = tier::open(&config, &dynamic.settings, engine.clone(), clock.clone())
        .map_err(|error| StartError::ObjectStore(error.to_string()))?;
    Ok(Broker::new(config, engine, dynamic, groups, txns, tier, clock, stopping))
}

/// What the transaction coordinator needs of the configuration.
pub fn txn_config(config: &BrokerConfig) -> TxnConfig {
    TxnConfig {
        max_timeout_ms: config.producers.transaction_max_timeout_ms,
        id_expiration_ms: config.producers.transactional_id_expiration_ms,
    }
}

/// Aborts transactions past their timeout and forgets transactional ids that nobody uses.
async fn transactions(broker: Arc<Broker>, mut stopping: watch::Receiver<bool>) {
    let config = &broker.config;
    let mut abort =
        tokio::time::interval(Duration::from_millis(config.producers.abort_timed_out_interval_ms));
    let mut forget =
        tokio::time::interval(Duration::from_millis(config.producers.remove_expired_interval_ms));
    while !*stopping.borrow() {
        tokio::select! {
            _ = abort.tick() => broker.txns.abort_timed_out().await,
            _ = forget.tick() => {
                let forgotten = broker.txns.expire_ids();
                if forgotten > 0 {
                    tracing::info!(ids = forgotten, "forgot transactional ids that nobody uses");
                }
            }
            _ = stopping.changed() => {}
        }
    }
}

/// Applies retention on `log.retention.check.interval.ms`.
async fn retention(broker: Arc<Broker>, mut stopping: watch::Receiver<bool>) {
    let interval = Duration::from_millis(broker.config.retention.retention_check_interval_ms.max(1));
    while !*stopping.borrow() {
        tokio::select! {
            () = tokio::time::sleep(interval) => {
                let now_ms = broker.clock.now_ms();
                let dropped = broker.engine.apply_retention(now_ms, broker.dynamic.settings.current().producers.producer_id_expiration_ms);
                if dropped > 0 {
                    tracing::info!(segments = dropped, "retention dropped segments");
                }
            }
            _ = stopping.changed() => {}
        }
    }
}

fn bind_listeners(config: &BrokerConfig) -> Result<Vec<NamedListener>, StartError> {
    let mut bound = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let failed = |error: std::io::Error| StartError::Bind {
            option: format!("listeners ({})", listener.name),
            address: listener.bind.to_string(),
            reason: error.to_string(),
        };
        let socket = BoundListener::bind(listener.bind).map_err(failed)?;
        let told = listener.told(socket.local_addr().map_err(failed)?);
        bound.push(socket.told(ListenerInfo {
            name: listener.name.clone(),
            advertised_host: told.host,
            advertised_port: told.port,
        }));
    }
    Ok(bound)
}

async fn open_store(
    config: &BrokerConfig,
    fatal: watch::Sender<Option<String>>,
) -> Result<Arc<dyn Store>, StartError> {
    let path = store_path(&config.node.data_dir);
    let options = config.store_options();
    // Recovery reads and may write for seconds.
    let opened = tokio::task::spawn_blocking(move || {
        let on_fatal = Box::new(move |error: chronik_engine::store::StoreError| {
            fatal.send_replace(Some(error.to_string()));
        });
        RocksStore::open(&path, options, on_fatal)
    });
    let store = opened
        .await
        .map_err(|error| StartError::DataDir(error.to_string()))?
        .map_err(|error| StartError::DataDir(error.to_string()))?;
    Ok(store)
}

/// Where the store lives in a data directory.
pub fn store_path(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("store")
}

/// What the engine needs of the configuration.
pub fn engine_options(settings: &Arc<Settings>) -> EngineOptions {
    let ring_bytes = settings.current().ring_bytes();
    let settings = settings.clone();
    EngineOptions { ring_bytes, resolve: Box::new(move |overrides| settings.current().log_config(overrides)) }
}

fn connection_limits(config: &BrokerConfig) -> ConnectionLimits {
    ConnectionLimits {
        max_frame_bytes: config.network.socket_request_max_bytes,
        max_idle: Duration::from_millis(config.network.connections_max_idle_ms),
    }
}
