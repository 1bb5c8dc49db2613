//! The configurations that are tried, by family.

use std::net::IpAddr;

use crate::duel::Family;
use crate::limited::{limits, transitory, transitory_v6};
use crate::packet::{TCP, UDP};
use crate::spec::{Action, Filtering, Kind, Net, Pool, Rule, Spec, ip};
use crate::step::Universe;

/// Source NAT, endpoint-independent, two addresses, few ports.
pub(crate) fn endpoint_independent() -> Family {
    let pool = Pool::new("egress", &["203.0.113.16", "203.0.113.17"], (30000, 30003));
    let spec =
        Spec::new(vec![pool], vec![drop_mail(), source_nat("egress", "egress", "10.0.0.0/24")]);
    Family { specs: vec![spec], universe: universe(), workers: 1 }
}

/// Source NAT, endpoint-dependent: ports are shared between remotes.
fn endpoint_dependent() -> Family {
    let mut pool = Pool::new("egress", &["203.0.113.16", "203.0.113.17"], (30000, 30001));
    pool.endpoint_dependent = true;
    let spec =
        Spec::new(vec![pool], vec![drop_mail(), source_nat("egress", "egress", "10.0.0.0/24")]);
    Family { specs: vec![spec], universe: universe(), workers: 1 }
}

/// Long conversations of few, whose every packet may be one that keeps nothing.
pub(crate) fn tracking() -> Family {
    let spec = |outbound, filtering| {
        let mut pool = Pool::new("egress", &["203.0.113.16"], (30000, 30007));
        (pool.outbound, pool.filtering) = (outbound, filtering);
        Spec::new(vec![pool], vec![source_nat("egress", "egress", "10.0.0.0/24")])
    };
    let specs = vec![spec(false, Filtering::Endpoint), spec(true, Filtering::Endpoint)];
    let universe = universe();
    let universe = Universe {
        hosts: universe.hosts[..2].to_vec(),
        remotes: universe.remotes[..2].to_vec(),
        specs: 2,
        reloads: 2,
        ..universe
    };
    Family { specs, universe, workers: 1 }
}

/// Connections that are older than the appliance.
pub(crate) fn picked_up() -> Family {
    let mut family = tracking();
    for spec in &mut family.specs {
        spec.tcp.pick_up = true;
    }
    family.universe.hairpins = 60;
    family
}

/// Hosts are asked before their connections end, of hairpins, too.
pub(crate) fn probed() -> Family {
    let mut family = tracking();
    for spec in &mut family.specs {
        spec.tcp.probes = true;
    }
    (family.universe.hairpins, family.universe.wait) = (60, 6_000);
    family
}

/// Blind RST, SYN and data segments among those of the ends.
pub(crate) fn windows() -> Family {
    let mut family = tracking();
    for spec in &mut family.specs {
        (spec.tcp.windows, spec.pools[0].hairpin) = (true, false);
    }
    family.specs[1].tcp.probes = true;
    family.universe.hairpins = 0;
    family
}

/// What comes in one batch is as if it came one after the other.
pub(crate) fn together() -> Family {
    let mut family = endpoint_independent();
    family.specs[0].pools[0].filtering = Filtering::Endpoint;
    (family.universe.batches, family.universe.hairpins) = (300, 60);
    family
}

/// The same where tables are full, make room, and pools move.
fn together_in_need(mut family: Family) -> Family {
    family.universe.batches = 300;
    family
}

/// Whose hosts send to each other's outside ends, too.
fn with_hairpins(mut family: Family) -> Family {
    family.specs.iter_mut().flat_map(|spec| &mut spec.pools).for_each(|pool| pool.hairpin = true);
    family.universe.hairpins = 60;
    family
}

/// Whose options come and go, and ports move.
fn that_change(mut family: Family) -> Family {
    let with = |change: &dyn Fn(&mut Pool)| {
        let mut spec = family.specs[0].clone();
        change(&mut spec.pools[0]);
        spec
    };
    let more = [
        with(&|pool| (pool.parity, pool.contiguity) = (!pool.parity, !pool.contiguity)),
        with(&|pool| pool.ports = (30002, 30009)),
        with(&|pool| pool.addresses.reverse()),
    ];
    family.specs.extend(more);
    (family.universe.specs, family.universe.reloads) = (family.specs.len(), 20);
    family
}

/// Some of whose packets are longer than others.
pub(crate) fn large(mut family: Family) -> Family {
    (family.universe.large, family.universe.hairpins) = (300, 0);
    family
}

/// The same in IPv6.
pub(crate) fn in_v6(mut family: Family) -> Family {
    let other = |address: &mut IpAddr| {
        let IpAddr::V4(v4) = *address else { return };
        let [a, .., last] = v4.octets();
        let net = match a {
            10 => "fd00:10::",
            203 => "2001:db8:ff::",
            198 => "2001:db8:2::",
            _ => "2001:db8:1::",
        };
        *address = ip(&format!("{net}{last:x}"));
    };
    let net = |net: &mut Net| {
        other(&mut net.0);
        net.1 += 96;
        // A /24 is a link.
        net.1 -= if net.1 == 120 { 56 } else { 0 };
    };
    for spec in &mut family.specs {
        for pool in &mut spec.pools {
            pool.addresses.iter_mut().for_each(other);
            pool.allow.iter_mut().chain(&mut pool.deny).for_each(net);
            if let Kind::Slices(hosts, _) = &mut pool.kind {
                net(hosts);
            }
        }
        for rule in &mut spec.rules {
            let lists = rule.allow.iter_mut().chain(&mut rule.deny);
            lists.chain(&mut rule.source).chain(&mut rule.destination).for_each(net);
            match &mut rule.action {
                Action::Static(inside, outside) => [inside, outside].into_iter().for_each(other),
                Action::PortForward(address, _, _, target) => {
                    other(address);
                    other(&mut target.0);
                }
                _ => {}
            }
        }
    }
    let Universe { hosts, remotes, targets, .. } = &mut family.universe;
    hosts.iter_mut().chain(remotes).chain(targets).for_each(other);
    family
}

/// Who asks for what nobody has asked for is told, if nobody does.
pub(crate) fn unsolicited() -> Family {
    let mut family = tracking();
    for spec in &mut family.specs {
        (spec.tcp.tells, spec.pools[0].filtering) = (true, Filtering::AddressAndPort);
    }
    let universe = &mut family.universe;
    (universe.targets, universe.target_ports) =
        (vec![ip("203.0.113.16")], vec![30000, 30001, 30002, 30003]);
    universe.remote_ports.truncate(2);
    universe.wait = 1_500;
    family
}

/// Static addresses, forwarded ports, bypass.
pub(crate) fn fixed() -> Family {
    let pool = Pool::new("egress", &["203.0.113.16"], (30000, 30003));
    let forward = |name, protocol, ports, target| {
        let action = Action::PortForward(ip("203.0.113.16"), protocol, ports, (ip(target), 80));
        Rule::new(name, action)
    };
    let mut bypass = Rule::new("routed", Action::Bypass);
    bypass.destination = Some(Net::of("198.51.100.3/32"));
    let rules = vec![
        Rule::new("one", Action::Static(ip("10.0.0.3"), ip("203.0.113.20"))),
        forward("web", TCP, (8080, 8081), "10.0.0.2"),
        forward("names", UDP, (30001, 30001), "10.0.0.4"),
        bypass,
        source_nat("egress", "egress", "10.0.0.0/24"),
    ];
    let mut universe = universe();
    universe.targets.push(ip("203.0.113.20"));
    universe.remotes.push(ip("198.51.100.3"));
    universe.target_ports = vec![8080, 8081, 30001, 1, 2];
    universe.ports = vec![1, 2, 80, 81];
    Family { specs: vec![Spec::new(vec![pool], rules)], universe, workers: 1 }
}

/// Forwarded ports that come, go and move to another host.
pub(crate) fn forwarded() -> Family {
    let mut family = fixed();
    let mut moved = family.specs[0].clone();
    for rule in &mut moved.rules {
        if let Action::PortForward(_, TCP, _, target) = &mut rule.action {
            target.0 = ip("10.0.0.5");
        }
    }
    let mut none = family.specs[0].clone();
    none.rules.retain(|rule| !matches!(rule.action, Action::PortForward(..)));
    family.specs.extend([moved, none]);
    let universe = Universe { specs: 3, reloads: 5, hairpins: 60, ..family.universe };
    Family { universe, ..family }
}

/// The wider kinds of filtering, and pools without pings and hairpins.
pub(crate) fn filtering() -> Family {
    let spec = |filtering, hairpin, ping| {
        let mut pool = Pool::new("egress", &["203.0.113.16"], (30000, 30003));
        (pool.filtering, pool.hairpin, pool.ping) = (filtering, hairpin, ping);
        Spec::new(vec![pool], vec![source_nat("egress", "egress", "10.0.0.0/24")])
    };
    let specs = vec![
        spec(Filtering::Endpoint, true, true),
        spec(Filtering::Address, true, false),
        spec(Filtering::Endpoint, false, true),
    ];
    let universe = Universe { specs: 3, reloads: 3, hairpins: 120, ..universe() };
    Family { specs, universe, workers: 1 }
}

/// Pools that move, swap and change their kind under sessions.
pub(crate) fn reloads() -> Family {
    let spec = |a: (&[&str], (u16, u16)), b: (&[&str], (u16, u16)), dependent| {
        let (mut first, second) = (Pool::new("a", a.0, a.1), Pool::new("b", b.0, b.1));
        first.endpoint_dependent = dependent;
        let mut of_two = source_nat("two", "b", "10.0.0.2/32");
        of_two.drain = dependent;
        Spec::new(vec![first, second], vec![of_two, source_nat("rest", "a", "10.0.0.0/24")])
    };
    let (x, y) = (["203.0.113.16"], ["203.0.113.17"]);
    let both = ["203.0.113.16", "203.0.113.17"];
    let mut specs = vec![
        spec((&x, (30000, 30003)), (&y, (30000, 30003)), false),
        spec((&y, (30000, 30003)), (&x, (30000, 30003)), false),
        spec((&both, (30002, 30005)), (&both, (30000, 30001)), false),
        spec((&x, (30000, 30001)), (&x, (30002, 30003)), false),
        spec((&x, (30000, 30003)), (&y, (30000, 30003)), true),
    ];
    specs[3].rules.insert(0, Rule::new("one", Action::Static(ip("10.0.0.3"), ip("203.0.113.17"))));
    specs[2].timeouts = [10, 40, 15, 15, 5];
    specs.push(Spec::new(Vec::new(), vec![drop_mail()]));
    let universe = Universe { specs: specs.len(), reloads: 20, hairpins: 60, ..universe() };
    Family { specs, universe, workers: 1 }
}

/// A table that is soon full, and makes room.
fn full() -> Family {
    let pool = Pool::new("egress", &["203.0.113.16"], (30000, 30031));
    let mut spec = Spec::new(vec![pool], vec![source_nat("egress", "egress", "10.0.0.0/24")]);
    (spec.sessions, spec.per_source) = (9, 4);
    let mut evicting = spec.clone();
    evicting.evict = true;
    let universe = Universe { specs: 2, reloads: 2, hairpins: 60, ..universe() };
    Family { specs: vec![spec, evicting], universe, workers: 1 }
}

/// Blocks of ports.
pub(crate) fn blocks() -> Family {
    let spec = |kind, ports| {
        let mut pool = Pool::new("egress", &["203.0.113.16"], ports);
        (pool.kind, pool.filtering, pool.hairpin) = (kind, Filtering::Endpoint, false);
        Spec::new(vec![pool], vec![source_nat("egress", "egress", "10.0.0.0/24")])
    };
    let mut spec = spec(Kind::Blocks(4, 2, 20), (30000, 30023));
    spec.sessions = 40;
    Family { specs: vec![spec], universe: universe(), workers: 1 }
}

/// Another address, and no whole number of rounds of blocks in each.
fn two_addresses(mut family: Family) -> Family {
    let pool = &mut family.specs[0].pools[0];
    pool.addresses.push(ip("203.0.113.17"));
    pool.ports = (30000, 30029);
    family
}

/// Slices by the hosts' addresses; not all hosts have one.
fn slices() -> Family {
    let mut family = blocks();
    let pool = &mut family.specs[0].pools[0];
    (pool.kind, pool.ports) = (Kind::Slices(Net::of("10.0.0.0/30"), 6), (30000, 30011));
    pool.addresses.push(ip("203.0.113.17"));
    family
}

/// The host's own port first.
fn own_ports() -> Family {
    let mut family = blocks();
    let pool = &mut family.specs[0].pools[0];
    (pool.kind, pool.ports) = (Kind::Preserve, (1024, 1031));
    family.universe.ports = vec![1024, 1025, 1030];
    family
}

/// A pool of two addresses that says more about its ports or addresses than others.
fn of_pool(ports: (u16, u16), change: impl Fn(&mut Pool)) -> Family {
    let mut family = endpoint_independent();
    let pool = &mut family.specs[0].pools[0];
    pool.ports = ports;
    change(pool);
    family
}

/// Even ports for even ones, odd for odd, and neighbours for neighbours.
pub(crate) fn parity() -> Family {
    of_pool((30000, 30005), |pool| (pool.parity, pool.contiguity) = (true, true))
}

/// Neighbours for neighbours, and ports that do not rest.
pub(crate) fn contiguity() -> Family {
    of_pool((30000, 30005), |pool| (pool.contiguity, pool.hold_down) = (true, (0, false)))
}

/// Every mapping of any address.
pub(crate) fn arbitrary() -> Family {
    of_pool((30000, 30003), |pool| pool.arbitrary = true)
}

/// The address that has the fewest sessions.
pub(crate) fn least_used() -> Family {
    of_pool((30000, 30007), |pool| {
        pool.addresses.push(ip("203.0.113.18"));
        (pool.least_used, pool.hairpin) = (true, false);
    })
}

/// Ports that remotes share when no mapping finds one.
pub(crate) fn overflow() -> Family {
    of_pool((30000, 30003), |pool| {
        (pool.overflow, pool.filtering) = (Some((30002, 30003)), Filtering::Endpoint);
        (pool.parity, pool.hairpin) = (true, false);
    })
}

/// The same, and any address.
fn arbitrary_overflow() -> Family {
    of_pool((30000, 30003), |pool| {
        (pool.overflow, pool.arbitrary) = (Some((30002, 30003)), true);
        (pool.hairpin, pool.hold_down) = (false, (20, true));
    })
}

/// Of IPv6: all kinds.
pub(crate) fn of_v6() -> Family {
    let pool = Pool::new("egress", &["2001:db8:ff::10", "2001:db8:ff::11"], (30000, 30003));
    let mut dependent = pool.clone();
    dependent.endpoint_dependent = true;
    let forward =
        Action::PortForward(ip("2001:db8:ff::12"), TCP, (8080, 8081), (ip("fd00:10::2"), 80));
    let spec = |pool| {
        let rules = vec![
            Rule::new("one", Action::Static(ip("fd00:10::3"), ip("2001:db8:ff::20"))),
            Rule::new("web", forward.clone()),
            source_nat("egress", "egress", "fd00:10::/64"),
        ];
        Spec::new(vec![pool], rules)
    };
    let ips = |all: &[&str]| all.iter().map(|text| ip(text)).collect();
    let universe = Universe {
        hosts: ips(&["fd00:10::2", "fd00:10::3", "fd00:10::4"]),
        remotes: ips(&["2001:db8:2::1", "2001:db8:2::2", "2001:db8:1::7"]),
        targets: ips(&["2001:db8:ff::10", "2001:db8:ff::12", "2001:db8:ff::20", "2001:db8:1::1"]),
        specs: 2,
        reloads: 1,
        hairpins: 60,
        target_ports: vec![8080, 8081, 30000, 1],
        ports: vec![1, 2, 80],
        ..universe()
    };
    Family { specs: vec![spec(pool), spec(dependent)], universe, workers: 1 }
}

/// The same from its second configuration on.
pub(crate) fn of_second(mut family: Family) -> Family {
    family.specs.remove(0);
    family
}

/// The same with several workers.
pub(crate) fn of_workers(family: Family, workers: usize) -> Family {
    let mut family = Family { workers, ..family };
    for spec in &mut family.specs {
        (spec.sessions, spec.per_source) = (24 * workers, 8);
    }
    family
}

pub(crate) fn source_nat(name: &'static str, pool: &'static str, source: &str) -> Rule {
    let mut rule = Rule::new(name, Action::SourceNat(pool));
    rule.source = Some(Net::of(source));
    rule
}

fn drop_mail() -> Rule {
    let mut rule = Rule::new("no-mail", Action::Drop);
    (rule.protocol, rule.destination_port) = (Some(TCP), Some(25));
    rule
}

pub(crate) fn universe() -> Universe {
    let ips = |all: &[&str]| all.iter().map(|text| ip(text)).collect();
    Universe {
        hosts: ips(&["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]),
        ports: vec![1, 2, 3],
        remotes: ips(&["198.51.100.1", "198.51.100.2", "192.0.2.7"]),
        remote_ports: vec![53, 443, 25],
        targets: ips(&["203.0.113.16", "203.0.113.17", "192.0.2.1", "10.0.0.1"]),
        target_ports: vec![30000, 30001, 30002, 30003, 1],
        wait: 3_000,
        specs: 1,
        hairpins: 30,
        reloads: 0,
        pieces: 0,
        batches: 0,
        large: 0,
    }
}

/// A family some of whose datagrams come in pieces.
fn in_pieces(mut family: Family) -> Family {
    family.universe.pieces = 200;
    family
}

/// Blocks whose ports remotes share: sessions have them, no mapping.
fn shared_blocks() -> Family {
    let mut family = blocks();
    let pool = &mut family.specs[0].pools[0];
    (pool.endpoint_dependent, pool.filtering) = (true, Filtering::AddressAndPort);
    family
}

/// All families, by name. What each plays follows from its place: new ones come last.
pub(crate) fn all() -> Vec<(&'static str, Family)> {
    let mut all = without_drains();
    all.extend(crate::draining::all());
    all.extend(of_both());
    all.extend(crate::limited::that_change_all());
    all
}

/// In IPv6 what others do in IPv4, and of several workers what others do of one.
fn of_both() -> Vec<(&'static str, Family)> {
    vec![
        ("blocks of v6", in_v6(of_workers(blocks(), 2))),
        ("slices of v6", in_v6(of_workers(slices(), 3))),
        ("filtering of v6", in_v6(of_workers(filtering(), 2))),
        ("limits of sources of v6", in_v6(limits())),
        ("limits of pools of v6", in_v6(of_workers(of_second(limits()), 2))),
        ("shared blocks", shared_blocks()),
        ("windows of three", in_pieces(of_workers(windows(), 3))),
        ("windows of two of v6", in_v6(of_workers(windows(), 2))),
    ]
}

fn without_drains() -> Vec<(&'static str, Family)> {
    vec![
        ("endpoint-independent", endpoint_independent()),
        ("endpoint-dependent", endpoint_dependent()),
        ("tracking", tracking()),
        ("fixed", fixed()),
        ("forwarded", forwarded()),
        ("filtering", filtering()),
        ("reloads", reloads()),
        ("full", full()),
        ("limits of sources", limits()),
        ("limits of pools", of_second(limits())),
        ("transitory", transitory()),
        ("transitory of two", of_workers(transitory(), 2)),
        ("transitory of v6", transitory_v6()),
        ("blocks", blocks()),
        ("slices", slices()),
        ("own ports", own_ports()),
        ("parity", parity()),
        ("contiguity", contiguity()),
        ("arbitrary", arbitrary()),
        ("least used", least_used()),
        ("overflow", overflow()),
        ("arbitrary overflow", arbitrary_overflow()),
        ("picked up", picked_up()),
        ("probed", probed()),
        ("probed of v6", in_v6(of_workers(probed(), 2))),
        ("windows", windows()),
        ("windows of v6", in_v6(windows())),
        ("together", together()),
        ("together in need", together_in_need(full())),
        ("together over reloads", together_in_need(reloads())),
        ("together of v6", in_v6(together())),
        ("large", large(fixed())),
        ("large of two", of_workers(large(fixed()), 2)),
        ("large of v6", large(of_v6())),
        ("overflow with hairpins", with_hairpins(overflow())),
        ("overflow with hairpins of v6", in_v6(with_hairpins(overflow()))),
        ("least used with hairpins", with_hairpins(least_used())),
        ("least used with hairpins of v6", in_v6(with_hairpins(least_used()))),
        ("parity over reloads", that_change(parity())),
        ("contiguity over reloads", that_change(contiguity())),
        ("parity over reloads of v6", in_v6(that_change(parity()))),
        ("contiguity over reloads of v6", in_v6(that_change(contiguity()))),
        ("picked up of v6", in_v6(picked_up())),
        ("unsolicited", unsolicited()),
        ("unsolicited of two", of_workers(unsolicited(), 2)),
        ("of v6", of_v6()),
        ("pieces", in_pieces(filtering())),
        ("pieces of three", of_workers(in_pieces(fixed()), 3)),
        ("pieces of v6", of_workers(in_pieces(of_v6()), 2)),
        ("of two workers", of_workers(filtering(), 2)),
        ("of three workers", of_workers(fixed(), 3)),
        ("blocks of two", of_workers(blocks(), 2)),
        ("blocks of three", of_workers(two_addresses(blocks()), 3)),
        ("slices of two", of_workers(slices(), 2)),
        ("slices of three", of_workers(slices(), 3)),
        ("limits of sources of two", of_workers(limits(), 2)),
        ("limits of pools of three", of_workers(of_second(limits()), 3)),
    ]
}
