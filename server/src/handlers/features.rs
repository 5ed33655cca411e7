//! UpdateFeatures: moves the levels that ApiVersions tells (`dynamic::features`).

use chronik_protocol::codec::messages::update_features_request::FeatureUpdateKey;
use chronik_protocol::codec::messages::update_features_response::UpdatableFeatureResult;
use chronik_protocol::codec::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use chronik_protocol::message;

use super::refusal::{Refusal, outcome};
use crate::dynamic::features::{Direction, Update, UpdateError};
use crate::error_code::ErrorCode;
use crate::request::RequestContext;

/// First version that names the direction; the one before has a flag.
const NAMES_DIRECTION: i16 = 1;
/// First version without an outcome for each feature: all of them move, or none.
const ALL_OR_NONE: i16 = 2;

/// Answers UpdateFeatures.
pub async fn update(ctx: &RequestContext, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let updates = request.feature_updates.iter().map(|update| Update {
        feature: update.feature.to_string(),
        level: update.max_version_level,
        direction: direction(ctx.api_version, update),
    });
    let validate_only = ctx.api_version >= NAMES_DIRECTION && request.validate_only;
    let updates: Vec<Update> = updates.collect();
    let done = ctx.broker.dynamic.features.update(&updates, validate_only).await.map_err(refusal);
    let (error_code, error_message) = outcome(&done);
    let results =
        if done.is_ok() && ctx.api_version < ALL_OR_NONE { request.feature_updates } else { Vec::new() };
    let results =
        results.into_iter().map(|update| message!(UpdatableFeatureResult { feature: update.feature }));
    message!(UpdateFeaturesResponse {
        error_code: error_code,
        error_message: error_message,
        results: results.collect(),
    })
}

fn direction(api_version: i16, update: &FeatureUpdateKey) -> Direction {
    match (api_version < NAMES_DIRECTION, update.allow_downgrade, update.upgrade_type) {
        (true, false, _) | (false, _, 1) => Direction::Upgrade,
        // Safe and unsafe are one here: no level that is served loses anything.
        (true, true, _) | (false, _, 2 | 3) => Direction::Downgrade,
        (false, ..) => Direction::Unknown,
    }
}

fn refusal(error: UpdateError) -> Refusal {
    match &error {
        UpdateError::Invalid { .. } => Refusal::new(
            ErrorCode::InvalidUpdateVersion,
            format!("The update failed for all features since the following feature had an error: {error}"),
        ),
        UpdateError::Store(error) => Refusal::new(ErrorCode::from(error), error.to_string()),
    }
}

#[cfg(test)]
mod tests;
