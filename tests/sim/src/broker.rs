//! The network: connections that keep order within themselves, lose, repeat and delay frames, and are cut.

use crate::counts::Counts;
use bus_schema::id::Millis;

/// A frame on its way.
#[derive(Debug, Clone)]
pub struct Packet {
    pub edge: usize,
    pub up: bool,
    /// The connection that it was sent on.
    pub connection: u64,
    /// The session that its sender was in, 0 for none.
    pub session: u64,
    pub frame: Vec<u8>,
    /// Made or moved by a hostile broker: nobody may take it.
    pub forged: bool,
}

/// How bad the links are; percentages.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss: u8,
    pub duplicates: u8,
    pub delay: Millis,
    /// A frame that a cut catches on its way is delivered nevertheless, later.
    pub late: u8,
    /// The broker adds a frame of its own to so many.
    pub hostile: u8,
}

impl Weather {
    pub const CLEAR: Weather = Weather { loss: 0, duplicates: 0, delay: 40, late: 0, hostile: 0 };
}

/// The link of one edge.
#[derive(Debug, Clone, Default)]
pub struct Link {
    pub connected: bool,
    pub connection: u64,
    /// Until then no connect succeeds.
    pub severed_until: Millis,
    /// When the last frame sent arrives, down and up.
    last: [Millis; 2],
}

impl Link {
    pub fn open(&mut self, connection: u64) {
        (self.connected, self.connection, self.last) = (true, connection, [0; 2]);
    }

    /// When the copies of a frame sent now arrive.
    pub fn arrivals(&mut self, up: bool, now: Millis, weather: Weather, rng: &mut fastrand::Rng, counts: &mut Counts) -> Vec<Millis> {
        if rng.u8(..100) < weather.loss {
            counts.losses += 1;
            return Vec::new();
        }
        let mut copies = 1;
        if rng.u8(..100) < weather.duplicates {
            counts.duplicates += 1;
            copies = 2;
        }
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let slow = rng.u8(..8) == 0 && weather.delay > Weather::CLEAR.delay;
            counts.delays += u64::from(slow);
            let delay = 1 + rng.u64(..weather.delay) * if slow { 10 } else { 1 };
            let last = &mut self.last[usize::from(up)];
            *last = (*last).max(now + delay);
            arrivals.push(*last);
        }
        arrivals
    }
}
