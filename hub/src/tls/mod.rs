//! The hub's own CA and what it signs: certificates of agents, and the hub's own for API and bus.
//!
//! One CA signs; those before it are accepted until they end. A rotation has the old CA sign the new one too, so whoever knows
//! any of them finds a chain. Every certificate of the hub carries the name [`HUB_NAME`], and that is the name agents check: the
//! CA is the hub's alone, so an address behind NAT or a port forward needs no name of its own.

mod authority;
mod csr;
mod files;
mod keeper;
mod peer;
mod served;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Shared, pem};
pub use csr::Csr;
pub use files::{Files, Given};
pub use keeper::keep;
pub use peer::{Peer, proves};
pub use served::{Served, server_config};

use std::net::IpAddr;

/// The DNS name in every certificate of a hub, which agents check whatever address they connected to.
pub const HUB_NAME: &str = "clusternet-hub";

/// The organisation in every certificate of an agent.
pub const AGENTS: &str = "clusternet:agents";

/// The names under which a listener on `ip` is reached from this machine, and those that were asked for.
pub fn names(ip: IpAddr, further: &[String]) -> Vec<String> {
    let mut names = vec![HUB_NAME.to_owned(), "localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    if !ip.is_unspecified() && !ip.is_loopback() {
        names.push(ip.to_string());
    }
    names.extend(further.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    names
}

/// SHA-256 of a DER SubjectPublicKeyInfo, hex: how the hub names a key.
pub fn key_hash(spki: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, spki).as_ref())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
