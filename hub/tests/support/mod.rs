//! A gate on a free port, and an MQTT client of raw bytes that may do what no library would.
#![allow(dead_code)] // Each test program uses its part.

pub mod attempts;
pub mod pki;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub::bus::gate::admission::LoopbackAdmission;
use hub::bus::gate::config::GateConfig;
use hub::bus::gate::{Gate, GateHandle};
use hub::bus::{Event, Session};
use tokio::sync::mpsc;

pub const PATIENCE: Duration = Duration::from_secs(10);

/// A gate and what it tells the hub.
pub struct Rig {
    pub gate: GateHandle,
    pub sessions: mpsc::Receiver<Session>,
}

pub fn config() -> GateConfig {
    GateConfig::new("127.0.0.1:0".parse().unwrap())
}

pub fn start(config: GateConfig) -> Rig {
    let (sender, sessions) = mpsc::channel(64);
    Rig { gate: Gate::start(config, Arc::new(LoopbackAdmission), sender).unwrap(), sessions }
}

impl Rig {
    pub async fn session(&mut self) -> Session {
        tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("a session in time").expect("the gate lives")
    }
}

pub async fn event(session: &mut Session) -> Event {
    tokio::time::timeout(PATIENCE, session.uplink.recv()).await.expect("an event in time").expect("before the end")
}

/// Runs blocking client code beside the gate.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the client did not panic")
}

/// What a raw client says in CONNECT.
#[derive(Clone)]
pub struct Hello<'a> {
    pub id: &'a str,
    pub keep_alive: u16,
    pub clean: bool,
    pub level: u8,
    pub will: Option<(&'a str, &'a [u8])>,
}

impl<'a> Hello<'a> {
    pub fn new(id: &'a str) -> Self {
        Hello { id, keep_alive: 60, clean: true, level: 4, will: None }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut body = [&text("MQTT")[..], &[self.level]].concat();
        body.push(u8::from(self.clean) << 1 | u8::from(self.will.is_some()) << 2);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == 5 {
            body.push(0);
        }
        body.extend(text(self.id));
        if let Some((topic, payload)) = self.will {
            body.extend(text(topic));
            body.extend((payload.len() as u16).to_be_bytes());
            body.extend(payload);
        }
        packet(0x10, &body)
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (vec![first], body.len());
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        bytes.push(digit | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub fn publish(topic: &str, payload: &[u8], qos: u8, pkid: u16) -> Vec<u8> {
    let id = if qos > 0 { pkid.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | qos << 1, &[text(topic), id, payload.to_vec()].concat())
}

pub fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[vec![0, 1], text(filter), vec![qos]].concat())
}

/// What raw bytes travel over.
pub trait Wire: Read + Write {
    fn set_patience(&mut self, patience: Duration);
}

impl Wire for TcpStream {
    fn set_patience(&mut self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

impl Wire for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn set_patience(&mut self, patience: Duration) {
        self.sock.set_patience(patience);
    }
}

/// A connection of raw bytes.
pub struct Raw<S = TcpStream>(pub S);

pub fn tcp(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the listener accepts");
    stream.set_patience(PATIENCE);
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl Raw {
    pub fn open(addr: SocketAddr) -> Raw {
        Raw(tcp(addr))
    }

    /// Sends CONNECT and gives the code of CONNACK, or what came instead of it.
    pub fn greet(addr: SocketAddr, hello: &Hello<'_>) -> (Raw, io::Result<u8>) {
        let mut raw = Raw::open(addr);
        let code = raw.hello(hello);
        (raw, code)
    }

    pub fn connect(addr: SocketAddr, id: &str) -> Raw {
        Raw::connect_as(addr, &Hello::new(id))
    }

    pub fn connect_as(addr: SocketAddr, hello: &Hello<'_>) -> Raw {
        let (raw, code) = Raw::greet(addr, hello);
        assert_eq!(code.expect("CONNACK"), 0, "{}", hello.id);
        raw
    }
}

impl<S: Wire> Raw<S> {
    /// Sends CONNECT and gives the code of CONNACK, or what came instead of it.
    pub fn hello(&mut self, hello: &Hello<'_>) -> io::Result<u8> {
        self.send(&hello.bytes());
        self.read().and_then(|(first, body)| match (first, &body[..]) {
            (0x20, [_, code]) => Ok(*code),
            other => Err(io::Error::other(format!("{other:?} instead of CONNACK"))),
        })
    }

    /// Writes; a peer that has closed already is seen by the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).and_then(|()| self.0.flush());
    }

    pub fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let (mut byte, mut length, mut shift) = ([0], 0, 0);
        self.0.read_exact(&mut byte)?;
        let first = byte[0];
        loop {
            self.0.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((first, body))
    }

    /// The next packet must begin with this byte.
    pub fn expect(&mut self, first: u8) -> Vec<u8> {
        let (got, body) = self.read().expect("a packet");
        assert_eq!(got, first, "{body:?}");
        body
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Vec<u8> {
        self.send(&subscribe(filter, qos));
        self.expect(0x90)
    }

    pub fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        self.expect(0xd0);
    }

    /// Topic and payload of the next message with QoS 0.
    pub fn message(&mut self) -> (String, Vec<u8>) {
        let body = self.expect(0x30);
        let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        (String::from_utf8(body[2..end].to_vec()).unwrap(), body[end..].to_vec())
    }

    /// Whether the peer closes within `limit`; gives how long that took.
    pub fn closes_within(&mut self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let mut rest = [0; 4096];
        loop {
            let left = limit.checked_sub(began.elapsed()).filter(|left| !left.is_zero())?;
            self.0.set_patience(left);
            match self.0.read(&mut rest) {
                Ok(0) => return Some(began.elapsed()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(_) => return Some(began.elapsed()),
            }
        }
    }
}

/// Whether a new client can connect, subscribe and hear its own message.
pub fn healthy(addr: SocketAddr) -> Result<(), String> {
    let fail = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).map_err(fail("connect"))?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).map_err(fail("socket"))?;
    let mut raw = Raw(stream);
    raw.send(&Hello::new(&format!("health-{}", fastrand::u32(..))).bytes());
    let next = |raw: &mut Raw, what, first| match raw.read().map_err(fail(what))? {
        (got, body) if got == first => Ok(body),
        other => Err(format!("{what}: {other:?}")),
    };
    next(&mut raw, "CONNACK", 0x20)?;
    raw.send(&subscribe("test/health", 0));
    next(&mut raw, "SUBACK", 0x90)?;
    raw.send(&publish("test/health", b"echo", 0, 0));
    next(&mut raw, "the echo", 0x30)?;
    raw.send(&[0xe0, 0]);
    Ok(())
}
