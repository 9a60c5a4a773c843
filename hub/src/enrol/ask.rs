//! What an agent sends, read and checked.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::tls::Csr;

/// Longest body, bytes: a certificate request, a certificate and labels have about 2 KiB.
pub const MAX_BODY: usize = 16 << 10;
/// Most labels.
const MAX_LABELS: usize = 64;

/// A request to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// UID of the member's Lease.
    pub cluster_id: String,
    /// The name that the ManagedCluster is to have.
    pub name: String,
    /// The namespace and bus id that a hub gave before.
    pub namespace: Option<String>,
    pub sid: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// PKCS #10, PEM.
    pub csr: String,
    /// X25519 public key, base64.
    pub link_key: Option<String>,
    /// The certificate whose key signed this body, PEM.
    pub certificate: Option<String>,
}

/// A request to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leave {
    pub cluster_id: String,
    pub certificate: String,
}

impl Ask {
    /// Reads a body, and its certificate request.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn read(body: &[u8]) -> Result<(Ask, Csr), String> {
        let ask: Ask = serde_json::from_slice(body).map_err(|why| format!("the body is no request to enrol: {why}"))?;
        if !is_id(&ask.cluster_id) {
            return Err(format!("clusterId {:?} is no UUID", ask.cluster_id));
        }
        if let Some(key) = &ask.link_key
            && !is_link_key(key)
        {
            return Err("linkKey is not 32 bytes in base64".to_owned());
        }
        if ask.labels.len() > MAX_LABELS {
            return Err(format!("labels: {} are too many, {MAX_LABELS} are taken", ask.labels.len()));
        }
        let csr = Csr::parse(&ask.csr)?;
        Ok((ask, csr))
    }
}

impl Leave {
    /// Reads a body.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn read(body: &[u8]) -> Result<Leave, String> {
        let leave: Leave = serde_json::from_slice(body).map_err(|why| format!("the body is no request to leave: {why}"))?;
        if is_id(&leave.cluster_id) { Ok(leave) } else { Err(format!("clusterId {:?} is no UUID", leave.cluster_id)) }
    }
}

/// The form in which Kubernetes writes UIDs: it becomes part of an object's name.
fn is_id(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|id| id.to_string() == text)
}

fn is_link_key(text: &str) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok_and(|key| key.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_named() {
        let why = |body: &str| Ask::read(body.as_bytes()).map(|_| ()).unwrap_err();
        assert!(why("").contains("no request to enrol"));
        assert!(why("{}").contains("clusterId"));
        let with = |id: &str, key: &str| why(&serde_json::json!({"clusterId": id, "name": "a", "csr": "x", "linkKey": key}).to_string());
        assert!(with("../../x", "").contains("is no UUID"));
        assert!(with("00000000-0000-4000-8000-000000000001", "eA==").contains("linkKey is not 32 bytes"));
        assert!(with("00000000-0000-4000-8000-000000000001", &"A".repeat(43)).contains("linkKey"));
        let key = format!("{}=", "A".repeat(43));
        assert!(with("00000000-0000-4000-8000-000000000001", &key).contains("csr is no certificate request"));
    }
}
