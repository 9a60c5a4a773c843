//! Who may ask for a certificate: with a token, or with a key that the hub knows.
//!
//! Invariants: a cluster that exists is given to nobody who does not hold one of its keys, but by an administrator's `replace`; whoever
//! proves nothing learns nothing; a use of a token is counted once for each key.

pub mod cidr;
pub mod limit;

use std::collections::BTreeMap;
use std::net::IpAddr;

use kube::ResourceExt;

use super::id::ClusterKey;
use crate::kinds::names::{ANNOTATION_APPROVAL, ANNOTATION_JOIN_TOKEN, ANNOTATION_PROVED_BY, ANNOTATION_REVOKED};
use crate::kinds::{ClusterRegistrationRequest, JoinToken, MANUAL, ManagedCluster};

/// `clusternet.io/approval` of a request that waits for a person.
pub const WAITS: &str = "pending";
/// `clusternet.io/approval` of a request that a person granted.
pub const GRANTED: &str = "approved";
/// `clusternet.io/approval` of a request that a person refused.
pub const REFUSED: &str = "denied";
/// `clusternet.io/approval` of a request whose cluster has unregistered: a token lets it come back, a key does not.
pub const LEFT: &str = "left";

/// What decides about one request.
pub struct Facts<'a> {
    pub cluster_id: &'a str,
    /// The name that the cluster asks for.
    pub name: &'a str,
    /// The key that a certificate is asked for.
    pub key: &'a str,
    pub peer: IpAddr,
    /// Seconds since 1970.
    pub now: i64,
    /// The token whose secret the request brought.
    pub token: Option<&'a JoinToken>,
    /// The key that signed the request, beside the one that a certificate is asked for.
    pub signer: Option<Signer<'a>>,
    /// The ManagedCluster with this id.
    pub cluster: Option<&'a ManagedCluster>,
    /// The ManagedCluster that the token gives away.
    pub place: Option<&'a ManagedCluster>,
    /// The ClusterRegistrationRequest of this id.
    pub request: Option<&'a ClusterRegistrationRequest>,
    /// When the newest certificate that the hub knows to have made for it was made, seconds since 1970.
    pub newest: Option<i64>,
}

/// A key that signed a request.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    pub key: &'a str,
    /// The bus id that its certificate names.
    pub sid: &'a str,
    /// A CA of this hub signed its certificate.
    pub is_ours: bool,
    /// Its certificate has not ended yet.
    pub is_current: bool,
    /// When its certificate was made, seconds since 1970.
    pub begins: i64,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admit(Admission),
    /// Nothing is proved, and nothing is said: 401.
    Unknown,
    /// Who asks is known, and is told why not: 403.
    Refuse(String),
}

/// What a request that is admitted is written with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The token to count a use of.
    pub counts: bool,
    /// The token it came with.
    pub token: Option<String>,
    /// The key that goes on being accepted beside the new one.
    pub proved_by: Option<String>,
    /// What a person said, or has to say.
    pub approval: Option<&'static str>,
    /// Labels that the token gives.
    pub labels: BTreeMap<String, String>,
    /// The ManagedCluster that becomes this cluster's.
    pub replaces: Option<ClusterKey>,
    /// The bus id that the cluster had, on a hub that does not know it.
    pub sid: Option<String>,
}

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Verdict {
    let token = facts.token.filter(|token| works(token, facts));
    let gives_away = token.is_some_and(|token| token.spec.replaces.is_some());
    let by_key = facts.signer.map(|signer| by_key(facts, signer));
    match (by_key, token) {
        (_, Some(token)) if gives_away => replace(facts, token),
        (Some(Verdict::Admit(admission)), _) => Verdict::Admit(admission),
        (Some(Verdict::Refuse(why)), _) => Verdict::Refuse(why),
        (_, Some(token)) => by_token(facts, token),
        (_, None) => Verdict::Unknown,
    }
}

/// Whether a token is good for this request, now and from there.
fn works(token: &JoinToken, facts: &Facts<'_>) -> bool {
    let spec = &token.spec;
    let used = token.status.as_ref().map_or(0, |status| status.used);
    let is_left = spec.uses.is_none_or(|uses| used < uses) || has_counted(token, facts);
    let is_near = spec.cidrs.is_empty() || spec.cidrs.iter().any(|cidr| cidr::contains(cidr, facts.peer));
    facts.now < spec.expires_at.0.as_second() && is_left && is_near
}

/// Whether this key has already been counted: a request that is said again costs nothing.
fn has_counted(token: &JoinToken, facts: &Facts<'_>) -> bool {
    let came_with = |request: &ClusterRegistrationRequest| request.annotations().get(ANNOTATION_JOIN_TOKEN) == Some(&token.name_any());
    facts.request.is_some_and(|request| came_with(request) && key_of(request).as_deref() == Some(facts.key))
}

/// The key that a request asks a certificate for.
pub fn key_of(request: &ClusterRegistrationRequest) -> Option<String> {
    crate::tls::Csr::parse(request.spec.csr.as_deref()?).ok().map(|csr| csr.key_hash())
}

fn by_token(facts: &Facts<'_>, token: &JoinToken) -> Verdict {
    if let Some(name) = token.spec.cluster_name.as_ref().filter(|name| *name != facts.name) {
        return Verdict::Refuse(format!("this token is for a cluster named {name:?}: ask under that name"));
    }
    let counted = has_counted(token, facts);
    if let Some(cluster) = facts.cluster
        && !(counted && accepts(cluster, facts.key))
    {
        return Verdict::Refuse(taken(cluster));
    }
    Verdict::Admit(Admission {
        counts: !counted,
        token: Some(token.name_any()),
        approval: approval(facts, token, counted),
        labels: token.spec.labels.clone(),
        ..Admission::default()
    })
}

/// What a person said of this very key stands; else the token says whether somebody has to.
fn approval(facts: &Facts<'_>, token: &JoinToken, counted: bool) -> Option<&'static str> {
    let said = facts.request.and_then(|request| request.annotations().get(ANNOTATION_APPROVAL)).map(String::as_str);
    match said {
        Some(REFUSED) => Some(REFUSED),
        Some(GRANTED) if counted => Some(GRANTED),
        _ if token.spec.approval == MANUAL => Some(WAITS),
        _ => None,
    }
}

fn replace(facts: &Facts<'_>, token: &JoinToken) -> Verdict {
    let named = token.spec.replaces.as_deref().unwrap_or_default();
    let Some(place) = facts.place else {
        return Verdict::Refuse(format!(
            "ManagedCluster {named}, whose place this token gives away, was deleted: ask for an ordinary token"
        ));
    };
    if let Some(cluster) = facts.cluster.filter(|cluster| ClusterKey::of(cluster) != ClusterKey::of(place)) {
        let own = ClusterKey::of(cluster);
        return Verdict::Refuse(format!(
            "this cluster is ManagedCluster {own} already and cannot take the place of {named}: unregister it first"
        ));
    }
    // An administrator made the token for this very place: nobody is asked again.
    Verdict::Admit(Admission {
        counts: !has_counted(token, facts),
        token: Some(token.name_any()),
        replaces: Some(ClusterKey::of(place)),
        ..Admission::default()
    })
}

fn by_key(facts: &Facts<'_>, signer: Signer<'_>) -> Verdict {
    let proved = Admission { proved_by: Some(signer.key.to_owned()), ..Admission::default() };
    match facts.cluster {
        Some(cluster) if accepts(cluster, signer.key) => Verdict::Admit(proved),
        Some(cluster) if was_forgotten(cluster, facts, signer) => Verdict::Admit(proved),
        Some(cluster) if signer.is_ours => Verdict::Refuse(ended(cluster)),
        None if signer.is_ours && facts.request.is_none_or(|request| is_again(request, facts, signer)) => {
            let waits = (!signer.is_current).then_some(WAITS);
            Verdict::Admit(Admission { approval: said(facts).or(waits), sid: Some(signer.sid.to_owned()), ..proved })
        }
        None if signer.is_ours => Verdict::Refuse(left(facts.cluster_id)),
        _ => Verdict::Unknown,
    }
}

/// Whether the hub made this certificate for this cluster after all that it knows to have made: then it is an older copy of itself. A
/// key that left belongs to an older certificate.
fn was_forgotten(cluster: &ManagedCluster, facts: &Facts<'_>, signer: Signer<'_>) -> bool {
    let is_its = cluster.status.as_ref().and_then(|status| status.sid.as_deref()) == Some(signer.sid);
    let is_newer = facts.newest.is_none_or(|newest| newest < signer.begins);
    signer.is_ours && signer.is_current && is_its && is_newer && !is_revoked(cluster)
}

/// Whether a cluster that the hub had forgotten asks the same again. Any other request shows that the hub has forgotten nothing.
fn is_again(request: &ClusterRegistrationRequest, facts: &Facts<'_>, signer: Signer<'_>) -> bool {
    let proved_by = request.annotations().get(ANNOTATION_PROVED_BY).map(String::as_str);
    proved_by == Some(signer.key) && key_of(request).as_deref() == Some(facts.key)
}

/// What a person said of a request for a cluster that the hub has forgotten.
fn said(facts: &Facts<'_>) -> Option<&'static str> {
    match facts.request?.annotations().get(ANNOTATION_APPROVAL)?.as_str() {
        REFUSED => Some(REFUSED),
        GRANTED => Some(GRANTED),
        _ => None,
    }
}

/// Whether this key may speak for a cluster.
fn accepts(cluster: &ManagedCluster, key: &str) -> bool {
    !is_revoked(cluster) && cluster.status.as_ref().is_some_and(|status| status.tls_keys.iter().any(|known| known == key))
}

/// Whether somebody took every key away.
pub fn is_revoked(cluster: &ManagedCluster) -> bool {
    cluster.annotations().contains_key(ANNOTATION_REVOKED)
}

fn taken(cluster: &ManagedCluster) -> String {
    let name = cluster.name_any();
    format!(
        "this cluster is ManagedCluster {} already, with another key: start the agent with the data folder it had, or have an administrator run `clusternet-hub replace {name}`",
        ClusterKey::of(cluster)
    )
}

fn ended(cluster: &ManagedCluster) -> String {
    let (key, name) = (ClusterKey::of(cluster), cluster.name_any());
    let what = if is_revoked(cluster) { "was revoked" } else { "is another machine's now" };
    format!(
        "the identity of ManagedCluster {key} {what}: an administrator can give it to this machine with `clusternet-hub replace {name}`"
    )
}

fn left(id: &str) -> String {
    format!(
        "the ManagedCluster of cluster {id} was deleted or given to another machine: to let this one come back, delete its request (`kubectl delete clsrr clusternet-{id}`) and join with a token"
    )
}

/// The keys that are accepted once a new one was granted: the new one, and the one that asked for it until the new one was used.
pub fn keys_after(new: &str, proved_by: Option<&str>) -> Vec<String> {
    let old = proved_by.filter(|old| *old != new);
    std::iter::once(new).chain(old).map(str::to_owned).collect()
}

/// The keys that are accepted once one of them was used: the older ones leave when the newest comes. `None` when nothing changes.
pub fn keys_after_use(keys: &[String], used: &str) -> Option<Vec<String>> {
    (keys.len() > 1 && keys[0] == used).then(|| vec![used.to_owned()])
}

#[cfg(test)]
mod tests;
