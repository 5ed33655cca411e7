//! Owns who may use `/v1/admin`.
//!
//! | address | key set | answer |
//! |---|---|---|
//! | any | yes | the key is asked for: none 401, a wrong one 403 |
//! | loopback | no | open, to requests that name this machine as their host |
//! | other | no | 403: nothing but health and metrics is served |

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::{HttpState, error};

/// The middleware.
pub async fn require_key(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    match refusal(&state, request.headers()) {
        None => next.run(request).await,
        Some(response) => response,
    }
}

fn refusal(state: &HttpState, headers: &HeaderMap) -> Option<Response> {
    let config = state.config();
    let http = &config.http;
    let Some(key) = &http.admin_api_key else {
        if !http.http_addr.ip().is_loopback() {
            let message =
                "set CHRONIK_ADMIN_API_KEY to use the admin routes on an address that is not loopback";
            return Some(error(StatusCode::FORBIDDEN, "admin_disabled", message));
        }
        // A page in the operator's browser can point a name of its own at 127.0.0.1; it cannot forge this header.
        if !names_this_machine(headers) {
            let message = "without a key only requests to localhost or a loopback address are answered";
            return Some(error(StatusCode::FORBIDDEN, "wrong_host", message));
        }
        return None;
    };
    let Some(given) = given_key(headers) else {
        let message = "send the admin key as `Authorization: Bearer KEY` or `X-API-Key: KEY`";
        let mut response = error(StatusCode::UNAUTHORIZED, "key_missing", message);
        let scheme = header::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        return Some(response);
    };
    // The comparison's time tells the length at most, never how many bytes were right.
    if bool::from(given.ct_eq(key.expose().as_bytes())) {
        None
    } else {
        Some(error(StatusCode::FORBIDDEN, "key_wrong", "this is not the admin key"))
    }
}

fn given_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}
