//! The networks of pods and Services, from what a cluster shows of itself: nothing is written or tried.
//!
//! In this order. Services: the ServiceCIDR objects of Kubernetes 1.33 and later; the arguments of kube-apiserver, then of
//! kube-controller-manager, where these run as pods. Pods: the arguments of kube-controller-manager, then of kube-proxy; at last the
//! smallest network that holds all nodes' pod networks. That takes the right to list `servicecidrs`, and pods of `kube-system`; a way
//! that is refused finds nothing, and the next one is tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::api::{Accept, Api, Failure, PAGE, escape};
use crate::cluster::object::{PartialList, null_as_empty};

/// Shortest prefix of a network that is said to hold the nodes' pod networks: a wider one says nothing.
const WIDEST: u8 = 8;

/// Networks as they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Networks {
    pub(super) pods: Option<String>,
    pub(super) services: Option<String>,
}

/// Looks for the networks; one that cannot be found is absent.
///
/// # Errors
/// The server does not answer.
pub(super) async fn find(api: &Api) -> Result<Networks, Failure> {
    let manager = program(api, "component=kube-controller-manager").await?;
    let mut services = service_cidrs(api).await?;
    if services.is_none() {
        services = program(api, "component=kube-apiserver").await?.argument("service-cluster-ip-range");
    }
    let mut pods = manager.argument("cluster-cidr");
    if pods.is_none() {
        pods = program(api, "k8s-app=kube-proxy").await?.argument("cluster-cidr");
    }
    Ok(Networks { pods, services: services.or_else(|| manager.argument("service-cluster-ip-range")) })
}

/// What the API itself says of the Services' networks; `None` before Kubernetes 1.33, and where the agent may not ask.
async fn service_cidrs(api: &Api) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct ServiceCidr {
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(default, deserialize_with = "null_as_empty")]
        cidrs: Vec<String>,
    }
    let path = format!("/apis/networking.k8s.io/v1/servicecidrs?limit={PAGE}");
    let found: Vec<ServiceCidr> = listed(api, &path).await?;
    Ok(networks(&found.into_iter().flat_map(|found| found.spec.cidrs).collect::<Vec<_>>().join(",")))
}

/// One page of a list; empty where the agent may not ask, or nobody serves it.
async fn listed<T: DeserializeOwned>(api: &Api, path: &str) -> Result<Vec<T>, Failure> {
    match api.get::<PartialList<T>>(path, Accept::Whole).await {
        Ok(list) => Ok(list.items),
        Err(Failure::Status(_)) => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

/// The first pod of `kube-system` with this label, of which only the command line is read.
async fn program(api: &Api, label: &str) -> Result<Program, Failure> {
    let path = format!("/api/v1/namespaces/kube-system/pods?limit=1&labelSelector={}", escape(label));
    let found: Vec<Program> = listed(api, &path).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct Program {
    #[serde(default)]
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
struct PodSpec {
    #[serde(default, deserialize_with = "null_as_empty")]
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    #[serde(deserialize_with = "null_as_empty")]
    command: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    args: Vec<String>,
}

impl Program {
    /// The networks that an argument names: `--NAME=VALUE`, `--NAME VALUE`, also within a shell's one argument.
    fn argument(&self, name: &str) -> Option<String> {
        let lines = self.spec.containers.iter().flat_map(|container| container.command.iter().chain(&container.args));
        let mut words = lines.flat_map(|line| line.split_whitespace());
        while let Some(word) = words.next() {
            let value = match word.strip_prefix("--").and_then(|word| word.strip_prefix(name)) {
                Some("") => words.next(),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            if let Some(found) = value.and_then(|value| networks(value.trim_matches(['"', '\'']))) {
                return Some(found);
            }
        }
        None
    }
}

/// The text, if it is networks separated by commas.
pub(super) fn networks(text: &str) -> Option<String> {
    text.split(',').all(|part| Network::parse(part).is_some()).then(|| text.to_owned())
}

/// The smallest network that holds all that were added.
#[derive(Default)]
pub(super) struct Cover(Option<Network>);

impl Cover {
    /// Adds a network; anything else, and another family than the first one's, changes nothing.
    pub(super) fn add(&mut self, text: &str) {
        let Some(new) = Network::parse(text) else { return };
        self.0 = Some(self.0.map_or(new, |sum| sum.joined(new)));
    }

    /// The network, unless it is so wide that it says nothing.
    pub(super) fn finish(self) -> Option<String> {
        self.0.filter(|network| network.prefix >= WIDEST).map(Network::text)
    }
}

/// An address block. Addresses of IPv4 stand in the upper 32 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Network {
    four: bool,
    start: u128,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u8 = prefix.parse().ok()?;
        let (four, bits, longest) = match address.parse().ok()? {
            IpAddr::V4(address) => (true, u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (false, u128::from(address), 128),
        };
        (prefix <= longest).then(|| Network { four, start: masked(bits, prefix), prefix })
    }

    fn joined(self, other: Network) -> Network {
        if self.four != other.four {
            return self;
        }
        let common = (self.start ^ other.start).leading_zeros() as u8;
        let prefix = self.prefix.min(other.prefix).min(common);
        Network { start: masked(self.start, prefix), prefix, ..self }
    }

    fn text(self) -> String {
        let address = match self.four {
            true => IpAddr::V4(Ipv4Addr::from((self.start >> 96) as u32)),
            false => IpAddr::V6(Ipv6Addr::from(self.start)),
        };
        format!("{address}/{}", self.prefix)
    }
}

fn masked(bits: u128, prefix: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &[&str], args: &[&str]) -> Program {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Program { spec: PodSpec { containers: vec![Container { command: words(command), args: words(args) }] } }
    }

    #[test]
    fn an_argument_is_found_in_every_form() {
        for program in [
            program(&["kube-controller-manager", "--cluster-cidr=10.244.0.0/16", "--v=2"], &[]),
            program(&["kube-controller-manager"], &["--cluster-cidr", "10.244.0.0/16"]),
            program(&["/bin/sh", "-c", "exec kube-controller-manager --v=2 --cluster-cidr='10.244.0.0/16' --x"], &[]),
            program(&["--cluster-cidr=$(WRONG)"], &["--cluster-cidr=10.244.0.0/16"]),
        ] {
            assert_eq!(program.argument("cluster-cidr").as_deref(), Some("10.244.0.0/16"));
        }
        let dual = program(&["--cluster-cidr=10.244.0.0/16,fd00:10:244::/56"], &[]);
        assert_eq!(dual.argument("cluster-cidr").as_deref(), Some("10.244.0.0/16,fd00:10:244::/56"));
        for odd in [program(&["--cluster-cidr"], &[]), program(&["--cluster-cidr-x=10.0.0.0/8"], &[]), Program::default()] {
            assert_eq!(odd.argument("cluster-cidr"), None);
        }
    }

    #[test]
    fn only_networks_pass() {
        for odd in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/8,", "a/8", "10.0.0.0/8 "] {
            assert_eq!(networks(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_cover_of_the_nodes_networks_is_the_smallest_and_says_nothing_rather_than_everything() {
        let cover = |texts: &[&str]| {
            let mut cover = Cover::default();
            texts.iter().for_each(|text| cover.add(text));
            cover.finish()
        };
        assert_eq!(cover(&["10.42.0.0/24"]).as_deref(), Some("10.42.0.0/24"));
        assert_eq!(cover(&["10.42.0.0/24", "", "odd", "10.42.5.0/24", "fd00::/64"]).as_deref(), Some("10.42.0.0/21"));
        assert_eq!(cover(&["fd00:10:244::/64", "fd00:10:244:1::/64"]).as_deref(), Some("fd00:10:244::/63"));
        assert_eq!(cover(&["10.0.0.0/24", "192.168.0.0/24"]), None);
        assert_eq!(cover(&[]), None);
    }
}
