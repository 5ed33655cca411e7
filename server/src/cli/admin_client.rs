//! Owns asking a running broker over its HTTP address: one request a connection, plain HTTP/1.1, JSON both ways. Not a
//! general client: it talks to [`crate::http`] and to nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Secret;

/// Longest time to connect, and to wait for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Longest answer that is read, bytes: 100,000 partitions at some 400 bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why there is no answer, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens there.
    #[error("no broker answers at {address}: {reason}; start it, or name its address with --http-addr")]
    Unreachable {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// Something else than a broker answered.
    #[error(
        "what answers at {address} is no Chronik broker: {problem}; name the broker's address with --http-addr"
    )]
    NotABroker {
        /// The address.
        address: SocketAddr,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The key is missing or wrong.
    #[error("the broker at {0} asks for its admin key: set CHRONIK_ADMIN_API_KEY to it")]
    Key(SocketAddr),
    /// The broker said no.
    #[error("{0}")]
    Refused(String),
}

/// A broker's admin routes.
pub struct AdminClient {
    address: SocketAddr,
    key: Option<Secret>,
}

impl AdminClient {
    /// At this address, with the key if there is one.
    pub fn new(address: SocketAddr, key: Option<Secret>) -> Self {
        // An address to bind every interface is reached over loopback.
        let ip = match address.ip() {
            ip if !ip.is_unspecified() => ip,
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        Self { address: SocketAddr::new(ip, address.port()), key }
    }

    /// Asks with GET, or with POST if there is a body.
    pub fn ask<T: DeserializeOwned>(&self, path: &str, body: Option<&Value>) -> Result<T, AdminError> {
        let unreachable = |reason| AdminError::Unreachable { address: self.address, reason };
        let answer = self.exchange(path, body).map_err(unreachable)?;
        let no_broker = |problem: String| AdminError::NotABroker { address: self.address, problem };
        let (status, text) = split(&answer).ok_or_else(|| no_broker("the answer is not HTTP".to_owned()))?;
        match status {
            200 | 202 => serde_json::from_str(text).map_err(|error| no_broker(error.to_string())),
            401 => Err(AdminError::Key(self.address)),
            _ => {
                let told: Value = serde_json::from_str(text).unwrap_or_default();
                let detail = &told["error"];
                match (detail["code"].as_str(), detail["message"].as_str()) {
                    (Some("key_wrong" | "admin_disabled"), _) => Err(AdminError::Key(self.address)),
                    (Some(_), Some(message)) => Err(AdminError::Refused(message.to_owned())),
                    _ => Err(no_broker(format!("status {status}"))),
                }
            }
        }
    }

    fn exchange(&self, path: &str, body: Option<&Value>) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.map(Value::to_string).unwrap_or_default();
        let key = self.key.as_ref().map(|key| format!("Authorization: Bearer {}\r\n", key.expose()));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.address,
            key.unwrap_or_default(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Status and body. The routes answer with a length, never in chunks.
fn split(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, body))
}

/// A query's value.
pub fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart_and_a_name_made_safe() {
        assert_eq!(split("HTTP/1.1 202 Accepted\r\na: b\r\n\r\n{}"), Some((202, "{}")));
        assert_eq!(split("nonsense"), None);
        assert_eq!(escaped("a.b-c_d e&f"), "a.b-c_d%20e%26f");
    }

    #[test]
    fn nobody_there_is_told_with_the_way_out() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = AdminClient::new(free, None).ask::<Value>("/v1/admin/compaction", None).unwrap_err();
        assert!(error.to_string().contains("--http-addr"), "{error}");
    }
}
