//! A site of the edge: a network namespace joined to this process's own by one veth pair, which can be cut.
//!
//! The hub's side is the root namespace, at the site's gateway address. Addresses come from 198.18.0.0/15 (set aside for
//! tests, RFC 2544), four a site; nothing is forwarded between sites. Interface names have at most 15 characters.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{require_root, run_line};
use crate::scratch::unique_name;
use crate::sweep;

const NETWORK: u32 = 0xC612_0000;
const SUBNETS: u32 = 1 << 15;
const LOCK: &str = "/run/lock/clusternet-edge-testbed";
const NAMESPACES: &str = "/var/run/netns";

/// Bytes and packets on a site's link, Ethernet headers included, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkBytes {
    /// Bytes from the hub's side to the site.
    pub to_site: u64,
    /// Bytes from the site.
    pub from_site: u64,
    /// Packets both ways.
    pub packets: u64,
}

impl LinkBytes {
    /// Bytes both ways at the IP layer: without the 14 bytes of Ethernet header a packet.
    #[must_use]
    pub fn ip(self) -> u64 {
        (self.to_site + self.from_site).saturating_sub(14 * self.packets)
    }
}

/// A network namespace with a link to the hub's side.
#[derive(Debug)]
pub struct Site {
    name: String,
    hub_link: String,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
}

impl Site {
    /// Makes a namespace, its veth pair, addresses and default route.
    ///
    /// # Errors
    /// When not root, or when the kernel refuses.
    pub fn create() -> Result<Arc<Self>> {
        static SWEEP: Once = Once::new();
        require_root()?;
        SWEEP.call_once(sweep::sweep_dead_runs);
        let lock = lock_addresses()?;
        let subnet = free_subnet(&run_line("ip -o -4 address show")?).context("no free test addresses")?;
        let name = unique_name();
        let site = Self { hub_link: hub_link(&name), name, gateway: host(subnet, 1), address: host(subnet, 2) };
        site.build()?;
        drop(lock);
        Ok(Arc::new(site))
    }

    fn build(&self) -> Result<()> {
        let Self { name, hub_link, address, gateway } = self;
        run_line(&format!("ip netns add {name}"))?;
        run_line(&format!("ip link add {hub_link} type veth peer name eth0 netns {name}"))?;
        run_line(&format!("ip address add {gateway}/30 dev {hub_link}"))?;
        run_line(&format!("ip link set {hub_link} up"))?;
        for command in ["link set lo up", "link set eth0 up"] {
            run_line(&format!("ip -n {name} {command}"))?;
        }
        run_line(&format!("ip -n {name} address add {address}/30 dev eth0"))?;
        run_line(&format!("ip -n {name} route add default via {gateway}"))?;
        Ok(())
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that `nsenter --net=` takes.
    #[must_use]
    pub fn namespace_file(&self) -> PathBuf {
        PathBuf::from(NAMESPACES).join(&self.name)
    }

    /// The site's own address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// The hub side's address on this link: what the site's programs reach the hub, or a relay, at.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.gateway.into()
    }

    /// Cuts the link: packets are lost both ways, connections stay as they are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn down(&self) -> Result<()> {
        run_line(&format!("ip link set {} down", self.hub_link)).map(drop)
    }

    /// Heals the link.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn up(&self) -> Result<()> {
        run_line(&format!("ip link set {} up", self.hub_link)).map(drop)
    }

    /// What has passed over the link so far.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn link_bytes(&self) -> Result<LinkBytes> {
        let to_site = self.counter("tx_bytes")?;
        let from_site = self.counter("rx_bytes")?;
        Ok(LinkBytes { to_site, from_site, packets: self.counter("tx_packets")? + self.counter("rx_packets")? })
    }

    fn counter(&self, name: &str) -> Result<u64> {
        let path = format!("/sys/class/net/{}/statistics/{name}", self.hub_link);
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        text.trim().parse().with_context(|| format!("{path} holds no number"))
    }

    /// Runs a command line (no quoting) in the site's namespace and returns its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, line: &str) -> Result<String> {
        run_line(&format!("nsenter --net={} {line}", self.namespace_file().display()))
    }

    /// Does something in the site's namespace; sockets that it opens stay there.
    ///
    /// # Errors
    /// When the namespace can't be entered, or what `what` says.
    pub fn within<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.namespace_file();
        let namespace = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
        // A thread that ends, for it can't be sure to get back.
        let inside = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).context("can't enter the namespace")?;
            what()
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Lets what is sent to `from` (address:port) inside the site arrive at `to`, for the site's programs and its pods.
    pub(crate) fn redirect(&self, from: (Ipv4Addr, u16), to: u16) -> Result<()> {
        let (address, port) = from;
        for chain in ["PREROUTING", "OUTPUT"] {
            let target = format!("-j DNAT --to {}:{to}", self.address);
            self.run(&format!("iptables -t nat -A {chain} -d {address}/32 -p tcp --dport {port} {target}"))?;
        }
        self.run("sysctl -qw net.ipv4.ip_forward=1").map(drop)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("{error:#}");
        }
    }
}

/// Held until a chosen address is on an interface: test processes run side by side.
pub(crate) fn lock_addresses() -> Result<File> {
    let lock = File::create(LOCK).with_context(|| format!("can't write {LOCK}"))?;
    lock.lock().with_context(|| format!("can't lock {LOCK}"))?;
    Ok(lock)
}

/// Removes a namespace and its link; whatever is already gone is passed over.
pub fn remove(namespace: &str) -> Result<()> {
    let link = hub_link(namespace);
    if fs::exists(format!("/sys/class/net/{link}"))? {
        run_line(&format!("ip link del {link}"))?;
    }
    if fs::exists(format!("{NAMESPACES}/{namespace}"))? {
        run_line(&format!("ip netns del {namespace}"))?;
    }
    Ok(())
}

/// The names of all network namespaces.
pub fn namespaces() -> Vec<String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn hub_link(namespace: &str) -> String {
    namespace.replacen("cn", "ch", 1)
}

fn host(subnet: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(NETWORK + 4 * subnet + number)
}

fn free_subnet(addresses: &str) -> Result<u32> {
    let taken = |subnet: &u32| addresses.contains(&format!(" {}/", host(*subnet, 1)));
    match (0..SUBNETS).find(|subnet| !taken(subnet)) {
        Some(subnet) => Ok(subnet),
        None => bail!("all {SUBNETS} subnets are taken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_in_use_is_passed_over() {
        assert_eq!(host(free_subnet("").unwrap(), 1), Ipv4Addr::new(198, 18, 0, 1));
        let taken = "3: ch1-1    inet 198.18.0.1/30 scope global ch1-1";
        assert_eq!(host(free_subnet(taken).unwrap(), 2), Ipv4Addr::new(198, 18, 0, 6));
        let longer = "3: ch1-1    inet 198.18.0.17/30 scope global ch1-1";
        assert_eq!(free_subnet(longer).unwrap(), 0);
    }

    #[test]
    fn ethernet_headers_are_taken_off() {
        assert_eq!(LinkBytes { to_site: 114, from_site: 54, packets: 2 }.ip(), 140);
    }
}
