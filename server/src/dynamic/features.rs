//! Feature levels (KIP-584): which there are, which are finalized, and how UpdateFeatures moves them.
//!
//! A feature stands in [`FEATURES`] only once the APIs behind it are served, for a client that is told of one uses it
//! at once. Group versions (KIP-848, share and Streams groups) are absent for that reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_engine::Engine;
use chronik_engine::keys::system::FeaturesValue;
use chronik_engine::store::StoreError;
use parking_lot::RwLock;
use tokio::sync::Mutex;

/// One feature that this binary serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level that can be finalized.
    pub min_level: i16,
    /// Highest level that can be finalized.
    pub max_level: i16,
}

/// Every feature served, by name. Each is finalized at its highest level until an administrator lowers it.
pub static FEATURES: &[Feature] = &[
    // 30 is 4.3-IV0. Of Kafka's metadata log there is nothing here that could be in an older format.
    Feature { name: "metadata.version", min_level: 30, max_level: 30 },
    // 2 is KIP-890: every end of a transaction raises the producer's epoch.
    Feature { name: "transaction.version", min_level: 0, max_level: 2 },
];

/// Levels of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finalized {
    /// Rises with each change; clients take only a newer one.
    pub epoch: i64,
    /// Level by name; ApiVersions lists those above 0.
    pub levels: BTreeMap<&'static str, i16>,
}

/// How an update may move a level (Kafka's `FeatureUpdate.UpgradeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Not down.
    Upgrade,
    /// Up or down.
    Downgrade,
    /// A code that nobody knows.
    Unknown,
}

/// One feature's change, as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which feature.
    pub feature: String,
    /// The level wanted; 0 is not finalized.
    pub level: i16,
    /// How it may move.
    pub direction: Direction,
}

/// Why an update was refused.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A level that cannot be.
    #[error("Invalid update version {level} for feature {feature}. {reason}")]
    Invalid {
        /// Which feature.
        feature: String,
        /// The level asked for.
        level: i16,
        /// In Kafka's words.
        reason: String,
    },
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the module.
pub struct Features {
    engine: Arc<Engine>,
    finalized: RwLock<Arc<Finalized>>,
    /// Held while levels change.
    changing: Mutex<()>,
}

impl Features {
    /// The levels kept in the engine. What this binary serves and the last one did not is finalized now, under a new
    /// epoch; what it no longer serves is dropped in the same way.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(engine: Arc<Engine>) -> Result<Self, StoreError> {
        let kept = engine.load_features().await?.unwrap_or_default();
        let levels = FEATURES.iter().map(|feature| {
            let level = kept.levels.get(feature.name).and_then(|level| i16::try_from(*level).ok());
            let good = |level: &i16| (feature.min_level..=feature.max_level).contains(level);
            (feature.name, level.filter(good).unwrap_or(feature.max_level))
        });
        let levels: BTreeMap<&'static str, i16> = levels.collect();
        let mut finalized = Finalized { epoch: kept.epoch, levels };
        if value_of(&finalized) != kept {
            finalized.epoch += 1;
            engine.save_features(&value_of(&finalized)).await?;
        }
        Ok(Self { engine, finalized: RwLock::new(Arc::new(finalized)), changing: Mutex::new(()) })
    }

    /// The levels of this moment.
    pub fn finalized(&self) -> Arc<Finalized> {
        self.finalized.read().clone()
    }

    /// Moves all of the levels or none; durable when this returns.
    ///
    /// # Errors
    /// [`UpdateError::Invalid`] for the first that cannot be moved, and the store's.
    pub async fn update(&self, updates: &[Update], validate_only: bool) -> Result<(), UpdateError> {
        let _changing = self.changing.lock().await;
        let mut wanted = Finalized::clone(&self.finalized());
        for update in updates {
            let (name, level) = checked(&wanted, update)?;
            wanted.levels.insert(name, level);
        }
        if validate_only || wanted == *self.finalized() {
            return Ok(());
        }
        wanted.epoch += 1;
        self.engine.save_features(&value_of(&wanted)).await?;
        *self.finalized.write() = Arc::new(wanted);
        Ok(())
    }
}

fn value_of(finalized: &Finalized) -> FeaturesValue {
    let levels = finalized.levels.iter().map(|(name, level)| ((*name).to_owned(), i32::from(*level)));
    FeaturesValue { epoch: finalized.epoch, levels: levels.collect() }
}

/// In the order of Kafka's `FeatureControlManager.updateFeature`.
fn checked(current: &Finalized, update: &Update) -> Result<(&'static str, i16), UpdateError> {
    let refused = |reason: String| UpdateError::Invalid {
        feature: update.feature.clone(),
        level: update.level,
        reason,
    };
    if update.direction == Direction::Unknown {
        return Err(refused("The controller does not support the given upgrade type.".to_owned()));
    }
    if update.level < 0 {
        return Err(refused("A feature version cannot be less than 0.".to_owned()));
    }
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == update.feature) else {
        return Err(refused("This broker does not support this feature.".to_owned()));
    };
    let (min, max) = (feature.min_level, feature.max_level);
    if !(min..=max).contains(&update.level) {
        return Err(refused(format!("This broker only supports versions {min}-{max}")));
    }
    let level = current.levels.get(feature.name).copied().unwrap_or(0);
    if update.level < level && update.direction == Direction::Upgrade {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                      unsafe downgrade.";
        return Err(refused(reason.to_owned()));
    }
    Ok((feature.name, update.level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing;

    #[tokio::test]
    async fn what_is_served_is_finalized_once_and_the_epoch_stays_over_a_restart() {
        let ctx = testing::context().await;
        let first = ctx.broker.dynamic.features.finalized();
        assert_eq!(first.epoch, 1);
        assert_eq!(first.levels.len(), FEATURES.len());
        let again = ctx.restarted().await.broker.dynamic.features.finalized();
        assert_eq!(again, first);
    }

    #[test]
    fn the_table_is_sorted_and_names_no_group_version() {
        assert!(FEATURES.is_sorted_by_key(|feature| feature.name));
        for unserved in ["group.version", "share.version", "streams.version"] {
            assert!(FEATURES.iter().all(|feature| feature.name != unserved), "{unserved}");
        }
        assert!(FEATURES.iter().all(|feature| feature.min_level <= feature.max_level));
    }
}
