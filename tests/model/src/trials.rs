//! The tests: each family against the model, and that the comparison can fail.

use mooring_engine::DropReason;
use mooring_nat::EventKind;

use crate::arranged;
use crate::assigned;
use crate::duel::Family;
use crate::families::{
    all, arbitrary, blocks, contiguity, endpoint_independent, filtering, fixed, large, least_used,
    of_second, of_workers, overflow, parity, picked_up, probed, reloads, together, tracking,
    unsolicited, windows,
};
use crate::faults::{Fault, Wrong};
use crate::limited::of_a_rule;
use crate::packet::{Body, Packet};
use crate::rig::{Tally, shown};
use crate::spec::{NO_LIMITS, Spec, ip};

pub(crate) fn run(name: &str, steps: usize) -> Tally {
    let all = all();
    let at = all.iter().position(|family| family.0 == name).expect("a family of that name");
    all[at].1.run(name, at as u64, steps)
}

#[test]
fn agrees_about_endpoint_independent_pools() {
    run("endpoint-independent", STEPS);
}

#[test]
fn agrees_about_endpoint_dependent_pools() {
    run("endpoint-dependent", STEPS);
}

#[test]
fn agrees_about_states_and_what_keeps_them() {
    run("tracking", STEPS);
}

#[test]
fn agrees_about_static_addresses_and_forwarded_ports() {
    run("fixed", STEPS);
}

#[test]
fn agrees_about_forwarded_ports_that_move() {
    run("forwarded", STEPS);
}

#[test]
fn agrees_about_filtering() {
    run("filtering", STEPS);
}

#[test]
fn agrees_about_reloads() {
    run("reloads", STEPS);
}

#[test]
fn agrees_about_full_tables() {
    run("full", STEPS);
}

#[test]
fn agrees_about_blocks_of_ports() {
    run("blocks", STEPS);
}

#[test]
fn agrees_about_deterministic_slices() {
    run("slices", STEPS);
}

#[test]
fn agrees_about_the_hosts_own_ports() {
    run("own ports", STEPS);
}

#[test]
fn agrees_about_parity() {
    run("parity", STEPS);
}

#[test]
fn agrees_about_contiguity() {
    run("contiguity", STEPS);
}

#[test]
fn agrees_about_arbitrary_addresses() {
    run("arbitrary", STEPS);
}

#[test]
fn agrees_about_the_least_used_address() {
    run("least used", STEPS);
}

#[test]
fn agrees_about_overflow_ports() {
    run("overflow", STEPS);
}

#[test]
fn agrees_about_overflow_ports_of_any_address() {
    run("arbitrary overflow", STEPS);
}

#[test]
fn agrees_about_connections_that_are_older() {
    run("picked up", STEPS);
}

/// RFC 5382 §5.
#[test]
fn agrees_about_connections_that_fall_silent() {
    run("probed", STEPS);
}

#[test]
fn agrees_about_connections_that_fall_silent_in_ipv6() {
    run("probed of v6", STEPS);
}

/// RFC 5961 in kind.
#[test]
fn agrees_about_blind_segments() {
    run("windows", STEPS);
}

#[test]
fn agrees_about_blind_segments_in_ipv6() {
    run("windows of v6", STEPS);
}

#[test]
fn agrees_about_packets_that_come_together() {
    run("together", STEPS);
}

#[test]
fn agrees_about_packets_that_come_together_to_a_full_table() {
    run("together in need", STEPS);
}

#[test]
fn agrees_about_packets_that_come_together_over_reloads() {
    run("together over reloads", STEPS);
}

#[test]
fn agrees_about_packets_that_come_together_in_ipv6() {
    run("together of v6", STEPS);
}

#[test]
fn agrees_about_packets_that_are_cut() {
    run("large", STEPS);
}

#[test]
fn agrees_about_packets_that_two_workers_cut() {
    run("large of two", STEPS);
}

#[test]
fn agrees_about_packets_that_are_too_long_in_ipv6() {
    run("large of v6", STEPS);
}

#[test]
fn agrees_about_overflow_ports_with_hairpins() {
    run("overflow with hairpins", STEPS);
}

#[test]
fn agrees_about_overflow_ports_with_hairpins_in_ipv6() {
    run("overflow with hairpins of v6", STEPS);
}

#[test]
fn agrees_about_the_least_used_address_with_hairpins() {
    run("least used with hairpins", STEPS);
}

#[test]
fn agrees_about_the_least_used_address_with_hairpins_in_ipv6() {
    run("least used with hairpins of v6", STEPS);
}

#[test]
fn agrees_about_parity_over_reloads() {
    run("parity over reloads", STEPS);
}

#[test]
fn agrees_about_contiguity_over_reloads() {
    run("contiguity over reloads", STEPS);
}

#[test]
fn agrees_about_parity_over_reloads_in_ipv6() {
    run("parity over reloads of v6", STEPS);
}

#[test]
fn agrees_about_contiguity_over_reloads_in_ipv6() {
    run("contiguity over reloads of v6", STEPS);
}

#[test]
fn agrees_about_connections_that_are_older_in_ipv6() {
    run("picked up of v6", STEPS);
}

#[test]
fn agrees_about_syn_that_nobody_asked_for() {
    run("unsolicited", STEPS);
}

#[test]
fn agrees_about_syn_that_nobody_asked_two_workers_for() {
    run("unsolicited of two", STEPS);
}

#[test]
fn agrees_about_datagrams_in_pieces() {
    run("pieces", STEPS / 2);
}

#[test]
fn agrees_about_datagrams_in_pieces_of_three_workers() {
    run("pieces of three", STEPS / 2);
}

#[test]
fn agrees_about_datagrams_in_pieces_of_ipv6() {
    run("pieces of v6", STEPS / 2);
}

#[test]
fn agrees_about_ipv6() {
    run("of v6", STEPS);
}

#[test]
fn agrees_about_two_workers() {
    run("of two workers", STEPS);
}

#[test]
fn agrees_about_three_workers() {
    run("of three workers", STEPS);
}

#[test]
fn agrees_about_blocks_of_two_workers() {
    run("blocks of two", STEPS);
}

#[test]
fn agrees_about_blocks_of_three_workers() {
    run("blocks of three", STEPS);
}

#[test]
fn agrees_about_slices_of_two_workers() {
    run("slices of two", STEPS);
}

#[test]
fn agrees_about_slices_of_three_workers() {
    run("slices of three", STEPS);
}

#[test]
fn agrees_about_blocks_of_ports_in_ipv6() {
    run("blocks of v6", STEPS / 2);
}

#[test]
fn agrees_about_deterministic_slices_in_ipv6() {
    run("slices of v6", STEPS / 2);
}

#[test]
fn agrees_about_filtering_in_ipv6() {
    run("filtering of v6", STEPS / 2);
}

#[test]
fn agrees_about_blocks_whose_ports_remotes_share() {
    run("shared blocks", STEPS / 2);
}

#[test]
fn agrees_about_blind_segments_and_pieces_of_three_workers() {
    run("windows of three", STEPS / 2);
}

#[test]
fn agrees_about_blind_segments_of_two_workers_in_ipv6() {
    run("windows of two of v6", STEPS / 2);
}

/// Every reason to drop and every kind of event is met often, or the steps prove little.
#[test]
fn every_reason_and_event_is_met_a_hundred_times() {
    let mut tally = Tally::default();
    for (name, family) in all() {
        tally.add(&family.run(name, 77, STEPS / 6));
    }
    tally.add(&assigned::run(2, 4_000));
    // What random steps come to is not left to what is arranged.
    let few = |reason: &DropReason| tally.drops[*reason as usize] < 100;
    let few: Vec<_> = DropReason::ALL.into_iter().filter(few).map(DropReason::name).collect();
    let listed: Vec<_> =
        ARRANGED.iter().map(|(name, _)| *name).chain(NOT_THE_ENGINES.iter().copied()).collect();
    let unlisted: Vec<_> = few.iter().filter(|name| !listed.contains(name)).collect();
    assert!(unlisted.is_empty(), "random steps do not come to {unlisted:?}");
    for drops in arranged::all() {
        tally.drops.iter_mut().zip(drops).for_each(|(sum, more)| *sum += more);
    }
    let rare: Vec<_> = DropReason::ALL
        .into_iter()
        .map(|reason| (reason.name(), tally.drops[reason as usize]))
        .filter(|(name, times)| *times < 100 && !NOT_THE_ENGINES.contains(name))
        .collect();
    assert!(rare.is_empty(), "{rare:?}");
    let kinds = EventKind::ALL.into_iter();
    let rare: Vec<_> = kinds
        .map(|kind| (kind.name(), tally.events[kind as usize]))
        .filter(|(_, times)| *times < 100)
        .collect();
    assert!(rare.is_empty(), "{rare:?}");
}

/// A checker that finds nothing may be blind: every fault that is put in has to be found.
#[test]
fn every_fault_that_is_put_in_is_found() {
    for what in Wrong::ALL {
        let family = match what {
            Wrong::Worker | Wrong::Astray => of_workers(fixed(), 2),
            Wrong::Backwards => together(),
            Wrong::Unasked => probed(),
            Wrong::LostPiece => large(fixed()),
            Wrong::LostHalf => of_workers(filtering(), 2),
            Wrong::AstrayHalf => filtering(),
            Wrong::LostOld => reloads(),
            Wrong::LostBlock => blocks(),
            _ => endpoint_independent(),
        };
        // Some faults need an event that not every script has.
        let found = (4..12).find_map(|seed| {
            let script = family.script(seed, 3_000);
            family.play(&script, seed, None).expect("without a fault all is well");
            family.play(&script, seed, Some(Fault { what, patience: 100 })).err()
        });
        let (at, why) = found.unwrap_or_else(|| panic!("{what:?} is not found"));
        println!("{what:?}: found at step {at}: {}", why.lines().last().unwrap_or_default());
    }
}

/// What leaves outside is looked at by itself, whatever the model makes of it.
#[test]
fn an_inside_address_that_is_shown_outside_is_found() {
    let family = endpoint_independent();
    let fault = Fault { what: Wrong::Untranslated, patience: 100 };
    let found = family.play(&family.script(4, 1_000), 4, Some(fault));
    let (_, why) = found.expect_err("it is shown");
    assert!(why.contains("10.0.0.2 is shown outside"), "{why}");
    // In a quote, too.
    let (remote, ours) = (ip("198.51.100.1"), ip("203.0.113.16"));
    for (inside, found) in [(ip("10.0.0.2"), true), (ours, false)] {
        let body = Body::Udp { ports: (1, 2), payload: Vec::new() };
        let quote = Packet::new(remote, inside, body).bytes();
        let body = Body::Error { kind: 3, code: 3, word: 0, quote };
        let error = Packet::new(ours, remote, body);
        assert_eq!(shown(&error, &[]).is_some(), found, "{inside}");
    }
}

/// Neither does an option pass that an engine does not keep.
#[test]
fn every_option_that_is_not_kept_is_found() {
    let without = |mut family: Family, change: &dyn Fn(&mut Spec)| {
        let mut told = family.specs[0].clone();
        change(&mut told);
        family.specs[0].told = Some(Box::new(told));
        family
    };
    let families = [
        ("parity", without(parity(), &|spec| spec.pools[0].parity = false)),
        ("contiguity", without(contiguity(), &|spec| spec.pools[0].contiguity = false)),
        ("arbitrary", without(arbitrary(), &|spec| spec.pools[0].arbitrary = false)),
        ("paired", without(endpoint_independent(), &|spec| spec.pools[0].arbitrary = true)),
        ("least used", without(least_used(), &|spec| spec.pools[0].least_used = false)),
        ("overflow", without(overflow(), &|spec| spec.pools[0].overflow = None)),
        (
            "no overflow",
            without(overflow(), &|spec| {
                spec.pools[0].overflow = Some((30001, 30003));
            }),
        ),
        ("pick_up", without(picked_up(), &|spec| spec.tcp.pick_up = false)),
        ("probe", without(probed(), &|spec| spec.tcp.probes = false)),
        ("windows", without(windows(), &|spec| spec.tcp.windows = false)),
        ("unsolicited", without(unsolicited(), &|spec| spec.tcp.tells = false)),
        ("refresh", without(of_second(tracking()), &|spec| spec.pools[0].outbound = false)),
        ("limits of rules", without(of_a_rule(), &|spec| spec.rules[1].limits = NO_LIMITS)),
        ("half-open", without(tracking(), &|spec| spec.timeouts[3] = spec.timeouts[2])),
    ];
    for (what, family) in families {
        let found = family.play(&family.script(5, 2_000), 5, None);
        let (at, why) = found.err().unwrap_or_else(|| panic!("{what} is not kept, and not found"));
        println!("{what}: found at step {at}: {}", why.lines().last().unwrap_or_default());
    }
}

/// Steps of each test of a family.
pub(crate) const STEPS: usize = 110_000;

/// What random steps do not come to a hundred times, and why not: it is arranged.
const ARRANGED: &[(&str, &str)] = &[
    (
        "fragment_limit",
        "the pieces of a step are all of a few datagrams, which are forgotten with the last",
    ),
    ("neighbor_table_full", "it has room for 65,536, and universes are small so that they collide"),
    (
        "neighbor_unresolved",
        "the engines know every next hop: who answers when is not what is compared",
    ),
];

/// The rings between workers are the appliance's (`run/worker/exchange.rs`): it counts what they lose, no
/// engine does, and `a_full_ring_refuses_and_every_buffer_comes_back` shows it.
const NOT_THE_ENGINES: &[&str] = &["hand_over_full"];
