//! Owns how logs are set up: level or directives, text or JSON, to the standard error. Called once, by the command
//! line; the rest only uses `tracing`. What is filtered out costs one relaxed load at its call site.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};

/// Installs the subscriber of this process. A second call changes nothing: the first one stands (tests start several
/// brokers in one process).
pub fn init(settings: &LogSettings) {
    let filter = filter(&settings.log_level);
    let registry = tracing_subscriber::registry().with(filter);
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
    }
}

/// The directives, which the configuration has checked; anything else would be a bug and falls back to `info`.
fn filter(directives: &str) -> EnvFilter {
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_by_module_are_kept() {
        let text = filter("warn,chronik_server::net=debug").to_string();
        assert!(text.contains("warn") && text.contains("chronik_server::net=debug"), "{text}");
    }
}
