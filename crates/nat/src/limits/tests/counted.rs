//! Whatever happens in whatever order: what the tally says is what is there.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use mooring_session::Direction::{Forward, Reverse};
use mooring_session::FlowKey;
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;
use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};
use proptest::prop_oneof;
use proptest::sample::select;

use crate::fixture::{OUTSIDE, World, flow};
use crate::tally::Numbered;

/// Without options; with them; and with the pool under another name, and one more.
fn configs() -> [String; 4] {
    let config = |limits: &str, pools: &str, pool: &str| {
        format!(
            r#"
            limits = {{ sessions = 12, on_full = "evict-transitory", source_prefix_v4 = 31, {limits} }}
            pool = [{pools}]
            rule = [
                {{ name = "web", kind = "port-forward", address = "203.0.113.10", port = 80, target = "10.0.0.2:80" }},
                {{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "{pool}", drain = true }},
            ]"#
        )
    };
    let pool = |name: &str, ports: &str, more: &str| {
        format!(
            r#"{{ name = "{name}", addresses = ["203.0.113.10"], ports = "{ports}", filtering = "endpoint-independent", {more} }}"#
        )
    };
    let sources = "mappings_per_source = 3, half_open_per_source = 3, transitory_per_source = 2, session_rate_per_source = 5";
    let pools =
        "limits = { sessions = 6, mappings = 5, half_open = 4, transitory = 3, session_rate = 9 }";
    let two = [pool("other", "5000-5009", ""), pool("egress", "4000-4009", pools)].join(",");
    [
        config("", &pool("egress", "4000-4009", ""), "egress"),
        config(sources, &pool("egress", "4000-4009", pools), "egress"),
        config("", &pool("renamed", "4000-4009", pools), "renamed"),
        config(sources, &two, "other"),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Inside(FlowKey<Ipv4Addr>),
    Outside(u8, u16, u16),
    Segment(u8, bool, Flags),
    Pass(u64),
    Reload(usize),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let inside = (2u8..6, 1u16..4, 1u8..4, any::<bool>()).prop_map(|(host, port, remote, tcp)| {
        let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
        let (source, remote) = (format!("10.0.0.{host}:{port}"), format!("198.51.100.{remote}:80"));
        Step::Inside(flow(protocol, &source, &remote))
    });
    let port = prop_oneof![select(vec![80u16]), 4000u16..4010];
    let outside =
        (1u8..9, 1u16..9, port).prop_map(|(host, from, to)| Step::Outside(host, from, to));
    let flags = select(vec![
        Flags::SYN,
        Flags::SYN | Flags::ACK,
        Flags::ACK,
        Flags::FIN | Flags::ACK,
        Flags::RST,
    ]);
    let segment =
        (any::<u8>(), any::<bool>(), flags).prop_map(|(at, r, f)| Step::Segment(at, r, f));
    let step = prop_oneof![
        8 => inside,
        4 => outside,
        8 => segment,
        1 => (0u64..3_000).prop_map(Step::Pass),
        1 => (0u64..400_000).prop_map(Step::Pass),
        1 => (0usize..4).prop_map(Step::Reload),
        1 => select(vec![Step::Sweep]),
    ];
    prop::collection::vec(step, 0..200)
}

fn take(world: &mut World, step: &Step) {
    match step {
        Step::Inside(key) => _ = world.send(*key),
        Step::Outside(host, from, to) => {
            let source = format!("198.51.100.{host}:{from}");
            let key = flow(Protocol::TCP, &source, &format!("203.0.113.10:{to}"));
            _ = world.arrive(OUTSIDE, key, Some(Flags::SYN));
        }
        Step::Segment(at, reverse, flags) => {
            let live: Vec<_> = world.nat.sessions.page(0, u32::MAX).0.collect();
            let Some(index) = live.get(usize::from(*at) % live.len().max(1)) else { return };
            if world.nat.sessions.session(*index).protocol == Protocol::TCP {
                world.segment(*index, if *reverse { Reverse } else { Forward }, *flags);
            }
        }
        Step::Pass(millis) => _ = world.pass(*millis),
        Step::Reload(which) => world.reload(&configs()[*which]),
        Step::Sweep => _ = world.sweep(),
    }
}

/// Compares the tally with a count of what is there, once every session has been rechecked.
fn check(world: &World) {
    let nat = &world.nat;
    let mut by_source: HashMap<Ipv4Addr, [[u32; 2]; 3]> = HashMap::new();
    for index in nat.sessions.page(0, u32::MAX).0 {
        let session = nat.sessions.session(index);
        let counts = by_source.entry(nat.source_of(session.inside)).or_default();
        counts[0][nat.sessions.held(index).began as usize] += 1;
        if let Some(way) = session.state.half_open() {
            counts[1][way as usize] += 1;
        }
        counts[2][nat.sessions.held(index).began as usize] += u32::from(session.state.is_over());
    }
    assert_eq!(nat.sources.len(), by_source.len());
    let mut mappings: HashMap<Ipv4Addr, u32> = HashMap::new();
    for (mapping, _) in nat.mappings.page(0, u32::MAX).0 {
        *mappings.entry(nat.source_of(mapping.inside)).or_default() += 1;
    }
    for (address, [sessions, half_open, transitory]) in by_source {
        let source = nat.sources.find(address).expect("who has sessions is there");
        let counted = [Forward, Reverse].map(|way| nat.sources.source(source).sessions(way));
        assert_eq!(counted, sessions);
        if let Some(tally) = nat.tally.as_ref().filter(|_| !nat.is_sweeping()) {
            assert_eq!(tally.source(source).half_open, half_open, "{address}");
            let listed = [Forward, Reverse].map(|way| {
                let closing: Vec<u32> = tally.closing_longest(source, way).collect();
                let live = |at: &u32| nat.sessions.first_live(*at, *at + 1);
                assert!(closing.iter().all(|at| live(at).is_some_and(|index| {
                    nat.sessions.session(index).state.is_over()
                        && nat.sessions.held(index).began == way
                })));
                closing.len() as u32
            });
            assert_eq!(listed, tally.source(source).transitory, "{address}");
            if tally.counts_closing() {
                assert_eq!(listed, transitory, "{address}");
            }
            let mapped = mappings.get(&address).copied().unwrap_or_default();
            assert_eq!(tally.source(source).mappings, mapped, "{address}");
        }
    }
}

/// The same of pools: those of a mapping are known by it.
fn check_pools(world: &World) {
    let nat = &world.nat;
    let Some(tally) = nat.tally.as_ref().filter(|_| !nat.is_sweeping()) else { return };
    let mut by_pool: HashMap<u16, [u32; 2]> = HashMap::new();
    let mut closing = 0;
    for index in nat.sessions.page(0, u32::MAX).0 {
        let held = nat.sessions.held(index);
        let Some(mapping) = held.mapping else { continue };
        let counts = by_pool.entry(nat.mappings.mapping(mapping).pool).or_default();
        counts[held.began as usize] += 1;
        closing += u32::from(nat.sessions.session(index).state.is_over());
    }
    let counted = |number| tally.of(Numbered::Pool(number)).sessions;
    if tally.counts_closing() {
        let told = (0..9).flat_map(|pool| tally.of(Numbered::Pool(pool)).transitory).sum::<u32>();
        assert_eq!(told, closing);
    }
    let all: [u32; 2] = [0, 1].map(|way| by_pool.values().map(|counts| counts[way]).sum());
    let told: [u32; 2] = [0, 1].map(|way| (0..9).map(|pool| counted(pool)[way]).sum());
    assert_eq!(told, all, "every session is of one pool");
    let mut mappings = 0;
    for (mapping, _) in nat.mappings.page(0, u32::MAX).0 {
        mappings += 1;
        assert!(tally.of(Numbered::Pool(mapping.pool)).mappings > 0);
    }
    assert_eq!((0..9).map(|pool| tally.of(Numbered::Pool(pool)).mappings).sum::<u32>(), mappings);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_tally_is_what_is_there(steps in steps(), seed in any::<u64>(), first in 0usize..4) {
        let mut world = World::seeded(&configs()[first], seed);
        for step in &steps {
            take(&mut world, step);
            check(&world);
            check_pools(&world);
        }
        world.sweep();
        world.pass(7_442_000);
        assert_eq!((world.nat.sessions.len(), world.nat.sources.len()), (0, 0));
        if let Some(tally) = &world.nat.tally {
            for number in 0..9 {
                let pool = tally.of(Numbered::Pool(number));
                let counts = [pool.sessions, pool.half_open, pool.transitory];
                assert_eq!((counts, pool.mappings), ([[0; 2]; 3], 0));
            }
        }
    }
}
