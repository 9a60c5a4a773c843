//! A program that a kubeconfig names and that prints credentials, as `aws eks get-token` does. Nobody sits at the agent: a plugin that has to
//! ask somebody fails.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::process::Command;

use super::kubeconfig::Exec;
use super::yaml;

/// Longest that a plugin may take, which may ask servers of its own: shorter than the request that waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Characters of what it says that are shown.
const SHOWN: usize = 500;

pub struct Plugin {
    exec: Exec,
    /// `KUBERNETES_EXEC_INFO`.
    told: String,
}

/// What it printed.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Printed {
    pub token: String,
    pub client_certificate_data: String,
    pub client_key_data: String,
    expiration_timestamp: String,
}

impl Plugin {
    /// `cluster` is what it is told of the API server, if the kubeconfig wants that.
    ///
    /// # Errors
    /// In words: it can't be run by an agent.
    pub fn new(exec: Exec, cluster: Value) -> Result<Plugin, String> {
        if exec.command.is_empty() {
            return Err("exec: command is not set".into());
        }
        if exec.interactive_mode == "Always" {
            return Err(format!("exec: {} has interactiveMode Always, and nobody sits at the agent", exec.command));
        }
        let mut spec = json!({"interactive": false});
        if exec.provide_cluster_info {
            spec["cluster"] = cluster;
        }
        let told = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec}).to_string();
        Ok(Plugin { exec, told })
    }

    /// Runs it.
    ///
    /// # Errors
    /// In words: it does not run, fails, takes too long, or prints no credentials.
    pub async fn run(&self) -> Result<Printed, String> {
        let name = &self.exec.command;
        let mut command = Command::new(name);
        command.args(&self.exec.args).envs(self.exec.env.iter().map(|variable| (&variable.name, &variable.value)));
        command.env("KUBERNETES_EXEC_INFO", &self.told).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.map_err(|_| format!("exec: {name} takes longer than {} s", PATIENCE.as_secs()))?;
        let output = output.map_err(|error| format!("exec: {name} can't be run: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("exec: {name} failed, {}: {}", output.status, said.trim().chars().take(SHOWN).collect::<String>()));
        }
        Printed::read(&String::from_utf8_lossy(&output.stdout)).map_err(|why| format!("exec: {name} printed no credentials: {why}"))
    }
}

impl Printed {
    fn read(text: &str) -> Result<Printed, String> {
        let mut read = yaml::read(text)?;
        let printed: Printed = serde_json::from_value(read["status"].take()).map_err(|error| error.to_string())?;
        if printed.client_certificate_data.is_empty() != printed.client_key_data.is_empty() {
            return Err("a certificate without its key, or a key without its certificate".into());
        }
        match printed.token.is_empty() && printed.client_certificate_data.is_empty() {
            true => Err("neither token nor certificate".into()),
            false => Ok(printed),
        }
    }

    /// How long it is good, from `now`; without end if it does not say.
    ///
    /// # Errors
    /// In words: the end is no time.
    pub fn good_for(&self, now: SystemTime) -> Result<Option<Duration>, String> {
        if self.expiration_timestamp.is_empty() {
            return Ok(None);
        }
        let end = OffsetDateTime::parse(&self.expiration_timestamp, &Rfc3339);
        let end = end.map_err(|error| format!("expirationTimestamp {:?}: {error}", self.expiration_timestamp))?;
        Ok(Some(SystemTime::from(end).duration_since(now).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Plugin {
        let exec = Exec { command: "sh".into(), args: vec!["-c".into(), script.into()], provide_cluster_info: true, ..Exec::default() };
        Plugin::new(exec, json!({"server": "https://x"})).unwrap()
    }

    #[tokio::test]
    async fn a_plugin_is_told_of_the_cluster_and_prints_a_token() {
        let printed =
            shell(r#"printf '{"status": {"token": "%s"}}' $(echo "$KUBERNETES_EXEC_INFO" | grep -o 'https://[a-z]*')"#).run().await;
        assert_eq!(printed.unwrap().token, "https://x");
    }

    #[tokio::test]
    async fn a_plugin_that_fails_or_prints_nothing_says_why() {
        let why = shell("echo log in first >&2; exit 3").run().await.unwrap_err();
        assert!(why.contains("log in first") && why.contains('3'), "{why}");
        for script in ["true", "echo '{\"status\": {}}'", "echo '{\"status\": {\"clientKeyData\": \"x\"}}'"] {
            assert!(shell(script).run().await.unwrap_err().contains("no credentials"), "{script}");
        }
        let absent = Plugin::new(Exec { command: "/no/such/plugin".into(), ..Exec::default() }, Value::Null).unwrap();
        assert!(absent.run().await.unwrap_err().contains("/no/such/plugin"));
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let until = |end: &str| Printed { expiration_timestamp: end.into(), ..Printed::default() }.good_for(SystemTime::UNIX_EPOCH);
        assert_eq!(until(""), Ok(None));
        assert_eq!(until("1970-01-01T01:00:30+01:00"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(until("1969-01-01T00:00:00Z"), Ok(Some(Duration::ZERO)));
        assert!(until("tomorrow").is_err());
    }

    #[test]
    fn a_plugin_that_must_ask_somebody_is_refused() {
        assert!(Plugin::new(Exec { command: "x".into(), interactive_mode: "Always".into(), ..Exec::default() }, Value::Null).is_err());
    }
}
