//! One way of a link: what becomes of each packet that is offered to it. Pure: time is handed in, chance comes from a seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What a way does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// How long every packet takes.
    pub delay: Duration,
    /// Up to so much longer, at random; packets keep their order.
    pub jitter: Duration,
    /// Share of packets that are lost.
    pub loss: f64,
    /// Share of packets that arrive after later ones: `late` later than they would.
    pub reorder: f64,
    /// How late a packet is that is overtaken.
    pub late: Duration,
    /// Bits a second; `None` for as many as come.
    pub rate: Option<u64>,
    /// Bytes that wait for their turn at most; the next packet is dropped.
    pub queue: usize,
}

impl Default for Shape {
    fn default() -> Self {
        let none = Duration::ZERO;
        Self { delay: none, jitter: none, loss: 0.0, reorder: 0.0, late: Duration::from_millis(20), rate: None, queue: 64 << 10 }
    }
}

/// What has become of the packets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Packets that were sent into it.
    pub offered: u64,
    /// Packets that came out, and their bytes.
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Packets that chance took.
    pub lost: u64,
    /// Packets that the full queue dropped.
    pub overflowed: u64,
    /// Packets that met a cut.
    pub cut: u64,
    /// Packets that were overtaken, of those that came out or will.
    pub reordered: u64,
}

/// One way; times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Direction {
    shape: Shape,
    is_cut: bool,
    random: fastrand::Rng,
    /// When the last packet that waits will have been sent.
    busy_until: Duration,
    /// When each waiting packet will have been sent, and its bytes.
    waiting: VecDeque<(Duration, usize)>,
    waiting_bytes: usize,
    /// When the last packet in order arrives.
    last_arrival: Duration,
    /// By arrival, then by the order in which they came.
    flying: BTreeMap<(Duration, u64), Vec<u8>>,
    fates: Fates,
}

impl Direction {
    /// A way whose chance begins at this seed.
    pub fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            is_cut: false,
            random: fastrand::Rng::with_seed(seed),
            busy_until: Duration::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_arrival: Duration::ZERO,
            flying: BTreeMap::new(),
            fates: Fates::default(),
        }
    }

    /// Another shape, for packets from now on.
    pub fn set(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Cuts or heals the way; what is on it when it is cut is gone.
    pub fn cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
        if is_cut {
            self.fates.cut += self.flying.len() as u64;
            self.flying.clear();
        }
    }

    /// What has become of its packets.
    pub fn fates(&self) -> Fates {
        self.fates
    }

    /// A packet is sent into it.
    pub fn offer(&mut self, now: Duration, packet: Vec<u8>) {
        self.fates.offered += 1;
        // Drawn for every packet, so that what befalls one does not depend on what befell another.
        let [lost, overtaken, jitter] = [(); 3].map(|()| self.random.f64());
        if self.is_cut {
            self.fates.cut += 1;
        } else if lost < self.shape.loss {
            self.fates.lost += 1;
        } else if let Some(sent) = self.send(now, packet.len()) {
            let arrival = self.arrival(sent, overtaken < self.shape.reorder, jitter);
            self.flying.insert((arrival, self.fates.offered), packet);
        } else {
            self.fates.overflowed += 1;
        }
    }

    /// When the packet will have been sent; `None` if it may not wait for that.
    fn send(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.shape.rate else { return Some(now) };
        while let Some((_, sent)) = self.waiting.pop_front_if(|(sent, _)| *sent <= now) {
            self.waiting_bytes -= sent;
        }
        if self.waiting_bytes + bytes > self.shape.queue {
            return None;
        }
        self.busy_until = self.busy_until.max(now) + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        self.waiting.push_back((self.busy_until, bytes));
        self.waiting_bytes += bytes;
        Some(self.busy_until)
    }

    fn arrival(&mut self, sent: Duration, is_overtaken: bool, jitter: f64) -> Duration {
        let arrival = (sent + self.shape.delay + self.shape.jitter.mul_f64(jitter)).max(self.last_arrival);
        if is_overtaken {
            self.fates.reordered += 1;
            return arrival + self.shape.late;
        }
        self.last_arrival = arrival;
        arrival
    }

    /// When the next packet comes out.
    pub fn next(&self) -> Option<Duration> {
        self.flying.first_key_value().map(|((arrival, _), _)| *arrival)
    }

    /// A packet that has come out by now.
    pub fn take(&mut self, now: Duration) -> Option<Vec<u8>> {
        let first = self.flying.first_entry().filter(|first| first.key().0 <= now)?;
        let packet = first.remove();
        self.fates.delivered += 1;
        self.fates.delivered_bytes += packet.len() as u64;
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Offers packets of 100 bytes, numbered, one a millisecond; what comes out, and when.
    fn pass(shape: Shape, seed: u64, packets: u32) -> (Vec<(Duration, u32)>, Fates) {
        let mut way = Direction::new(shape, seed);
        for number in 0..packets {
            let mut packet = vec![0; 100];
            packet[..4].copy_from_slice(&number.to_be_bytes());
            way.offer(MS * number, packet);
        }
        let mut out = Vec::new();
        while let Some(at) = way.next() {
            let packet = way.take(at).unwrap();
            out.push((at, u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]])));
        }
        (out, way.fates())
    }

    #[test]
    fn a_plain_way_delivers_everything_in_order_after_its_delay() {
        let (out, fates) = pass(Shape { delay: 30 * MS, ..Shape::default() }, 1, 100);
        assert!(out.iter().enumerate().all(|(at, (arrival, number))| (*number as usize, *arrival) == (at, MS * *number + 30 * MS)));
        assert_eq!((fates.offered, fates.delivered, fates.delivered_bytes), (100, 100, 10_000));
    }

    #[test]
    fn jitter_keeps_the_order_and_its_bounds() {
        let (out, _) = pass(Shape { delay: 30 * MS, jitter: 20 * MS, ..Shape::default() }, 1, 1000);
        assert!(out.is_sorted() && out.iter().map(|(_, number)| number).is_sorted());
        assert!(out.iter().all(|(arrival, number)| (30 * MS..50 * MS).contains(&(*arrival - MS * *number))));
        assert!(out.iter().any(|(arrival, number)| *arrival - MS * *number > 45 * MS));
    }

    #[test]
    fn losses_are_as_many_as_asked_for_and_the_same_for_the_same_seed() {
        let shape = Shape { loss: 0.1, ..Shape::default() };
        let (out, fates) = pass(shape, 7, 10_000);
        assert!((900..1100).contains(&fates.lost) && fates.delivered + fates.lost == 10_000, "{fates:?}");
        assert_eq!(pass(shape, 7, 10_000).0, out);
        assert_ne!(pass(shape, 8, 10_000).0, out);
    }

    #[test]
    fn overtaken_packets_are_late_and_the_others_keep_their_order() {
        let (out, fates) = pass(Shape { reorder: 0.05, late: 10 * MS, ..Shape::default() }, 3, 1000);
        let late: Vec<u32> = out.iter().filter(|(arrival, number)| *arrival > MS * *number).map(|(_, number)| *number).collect();
        assert_eq!((late.len() as u64, out.len()), (fates.reordered, 1000));
        assert!((20..90).contains(&late.len()), "{fates:?}");
        let others: Vec<u32> = out.iter().map(|(_, number)| *number).filter(|number| !late.contains(number)).collect();
        assert!(others.is_sorted() && !out.iter().map(|(_, number)| number).is_sorted());
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_is_bounded() {
        // 100 bytes take 10 ms, and one comes each millisecond.
        let shape = Shape { rate: Some(80_000), queue: 1000, ..Shape::default() };
        let (out, fates) = pass(shape, 1, 200);
        assert!(out.windows(2).all(|two| two[1].0 - two[0].0 == 10 * MS), "{out:?}");
        assert!(fates.overflowed > 0 && fates.delivered + fates.overflowed == 200, "{fates:?}");
        assert!(out.iter().all(|(arrival, number)| *arrival <= MS * *number + 110 * MS));
    }

    #[test]
    fn what_meets_a_cut_is_gone_and_what_comes_after_it_is_not() {
        let mut way = Direction::new(Shape { delay: 10 * MS, ..Shape::default() }, 1);
        way.offer(MS, vec![1]);
        way.cut(true);
        way.offer(2 * MS, vec![2]);
        way.cut(false);
        way.offer(3 * MS, vec![3]);
        assert_eq!((way.next(), way.take(12 * MS), way.take(13 * MS)), (Some(13 * MS), None, Some(vec![3])));
        assert_eq!((way.fates().cut, way.fates().delivered), (2, 1));
    }
}
