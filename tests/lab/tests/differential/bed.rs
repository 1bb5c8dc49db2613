//! Two sites with the same addresses: one is translated by the appliance, the other by its kernel.
//!
//! The hosts of both are this process: it writes frames on the links and reads them, so that many
//! hosts speak at once. The kernels of the hosts' namespaces only tell their Ethernet addresses.
//!
//! ```text
//!   A, B, S, F ── router 10.0.0.2 ── in0  gateway  out0 ── router 192.0.2.2 ── P, Q
//! ```

use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, ensure};
use mooring_io::af_packet::{self, Receiver, Sender};
use mooring_lab::{Appliance, Config, Namespace};
use mooring_packet::{Batch, Offload, Packet, Receive, Transmit};

use super::packets::Datagram;
use super::sequence::End;

/// One of the two sites.
pub(crate) struct Bed {
    pub(crate) links: [Link; 2],
    pub(crate) appliance: Option<Appliance>,
}

/// What translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nat {
    Mooring,
    Nftables,
}

/// Which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    Inside = 0,
    Outside = 1,
}

/// The far end of a link of the gateway's.
pub(crate) struct Link {
    receiver: Receiver,
    sender: Sender,
    /// The gateway's Ethernet address, and ours.
    macs: [u8; 12],
}

impl Bed {
    pub(crate) fn make(nat: Nat, change: fn(Config) -> Config) -> Result<Self> {
        let gateway = Namespace::create("gateway")?;
        let hosts = [Namespace::create("inside")?, Namespace::create("outside")?];
        for namespace in hosts.iter().chain([&gateway]) {
            namespace.enable_ipv6()?;
        }
        for (device, host, lines) in [("in0", &hosts[0], INSIDE), ("out0", &hosts[1], OUTSIDE)] {
            let name = host.name();
            gateway.ip(&format!(
                "link add {device} type veth peer name eth0 netns {name}\nlink set {device} up"
            ))?;
            host.ip(lines)?;
            nft(host, MUTE)?;
        }
        let appliance = match nat {
            Nat::Mooring => {
                for device in ["in0", "out0"] {
                    gateway.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1")?;
                }
                Some(Appliance::start(&gateway, &change(config()))?)
            }
            Nat::Nftables => {
                translate(&gateway)?;
                None
            }
        };
        let link = |device, host: &Namespace| {
            let (receiver, sender, link) = host.enter(|| af_packet::open("eth0"))??;
            let mac = gateway.mac(device)?;
            let macs = [&mac[..], &link.mac.0].concat();
            let macs = macs.try_into().map_err(|macs| anyhow!("Ethernet addresses: {macs:?}"))?;
            anyhow::Ok(Link { receiver, sender, macs })
        };
        Ok(Self { links: [link("in0", &hosts[0])?, link("out0", &hosts[1])?], appliance })
    }
}

impl Link {
    /// Puts packets on the link.
    pub(crate) fn send(&mut self, datagrams: &[Datagram]) -> Result<()> {
        let mut frames: Vec<_> = datagrams
            .iter()
            .map(|datagram| {
                let kind: [u8; 2] = if datagram.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
                [&self.macs[..], &kind, &datagram.bytes()].concat()
            })
            .collect();
        let packets: Vec<_> = frames
            .iter_mut()
            .map(|frame| {
                let length = frame.len();
                Packet::new(frame, 0, length, Offload::NONE)
            })
            .collect();
        let sent = self.sender.transmit(packets.iter());
        ensure!(sent.refused == 0, "the link took no more");
        Ok(())
    }

    /// Takes the IP packets that have arrived, without waiting.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Datagram)) -> Result<()> {
        loop {
            let mut batch = Batch::new();
            self.receiver.receive(&mut batch)?;
            if batch.is_empty() {
                return Ok(());
            }
            for packet in batch.packets() {
                let bytes = packet.bytes();
                if !matches!(bytes.get(12..14), Some([8, 0] | [0x86, 0xdd])) {
                    continue;
                }
                let datagram = Datagram::read(&bytes[14..], false);
                take(datagram.with_context(|| format!("a broken packet: {bytes:02x?}"))?);
            }
        }
    }

    pub(crate) fn lost(&mut self) -> u64 {
        self.receiver.lost()
    }
}

/// The address of an end of sequence `number`.
pub(crate) fn address(end: End, number: u16, v6: bool) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    let four = |a, b| IpAddr::from([a, b, high, low]);
    let six = |high: [u16; 3]| IpAddr::from([high[0], high[1], high[2], 0, 0, 0, 0, number]);
    let fixed = |v4: [u8; 4], last: [u16; 4]| {
        if v6 {
            IpAddr::from([last[0], last[1], last[2], 0, 0, 0, 0, last[3]])
        } else {
            IpAddr::from(v4)
        }
    };
    match (end, v6) {
        (End::A(_), false) => four(10, 1),
        (End::B(_), false) => four(10, 2),
        (End::S(_), false) => four(10, 3),
        (End::Static(_), false) => four(198, 19),
        (End::P(_), false) => four(198, 18),
        (End::Q(_), false) => four(100, 64),
        (End::A(_), true) => six([0xfd00, 1, 0]),
        (End::B(_), true) => six([0xfd00, 2, 0]),
        (End::S(_), true) => six([0xfd00, 3, 0]),
        (End::Static(_), true) => six([0x2001, 0xdb8, 3]),
        (End::P(_), true) => six([0x2001, 0xdb8, 0xa]),
        (End::Q(_), true) => six([0x2001, 0xdb8, 0xb]),
        (End::F, _) => fixed([10, 4, 0, 1], [0xfd00, 4, 0, 1]),
        (End::Forward, _) => fixed([203, 0, 113, 12], [0x2001, 0xdb8, 2, 0x12]),
        (End::Pool(_), _) => fixed([203, 0, 113, 10], [0x2001, 0xdb8, 2, 0x10]),
        (End::Router, _) => fixed([100, 65, 0, 1], [0x2001, 0xdb8, 0xc, 1]),
    }
}

/// The port of an end of sequence `number`.
pub(crate) fn port(end: End, number: u16) -> u16 {
    match end {
        End::A(port)
        | End::B(port)
        | End::S(port)
        | End::Static(port)
        | End::P(port)
        | End::Q(port)
        | End::Pool(port) => port,
        End::F | End::Forward => FIRST_FORWARDED + number,
        End::Router => 0,
    }
}

/// The gateway's own addresses: what errors of its own come from.
pub(crate) fn gateway(side: Side, v6: bool) -> IpAddr {
    match (side, v6) {
        (Side::Inside, false) => [10, 0, 0, 1].into(),
        (Side::Outside, false) => [192, 0, 2, 1].into(),
        (Side::Inside, true) => [0xfd00, 0x10, 0, 0, 0, 0, 0, 1].into(),
        (Side::Outside, true) => [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into(),
    }
}

fn config() -> Config {
    let fixed = |family: &str, inside: &str, outside: &str| {
        format!(
            "name = \"static-{family}\"\nkind = \"static\"\ninside = \"{inside}\"\n\
             outside = \"{outside}\"\nfrom = \"inside\"\nto = \"outside\""
        )
    };
    let forward = |family: &str, protocol: &str, address: &str, target: &str| {
        format!(
            "[[rule]]\nname = \"forward-{family}-{protocol}\"\nkind = \"port-forward\"\n\
             address = \"{address}\"\nprotocol = \"{protocol}\"\nport = \"20000-44999\"\n\
             target = \"{target}:20000\"\n"
        )
    };
    let forwards: String = ["tcp", "udp"]
        .map(|protocol| {
            forward("v4", protocol, "203.0.113.12", "10.4.0.1")
                + &forward("v6", protocol, "2001:db8:2::12", "[fd00:4::1]")
        })
        .concat();
    Config::dual_stack()
        .replace("source = [\"fd00:10::/64\"]", "source = [\"fd00::/16\"]")
        .first_rule(&fixed("v4", "10.3.0.0/16", "198.19.0.0/16"))
        .first_rule(&fixed("v6", "fd00:3::/64", "2001:db8:3::/64"))
        .table(ROUTES)
        .table(&forwards)
        .table("[timeouts]\nicmp = 300\n")
}

/// Lets the kernel of `gateway` do what the configuration says.
fn translate(gateway: &Namespace) -> Result<()> {
    gateway.ip(KERNEL)?;
    nft(gateway, RULES)?;
    for (setting, value) in SETTINGS {
        gateway.sysctl(setting, value)?;
    }
    Ok(())
}

fn nft(namespace: &Namespace, ruleset: &str) -> Result<()> {
    namespace.output("nft", &[ruleset]).map(drop)
}

const FIRST_FORWARDED: u16 = 20_000;

const INSIDE: &str = "\
address add 10.0.0.2/24 dev eth0
address add fd00:10::2/64 dev eth0 nodad
link set eth0 up
";
const OUTSIDE: &str = "\
address add 192.0.2.2/24 dev eth0
address add 2001:db8:1::2/64 dev eth0 nodad
link set eth0 up
";

/// The kernels of the hosts speak of nothing but neighbours.
const MUTE: &str = "
table inet mute {
  chain in { type filter hook prerouting priority raw; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
  chain out { type filter hook output priority raw; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
}";

const ROUTES: &str = r#"
[[route]]
destination = "10.0.0.0/8"
via = "10.0.0.2"
interface = "inside"

[[route]]
destination = "fd00::/16"
via = "fd00:10::2"
interface = "inside"
"#;

const KERNEL: &str = "\
address add 10.0.0.1/24 dev in0
address add fd00:10::1/64 dev in0 nodad
address add 192.0.2.1/24 dev out0
address add 2001:db8:1::1/64 dev out0 nodad
address add 203.0.113.10/32 dev lo
address add 203.0.113.12/32 dev lo
address add 2001:db8:2::10/128 dev lo nodad
address add 2001:db8:2::12/128 dev lo nodad
route add 10.0.0.0/8 via 10.0.0.2
route add fd00::/16 via fd00:10::2
route add default via 192.0.2.2
route add default via 2001:db8:1::2
";

/// No flowtable: this is the kernel's plain path, packet by packet.
const RULES: &str = "
table ip nat {
  chain pre { type nat hook prerouting priority dstnat;
    ip daddr 203.0.113.12 tcp dport 20000-44999 dnat to 10.4.0.1;
    ip daddr 203.0.113.12 udp dport 20000-44999 dnat to 10.4.0.1;
    dnat ip prefix to ip daddr map { 198.19.0.0/16 : 10.3.0.0/16 }; }
  chain post { type nat hook postrouting priority srcnat;
    snat ip prefix to ip saddr map { 10.3.0.0/16 : 198.19.0.0/16 };
    ip saddr 10.4.0.1 tcp sport 20000-44999 snat to 203.0.113.12;
    ip saddr 10.4.0.1 udp sport 20000-44999 snat to 203.0.113.12;
    ip saddr 10.0.0.0/8 snat to 203.0.113.10; }
}
table ip6 nat {
  chain pre { type nat hook prerouting priority dstnat;
    ip6 daddr 2001:db8:2::12 tcp dport 20000-44999 dnat to fd00:4::1;
    ip6 daddr 2001:db8:2::12 udp dport 20000-44999 dnat to fd00:4::1;
    dnat ip6 prefix to ip6 daddr map { 2001:db8:3::/64 : fd00:3::/64 }; }
  chain post { type nat hook postrouting priority srcnat;
    snat ip6 prefix to ip6 saddr map { fd00:3::/64 : 2001:db8:3::/64 };
    ip6 saddr fd00:4::1 tcp sport 20000-44999 snat to 2001:db8:2::12;
    ip6 saddr fd00:4::1 udp sport 20000-44999 snat to 2001:db8:2::12;
    ip6 saddr fd00::/16 snat to 2001:db8:2::10; }
}
table inet filter {
  chain forward { type filter hook forward priority filter; policy drop;
    ct state established,related accept;
    ct state invalid drop;
    iifname in0 oifname out0 accept;
    ct status dnat accept; }
  chain input { type filter hook input priority filter; policy drop;
    icmp type echo-request accept;
    icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept; }
}";

/// The appliance's timeouts and rules where the kernel has others by default: so fewer differences
/// have to be allowed.
const SETTINGS: [(&str, &str); 27] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // Hosts behind a router on the link look to it as if they could speak to each other.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/in0/send_redirects", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/in0/rp_filter", "0"),
    ("net/ipv4/conf/out0/rp_filter", "0"),
    // All errors are for a handful of hosts.
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
    // Both families have these in common. A fast machine asks for more errors than they allow.
    ("net/ipv4/icmp_msgs_per_sec", "1000000"),
    ("net/ipv4/icmp_msgs_burst", "1000000"),
    // A connection begins with SYN; windows are not looked at.
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ("net/netfilter/nf_conntrack_udp_timeout", "300"),
    ("net/netfilter/nf_conntrack_udp_timeout_stream", "300"),
    ("net/netfilter/nf_conntrack_icmp_timeout", "300"),
    ("net/netfilter/nf_conntrack_icmpv6_timeout", "300"),
    ("net/netfilter/nf_conntrack_generic_timeout", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_syn_recv", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_fin_wait", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_last_ack", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_close", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_unacknowledged", "300"),
    ("net/netfilter/nf_conntrack_tcp_timeout_max_retrans", "300"),
];
