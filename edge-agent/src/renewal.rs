//! Keeps the agent's certificate good: renewed in the middle of its life, and when the bus refuses it.
//!
//! A renewed certificate has a new key, and the agent a new key to seal sessions with. The link is told and connects with it; the hub lets the key before go once the new one
//! was used, so nothing is refused in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Input};
use crate::enrol::{EnrolError, Enroller};
use crate::registration::Registration;
use crate::trust::identity::Folder;
use crate::vault::Vault;

/// The part of its life after which a certificate is renewed, in percent, and how much later at most: a fleet that joined
/// at once does not renew at once. Two thirds leave time for a hub that is away.
const RENEW_AT: u64 = 50;
const RENEW_SPREAD: u64 = 15;
/// Longest sleep before the clock is read again: it may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// Least time between two certificates that a refusal by the bus asks for: a bus that takes none of them is not helped by more.
const AGAIN: Duration = Duration::from_secs(30);
/// Pauses between tries that fail.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(600);

/// Renews.
pub struct Renewal {
    pub enroller: Enroller,
    pub registration: Registration,
    /// Rung when the bus does not take the certificate, or the hub does not know the cluster.
    pub refused: Arc<Notify>,
    /// Rung when there is a new certificate.
    pub renewed: Arc<Notify>,
    /// Where the identity is kept beside the data folder.
    pub vault: Option<Vault>,
    /// Told the new key before the link is made anew.
    pub engine: Engine,
}

/// When a certificate is to be renewed, seconds since 1970; `chance` is from 0 to 1.
pub fn due(begins: u64, ends: u64, chance: f64) -> u64 {
    let life = ends.saturating_sub(begins);
    let spread = (life * RENEW_SPREAD / 100) as f64 * chance.clamp(0.0, 1.0);
    begins + life * RENEW_AT / 100 + spread as u64
}

impl Renewal {
    /// Renews until `stop`. Another bus id than before ends the process: everything begins anew with it.
    pub async fn run(mut self, stop: CancellationToken) {
        let chance = crate::link::rand_unit();
        let mut earliest = Instant::now();
        while stop.run_until_cancelled(self.wait(chance, earliest)).await.is_some() {
            let Some(renewed) = stop.run_until_cancelled(self.renew()).await else { return };
            let known = (&self.registration.sid, &self.registration.hash_key);
            let trust = Folder::of(&self.enroller.data_dir).link().ok().and_then(|own| renewed.trust(own));
            let Some(trust) = trust.filter(|_| (&renewed.sid, &renewed.hash_key) == known) else {
                tracing::error!("the hub gave another bus id or other keys of the fleet: restarting");
                return stop.cancel();
            };
            self.engine.tell(Input::Trust(trust)).await;
            tracing::info!(ends = renewed.ends, "the certificate is renewed");
            self.keep().await;
            self.registration = renewed;
            earliest = Instant::now() + AGAIN;
            self.renewed.notify_one();
        }
    }

    /// Waits until it is time, or the bus refuses; a refusal does not count before `earliest`.
    async fn wait(&self, chance: f64, earliest: Instant) {
        let due = due(self.registration.begins, self.registration.ends, chance);
        loop {
            let left = due.saturating_sub(self.enroller.clock.now());
            if left == 0 {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(left).min(LONGEST_SLEEP)) => {}
                () = self.refused.notified() => return tokio::time::sleep_until(earliest).await,
            }
        }
    }

    /// Asks until there is a new certificate.
    async fn renew(&self) -> Registration {
        let (mut pause, mut with_token) = (FIRST_PAUSE, false);
        loop {
            let asked = self.enroller.ask(&self.registration.cluster_id, Some(&self.registration), with_token).await;
            match asked.and_then(|renewed| self.kept(renewed)) {
                Ok(renewed) => return renewed,
                // Only somebody at the hub can help: that is told, and asked again now and then.
                Err(error) if error.pause().is_none() => {
                    tracing::error!("the certificate is not renewed: {error}");
                    // The key does not help any more: a token may, if there is one.
                    with_token = !with_token && self.enroller.token.is_some();
                    if with_token {
                        continue;
                    }
                    pause = pause.max(LAST_PAUSE / 10);
                }
                Err(error) => tracing::warn!("the certificate is not renewed yet: {error}"),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + crate::link::rand_unit() / 2.0)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// A copy that is not taken is no reason to stop: the folder has the identity, and the next renewal tries again.
    async fn keep(&self) {
        let Some(vault) = &self.vault else { return };
        if let Err(error) = vault.keep(&self.enroller.data_dir).await {
            tracing::error!("the identity is not kept outside the data folder: {error}");
        }
    }

    fn kept(&self, renewed: Registration) -> Result<Registration, EnrolError> {
        let saved = renewed.save(&self.enroller.data_dir);
        saved.map_err(|error| EnrolError::Settings(format!("data folder {}: {error}", self.enroller.data_dir.display())))?;
        Ok(renewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_before_two_thirds_of_its_life_and_not_by_all_at_once() {
        let year = 365 * 86_400;
        assert_eq!(due(1000, 1000 + year, 0.0), 1000 + year / 2);
        assert!(due(1000, 1000 + year, 1.0) < 1000 + year * 2 / 3);
        assert!((30..=39).contains(&due(0, 60, 0.7)));
        assert_eq!(due(10, 5, 1.0), 10, "an answer that makes no sense is asked for again");
    }
}
