//! What every request handler shares: the engine, the coordinator, the configuration, the clock.

use std::sync::Arc;

use chronik_engine::Engine;

use crate::config::BrokerConfig;
use crate::coordinator::GroupCoordinator;
use crate::handlers::fetch::{FetchMemory, FetchSessions};
use crate::metrics::BrokerMetrics;
use crate::runtime::{Clock, Stopping};

/// One running broker.
pub struct Broker {
    /// Logs and topics.
    pub engine: Arc<Engine>,
    /// What the operator asked for.
    pub config: Arc<BrokerConfig>,
    /// Consumer groups.
    pub groups: GroupCoordinator,
    /// Incremental fetch sessions (KIP-227).
    pub fetch_sessions: FetchSessions,
    /// What fetches hold of the store's data.
    pub fetch_memory: FetchMemory,
    /// Figures of the hot path, resolved once.
    pub metrics: BrokerMetrics,
    /// The time.
    pub clock: Clock,
    /// Whether it is stopping.
    pub stopping: Stopping,
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
