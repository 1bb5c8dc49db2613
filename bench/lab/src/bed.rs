//! The test bed: the hosts, and one NAT at a time between them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use mooring_lab::{Appliance, Config, Lab, Namespace};

/// The hosts: 16 inside addresses, 16 outside ones behind the server.
pub(crate) struct Bed {
    pub(crate) lab: Lab,
    /// The packet generator's binary.
    pub(crate) pktgen: PathBuf,
    workers: u32,
}

/// What translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    Mooring,
    /// The appliance by its backend af_xdp.
    AfXdp,
    /// The appliance, joining packets of a flow that leave together.
    Coalescing,
    Nftables,
    /// Nothing: the kernel forwards, and the server knows the way back.
    Forwarding,
}

/// A NAT that runs.
#[must_use]
pub(crate) struct Running<'b> {
    bed: &'b Bed,
    nat: Nat,
    appliance: Option<Appliance>,
}

impl Bed {
    /// Makes the hosts; there is no NAT yet.
    pub(crate) fn make(workers: u32, pktgen: PathBuf) -> Result<Self> {
        let lab = Lab::new()?;
        let numbers = 1..=ADDRESSES;
        let inside = numbers.clone().map(|n| format!("address add {}/24 dev eth0\n", client(n)));
        lab.client.ip(&inside.collect::<String>())?;
        // The lab has the first one.
        let outside = numbers.skip(1).map(|n| format!("address add {}/32 dev lo\n", server(n)));
        lab.server.ip(&outside.collect::<String>())?;
        sink(&lab.server, &format!("udp dport {SINK} drop"))?;
        // Both sides: the generator has ports of its own, and the tables must not be the limit.
        for namespace in [&lab.client, &lab.server] {
            namespace.sysctl("net/ipv4/ip_local_port_range", "1024 65000")?;
        }
        Ok(Self { lab, pktgen, workers })
    }

    /// Starts a NAT on the gateway.
    pub(crate) fn start(&self, nat: Nat) -> Result<Running<'_>> {
        Ok(Running { bed: self, nat, appliance: self.begin(nat)? })
    }

    fn begin(&self, nat: Nat) -> Result<Option<Appliance>> {
        let config = match nat {
            Nat::Mooring => self.config(),
            Nat::AfXdp => self.config().by_af_xdp(),
            Nat::Coalescing => self.config().coalescing(),
            Nat::Nftables => {
                self.start_forwarding()?;
                return self.start_nftables().map(|()| None);
            }
            Nat::Forwarding => {
                self.lab.server.ip(WAY_BACK)?;
                return self.start_forwarding().map(|()| None);
            }
        };
        Appliance::start(&self.lab.gateway, &config).map(Some)
    }

    fn config(&self) -> Config {
        let config = match self.workers {
            1 => Config::nat44(),
            more => Config::nat44().replace("workers = 1", &format!("workers = {more}")),
        };
        config
            .replace("203.0.113.10/32", POOL)
            .appliance("\n[limits]\nsessions = 1_000_000\nsessions_per_source = 1_000_000")
    }

    fn start_forwarding(&self) -> Result<()> {
        self.lab.gateway.ip(KERNEL)?;
        self.lab.gateway.sysctl("net/ipv4/ip_forward", "1")
    }

    fn start_nftables(&self) -> Result<()> {
        nft(
            &self.lab.gateway,
            &format!(
                "table ip nat {{ chain post {{ type nat hook postrouting priority srcnat; \
             oifname \"out0\" snat to {FIRST}-{LAST}; }}; }}"
            ),
        )
    }

    /// Sessions that nftables has room for: a setting of the whole machine, which a namespace may not change.
    pub(crate) fn room_of_nftables(&self) -> Result<u64> {
        let setting = "/proc/sys/net/netfilter/nf_conntrack_max";
        let text = self.lab.gateway.enter(|| fs::read_to_string(setting))?;
        text.context(setting)?.trim().parse().context(setting)
    }

    /// Lets the client's kernel see no answers from the sink while `work` is done: it knows nothing of what a generator
    /// sends in its name, and would tell the sender so.
    pub(crate) fn while_client_is_deaf<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        sink(&self.lab.client, &format!("udp sport {SINK} drop"))?;
        let done = work();
        done.and_then(|done| nft(&self.lab.client, "delete table netdev sink").map(|()| done))
    }

    /// Packets that have arrived at the server's device.
    pub(crate) fn arrived(&self) -> Result<u64> {
        let text = self.lab.server.output("ip", &["-s", "-j", "link", "show", "eth0"])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("ip -s prints received packets")
    }

    /// Ethernet address of the gateway's inner device: both NATs have it.
    pub(crate) fn gateway_mac(&self) -> Result<[u8; 6]> {
        let mac = self.lab.gateway.mac("in0")?;
        mac.try_into().map_err(|mac| anyhow!("an Ethernet address: {mac:?}"))
    }
}

impl Running<'_> {
    pub(crate) fn nat(&self) -> Nat {
        self.nat
    }

    /// Ends the NAT, and starts it anew.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.end()?;
        self.appliance = self.bed.begin(self.nat)?;
        Ok(())
    }

    /// Ends the NAT and forgets its sessions.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if let Some(appliance) = self.appliance.take() {
            return appliance.stop().map(drop);
        }
        let gateway = &self.bed.lab.gateway;
        nft(gateway, "flush ruleset")?;
        gateway.sysctl("net/ipv4/ip_forward", "0")?;
        gateway.ip("address flush dev in0\naddress flush dev out0")?;
        gateway.output("conntrack", &["-F"])?;
        Ok(())
    }
}

/// Has a host's kernel drop some of what its device receives; counters and packet sockets have seen it by then.
fn sink(host: &Namespace, rule: &str) -> Result<()> {
    nft(
        host,
        &format!(
            "table netdev sink {{ chain in {{ type filter hook ingress device eth0 priority 0; {rule}; }}; }}"
        ),
    )
}

/// Loads a ruleset into the kernel of a namespace.
fn nft(namespace: &Namespace, ruleset: &str) -> Result<()> {
    let mut command: Command = namespace.command("nft");
    let output = command.arg(ruleset).output().context("cannot run `nft` (package nftables)")?;
    let refusal = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "nft {ruleset}: {}", refusal.trim());
    Ok(())
}

/// Inside address `n`, from 1.
pub(crate) fn client(n: u8) -> std::net::Ipv4Addr {
    [10, 0, 0, 32 + n].into()
}

/// Outside address `n`, from 1.
pub(crate) fn server(n: u8) -> std::net::Ipv4Addr {
    [198, 51, 100, n].into()
}

/// Addresses on either side.
pub(crate) const ADDRESSES: u8 = 16;

/// Datagrams to this port are counted by the server's device and go no further.
pub(crate) const SINK: u16 = 9;

const POOL: &str = "203.0.113.0/28";
const FIRST: &str = "203.0.113.0";
const LAST: &str = "203.0.113.15";

/// To the hosts as they are, which nothing translates.
const WAY_BACK: &str = "route replace 10.0.0.0/24 via 192.0.2.1\n";

const KERNEL: &str = "\
address add 10.0.0.1/24 dev in0
address add 192.0.2.1/24 dev out0
route add 198.51.100.0/24 via 192.0.2.2
";
