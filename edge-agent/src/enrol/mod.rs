//! Asking the hub for a certificate: at the first start with a token, later with the key that is there.
//!
//! The same request serves both. The key to be signed is on the disk before it is sent, so an answer that is lost is asked for again
//! with the same key; the key in use signs the whole body, whatever became of its certificate meanwhile.

pub mod http;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::CertificateParams;
use serde::Deserialize;
use serde_json::json;

use self::http::{Answer, Hub, NoAnswer};
use crate::registration::Registration;
use crate::trust::clock::Clock;
use crate::trust::identity::{Folder, Identity, IdentityError};
use crate::trust::token::Token;
use crate::trust::verify::Anchor;

/// Longest pause that a hub may ask for before the next try.
const LONGEST_PAUSE: u64 = 600;

/// Who asks, and where.
pub struct Enroller {
    /// `https://HOST:PORT`.
    pub hub: String,
    pub token: Option<Token>,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub data_dir: PathBuf,
    pub clock: Clock,
}

/// How asking ended, if not well.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("hub {hub}: {why}; nothing was sent to it. Is the token of this hub, and has its CA not been replaced?")]
    Untrusted { hub: String, why: String },
    #[error("hub {hub} refused: {why}")]
    Refused { hub: String, why: String },
    #[error("{0}")]
    Settings(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A person has to approve.
    #[error("hub {hub}: {why}")]
    Waits { hub: String, why: String, pause: Duration },
    #[error("hub {hub}: {why}")]
    Later { hub: String, why: String, pause: Duration },
}

impl EnrolError {
    /// How long to wait before trying again; `None` if only somebody else can help.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            EnrolError::Waits { pause, .. } | EnrolError::Later { pause, .. } => Some(*pause),
            _ => None,
        }
    }
}

/// The hub's answer when it grants.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    sid: String,
    namespace: String,
    name: String,
    bus_address: String,
    hub_link_key: String,
    hash_key: String,
    certificate: String,
    ca: String,
    begins: u64,
    ends: u64,
    time: u64,
}

impl Enroller {
    /// Asks once, with the identity that is there, and the token if `with_token`. `known` is what a hub gave before, which is asked
    /// for again.
    ///
    /// # Errors
    /// [`EnrolError`]; nothing but the next key has changed then.
    pub async fn ask(&self, cluster_id: &str, known: Option<&Registration>, with_token: bool) -> Result<Registration, EnrolError> {
        let folder = Folder::of(&self.data_dir);
        // A damaged identity is no reason not to use a token.
        let identity = match folder.load() {
            Ok(identity) => identity,
            Err(error) if with_token && self.token.is_some() => {
                tracing::warn!(%error, "the identity cannot be used");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let hub = Hub::parse(&self.hub).map_err(|why| EnrolError::Settings(format!("hub: {why}")))?;
        let (anchor, token) = self.anchor(identity.as_ref(), with_token)?;
        let body = self.body(&folder, cluster_id, known, identity.as_ref())?;
        let mut headers = Vec::new();
        headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
        if let Some(identity) = &identity {
            let proof = identity.proof("enrol", &body).map_err(|error| EnrolError::Settings(error.to_string()))?;
            headers.push(("clusternet-proof", base64(&proof)));
        }
        let answer = hub.post("/enrol", &headers, body, anchor, &self.clock).await.map_err(|error| self.unanswered(error))?;
        let granted = self.read(&answer)?;
        folder.accept(&granted.certificate, &granted.ca)?;
        self.clock.heard(granted.time);
        Ok(self.registration(cluster_id, granted))
    }

    /// Takes leave of the hub.
    ///
    /// # Errors
    /// The hub was not told.
    pub async fn leave(&self, cluster_id: &str) -> Result<(), EnrolError> {
        let identity =
            Folder::of(&self.data_dir).load()?.ok_or_else(|| EnrolError::Settings("there is no identity to leave with".into()))?;
        let hub = Hub::parse(&self.hub).map_err(|why| EnrolError::Settings(format!("hub: {why}")))?;
        let body = json!({"clusterId": cluster_id, "certificate": identity.certificate}).to_string().into_bytes();
        let proof = identity.proof("unregister", &body).map_err(|error| EnrolError::Settings(error.to_string()))?;
        let (headers, anchor) = ([("clusternet-proof", base64(&proof))], self.anchor(Some(&identity), false)?.0);
        let answer = hub.post("/unregister", &headers, body, anchor, &self.clock).await.map_err(|error| self.unanswered(error))?;
        if answer.code.is_success() { Ok(()) } else { Err(self.refusal(&answer)) }
    }

    /// What the hub is known by, and the part of the token that it is sent: a token's own hash is the newest word on its CA.
    fn anchor(&self, identity: Option<&Identity>, with_token: bool) -> Result<(Anchor, Option<&str>), EnrolError> {
        match (self.token.as_ref().filter(|_| with_token), identity) {
            (Some(token), _) => {
                let (bearer, pin) = token.parts().map_err(EnrolError::Settings)?;
                Ok((Anchor::Hash(pin.to_owned()), Some(bearer)))
            }
            (None, Some(identity)) => {
                Ok((Anchor::roots(&identity.ca).map_err(|why| EnrolError::Settings(format!("identity/ca.crt: {why}")))?, None))
            }
            (None, None) => Err(EnrolError::Settings("this cluster has not joined yet: --token or --token-file is needed".into())),
        }
    }

    fn body(
        &self,
        folder: &Folder,
        cluster_id: &str,
        known: Option<&Registration>,
        identity: Option<&Identity>,
    ) -> Result<Vec<u8>, EnrolError> {
        let (key, link_key) = (folder.next_key()?, base64(&folder.next_link()?.public().0));
        let csr = CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem());
        let csr = csr.map_err(|error| EnrolError::Settings(format!("no certificate request can be made: {error}")))?;
        let body = json!({
            "clusterId": cluster_id, "name": self.name, "labels": self.labels, "csr": csr, "linkKey": link_key,
            "namespace": known.map(|known| &known.namespace), "sid": known.map(|known| &known.sid),
            "certificate": identity.map(|identity| &identity.certificate),
        });
        Ok(body.to_string().into_bytes())
    }

    fn read(&self, answer: &Answer) -> Result<Granted, EnrolError> {
        if answer.code == 200 {
            return serde_json::from_slice(&answer.body)
                .map_err(|error| self.later(format!("its answer cannot be read: {error}; is the hub older than this agent?"), 10));
        }
        Err(self.refusal(answer))
    }

    fn refusal(&self, answer: &Answer) -> EnrolError {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Told {
            message: String,
            retry_after: Option<u64>,
        }
        let told: Told = serde_json::from_slice(&answer.body).unwrap_or_default();
        let why = if told.message.is_empty() { format!("it answered {}", answer.code) } else { told.message };
        let hub = self.hub.clone();
        match answer.code.as_u16() {
            202 => EnrolError::Waits { hub, why, pause: Duration::from_secs(told.retry_after.unwrap_or(5).clamp(1, LONGEST_PAUSE)) },
            409 | 429 | 500.. => self.later(why, 6),
            404 => EnrolError::Refused { hub, why: "it has no /enrol: is this the address of the hub's API?".to_owned() },
            _ => EnrolError::Refused { hub, why },
        }
    }

    fn later(&self, why: String, seconds: u64) -> EnrolError {
        EnrolError::Later { hub: self.hub.clone(), why, pause: Duration::from_secs(seconds) }
    }

    fn unanswered(&self, error: NoAnswer) -> EnrolError {
        match error {
            NoAnswer::Untrusted(why) => EnrolError::Untrusted { hub: self.hub.clone(), why },
            NoAnswer::Unreachable(why) => self.later(why, 1),
        }
    }

    fn registration(&self, cluster_id: &str, granted: Granted) -> Registration {
        Registration {
            cluster_id: cluster_id.to_owned(),
            sid: granted.sid,
            bus_address: granted.bus_address,
            namespace: granted.namespace,
            name: granted.name,
            hub: self.hub.clone(),
            hub_link_key: granted.hub_link_key,
            hash_key: granted.hash_key,
            begins: granted.begins,
            ends: granted.ends,
            hub_time: granted.time,
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
