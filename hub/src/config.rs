//! Settings: defaults, then the TOML file, then `HUB_*` variables, then flags. Everything that is wrong is said at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// clusternet-hub: one API for a fleet of clusters.
#[derive(Debug, Parser, Serialize)]
#[command(name = "clusternet-hub", version)]
pub struct Flags {
    #[command(subcommand)]
    #[serde(skip)]
    pub command: Option<Command>,
    /// TOML file with any of these settings, named as the flags with `_` for `-`.
    #[arg(long, global = true)]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Folder for database, certificates and tokens [default: /var/lib/clusternet-hub for root, else ~/.local/share/clusternet-hub].
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where the Kubernetes API listens; port 0 takes a free one [default: 127.0.0.1:8443].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_listen: Option<SocketAddr>,
    /// Where the MQTT bus listens; port 0 takes a free one [default: 127.0.0.1:1883].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bus_listen: Option<SocketAddr>,
    /// The bus address that agents are told, mqtt://HOST:PORT [default: where it listens].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bus_address: Option<String>,
    /// Further host name or address for the API's certificate; may stand several times.
    #[arg(long = "tls-san")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_san: Vec<String>,
    /// Bytes of JSON that member clusters take in one object [default: 1500000].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    member_max_object_bytes: Option<usize>,
    /// Lets the bus leave loopback although it has no TLS yet: whoever reaches it is any agent.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure_bus: bool,
    /// Percent of a cluster's objects that an edit may remove without being confirmed; 0 asks never [default: 50].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    guard_share: Option<u8>,
    /// Percent of the objects of all clusters together that an edit of more than 10 clusters may remove without being confirmed; 0 asks
    /// never [default: 20].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    guard_fleet_share: Option<u8>,
    /// Log lines as `text` or `json`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<String>,
    /// What is logged, as `info` or `hub=debug`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// What is done instead of running the hub.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Prints what one cluster gets of one Subscription, and which override set what.
    Render(RenderArgs),
}

/// What `render` is asked.
#[derive(Debug, Clone, Args)]
pub struct RenderArgs {
    /// The Subscription's name.
    pub subscription: String,
    /// The Subscription's namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// The ManagedCluster, as NAME or NAMESPACE/NAME.
    #[arg(long)]
    pub cluster: String,
    /// Where the API is [default: admin.kubeconfig in the data folder].
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub api_listen: SocketAddr,
    pub bus_listen: SocketAddr,
    pub bus_address: Option<String>,
    pub tls_san: Vec<String>,
    pub member_max_object_bytes: usize,
    pub insecure_bus: bool,
    pub guard_share: u8,
    pub guard_fleet_share: u8,
    pub log_format: LogFormat,
    pub log: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: default_folder(),
            api_listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            bus_listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            bus_address: None,
            tls_san: Vec::new(),
            member_max_object_bytes: bus_schema::limits::MAX_OBJECT as usize,
            insecure_bus: false,
            guard_share: 50,
            guard_fleet_share: 20,
            log_format: LogFormat::Text,
            log: "info".into(),
        }
    }
}

/// A service's folder for root, the user's own otherwise.
fn default_folder() -> PathBuf {
    match std::env::var_os("HOME").filter(|home| home != "/root") {
        Some(home) => PathBuf::from(home).join(".local/share/clusternet-hub"),
        None => "/var/lib/clusternet-hub".into(),
    }
}

impl Config {
    /// Merges all sources.
    ///
    /// # Errors
    /// Every setting that is wrong, one a line.
    pub fn read(flags: &Flags) -> anyhow::Result<Config> {
        let mut sources = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = &flags.config {
            anyhow::ensure!(file.is_file(), "config file {}: not there; give the path of a TOML file with --config", file.display());
            sources = sources.merge(Toml::file_exact(file));
        }
        let config: Config = sources.merge(Env::prefixed("HUB_")).merge(Serialized::defaults(flags)).extract()?;
        let wrong = config.wrong();
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(config)
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(address) = self.bus_address.as_ref().filter(|address| !address.starts_with("mqtt://")) {
            wrong.push(format!("bus_address: {address:?} must be mqtt://HOST:PORT"));
        }
        if self.member_max_object_bytes < 1024 {
            wrong.push(format!("member_max_object_bytes: {} must be at least 1024", self.member_max_object_bytes));
        }
        for (name, share) in [("guard_share", self.guard_share), ("guard_fleet_share", self.guard_fleet_share)] {
            if share > 100 {
                wrong.push(format!("{name}: {share} is no percentage: use 1 to 100, or 0 to hold nothing"));
            }
        }
        if let Err(why) = tracing_subscriber::EnvFilter::try_new(&self.log) {
            wrong.push(format!("log: {:?} is no filter: {why}; use a level, as `info`, or TARGET=LEVEL, as `hub=debug`", self.log));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> anyhow::Result<Config> {
        Config::read(&Flags::parse_from([&["clusternet-hub"], arguments].concat()))
    }

    #[test]
    fn without_settings_everything_is_on_loopback() {
        let config = read(&[]).unwrap();
        assert!(config.api_listen.ip().is_loopback() && config.bus_listen.ip().is_loopback());
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "log = \"debug\"\ntls_san = [\"hub.example.com\"]\napi_listen = \"127.0.0.1:1\"").unwrap();
        let config = read(&["--config", file.path().to_str().unwrap(), "--api-listen", "127.0.0.1:2"]).unwrap();
        assert_eq!((config.api_listen.port(), config.log.as_str(), config.tls_san.len()), (2, "debug", 1));
    }

    #[test]
    fn render_takes_the_same_folder_as_the_hub() {
        let flags = Flags::parse_from(["clusternet-hub", "render", "app", "-n", "shop", "--cluster", "ns/a", "--data-dir", "/data"]);
        let Some(Command::Render(args)) = &flags.command else { panic!("render") };
        assert_eq!((args.subscription.as_str(), args.namespace.as_str(), args.cluster.as_str()), ("app", "shop", "ns/a"));
        assert_eq!(Config::read(&flags).unwrap().data_dir, PathBuf::from("/data"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "api_lisen = \"127.0.0.1:1\"").unwrap();
        let error = read(&["--config", file.path().to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("api_lisen"), "{error}");
        let error = read(&["--bus-address", "tcp://x", "--member-max-object-bytes", "1", "--guard-share", "101"]).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 3, "{error}");
    }
}
