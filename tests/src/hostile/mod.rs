//! A broker that is not on our side, between real agents and a real hub on a bus without TLS: it reads every MQTT packet, keeps every
//! frame of everybody, and drops, damages, delays, repeats, reflects and swaps them as it likes. It has no keys.
//!
//! What it passes on untouched stays in order, as MQTT has it. It can be ended and started again, and then knows nobody.

mod packet;

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bus_schema::greeting::no_session;
use bus_schema::id::Sid;
use bus_schema::topic::{Direction, Topic};
use socket2::SockRef;

use self::packet::{Publish, read};

/// Frames of the past that it keeps.
const ARCHIVE: usize = 4096;
/// Bytes of everything that passed that it keeps.
const SEEN: usize = 64 << 20;

/// What it has done to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    pub passed: u64,
    pub dropped: u64,
    /// A bit flipped, or bytes cut off or added.
    pub damaged: u64,
    /// Held until the next of its direction had passed.
    pub delayed: u64,
    /// A frame of the past once more, to where it went then.
    pub replayed: u64,
    /// An agent's or the hub's own frame sent back to it.
    pub reflected: u64,
    /// A frame of another agent's link.
    pub swapped: u64,
    /// A false word that the hub does not know the session.
    pub hinted: u64,
    /// Frames to agents that were swallowed while it was frozen.
    pub frozen: u64,
}

impl Deeds {
    /// Whether every kind of harm was done at least once.
    #[must_use]
    pub fn are_of_every_kind(self) -> bool {
        [self.dropped, self.damaged, self.delayed, self.replayed, self.reflected, self.swapped, self.hinted, self.frozen]
            .iter()
            .all(|count| *count > 0)
    }
}

/// How long the port may take to be free again.
const FREE_WITHIN: Duration = Duration::from_secs(5);

/// A broker; dropping it ends its connections.
pub struct HostileBroker {
    address: SocketAddr,
    /// While it runs.
    listener: Mutex<Option<Arc<TcpListener>>>,
    shared: Arc<Shared>,
}

struct Shared {
    hub: SocketAddr,
    /// Percent of frames that something is done to.
    hostility: AtomicU8,
    frozen: AtomicBool,
    ended: AtomicBool,
    /// Bytes that agents said.
    passed: AtomicU64,
    random: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    archive: Vec<Frame>,
    seen: Vec<u8>,
    deeds: Deeds,
    open: Vec<Arc<Link>>,
}

/// One frame that passed.
#[derive(Clone)]
struct Frame {
    sid: Sid,
    direction: Direction,
    bytes: Vec<u8>,
}

/// One agent's connection and its other half.
struct Link {
    agent: TcpStream,
    hub: TcpStream,
    /// Held while a packet is written: one at a time on each.
    to_agent: Mutex<()>,
    to_hub: Mutex<()>,
}

impl HostileBroker {
    /// Listens on loopback and passes connections on to a hub's bus; it harms nothing before [`HostileBroker::harm`].
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(hub: SocketAddr) -> Result<HostileBroker> {
        let listener = TcpListener::bind("127.0.0.1:0").context("the broker can't listen")?;
        let shared = Arc::new(Shared {
            hub,
            hostility: AtomicU8::new(0),
            frozen: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            state: Mutex::default(),
        });
        let broker = HostileBroker { address: listener.local_addr()?, listener: Mutex::default(), shared };
        broker.serve(listener);
        Ok(broker)
    }

    fn serve(&self, listener: TcpListener) {
        let (listener, shared) = (Arc::new(listener), self.shared.clone());
        *self.listening() = Some(listener.clone());
        thread::spawn(move || {
            while let Ok((agent, _)) = listener.accept() {
                let shared = shared.clone();
                thread::spawn(move || shared.connect(agent));
            }
        });
    }

    fn listening(&self) -> MutexGuard<'_, Option<Arc<TcpListener>>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: every connection, and whoever connects is refused.
    pub fn stop(&self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.lock().open.iter().for_each(|link| link.close());
        if let Some(listener) = self.listening().take() {
            let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
        }
    }

    /// Starts it again, at the same address.
    ///
    /// # Errors
    /// The port does not become free.
    pub fn start_again(&self) -> Result<()> {
        let deadline = Instant::now() + FREE_WITHIN;
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error).context("the broker can't listen again"),
            }
        };
        self.shared.ended.store(false, Ordering::SeqCst);
        self.serve(listener);
        Ok(())
    }

    /// Bytes that agents have said, all packets counted.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// The bus that agents are told of.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Does something to so many percent of the frames from now on; 0 makes it honest.
    pub fn harm(&self, percent: u8) {
        self.shared.hostility.store(percent, Ordering::SeqCst);
    }

    /// Swallows everything that is for agents, and leaves their connections open.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.store(frozen, Ordering::SeqCst);
    }

    #[must_use]
    pub fn deeds(&self) -> Deeds {
        self.shared.lock().deeds
    }

    /// Every byte that passed, both ways.
    #[must_use]
    pub fn seen(&self) -> Vec<u8> {
        self.shared.lock().seen.clone()
    }
}

impl Drop for HostileBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// xorshift64*: what is done does not matter, only that it is much and of every kind.
    fn draw(&self, below: usize) -> usize {
        let step = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let drawn = self.random.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(step(x))).unwrap_or_default();
        usize::try_from(step(drawn).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or_default() % below.max(1)
    }

    fn connect(self: &Arc<Self>, agent: TcpStream) {
        let Ok(link) = TcpStream::connect(self.hub).and_then(|hub| Link::open(agent, hub)) else { return };
        let link = Arc::new(link);
        self.lock().open.push(link.clone());
        if self.ended.load(Ordering::SeqCst) {
            return link.close();
        }
        let (upward, shared) = (link.clone(), self.clone());
        thread::spawn(move || shared.pump(&upward, Direction::Up));
        self.pump(&link, Direction::Down);
        self.lock().open.retain(|open| !Arc::ptr_eq(open, &link));
    }

    fn pump(&self, link: &Link, direction: Direction) {
        let mut from = match direction {
            Direction::Up => &link.agent,
            Direction::Down => &link.hub,
        };
        let mut held = None;
        while let Ok(packet) = read(&mut from) {
            if direction == Direction::Up {
                self.passed.fetch_add(packet.len() as u64, Ordering::SeqCst);
            }
            {
                let mut state = self.lock();
                if state.seen.len() + packet.len() <= SEEN {
                    state.seen.extend(&packet);
                }
            }
            let out = match Publish::parse(&packet).and_then(|publish| Frame::of(&publish)) {
                Some(frame) => self.meddle(frame, &mut held),
                None => vec![(direction, packet)],
            };
            if out.into_iter().any(|(direction, packet)| link.write(direction, &packet).is_err()) {
                break;
            }
        }
        link.close();
    }

    /// What goes where in place of a frame.
    fn meddle(&self, frame: Frame, held: &mut Option<Frame>) -> Vec<(Direction, Vec<u8>)> {
        let is_hostile = self.draw(100) < usize::from(self.hostility.load(Ordering::SeqCst));
        let (choice, at, bit) = (self.draw(8), self.draw(frame.bytes.len()), self.draw(8));
        let frozen = self.frozen.load(Ordering::SeqCst);
        let mut state = self.lock();
        let past = if state.archive.is_empty() { None } else { state.archive.get(self.draw(state.archive.len())).cloned() };
        state.keep(&frame);
        let deeds = &mut state.deeds;
        if frozen && frame.direction == Direction::Down {
            deeds.frozen += 1;
            return Vec::new();
        }
        let mut out: Vec<Frame> = Vec::new();
        match (is_hostile, choice) {
            (true, 0) => deeds.dropped += 1,
            (true, 1 | 2) => {
                deeds.damaged += 1;
                out.push(frame.clone().damaged(at, bit));
            }
            (true, 3) if held.is_none() => {
                deeds.delayed += 1;
                *held = Some(frame.clone());
                return Vec::new();
            }
            (true, 4) => {
                out.push(frame.clone());
                out.extend(past.filter(|past| past.sid == frame.sid).inspect(|_| deeds.replayed += 1));
            }
            (true, 5) => {
                let direction = if frame.direction == Direction::Up { Direction::Down } else { Direction::Up };
                deeds.reflected += 1;
                out.extend([frame.clone(), Frame { direction, ..frame.clone() }]);
            }
            (true, 6) => {
                out.extend(
                    past.filter(|past| past.sid != frame.sid).map(|past| Frame { sid: frame.sid, ..past }).inspect(|_| deeds.swapped += 1),
                );
                out.push(frame.clone());
            }
            (true, 7) => {
                deeds.hinted += 1;
                out.extend([frame.clone(), Frame { direction: Direction::Down, bytes: no_session(), ..frame.clone() }]);
            }
            _ => {
                deeds.passed += 1;
                out.push(frame.clone());
            }
        }
        out.extend(held.take());
        out.into_iter().map(|frame| (frame.direction, frame.packet())).collect()
    }
}

impl State {
    fn keep(&mut self, frame: &Frame) {
        if self.archive.len() == ARCHIVE {
            self.archive.remove(0);
        }
        self.archive.push(frame.clone());
    }
}

impl Frame {
    fn of(publish: &Publish<'_>) -> Option<Frame> {
        match Topic::parse(publish.topic)? {
            Topic::Main(sid, direction) => Some(Frame { sid, direction, bytes: publish.payload.to_vec() }),
            _ => None,
        }
    }

    fn packet(&self) -> Vec<u8> {
        packet::publish(&Topic::Main(self.sid, self.direction).to_string(), &self.bytes)
    }

    fn damaged(mut self, at: usize, bit: usize) -> Frame {
        match bit {
            6 => self.bytes.truncate(at),
            7 => self.bytes.push(0),
            _ => self.bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit),
        }
        self
    }
}

impl Link {
    fn open(agent: TcpStream, hub: TcpStream) -> io::Result<Link> {
        agent.set_nodelay(true)?;
        hub.set_nodelay(true)?;
        Ok(Link { agent, hub, to_agent: Mutex::default(), to_hub: Mutex::default() })
    }

    fn write(&self, direction: Direction, packet: &[u8]) -> io::Result<()> {
        let (turn, mut to) = match direction {
            Direction::Up => (&self.to_hub, &self.hub),
            Direction::Down => (&self.to_agent, &self.agent),
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(packet)
    }

    fn close(&self) {
        let _ = self.agent.shutdown(Shutdown::Both);
        let _ = self.hub.shutdown(Shutdown::Both);
    }
}
