//! Log lines, to standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, LogFormat};

/// Starts logging. The filter was read before, with the settings.
pub fn init(config: &Config) {
    // Not `EnvFilter`: that brings a regular expression engine, for filters by the values of fields.
    let filter: Targets = config.log.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let all = tracing_subscriber::registry().with(filter);
    match config.log_format {
        LogFormat::Text => all.with(lines.with_target(false).with_ansi(false)).init(),
        LogFormat::Json => all.with(lines.json()).init(),
    }
}
