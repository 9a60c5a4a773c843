//! Who may connect, and as what. The gate asks; trust answers.

use std::sync::Arc;

use super::certificate::ClientCertificate;
use super::roster::Roster;
use crate::bus::topics::Sid;

/// What the transport proved about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerIdentity {
    /// Nothing: a plain socket.
    Anonymous,
    /// It has the key of this certificate, which an accepted CA has signed.
    Certificate(ClientCertificate),
}

impl PeerIdentity {
    /// The certificate, if there was one.
    pub fn certificate(&self) -> Option<ClientCertificate> {
        match self {
            PeerIdentity::Anonymous => None,
            PeerIdentity::Certificate(certificate) => Some(*certificate),
        }
    }
}

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The agent of one cluster, on its own topics only.
    Agent(Sid),
    /// Any other client, under `test/` only.
    Client,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the client id is not acceptable")]
    ClientId,
    #[error("user name or password are wrong")]
    Credentials,
    #[error("this peer may not use this client id")]
    NotAuthorized,
    #[error("the hub cannot take it now")]
    Unavailable,
}

/// What a peer says of itself in CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
}

/// Decides about each CONNECT. It is asked on the connection's task, so it must not block.
pub trait Admission: Send + Sync {
    /// The role of a peer.
    ///
    /// # Errors
    /// The refusal that CONNACK tells.
    fn connect(&self, identity: &PeerIdentity, claim: Claim<'_>) -> Result<Role, Refusal>;

    /// The keys that decide, if any do: the gate waits for their first list, and closes what was opened with a key that goes.
    fn roster(&self) -> Option<&Arc<Roster>> {
        None
    }
}

/// Admission of agents by certificate and roster; there is no other peer.
#[derive(Debug, Clone)]
pub struct RosterAdmission(pub Arc<Roster>);

impl Admission for RosterAdmission {
    fn connect(&self, identity: &PeerIdentity, claim: Claim<'_>) -> Result<Role, Refusal> {
        let Some(ClientCertificate { sid, key, .. }) = identity.certificate() else { return Err(Refusal::NotAuthorized) };
        if claim.client_id != sid.as_str() || !self.0.accepts(sid, key) {
            return Err(Refusal::NotAuthorized);
        }
        Ok(Role::Agent(sid))
    }

    fn roster(&self) -> Option<&Arc<Roster>> {
        Some(&self.0)
    }
}

/// Admission without trust, for a plain listener on loopback: whoever names a bus id is its agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoopbackAdmission;

impl Admission for LoopbackAdmission {
    fn connect(&self, identity: &PeerIdentity, claim: Claim<'_>) -> Result<Role, Refusal> {
        match (identity, Sid::parse(claim.client_id)) {
            (PeerIdentity::Certificate(proved), Ok(sid)) if proved.sid == sid => Ok(Role::Agent(sid)),
            (PeerIdentity::Certificate(_), _) => Err(Refusal::NotAuthorized),
            (PeerIdentity::Anonymous, Ok(sid)) => Ok(Role::Agent(sid)),
            (PeerIdentity::Anonymous, Err(_)) => Ok(Role::Client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::gate::certificate::KeyHash;

    fn identity(sid: &str, key: &str) -> PeerIdentity {
        let key = KeyHash::of(key.as_bytes());
        PeerIdentity::Certificate(ClientCertificate { sid: Sid::parse(sid).unwrap(), key, not_after: i64::MAX })
    }

    fn claim(client_id: &str) -> Claim<'_> {
        Claim { client_id, username: None, password: None }
    }

    #[test]
    fn a_certificate_admits_only_the_cluster_it_names() {
        let sid = |text| Sid::parse(text).unwrap();
        let ask = |identity, client_id| LoopbackAdmission.connect(&identity, claim(client_id));
        assert_eq!(ask(identity("aaaaaaaa", "k"), "aaaaaaaa"), Ok(Role::Agent(sid("aaaaaaaa"))));
        assert_eq!(ask(identity("aaaaaaaa", "k"), "bbbbbbbb"), Err(Refusal::NotAuthorized));
        assert_eq!(ask(identity("aaaaaaaa", "k"), "observer"), Err(Refusal::NotAuthorized));
        assert_eq!(ask(PeerIdentity::Anonymous, "paho-test-1"), Ok(Role::Client));
    }

    #[test]
    fn only_a_key_of_the_roster_under_its_own_name_is_admitted() {
        let (roster, _uses) = Roster::new();
        let (a, b) = (Sid::parse("aaaaaaaa").unwrap(), Sid::parse("bbbbbbbb").unwrap());
        roster.list([(a, vec![KeyHash::of(b"a")]), (b, vec![KeyHash::of(b"b")])]);
        let admission = RosterAdmission(Arc::new(roster));
        let ask = |identity, client_id| admission.connect(&identity, claim(client_id));
        assert_eq!(ask(identity("aaaaaaaa", "a"), "aaaaaaaa"), Ok(Role::Agent(a)));
        for (what, identity, client_id) in [
            ("another client id", identity("aaaaaaaa", "a"), "bbbbbbbb"),
            ("a client id that is none", identity("aaaaaaaa", "a"), "observer"),
            ("a key that was never accepted", identity("aaaaaaaa", "x"), "aaaaaaaa"),
            ("another cluster's key", identity("aaaaaaaa", "b"), "aaaaaaaa"),
            ("a cluster that is not in the roster", identity("cccccccc", "a"), "cccccccc"),
            ("nobody", PeerIdentity::Anonymous, "aaaaaaaa"),
        ] {
            assert_eq!(ask(identity, client_id), Err(Refusal::NotAuthorized), "{what}");
        }
    }
}
