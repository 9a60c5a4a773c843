//! A bad link between a site and the hub's side: TUN devices with this process between them, for there is no netem everywhere.
//!
//! It is a second link of a [`Site`], beside its plain one: what is said over [`Shaper::hub_address`] is shaped and passes a NAT, and
//! an observer's own connections are not. TCP connections pass whole, so loss and delay are what the programs' own kernel makes of them.
//!
//! The devices are opened by `tokio-tun`: opening one takes an ioctl, which the workspace leaves to crates, and this one brings nothing but nix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio_tun::Tun;

use self::direction::Direction;
use self::nat::Nat;
use crate::command::run_line;
use crate::net::{Site, lock_addresses};

mod direction;
mod nat;
mod packet;

pub use direction::{Fates, Shape};

/// Shared address space (RFC 6598), where NATs of carriers are; eight addresses a shaper.
const NETWORK: u32 = 0x6440_0000;
const SUBNETS: u32 = 1 << 19;
/// What the kernel hands over at most: the devices' MTU is 1,500.
const MAX_PACKET: usize = 2048;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the site to the hub.
    Up,
    /// From the hub to the site.
    Down,
}

/// What has become of all packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub up: Fates,
    pub down: Fates,
    /// Packets that the NAT let go nowhere.
    pub strangers: u64,
    /// How often the NAT forgot or moved.
    pub rebindings: u64,
    /// TCP connections that the site began.
    pub connections: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (way, fates) in [("up", self.up), ("down", self.down)] {
            let Fates { offered, delivered, delivered_bytes, lost, overflowed, cut, reordered } = fates;
            write!(f, "{way}: {offered} packets, {delivered} delivered ({delivered_bytes} bytes), {lost} lost, ")?;
            write!(f, "{overflowed} dropped by the queue, {cut} cut, {reordered} overtaken; ")?;
        }
        write!(f, "{} dropped by the NAT, {} rebindings, {} connections", self.strangers, self.rebindings, self.connections)
    }
}

/// A shaped link of a site; dropping it takes the link away.
#[derive(Debug)]
pub struct Shaper {
    site: Arc<Site>,
    subnet: u32,
    device: String,
    inner: Mutex<Ipv4Addr>,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    up: Direction,
    down: Direction,
    nat: Nat,
    strangers: u64,
    rebindings: u64,
}

impl Shaper {
    /// Gives a site a second link of this shape, both ways; what chance does follows from the seed and the packets.
    ///
    /// # Errors
    /// The kernel gives no TUN device, or no address is free.
    pub fn attach(site: &Arc<Site>, shape: Shape, seed: u64) -> Result<Self> {
        let lock = lock_addresses()?;
        let taken = run_line("ip -o -4 address show")?;
        let free = |subnet: &u32| !taken.contains(&format!(" {}/", host(*subnet, 1)));
        let subnet = (0..SUBNETS).find(free).context("no address is free for a shaped link")?;
        let [outer, device] = ["cs", "cx"].map(|kind| site.name().replacen("cn", kind, 1));
        let ways = (Direction::new(shape, seed), Direction::new(shape, seed ^ u64::MAX));
        let state = State { up: ways.0, down: ways.1, nat: Nat::new(host(subnet, 3)), strangers: 0, rebindings: 0 };
        let state = Arc::new(Mutex::new(state));
        let (stop, stopped) = oneshot::channel();
        let (ready, answer) = mpsc::channel();
        let (names, shared) = ([outer.clone(), device.clone()], Arc::clone(&state));
        let thread = std::thread::spawn(move || serve(&names, &shared, stopped, &ready));
        answer.recv().context("the shaper's thread has ended")??;
        let inner = Mutex::new(host(subnet, 2));
        let shaper = Self { site: Arc::clone(site), subnet, device, inner, state, stop: Some(stop), thread: Some(thread) };
        shaper.join(&outer)?;
        drop(lock);
        Ok(shaper)
    }

    fn join(&self, outer: &str) -> Result<()> {
        let (name, device) = (self.site.name(), &self.device);
        run_line(&format!("ip address add {}/29 dev {outer}", host(self.subnet, 1)))?;
        run_line(&format!("ip link set {outer} up"))?;
        run_line(&format!("ip link set {device} netns {name}"))?;
        run_line(&format!("ip -n {name} address add {}/29 dev {device}", host(self.subnet, 2)))?;
        run_line(&format!("ip -n {name} link set {device} up")).map(drop)
    }

    /// The hub side's address on this link: what the site's programs reach the hub at.
    #[must_use]
    pub fn hub_address(&self) -> IpAddr {
        host(self.subnet, 1).into()
    }

    /// The addresses that the site is seen at: now, and after it moved.
    #[must_use]
    pub fn outside(&self) -> [IpAddr; 2] {
        [3, 4].map(|number| host(self.subnet, number).into())
    }

    /// Gives one way another shape.
    pub fn set(&self, way: Way, shape: Shape) {
        self.lock().way(way).set(shape);
    }

    /// Cuts one way: whoever sends into it is not told.
    pub fn cut_one(&self, way: Way) {
        self.lock().way(way).cut(true);
    }

    /// Cuts both ways.
    pub fn cut(&self) {
        self.cut_one(Way::Up);
        self.cut_one(Way::Down);
    }

    /// Heals both ways.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.up.cut(false);
        state.down.cut(false);
    }

    /// The NAT forgets what it knew: later packets of old connections appear from other ports, and the hub's kernel resets them.
    pub fn rebind(&self) {
        let mut state = self.lock();
        state.nat.forget(false);
        state.rebindings += 1;
    }

    /// As [`Shaper::rebind`], and what does not begin a connection vanishes without a word.
    pub fn rebind_silently(&self) {
        let mut state = self.lock();
        state.nat.forget(true);
        state.rebindings += 1;
    }

    /// The NAT is seen at its other address from now on.
    pub fn move_outside(&self) {
        let mut state = self.lock();
        state.nat.move_to(host(self.subnet, 4));
        state.rebindings += 1;
    }

    /// The site itself gets another address, and loses the one it had, as after a new lease.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn renumber(&self) -> Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (*inner, if *inner == host(self.subnet, 2) { host(self.subnet, 5) } else { host(self.subnet, 2) });
        let (name, device) = (self.site.name(), &self.device);
        run_line(&format!("ip -n {name} address del {old}/29 dev {device}"))?;
        run_line(&format!("ip -n {name} address add {new}/29 dev {device}"))?;
        *inner = new;
        Ok(())
    }

    /// What has become of all packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            up: state.up.fates(),
            down: state.down.fates(),
            strangers: state.strangers,
            rebindings: state.rebindings,
            connections: state.nat.connections(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        // The devices go with their descriptors.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn way(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    fn leaves(&mut self, now: Duration, packet: &[u8]) {
        let mut packet = packet.to_vec();
        match self.nat.leave(&mut packet) {
            true => self.up.offer(now, packet),
            false => self.strangers += 1,
        }
    }

    /// The NAT is at the site: what comes back meets it at the end.
    fn arrives(&mut self, now: Duration) -> Option<Vec<u8>> {
        let mut packet = self.down.take(now)?;
        if self.nat.come_back(&mut packet) {
            return Some(packet);
        }
        self.strangers += 1;
        Some(Vec::new())
    }

    fn next(&self) -> Option<Duration> {
        self.up.next().into_iter().chain(self.down.next()).min()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host(subnet: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(NETWORK + 8 * subnet + number)
}

/// The shaper's thread: opens the devices, tells of it, and carries packets until it is stopped.
fn serve(names: &[String; 2], state: &Mutex<State>, stop: oneshot::Receiver<()>, ready: &mpsc::Sender<Result<()>>) {
    let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from);
    let outcome = outcome.and_then(|runtime| {
        let devices = {
            let _inside = runtime.enter();
            [open(&names[0])?, open(&names[1])?]
        };
        Ok((runtime, devices))
    });
    match outcome {
        Err(error) => drop(ready.send(Err(error))),
        Ok((runtime, [hub, site])) => {
            let _ = ready.send(Ok(()));
            runtime.block_on(async {
                tokio::select! {
                    // Its sender is only ever dropped.
                    _ = stop => {}
                    () = carry(&hub, &site, state) => {}
                }
            });
        }
    }
}

fn open(name: &str) -> Result<Tun> {
    let made = Tun::builder().name(name).build().with_context(|| format!("no TUN device {name}: /dev/net/tun is needed"))?;
    made.into_iter().next().context("no TUN device")
}

async fn carry(hub: &Tun, site: &Tun, state: &Mutex<State>) {
    let start = Instant::now();
    let (mut from_hub, mut from_site) = ([0; MAX_PACKET], [0; MAX_PACKET]);
    loop {
        let next = lock(state).next().map(|next| tokio::time::Instant::from_std(start + next));
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(read) = hub.recv(&mut from_hub) => lock(state).down.offer(start.elapsed(), from_hub[..read].to_vec()),
            Ok(read) = site.recv(&mut from_site) => lock(state).leaves(start.elapsed(), &from_site[..read]),
            () = due => {}
            else => return,
        }
        let now = start.elapsed();
        // What a device does not take, because it is down, is lost.
        while let Some(packet) = { lock(state).up.take(now) } {
            let _ = hub.try_send(&packet);
        }
        while let Some(packet) = { lock(state).arrives(now) } {
            let _ = site.try_send(&packet);
        }
    }
}
