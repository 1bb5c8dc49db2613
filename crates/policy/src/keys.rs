//! Every key of the language, said once for people: type, default, meaning. The schema and the
//! reference of the documentation are made of these tables; a test holds them to what is read.

/// A table of the text.
pub(crate) struct Section {
    /// Without brackets.
    pub(crate) name: &'static str,
    /// There may be several: `[[name]]`.
    pub(crate) repeated: bool,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    /// What stands for it when it is absent.
    pub(crate) default: Absent,
    /// In Markdown, one sentence or two.
    pub(crate) about: &'static str,
}

/// What a key may be.
pub(crate) enum Value {
    Text,
    Flag,
    /// From, to.
    Number(i64, i64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// A string or a number from, to: ports, protocols.
    TextOrNumber(i64, i64),
    /// A list of strings or one word.
    TextsOr(&'static str),
    /// An inline table.
    Table(&'static [Key]),
    /// A list of inline tables.
    Tables(&'static [Key]),
}

/// What an absent key stands for.
pub(crate) enum Absent {
    /// It must be there.
    Required,
    /// This value, as JSON and TOML both write it.
    Is(&'static str),
    /// In words.
    Means(&'static str),
}

use self::Absent::{Is, Means, Required};
use self::Value::{Flag, Number, OneOf, Table, Tables, Text, TextOrNumber, Texts, TextsOr};

const fn key(name: &'static str, value: Value, default: Absent, about: &'static str) -> Key {
    Key { name, value, default, about }
}

/// Most seconds of a timeout: sessions count the milliseconds of their silence in 32 bits.
pub(crate) const MAX_TIMEOUT: u32 = 4_000_000;

/// 2^28: some 50 GB of table.
pub(crate) const MAX_SESSIONS: u32 = 268_435_456;

/// Memory for fragments is allocated at start.
pub(crate) const MAX_FRAGMENTS: u32 = 65_536;

/// Most packet threads.
pub(crate) const MAX_WORKERS: u32 = 64;

/// `version` stands above all tables.
pub(crate) const VERSION: Key =
    key("version", Number(1, 1), Is("1"), "The version of this language.");

pub(crate) const SECTIONS: &[Section] = &[
    Section { name: "appliance", repeated: false, about: "How the process runs.", keys: APPLIANCE },
    Section {
        name: "control",
        repeated: false,
        about: "Who says which addresses this instance holds.",
        keys: CONTROL,
    },
    Section {
        name: "interface",
        repeated: true,
        about: "A link: one device, taken whole. At most 64.",
        keys: INTERFACE,
    },
    Section {
        name: "route",
        repeated: true,
        about: "Where packets go that are for no connected prefix. The longest prefix decides.",
        keys: ROUTE,
    },
    Section {
        name: "pool",
        repeated: true,
        about: "Outside addresses and ports that `source-nat` rules translate to.",
        keys: POOL,
    },
    Section {
        name: "rule",
        repeated: true,
        about: "What happens to new sessions. The first rule that matches decides, what none matches \
                is dropped (`no_rule`), replies need no rule.",
        keys: RULE,
    },
    Section {
        name: "service",
        repeated: true,
        about: "A port of an address of ours that the appliance answers itself.",
        keys: SERVICE,
    },
    Section {
        name: "timeouts",
        repeated: false,
        about: "Seconds without a packet after which a session ends, at most two seconds later.",
        keys: TIMEOUTS,
    },
    Section { name: "limits", repeated: false, about: "How much there may be.", keys: LIMITS },
];

#[rustfmt::skip] // one key a line
const APPLIANCE: &[Key] = &[
    key("workers", Number(0, MAX_WORKERS as i64), Is("1"), "Packet threads; 0 is one per usable core. With N of them a host gets 1/N of the ports of each address."),
    key("control_socket", Text, Is("\"/run/mooring/control.sock\""), "Where `show` and `explain` reach the running appliance: a whole path of at most 107 bytes."),
    key("metrics", Text, Means("off"), "Where `/metrics` is served: `\"127.0.0.1:9464\"`."),
    key("health", Text, Means("off"), "Where `/healthz` and `/readyz` are served: `\"[::]:9465\"`."),
    key("allow_kernel_forwarding", Flag, Is("false"), "Run although the kernel forwards packets between the interfaces, untranslated."),
];

#[rustfmt::skip] // one key a line
const CONTROL: &[Key] = &[
    key("source", OneOf(&["file", "kubernetes"]), Is("\"file\""), "`file`: every address that is claimed is held. `kubernetes` is not in this version."),
];

#[rustfmt::skip] // one key a line
const INTERFACE: &[Key] = &[
    key("name", Text, Required, "What rules, `show` and `explain` call it: letters, digits, `-`, `_`, `.`; unique."),
    key("device", Text, Required, "The device as `ip link` shows it; one that the appliance makes for `tap`. `network:NAME` is not in this version."),
    key("backend", OneOf(&["af_packet", "tap", "tun-tap", "af_xdp"]), Is("\"af_packet\""), "`af_packet`: a packet socket on the device. `tap`: a TAP device, the kernel is the other end. `tun-tap`: the same without offloads, to compare with. `af_xdp` is not in this version."),
    key("addresses", TextsOr("kernel"), Required, "The appliance's own addresses with the length of their prefix, which is connected: `[\"192.0.2.1/24\"]`. `\"kernel\"`: the device's addresses and routes, the kernel keeps answering for them; not on a tap."),
    key("mtu", Number(68, 65_535), Means("the device's"), "Bytes of the largest IP packet."),
    key("vrf", Text, Means("none"), "Not in this version."),
    key("gateway_addresses", Texts, Means("none"), "Next hops of the hosts on this link, answered for (ARP, ND, ping) as if they were its own: `[\"10.0.0.254\"]`."),
    key("router_advertisements", Flag, Is("false"), "Tell the IPv6 hosts on this link that the appliance is their router. It needs an IPv6 address there, own or gateway."),
];

#[rustfmt::skip] // one key a line
const ROUTE: &[Key] = &[
    key("destination", Text, Required, "A prefix: `\"0.0.0.0/0\"`. Connected prefixes are implied."),
    key("via", Text, Means("the destination is on the link"), "The router's address. Outside of every connected prefix it is on the link that `interface` names. `\"kernel\"`: the kernel's routes that lie within `destination`."),
    key("interface", Text, Means("the one that `via` is connected to"), "The link it leaves by. With `via = \"kernel\"`: only routes by this device, else by that of any interface."),
];

#[rustfmt::skip] // one key a line
const POOL: &[Key] = &[
    key("name", Text, Required, "What rules call it; unique."),
    key("addresses", Texts, Required, "Prefixes or addresses, every address of them is used; IPv4 or IPv6, not both; at most 65,536. None of an interface, of a router or of the kernel."),
    key("ports", TextOrNumber(1, 65_535), Is("\"1024-65535\""), "TCP, UDP and SCTP ports; does not limit ICMP identifiers. Pools may share an address if their ports do not meet."),
    key("mapping", OneOf(&["endpoint-independent", "endpoint-dependent"]), Is("\"endpoint-independent\""), "`endpoint-independent`: one outside port for all remotes. `endpoint-dependent`: ports are shared between remotes."),
    key("filtering", OneOf(&["address-and-port-dependent", "address-dependent", "endpoint-independent"]), Is("\"address-and-port-dependent\""), "Who may send to a mapping: the remotes' addresses and ports that it sent to, their addresses with any port, or anyone. The wider two need `endpoint-independent` mapping."),
    key("hairpin", Flag, Is("true"), "Inside hosts reach each other by their outside addresses."),
    key("ping", Flag, Is("true"), "Its addresses answer pings, within a limit; all else that nobody asked for is silence."),
    key("allocation", Table(ALLOCATION), Means("`{ kind = \"random\" }`"), "How ports are chosen."),
];

#[rustfmt::skip] // one key a line
const ALLOCATION: &[Key] = &[
    key("kind", OneOf(&["random", "port-block", "deterministic"]), Is("\"random\""), "Only `random` is in this version."),
    key("size", Number(1, 65_535), Means("none"), "Ports of a block. Not in this version."),
    key("max_blocks", Number(1, 65_535), Means("none"), "Blocks of a host. Not in this version."),
    key("source", Text, Means("none"), "Hosts that get ports by calculation. Not in this version."),
    key("ports_per_host", Number(1, 65_535), Means("none"), "Ports of each of them. Not in this version."),
];

#[rustfmt::skip] // one key a line
const RULE: &[Key] = &[
    key("name", Text, Required, "What `show` and `explain` call it; unique."),
    key("kind", OneOf(&["source-nat", "bypass", "drop", "static", "port-forward", "load-balance", "nat64", "siit", "nptv6", "deliver"]), Required, "What happens; see the kinds. `load-balance`, `nat64`, `siit` and `nptv6` are not in this version."),
    key("drain", Flag, Is("false"), "When a reload takes the rule away, its sessions live on to their timeout."),
    key("from", Text, Means("any"), "The interface that the packet comes in by; of a `static` rule the inside one."),
    key("to", Text, Means("any"), "The interface that the packet leaves by; of a `static` or `deliver` rule the outside one."),
    key("source", Texts, Means("any"), "Prefixes of the sender's address."),
    key("destination", Texts, Means("any"), "Prefixes of the address that it sends to."),
    key("protocol", TextOrNumber(0, 255), Means("any; `port-forward`: `\"tcp\"`"), "`\"tcp\"`, `\"udp\"`, `\"icmp\"`, `\"icmpv6\"`, `\"sctp\"` or a number."),
    key("source_ports", TextOrNumber(1, 65_535), Means("any"), "The sender's port or range of ports; what has no ports does not match."),
    key("destination_ports", TextOrNumber(1, 65_535), Means("any"), "The port or range that it sends to; what has no ports does not match."),
    key("pool", Text, Means("none"), "`source-nat`: the pool that the source is translated to."),
    key("inside", Text, Means("none"), "`static`: the prefix that the hosts have."),
    key("outside", Text, Means("none"), "`static`: the prefix that others see, of the same family and length. Host bits are kept."),
    key("address", Text, Means("none"), "`port-forward`, `deliver`: the address that others send to."),
    key("port", TextOrNumber(1, 65_535), Means("none"), "`port-forward`: the port or range `\"8000-8099\"` that others send to. No pool uses it on that address."),
    key("target", Text, Means("none"), "`port-forward`: the host and its port, `\"10.0.0.2:80\"` or `\"[fd00::2]:80\"`, of the family of `address`. A range keeps its offset."),
    key("targets", Texts, Means("none"), "`load-balance`. Not in this version."),
    key("affinity_seconds", Number(0, MAX_TIMEOUT as i64), Means("none"), "`load-balance`. Not in this version."),
    key("prefix", Text, Means("none"), "`nat64`, `siit`. Not in this version."),
    key("mappings", Tables(MAPPING), Means("none"), "`siit`. Not in this version."),
    key("interface", Text, Means("none"), "`deliver`: the tap interface behind which the processes are."),
];

#[rustfmt::skip] // one key a line
const MAPPING: &[Key] = &[
    key("v6", Text, Required, "An IPv6 prefix."),
    key("v4", Text, Required, "An IPv4 prefix with as many host bits."),
];

#[rustfmt::skip] // one key a line
const SERVICE: &[Key] = &[
    key("name", Text, Required, "What messages call it; unique."),
    key("kind", OneOf(&["health"]), Required, "`health`: an HTTP server that says whether the appliance works."),
    key("address", Text, Required, "An address of a pool, of an interface (own or gateway), or one with forwarded ports."),
    key("port", Number(1, 65_535), Required, "A TCP port. No pool uses it on that address, and no rule may have it."),
];

#[rustfmt::skip] // one key a line
const TIMEOUTS: &[Key] = &[
    key("udp", Number(1, MAX_TIMEOUT as i64), Is("300"), "UDP and all that has no class of its own. RFC 4787 asks for 120 at least."),
    key("tcp_established", Number(1, MAX_TIMEOUT as i64), Is("7440"), "TCP between the handshake and the first FIN or RST. RFC 5382 asks for 7440 at least."),
    key("tcp_transitory", Number(1, MAX_TIMEOUT as i64), Is("240"), "TCP before and after that. RFC 5382 asks for 240 at least."),
    key("icmp", Number(1, MAX_TIMEOUT as i64), Is("60"), "ICMP queries. RFC 5508 asks for 60 at least."),
];

#[rustfmt::skip] // one key a line
const LIMITS: &[Key] = &[
    key("sessions", Number(1, MAX_SESSIONS as i64), Is("1000000"), "Size of the session table, allocated at start."),
    key("sessions_per_source", Number(1, MAX_SESSIONS as i64), Is("4096"), "Begun by one inside address; what others begin does not count."),
    key("fragments", Number(1, MAX_FRAGMENTS as i64), Is("4096"), "Datagrams whose fragments are remembered at a time."),
    key("on_full", OneOf(&["refuse", "evict-transitory"]), Is("\"refuse\""), "What a new session meets when the table is full: it is refused, or takes the place of one that is not established."),
];
