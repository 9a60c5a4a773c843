//! Streams between a hub and an agent over a link that loses frames, breaks, and comes back; both ends start again now and then.
//! The model is what was written: every byte must come out once, in order, and nothing may be left when all is over. The hub has other
//! links, which take of the same budget.

use std::collections::{BTreeMap, BTreeSet};

use bus_schema::frame::{self, Cipher, Key};
use bus_schema::limits::MAX_FRAME;
use bus_schema::message::Kind;
use bus_schema::message::stream::{Code, StreamData};
use bus_schema::planted::{Bug, plant};
use bus_schema::stream::{Budget, Event, Limits, Mux, Role, Session};
use bus_schema::witness;
use fastrand::Rng;

/// Bytes that one direction carries at most.
const MOST: usize = 60_000;

/// Steps of a run before everything is left to end.
const STEPS: u32 = 1_200;

/// Virtual time that the end may take.
const SETTLE: u64 = 40 * 60_000;

/// What was done to the link and the ends, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub frames: u64,
    pub lost: u64,
    pub swapped: u64,
    pub cuts: u64,
    pub hub_starts: u64,
    pub agent_starts: u64,
    pub opened: u64,
    pub completed: u64,
    pub broken: u64,
    pub failed: u64,
    pub bytes: u64,
    /// Pieces that travelled packed.
    pub packed: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.frames += other.frames;
        self.lost += other.lost;
        self.swapped += other.swapped;
        self.cuts += other.cuts;
        self.hub_starts += other.hub_starts;
        self.agent_starts += other.agent_starts;
        self.opened += other.opened;
        self.completed += other.completed;
        self.broken += other.broken;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.packed += other.packed;
    }
}

/// What one end has of one stream.
#[derive(Default)]
struct Half {
    wrote: Vec<u8>,
    /// How much of it may not be packed, once it is known.
    plain: Option<usize>,
    /// Bytes still to write before the end.
    left: usize,
    finished: bool,
    read: Vec<u8>,
    /// Bytes that came and were not used up yet.
    unread: usize,
    peer_ended: bool,
    gone: bool,
    /// It ends before its time, when all that was written has come.
    failed: bool,
}

struct End {
    mux: Mux,
    role: Role,
    /// This process: a new number with each start.
    life: u64,
    halves: BTreeMap<u64, Half>,
}

struct World {
    rng: Rng,
    now: u64,
    hub: End,
    agent: End,
    linked: bool,
    sessions: u64,
    /// Frames on their way: to the agent, to the hub.
    wires: [Vec<Vec<u8>>; 2],
    lives: u64,
    counts: Counts,
    /// By life of hub and agent: each stream that was begun there.
    begun: BTreeSet<(u64, u64, u64)>,
    limits: Limits,
    /// Of all links of the hub.
    budget: Budget,
    /// An end of another link of the hub, whose peer is away.
    other: Mux,
    /// Whether there are any faults now.
    rough: bool,
}

/// Runs one seed, with a bug or without.
///
/// # Errors
/// What the model does not agree with.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Counts, String> {
    plant(bug);
    witness::forget();
    let mut world = World::new(seed);
    let ended = world.play();
    plant(None);
    ended.map(|()| world.counts).map_err(|why| format!("seed {seed}: {why}"))
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let limits = Limits {
            streams: 24,
            first_window: 2 << rng.u32(9..12),
            window: 4 << rng.u32(10..14),
            total: 64 * 1024,
            grace: 60_000,
            near: rng.u64(0..4),
            rate: rng.bool().then(|| rng.u64(20_000..400_000)),
            ..Limits::default()
        };
        let budget = Budget::new(rng.usize(0..100_000));
        let end = |role, life, budget| End { mux: Mux::sharing(role, limits, budget), role, life, halves: BTreeMap::new() };
        World {
            rng,
            now: 1,
            hub: end(Role::Hub, 1, budget.clone()),
            agent: end(Role::Agent, 2, Budget::default()),
            linked: false,
            sessions: 0,
            wires: Default::default(),
            lives: 2,
            counts: Counts::default(),
            begun: BTreeSet::new(),
            limits,
            other: Mux::sharing(Role::Hub, limits, budget.clone()),
            budget,
            rough: true,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.fault();
            self.step()?;
        }
        self.rough = false;
        let end = self.now + SETTLE;
        while self.now < end && !self.is_over() {
            if !self.linked {
                self.link();
            }
            self.step()?;
        }
        self.other = Mux::new(Role::Hub, self.limits);
        if self.is_over() { Ok(()) } else { Err(format!("something is left: {:?}; {:?}", self.hub.mux, self.agent.mux)) }
    }

    fn is_over(&self) -> bool {
        let is_empty = |end: &End| end.mux.streams() == 0 && end.mux.buffered() == 0 && end.halves.is_empty();
        let free = self.budget.kept() == self.other.buffered() && self.budget.widened() == 0;
        is_empty(&self.hub) && is_empty(&self.agent) && free
    }

    fn fault(&mut self) {
        match self.rng.u32(0..1_000) {
            0..40 if !self.linked => self.link(),
            40..50 if self.linked => self.cut(),
            50 => self.restart(true),
            51 => self.restart(false),
            60..80 => self.take_elsewhere(),
            _ => {}
        }
    }

    /// The other link takes some of the budget, or gives all of it back.
    fn take_elsewhere(&mut self) {
        if self.rng.bool() {
            self.other = Mux::sharing(Role::Hub, self.limits, self.budget.clone());
        } else if let Ok(id) = self.other.open(self.now) {
            self.other.write(id, &[0; 20_000], self.now);
        }
    }

    fn link(&mut self) {
        self.sessions += 1;
        self.linked = true;
        self.wires = Default::default();
        let cipher = if self.rng.bool() { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 };
        let (up, down) = (key(cipher, self.sessions, 1), key(cipher, self.sessions, 2));
        let packs = self.rng.u32(0..4) > 0;
        let session =
            |peer, send: &Key, receive: &Key| Session { peer, send: send.clone(), receive: receive.clone(), max_frame: MAX_FRAME, packs };
        self.hub.mux.connected(session(self.agent.life, &down, &up), self.now);
        self.agent.mux.connected(session(self.hub.life, &up, &down), self.now);
    }

    fn cut(&mut self) {
        self.counts.cuts += 1;
        self.linked = false;
        self.wires = Default::default();
        self.hub.mux.disconnected(self.now);
        self.agent.mux.disconnected(self.now);
    }

    fn restart(&mut self, hub: bool) {
        if self.linked {
            self.cut();
        }
        self.lives += 1;
        let (end, count) = match hub {
            true => (&mut self.hub, &mut self.counts.hub_starts),
            false => (&mut self.agent, &mut self.counts.agent_starts),
        };
        *count += 1;
        // What a process holds goes with it.
        let budget = if hub { self.budget.clone() } else { Budget::default() };
        *end = End { mux: Mux::sharing(end.role, self.limits, budget), role: end.role, life: self.lives, halves: BTreeMap::new() };
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += self.rng.u64(0..if self.linked { 120 } else { 1_500 });
        if self.rough && self.rng.u32(0..12) == 0 {
            self.open();
        }
        for hub in [true, false] {
            self.work(hub);
            self.transmit(hub)?;
        }
        self.deliver()?;
        for hub in [true, false] {
            let now = self.now;
            self.end(hub).mux.timeout(now);
            self.hear(hub)?;
        }
        Ok(())
    }

    fn end(&mut self, hub: bool) -> &mut End {
        if hub { &mut self.hub } else { &mut self.agent }
    }

    fn open(&mut self) {
        let now = self.now;
        if let Ok(id) = self.hub.mux.open(now) {
            self.counts.opened += 1;
            let left = self.rng.usize(0..MOST);
            self.hub.halves.insert(id, Half { left, ..Half::default() });
        }
    }

    /// Somebody at this end writes, reads, finishes or goes away.
    fn work(&mut self, hub: bool) {
        let (now, rough) = (self.now, self.rough);
        let mut rng = self.rng.fork();
        let end = self.end(hub);
        let ids: Vec<u64> = end.halves.keys().copied().collect();
        for id in ids {
            let Some(half) = end.halves.get_mut(&id).filter(|half| !half.failed) else { continue };
            if rough && rng.u32(0..200) == 0 {
                end.mux.fail(id, Code::Failed, "", now);
                (half.failed, half.gone) = (true, true);
                continue;
            }
            if rough && rng.u32(0..400) == 0 {
                end.mux.abandon(id, now);
                end.halves.remove(&id);
                continue;
            }
            if half.plain.is_none() && rng.u32(0..4) == 0 {
                end.mux.pack(id);
                half.plain = Some(half.wrote.len());
            }
            if half.left > 0 {
                let least = if rng.bool() { 0 } else { b'z' };
                let bytes: Vec<u8> = (0..rng.usize(1..9_000).min(half.left)).map(|_| rng.u8(least..)).collect();
                let taken = end.mux.write(id, &bytes, now);
                half.wrote.extend(&bytes[..taken]);
                half.left -= taken;
            } else if !half.finished {
                end.mux.finish(id, now);
                half.finished = true;
            }
            let used = rng.usize(0..=half.unread);
            half.unread -= used;
            end.mux.consumed(id, used, now);
            if half.finished && half.peer_ended {
                half.gone = true;
                end.mux.abandon(id, now);
            }
        }
    }

    fn transmit(&mut self, hub: bool) -> Result<(), String> {
        let (now, room) = (self.now, self.rng.usize(500..20_000));
        for _ in 0..self.rng.u32(0..4) {
            let Some(frame) = self.end(hub).mux.poll_transmit(room, now) else { break };
            self.counts.frames += 1;
            self.look(hub, &frame)?;
            self.wires[usize::from(!hub)].push(frame);
        }
        Ok(())
    }

    /// Only what may be packed travels packed.
    fn look(&mut self, hub: bool, frame: &[u8]) -> Result<(), String> {
        let is_data = frame::peek(frame).is_ok_and(|(header, _)| header.kind == Kind::StreamData);
        let Some(body) = witness::body(frame).filter(|_| is_data) else { return Ok(()) };
        let StreamData { id, offset, size, .. } = frame::body(Kind::StreamData, &body).map_err(|error| error.to_string())?;
        let may = |half: &Half| half.plain.is_some_and(|plain| plain as u64 <= offset);
        if size > 0 && !self.end(hub).halves.get(&id).is_none_or(may) {
            return Err(format!("stream {id} is packed from {offset} on, which has a credential"));
        }
        self.counts.packed += u64::from(size > 0);
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), String> {
        let now = self.now;
        for to_hub in [false, true] {
            let mut frames = std::mem::take(&mut self.wires[usize::from(to_hub)]);
            if self.rough && frames.len() > 1 && self.rng.u32(0..30) == 0 {
                self.counts.swapped += 1;
                frames.swap(0, 1);
            }
            for frame in frames {
                if self.rough && self.rng.u32(0..40) == 0 {
                    self.counts.lost += 1;
                    continue;
                }
                // A frame that came late is refused by its counter, which makes it a lost one.
                let _ = self.end(to_hub).mux.frame(frame.into(), now);
            }
        }
        Ok(())
    }

    fn hear(&mut self, hub: bool) -> Result<(), String> {
        while let Some(event) = self.end(hub).mux.poll_event() {
            match event {
                Event::Opened(id) => self.begin(id)?,
                Event::Data(id, data, ended) => {
                    self.counts.bytes += data.len() as u64;
                    let half = self.end(hub).halves.entry(id).or_default();
                    half.read.extend(&data);
                    half.unread += data.len();
                    half.peer_ended |= ended;
                    self.compare(hub, id)?;
                }
                Event::Writable(_) => {}
                Event::Reset(id, code, _) => {
                    if code == Code::Protocol {
                        return Err(format!("stream {id} broke the rules"));
                    }
                    self.counts.broken += 1;
                    let here = self.end(hub).halves.remove(&id).map_or(0, |half| half.read.len());
                    if code == Code::Failed
                        && let Some(failed) = self.end(!hub).halves.get(&id).filter(|half| half.failed)
                    {
                        if here != failed.wrote.len() {
                            return Err(format!("stream {id} failed after {here} of {} bytes", failed.wrote.len()));
                        }
                        self.counts.failed += 1;
                    }
                }
            }
        }
        self.settle(hub)
    }

    fn begin(&mut self, id: u64) -> Result<(), String> {
        if !self.begun.insert((self.hub.life, self.agent.life, id)) {
            return Err(format!("stream {id} was performed twice"));
        }
        let left = self.rng.usize(0..MOST);
        self.agent.halves.insert(id, Half { left, ..Half::default() });
        Ok(())
    }

    /// What came is the beginning of what was written, and all of it once it has ended.
    fn compare(&self, hub: bool, id: u64) -> Result<(), String> {
        let (here, there) = if hub { (&self.hub, &self.agent) } else { (&self.agent, &self.hub) };
        let (Some(read), Some(wrote)) = (here.halves.get(&id), there.halves.get(&id)) else { return Ok(()) };
        let len = read.read.len();
        if wrote.wrote.get(..len) != Some(&read.read[..]) {
            return Err(format!("stream {id}: the {len} bytes that came are not those that were written"));
        }
        if read.peer_ended && (len != wrote.wrote.len() || !wrote.finished) {
            return Err(format!("stream {id} ended after {len} of {} bytes", wrote.wrote.len()));
        }
        Ok(())
    }

    /// Streams whose both ends have everything are forgotten together, so that the model can compare until then.
    fn settle(&mut self, hub: bool) -> Result<(), String> {
        let done: Vec<u64> = self.end(hub).halves.iter().filter(|(_, half)| half.gone).map(|(id, _)| *id).collect();
        for id in done {
            let other = self.end(!hub).halves.get(&id);
            if other.is_none_or(|other| other.gone) {
                self.counts.completed += 1;
                self.hub.halves.remove(&id);
                self.agent.halves.remove(&id);
            }
        }
        Ok(())
    }
}

fn key(cipher: Cipher, session: u64, direction: u8) -> Key {
    let mut bytes = [direction; 32];
    bytes[..8].copy_from_slice(&session.to_be_bytes());
    Key::of(cipher, &bytes)
}
