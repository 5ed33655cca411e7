//! Owns host and port text, named listeners, and what clients are told of each. Binds nothing:
//! it only works out the addresses, so that faults are known before a socket is opened.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host (name or address) and a port. IPv6 addresses are held without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Host name, IPv4 or IPv6 address.
    pub host: String,
    /// Port; 0 asks the system for a free one when binding.
    pub port: u16,
}

impl HostPort {
    /// From parts; brackets around an IPv6 host are removed.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        Self { host: host.to_owned(), port }
    }

    /// True for `0.0.0.0` and `[::]`.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// The address to bind: a name may stand for several, IPv4 is preferred.
    pub fn resolve(&self) -> Result<SocketAddr, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut addresses: Vec<SocketAddr> =
            found.map_err(|error| format!("`{}` cannot be resolved: {error}", self.host))?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.first().copied().ok_or_else(|| format!("`{}` has no address", self.host))
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port; write HOST:PORT"))?;
        let port = port.parse::<u16>().map_err(|_| format!("`{port}` is not a port from 0 to 65535"))?;
        Ok(Self { host: parse_host(host)?, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// A host alone: name, IPv4, or IPv6 with or without brackets.
pub fn parse_host(text: &str) -> Result<String, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => Err(format!("`{inner}` is not an IPv6 address")),
        };
    }
    if text.contains(':') {
        return match text.parse::<Ipv6Addr>() {
            Ok(_) => Err(format!("write the IPv6 address `{text}` in brackets: [{text}]")),
            Err(_) => Err(format!("`{text}` is not a host")),
        };
    }
    let valid = !text.is_empty()
        && text.len() <= 253
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if valid { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a host name")) }
}

/// Where the address told to clients comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvertisedFrom {
    /// An operator said so.
    Configured,
    /// It is the bound address.
    Bound,
    /// The listener is bound to every interface; this one was chosen.
    Interface,
}

/// One address Kafka clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name, such as `PLAINTEXT` or `INTERNAL`.
    pub name: String,
    /// What to bind.
    pub bind: SocketAddr,
    /// What clients are told. Port 0 stands for the port that was bound: use [`Listener::told`].
    pub advertised: HostPort,
    /// Where `advertised` comes from.
    pub advertised_from: AdvertisedFrom,
}

impl Listener {
    /// What clients are told once the listener is bound to `bound`.
    pub fn told(&self, bound: SocketAddr) -> HostPort {
        let port = if self.advertised.port == 0 { bound.port() } else { self.advertised.port };
        HostPort { host: self.advertised.host.clone(), port }
    }
}

/// `NAME://HOST:PORT`, comma separated, names distinct.
pub fn parse_named(text: &str) -> Result<Vec<(String, HostPort)>, String> {
    let mut named: Vec<(String, HostPort)> = Vec::new();
    for item in super::value::split_list(text) {
        let (name, address) =
            item.split_once("://").ok_or_else(|| format!("`{item}` is not NAME://HOST:PORT"))?;
        let valid = !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !valid {
            return Err(format!("`{name}` is not a listener name (letters, digits, _ and -)"));
        }
        let name = name.to_ascii_uppercase();
        if named.iter().any(|(known, _)| *known == name) {
            return Err(format!("listener {name} is named twice"));
        }
        named.push((name, address.parse()?));
    }
    if named.is_empty() { Err("it names no listener".to_owned()) } else { Ok(named) }
}

/// What clients are told of a listener that nobody advertised: the address it binds, or, bound to every
/// interface, the address `detect` finds (told whether an IPv6 address would do).
pub fn told_by_default(bind: &HostPort, detect: impl Fn(bool) -> IpAddr) -> (HostPort, AdvertisedFrom) {
    if bind.is_wildcard() {
        let ip = detect(bind.host.contains(':'));
        (HostPort::new(&ip.to_string(), bind.port), AdvertisedFrom::Interface)
    } else {
        (bind.clone(), AdvertisedFrom::Bound)
    }
}

/// The address of an interface that other machines can probably reach, of the wildcard's own family: `[::]` is bound
/// for IPv6 alone, so an IPv4 address would lead nowhere. Else loopback.
pub fn detect_interface(ipv6: bool) -> IpAddr {
    let mut addresses = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .filter(|interface| !is_bridge(&interface.name))
        .map(|interface| interface.ip())
        .filter(|ip| ip.is_ipv6() == ipv6);
    addresses.next().unwrap_or(if ipv6 {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    })
}

/// Bridges of container runtimes: up, but leading nowhere from outside this machine.
fn is_bridge(name: &str) -> bool {
    ["docker", "br-", "virbr", "veth", "cni", "podman"].iter().any(|prefix| name.starts_with(prefix))
}
