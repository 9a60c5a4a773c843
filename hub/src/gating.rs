//! Starts the bus: the gate over TLS with the roster, or plain where that was asked for.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::bus::Session;
use crate::bus::gate::admission::{LoopbackAdmission, RosterAdmission};
use crate::bus::gate::config::GateConfig;
use crate::bus::gate::roster::{KeyUse, Roster};
use crate::bus::gate::tls::{Material, Tls};
use crate::bus::gate::{Gate, GateHandle};
use crate::config::Config;

/// A running bus.
pub struct Gating {
    pub gate: GateHandle,
    /// Whom it lets in; to be kept by `controller::roster`, without which nobody is.
    pub roster: Arc<Roster>,
    /// Newest keys that were used to connect.
    pub uses: mpsc::Receiver<KeyUse>,
    /// For replacing certificate and CAs; `None` on a plain bus.
    pub tls: Option<Tls>,
}

impl Gating {
    /// Listens where the settings say; agents that connect go to `sessions`.
    ///
    /// # Errors
    /// The address cannot be listened on, or the material does not serve.
    pub fn start(config: &Config, material: Material, sessions: mpsc::Sender<Session>) -> anyhow::Result<Gating> {
        let settings = GateConfig::new(config.bus_listen);
        let (roster, uses) = Roster::new();
        let roster = Arc::new(roster);
        if config.insecure_bus {
            tracing::warn!("--insecure-bus: the bus has no TLS, and whoever reaches it is any agent");
            let gate = Gate::start(settings, Arc::new(LoopbackAdmission), sessions).context("--bus-listen")?;
            return Ok(Gating { gate, roster, uses, tls: None });
        }
        let tls = Tls::new(material)?;
        let gate = Gate::start_with(tls.clone(), settings, Arc::new(RosterAdmission(roster.clone())), sessions).context("--bus-listen")?;
        Ok(Gating { gate, roster, uses, tls: Some(tls) })
    }

    /// `mqtts://HOST:PORT` where it listens, or `mqtt://` without TLS.
    pub fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}", self.gate.local_addr())
    }
}
