//! What administrators change while the broker runs: its own settings, finalized features, client metrics. All of it
//! is kept on the meta shard and read again at the next start (docs/adr/0010-dynamic-settings.md).
//!
//! Topics are not here: their configs live with them in the engine's catalogue.

pub mod features;
pub mod settings;

use std::sync::Arc;

use chronik_engine::Engine;
use chronik_engine::store::StoreError;

use crate::telemetry::Telemetry;
use features::Features;
use settings::Settings;

/// See the module.
pub struct Dynamic {
    /// The broker's settings as they are now.
    pub settings: Arc<Settings>,
    /// Finalized features.
    pub features: Features,
    /// Client metrics.
    pub telemetry: Telemetry,
}

impl Dynamic {
    /// Reads what was kept, and puts the settings in force.
    ///
    /// # Errors
    /// When it cannot be read. A value that is no longer good is no error: it is logged and passed over.
    pub async fn open(engine: &Arc<Engine>, settings: Arc<Settings>) -> Result<Self, StoreError> {
        settings.load(engine).await?;
        let features = Features::open(engine.clone()).await?;
        let telemetry = Telemetry::open(engine).await?;
        Ok(Self { settings, features, telemetry })
    }
}
