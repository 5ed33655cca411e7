//! ApiVersions: what is served, read off the dispatch table.
//!
//! So are the features: a Java client told of a finalized one uses it at once (KIP-584, KIP-890), and what there is
//! stands in `dynamic::features`.

use bytes::{BufMut, Bytes, BytesMut};
use chronik_protocol::codec::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use chronik_protocol::codec::messages::{ApiVersionsRequest, ApiVersionsResponse};
use chronik_protocol::message;

use crate::dispatch::{APIS, Api};
use crate::dynamic::features::FEATURES;
use crate::error_code::ErrorCode;
use crate::limits::SOFTWARE_CHARS_MAX;
use crate::request::{ClientSoftware, RequestContext};

const API_VERSIONS: i16 = 18;
const PRODUCE: i16 = 0;

/// Answers ApiVersions within the served range.
pub async fn handle(ctx: &RequestContext, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_software_token(&request.client_software_name)
        && is_software_token(&request.client_software_version);
    if ctx.api_version >= 3 && !named {
        return message!(ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code() });
    }
    if ctx.api_version >= 3 {
        let kept = |text: &str| text.chars().take(SOFTWARE_CHARS_MAX).collect();
        let (name, version) = (&request.client_software_name, &request.client_software_version);
        // The first answer of a connection stands.
        let _ = ctx.software.set(ClientSoftware { name: kept(name), version: kept(version) });
    }
    let finalized = ctx.broker.dynamic.features.finalized();
    let levels = finalized.levels.iter().filter(|(_, level)| **level > 0);
    message!(ApiVersionsResponse {
        api_keys: APIS.iter().map(advertised).collect(),
        supported_features: supported_features(ctx.api_version),
        finalized_features_epoch: finalized.epoch,
        finalized_features: levels
            .map(|(name, level)| message!(FinalizedFeatureKey {
                name: (*name).into(),
                max_version_level: *level,
                min_version_level: *level,
            }))
            .collect(),
    })
}

/// Before version 4 a feature whose lowest level is 0 is left out, as those clients refuse it (KAFKA-17011).
fn supported_features(api_version: i16) -> Vec<SupportedFeatureKey> {
    let told = FEATURES.iter().filter(|feature| feature.min_level > 0 || api_version >= 4);
    told.map(|feature| {
        message!(SupportedFeatureKey {
            name: feature.name.into(),
            min_version: feature.min_level,
            max_version: feature.max_level,
        })
    })
    .collect()
}

/// The whole frame for an ApiVersions of a version nobody here knows, length included.
///
/// Whatever the client asked in, the answer is in the layout of version 0, which every client falls back to reading
/// (KIP-511), and names the one range that the client needs in order to ask again.
pub fn unsupported(correlation_id: i32) -> Bytes {
    let served = APIS.iter().find(|api| api.key == API_VERSIONS);
    let (min, max) = served.map_or((0, 0), |api| (api.min_version, api.max_version));
    // Correlation id 4, error 2, array length 4, one entry of three 16-bit numbers 6.
    const BODY_BYTES: i32 = 4 + 2 + 4 + 6;
    let mut frame = BytesMut::with_capacity(4 + BODY_BYTES as usize);
    frame.put_i32(BODY_BYTES);
    frame.put_i32(correlation_id);
    frame.put_i16(ErrorCode::UnsupportedVersion.code());
    frame.put_i32(1);
    for number in [API_VERSIONS, min, max] {
        frame.put_i16(number);
    }
    frame.freeze()
}

fn advertised(api: &Api) -> ApiVersion {
    // librdkafka turns codecs off unless Produce 0 is on offer (KAFKA-18659); it never sends that version.
    let min_version = if api.key == PRODUCE { 0 } else { api.min_version };
    message!(ApiVersion { api_key: api.key, min_version: min_version, max_version: api.max_version })
}

/// Kafka's `ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN`: letters and digits, with dots and dashes inside.
fn is_software_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing;

    fn request(name: &str, version: &str) -> ApiVersionsRequest {
        message!(ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: version.into()
        })
    }

    // semantics 1, version traps
    #[tokio::test]
    async fn the_table_is_advertised_and_produce_from_zero() {
        let ctx = testing::context().await.with_version(4);
        let answer = handle(&ctx, request("librdkafka", "2.15.0")).await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.api_keys.len(), APIS.len());
        for (told, api) in answer.api_keys.iter().zip(APIS) {
            let min = if api.key == 0 { 0 } else { api.min_version };
            assert_eq!((told.api_key, told.min_version, told.max_version), (api.key, min, api.max_version));
        }
    }

    // semantics 1: a feature is finalized only by the change that serves it
    #[tokio::test]
    async fn transactions_are_finalized_and_no_feature_before_it_is_served() {
        let ctx = testing::context().await.with_version(4);
        let answer = handle(&ctx, request("apache-kafka-java", "4.3.0")).await;
        assert_eq!(answer.finalized_features.len(), FEATURES.len());
        // Each with an API that comes with it.
        for (feature, key) in [
            ("transaction.version", 26),
            ("group.version", 68),
            ("share.version", 76),
            ("streams.version", 88),
        ] {
            let served = answer.api_keys.iter().any(|api| api.api_key == key);
            let finalized = answer.finalized_features.iter().any(|told| &*told.name == feature);
            assert!(served || !finalized, "{feature}");
        }
    }

    #[tokio::test]
    async fn a_malformed_software_name_is_an_invalid_request_from_version_3_on() {
        let ctx = testing::context().await;
        for (name, version) in [("", "1"), ("a", ""), ("-a", "1"), ("a", "1."), ("a b", "1"), ("ä", "1")] {
            let answer = handle(&ctx.with_version(3), request(name, version)).await;
            assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code(), "{name:?} {version:?}");
            assert!(answer.api_keys.is_empty());
        }
        assert_eq!(handle(&ctx.with_version(3), request("a", "1.0-SNAPSHOT")).await.error_code, 0);
        assert_eq!(handle(&ctx.with_version(2), request("", "")).await.error_code, 0);
    }

    // semantics 1: an unknown version is answered in the layout of v0, correlation id kept
    #[test]
    fn an_unknown_version_is_answered_in_the_layout_of_version_zero() {
        let frame = unsupported(0x0102_0304);
        let expected = [0, 0, 0, 16, 1, 2, 3, 4, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(&frame[..], expected);
    }
}
