//! Sessions under another policy: kept, ended, drained, routed anew; and that whatever happens in
//! whatever order nothing is lost and nothing belongs to two.

mod inbound;

use std::collections::HashSet;
use std::net::Ipv4Addr;

use mooring_policy::{InterfaceId, PoolId};
use mooring_session::{Direction, FlowKey, NO_RULE, SessionRef};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::prop_oneof;
use proptest::sample::{Index, select};

use crate::fixture::{CountedHops, INSIDE, OUTSIDE, World, flow};
use crate::{HAIRPIN_INTERFACE, Rechecked, Refusal};

const POOL: &str = r#"
    pool = [{ name = "egress", addresses = ["203.0.113.10"], ports = "4000-4007" }]
    rule = [
        { name = "web", kind = "port-forward", address = "203.0.113.10", port = 8080, target = "10.0.0.3:80" },
        { name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" },
    ]
"#;

fn udp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, source, destination)
}

/// RFC 4787 REQ-8, address-dependent filtering: a remote that the host talks to since before the policy
/// that asks for it may come by another port, for as long as a session of theirs lives.
/// RFC 4787 REQ-1: an inside end keeps its outside end, also for what it begins after the reload.
#[test]
fn a_mapping_follows_its_rule_to_a_pool_of_another_name() {
    let mut world = World::new(POOL);
    let before = world.session(udp("10.0.0.2:5000", "192.0.2.7:53"));
    world.reload(&POOL.replace("egress", "heir"));
    assert_eq!(world.sweep(), 0);
    let after = world.session(udp("10.0.0.2:5000", "192.0.2.8:53"));
    assert_eq!(after.outside_port, before.outside_port);
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports_of(PoolId(0))), (1, 1));
}

/// The same where only what somebody outside has begun is left of it, and is asked about first.
#[test]
fn what_others_have_begun_goes_on_by_a_pool_of_another_name() {
    let open = POOL.replace("\"4000-4007\"", "\"4000-4007\", filtering = \"endpoint-independent\"");
    let mut world = World::new(&open);
    let before = world.session(udp("10.0.0.2:5000", "192.0.2.7:53"));
    let outside = format!("203.0.113.10:{}", before.outside_port);
    let key = udp("192.0.2.8:53", &outside);
    world.arrive(OUTSIDE, key, None).expect("anybody may");
    let first = world.nat.sessions.find_key(&before.key(Direction::Forward)).expect("it lives");
    let now = world.now;
    world.nat.end(first.index, &mut world.hops, now);
    world.reload(&open.replace("egress", "heir"));
    assert_eq!(world.sweep(), 0);
    let after = world.session(udp("10.0.0.2:5000", "192.0.2.9:53"));
    assert_eq!(after.outside_port, before.outside_port);
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports_of(PoolId(0))), (1, 1));
}

/// The same where all that is left of it drains, for no rule wants it any more.
#[test]
fn what_drains_goes_on_by_a_pool_of_another_name() {
    let drains = POOL.replace("pool = \"egress\" }", "pool = \"egress\", drain = true }");
    let mut world = World::new(&drains);
    let before = world.session(udp("10.0.0.2:5000", "192.0.2.7:53"));
    let no_names =
        "rule = [{ name = \"no-names\", kind = \"drop\", destination = [\"192.0.2.7/32\"] },";
    world.reload(&drains.replace("egress", "heir").replace("rule = [", no_names));
    assert_eq!(world.sweep(), 0);
    let after = world.session(udp("10.0.0.2:5000", "192.0.2.9:53"));
    assert_eq!(after.outside_port, before.outside_port);
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports_of(PoolId(0))), (1, 1));
}

/// A pool whose addresses are others after each reload.
fn moved(n: usize, more: &str) -> String {
    let addresses = format!("203.0.{}.0/24", n % 100);
    POOL.replace("203.0.113.10\"]", &format!("{addresses}\"]"))
        .replace("pool = \"egress\" }", &format!("pool = \"egress\"{more} }}"))
}

#[test]
fn addresses_that_no_pool_names_any_more_cost_no_memory() {
    let mut world = World::new(&moved(0, ""));
    for n in 1..=50 {
        world.session(udp("10.0.0.2:5000", "192.0.2.7:53"));
        world.reload(&moved(n, ""));
        assert!(world.nat.ports.addresses() <= 256 + 1, "those of before are given back at once");
        assert_eq!(world.sweep(), 1);
        assert_eq!(world.nat.ports.addresses(), 256, "and with its last session the last of them");
        assert_eq!(world.nat.leased_ports(), 0);
    }
}

#[test]
fn an_address_that_a_port_is_leased_of_is_not_forgotten() {
    let mut world = World::new(&moved(0, ", drain = true"));
    let session = world.session(udp("10.0.0.2:5000", "192.0.2.7:53"));
    for n in 1..=5 {
        world.reload(&moved(n, ", drain = true"));
        assert_eq!((world.sweep(), world.nat.ports.addresses()), (0, 257));
    }
    let (outside, port) = (session.outside, session.outside_port);
    assert!(world.nat.ports.is_leased(outside, Protocol::UDP, port), "it drains");
    world.pass(10_000_000);
    world.reload(&moved(7, ", drain = true"));
    assert_eq!((world.nat.leased_ports(), world.nat.ports.addresses()), (0, 256));
}

/// If it has begun something else before, in the other pool, the older one ends.
#[test]
fn an_inside_end_does_not_have_two_mappings_in_a_pool() {
    let mut world = World::new(POOL);
    world.session(udp("10.0.0.2:5000", "192.0.2.7:53"));
    world.reload(&POOL.replace("egress", "heir"));
    world.session(udp("10.0.0.2:5000", "192.0.2.8:53"));
    assert_eq!(world.sweep(), 1);
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports_of(PoolId(0))), (1, 1));
}

#[test]
fn a_policy_that_filters_by_address_knows_the_sessions_of_before() {
    let mut world = World::new(POOL);
    let first = world.send(udp("10.0.0.2:5000", "198.51.100.1:53")).expect("admitted");
    let outside = world.nat.sessions.session(first.index).outside_port;
    let kind = r#"ports = "4000-4007", filtering = "address-dependent""#;
    world.reload(&POOL.replace(r#"ports = "4000-4007""#, kind));
    assert_eq!(world.sweep(), 0);
    let from = |remote: &str| udp(remote, &format!("203.0.113.10:{outside}"));
    let second = world.arrive(OUTSIDE, from("198.51.100.1:99"), None).expect("they talk already");
    assert_eq!(world.arrive(OUTSIDE, from("198.51.100.2:99"), None), Err(Refusal::Filtered));
    // One of the two ends, and the other one is still there.
    world.nat.end(first.index, &mut world.hops, world.now);
    world.arrive(OUTSIDE, from("198.51.100.1:98"), None).expect("they still talk");
    world.nat.end(second.index, &mut world.hops, world.now);
    let contacts = world.nat.contacts.len();
    assert_eq!(contacts, 1, "of the third session");
}

#[test]
fn what_the_new_policy_would_do_too_goes_on() {
    let mut world = World::new(POOL);
    let out = world.send(udp("10.0.0.2:5000", "198.51.100.1:53")).expect("admitted");
    let web = flow(Protocol::TCP, "198.51.100.1:9", "203.0.113.10:8080");
    let web = world.arrive(OUTSIDE, web, Some(Flags::SYN)).expect("admitted");
    let before = world.holdings();
    // One more rule in front, so that all have other numbers, and another way out.
    let route = "route = [{ destination = \"198.51.100.0/24\", via = \"192.0.2.77\" }]\n";
    let config = POOL.replace(
        "rule = [",
        "rule = [{ name = \"no\", kind = \"drop\", destination_ports = \"25\" },",
    );
    let links = r#"
        interface = [
            { name = "inside", device = "in0", addresses = ["10.0.0.1/24"] },
            { name = "outside", device = "out0", addresses = ["192.0.2.1/24"] },
        ]
    "#;
    world.reload(&format!("{config}{links}{route}"));
    assert_eq!(world.sweep(), 0);
    assert_eq!(world.holdings(), before);
    for (found, rule) in [(out, 2), (web, 1)] {
        let session = world.nat.sessions.session(found.index);
        assert_eq!((session.rule, session.generation), (rule, world.generation.0));
        let hop = usize::from(session.forward_hop.0);
        assert_eq!(world.hops.users[hop].0.next_hop.to_string(), "192.0.2.77");
    }
}

#[test]
fn what_it_would_do_otherwise_ends() {
    let cases = [
        (
            "no pool any more",
            POOL.replace("source-nat", "bypass").replace(", pool = \"egress\" }", " }"),
        ),
        ("another address", POOL.replace("[\"203.0.113.10\"]", "[\"203.0.113.11\"]")),
        ("other ports", POOL.replace("4000-4007", "5000-5007")),
        (
            "another kind of mapping",
            POOL.replace("ports =", "mapping = \"endpoint-dependent\", ports ="),
        ),
        (
            "a rule that drops",
            POOL.replace(
                "rule = [",
                "rule = [{ name = \"no\", kind = \"drop\", destination_ports = \"53\" },",
            ),
        ),
        (
            "a rule that takes the port",
            POOL.replace("port = 8080", "protocol = \"udp\", port = \"4000-4007\""),
        ),
    ];
    for (what, config) in cases {
        let mut world = World::new(POOL);
        let found = world.send(udp("10.0.0.2:5000", "198.51.100.1:53")).expect("admitted");
        world.reload(&config);
        let (nat, mut admission) = world.admission();
        let Rechecked::Ended(session) = nat.recheck(found.index, &mut admission) else {
            panic!("kept in spite of {what}");
        };
        assert_eq!(session.inside_port, 5000);
        assert_eq!((world.nat.leased_ports(), world.holdings().hop_users), (0, 0), "{what}");
    }
    let mut world = World::new(POOL);
    let web = flow(Protocol::TCP, "198.51.100.1:9", "203.0.113.10:8080");
    assert!(world.arrive(OUTSIDE, web, Some(Flags::SYN)).is_ok());
    world.reload(&POOL.replace("10.0.0.3:80", "10.0.0.4:80"));
    assert_eq!((world.sweep(), world.nat.sessions.len()), (1, 0), "another target");
}

#[test]
fn a_draining_rule_lets_its_sessions_live_to_their_timeout() {
    let mut world =
        World::new(&POOL.replace("pool = \"egress\" }", "pool = \"egress\", drain = true }"));
    let found = world.send(udp("10.0.0.2:5000", "198.51.100.1:53")).expect("admitted");
    world.reload(&POOL.replace("4000-4007", "5000-5007"));
    assert_eq!(world.sweep(), 0);
    assert_eq!(world.nat.sessions.session(found.index).rule, NO_RULE);
    // What begins now has the new ports, the old lease stays until its session ends.
    let new = world.session(udp("10.0.0.2:5000", "198.51.100.2:53"));
    assert!((5000..=5007).contains(&new.outside_port));
    assert_eq!(world.nat.leased_ports(), 2);
    assert_eq!(world.pass(302_000).len(), 2);
    assert_eq!(world.nat.leased_ports(), 0);
}

/// What can be loaded in the property: pools of both kinds, filterings, claims, a static host.
fn configs() -> Vec<String> {
    let kind = |keys: &str| POOL.replace("ports =", &format!("{keys}, ports ="));
    vec![
        POOL.to_owned(),
        kind("mapping = \"endpoint-dependent\""),
        kind("filtering = \"endpoint-independent\""),
        kind("filtering = \"address-dependent\""),
        POOL.replace("8080", "\"4002-4004\""),
        POOL.replace("rule = [", "rule = [{ name = \"s\", kind = \"static\", inside = \"10.0.0.2\", outside = \"203.0.113.20\" },"),
        POOL.replace("pool = \"egress\" }", "pool = \"egress\", drain = true }"),
    ]
    .into_iter()
    .map(|config| format!("limits = {{ sessions = 24, on_full = \"evict-transitory\" }}\n{config}"))
    .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(InterfaceId, FlowKey<Ipv4Addr>),
    Pass(u64),
    Reload(Index),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ours = || select(vec!["203.0.113.10", "203.0.113.20"]);
    let port = || prop_oneof![3 => 4000..4008u16, 1 => select(vec![8080, 53])];
    let end = |address: &str, port: u16| format!("{address}:{port}");
    let hosts = select(vec!["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    let remotes = select(vec!["198.51.100.1", "198.51.100.2"]);
    let protocol = || select(vec![Protocol::UDP, Protocol::TCP]);
    let to = prop_oneof![3 => remotes.clone(), 1 => ours()];
    let out =
        (hosts, 1..6u16, to, port(), protocol()).prop_map(move |(from, p, to, q, protocol)| {
            Step::Arrive(INSIDE, flow(protocol, &end(from, p), &end(to, q)))
        });
    let inward = (remotes, port(), ours(), port(), protocol()).prop_map(
        move |(from, p, to, q, protocol)| {
            Step::Arrive(OUTSIDE, flow(protocol, &end(from, p), &end(to, q)))
        },
    );
    let step = prop_oneof![
        6 => out,
        6 => inward,
        1 => (0..200_000u64).prop_map(Step::Pass),
        1 => any::<Index>().prop_map(Step::Reload),
        1 => select(vec![Step::Sweep]),
    ];
    vec(step, 1..300)
}

/// A packet arrives, as the engine has it: a hairpin is admitted twice, or not at all.
fn arrive(world: &mut World, ingress: InterfaceId, key: FlowKey<Ipv4Addr>) {
    let flags = (key.protocol == Protocol::TCP).then_some(Flags::SYN);
    let created = world.nat.created;
    let Ok(SessionRef { index, direction }) = world.arrive(ingress, key, flags) else { return };
    let session = world.nat.sessions.session(index).clone();
    if session.is_hairpin(direction) {
        let middle = session.key(direction.opposite()).exchanged();
        let second = world.arrive(HAIRPIN_INTERFACE, middle, flags);
        // Making room may have ended the first half; the engine looks it up again.
        let first = world.nat.sessions.find_key(&session.key(Direction::Forward));
        if let (Err(_), Some(first), true) = (second, first, world.nat.created > created) {
            world.nat.end(first.index, &mut world.hops, world.now);
        }
    }
}

/// Every session is found by both keys, every lease has a mapping and every mapping its sessions,
/// and no outside end with one remote end belongs to two.
fn check(world: &World) {
    let nat = &world.nat;
    assert_eq!(nat.leased_ports(), nat.mappings.len(), "every lease has an owner");
    let (mut outside, mut mapped, mut hop_users) = (HashSet::new(), 0, 0);
    for index in nat.sessions.page(0, u32::MAX).0 {
        let session = nat.sessions.session(index);
        for direction in [Direction::Forward, Direction::Reverse] {
            let found = nat.sessions.find_key(&session.key(direction));
            assert_eq!(found, Some(SessionRef { index, direction }));
        }
        assert!(outside.insert(session.key(Direction::Reverse)), "{session:?}");
        mapped += u32::from(nat.sessions.held(index).mapping.is_some());
        hop_users += 2 - u32::from(session.is_hairpin(Direction::Forward));
    }
    assert_eq!(nat.mappings.page(0, u32::MAX).0.map(|(_, users)| users).sum::<u32>(), mapped);
    assert_eq!(world.holdings().hop_users, hop_users);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_is_lost_and_nothing_belongs_to_two(steps in steps(), seed in any::<u64>()) {
        let configs = configs();
        let mut world = World::seeded(&configs[0], seed);
        for step in steps {
            match step {
                Step::Arrive(ingress, key) => arrive(&mut world, ingress, key),
                Step::Pass(millis) => _ = world.pass(millis),
                Step::Reload(which) => world.reload(&configs[which.index(configs.len())]),
                Step::Sweep => _ = world.sweep(),
            }
            check(&world);
        }
        world.sweep();
        world.pass(7_442_000);
        let left = world.holdings();
        assert_eq!((left.sessions, left.mappings, left.leased_ports), (0, 0, 0));
        assert_eq!((left.hop_users, left.sources), (0, 0));
    }
}

/// RFC 4787 REQ-1: "A NAT MUST have an 'Endpoint-Independent Mapping' behavior", across a reload too
/// that puts another pool in front.
#[test]
fn a_mapping_is_found_again_wherever_its_pool_stands() {
    let mut world = World::new(POOL);
    let first = world.session(udp("10.0.0.2:5000", "198.51.100.1:53")).outside_port;
    world.reload(
        r#"
        pool = [
            { name = "other", addresses = ["203.0.113.99"] },
            { name = "egress", addresses = ["203.0.113.10"], ports = "4000-4007" },
        ]
        rule = [
            { name = "other", kind = "source-nat", source = ["10.0.0.77"], to = "outside", pool = "other" },
            { name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" },
        ]"#,
    );
    let second = world.session(udp("10.0.0.2:5000", "198.51.100.2:53")).outside_port;
    assert_eq!(second, first);
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports()), (1, 1));
    let mapping = world.nat.mappings.page(0, 1).0.next().expect("there is one").0;
    assert_eq!(world.nat.pool_of(mapping), Some(PoolId(1)));
}

/// The filtering of the mapping's own pool decides, whichever pools and rules stand in front. A pool of
/// another name has no say in it.
#[test]
fn a_stranger_is_let_in_by_the_pool_of_the_mapping() {
    let open = |name: &str| {
        format!(
            r#"
            pool = [
                {{ name = "other", addresses = ["203.0.113.99"] }},
                {{ name = "{name}", addresses = ["203.0.113.10"], filtering = "endpoint-independent" }},
            ]
            rule = [
                {{ name = "other", kind = "source-nat", source = ["10.0.0.77"], to = "outside", pool = "other" }},
                {{ name = "first", kind = "source-nat", from = "inside", to = "outside", pool = "{name}" }},
                {{ name = "second", kind = "source-nat", source = ["10.0.0.2"], to = "outside", pool = "{name}" }},
            ]"#
        )
    };
    let mut world = World::new(&open("egress"));
    let outside = world.session(udp("10.0.0.2:5000", "198.51.100.1:53")).outside_port;
    let to = format!("203.0.113.10:{outside}");
    let let_in = world.arrive(OUTSIDE, udp("198.51.100.2:9", &to), None).expect("filtered by none");
    assert_eq!(world.nat.sessions.session(let_in.index).rule, 1);
    world.reload(&open("renamed"));
    let refused = world.arrive(OUTSIDE, udp("198.51.100.3:9", &to), None);
    assert_eq!(refused, Err(Refusal::Filtered));
}

/// A full table of neighbours at a recheck ends the session and loses nothing.
#[test]
fn no_room_for_a_new_next_hop_ends_the_session() {
    let mut world = World::new(POOL);
    assert!(world.send(udp("10.0.0.2:5000", "198.51.100.1:53")).is_ok());
    let CountedHops { capacity, .. } = &mut world.hops;
    *capacity = 2;
    world.reload(&format!(
        r#"{POOL}
        interface = [
            {{ name = "inside", device = "in0", addresses = ["10.0.0.1/24"] }},
            {{ name = "outside", device = "out0", addresses = ["192.0.2.1/24"] }},
        ]
        route = [{{ destination = "198.51.100.0/24", via = "192.0.2.99" }}]"#
    ));
    assert_eq!(world.sweep(), 1);
    assert_eq!((world.holdings().hop_users, world.nat.leased_ports()), (0, 0));
    let refused = world.send(udp("10.0.0.2:5000", "198.51.100.1:53"));
    assert_eq!(refused, Err(Refusal::NeighborTableFull));
}
