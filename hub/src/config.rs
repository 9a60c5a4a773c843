//! Settings: defaults, then the TOML file, then `HUB_*` variables, then flags. Everything that is wrong is said at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use streams::Limits;

use crate::cli::{Command, duration};
use crate::core::reserved::{self, Reserved};
use crate::tls::Given;

/// clusternet-hub: one API for a fleet of clusters.
#[derive(Debug, Parser, Serialize)]
#[command(name = "clusternet-hub", version = env!("BUILD_STAMP"))]
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
    /// File with the key that seals the database: 32 bytes or 64 hex digits [default: at-rest.key in the data folder, made at the first start].
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    at_rest_key_file: Option<PathBuf>,
    /// Where the Kubernetes API listens; port 0 takes a free one [default: 127.0.0.1:8443].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_listen: Option<SocketAddr>,
    /// Where the MQTT bus listens; port 0 takes a free one [default: 127.0.0.1:8883].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bus_listen: Option<SocketAddr>,
    /// The bus address that agents are told, mqtts://HOST:PORT [default: where it listens].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bus_address: Option<String>,
    /// Further host name or address for the API's certificate; may stand several times.
    #[arg(long = "tls-san")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_san: Vec<String>,
    /// PEM certificate of a CA that is kept elsewhere, then those of others that are accepted [default: a CA of the hub's own].
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_cert: Option<PathBuf>,
    /// PEM key of that CA.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_key: Option<PathBuf>,
    /// How long an agent's certificate is good, as 90s, 15m, 24h or 365d; agents renew it halfway [default: 365d].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_certificate_lifetime: Option<String>,
    /// Bytes of JSON that member clusters take in one object [default: 1500000].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    member_max_object_bytes: Option<usize>,
    /// A bus without TLS, on loopback only, for looking at what passes: whoever reaches it is any agent.
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
    /// How long kubectl's requests wait for a link that is gone, as 90s or 15m; 0s ends them with it [default: 15m].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_grace: Option<String>,
    /// Bytes a second that kubectl's requests may send down to one cluster; 0 for all that is left over [default: 0].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_rate: Option<u64>,
    /// Label, KEY, or all labels of a domain and of those below it, DOMAIN/, that no cluster may give itself; tokens and people may; may
    /// stand several times [default: node-restriction.kubernetes.io/ and hub.clusternet.io/].
    #[arg(long = "reserved-label", value_name = "LABEL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reserved_labels: Vec<String>,
    /// Log lines as `text` or `json`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<String>,
    /// What is logged, as `info` or `hub=debug`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub at_rest_key_file: Option<PathBuf>,
    pub api_listen: SocketAddr,
    pub bus_listen: SocketAddr,
    pub bus_address: Option<String>,
    pub tls_san: Vec<String>,
    pub ca_cert: Option<PathBuf>,
    pub ca_key: Option<PathBuf>,
    pub agent_certificate_lifetime: String,
    pub member_max_object_bytes: usize,
    pub insecure_bus: bool,
    pub guard_share: u8,
    pub guard_fleet_share: u8,
    pub stream_grace: String,
    pub stream_rate: u64,
    pub reserved_labels: Vec<String>,
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
            at_rest_key_file: None,
            api_listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            bus_listen: SocketAddr::from(([127, 0, 0, 1], 8883)),
            bus_address: None,
            tls_san: Vec::new(),
            ca_cert: None,
            ca_key: None,
            agent_certificate_lifetime: "365d".into(),
            member_max_object_bytes: bus_schema::limits::MAX_OBJECT as usize,
            insecure_bus: false,
            guard_share: 50,
            guard_fleet_share: 20,
            stream_grace: "15m".into(),
            stream_rate: 0,
            reserved_labels: reserved::DEFAULT.map(str::to_owned).to_vec(),
            log_format: LogFormat::Text,
            log: "info".into(),
        }
    }
}

/// Below this an agent would do nothing but renew.
const LEAST_LIFETIME: Duration = Duration::from_secs(10);

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

    /// How long an agent's certificate is good.
    pub fn certificate_lifetime(&self) -> Duration {
        duration::parse(&self.agent_certificate_lifetime).unwrap_or(LEAST_LIFETIME)
    }

    /// What streams may take and wait for.
    pub fn stream_limits(&self) -> Limits {
        let grace = self.stream_grace().unwrap_or_default().as_millis() as u64;
        Limits { grace, rate: (self.stream_rate > 0).then_some(self.stream_rate), ..Limits::default() }
    }

    fn stream_grace(&self) -> Result<Duration, String> {
        if self.stream_grace == "0s" { Ok(Duration::ZERO) } else { duration::parse(&self.stream_grace) }
    }

    /// The labels that no cluster may give itself.
    pub fn reserved(&self) -> Reserved {
        Reserved::parse(&self.reserved_labels).unwrap_or_default()
    }

    /// The CA that is kept elsewhere.
    pub fn given_ca(&self) -> Option<Given> {
        Some(Given { certificate: self.ca_cert.clone()?, key: self.ca_key.clone()? })
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.ca_cert.is_some() != self.ca_key.is_some() {
            wrong.push("ca_cert and ca_key: give both, or none for a CA of the hub's own".to_owned());
        }
        match duration::parse(&self.agent_certificate_lifetime) {
            Err(why) => wrong.push(format!("agent_certificate_lifetime: {why}")),
            Ok(lifetime) if lifetime < LEAST_LIFETIME => {
                wrong.push(format!("agent_certificate_lifetime: {:?} is too short: at least 10s", self.agent_certificate_lifetime));
            }
            Ok(_) => {}
        }
        if let Err(why) = self.stream_grace() {
            wrong.push(format!("stream_grace: {why}"));
        }
        let scheme = if self.insecure_bus { "mqtt://" } else { "mqtts://" };
        if let Some(address) = self.bus_address.as_ref().filter(|address| !address.starts_with(scheme)) {
            wrong.push(format!("bus_address: {address:?} must be {scheme}HOST:PORT"));
        }
        if self.member_max_object_bytes < 1024 {
            wrong.push(format!("member_max_object_bytes: {} must be at least 1024", self.member_max_object_bytes));
        }
        for (name, share) in [("guard_share", self.guard_share), ("guard_fleet_share", self.guard_fleet_share)] {
            if share > 100 {
                wrong.push(format!("{name}: {share} is no percentage: use 1 to 100, or 0 to hold nothing"));
            }
        }
        if let Err(why) = Reserved::parse(&self.reserved_labels) {
            wrong.push(format!("reserved_labels: {why}"));
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
    use crate::cli::Asked;

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
        let Some(Command::Asked(Asked::Render(args))) = &flags.command else { panic!("render") };
        assert_eq!((args.subscription.as_str(), args.namespace.as_str(), args.cluster.as_str()), ("app", "shop", "ns/a"));
        assert_eq!(Config::read(&flags).unwrap().data_dir, PathBuf::from("/data"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "api_lisen = \"127.0.0.1:1\"").unwrap();
        let error = read(&["--config", file.path().to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("api_lisen"), "{error}");
        let error =
            read(&["--bus-address", "tcp://x", "--member-max-object-bytes", "1", "--guard-share", "101", "--reserved-label", "a b"])
                .unwrap_err()
                .to_string();
        assert_eq!(error.lines().count(), 4, "{error}");
    }
}
