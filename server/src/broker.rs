//! What every request handler shares: the engine, the coordinator, the configuration, the clock.

use std::sync::Arc;

use chronik_engine::Engine;
use chronik_tiering::Tier;

use crate::cleaner::Cleaner;
use crate::config::BrokerConfig;
use crate::coordinator::{GroupCoordinator, TxnCoordinator};
use crate::dynamic::Dynamic;
use crate::handlers::fetch::{FetchMemory, FetchSessions};
use crate::limits::{FETCH_SCANNED_BYTES_MAX, FETCH_WAITING_BYTES_MAX};
use crate::metrics::BrokerMetrics;
use crate::runtime::{Clock, Stopping};

/// One running broker.
pub struct Broker {
    /// Logs and topics.
    pub engine: Arc<Engine>,
    /// What the operator asked for at the start. A setting that may change since is asked of `dynamic`.
    pub config: Arc<BrokerConfig>,
    /// What administrators change while the broker runs.
    pub dynamic: Dynamic,
    /// Consumer groups.
    pub groups: GroupCoordinator,
    /// Transactions.
    pub txns: Arc<TxnCoordinator>,
    /// Incremental fetch sessions (KIP-227).
    pub fetch_sessions: FetchSessions,
    /// What fetches hold of the store's data.
    pub fetch_memory: FetchMemory,
    /// Tiered storage.
    pub tier: Arc<Tier>,
    /// Cleans compacted logs.
    pub cleaner: Arc<Cleaner>,
    /// Figures of the hot path, resolved once.
    pub metrics: BrokerMetrics,
    /// The time.
    pub clock: Clock,
    /// Whether it is stopping.
    pub stopping: Stopping,
}

impl Broker {
    #[expect(clippy::too_many_arguments, reason = "each is a part that the caller has opened")]
    /// A broker over what was opened, with the rest of what handlers share as `config` says.
    pub fn new(
        config: Arc<BrokerConfig>,
        engine: Arc<Engine>,
        dynamic: Dynamic,
        groups: GroupCoordinator,
        txns: Arc<TxnCoordinator>,
        tier: Arc<Tier>,
        clock: Clock,
        stopping: Stopping,
    ) -> Arc<Self> {
        Arc::new(Self {
            fetch_sessions: FetchSessions::new(config.fetch.session_cache_slots),
            fetch_memory: FetchMemory::new(FETCH_SCANNED_BYTES_MAX, FETCH_WAITING_BYTES_MAX),
            metrics: BrokerMetrics::new(),
            cleaner: Cleaner::new(engine.clone(), dynamic.settings.clone(), tier.clone(), clock.clone()),
            engine,
            dynamic,
            groups,
            txns,
            tier,
            clock,
            stopping,
            config,
        })
    }
}

/// A listener as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Its name, `PLAINTEXT` by default.
    pub name: String,
    /// The host that clients are told.
    pub advertised_host: String,
    /// The port that clients are told.
    pub advertised_port: u16,
}
