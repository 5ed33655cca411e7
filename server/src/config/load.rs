//! Owns the way from sources to [`BrokerConfig`]: precedence (flag, environment, file, default),
//! checks of single values and of values together, provenance. Reads the file it is told to and no
//! environment of its own: the caller passes it in, so that tests need not change the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::broker::BrokerConfig;
use super::entries::Resolved;
use super::fault::{Fault, Faults, Origin};
use super::listeners::{self, AdvertisedFrom, HostPort, Listener};
use super::setting::{Bind, Setting};
use super::value::{Value, expand_size, nearest};
use super::{file, table};

/// Replaces the host of every address that is not given more exactly.
const BIND_ADDR_ENV: &str = "CHRONIK_BIND_ADDR";
/// Short form of `advertised.listeners`.
const ADVERTISED_ADDR_ENV: &str = "CHRONIK_ADVERTISED_ADDR";
/// Names the file; read by the command line.
pub const CONFIG_ENV: &str = "CHRONIK_CONFIG";
/// Flag with the meaning of [`ADVERTISED_ADDR_ENV`].
const ADVERTISE_FLAG: &str = "--advertise";

/// Names an operator coming from Kafka, or guessing, would try.
const HINTS: &[(&str, &str)] = &[
    ("broker.id", "node.id"),
    ("log.dir", "data.dir"),
    ("log.dirs", "data.dir"),
    ("kafka.addr", "listeners"),
    ("advertise", "advertised.listeners"),
    ("port", "listeners"),
    ("host.name", "listeners"),
    ("message.max.size", "message.max.bytes"),
    ("max.message.bytes", "message.max.bytes"),
    ("segment.bytes", "log.segment.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("admin.api.key", "chronik.admin.api.key"),
    ("produce.profile", "chronik.produce.profile"),
    ("wal.profile", "chronik.wal.profile"),
    ("remote.storage.enable", "chronik.tier.enable"),
    ("remote.log.storage.system.enable", "chronik.tier.enable"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("local.retention.bytes", "log.local.retention.bytes"),
];

/// Everything values are taken from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file, when one is named.
    pub file: Option<PathBuf>,
    /// The process environment, or what a test puts in its place. Names without meaning here are
    /// passed over, unless they begin with `CHRONIK_`.
    pub env: Vec<(String, String)>,
    /// `(setting, value, flag as typed)`, later ones stronger. The setting `advertise` stands for
    /// the flag `--advertise`.
    pub flags: Vec<(String, String, String)>,
}

impl Sources {
    /// Takes the environment of this process.
    pub fn with_process_env(mut self) -> Self {
        self.env = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            // Compose files and unit files pass variables that nobody filled in: an empty one is no value.
            .filter(|(name, value)| {
                let alias = || table::all().iter().any(|setting| setting.env_alias == Some(name));
                name == "RUST_LOG" || (!value.is_empty() && (name.starts_with("CHRONIK_") || alias()))
            })
            .collect();
        self
    }
}

/// Reads, checks and joins all sources.
///
/// # Errors
/// Every fault found, not the first one.
pub fn load(sources: &Sources) -> Result<BrokerConfig, Faults> {
    let (config, faults) = load_with_faults(sources);
    faults.into_result().map(|()| config)
}

/// As [`load`], with defaults in place of what is wrong, so that a start can look for further faults
/// (addresses in use, say) before it gives up. Never run a broker on it unless there are no faults.
pub fn load_with_faults(sources: &Sources) -> (BrokerConfig, Faults) {
    let mut loader = Loader::default();
    loader.file(sources);
    loader.env(sources);
    loader.flags(sources);
    loader.bind_addr();
    let config = loader.build();
    (config, Faults(loader.faults))
}

#[derive(Default)]
struct Loader {
    /// Strongest candidate of each setting so far, checked.
    chosen: BTreeMap<&'static str, (Value, Origin)>,
    bind_addr: Option<String>,
    advertise: Option<(String, Origin)>,
    faults: Vec<Fault>,
}

impl Loader {
    fn fault(&mut self, option: &str, origin: Origin, problem: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(Fault::new(option, origin, problem, remedy));
    }

    fn file(&mut self, sources: &Sources) {
        let Some(path) = &sources.file else { return };
        for pair in file::read(path, &mut self.faults) {
            self.named(&pair.name, &pair.text, pair.origin);
        }
    }

    fn env(&mut self, sources: &Sources) {
        // Two rounds: an alias is weaker than the regular variable.
        for setting in table::all() {
            for name in setting.env_alias.into_iter().map(str::to_owned).chain([setting.env_name()]) {
                if let Some((_, text)) = sources.env.iter().find(|(known, _)| *known == name) {
                    self.offer(setting, text, Origin::Env(name));
                }
            }
        }
        for (name, text) in &sources.env {
            match name.as_str() {
                BIND_ADDR_ENV => self.bind_addr = Some(text.clone()),
                ADVERTISED_ADDR_ENV => {
                    self.advertise = Some((text.clone(), Origin::Env(name.clone())));
                }
                _ => self.unknown_env(name),
            }
        }
    }

    fn unknown_env(&mut self, name: &str) {
        let names = || {
            table::all()
                .iter()
                .flat_map(|setting| [Some(setting.env_name()), setting.env_alias.map(str::to_owned)])
                .flatten()
                .chain([BIND_ADDR_ENV, ADVERTISED_ADDR_ENV, CONFIG_ENV].map(str::to_owned))
        };
        if !name.starts_with("CHRONIK_") || names().any(|known| known == name) {
            return;
        }
        let known: Vec<String> = names().collect();
        let dotted = name["CHRONIK_".len()..].to_ascii_lowercase().replace('_', ".");
        let hinted = hint(&dotted).and_then(table::find).map(Setting::env_name);
        let meant = hinted.as_deref().or_else(|| nearest(name, known.iter().map(String::as_str)));
        self.fault(name, Origin::Env(name.to_owned()), "no setting has this name", did_you_mean(meant));
    }

    fn flags(&mut self, sources: &Sources) {
        for (name, text, flag) in &sources.flags {
            let origin = Origin::Flag(flag.clone());
            if name == "advertise" {
                self.advertise = Some((text.clone(), origin));
            } else {
                self.named(name, text, origin);
            }
        }
    }

    fn named(&mut self, name: &str, text: &str, origin: Origin) {
        match table::find(name) {
            Some(setting) => self.offer(setting, text, origin),
            None => {
                let names = table::all().iter().map(|setting| setting.name);
                let meant = hint(name).or_else(|| nearest(name, names));
                self.fault(name, origin, "no setting has this name", did_you_mean(meant));
            }
        }
    }

    /// Takes a candidate stronger than those before. A bad one is a fault even if a stronger follows.
    fn offer(&mut self, setting: &'static Setting, text: &str, origin: Origin) {
        let text = if setting.is_size() { expand_size(text) } else { text.to_owned() };
        match Value::parse(setting.kind, setting.check, &text) {
            Ok(value) => {
                self.chosen.insert(setting.name, (value, origin));
            }
            Err(problem) => {
                // The problem repeats the value: not for a secret.
                let problem = if setting.sensitive() { "its value is empty".into() } else { problem };
                let default = setting.default.map_or("leaves it unset".to_owned(), |d| format!("is {d}"));
                let remedy = format!("Correct it or take it away: the default {default}");
                self.fault(setting.name, origin, problem, remedy);
            }
        }
    }

    /// CHRONIK_BIND_ADDR is an environment value that knows only the host: stronger than file and
    /// default, weaker than a flag, in conflict with the exact variable.
    fn bind_addr(&mut self) {
        let Some(text) = self.bind_addr.take() else {
            return;
        };
        let origin = Origin::Env(BIND_ADDR_ENV.to_owned());
        // A bare IPv6 address is unambiguous here, for no port can follow.
        let parsed = match text.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => listeners::parse_host(&text),
        };
        let host = match parsed {
            Ok(host) => host,
            Err(problem) => {
                let remedy =
                    "Give a host without a port, such as 0.0.0.0; ports are set in listeners and http.addr";
                return self.fault("listeners", origin, problem, remedy);
            }
        };
        if matches!(self.origin_of("listeners"), Origin::Env(_)) {
            let remedy = format!("Unset {BIND_ADDR_ENV} or CHRONIK_LISTENERS");
            self.fault("listeners", origin.clone(), "both it and CHRONIK_LISTENERS are set", remedy);
        } else if !matches!(self.origin_of("listeners"), Origin::Flag(_)) {
            let text = self.text_of("listeners").unwrap_or_default();
            if let Ok(named) = listeners::parse_named(&text) {
                let moved: Vec<_> = named
                    .into_iter()
                    .map(|(name, address)| format!("{name}://{}", HostPort::new(&host, address.port)))
                    .collect();
                self.chosen.insert("listeners", (Value::Text(moved.join(",")), origin.clone()));
            }
        }
        if matches!(self.origin_of("http.addr"), Origin::Default | Origin::File { .. })
            && let Some(Ok(address)) = self.text_of("http.addr").map(|text| text.parse::<HostPort>())
        {
            let moved = HostPort::new(&host, address.port).to_string();
            self.chosen.insert("http.addr", (Value::Text(moved), origin));
        }
    }

    fn origin_of(&self, name: &str) -> Origin {
        self.chosen.get(name).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn text_of(&self, name: &str) -> Option<String> {
        match self.chosen.get(name) {
            Some((value, _)) => Some(value.text()),
            None => table::find(name)?.default.map(str::to_owned),
        }
    }

    fn build(&mut self) -> BrokerConfig {
        let mut config = BrokerConfig::default();
        self.listeners(&mut config);
        self.http_addr(&mut config);
        for setting in table::all() {
            let found = self.chosen.remove(setting.name).or_else(|| {
                let default = setting.default?;
                let value = Value::parse(setting.kind, setting.check, default);
                Some((value.expect("defaults pass their own check"), Origin::Default))
            });
            let (value, origin) = match found {
                Some((value, origin)) => (Some(value), origin),
                None => (None, Origin::Default),
            };
            if let (Bind::Field { set, .. }, Some(value)) = (setting.bind, &value) {
                set(&mut config, value);
            }
            let resolved = Resolved { value: value.map(|value| value.text()), origin };
            config.entries.insert(setting, resolved);
        }
        self.together(&config);
        config
    }

    fn listeners(&mut self, config: &mut BrokerConfig) {
        let bind_text = self.text_of("listeners").unwrap_or_default();
        let binds = match listeners::parse_named(&bind_text) {
            Ok(binds) => binds,
            Err(problem) => {
                let remedy = "Write NAME://HOST:PORT, several separated by commas";
                return self.fault("listeners", self.origin_of("listeners"), problem, remedy);
            }
        };
        self.advertise_shorthand(&binds);
        let mut advertised = Vec::new();
        if let Some(text) = self.text_of("advertised.listeners").filter(|text| !text.is_empty()) {
            match listeners::parse_named(&text) {
                Ok(named) => advertised = named,
                Err(problem) => {
                    let remedy = "Write NAME://HOST:PORT with names from listeners";
                    self.fault(
                        "advertised.listeners",
                        self.origin_of("advertised.listeners"),
                        problem,
                        remedy,
                    );
                }
            }
        }
        for (name, address) in &advertised {
            let origin = self.origin_of("advertised.listeners");
            if !binds.iter().any(|(known, _)| known == name) {
                let problem = format!("there is no listener {name}");
                self.fault("advertised.listeners", origin, problem, "Use the names in listeners");
            } else if address.is_wildcard() {
                let problem = format!("clients cannot connect to {address}");
                self.fault("advertised.listeners", origin, problem, "Give a host they can reach");
            }
        }
        for (name, bind) in binds {
            let told = advertised.iter().find(|(known, _)| *known == name);
            let (advertised, advertised_from) = match told {
                Some((_, address)) => (address.clone(), AdvertisedFrom::Configured),
                None => listeners::told_by_default(&bind, listeners::detect_interface),
            };
            if let Some(bind) = self.resolve("listeners", &bind) {
                config.listeners.push(Listener { name, bind, advertised, advertised_from });
            }
        }
    }

    fn http_addr(&mut self, config: &mut BrokerConfig) {
        let text = self.text_of("http.addr").unwrap_or_default();
        if let Ok(address) = text.parse::<HostPort>()
            && let Some(address) = self.resolve("http.addr", &address)
        {
            config.http.http_addr = address;
        }
    }

    fn resolve(&mut self, option: &str, address: &HostPort) -> Option<std::net::SocketAddr> {
        match address.resolve() {
            Ok(address) => Some(address),
            Err(problem) => {
                let remedy = "Give an address of this machine, or a name that resolves to one";
                self.fault(option, self.origin_of(option), problem, remedy);
                None
            }
        }
    }

    /// Turns HOST or HOST:PORT into the text of `advertised.listeners`.
    fn advertise_shorthand(&mut self, binds: &[(String, HostPort)]) {
        let Some((text, origin)) = self.advertise.take() else {
            return;
        };
        let exact = self.origin_of("advertised.listeners");
        match (&exact, &origin) {
            (Origin::Env(_), Origin::Env(_)) | (Origin::Flag(_), Origin::Flag(_)) => {
                let remedy =
                    format!("Use advertised.listeners or {ADVERTISE_FLAG}/{ADVERTISED_ADDR_ENV}, not both");
                return self.fault("advertised.listeners", origin, format!("{exact} is set as well"), remedy);
            }
            (Origin::Flag(_), _) => return,
            _ => {}
        }
        let named = if let Ok(host) = listeners::parse_host(&text) {
            binds.iter().map(|(name, bind)| (name, HostPort::new(&host, bind.port))).collect()
        } else {
            match (text.parse::<HostPort>(), binds) {
                (Ok(address), [(name, _)]) => vec![(name, address)],
                (Ok(_), _) => {
                    let problem = format!("`{text}` gives one port to {} listeners", binds.len());
                    let remedy = "Give the host alone, or use advertised.listeners";
                    return self.fault("advertised.listeners", origin, problem, remedy);
                }
                (Err(problem), _) => {
                    let remedy = "Give HOST or HOST:PORT, IPv6 hosts in brackets";
                    return self.fault("advertised.listeners", origin, problem, remedy);
                }
            }
        };
        let text: Vec<_> = named.iter().map(|(name, address)| format!("{name}://{address}")).collect();
        self.chosen.insert("advertised.listeners", (Value::Text(text.join(",")), origin));
    }

    /// Values that are each good and do not fit together.
    fn together(&mut self, config: &BrokerConfig) {
        let origin = |name: &str| config.entries.origin(name).cloned().unwrap_or(Origin::Default);
        let (groups, network) = (&config.group, &config.network);
        if groups.min_session_timeout_ms > groups.max_session_timeout_ms {
            let problem = format!(
                "{} is above group.max.session.timeout.ms ({})",
                groups.min_session_timeout_ms, groups.max_session_timeout_ms
            );
            let name = "group.min.session.timeout.ms";
            self.fault(name, origin(name), problem, "Lower it or raise the other");
        }
        if network.queued_max_request_bytes < network.socket_request_max_bytes {
            let problem = format!(
                "{} is below socket.request.max.bytes ({}), so the longest request could never be read",
                network.queued_max_request_bytes, network.socket_request_max_bytes
            );
            let name = "queued.max.request.bytes";
            self.fault(name, origin(name), problem, "Raise it or lower the other");
        }
        self.addresses(config);
    }

    /// Two sockets of ours on one address.
    fn addresses(&mut self, config: &BrokerConfig) {
        let mut taken: Vec<(&str, std::net::SocketAddr)> = Vec::new();
        let kafka = config.listeners.iter().map(|listener| ("listeners", listener.bind));
        for (option, address) in kafka.chain([("http.addr", config.http.http_addr)]) {
            let clash = taken.iter().find(|(_, other)| {
                let (one, two) = (address.ip(), other.ip());
                let covered = one.is_ipv4() == two.is_ipv4()
                    && (one == two || one.is_unspecified() || two.is_unspecified());
                other.port() == address.port() && address.port() != 0 && covered
            });
            if let Some((other_option, other)) = clash {
                let problem = format!("{address} is the same address as {other} of {other_option}");
                let origin = config.entries.origin(option).cloned().unwrap_or(Origin::Default);
                self.fault(option, origin, problem, "Choose another port");
            }
            taken.push((option, address));
        }
    }
}

fn hint(name: &str) -> Option<&'static str> {
    HINTS.iter().find(|(tried, _)| *tried == name).map(|(_, meant)| *meant)
}

fn did_you_mean(meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("Did you mean {meant}? All names are in docs/configuration.md"),
        None => "Take it away; all names are in docs/configuration.md".to_owned(),
    }
}
