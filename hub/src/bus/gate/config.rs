//! The gate's settings and what makes them wrong.

use std::net::SocketAddr;
use std::time::Duration;

use super::allowance::Rate;

/// Every limit of the gate. All have defaults; only `listen` has to be chosen.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections held at once, those before CONNECT included.
    pub max_connections: usize,
    /// Connections before CONNECT from addresses that agents have come from; one more evicts the oldest of them.
    pub max_pending: usize,
    /// Connections before CONNECT from other addresses; one more evicts the oldest of them.
    pub max_pending_unknown: usize,
    /// Connections before CONNECT from networks that keep failing; one more is turned away.
    pub max_pending_failing: usize,
    /// From accept to a complete CONNECT, TLS handshake included.
    pub connect_timeout: Duration,
    /// The largest packet after its fixed header.
    pub max_packet: usize,
    /// A peer that takes no byte for so long is closed.
    pub write_timeout: Duration,
    /// How long a client with keepalive 0 may stay silent.
    pub max_idle: Duration,
    /// Unsent bytes that the kernel may hold for one connection (TCP_NOTSENT_LOWAT).
    pub notsent_lowat: u32,
    /// CONNECTs of one cluster: its agent tries once a second at most, with doubling pauses.
    pub connects: Rate,
    /// Packets of one agent; it is not read for a while when it sends more.
    pub packets: Rate,
    /// Bytes of one agent; it is not read for a while when it sends more.
    pub bytes: Rate,
    /// Frames of one agent that may wait for the hub; its socket is not read meanwhile.
    pub uplink_depth: usize,
    /// Clients that are no agents, under `test/#`; 0 turns them, and the router behind them, off.
    pub max_clients: usize,
}

/// The most clients that are no agents: each has at most two events in the router's queue of 1,000, so the queue never blocks.
pub const CLIENT_CEILING: usize = 256;

impl GateConfig {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> GateConfig {
        GateConfig {
            listen,
            max_connections: 110_000,
            max_pending: 4096,
            max_pending_unknown: 1024,
            max_pending_failing: 64,
            // Three round trips and 4 KiB on a link of satellites or 2G; who takes long is evicted when others wait.
            connect_timeout: Duration::from_secs(15),
            // 64 KiB of payload and the longest topic of the protocol with room to spare.
            max_packet: 64 * 1024 + 256,
            write_timeout: Duration::from_secs(30),
            max_idle: Duration::from_secs(600),
            notsent_lowat: 4096,
            connects: Rate { per_second: 1, burst: 30 },
            // A tenth of what one processor of the hub takes, so that one agent cannot keep it from the others.
            packets: Rate { per_second: 2_000, burst: 4_000 },
            // 1 Gbit/s: more than the link of a cluster at the edge, and a third of one processor of the hub.
            bytes: Rate { per_second: 128 << 20, burst: 256 << 20 },
            uplink_depth: 2,
            max_clients: 0,
        }
    }

    /// Reports everything wrong at once; `secure` tells whether the transport authenticates its peers.
    pub fn validate(&self, secure: bool) -> Result<(), GateError> {
        let mut wrong = Vec::new();
        if !secure && !self.listen.ip().is_loopback() {
            wrong.push(format!(
                "the MQTT gate refuses to listen on {}: without TLS anybody who reaches it is any agent; listen on 127.0.0.1, or with TLS",
                self.listen
            ));
        }
        for (name, zero) in [
            ("max_connections", self.max_connections == 0),
            ("max_pending", self.max_pending == 0),
            ("max_pending_unknown", self.max_pending_unknown == 0),
            ("max_pending_failing", self.max_pending_failing == 0),
            ("connects", self.connects.per_second == 0 || self.connects.burst == 0),
            ("packets", self.packets.per_second == 0 || self.packets.burst == 0),
            ("bytes", self.bytes.per_second == 0 || self.bytes.burst == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("max_idle", self.max_idle.is_zero()),
            ("uplink_depth", self.uplink_depth == 0),
        ] {
            if zero {
                wrong.push(format!("{name} of the MQTT gate must not be 0"));
            }
        }
        if self.max_clients > CLIENT_CEILING {
            wrong.push(format!("max_clients of the MQTT gate is {}, at most {CLIENT_CEILING} fit", self.max_clients));
        }
        if wrong.is_empty() { Ok(()) } else { Err(GateError::Config(wrong.join("; "))) }
    }
}

/// Why the gate does not start.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("{0}")]
    Config(String),
    #[error("the MQTT gate cannot start its threads; raise the limit of processes")]
    Threads(#[source] std::io::Error),
    #[error("the MQTT gate cannot listen on {addr}; stop what holds the port or choose another")]
    Listen { addr: SocketAddr, source: std::io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_without_tls_does_not_leave_loopback() {
        let config = GateConfig::new("192.0.2.1:1883".parse().unwrap());
        let text = config.validate(false).unwrap_err().to_string();
        assert_eq!(
            text,
            "the MQTT gate refuses to listen on 192.0.2.1:1883: without TLS anybody who reaches it is any agent; listen on 127.0.0.1, or with TLS"
        );
        assert!(config.validate(true).is_ok());
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let mut config = GateConfig::new("127.0.0.1:0".parse().unwrap());
        config.max_pending = 0;
        config.max_clients = 300;
        let text = config.validate(false).unwrap_err().to_string();
        assert!(text.contains("max_pending") && text.contains("max_clients"), "{text}");
    }
}
