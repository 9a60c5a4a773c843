//! The first packet: CONNECT, or a refusal that the peer's protocol version understands.

use std::time::Duration;

use bytes::Bytes;
use rumqttd::protocol::{ConnAck, ConnectReturnCode, LastWill, Packet};
use tokio::io::AsyncRead;

use super::admission::{Claim, Refusal};
use super::codec::{PacketReader, ReadError, encode};

/// The largest CONNECT: ids, credentials and a small will.
pub const MAX_CONNECT: usize = 8 * 1024;
/// Bytes up to and with the protocol level: fixed header of two to five bytes, length and name of up to six, level.
const LEVEL_MQTT: [u8; 6] = [0, 4, b'M', b'Q', b'T', b'T'];
const LEVEL_MQISDP: [u8; 8] = [0, 6, b'M', b'Q', b'I', b's', b'd', b'p'];

/// A CONNECT of MQTT 3.1.1.
#[derive(Debug)]
pub struct Greeting {
    pub client_id: String,
    pub clean_session: bool,
    pub keep_alive: Duration,
    pub username: Option<String>,
    pub password: Option<String>,
    pub will: Option<LastWill>,
}

impl Greeting {
    /// What admission is asked about.
    pub fn claim(&self) -> Claim<'_> {
        Claim { client_id: &self.client_id, username: self.username.as_deref(), password: self.password.as_deref() }
    }

    /// How long the peer may be silent: one and a half keepalives, or `max_idle` when it named none.
    pub fn patience(&self, max_idle: Duration) -> Duration {
        if self.keep_alive.is_zero() { max_idle } else { self.keep_alive * 3 / 2 }
    }
}

/// Why there was no CONNECT to consider.
#[derive(Debug)]
pub enum NoGreeting {
    /// MQTT of another version: told so by CONNACK.
    Version(u8),
    Unreadable(ReadError),
}

impl From<ReadError> for NoGreeting {
    fn from(error: ReadError) -> Self {
        NoGreeting::Unreadable(error)
    }
}

/// Reads the first packet.
pub async fn read<R: AsyncRead + Unpin>(reader: &mut PacketReader<R>) -> Result<Greeting, NoGreeting> {
    reader.want(2).await?;
    while let Some(missing) = level(reader.peek())? {
        let len = reader.peek().len();
        reader.want(len + missing).await?;
    }
    match reader.next().await?.packet {
        Packet::Connect(connect, _, will, _, login) => {
            let (username, password) = login.map_or((None, None), |login| (Some(login.username), Some(login.password)));
            Ok(Greeting {
                client_id: connect.client_id,
                clean_session: connect.clean_session,
                keep_alive: Duration::from_secs(connect.keep_alive.into()),
                username,
                password,
                will,
            })
        }
        _ => Err(ReadError::Malformed("the first packet is no CONNECT".into()).into()),
    }
}

/// Looks at the protocol level of a CONNECT that may not be complete; gives how many bytes are missing to see it.
fn level(bytes: &[u8]) -> Result<Option<usize>, NoGreeting> {
    let no_connect = || NoGreeting::Unreadable(ReadError::Malformed("the first packet is no MQTT CONNECT".into()));
    if bytes[0] != 0x10 {
        return Err(no_connect());
    }
    let Some(length_end) = bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0) else {
        return if bytes.len() < 5 { Ok(Some(1)) } else { Err(no_connect()) };
    };
    let rest = &bytes[length_end + 2..];
    for name in [&LEVEL_MQTT[..], &LEVEL_MQISDP[..]] {
        let known = rest.len().min(name.len());
        if rest[..known] != name[..known] {
            continue;
        }
        return match rest.get(name.len()) {
            None => Ok(Some(name.len() + 1 - rest.len())),
            Some(4) if name == LEVEL_MQTT => Ok(None),
            Some(other) => Err(NoGreeting::Version(*other)),
        };
    }
    Err(no_connect())
}

/// The bytes of a CONNACK without session.
pub fn connack(code: ConnectReturnCode) -> Bytes {
    encode(Packet::ConnAck(ConnAck { session_present: false, code }, None)).expect("these five codes exist in MQTT 3.1.1")
}

/// The code that CONNACK tells for a refusal.
pub fn return_code(refusal: Refusal) -> ConnectReturnCode {
    match refusal {
        Refusal::ClientId => ConnectReturnCode::ClientIdentifierNotValid,
        Refusal::Credentials => ConnectReturnCode::BadUserNamePassword,
        Refusal::NotAuthorized => ConnectReturnCode::NotAuthorized,
        Refusal::Unavailable => ConnectReturnCode::ServiceUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn greet(bytes: &[u8]) -> Result<Greeting, NoGreeting> {
        read(&mut PacketReader::new(bytes, MAX_CONNECT, Duration::from_secs(5))).await
    }

    const V4: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 30, 0, 1, b'a'];

    #[tokio::test]
    async fn a_connect_of_3_1_1_is_read() {
        let greeting = greet(&V4).await.unwrap();
        assert_eq!((greeting.client_id.as_str(), greeting.clean_session), ("a", true));
        assert_eq!(greeting.patience(Duration::from_secs(600)), Duration::from_secs(45));
    }

    #[tokio::test]
    async fn other_versions_are_recognised_and_other_bytes_refused() {
        let mut v5 = V4;
        v5[8] = 5;
        assert!(matches!(greet(&v5).await, Err(NoGreeting::Version(5))));
        let v3 = [0x10, 12, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 30];
        assert!(matches!(greet(&v3).await, Err(NoGreeting::Version(3))));
        for (what, bytes) in [
            ("HTTP", &b"GET / HTTP/1.1\r\n\r\n"[..]),
            ("TLS", &[0x16, 3, 1, 2, 0, 1, 0, 1]),
            ("another packet first", &[0xc0, 0]),
            ("another protocol name", &[0x10, 10, 0, 4, b'A', b'M', b'Q', b'P', 4]),
            ("an endless length", &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff]),
            ("half a CONNECT", &V4[..10]),
        ] {
            assert!(matches!(greet(bytes).await, Err(NoGreeting::Unreadable(_))), "{what}");
        }
    }

    #[test]
    fn every_refusal_has_its_connack() {
        for (refusal, code) in [(Refusal::ClientId, 2), (Refusal::Unavailable, 3), (Refusal::Credentials, 4), (Refusal::NotAuthorized, 5)] {
            assert_eq!(connack(return_code(refusal)).as_ref(), [0x20, 2, 0, code]);
        }
        assert_eq!(connack(ConnectReturnCode::RefusedProtocolVersion).as_ref(), [0x20, 2, 0, 1]);
    }
}
