//! The MQTT connection: outbound only, clean session, QoS 0. Everything that matters is repeated above it.

mod address;
mod attempts;
mod attention;
mod backoff;
mod carrier;
pub mod credentials;
mod dial;
mod pace;
mod pings;
mod refusal;
mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_schema::id::Sid;
use streams::Endpoint;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::address::Address;
use self::attempts::Attempts;
use self::carrier::Carrier;
use self::credentials::Credentials;
use self::dial::{Attempt, Connection, LinkError, dial};
pub use self::pings::KEEP_ALIVE;
use self::refusal::is_refusal;
use crate::engine::{Engine, Input};

/// How long DISCONNECT may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// One agent's link.
pub struct Link {
    pub address: Address,
    pub sid: Sid,
    /// Used when the address has TLS.
    pub credentials: Credentials,
    /// Rung when the credentials have changed: the link is made anew with them.
    pub renewed: Arc<Notify>,
    /// Rung when the bus does not take the credentials.
    pub refused: Arc<Notify>,
    pub engine: Engine,
    pub streams: Endpoint,
}

/// How one connection ended.
enum End {
    Lost(String),
    /// The bus does not take the certificate, or the cluster.
    Refused(String),
    Renewed,
    /// The agent stops.
    Stopped,
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> End {
        if is_refusal(&error) { End::Refused(error.to_string()) } else { End::Lost(error.to_string()) }
    }
}

impl Link {
    /// Keeps the link up until `stop`, then says goodbye.
    pub async fn run(mut self, mut frames: mpsc::Receiver<Vec<u8>>, stop: CancellationToken) {
        let mut attempts = Attempts::default();
        let renewed = self.renewed.clone();
        while !stop.is_cancelled() {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = self.connection(&mut attempts, &mut frames, &stop) => ended,
                () = renewed.notified() => End::Renewed,
            };
            self.streams.disconnected();
            self.engine.tell(Input::LinkDown).await;
            let pause = match &ended {
                // Without DISCONNECT: to the hub this is one connection that takes over from another.
                End::Renewed => Duration::ZERO,
                End::Lost(_) => attempts.pause(self.is_awaited(), began.elapsed(), rand_unit()),
                End::Refused(_) => attempts.pause(false, began.elapsed(), rand_unit()),
                End::Stopped => return,
            };
            self.report(&ended, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // What was refused may be taken now; this ring is not to break the next connection off.
                () = renewed.notified(), if !pause.is_zero() => {}
                () = stop.cancelled() => break,
            }
        }
    }

    /// Whether somebody sits before a terminal.
    fn is_awaited(&self) -> bool {
        self.streams.counts().streams > 0
    }

    fn report(&self, ended: &End, pause: Duration) {
        let pause_ms = pause.as_millis() as u64;
        match ended {
            End::Refused(why) => {
                tracing::warn!(%why, pause_ms, "the bus does not take this agent");
                self.refused.notify_one();
            }
            End::Renewed => tracing::info!("the certificate was renewed: connecting with the new one"),
            End::Lost(ended) => tracing::info!(%ended, pause_ms, "link down"),
            End::Stopped => {}
        }
    }

    /// One connection, from the attempt to its end.
    async fn connection(&mut self, attempts: &mut Attempts, frames: &mut mpsc::Receiver<Vec<u8>>, stop: &CancellationToken) -> End {
        let connection = tokio::select! {
            dialled = self.dial(attempts) => match dialled {
                Ok(connection) => connection,
                Err(end) => return end,
            },
            () = stop.cancelled() => return End::Stopped,
        };
        let mut carrier = Carrier::new(self.sid, &self.engine, &self.streams, connection);
        tokio::select! {
            error = carrier.run(frames) => error.into(),
            () = stop.cancelled() => {
                goodbye(carrier).await;
                End::Stopped
            }
        }
    }

    async fn dial(&mut self, attempts: &mut Attempts) -> Result<Connection, End> {
        let tls = if self.address.tls { Some(self.credentials.client().map_err(|error| End::Lost(error.to_string()))?) } else { None };
        let awaited = self.is_awaited();
        let attempt = Attempt { answer: attempts.answer(awaited), awaited };
        let connection = dial(&self.address, tls, self.sid, attempt).await?;
        attempts.connected(connection.round_trip);
        Ok(connection)
    }
}

/// DISCONNECT, so that the hub knows at once.
async fn goodbye(mut carrier: Carrier<'_>) {
    let _ = tokio::time::timeout(GOODBYE, carrier.disconnect()).await;
}

/// A random number from 0 to 1.
pub fn rand_unit() -> f64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 4];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
