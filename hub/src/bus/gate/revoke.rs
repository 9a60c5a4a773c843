//! Closes connections whose key was taken away, at once, and those whose certificate has ended, within a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::tls::seconds_since_1970;
use crate::bus::CloseCause;
use crate::bus::downlink::Link;

/// How often the ends of certificates are looked at: they are days apart.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Runs until the gate stops.
pub async fn run(shared: Arc<Shared>) {
    let mut removals = shared.admission.roster().map(|roster| roster.removals());
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let removed = async {
            match &mut removals {
                // The roster lives as long as the admission that this gate holds.
                Some(removals) => drop(removals.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = removed => {}
            _ = ticks.tick() => {}
        }
        shared.registry.close_where(|link| unwanted(&shared, link));
    }
}

/// Why a connection may not stay, if it may not.
pub fn unwanted(shared: &Shared, link: &Link) -> Option<CloseCause> {
    let certificate = link.certificate?;
    let revoked = shared.admission.roster().is_some_and(|roster| !roster.accepts(certificate.sid, certificate.key));
    match () {
        () if revoked => Some(CloseCause::Revoked),
        () if certificate.not_after < seconds_since_1970() => Some(CloseCause::Expired),
        () => None,
    }
}
