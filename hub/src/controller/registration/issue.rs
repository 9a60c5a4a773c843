//! What an agent is given to prove itself with: a certificate for the key that it asked for.
//!
//! A request is issued for once a generation. What was issued before is never done again by a start of the hub: that would let
//! back in whom somebody has locked out since.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};

use super::grant::Trouble;
use crate::core::enrol::keys_after;
use crate::kinds::names::ANNOTATION_PROVED_BY;
use crate::kinds::{ClusterRegistrationRequest, ClusterRegistrationRequestStatus, DENIED};
use crate::tls::{Csr, Shared};

/// The CA and how it is used.
#[derive(Clone)]
pub struct Issuing {
    pub authority: Shared,
    /// How long an agent's certificate is good.
    pub lifetime: Duration,
    /// The hub's X25519 public key, base64.
    pub hub_link_key: String,
}

impl Issuing {
    /// What of an approval is issued, and what of the ManagedCluster's status changes by it.
    pub(super) fn issue(
        &self,
        request: &ClusterRegistrationRequest,
        sid: &str,
    ) -> Result<(ClusterRegistrationRequestStatus, Option<Value>), Trouble> {
        let before = request.status.clone().unwrap_or_default();
        let Some(csr) = &request.spec.csr else { return Ok((ClusterRegistrationRequestStatus::default(), None)) };
        let is_done = before.certificate.is_some() && before.observed_generation == request.metadata.generation;
        if is_done && before.sid.as_deref() == Some(sid) {
            return Ok((self.carried(before.certificate), None));
        }
        let csr = Csr::parse(csr).map_err(|message| Trouble::Refused { result: DENIED, message })?;
        let authority = self.authority.borrow().clone();
        let certificate = authority.sign_agent(&csr, sid, self.lifetime).map_err(|error| Trouble::Later(format!("{error:#}")))?;
        let proved_by = request.annotations().get(ANNOTATION_PROVED_BY).map(String::as_str);
        let keys = json!({ "tlsKeys": keys_after(&csr.key_hash(), proved_by), "linkKey": request.spec.link_key });
        Ok((self.carried(Some(certificate)), Some(keys)))
    }

    fn carried(&self, certificate: Option<String>) -> ClusterRegistrationRequestStatus {
        use base64::Engine;
        let ca = base64::engine::general_purpose::STANDARD.encode(self.authority.borrow().pem());
        ClusterRegistrationRequestStatus {
            certificate,
            hub_link_key: Some(self.hub_link_key.clone()),
            ca_certificate: Some(ca),
            ..ClusterRegistrationRequestStatus::default()
        }
    }
}
