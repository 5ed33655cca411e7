//! Owns what `start` tells the person who typed it: the addresses, what clients are told, and lines to copy.

use std::fmt::Write;

use crate::config::{AdvertisedFrom, BrokerConfig};

/// The text; `bootstrap` in the examples is the first listener as clients are told of it.
pub fn text(config: &BrokerConfig) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Chronik {} (node {})", env!("CARGO_PKG_VERSION"), config.node.node_id);
    let _ = writeln!(out, "  data   {}", config.node.data_dir.display());
    for listener in &config.listeners {
        let how = match listener.advertised_from {
            AdvertisedFrom::Configured => "as configured",
            AdvertisedFrom::Bound => "the bound address",
            AdvertisedFrom::Interface => "found on an interface; change it with --advertise",
        };
        let _ = writeln!(
            out,
            "  kafka  {} on {}; clients are told {} ({how})",
            listener.name, listener.bind, listener.advertised
        );
    }
    let http = reachable(config.http.http_addr);
    // As the guard of these routes decides: without a key they are for this machine only.
    let admin = config.http.http_addr.ip().is_loopback() || config.http.admin_api_key.is_some();
    let admin = if admin { ", /v1/admin/config" } else { "" };
    let _ = writeln!(out, "  http   http://{http}  (/health/live, /health/ready, /metrics{admin})");
    if let Some(first) = config.listeners.first() {
        let bootstrap = &first.advertised;
        let _ = writeln!(out, "\nTry it:");
        let _ = writeln!(
            out,
            "  echo hello | kcat -b {bootstrap} -t greetings -P && kcat -b {bootstrap} -t greetings -C -e"
        );
        let _ = writeln!(
            out,
            "  python3 -c \"from kafka import KafkaProducer as P; p = P(bootstrap_servers='{bootstrap}'); \
             p.send('greetings', b'hello').get(10)\""
        );
        let _ = writeln!(out, "  curl -s http://{http}/health/ready\n");
    }
    out
}

/// An address that can be typed: a wildcard stands for this machine.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(loopback);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn examples_use_what_clients_are_told_and_addresses_that_can_be_typed() {
        let env = vec![
            ("CHRONIK_BIND_ADDR".to_owned(), "0.0.0.0".to_owned()),
            ("CHRONIK_ADVERTISED_ADDR".to_owned(), "kafka.example:19092".to_owned()),
        ];
        let text = text(&load(&Sources { env, ..Sources::default() }).unwrap());
        assert!(text.contains("kcat -b kafka.example:19092"), "{text}");
        assert!(text.contains("curl -s http://127.0.0.1:6092/health/ready"), "{text}");
        assert!(text.contains("on 0.0.0.0:9092; clients are told kafka.example:19092"), "{text}");
    }
}
