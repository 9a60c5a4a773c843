//! The link itself: what passes between its two devices, and the thread that carries it.

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{Notify, oneshot};
use tokio_tun::Tun;

use super::direction::{Direction, Shape};
use super::nat::Nat;
use super::packet::{Which, end};
use super::resets::Resets;
use super::{Counts, Way};

/// What the kernel hands over at most: the devices' MTU is 1,500.
const MAX_PACKET: usize = 2048;

/// What the shaper's thread and everybody else have in common.
#[derive(Debug)]
pub struct Link {
    /// The moment that all times count from.
    begun: Instant,
    state: Mutex<State>,
    /// There are packets that no device has brought.
    forged: Notify,
}

#[derive(Debug)]
pub struct State {
    pub up: Direction,
    pub down: Direction,
    pub nat: Nat,
    resets: Resets,
    strangers: u64,
    pub rebindings: u64,
}

impl State {
    pub fn way(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    fn leaves(&mut self, now: Duration, packet: &[u8]) {
        let mut packet = packet.to_vec();
        if !self.nat.leave(&mut packet) {
            self.strangers += 1;
            return;
        }
        match self.resets.pass(&packet) {
            Ok(()) => self.up.offer(now, packet),
            Err(reset) => self.down.offer(now, reset),
        }
    }

    fn comes(&mut self, now: Duration, packet: &[u8]) {
        match self.resets.pass(packet) {
            Ok(()) => self.down.offer(now, packet.to_vec()),
            Err(reset) => self.up.offer(now, reset),
        }
    }

    fn reset(&mut self, now: Duration) {
        for way in [&mut self.up, &mut self.down] {
            way.cut(true);
            way.cut(false);
        }
        for reset in self.resets.break_all() {
            let is_for_hub = end(&reset, Which::Source).is_some_and(|from| self.nat.is_outside(from));
            let way = if is_for_hub { &mut self.up } else { &mut self.down };
            way.offer(now, reset);
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

    pub fn counts(&self) -> Counts {
        Counts {
            up: self.up.fates(),
            down: self.down.fates(),
            strangers: self.strangers,
            rebindings: self.rebindings,
            connections: self.nat.connections(),
        }
    }

    fn next(&self) -> Option<Duration> {
        self.up.next().into_iter().chain(self.down.next()).min()
    }
}

impl Link {
    /// Of this shape both ways, behind a NAT that is seen at `outside`.
    pub fn new(shape: Shape, seed: u64, outside: Ipv4Addr) -> Link {
        let (up, down) = (Direction::new(shape, seed), Direction::new(shape, seed ^ u64::MAX));
        let state = State { up, down, nat: Nat::new(outside), resets: Resets::default(), strangers: 0, rebindings: 0 };
        Link { begun: Instant::now(), state: Mutex::new(state), forged: Notify::new() }
    }

    /// Resets every connection.
    pub fn reset(&self) {
        self.lock().reset(self.begun.elapsed());
        self.forged.notify_one();
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shaper's thread: opens the devices, tells of it, and carries packets until it is stopped.
pub fn serve(names: &[String; 2], link: &Link, stop: oneshot::Receiver<()>, ready: &mpsc::Sender<Result<()>>) {
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
                    () = carry(&hub, &site, link) => {}
                }
            });
        }
    }
}

fn open(name: &str) -> Result<Tun> {
    let made = Tun::builder().name(name).build().with_context(|| format!("no TUN device {name}: /dev/net/tun is needed"))?;
    made.into_iter().next().context("no TUN device")
}

async fn carry(hub: &Tun, site: &Tun, link: &Link) {
    let start = link.begun;
    let (mut from_hub, mut from_site) = ([0; MAX_PACKET], [0; MAX_PACKET]);
    loop {
        let next = link.lock().next().map(|next| tokio::time::Instant::from_std(start + next));
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(read) = hub.recv(&mut from_hub) => link.lock().comes(start.elapsed(), &from_hub[..read]),
            Ok(read) = site.recv(&mut from_site) => link.lock().leaves(start.elapsed(), &from_site[..read]),
            () = due => {}
            () = link.forged.notified() => {}
            else => return,
        }
        let now = start.elapsed();
        // What a device does not take, because it is down, is lost.
        while let Some(packet) = { link.lock().up.take(now) } {
            let _ = hub.try_send(&packet);
        }
        while let Some(packet) = { link.lock().arrives(now) } {
            let _ = site.try_send(&packet);
        }
    }
}
