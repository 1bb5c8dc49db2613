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
    /// A word, a list of names, or a table of labels: which routes.
    Routes,
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
use self::Value::{Flag, Number, OneOf, Routes, Table, Tables, Text, TextOrNumber, Texts, TextsOr};
use crate::pool::PortBlocks;

const fn key(name: &'static str, value: Value, default: Absent, about: &'static str) -> Key {
    Key { name, value, default, about }
}

/// Most seconds of a timeout: sessions count the milliseconds of their silence in 32 bits.
pub(crate) const MAX_TIMEOUT: u32 = 4_000_000;

/// 2^28: some 50 GB of table.
pub(crate) const MAX_SESSIONS: u32 = 268_435_456;

/// Memory for fragments is allocated at start.
pub(crate) const MAX_FRAGMENTS: u32 = 65_536;

/// Most seconds that a port or block rests: a day.
pub(crate) const MAX_REST: u32 = 86_400;

/// Most packets, or sessions, in a second that a rate is given for.
pub(crate) const MAX_RATE: u32 = 10_000_000;

/// Most packet threads.
pub const MAX_WORKERS: u8 = 64;

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
    Section { name: "tcp", repeated: false, about: "How TCP connections are followed.", keys: TCP },
    Section { name: "limits", repeated: false, about: "How much there may be.", keys: LIMITS },
];

#[rustfmt::skip] // one key a line
const APPLIANCE: &[Key] = &[
    key("workers", Number(0, MAX_WORKERS as i64), Is("1"), "Packet threads; 0 is one per usable core: `check` reckons with those of the machine that it runs on. With N of them a host gets 1/N of the ports of each address."),
    key("control_socket", Text, Is("\"/run/mooring/control.sock\""), "Where `show` and `explain` reach the running appliance: a whole path of at most 107 bytes."),
    key("metrics", Text, Means("off"), "Where `/metrics` is served: `\"127.0.0.1:9464\"`."),
    key("health", Text, Means("off"), "Where `/healthz` and `/readyz` are served: `\"[::]:9465\"`."),
    key("allow_kernel_forwarding", Flag, Is("false"), "Run although the kernel forwards packets between the interfaces, untranslated."),
];

#[rustfmt::skip] // one key a line
const CONTROL: &[Key] = &[
    key("source", OneOf(&["file", "kubernetes"]), Is("\"file\""), "`file`: every address that is claimed is held. `kubernetes`: an address is held only while a GKEIPRoute gives it to this Pod."),
    key("session_retention", Number(0, MAX_REST as i64), Is("30"), "`kubernetes`: seconds that the sessions of an address that was taken away are kept, suspended: they go on if it comes back by then and nobody else has had it."),
];

#[rustfmt::skip] // one key a line
const INTERFACE: &[Key] = &[
    key("name", Text, Required, "What rules, `show` and `explain` call it: letters, digits, `-`, `_`, `.`; unique."),
    key("device", Text, Required, "The device as `ip link` shows it; one that the appliance makes for `tap`. `network:NAME`: the one of that network, by the Pod's annotations; with the source `kubernetes`."),
    key("backend", OneOf(&["af_packet", "tap", "tun-tap", "af_xdp"]), Is("\"af_packet\""), "`af_packet`: a packet socket on the device. `tap`: a TAP device, the kernel is the other end. `tun-tap`: the same without offloads, to compare with. `af_xdp`: AF_XDP sockets and a program of ours on the device, for small packets and real network cards; where that cannot be had, `af_packet` with a warning."),
    key("addresses", TextsOr("kernel"), Required, "The appliance's own addresses with the length of their prefix, which is connected: `[\"192.0.2.1/24\"]`. `\"kernel\"`: the device's addresses and routes, the kernel keeps answering for them; not on a tap."),
    key("mtu", Number(68, 65_535), Means("the device's"), "Bytes of the largest IP packet."),
    key("vrf", Text, Means("none"), "Not in this version."),
    key("gateway_addresses", Texts, Means("none"), "Next hops of the hosts on this link, answered for (ARP, ND, ping) as if they were its own: `[\"10.0.0.254\"]`."),
    key("gateway_addresses_from", Table(ADDRESSES_FROM), Means("none"), "Those that routes give, beside them; with the source `kubernetes`."),
    key("network", Text, Means("by the Pod's annotations"), "The network that the device is on, as routes name it; with the source `kubernetes`."),
    key("router_advertisements", Flag, Is("false"), "Tell the IPv6 hosts on this link that the appliance is their router. It needs an IPv6 address there, own or gateway."),
    key("tx_coalescing", Flag, Is("false"), "Packets of one flow that leave together leave as one super-packet, which the next device cuts again or takes whole (GSO; TCP and UDP). For bulk; captures then show super-packets. Not with `af_xdp` and `tun-tap`."),
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
    key("addresses", Texts, Means("none, with `addresses_from`"), "Prefixes or addresses, every address of them is used; IPv4 or IPv6, not both; at most 65,536 in all pools, each costs 24 KB a worker. None of an interface, of a router or of the kernel."),
    key("addresses_from", Table(ADDRESSES_FROM), Means("none"), "Those that routes give, beside them; with the source `kubernetes`."),
    key("ports", TextOrNumber(1, 65_535), Is("\"1024-65535\""), "TCP, UDP and SCTP ports; does not limit ICMP identifiers. Pools may share an address if their ports do not meet."),
    key("mapping", OneOf(&["endpoint-independent", "endpoint-dependent"]), Is("\"endpoint-independent\""), "`endpoint-independent`: one outside port for all remotes. `endpoint-dependent`: ports are shared between remotes."),
    key("filtering", OneOf(&["address-and-port-dependent", "address-dependent", "endpoint-independent"]), Is("\"address-and-port-dependent\""), "Who may send to a mapping: the remotes' addresses and ports that it sent to, their addresses with any port, or anyone. The wider two need `endpoint-independent` mapping."),
    key("hairpin", Flag, Is("true"), "Inside hosts reach each other by their outside addresses."),
    key("ping", Flag, Is("true"), "Its addresses answer pings, within a limit; all else that nobody asked for is silence."),
    key("pooling", OneOf(&["paired", "arbitrary"]), Is("\"paired\""), "`paired`: a host keeps to one address of the pool (RFC 4787 REQ-2). `arbitrary`: every mapping chooses anew."),
    key("address_choice", OneOf(&["hash", "least-used"]), Is("\"hash\""), "How the address is chosen: by a keyed hash, or the one with the fewest sessions."),
    key("allocation", Table(ALLOCATION), Means("`{ kind = \"random\" }`"), "How ports are chosen."),
    key("parity", Flag, Is("false"), "Even inside ports get even outside ports, odd ones odd (RFC 4787 REQ-4)."),
    key("contiguity", Flag, Is("false"), "A host's port next to one that is mapped gets the outside port next to that one's, if it is free."),
    key("overflow_ports", TextOrNumber(1, 65_535), Means("none"), "Ports within `ports` that no mapping gets: remotes share them, endpoint-dependent, when a mapping finds no port."),
    key("hold_down", Table(HOLD_DOWN), Means("`{ seconds = 120, ports = 4096 }`"), "How long a port rests before another host gets it (RFC 6888 REQ-8)."),
    key("refresh", OneOf(&["both", "outbound"]), Is("\"both\""), "Which packets keep a session alive: those of both directions, or those from inside only (RFC 4787 REQ-6)."),
    key("limits", Table(POOL_LIMITS), Means("none"), "How much all hosts of the pool together may have."),
    key("allow", Texts, Means("all"), "Prefixes of remotes that may begin something; with it nobody else may. The longest prefix of `allow` and `deny` decides; both together have 65536 at most."),
    key("deny", Texts, Means("none"), "Prefixes of remotes that may begin nothing, not even a ping."),
];

#[rustfmt::skip] // one key a line
const ADDRESSES_FROM: &[Key] = &[
    key("routes", Routes, Required, "`\"all\"` of the Pod's namespace, those of these names `[\"edge-a\"]`, or those with all of these labels `{ tier = \"edge\" }`."),
    key("network", Text, Means("any"), "Only routes of this network."),
    key("family", OneOf(&["ipv4", "ipv6"]), Means("that of `addresses`, else ipv4"), "Only addresses of this family."),
];

#[rustfmt::skip] // one key a line
const ALLOCATION: &[Key] = &[
    key("kind", OneOf(&["random", "preserve", "port-block", "deterministic"]), Is("\"random\""), "`random` (RFC 6056); `preserve`: the host's own port first; `port-block`: a host gets blocks of ports; `deterministic`: its ports follow from its address (RFC 7422)."),
    key("size", Number(1, 65_535), Is("512"), "`port-block`: ports of a block."),
    key("max_blocks", Number(1, PortBlocks::MAX_BLOCKS as i64), Is("4"), "`port-block`: blocks of a host at a time. What begins a session looks at all of them: for more ports make blocks larger."),
    key("quarantine", Number(0, MAX_REST as i64), Is("120"), "`port-block`: seconds that a block rests before another host gets it."),
    key("source", Text, Means("none"), "`deterministic`: the prefix of the hosts."),
    key("ports_per_host", Number(1, 65_535), Means("none"), "`deterministic`: ports of each of them."),
];

#[rustfmt::skip] // one key a line
const HOLD_DOWN: &[Key] = &[
    key("seconds", Number(0, MAX_REST as i64), Is("120"), "Seconds; 0: a port does not rest."),
    key("ports", Number(0, 65_536), Is("4096"), "Ports that rest at a time; the one that has rested longest makes room."),
    key("strict", Flag, Is("false"), "Also ports of TCP, and ports that only known remotes may send to: RFC 6888 REQ-8 excepts them."),
];

#[rustfmt::skip] // one key a line
const POOL_LIMITS: &[Key] = &[
    key("sessions", Number(1, MAX_SESSIONS as i64), Means("none"), "Sessions."),
    key("mappings", Number(1, MAX_SESSIONS as i64), Means("none"), "Endpoint-independent mappings."),
    key("half_open", Number(1, MAX_SESSIONS as i64), Means("none"), "TCP sessions that are not open yet."),
    key("transitory", Number(1, MAX_SESSIONS as i64), Means("none"), "TCP sessions that are no longer open. The oldest of a host ends for its next one."),
    key("session_rate", Number(1, MAX_RATE as i64), Means("none"), "New sessions in a second, and a burst of as many."),
];

#[rustfmt::skip] // one key a line
const RULE: &[Key] = &[
    key("name", Text, Required, "What `show` and `explain` call it; unique."),
    key("kind", OneOf(&["source-nat", "bypass", "drop", "static", "port-forward", "load-balance", "nat64", "siit", "nptv6", "deliver"]), Required, "What happens; see the kinds. `load-balance`, `nat64`, `siit` and `nptv6` are not in this version."),
    key("drain", Flag, Is("false"), "When a reload takes the rule away, its sessions live on to their timeout, or until somebody else gets their outside end. With the source `kubernetes` they end when nothing claims their address any more, or no route gives it."),
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
    key("limits", Table(RULE_LIMITS), Means("none"), "`static`, `port-forward`: how much there may be by the rule. What others begin has as much as what its hosts begin, each apart."),
    key("allow", Texts, Means("all"), "`static`, `port-forward`: prefixes of remotes that may begin something; with it nobody else may. The longest prefix of `allow` and `deny` decides; both together have 65536 at most."),
    key("deny", Texts, Means("none"), "`static`, `port-forward`: prefixes of remotes that may begin nothing."),
];

#[rustfmt::skip] // one key a line
const RULE_LIMITS: &[Key] = &[
    key("sessions", Number(1, MAX_SESSIONS as i64), Means("none"), "Sessions."),
    key("half_open", Number(1, MAX_SESSIONS as i64), Means("none"), "TCP sessions that are not open yet: what a SYN flood from outside can have."),
    key("transitory", Number(1, MAX_SESSIONS as i64), Means("none"), "TCP sessions that are no longer open. The oldest of a host ends for its next one."),
    key("session_rate", Number(1, MAX_RATE as i64), Means("none"), "New sessions in a second, and a burst of as many."),
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
    key("tcp_transitory", Number(1, MAX_TIMEOUT as i64), Is("240"), "TCP after that, and before it without `tcp_half_open`. RFC 5382 asks for 240 at least."),
    key("tcp_half_open", Number(1, MAX_TIMEOUT as i64), Means("`tcp_transitory`"), "TCP before that: RFC 7857 lets it be shorter."),
    key("icmp", Number(1, MAX_TIMEOUT as i64), Is("60"), "ICMP queries. RFC 5508 asks for 60 at least."),
];

#[rustfmt::skip] // one key a line
const TCP: &[Key] = &[
    key("window_tracking", Flag, Is("false"), "Segments outside of the window are dropped: a blind RST, SYN or data changes nothing of a session."),
    key("unsolicited_syn", OneOf(&["drop", "icmp"]), Is("\"drop\""), "A SYN from outside that nobody has asked for: silence, or Port Unreachable after 6 s (RFC 5382 REQ-4)."),
    key("probe", Flag, Is("false"), "An established connection that falls silent is asked whether it lives, before it ends."),
    key("pick_up", Flag, Is("false"), "A segment without SYN from inside, of a connection older than the appliance, begins a session."),
];

#[rustfmt::skip] // one key a line
const LIMITS: &[Key] = &[
    key("sessions", Number(1, MAX_SESSIONS as i64), Is("1000000"), "Size of the session table, allocated at start."),
    key("sources", Number(1, MAX_SESSIONS as i64), Means("half of `sessions`, 4096 at least"), "Inside sources that have sessions at a time, allocated at start."),
    key("sessions_per_source", Number(1, MAX_SESSIONS as i64), Is("4096"), "Begun by one inside address; what others begin does not count."),
    key("mappings_per_source", Number(1, MAX_SESSIONS as i64), Means("none"), "Endpoint-independent mappings of one source."),
    key("half_open_per_source", Number(1, MAX_SESSIONS as i64), Means("none"), "TCP sessions of one source that are not open yet."),
    key("transitory_per_source", Number(1, MAX_SESSIONS as i64), Means("none"), "TCP sessions of one source that are no longer open. The oldest one ends for the next."),
    key("session_rate_per_source", Number(1, MAX_RATE as i64), Means("none"), "New sessions of one source in a second, and a burst of as many."),
    key("source_prefix_v4", Number(8, 32), Is("32"), "Bits of an IPv4 address that make a source."),
    key("source_prefix_v6", Number(16, 128), Is("128"), "Bits of an IPv6 address that make a source: 64 where each subscriber has a prefix."),
    key("fragments", Number(1, MAX_FRAGMENTS as i64), Is("4096"), "Datagrams whose fragments are remembered at a time."),
    key("fragments_per_source", Number(1, MAX_FRAGMENTS as i64), Means("a quarter of `fragments`"), "Those of one sender: of its address, or of its prefix with `source_prefix_v4` and `source_prefix_v6`."),
    key("icmp_error_rate", Number(1, MAX_RATE as i64), Is("1000"), "ICMP errors of our own in a second."),
    key("echo_reply_rate", Number(1, MAX_RATE as i64), Is("1000"), "Echo replies of our own in a second."),
    key("on_full", OneOf(&["refuse", "evict-transitory"]), Is("\"refuse\""), "What a new session meets when the table is full: it is refused, or takes the place of one that is not established."),
];
