//! Owns cleaning a directory that no broker has open. The caller holds its lock.

use chronik_engine::log::{CleanOptions, CleanStep};

use std::sync::Arc;

use super::Failure;
use super::show::Bar;
use crate::cleaner::{self, CleanerStatus, Outcome, Throttle, Watch};
use crate::cli::engine::on_engine;
use crate::config::BrokerConfig;
use crate::dynamic::settings::Settings;

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
        let settings = Settings::new(Arc::new(config.clone()));
        let tier = crate::tier::open(config, &settings, engine.clone(), clock.clone())
            .map_err(|error| error.to_string())?;
        for (index, target) in targets.iter().enumerate() {
            let now_ms = clock.now_ms();
            if !dry_run && let Some(rolled) = target.log.roll_for_cleaning(now_ms, true) {
                rolled.await.map_err(|error| error.to_string())?;
            }
            let options = CleanOptions { now_ms, map_bytes_max, dry_run };
            let mut watcher = Shown { bar, outcomes: &mut outcomes, index };
            let outcome = cleaner::clean(target, options, &tier, &mut throttle, &mut watcher).await;
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
