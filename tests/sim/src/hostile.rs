//! A broker that is not on our side: it keeps every frame, and plays with copies. It has no keys.

use std::collections::VecDeque;

use bus_schema::frame;
use bus_schema::greeting::no_session;
use bus_schema::message::Kind;

use crate::broker::Packet;
use crate::draw::Draw;
use crate::world::{Event, World};

/// Frames that it keeps, of all links and times.
const ARCHIVE: usize = 512;

/// What was ever seen on the wire.
#[derive(Debug, Default)]
pub struct Archive(VecDeque<Packet>);

impl Archive {
    fn keep(&mut self, packet: &Packet) {
        if self.0.len() == ARCHIVE {
            self.0.pop_front();
        }
        self.0.push_back(packet.clone());
    }
}

impl World {
    /// A frame passes the broker.
    pub(crate) fn meddle(&mut self, packet: &Packet) {
        self.archive.keep(packet);
        if self.rng.u8(..100) >= self.weather.hostile {
            return;
        }
        let Some(forged) = self.forge(packet) else { return };
        self.trace(|| format!("the broker forges a frame for {}, up {}", forged.edge, forged.up));
        let pause = self.rng.u64(1..30_000);
        self.at(pause, Event::Arrive(forged));
    }

    fn forge(&mut self, packet: &Packet) -> Option<Packet> {
        match self.rng.u8(..6) {
            0 | 1 => self.tampered(packet),
            2 => {
                self.counts.hostile_replays += 1;
                let past = self.rng.index(..self.archive.0.len());
                Some(self.archive.0[past].clone())
            }
            3 => {
                let past = self.rng.index(..self.archive.0.len());
                let taken = self.archive.0[past].clone();
                self.counts.hostile_swaps += u64::from(taken.edge != packet.edge);
                (taken.edge != packet.edge).then_some(Packet { edge: packet.edge, forged: true, ..taken })
            }
            4 => {
                self.counts.hostile_reflections += 1;
                Some(Packet { up: !packet.up, forged: true, ..packet.clone() })
            }
            _ => {
                self.counts.hostile_hints += 1;
                Some(Packet { up: false, forged: true, frame: no_session(), ..packet.clone() })
            }
        }
    }

    /// The high flags of a Welcome are passed over by version rule, and bound by the session's keys only.
    fn tampered(&mut self, packet: &Packet) -> Option<Packet> {
        self.counts.hostile_forgeries += 1;
        let mut forged = Packet { forged: true, ..packet.clone() };
        let (header, _) = frame::peek(&forged.frame).ok()?;
        let first = if header.kind == Kind::Welcome { 3 } else { 0 };
        match self.rng.u8(..4) {
            0 => forged.frame.truncate(self.rng.index(..packet.frame.len())),
            1 => forged.frame.push(self.rng.u8(..)),
            _ => {
                // Headers are a small target, so half of the blows go there.
                let end = if self.rng.bool() { 8 } else { packet.frame.len() };
                let at = self.rng.index(first..end);
                forged.frame[at] ^= 1 << self.rng.u8(..8);
            }
        }
        Some(forged)
    }

    /// Whether an end took what a broker made up. A hint that there is no session is nobody's secret.
    pub(crate) fn check_forged(&mut self, packet: &Packet, taken: bool) {
        let hint = frame::peek(&packet.frame).is_ok_and(|(header, _)| header.kind == Kind::NoSession);
        if packet.forged && taken && !hint {
            self.fail(format!("{} took a forged frame, up {}", packet.edge, packet.up));
        }
    }
}
