//! What a configuration means once loaded: defaults, every key of this version, lookups.

use std::net::IpAddr;
use std::path::PathBuf;

use mooring_wire::Protocol;

use crate::{
    Action, Allocation, Backend, Hop, InterfaceId, Limits, Loaded, OnFull, Ownership, PoolId,
    PortBlocks, Question, RuleId, Settings, Timeouts, load,
};

const LINKS: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24", "fd00:10::1/64"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
"#;

fn loaded(more: &str) -> Loaded {
    let text = format!("{more}\n{LINKS}");
    load(&text).unwrap_or_else(|problems| panic!("{}", problems.render("test")))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn question(source: &str, destination: &str, protocol: Protocol, port: u16) -> Question {
    Question {
        ingress: InterfaceId(0),
        egress: InterfaceId(1),
        source: address(source),
        destination: address(destination),
        protocol,
        source_port: 40_000,
        destination_port: port,
    }
}

/// RFC 4787 REQ-5c, RFC 5382 REQ-5, RFC 5508 REQ-2: the timeouts that they ask for.
#[test]
fn what_is_absent_has_the_default_of_the_contract() {
    let Loaded { policy, settings, .. } = loaded("");
    let Timeouts { udp, tcp_established, tcp_transitory, icmp, .. } = policy.timeouts;
    assert_eq!((udp, tcp_established, tcp_transitory, icmp), (300, 7_440, 240, 60));
    assert_eq!(policy.limits, Limits::default());
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.control_socket, PathBuf::from("/run/mooring/control.sock"));
    assert_eq!(policy.interfaces[0].backend, Backend::AfPacket);
}

#[test]
fn pool_defaults_are_those_of_the_contract() {
    let pools = "[[pool]]\nname = \"egress\"\naddresses = [\"203.0.113.10/32\"]";
    let loaded = loaded(pools);
    let pool = &loaded.policy.pools[0];
    assert_eq!(pool.ports, 1024..=65535);
    assert!(pool.hairpin && pool.ping);
    assert_eq!(pool.address_count(), 1);
    assert_eq!(pool.nth_address(0), Some(address("203.0.113.10")));
    assert_eq!(pool.nth_address(1), None);
    assert_eq!(loaded.warnings.len(), 1, "only that there is no rule: {:?}", loaded.warnings);
}

#[test]
fn a_block_is_of_512_ports_and_rests_for_two_minutes_unless_the_pool_says_otherwise() {
    let pool = "[[pool]]\nname = \"egress\"\naddresses = [\"203.0.113.10/32\"]\n\
                allocation = { kind = \"port-block\" }";
    let expected = PortBlocks { size: 512, max_blocks: 4, quarantine: 120 };
    assert_eq!(loaded(pool).policy.pools[0].allocation, Allocation::PortBlock(expected));
}

#[test]
fn every_key_of_this_version_arrives() {
    let Loaded { policy, settings, .. } = loaded(
        r#"
        version = 1
        appliance = { workers = 1, control_socket = "/tmp/m.sock", allow_kernel_forwarding = true }
        control = { source = "file" }
        timeouts = { udp = 121, tcp_established = 7441, tcp_transitory = 241, icmp = 61 }
        limits = { sessions = 1000, sessions_per_source = 10, fragments = 7, on_full = "evict-transitory" }

        [[pool]]
        name = "egress"
        addresses = ["203.0.113.0/31", "203.0.113.10"]
        ports = 5000
        mapping = "endpoint-independent"
        filtering = "address-and-port-dependent"
        hairpin = false
        ping = false
        allocation = { kind = "random" }

        [[rule]]
        name = "out"
        kind = "source-nat"
        pool = "egress"
        "#,
    );
    assert_eq!(settings.control_socket, PathBuf::from("/tmp/m.sock"));
    assert!(settings.allow_kernel_forwarding);
    let timeouts = Timeouts {
        udp: 121,
        tcp_established: 7441,
        tcp_transitory: 241,
        tcp_half_open: 241,
        icmp: 61,
    };
    assert_eq!(policy.timeouts, timeouts);
    let on_full = OnFull::EvictTransitory;
    let limits = Limits {
        sessions: 1000,
        sessions_per_source: 10,
        fragments: 7,
        on_full,
        sources: 1000,
        fragments_per_source: Some(1),
        ..Limits::default()
    };
    assert_eq!(policy.limits, limits);
    let pool = policy.pool(PoolId(0));
    assert_eq!((pool.address_count(), pool.ports.clone()), (3, 5000..=5000));
    assert_eq!(pool.nth_address(2), Some(address("203.0.113.10")));
    assert!(!pool.hairpin && !pool.ping);
    assert_eq!(policy.rule(RuleId(0)).action, Action::SourceNat(PoolId(0)));
}

#[test]
fn routes_are_connected_or_by_longest_prefix() {
    let policy = loaded(
        r#"
        [[route]]
        destination = "0.0.0.0/0"
        via = "192.0.2.2"

        [[route]]
        destination = "10.9.0.0/16"
        via = "10.0.0.254"

        [[route]]
        destination = "198.51.100.0/24"
        interface = "outside"

        [[route]]
        destination = "::/0"
        via = "fe80::1"
        interface = "outside"
        "#,
    )
    .policy;
    let cases = [
        ("10.0.0.7", 0, "10.0.0.7"),
        ("10.9.0.7", 0, "10.0.0.254"),
        ("10.10.0.7", 1, "192.0.2.2"),
        ("198.51.100.7", 1, "198.51.100.7"),
        ("fd00:10::7", 0, "fd00:10::7"),
        ("2001:db8:2::7", 1, "fe80::1"),
    ];
    for (destination, interface, next_hop) in cases {
        let hop = Hop { interface: InterfaceId(interface), next_hop: address(next_hop) };
        assert_eq!(policy.route(address(destination)), Some(hop), "{destination}");
    }
    assert_eq!(loaded("").policy.route(address("8.8.8.8")), None);
}

#[test]
fn own_addresses_are_those_of_interfaces_and_pools() {
    let policy = loaded("[[pool]]\nname = \"p\"\naddresses = [\"192.0.2.8/30\"]").policy;
    let outside = Some(Ownership::Interface(InterfaceId(1)));
    assert_eq!(policy.ownership(address("192.0.2.1")), outside);
    assert_eq!(policy.ownership(address("2001:db8:1::1")), outside);
    assert_eq!(policy.ownership(address("192.0.2.8")), Some(Ownership::Pool(PoolId(0))));
    assert_eq!(policy.ownership(address("192.0.2.11")), Some(Ownership::Pool(PoolId(0))));
    assert_eq!(policy.ownership(address("192.0.2.12")), None);
    assert_eq!(policy.ownership(address("2001:db8:1::2")), None);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = loaded(
        r#"
        [[rule]]
        name = "no-mail"
        kind = "drop"
        protocol = "tcp"
        destination_ports = "25"

        [[rule]]
        name = "web"
        kind = "bypass"
        destination_ports = "80-443"

        [[rule]]
        name = "ours"
        kind = "bypass"
        source = ["10.0.0.0/24"]
        "#,
    )
    .policy;
    let decide = |source, protocol, port| {
        policy.decide(&question(source, "198.51.100.1", protocol, port)).map(|id| id.0)
    };
    assert_eq!(decide("10.0.0.2", Protocol::TCP, 25), Some(0));
    assert_eq!(decide("10.0.0.2", Protocol::UDP, 25), Some(2));
    assert_eq!(decide("10.1.0.2", Protocol::UDP, 443), Some(1));
    assert_eq!(decide("10.1.0.2", Protocol::ICMP, 443), None, "an identifier is not a port");
    assert_eq!(decide("10.1.0.2", Protocol::TCP, 444), None);
}

#[test]
fn places_count_characters_and_quotes_cannot_break_lines() {
    let text = "# größer\n\"é\" = 1\n\"a\\n\\u001bb\" = 2\n";
    let problems = load(text).expect_err("unknown keys").0;
    let place = |index: usize| (problems[index].line, problems[index].column);
    assert_eq!(problems[1].message, "unknown key `é`");
    assert_eq!((place(1), place(2)), ((2, 1), (3, 1)));
    assert_eq!(problems[2].message, "unknown key `a\\n\\u{1b}b`");
}

mod access;
mod claims;
mod holding;
mod kernel;
mod reference;
mod workers;

#[test]
fn a_source_is_an_address_or_the_prefix_that_is_asked_for() {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let limits = Limits { source_prefix_v6: 64, ..Limits::default() };
    assert_eq!(limits.source_of(address("10.0.0.9")), address("10.0.0.9"));
    assert_eq!(limits.source_of(address("fd00::1:2:3")), address("fd00::"));
}

#[test]
fn pools_of_different_allocation_share_an_address_by_their_ports() {
    let Loaded { policy, warnings, .. } = loaded(
        r#"
        [[pool]]
        name = "calculated"
        addresses = ["203.0.113.10"]
        ports = "1024-2047"
        allocation = { kind = "deterministic", source = "10.0.0.0/30", ports_per_host = 256 }

        [[pool]]
        name = "blocks"
        addresses = ["203.0.113.10"]
        ports = "2048-4095"
        allocation = { kind = "port-block", size = 256 }

        [[pool]]
        name = "also-calculated"
        addresses = ["203.0.113.11"]
        ports = "1024-2047"
        allocation = { kind = "deterministic", source = "10.0.0.0/30", ports_per_host = 256 }

        [[rule]]
        name = "tcp"
        kind = "source-nat"
        protocol = "tcp"
        source = ["10.0.0.0/30"]
        pool = "calculated"

        [[rule]]
        name = "udp"
        kind = "source-nat"
        protocol = "udp"
        source = ["10.0.0.0/30"]
        pool = "also-calculated"

        [[rule]]
        name = "others"
        kind = "source-nat"
        pool = "blocks"
        "#,
    );
    assert_eq!(warnings, [], "a host may have slices of two pools: rules tell them apart");
    let host = |pool: usize, outside| policy.pools[pool].deterministic_host(address(outside), 1300);
    assert_eq!(host(0, "203.0.113.10"), host(2, "203.0.113.11"));
    assert_eq!(host(0, "203.0.113.10"), Some(address("10.0.0.1")));
}
