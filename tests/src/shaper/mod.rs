//! A bad link between a site and the hub's side: TUN devices with this process between them, for there is no netem everywhere.
//!
//! It is a further link of a [`Site`], beside its plain one: what is said over [`Shaper::hub_address`] is shaped and passes a NAT, and
//! an observer's own connections are not. TCP connections pass whole, so loss and delay are what the programs' own kernel makes of them.
//!
//! The devices are opened by `tokio-tun`: opening one takes an ioctl, which the workspace leaves to crates, and this one brings nothing but nix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use self::link::{Link, State};
use crate::command::run_line;
use crate::net::{Site, lock_addresses};
use crate::scratch::unique_name;

mod direction;
mod link;
mod nat;
mod packet;
mod resets;

pub use direction::{Fates, Shape};

/// Shared address space (RFC 6598), where NATs of carriers are; eight addresses a shaper.
const NETWORK: u32 = 0x6440_0000;
const SUBNETS: u32 = 1 << 19;

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
    outer: String,
    device: String,
    inner: Mutex<Ipv4Addr>,
    link: Arc<Link>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shaper {
    /// Gives a site a further link of this shape, both ways; what chance does follows from the seed and the packets.
    ///
    /// # Errors
    /// The kernel gives no TUN device, or no address is free.
    pub fn attach(site: &Arc<Site>, shape: Shape, seed: u64) -> Result<Self> {
        let lock = lock_addresses()?;
        let taken = run_line("ip -o -4 address show")?;
        let free = |subnet: &u32| !taken.contains(&format!(" {}/", host(*subnet, 1)));
        let subnet = (0..SUBNETS).find(free).context("no address is free for a shaped link")?;
        let name = unique_name();
        let [outer, device] = ["cs", "cx"].map(|kind| name.replacen("cn", kind, 1));
        let link = Arc::new(Link::new(shape, seed, host(subnet, 3)));
        let (stop, stopped) = oneshot::channel();
        let (ready, answer) = mpsc::channel();
        let (names, shared) = ([outer.clone(), device.clone()], Arc::clone(&link));
        let thread = std::thread::spawn(move || link::serve(&names, &shared, stopped, &ready));
        answer.recv().context("the shaper's thread has ended")??;
        let inner = Mutex::new(host(subnet, 2));
        let shaper = Self { site: Arc::clone(site), subnet, outer, device, inner, link, stop: Some(stop), thread: Some(thread) };
        shaper.join()?;
        drop(lock);
        Ok(shaper)
    }

    fn join(&self) -> Result<()> {
        let (name, outer, device) = (self.site.name(), &self.outer, &self.device);
        run_line(&format!("ip address add {}/29 dev {outer}", host(self.subnet, 1)))?;
        run_line(&format!("ip link set {outer} up"))?;
        run_line(&format!("ip link set {device} netns {name}"))?;
        run_line(&format!("ip -n {name} address add {}/29 dev {device}", host(self.subnet, 2)))?;
        run_line(&format!("ip -n {name} link set {device} up")).map(drop)
    }

    /// The device at the hub's side.
    #[must_use]
    pub fn outer(&self) -> &str {
        &self.outer
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

    /// Resets every TCP connection at both of its ends, as a firewall on the way does; what is on the link is gone.
    pub fn reset(&self) {
        self.link.reset();
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
        self.lock().counts()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.link.lock()
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

fn host(subnet: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(NETWORK + 8 * subnet + number)
}
