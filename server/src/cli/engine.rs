//! Owns work on a data directory that no broker has open: opens what a broker would, and closes it in good order. The caller
//! holds the directory's lock.

use std::path::Path;
use std::sync::Arc;

use chronik_engine::Engine;
use chronik_engine::store::rocks::RocksStore;

use crate::config::BrokerConfig;
use crate::dynamic::settings::Settings;
use crate::runtime::Clock;
use crate::server::{engine_options, store_path};

/// Opens store and engine of the data directory, works, and closes them in good order.
pub(super) fn on_engine<T, W: Future<Output = Result<T, String>>>(
    config: &BrokerConfig,
    work: impl FnOnce(Arc<Engine>, Clock) -> W,
) -> Result<T, String> {
    on_engine_in(&store_path(&config.node.data_dir), config, work)
}

/// As [`on_engine`], on a store that is elsewhere.
pub(super) fn on_engine_in<T, W: Future<Output = Result<T, String>>>(
    path: &Path,
    config: &BrokerConfig,
    work: impl FnOnce(Arc<Engine>, Clock) -> W,
) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no threads: {error}"))?;
    let done = runtime.block_on(async {
        // A failed write ends the store, and every later commit says so.
        let store = RocksStore::open(path, config.store_options(), Box::new(|_| ()))
            .map_err(|error| error.to_string())?;
        let settings = Settings::new(Arc::new(config.clone()));
        let engine =
            Engine::open(vec![store], engine_options(&settings)).await.map_err(|error| error.to_string())?;
        // What was changed while the broker ran counts here, too.
        settings.load(&engine).await.map_err(|error| error.to_string())?;
        let done = work(engine.clone(), Clock::system()).await;
        engine.close().await.map_err(|error| format!("the directory was not closed well: {error}"))?;
        done
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    done
}
