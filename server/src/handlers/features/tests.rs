//! UpdateFeatures.

use super::*;
use crate::dynamic::features::FEATURES;
use crate::handlers::testing::{self, TestContext, encodes_in_every_version};

async fn updated(ctx: &TestContext, feature: &str, level: i16, upgrade_type: i8) -> i16 {
    let update = message!(FeatureUpdateKey {
        feature: feature.into(),
        max_version_level: level,
        upgrade_type: upgrade_type,
    });
    let answer = update_all(ctx, vec![update]).await;
    answer.error_code
}

async fn update_all(ctx: &TestContext, updates: Vec<FeatureUpdateKey>) -> UpdateFeaturesResponse {
    let answer = update(ctx, message!(UpdateFeaturesRequest { feature_updates: updates })).await;
    encodes_in_every_version(&answer);
    answer
}

// semantics 3.9.8
#[tokio::test]
async fn levels_that_are_not_served_are_refused() {
    let ctx = testing::context().await.with_version(2);
    for feature in FEATURES {
        assert_eq!(updated(&ctx, feature.name, feature.max_level, 1).await, 0, "{feature:?}");
        assert_eq!(updated(&ctx, feature.name, feature.max_level + 1, 1).await, 95);
        assert_eq!(updated(&ctx, feature.name, -1, 2).await, 95);
        assert_eq!(updated(&ctx, feature.name, feature.max_level, 0).await, 95);
    }
    assert_eq!(updated(&ctx, "metadata.version", 0, 2).await, 95);
    for unserved in ["group.version", "share.version", "streams.version", "no.such"] {
        assert_eq!(updated(&ctx, unserved, 1, 1).await, 95, "{unserved}");
    }
    // The same level again changes nothing: clients are told no new epoch.
    assert_eq!(ctx.broker.dynamic.features.finalized().epoch, 1);
}

#[tokio::test]
async fn the_versions_before_2_tell_each_feature() {
    let ctx = testing::context().await;
    let good = || {
        message!(FeatureUpdateKey {
            feature: "metadata.version".into(),
            max_version_level: 30,
            upgrade_type: 1
        })
    };
    let bad = message!(FeatureUpdateKey { feature: "no.such".into(), max_version_level: 1, upgrade_type: 1 });
    assert_eq!(update_all(&ctx.with_version(1), vec![good()]).await.results.len(), 1);
    assert_eq!(update_all(&ctx.with_version(0), vec![good()]).await.results.len(), 1);
    assert_eq!(update_all(&ctx.with_version(2), vec![good()]).await.results.len(), 0);
    let refused = update_all(&ctx.with_version(1), vec![good(), bad]).await;
    assert_eq!((refused.error_code, refused.results.len()), (95, 0));
}
