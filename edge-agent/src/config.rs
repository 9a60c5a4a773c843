//! Settings: defaults, then the TOML file, then `AGENT_*` variables, then flags. Everything that is wrong is said at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::cluster::facts::{Settings, are_networks};
use crate::enrol::http::Hub;
use crate::proxy;
use crate::trust::token::Token;

/// clusternet-agent: applies on this cluster what the hub wants, also while the hub is away.
#[derive(Debug, Parser, Serialize)]
#[command(name = "clusternet-agent", version = env!("BUILD_STAMP"))]
pub struct Flags {
    #[command(subcommand)]
    #[serde(skip)]
    pub command: Option<Command>,
    /// TOML file with any of these settings, named as the flags with `_` for `-`.
    #[arg(long, global = true)]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// The hub's API, https://HOST:PORT; needed until the cluster is registered.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<String>,
    /// The join token, as `clusternet-hub token create` prints it; others on this machine may see it here, but not in AGENT_TOKEN.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// File with the join token.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
    /// Name of this cluster on the hub, at most 30 characters.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Labels of this cluster on the hub, KEY=VALUE; may stand several times.
    #[arg(long = "label", value_parser = label)]
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    labels: Vec<(String, String)>,
    /// Kubeconfig of the member; without it the pod's service account is used.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kubeconfig: Option<PathBuf>,
    /// Folder for the cache and the registration.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Secret in clusternet-system that keeps the identity, for a data folder that does not outlive the pod.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_secret: Option<String>,
    /// File with the key that seals the cache: 32 bytes or 64 hex digits [default: at-rest.key in the data folder]; made if it is missing.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    at_rest_key_file: Option<PathBuf>,
    /// The bus, mqtts://HOST:PORT, instead of the address that the hub gave.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bus: Option<String>,
    /// Allows a bus without TLS (mqtt://) on loopback, for looking at what passes.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure_bus: bool,
    /// Bytes of the largest object that is taken.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_object_bytes: Option<u32>,
    /// What becomes of objects that were there before: `yes` adopts them, `report` leaves them alone and reports them.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    adopt: Option<String>,
    /// Beginning of the keys of node labels that may become labels of this cluster; may stand several times [default: node.clusternet.io/].
    #[arg(long = "labels-aggregate-prefix")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels_aggregate_prefix: Vec<String>,
    /// Share of the nodes that must have a label in common, above 0 up to 1 [default: 0.8].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    labels_aggregate_threshold: Option<f64>,
    /// Asks the metrics server what the nodes use, every 3 minutes: that changes, and is told, every time.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    use_metrics_server: bool,
    /// Networks of the pods, instead of what is found, as 10.244.0.0/16.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_cidr: Option<String>,
    /// Networks of the Services, instead of what is found, as 10.96.0.0/12.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    service_cidr: Option<String>,
    /// Whether kubectl may come in over the bus: `on` or `off` [default: on].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    /// What may be reached over the bus beside the API server, HOST, ADDRESS or NETWORK/BITS with :PORT or without; may stand several times.
    #[arg(long = "proxy-allow")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proxy_allow: Vec<String>,
    /// What is never done for the hub, as group=hub:interns,method=DELETE or path=*/pods/*/exec; may stand several times.
    #[arg(long = "proxy-deny")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proxy_deny: Vec<String>,
    /// File with the CAs of https servers that are allowed, PEM [default: the system's].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_ca: Option<PathBuf>,
    /// Requests over the bus that are performed at once [default: 500].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_streams: Option<usize>,
    /// Address, as 0.0.0.0:8080, that answers GET /healthz and /readyz in clear; without it nothing listens.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    health_listen: Option<SocketAddr>,
    /// Log lines as `text` or `json`.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<String>,
    /// What is logged, as `info` or `clusternet_agent=debug`.
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// What is done instead of running the agent.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Takes this cluster out of the fleet: its objects, its place on the hub, its identity. The agent must be stopped.
    Unregister(Unregister),
}

/// What becomes of the objects that the agent applied.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Unregister {
    /// They are removed, as far as they are the agent's own.
    #[arg(long)]
    pub remove: bool,
    /// They stay as they are.
    #[arg(long)]
    pub orphan: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn as_map<S: serde::Serializer>(labels: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().map(|(key, value)| (key, value)))
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub hub: Option<String>,
    pub token: Option<Token>,
    pub token_file: Option<PathBuf>,
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub kubeconfig: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub identity_secret: Option<String>,
    pub at_rest_key_file: Option<PathBuf>,
    pub bus: Option<String>,
    pub insecure_bus: bool,
    pub max_object_bytes: u32,
    pub adopt: Adopt,
    pub labels_aggregate_prefix: Vec<String>,
    pub labels_aggregate_threshold: f64,
    pub use_metrics_server: bool,
    pub cluster_cidr: Option<String>,
    pub service_cidr: Option<String>,
    pub proxy: Proxy,
    pub proxy_allow: Vec<String>,
    pub proxy_deny: Vec<String>,
    pub proxy_ca: Option<PathBuf>,
    pub proxy_streams: usize,
    pub health_listen: Option<SocketAddr>,
    pub log_format: LogFormat,
    pub log: String,
}

/// What becomes of objects that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adopt {
    /// They become ours.
    #[default]
    Yes,
    /// They are left alone and reported.
    Report,
}

/// Whether kubectl may come in over the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    #[default]
    On,
    Off,
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
        let facts = Settings::default();
        Config {
            hub: None,
            token: None,
            token_file: None,
            name: None,
            labels: BTreeMap::new(),
            kubeconfig: None,
            data_dir: "/var/lib/clusternet-agent".into(),
            identity_secret: None,
            at_rest_key_file: None,
            bus: None,
            insecure_bus: false,
            max_object_bytes: bus_schema::limits::MAX_OBJECT,
            adopt: Adopt::Yes,
            labels_aggregate_prefix: facts.label_prefixes,
            labels_aggregate_threshold: facts.label_threshold,
            use_metrics_server: facts.use_metrics_server,
            cluster_cidr: facts.cluster_cidr,
            service_cidr: facts.service_cidr,
            proxy: Proxy::On,
            proxy_allow: Vec::new(),
            proxy_deny: Vec::new(),
            proxy_ca: None,
            proxy_streams: proxy::AT_ONCE,
            health_listen: None,
            log_format: LogFormat::Text,
            log: "info".into(),
        }
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
        let setting = |key: &figment::value::UncasedStr| key != "failpoint" && key != "test_clock";
        let config: Config = sources.merge(Env::prefixed("AGENT_").filter(setting)).merge(Serialized::defaults(flags)).extract()?;
        let wrong = config.wrong();
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(config)
    }

    /// The join token, from wherever it was given.
    ///
    /// # Errors
    /// The file cannot be read, or holds no token.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("token file {}: {error}", path.display()))?;
        let token = Token::from(text);
        token.parts().map_err(|why| anyhow::anyhow!("token file {}: {why}", path.display()))?;
        Ok(Some(token))
    }

    /// What is gathered about the cluster.
    #[must_use]
    pub fn facts(&self) -> Settings {
        Settings {
            label_prefixes: self.labels_aggregate_prefix.clone(),
            label_threshold: self.labels_aggregate_threshold,
            use_metrics_server: self.use_metrics_server,
            cluster_cidr: self.cluster_cidr.clone(),
            service_cidr: self.service_cidr.clone(),
        }
    }

    /// What the proxy may do; `None` where it is off.
    ///
    /// # Errors
    /// An entry of a list that is none.
    pub fn proxy(&self) -> Result<Option<proxy::Settings>, String> {
        if self.proxy == Proxy::Off {
            return Ok(None);
        }
        let allow = self.proxy_allow.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let deny = self.proxy_deny.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let allow = allow.map_err(|why| format!("proxy_allow: {why}"))?;
        let deny = deny.map_err(|why| format!("proxy_deny: {why}"))?;
        Ok(Some(proxy::Settings { allow, deny, ca: self.proxy_ca.clone(), at_once: self.proxy_streams }))
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(why) = self.hub.as_ref().and_then(|hub| Hub::parse(hub).err()) {
            wrong.push(format!("hub: {why}"));
        }
        if let Some(why) = self.token.as_ref().and_then(|token| token.parts().err()) {
            wrong.push(format!("token: {why}"));
        }
        if self.token.is_some() && self.token_file.is_some() {
            wrong.push("token and token_file: give one of them".to_owned());
        }
        if let Some(name) = self.name.as_ref().filter(|name| !is_cluster_name(name)) {
            wrong.push(format!(
                "name: {name:?} must be 1 to 30 characters of a-z, 0-9, - and ., beginning and ending with a letter or digit"
            ));
        }
        if let Some(why) = self.bus.as_ref().and_then(|bus| crate::link::Address::parse(bus).err()) {
            wrong.push(format!("bus: {why}"));
        }
        if !(1024..=64 << 20).contains(&self.max_object_bytes) {
            wrong.push(format!("max_object_bytes: {} must be from 1024 to 67108864", self.max_object_bytes));
        }
        let share = self.labels_aggregate_threshold;
        if !(share > 0.0 && share <= 1.0) {
            wrong.push(format!("labels_aggregate_threshold: {share} must be above 0 and at most 1, as 0.8"));
        }
        if self.labels_aggregate_prefix.iter().any(String::is_empty) {
            wrong.push("labels_aggregate_prefix: an empty prefix would take every label of every node; give its beginning".into());
        }
        for (setting, networks) in [("cluster_cidr", &self.cluster_cidr), ("service_cidr", &self.service_cidr)] {
            if let Some(text) = networks.as_ref().filter(|text| !are_networks(text)) {
                wrong.push(format!("{setting}: {text:?} must be networks separated by commas, as 10.244.0.0/16"));
            }
        }
        wrong.extend(self.proxy().err());
        if !(1..=16_384).contains(&self.proxy_streams) {
            wrong.push(format!("proxy_streams: {} must be from 1 to 16384", self.proxy_streams));
        }
        if let Err(why) = self.log.parse::<tracing_subscriber::filter::Targets>() {
            wrong.push(format!(
                "log: {:?} is no filter: {why}; use a level, as `info`, or TARGET=LEVEL, as `clusternet_agent=debug`",
                self.log
            ));
        }
        wrong
    }
}

/// Clusternet's rule for `clusterName`.
fn is_cluster_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = name.chars().all(|c| plain(c) || c == '-' || c == '.');
    (1..=30).contains(&name.len()) && inner && name.starts_with(plain) && name.ends_with(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> anyhow::Result<Config> {
        Config::read(&Flags::parse_from([&["clusternet-agent"], arguments].concat()))
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "name = \"from-file\"\nlog = \"debug\"\n[labels]\npurpose = \"shop\"").unwrap();
        let config = read(&["--config", file.path().to_str().unwrap(), "--name", "from-flag", "--label", "a=b"]).unwrap();
        assert_eq!((config.name.as_deref(), config.log.as_str()), (Some("from-flag"), "debug"));
        assert_eq!(config.labels, BTreeMap::from([("a".into(), "b".into()), ("purpose".into(), "shop".into())]));
        assert_eq!(config.max_object_bytes, bus_schema::limits::MAX_OBJECT);
    }

    #[test]
    fn adoption_is_the_default_and_another_word_is_refused() {
        assert_eq!(read(&[]).unwrap().adopt, Adopt::Yes);
        assert_eq!(read(&["--adopt", "report"]).unwrap().adopt, Adopt::Report);
        assert!(read(&["--adopt", "perhaps"]).is_err());
    }

    #[test]
    fn clusternets_settings_of_the_cluster_view_hold_and_odd_ones_are_refused() {
        assert_eq!(read(&[]).unwrap().facts(), Settings::default());
        let given = ["--labels-aggregate-prefix", "a/", "--labels-aggregate-prefix", "b/", "--labels-aggregate-threshold", "0.5"];
        let facts = read(&[&given[..], &["--cluster-cidr", "10.0.0.0/8,fd00::/48"]].concat()).unwrap().facts();
        assert_eq!((facts.label_prefixes, facts.label_threshold), (vec!["a/".to_owned(), "b/".into()], 0.5));
        for odd in [["--labels-aggregate-threshold", "0"], ["--labels-aggregate-prefix", ""], ["--service-cidr", "10.0.0.0"]] {
            assert!(read(&odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn the_proxy_is_on_and_closed_by_default_and_wrong_entries_are_refused() {
        assert_eq!(read(&[]).unwrap().proxy().unwrap(), Some(proxy::Settings::default()));
        assert_eq!(read(&["--proxy", "off"]).unwrap().proxy().unwrap(), None);
        let given = ["--proxy-allow", "web.shop.svc:80", "--proxy-allow", "10.0.0.0/8", "--proxy-deny", "path=*/pods/*/exec"];
        let settings = read(&given).unwrap().proxy().unwrap().unwrap();
        assert_eq!((settings.allow.len(), settings.deny.len(), settings.at_once), (2, 1, 500));
        for odd in [["--proxy", "perhaps"], ["--proxy-allow", "0.0.0.0/0"], ["--proxy-deny", "exec"], ["--proxy-streams", "0"]] {
            assert!(read(&odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let error = read(&["--hub", "http://x", "--name", "Not_Valid", "--bus", "tcp://x"]).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 3, "{error}");
    }

    #[test]
    fn an_unknown_key_in_the_file_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nmae = \"x\"").unwrap();
        let error = read(&["--config", file.path().to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("nmae"), "{error}");
    }
}
