//! The MQTT connection: outbound only, clean session, QoS 0. Everything that matters is repeated above it.

mod backoff;
pub mod credentials;
mod pace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_schema::id::Sid;
use bus_schema::limits::MAX_FRAME;
use bus_schema::topic::{Direction, Topic};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Outgoing, QoS, TlsConfiguration, Transport};
use streams::Endpoint;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::credentials::{Credentials, CredentialsError};
use self::pace::Pace;
use crate::engine::{Engine, Input};

/// Seconds between pings of an idle link.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Seconds that connecting, or writing one frame, may take on a link that crawls.
const NETWORK_TIMEOUT_SECONDS: u64 = 60;

/// Longest pause between two attempts while streams wait for the link.
const AWAITED: Duration = Duration::from_secs(3);

/// Bytes that the kernel may hold for us: what waits there cannot be replaced by something newer.
const SEND_BUFFER: u32 = 64 * 1024;

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    /// Whether it is reached over TLS.
    pub tls: bool,
}

impl Address {
    /// Reads `mqtts://HOST:PORT`, or `mqtt://HOST:PORT` for a bus without TLS.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(url: &str) -> Result<Address, String> {
        let wrong = || format!("bus address {url:?} must be mqtts://HOST:PORT");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme {
            "mqtts" => true,
            "mqtt" => false,
            _ => return Err(wrong()),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Address { host: host.to_owned(), port, tls }).ok_or_else(wrong)
    }
}

impl Address {
    /// Whether it may be connected to: without TLS only on loopback, and only when that was asked for.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn permitted(&self, insecure: bool) -> Result<(), String> {
        let loopback = self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if self.tls || (insecure && loopback) {
            return Ok(());
        }
        let Address { host, port, .. } = self;
        Err(format!("the bus at {host}:{port} has no TLS: give mqtts://HOST:PORT; --insecure-bus allows mqtt:// on loopback only"))
    }
}

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
}

impl Link {
    /// Keeps the link up until `stop`, then says goodbye.
    pub async fn run(mut self, mut frames: mpsc::Receiver<Vec<u8>>, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let began = Instant::now();
            let ended = match self.open() {
                Err(error) => End::Lost(error.to_string()),
                Ok((client, mut events)) => tokio::select! {
                    ended = self.serve(&client, &mut events, &mut frames) => ended,
                    () = self.renewed.notified() => End::Renewed,
                    () = stop.cancelled() => return goodbye(&client, &mut events).await,
                },
            };
            self.streams.disconnected();
            self.engine.tell(Input::LinkDown).await;
            let pause = match &ended {
                // Without DISCONNECT: to the hub this is one connection that takes over from another.
                End::Renewed => Duration::ZERO,
                // Somebody sits before a terminal.
                End::Lost(_) if self.streams.counts().streams > 0 => backoff.next(began.elapsed(), rand_unit()).min(AWAITED),
                End::Lost(_) | End::Refused(_) => backoff.next(began.elapsed(), rand_unit()),
            };
            if matches!(ended, End::Refused(_)) {
                self.refused.notify_one();
            }
            match ended {
                End::Refused(why) => tracing::warn!(%why, pause_ms = pause.as_millis() as u64, "the bus does not take this agent"),
                End::Renewed => tracing::info!("the certificate was renewed: connecting with the new one"),
                End::Lost(ended) => tracing::info!(%ended, pause_ms = pause.as_millis() as u64, "link down"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // What was refused may be taken now; this ring is not to break the next connection off.
                () = self.renewed.notified(), if !pause.is_zero() => {}
                () = stop.cancelled() => break,
            }
        }
    }

    fn open(&mut self) -> Result<(AsyncClient, EventLoop), CredentialsError> {
        let mut options = MqttOptions::new(self.sid.as_str(), &self.address.host, self.address.port);
        let packet = MAX_FRAME + 64;
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_max_packet_size(packet, packet);
        if self.address.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(self.credentials.client()?)));
        }
        let (client, mut events) = AsyncClient::new(options, 2);
        events.network_options.set_connection_timeout(NETWORK_TIMEOUT_SECONDS);
        events.network_options.set_tcp_nodelay(true);
        events.network_options.set_tcp_send_buffer_size(SEND_BUFFER);
        Ok((client, events))
    }

    /// One connection, from connect to its end; returns how it ended.
    async fn serve(&self, client: &AsyncClient, events: &mut EventLoop, frames: &mut mpsc::Receiver<Vec<u8>>) -> End {
        let up = Topic::Main(self.sid, Direction::Up).to_string();
        let mut pace = Pace::default();
        let mut subscribed = false;
        // Whose frame is on its way to the socket: one at a time, so that the next is the most important there is.
        let mut sending = None;
        loop {
            let idle = subscribed && sending.is_none();
            tokio::select! {
                event = events.poll() => match event {
                    Err(error) => return judged(&error),
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        if let Err(error) = client.try_subscribe(Topic::filter(self.sid), QoS::AtMostOnce) {
                            return End::Lost(error.to_string());
                        }
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        subscribed = true;
                        while frames.try_recv().is_ok() {}
                        tracing::info!("link up");
                        self.engine.tell(Input::LinkUp).await;
                        self.engine.tell(Input::Room(pace.frame())).await;
                    }
                    Ok(Event::Incoming(Incoming::Publish(publish))) => self.take(publish.payload).await,
                    Ok(Event::Outgoing(Outgoing::Publish(_))) => {
                        pace.drained(Instant::now());
                        if sending.take() == Some(From::Engine) {
                            self.engine.tell(Input::Room(pace.frame())).await;
                        }
                    }
                    Ok(_) => {}
                },
                frame = next(frames, &self.streams, pace.frame()), if idle => {
                    let Some((from, frame)) = frame else { return End::Lost("the engine has ended".into()) };
                    pace.sending(frame.len(), Instant::now());
                    sending = Some(from);
                    if let Err(error) = client.try_publish(&up, QoS::AtMostOnce, false, frame) {
                        return End::Lost(error.to_string());
                    }
                }
            }
        }
    }

    async fn take(&self, frame: bytes::Bytes) {
        if !bus_schema::frame::is_of_streams(&frame) {
            return self.engine.tell(Input::Frame(frame)).await;
        }
        if let Err(error) = self.streams.frame(&frame) {
            tracing::debug!(%error, "a stream's frame was not taken");
        }
    }
}

/// Who made a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Engine,
    Streams,
}

/// The next frame to send: streams have what the engine leaves over. `None` when the engine has ended. Cancellation loses nothing.
async fn next(frames: &mut mpsc::Receiver<Vec<u8>>, streams: &Endpoint, room: usize) -> Option<(From, Vec<u8>)> {
    loop {
        tokio::select! {
            biased;
            frame = frames.recv() => return Some((From::Engine, frame?)),
            () = streams.wants() => {
                if let Some(frame) = streams.transmit(room) {
                    return Some((From::Streams, frame));
                }
            }
        }
    }
}

/// What a connection's error says of the agent itself.
fn judged(error: &ConnectionError) -> End {
    let alert = |error: &rumqttc::TlsError| match error {
        rumqttc::TlsError::TLS(rustls::Error::AlertReceived(alert)) => speaks_of_us(*alert),
        rumqttc::TlsError::Io(error) => is_refusal(error),
        _ => false,
    };
    let refused = match error {
        ConnectionError::ConnectionRefused(code) => *code != rumqttc::ConnectReturnCode::ServiceUnavailable,
        ConnectionError::Tls(error) => alert(error),
        ConnectionError::Io(error) | ConnectionError::MqttState(rumqttc::StateError::Io(error)) => is_refusal(error),
        _ => false,
    };
    if refused { End::Refused(error.to_string()) } else { End::Lost(error.to_string()) }
}

/// In TLS 1.3 a server refuses a certificate after the client has finished, so the alert comes with the first read.
fn is_refusal(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(alert)) if speaks_of_us(*alert))
}

fn speaks_of_us(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}

/// DISCONNECT, so that the hub knows at once.
async fn goodbye(client: &AsyncClient, events: &mut EventLoop) {
    let leave = async {
        client.disconnect().await.ok()?;
        while !matches!(events.poll().await.ok()?, Event::Outgoing(Outgoing::Disconnect)) {}
        Some(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), leave).await;
}

/// A random number from 0 to 1.
pub fn rand_unit() -> f64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 4];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_without_tls_is_for_loopback_and_to_be_asked_for() {
        let permitted = |url: &str, insecure| Address::parse(url).unwrap().permitted(insecure).is_ok();
        assert!(
            permitted("mqtts://10.0.0.1:8883", false) && permitted("mqtt://127.0.0.1:1883", true) && permitted("mqtt://[::1]:1883", true)
        );
        assert!(!permitted("mqtt://127.0.0.1:1883", false) && !permitted("mqtt://10.0.0.1:1883", true));
    }

    #[test]
    fn a_bus_address_is_read_or_explained() {
        assert_eq!(Address::parse("mqtts://10.0.0.1:8883"), Ok(Address { host: "10.0.0.1".into(), port: 8883, tls: true }));
        assert_eq!(Address::parse("mqtt://[::1]:1883/"), Ok(Address { host: "::1".into(), port: 1883, tls: false }));
        for wrong in ["", "mqtt://", "mqtts://", "10.0.0.1:1883", "mqtt://host", "mqtt://host:x", "https://host:1"] {
            assert_eq!(Address::parse(wrong), Err(format!("bus address {wrong:?} must be mqtts://HOST:PORT")));
        }
    }
}
