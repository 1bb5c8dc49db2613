//! A larger lab of both families: two inside hosts behind a switch, and a router outside.
//!
//! ```text
//!   client 10.0.0.2, fd00:10::2 ┐                                      ┌ eth0            eth1 ┐
//!                               ├ switch ── in0  mooring  out0 ── server ──────────────────── far
//!   other  10.0.0.4, fd00:10::4 ┘                                 192.0.2.2        198.51.100.2
//!                                                                 2001:db8:1::2    2001:db8:9::2
//! ```
//!
//! The same site stands around every [`Variant`] of the appliance, so that one test shows them all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::appliance::Appliance;
use crate::clock::{LIMIT, wait_for};
use crate::config::Config;
use crate::namespace::Namespace;

/// The hosts and the appliance's namespace.
#[derive(Debug)]
pub struct Site {
    /// An inside host.
    pub client: Namespace,
    /// A second one on the same link, with its own kernel.
    pub other: Namespace,
    /// The appliance's.
    pub gateway: Namespace,
    /// Outside, on the appliance's link; it routes to `far`.
    pub server: Namespace,
    /// Outside, one hop behind `server`.
    pub far: Namespace,
    variant: Variant,
    mtus: Mtus,
}

/// How the appliance is attached to the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Packet sockets on both sides.
    AfPacket,
    /// The same with two workers.
    TwoWorkers,
    /// AF_XDP sockets on both sides.
    AfXdp,
    /// Inside through a tap, whose kernel side is a port of a bridge in the gateway's namespace.
    Tap,
    /// The same through the plain backend, without offloads.
    TunTap,
    /// As `Tap`, and packets of a flow that leave together are joined, on both sides.
    Coalescing,
    /// Outside like a Pod's `eth0`: the kernel's /32 and /128, routers off every subnet, forwarding
    /// switched on.
    KernelAddresses,
}

/// The addresses of one family; they are the same in every variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The inside host.
    pub client: IpAddr,
    /// The second inside host.
    pub other: IpAddr,
    /// The appliance, inside: the hosts' gateway.
    pub gateway: IpAddr,
    /// The server, on the outside link.
    pub server: IpAddr,
    /// The far host, behind the server.
    pub far: IpAddr,
    /// The pool's only address.
    pub pool: IpAddr,
}

/// The MTU of each link, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtus {
    /// Between the appliance and the inside hosts.
    pub inside: u16,
    /// Between the appliance and the server.
    pub outside: u16,
    /// Between the server and the far host.
    pub far: u16,
}

impl Site {
    /// A site whose links all carry 1500 bytes.
    ///
    /// # Errors
    /// When the system refuses to make it.
    pub fn new(variant: Variant) -> Result<Self> {
        Self::with_mtus(variant, Mtus::default())
    }

    /// A site with these links.
    ///
    /// # Errors
    /// When the system refuses to make it.
    pub fn with_mtus(variant: Variant, mtus: Mtus) -> Result<Self> {
        let host = |role| {
            let namespace = Namespace::create(role)?;
            namespace.enable_ipv6()?;
            // All hosts inside look like one: its limit of errors is not what is tested.
            namespace.sysctl("net/ipv4/icmp_ratelimit", "0")?;
            namespace.sysctl("net/ipv6/icmp/ratelimit", "0")?;
            anyhow::Ok(namespace)
        };
        let site = Self {
            client: host("client")?,
            other: host("other")?,
            gateway: Namespace::create("gateway")?,
            server: host("server")?,
            far: host("far")?,
            variant,
            mtus,
        };
        site.link(mtus)?;
        site.client.ip(&inside_host(2, mtus.inside))?;
        site.other.ip(&inside_host(4, mtus.inside))?;
        site.server.ip(&server_links(mtus))?;
        site.far.ip(&far_host(mtus.far))?;
        for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            site.server.sysctl(setting, "1")?;
        }
        site.outside(variant)?;
        Ok(site)
    }

    /// Starts the appliance with `config`, which [`Site::config`] began.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(&self, config: &Config) -> Result<Appliance> {
        self.start_limited(config, &[])
    }

    /// The same behind a wrapper command, as [`Appliance::start_limited`].
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_limited(&self, config: &Config, wrapper: &[&str]) -> Result<Appliance> {
        let appliance = Appliance::start_limited(&self.gateway, config, wrapper)?;
        if self.has_tap() {
            self.gateway.ip("link set tap0 master lan\nlink set tap0 up").context("the tap")?;
        }
        Ok(appliance)
    }

    /// NAT44 and NAT66 of the inside network, for this variant of the appliance.
    #[must_use]
    pub fn config(&self) -> Config {
        let config = Config::dual_stack();
        match self.variant {
            Variant::AfPacket => config,
            Variant::TwoWorkers => config.replace("workers = 1", "workers = 2"),
            Variant::AfXdp => config.by_af_xdp(),
            Variant::Tap => config.inside_by_tap("tap", self.mtus.inside),
            Variant::TunTap => config.inside_by_tap("tun-tap", self.mtus.inside),
            Variant::Coalescing => config.inside_by_tap("tap", self.mtus.inside).coalescing(),
            Variant::KernelAddresses => config.outside_from_kernel(),
        }
    }

    /// Waits until `server` has a program that listens at this TCP port.
    ///
    /// # Errors
    /// When none does within the limit.
    pub fn wait_for_listener(namespace: &Namespace, port: u16) -> Result<()> {
        let filter = format!("sport = :{port}");
        wait_for(&format!("a listener at port {port}"), LIMIT, || {
            let listeners = namespace.output("ss", &["-Hltn", &filter])?;
            Ok((!listeners.is_empty()).then_some(()))
        })
    }

    fn link(&self, mtus: Mtus) -> Result<()> {
        let Mtus { inside, outside, far } = mtus;
        let (client, other) = (self.client.name(), self.other.name());
        let (server, distant) = (self.server.name(), self.far.name());
        self.gateway.ip(&format!(
            "link add out0 mtu {outside} type veth peer name eth0 netns {server}\n\
             link set out0 up\n"
        ))?;
        self.server
            .ip(&format!("link add eth1 mtu {far} type veth peer name eth0 netns {distant}"))?;
        // A tap is a port of the hosts' own bridge; else a cable leads to a switch of their own.
        let switch = if self.has_tap() {
            self.gateway.clone()
        } else {
            let switch = Namespace::create("switch")?;
            self.gateway.ip(&format!(
                "link add in0 mtu {inside} type veth peer name uplink netns {}\nlink set in0 up",
                switch.name()
            ))?;
            switch
        };
        switch.ip(&format!(
            "link add lan mtu {inside} type bridge\nlink set lan up\n\
             link add port1 mtu {inside} type veth peer name eth0 netns {client}\n\
             link add port2 mtu {inside} type veth peer name eth0 netns {other}\n\
             link set port1 master lan up\nlink set port2 master lan up\n"
        ))?;
        if !self.has_tap() {
            switch.ip(&format!("link set uplink mtu {inside} master lan up"))?;
        }
        Ok(())
    }

    /// Whether the inside is a tap device of the appliance's.
    const fn has_tap(&self) -> bool {
        matches!(self.variant, Variant::Tap | Variant::TunTap | Variant::Coalescing)
    }

    /// The addresses of the link between appliance and server.
    fn outside(&self, variant: Variant) -> Result<()> {
        if variant != Variant::KernelAddresses {
            return self.server.ip(SERVER);
        }
        self.gateway.sysctl("net/ipv6/conf/out0/accept_dad", "0")?;
        self.gateway.sysctl("net/ipv6/conf/out0/disable_ipv6", "0")?;
        self.server.ip(NODE)?;
        self.gateway.ip(POD)?;
        // As a Pod inherits it from its node.
        self.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        self.gateway.sysctl("net/ipv6/conf/all/forwarding", "1")
    }
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Self; 2] = [IPV4, IPV6];

    /// The one that `address` is of.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(_) => IPV6,
        }
    }

    /// `ipv4` or `ipv6`.
    #[must_use]
    pub fn pick<T>(&self, ipv4: T, ipv6: T) -> T {
        if self.client.is_ipv4() { ipv4 } else { ipv6 }
    }

    /// A second outside address, of no pool: a static one.
    #[must_use]
    pub fn fixed(&self) -> IpAddr {
        self.pick(
            IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x20)),
        )
    }

    /// An address as it stands in URLs and targets: IPv6 in brackets.
    #[must_use]
    pub fn host(address: IpAddr) -> String {
        match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
    }
}

impl Default for Mtus {
    fn default() -> Self {
        Self { inside: 1500, outside: 1500, far: 1500 }
    }
}

fn inside_host(number: u8, mtu: u16) -> String {
    format!(
        "address add 10.0.0.{number}/24 dev eth0\n\
         address add fd00:10::{number}/64 dev eth0 nodad\n\
         link set eth0 mtu {mtu} up\n\
         route add default via 10.0.0.1\n\
         route add default via fd00:10::1\n"
    )
}

fn server_links(mtus: Mtus) -> String {
    let Mtus { outside, far, .. } = mtus;
    format!(
        "link set eth0 mtu {outside} up\n\
         address add 198.51.100.1/24 dev eth1\n\
         address add 2001:db8:9::1/64 dev eth1 nodad\n\
         link set eth1 mtu {far} up\n"
    )
}

fn far_host(mtu: u16) -> String {
    format!(
        "address add 198.51.100.2/24 dev eth0\n\
         address add 2001:db8:9::2/64 dev eth0 nodad\n\
         link set eth0 mtu {mtu} up\n\
         route add default via 198.51.100.1\n\
         route add default via 2001:db8:9::1\n"
    )
}

const IPV4: Family = Family {
    client: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    other: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4)),
    gateway: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    server: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    far: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
    pool: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
};
const IPV6: Family = Family {
    client: IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 2)),
    other: IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 4)),
    gateway: IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1)),
    server: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2)),
    far: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2)),
    pool: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10)),
};
const SERVER: &str = "\
address add 192.0.2.2/24 dev eth0
address add 2001:db8:1::2/64 dev eth0 nodad
route add 203.0.113.0/24 via 192.0.2.1
route add 2001:db8:2::/64 via 2001:db8:1::1
";
/// The server as the node of a Pod: one route for each address, a router address on the link.
const NODE: &str = "\
address add 192.0.2.2/32 dev eth0
address add 169.254.1.1/32 dev eth0
address add 2001:db8:1::2/128 dev eth0 nodad
address add fe80::1/64 dev eth0 nodad
route add 192.0.2.1/32 dev eth0 src 192.0.2.2
route add 2001:db8:1::1/128 dev eth0 src 2001:db8:1::2
route add 203.0.113.0/24 via 192.0.2.1
route add 2001:db8:2::/64 dev eth0
";
const POD: &str = "\
address add 192.0.2.1/32 dev out0
address add 2001:db8:1::1/128 dev out0 nodad
route add 169.254.1.1/32 dev out0 scope link
route add default via 169.254.1.1 dev out0 onlink
route add default via fe80::1 dev out0
";
