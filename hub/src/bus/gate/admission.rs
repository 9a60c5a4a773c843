//! Who may connect, and as what. The gate asks; trust answers.

use crate::bus::topics::Sid;

/// What the transport proved about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerIdentity {
    /// Nothing: a plain socket.
    Anonymous,
    /// The cluster that its client certificate names.
    Certificate(Sid),
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
}

/// Admission before trust: on loopback whoever names a bus id is its agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoopbackAdmission;

impl Admission for LoopbackAdmission {
    fn connect(&self, identity: &PeerIdentity, claim: Claim<'_>) -> Result<Role, Refusal> {
        match (identity, Sid::parse(claim.client_id)) {
            (PeerIdentity::Certificate(proved), Ok(sid)) if *proved == sid => Ok(Role::Agent(sid)),
            (PeerIdentity::Certificate(_), _) => Err(Refusal::NotAuthorized),
            (PeerIdentity::Anonymous, Ok(sid)) => Ok(Role::Agent(sid)),
            (PeerIdentity::Anonymous, Err(_)) => Ok(Role::Client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_admits_only_the_cluster_it_names() {
        let sid = |text| Sid::parse(text).unwrap();
        let ask = |identity, client_id| LoopbackAdmission.connect(&identity, Claim { client_id, username: None, password: None });
        assert_eq!(ask(PeerIdentity::Certificate(sid("aaaaaaaa")), "aaaaaaaa"), Ok(Role::Agent(sid("aaaaaaaa"))));
        assert_eq!(ask(PeerIdentity::Certificate(sid("aaaaaaaa")), "bbbbbbbb"), Err(Refusal::NotAuthorized));
        assert_eq!(ask(PeerIdentity::Certificate(sid("aaaaaaaa")), "observer"), Err(Refusal::NotAuthorized));
        assert_eq!(ask(PeerIdentity::Anonymous, "paho-test-1"), Ok(Role::Client));
    }
}
