//! The networks of a node's Pods: bridges, and what a network plugin puts on a Pod's devices.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use mooring_lab::Namespace;

/// All networks of a lab. The cluster's own, `default`, has the node on it, in the corner's first
/// namespace; the others have only who joins them.
#[derive(Debug)]
pub struct Networks {
    switch: Namespace,
    others: Vec<Network>,
    pods: AtomicU8,
}

/// A network that Pods have devices on.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// Its name in annotations and routes.
    pub name: &'static str,
    /// The first three bytes of its /24.
    pub v4: [u8; 3],
    /// Its /64.
    pub v6: Option<Ipv6Addr>,
}

impl Networks {
    /// Makes the bridges.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn new(others: &[Network]) -> Result<Self> {
        let switch = Namespace::create("switch")?;
        let [a, b, c] = CLUSTER.v4;
        here(&format!(
            "link add {0} type bridge\naddress add {a}.{b}.{c}.1/24 dev {0}\nlink set {0} up\n",
            bridge(CLUSTER.name)
        ))?;
        for network in others {
            let bridge = bridge(network.name);
            switch.ip(&format!("link add {bridge} type bridge\nlink set {bridge} up\n"))?;
        }
        Ok(Self { switch, others: others.to_vec(), pods: AtomicU8::new(0) })
    }

    /// Connects a namespace's new device to a network, without any address.
    ///
    /// # Errors
    /// When there is no such network, or the device is there already.
    pub fn join(&self, namespace: &Namespace, network: &str, device: &str) -> Result<()> {
        let port = format!("port{}", PORTS.fetch_add(1, Ordering::Relaxed));
        let bridge = bridge(network);
        let lines = format!(
            "link add {port} type veth peer name {device} netns {}\n\
             link set {port} master {bridge} up\n",
            namespace.name()
        );
        if network == CLUSTER.name {
            here(&lines)?;
        } else {
            self.find(network)?;
            self.switch.ip(&lines)?;
        }
        namespace.ip(&format!("link set {device} up"))
    }

    /// Gives a Pod its devices, pairs of a device and its network, with the addresses of number `pod`
    /// on them, and returns the address on the cluster's network.
    ///
    /// # Errors
    /// When there is no such network.
    pub(super) fn equip(&self, pod: &Namespace, devices: &[(String, String)]) -> Result<Ipv4Addr> {
        let number = FIRST + self.pods.fetch_add(1, Ordering::Relaxed) % (u8::MAX - FIRST);
        let mut own = None;
        for (device, network) in devices {
            let network = self.find(network)?;
            self.join(pod, network.name, device)?;
            let [a, b, c] = network.v4;
            let v4 = Ipv4Addr::new(a, b, c, number);
            pod.ip(&format!("address add {v4}/24 dev {device}"))?;
            if let Some(prefix) = network.v6 {
                let v6 = Ipv6Addr::from(u128::from(prefix) | u128::from(number));
                pod.ip(&format!("address add {v6}/64 dev {device} nodad"))?;
            }
            if network.name == CLUSTER.name {
                pod.ip(&format!("route add default via {a}.{b}.{c}.1"))?;
                own = Some(v4);
            }
        }
        own.context("a Pod without a device on the cluster's network")
    }

    fn find(&self, name: &str) -> Result<Network> {
        let mut all = self.others.iter().chain([&CLUSTER]);
        let found = all.find(|network| network.name == name).copied();
        found.with_context(|| format!("no network {name}"))
    }
}

/// `ip` commands in the corner's first namespace, the node's.
fn here(lines: &str) -> Result<()> {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    ip.stdin.take().context("stdin is piped")?.write_all(lines.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip: {lines}");
    Ok(())
}

fn bridge(network: &str) -> String {
    format!("mtest-{network}")
}

/// The cluster's own network, by the name that GKE gives it.
const CLUSTER: Network = Network { name: "default", v4: [10, 244, 0], v6: None };
/// The number of the first Pod in every network; smaller ones are for hosts.
const FIRST: u8 = 100;
static PORTS: AtomicU32 = AtomicU32::new(0);
