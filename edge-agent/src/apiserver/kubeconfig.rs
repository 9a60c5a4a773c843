//! A kubeconfig file: the parts that say where the current context's API server is, and who speaks there. Pure.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Unusable;
use super::yaml;
use crate::cluster::api::escape;

/// The file; what is empty is as what is not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Kubeconfig {
    current_context: String,
    contexts: Vec<Value>,
    clusters: Vec<Value>,
    users: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// An API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Cluster {
    pub server: String,
    pub certificate_authority: String,
    pub certificate_authority_data: String,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: String,
    pub proxy_url: String,
    /// What plugins are told beside.
    pub extensions: Vec<Extension>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Extension {
    name: String,
    extension: Value,
}

/// Whose extension a plugin is told.
const PLUGINS: &str = "client.authentication.k8s.io/exec";

/// Credentials, or where they come from.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct User {
    pub token: String,
    #[serde(rename = "tokenFile")]
    pub token_file: String,
    pub username: String,
    pub password: String,
    pub client_certificate: String,
    pub client_certificate_data: String,
    pub client_key: String,
    pub client_key_data: String,
    pub exec: Option<Exec>,
    pub auth_provider: Option<Value>,
    pub r#as: String,
    pub as_uid: String,
    pub as_groups: Vec<String>,
    pub as_user_extra: BTreeMap<String, Vec<String>>,
}

/// A program that prints credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Exec {
    pub api_version: String,
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<Variable>,
    pub provide_cluster_info: bool,
    pub interactive_mode: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

impl Kubeconfig {
    /// # Errors
    /// It is no kubeconfig.
    pub fn parse(text: &str) -> Result<Kubeconfig, Unusable> {
        match yaml::read(text).map_err(Unusable::Malformed)? {
            Value::Null => Ok(Kubeconfig::default()),
            read => parsed(read, "the file"),
        }
    }

    /// The current context's API server and user. As with kubectl, a user that is named and not there has no credentials.
    ///
    /// # Errors
    /// There is none, or one that the agent can't use.
    pub fn current(&self) -> Result<(Cluster, User), Unusable> {
        let name = &self.current_context;
        if name.is_empty() {
            return Err(Unusable::NoContext("current-context is not set".into()));
        }
        let missing = |what: &str, name: &str| Unusable::NoContext(format!("there is no {what} {name:?}"));
        let context: Context = entry(&self.contexts, "context", name)?.ok_or_else(|| missing("context", name))?;
        let cluster: Cluster = entry(&self.clusters, "cluster", &context.cluster)?.ok_or_else(|| missing("cluster", &context.cluster))?;
        let user: User = entry(&self.users, "user", &context.user)?.unwrap_or_default();
        if let Some(provider) = &user.auth_provider {
            let why = "kubectl has had none since 1.26; name a program under `exec` instead";
            return Err(Unusable::Malformed(format!("user {:?} has the auth-provider {}: {why}", context.user, provider["name"])));
        }
        Ok((cluster, user))
    }
}

/// What a list has under a name: `- {name: NAME, KIND: ...}`.
fn entry<T: DeserializeOwned>(list: &[Value], kind: &str, name: &str) -> Result<Option<T>, Unusable> {
    let found = list.iter().find(|entry| entry["name"] == name && entry[kind].is_object());
    found.map(|found| parsed(found[kind].clone(), &format!("{kind} {name:?}"))).transpose()
}

fn parsed<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Unusable> {
    serde_json::from_value(value).map_err(|error| Unusable::Malformed(format!("{what}: {error}")))
}

impl Cluster {
    /// What a plugin is told of the server; `ca` is PEM, in base64.
    pub fn for_plugin(&self, ca: Option<&str>) -> Value {
        let mut told = json!({"server": self.server});
        let mut tell = |name: &str, value: Value| told[name] = value;
        if self.insecure_skip_tls_verify {
            tell("insecure-skip-tls-verify", true.into());
        }
        for (name, text) in [("tls-server-name", &self.tls_server_name), ("proxy-url", &self.proxy_url)] {
            if !text.is_empty() {
                tell(name, text.as_str().into());
            }
        }
        if let Some(ca) = ca {
            tell("certificate-authority-data", ca.into());
        }
        if let Some(found) = self.extensions.iter().find(|extension| extension.name == PLUGINS) {
            tell("config", found.extension.clone());
        }
        told
    }
}

impl User {
    /// The headers of somebody else in whose name this user speaks.
    ///
    /// # Errors
    /// What is no header.
    pub fn impersonation(&self) -> Result<HeaderMap, Unusable> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| -> Result<(), Unusable> {
            let broken = |error: &dyn std::fmt::Display| Unusable::Malformed(format!("{name}: {value:?}: {error}"));
            let named = HeaderName::try_from(name).map_err(|error| broken(&error))?;
            headers.append(named, HeaderValue::from_str(value).map_err(|error| broken(&error))?);
            Ok(())
        };
        for (name, value) in [("impersonate-user", &self.r#as), ("impersonate-uid", &self.as_uid)] {
            if !value.is_empty() {
                add(name, value)?;
            }
        }
        for group in &self.as_groups {
            add("impersonate-group", group)?;
        }
        for (key, values) in &self.as_user_extra {
            for value in values {
                add(&format!("impersonate-extra-{}", escape(key).replace(':', "%3A")), value)?;
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
preferences: {}
current-context: two
contexts:
- {name: one, context: {cluster: c, user: u}}
- {name: two, context: {cluster: d, user: v, namespace: shop}}
- {name: nobody, context: {cluster: d}}
- {name: lost, context: {cluster: e, user: v}}
clusters:
- name: c
  cluster: {server: 'https://c:6443'}
- name: d
  cluster:
    server: https://d:6443/k8s/clusters/d
    certificate-authority-data: Q0E=
    tls-server-name: kubernetes
    extensions:
    - name: client.authentication.k8s.io/exec
      extension: {audience: x}
users:
- name: u
  user: {token: t}
- name: v
  user:
    as: ann
    as-groups: [a, b]
    as-user-extra: {'example.org/team': [x]}
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./login
      args: [--for, d]
      env:
      - {name: REGION, value: north}
      provideClusterInfo: true
      interactiveMode: Never
- name: old
  user: {auth-provider: {name: gcp}}
";

    fn with_context(name: &str) -> Result<(Cluster, User), Unusable> {
        Kubeconfig::parse(&FILE.replace("current-context: two", &format!("current-context: {name}"))).unwrap().current()
    }

    #[test]
    fn the_current_context_names_a_server_and_a_user() {
        let (cluster, user) = with_context("two").unwrap();
        assert_eq!((cluster.server.as_str(), cluster.tls_server_name.as_str()), ("https://d:6443/k8s/clusters/d", "kubernetes"));
        let exec = user.exec.unwrap();
        assert_eq!((exec.command.as_str(), exec.args.len(), exec.env[0].value.as_str()), ("./login", 2, "north"));
        assert_eq!(with_context("one").unwrap().1.token, "t");
    }

    #[test]
    fn a_context_without_a_user_has_no_credentials_and_one_without_a_cluster_is_none() {
        assert!(with_context("nobody").unwrap().1.token.is_empty());
        for name in ["lost", "absent", "''"] {
            assert!(matches!(with_context(name), Err(Unusable::NoContext(_))), "{name}");
        }
        assert!(matches!(Kubeconfig::parse("").unwrap().current(), Err(Unusable::NoContext(_))));
    }

    #[test]
    fn what_kubectl_prints_for_an_empty_file_has_no_context() {
        let empty = "apiVersion: v1\nclusters: null\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {}\nusers: null\n";
        assert!(matches!(Kubeconfig::parse(empty).unwrap().current(), Err(Unusable::NoContext(_))));
    }

    #[test]
    fn an_auth_provider_says_what_replaces_it() {
        let file = FILE.replace("cluster: d, user: v, namespace", "cluster: d, user: old, namespace");
        let Err(Unusable::Malformed(why)) = Kubeconfig::parse(&file).unwrap().current() else { panic!("an auth-provider is taken") };
        assert!(why.contains("gcp") && why.contains("exec"), "{why}");
    }

    #[test]
    fn a_user_may_speak_in_somebody_elses_name() {
        let headers = with_context("two").unwrap().1.impersonation().unwrap();
        assert_eq!(headers["impersonate-user"], "ann");
        assert_eq!(headers.get_all("impersonate-group").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(headers["impersonate-extra-example.org%2fteam"], "x");
    }

    #[test]
    fn a_plugin_is_told_where_it_logs_in() {
        let told = with_context("two").unwrap().0.for_plugin(Some("CA"));
        assert_eq!(
            told,
            json!({"server": "https://d:6443/k8s/clusters/d", "tls-server-name": "kubernetes", "certificate-authority-data": "CA", "config": {"audience": "x"}})
        );
    }
}
