//! Registration over HTTPS at the hub's API: a ClusterRegistrationRequest, until it is answered. What the answer gave is kept in the data folder,
//! so that a cold start needs no network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bus_schema::id::Sid;
use http::{Method, Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::failure::chain;

const FILE: &str = "registration.json";
const PATH: &str = "/apis/clusters.clusternet.io/v1beta1/clusterregistrationrequests";

/// Pause between looks at a request that is not answered yet.
const POLL: Duration = Duration::from_millis(200);

/// Who asks, and where.
#[derive(Debug, Clone)]
pub struct Registrar {
    pub hub: String,
    pub ca_file: PathBuf,
    pub token_file: PathBuf,
    pub name: String,
    pub labels: std::collections::BTreeMap<String, String>,
}

/// What a hub gave to this cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// UID of the member's Lease: the cluster's identity.
    pub cluster_id: String,
    pub sid: String,
    /// `mqtts://HOST:PORT`.
    pub bus_address: String,
    pub namespace: String,
    pub name: String,
}

impl Registration {
    /// Reads what was kept; `None` where nothing (readable) is.
    pub fn load(folder: &Path) -> Option<Registration> {
        let text = std::fs::read(folder.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok().filter(|registration: &Registration| registration.sid().is_some())
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        let part = folder.join("registration.json.part");
        std::fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(part, folder.join(FILE))
    }

    pub fn sid(&self) -> Option<Sid> {
        Sid::parse(&self.sid).ok()
    }
}

/// Why a registration did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("{what} {path}: {why}")]
    File { what: &'static str, path: PathBuf, why: String },
    #[error("hub {hub}: {why}")]
    Hub { hub: String, why: String },
    #[error("hub {hub} denied the registration of {name:?}: {why}")]
    Denied { hub: String, name: String, why: String },
}

impl RegisterError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, RegisterError::Hub { .. })
    }
}

impl Registrar {
    /// Registers the cluster with this identity; `known` is what a hub gave before, which is asked for again.
    ///
    /// # Errors
    /// [`RegisterError`]; `Denied` names the remedy that the hub gave.
    pub async fn register(&self, cluster_id: &str, known: Option<&Registration>) -> Result<Registration, RegisterError> {
        let client = self.client()?;
        let name = format!("clusternet-{cluster_id}");
        let path = format!("{PATH}/{name}");
        let mut found = self.send(&client, Method::GET, &path, None).await?;
        let stale = found.as_ref().is_some_and(|found| found["spec"]["clusterName"] != self.name.as_str());
        if found.is_none() || stale {
            let body = self.body(&name, cluster_id, known);
            found = match stale {
                true => self.send(&client, Method::PATCH, &path, Some(&json!({"spec": body["spec"]}))).await?,
                false => self.send(&client, Method::POST, PATH, Some(&body)).await?,
            };
        }
        loop {
            match found.as_ref().filter(|found| is_answered(found)).map(|found| &found["status"]) {
                Some(status) if status["result"] == "Approved" => return self.approved(cluster_id, status),
                Some(status) if status["result"] == "Denied" => return Err(self.denied(status)),
                _ => tokio::time::sleep(POLL).await,
            }
            found = self.send(&client, Method::GET, &path, None).await?;
        }
    }

    fn body(&self, name: &str, cluster_id: &str, known: Option<&Registration>) -> Value {
        let mut body = json!({
            "apiVersion": "clusters.clusternet.io/v1beta1",
            "kind": "ClusterRegistrationRequest",
            "metadata": {"name": name, "labels": {
                "clusters.clusternet.io/registered-by": "clusternet-agent",
                "clusters.clusternet.io/cluster-id": cluster_id,
                "clusters.clusternet.io/cluster-name": self.name,
            }},
            "spec": {"clusterId": cluster_id, "clusterName": self.name, "clusterType": "EdgeCluster", "syncMode": "Pull", "clusterLabels": self.labels},
        });
        if let Some(known) = known {
            body["metadata"]["annotations"] = json!({"clusternet.io/sid": known.sid});
            body["spec"]["clusterNamespace"] = json!(known.namespace);
        }
        body
    }

    fn approved(&self, cluster_id: &str, status: &Value) -> Result<Registration, RegisterError> {
        let text = |field: &str| status[field].as_str().map(str::to_owned);
        let read = || {
            let registration = Registration {
                cluster_id: cluster_id.to_owned(),
                sid: text("sid")?,
                bus_address: text("busAddress").unwrap_or_default(),
                namespace: text("dedicatedNamespace")?,
                name: text("managedClusterName")?,
            };
            registration.sid().is_some().then_some(registration)
        };
        read().ok_or_else(|| {
            self.failed("the registration was approved without a bus id or namespace; is the hub older than this agent?".into())
        })
    }

    fn denied(&self, status: &Value) -> RegisterError {
        let why = status["errorMessage"].as_str().unwrap_or("no reason given").to_owned();
        RegisterError::Denied { hub: self.hub.clone(), name: self.name.clone(), why }
    }

    fn failed(&self, why: String) -> RegisterError {
        RegisterError::Hub { hub: self.hub.clone(), why }
    }

    fn client(&self) -> Result<kube::Client, RegisterError> {
        let read = |what, path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| RegisterError::File { what, path: path.clone(), why: error.to_string() })
        };
        let url: http::Uri = self.hub.parse().map_err(|_| self.failed("the address must be https://HOST:PORT".into()))?;
        if url.scheme_str() != Some("https") {
            return Err(self.failed("the address must be https://HOST:PORT: the token is never sent in clear".into()));
        }
        let pem = read("CA file", &self.ca_file)?;
        let token = read("token file", &self.token_file)?.trim().to_owned();
        let mut config = kube::Config::new(url);
        config.root_cert = Some(certificates(&pem).ok_or_else(|| {
            let why = "there is no PEM certificate in it; copy ca.crt from the hub's data folder".to_owned();
            RegisterError::File { what: "CA file", path: self.ca_file.clone(), why }
        })?);
        config.auth_info.token = Some(token.into());
        config.connect_timeout = Some(Duration::from_secs(30));
        config.default_retry = false;
        kube::Client::try_from(config).map_err(|error| self.failed(chain(&error)))
    }

    /// Sends a request; `None` for 404.
    async fn send(&self, client: &kube::Client, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, RegisterError> {
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content_type).body(bytes);
        let request = request.map_err(|error| self.failed(error.to_string()))?;
        match client.request::<Value>(request).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND.as_u16() => Ok(None),
            Err(kube::Error::Api(status)) if status.code == StatusCode::CONFLICT.as_u16() => Ok(None),
            Err(error) => Err(self.failed(chain(&error))),
        }
    }
}

/// Whether the answer is to the request as it is now, not as it was before it was changed.
fn is_answered(request: &Value) -> bool {
    let observed = request["status"]["observedGeneration"].as_i64();
    observed.is_none() || observed >= request["metadata"]["generation"].as_i64()
}

/// The DER of each PEM certificate.
fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.map(|der| der.to_vec())).collect();
    found.ok().filter(|found| !found.is_empty())
}
