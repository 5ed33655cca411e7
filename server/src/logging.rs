//! Owns how logs are set up: level or directives, text or JSON, to the standard error; and their levels by module, which
//! administrators change while the broker runs. What is filtered out costs one relaxed load at its call site, as before
//! and after a change.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogFormat, LogSettings};

/// The logger that stands for everything no other one names.
pub const ROOT: &str = "root";

/// What has a level of its own: Kafka's clients list and set them as loggers. A module's level holds for those in it.
pub const LOGGERS: [&str; 10] = [
    ROOT,
    "chronik_engine",
    "chronik_engine::log",
    "chronik_engine::store",
    "chronik_server",
    "chronik_server::coordinator",
    "chronik_server::handlers",
    "chronik_server::http",
    "chronik_server::net",
    "chronik_tiering",
];

/// Kafka's words for levels and tracing's, the most silent first. Tracing has no word for a fatal error.
const LEVELS: [(&str, &str); 6] = [
    ("FATAL", "error"),
    ("ERROR", "error"),
    ("WARN", "warn"),
    ("INFO", "info"),
    ("DEBUG", "debug"),
    ("TRACE", "trace"),
];

/// The levels in force. Kafka does not keep a changed level over a restart either.
static CURRENT: Mutex<Levels> = Mutex::new(Levels::new());

/// Libraries that tell at every start what nobody asked; a directive of their own is stronger.
const QUIET: &str = "foyer=warn,foyer_storage=warn,foyer_memory=warn";

/// Puts directives in force; there once a subscriber is installed.
type Apply = Box<dyn Fn(&str) + Send>;

struct Levels {
    /// As configured at the start.
    start: String,
    /// Since then, by logger, in tracing's words.
    changed: BTreeMap<&'static str, &'static str>,
    apply: Option<Apply>,
}

impl Levels {
    const fn new() -> Self {
        Self { start: String::new(), changed: BTreeMap::new(), apply: None }
    }

    /// Later directives are stronger for the same target, and more exact targets for theirs.
    fn directives(&self) -> String {
        let mut directives = if self.start.is_empty() { "info".to_owned() } else { self.start.clone() };
        for (logger, level) in &self.changed {
            let target = if *logger == ROOT { String::new() } else { format!("{logger}=") };
            directives.push_str(&format!(",{target}{level}"));
        }
        directives
    }

    /// The level of a logger in Kafka's words: of the directive that names it, or the module around it most exactly.
    fn level(&self, logger: &str) -> String {
        let directives = self.directives();
        let mut best = (0, "ERROR".to_owned());
        for directive in directives.split(',').map(str::trim).filter(|text| !text.contains(['[', '{'])) {
            let (target, level) = directive.split_once('=').unwrap_or(("", directive));
            let covers = target.is_empty()
                || logger.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if covers && target.len() >= best.0 && !level.is_empty() {
                best = (target.len(), level.to_ascii_uppercase());
            }
        }
        best.1
    }

    fn put_in_force(&self) {
        if let Some(apply) = &self.apply {
            apply(&self.directives());
        }
    }
}

/// Every logger with its level, in Kafka's words.
pub fn levels() -> Vec<(&'static str, String)> {
    let current = CURRENT.lock();
    LOGGERS.iter().map(|logger| (*logger, current.level(logger))).collect()
}

/// Whether Kafka knows a level of this name.
pub fn is_level(level: &str) -> bool {
    LEVELS.iter().any(|(known, _)| *known == level)
}

/// Changes levels at once: `None` goes back to what the start said. What is neither a logger nor a level is passed over.
pub fn set_levels(changes: &[(&str, Option<&str>)]) {
    let mut current = CURRENT.lock();
    for (logger, level) in changes {
        let Some(logger) = LOGGERS.iter().find(|known| *known == logger) else { continue };
        match level.and_then(|level| LEVELS.iter().find(|(known, _)| *known == level)) {
            Some((_, level)) => current.changed.insert(logger, level),
            None => current.changed.remove(logger),
        };
    }
    current.put_in_force();
}

/// Installs the subscriber of this process. A second call changes nothing: the first one stands (tests start several
/// brokers in one process).
pub fn init(settings: &LogSettings) {
    let (layer, handle) = reload::Layer::<_, Registry>::new(filter(&settings.log_level));
    let registry = tracing_subscriber::registry().with(layer);
    let installed = match settings.log_format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    if installed.is_err() {
        tracing::debug!("logs are set up already");
        return;
    }
    let mut current = CURRENT.lock();
    current.start = settings.log_level.clone();
    current.apply = Some(Box::new(move |directives| {
        // Fails only when the subscriber is gone, and it lives as long as the process.
        let _ = handle.reload(filter(directives));
    }));
}

/// The directives, which the configuration has checked; anything else would be a bug and falls back to `info`.
fn filter(directives: &str) -> EnvFilter {
    EnvFilter::try_new(format!("{QUIET},{directives}")).unwrap_or_else(|_| EnvFilter::new("info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_by_module_are_kept() {
        let text = filter("warn,chronik_server::net=debug").to_string();
        assert!(text.contains("warn") && text.contains("chronik_server::net=debug"), "{text}");
    }

    #[test]
    fn a_loggers_level_is_that_of_the_most_exact_directive() {
        let mut levels = Levels::new();
        assert_eq!(levels.level(ROOT), "INFO");
        levels.start = "warn,chronik_server::net=debug,[span]=trace".to_owned();
        assert_eq!(levels.level(ROOT), "WARN");
        assert_eq!(levels.level("chronik_server"), "WARN");
        assert_eq!(levels.level("chronik_server::net"), "DEBUG");
        levels.changed.insert("chronik_server", "trace");
        levels.changed.insert(ROOT, "error");
        assert_eq!(levels.level("chronik_server::http"), "TRACE");
        assert_eq!(levels.level("chronik_server::net"), "DEBUG");
        assert_eq!(levels.level("chronik_engine"), "ERROR");
        assert_eq!(
            levels.directives(),
            "warn,chronik_server::net=debug,[span]=trace,chronik_server=trace,error"
        );
    }

    #[test]
    fn a_changed_level_is_put_in_force() {
        let mut levels = Levels::new();
        let seen = std::sync::Arc::new(Mutex::new(String::new()));
        let sink = seen.clone();
        levels.apply = Some(Box::new(move |directives| *sink.lock() = filter(directives).to_string()));
        levels.changed.insert("chronik_server::net", "debug");
        levels.put_in_force();
        assert!(seen.lock().contains("chronik_server::net=debug"), "{}", seen.lock());
    }
}
