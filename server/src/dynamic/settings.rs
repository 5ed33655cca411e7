//! The broker's settings as they are now: those of the start, with what was changed since over them.
//!
//! Whoever acts on a setting that may change asks for [`Settings::current`] when it acts: one short lock and a count,
//! on paths that run per connection, per tick or per admin request. What the produce and fetch paths need is in each
//! log's own settings, which the engine replaces when a default changes; they read nothing here.

use std::sync::Arc;

use chronik_engine::Engine;
use chronik_engine::settings::ResourceConfigs;
use chronik_engine::store::StoreError;
use parking_lot::RwLock;

use crate::config::{BrokerConfig, DynamicLayers};

/// Kafka's number for brokers as a resource type, which their keys carry.
const BROKER: u8 = 4;

/// Whose settings are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every broker's: Kafka's resource with an empty name.
    EveryBroker,
    /// This broker's.
    ThisBroker,
}

struct Current {
    layers: DynamicLayers,
    config: Arc<BrokerConfig>,
}

/// See the module.
pub struct Settings {
    /// As the broker was started.
    start: Arc<BrokerConfig>,
    current: RwLock<Current>,
}

impl Settings {
    /// Those of the start, until something else is loaded.
    pub fn new(start: Arc<BrokerConfig>) -> Arc<Self> {
        let current = Current { layers: DynamicLayers::default(), config: start.clone() };
        Arc::new(Self { start, current: RwLock::new(current) })
    }

    /// The configuration of this moment.
    pub fn current(&self) -> Arc<BrokerConfig> {
        self.current.read().config.clone()
    }

    /// What is set in one layer.
    pub fn layer(&self, scope: Scope) -> ResourceConfigs {
        let current = self.current.read();
        match scope {
            Scope::EveryBroker => current.layers.default.clone(),
            Scope::ThisBroker => current.layers.broker.clone(),
        }
    }

    /// Puts in force what was kept. Values that are no longer good are logged and passed over.
    pub(crate) async fn load(&self, engine: &Engine) -> Result<(), StoreError> {
        let mut layers = DynamicLayers::default();
        for ((kind, name), configs) in engine.load_configs().await? {
            if kind != BROKER {
                continue;
            }
            if name.is_empty() {
                layers.default = configs;
            } else if name == self.name(Scope::ThisBroker) {
                layers.broker = configs;
            } else {
                tracing::warn!(node = name, "settings of another node.id are kept and have no effect");
            }
        }
        self.put_in_force(engine, layers);
        Ok(())
    }

    /// Replaces one layer by values that were checked; durable and in force when this returns. One change at a time.
    ///
    /// # Errors
    /// The store's; nothing has changed then.
    pub async fn replace(
        &self,
        engine: &Engine,
        scope: Scope,
        configs: ResourceConfigs,
    ) -> Result<(), StoreError> {
        engine.save_config(BROKER, &self.name(scope), &configs).await?;
        let mut layers = self.current.read().layers.clone();
        match scope {
            Scope::EveryBroker => layers.default = configs,
            Scope::ThisBroker => layers.broker = configs,
        }
        self.put_in_force(engine, layers);
        Ok(())
    }

    fn put_in_force(&self, engine: &Engine, layers: DynamicLayers) {
        let (config, faults) = self.start.with_dynamic(&layers);
        for fault in faults {
            tracing::warn!(%fault, "a setting that was changed at run time is passed over");
        }
        *self.current.write() = Current { layers, config: Arc::new(config) };
        engine.refresh_configs();
    }

    fn name(&self, scope: Scope) -> String {
        match scope {
            Scope::EveryBroker => String::new(),
            Scope::ThisBroker => self.start.node.node_id.to_string(),
        }
    }
}
