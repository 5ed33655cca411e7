//! Owns what the configuration means to the engine: its store's options, its ring, the settings of its logs. The
//! engine knows no setting's name, so the translation is here.

use std::collections::BTreeMap;

use chronik_engine::log::LogConfig;
use chronik_engine::store::rocks::{RocksOptions, WalProfile};

use super::broker::BrokerConfig;
use super::topic;

impl BrokerConfig {
    /// The memory profile: as configured, or what fits this machine.
    pub fn wal_profile(&self) -> WalProfile {
        self.storage.wal_profile.unwrap_or_else(WalProfile::detect)
    }

    /// How to open the store.
    pub fn store_options(&self) -> RocksOptions {
        RocksOptions::new(self.storage.produce_profile, self.wal_profile())
    }

    /// Bytes of recent batches kept in memory.
    pub fn ring_bytes(&self) -> usize {
        self.wal_profile().budget().ring_bytes
    }

    /// The settings of a topic's logs; see [`log_config`](super::log_config).
    pub fn log_config(&self, overrides: &BTreeMap<String, String>) -> LogConfig {
        topic::log_config(overrides, self)
    }
}
