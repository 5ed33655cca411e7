//! Owns cleaning a directory that no broker has open. The caller holds its lock.

use std::sync::Arc;

use chronik_engine::Engine;
use chronik_engine::log::{CleanOptions, CleanStep};
use chronik_engine::store::rocks::RocksStore;

use super::Failure;
use super::show::Bar;
use crate::cleaner::{self, CleanerStatus, Outcome, Throttle, Watch};
use crate::config::BrokerConfig;
use crate::dynamic::settings::Settings;
use crate::runtime::Clock;
use crate::server::{engine_options, store_path};

/// What the partitions of a directory are like.
pub(super) fn status(config: &BrokerConfig, topic: Option<&str>) -> Result<CleanerStatus, Failure> {
    on_engine(config, |engine, clock| async move {
        let targets = cleaner::targets(&engine, topic).map_err(|error| error.to_string())?;
        let now_ms = clock.now_ms();
        let partitions =
            targets.iter().filter_map(|target| cleaner::describe(target, now_ms, None)).collect();
        Ok(CleanerStatus { enabled: false, partitions, current: None })
    })
}

/// Cleans as fast as it goes: there is nobody to be considerate of.
pub(super) fn clean(
    config: &BrokerConfig,
    topic: Option<&str>,
    dry_run: bool,
    bar: &Bar,
) -> Result<Vec<Outcome>, Failure> {
    let map_bytes_max = config.cleaner.dedupe_buffer_bytes;
    on_engine(config, |engine, clock| async move {
        let targets = cleaner::some_targets(&engine, topic).map_err(|error| error.to_string())?;
        let mut outcomes: Vec<Outcome> =
            targets.iter().map(|target| Outcome::waiting(&target.topic, target.partition)).collect();
        let mut throttle = Throttle::default();
        for (index, target) in targets.iter().enumerate() {
            let now_ms = clock.now_ms();
            if !dry_run && let Some(rolled) = target.log.roll_for_cleaning(now_ms, true) {
                rolled.await.map_err(|error| error.to_string())?;
            }
            let options = CleanOptions { now_ms, map_bytes_max, dry_run };
            let mut watcher = Shown { bar, outcomes: &mut outcomes, index };
            let outcome = cleaner::clean(target, options, &mut throttle, &mut watcher).await;
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        Ok(outcomes)
    })
}

struct Shown<'a> {
    bar: &'a Bar,
    outcomes: &'a mut Vec<Outcome>,
    index: usize,
}

impl Watch for Shown<'_> {
    fn bytes_per_second(&self) -> f64 {
        f64::INFINITY
    }

    fn stepped(&mut self, _: CleanStep, whole: &Outcome) {
        if let Some(place) = self.outcomes.get_mut(self.index) {
            *place = whole.clone();
        }
        self.bar.show(self.outcomes);
    }

    fn is_over(&self) -> bool {
        false
    }
}

/// Opens store and engine, works, and closes them in good order.
fn on_engine<T, W: Future<Output = Result<T, Failure>>>(
    config: &BrokerConfig,
    work: impl FnOnce(Arc<Engine>, Clock) -> W,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no threads: {error}"))?;
    let path = store_path(&config.node.data_dir);
    let done = runtime.block_on(async {
        // A failed write ends the store, and every later commit says so.
        let store = RocksStore::open(&path, config.store_options(), Box::new(|_| ()))
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
