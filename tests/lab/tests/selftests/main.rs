//! What Linux demands of its own NAT (`tools/testing/selftests/net/netfilter`), demanded of ours.
//!
//! Each lab runs twice, around the appliance and around the kernel's own NAT, so that a lab that is
//! wrong is not taken for a NAT that is. Every demand is named in docs/peer-checklist.md.

mod clashes;
mod nat;
mod paths;
mod rules;

use anyhow::{Context, Result};
use mooring_lab::{Mtus, Variant, isolated};

use nat::{Running, Setup};

#[test]
fn an_inside_host_cannot_take_the_port_of_a_service() {
    isolated("an_inside_host_cannot_take_the_port_of_a_service", rules::port_shadow);
}

#[test]
fn a_later_rule_takes_effect_on_a_syn_that_nobody_answers() {
    isolated("a_later_rule_takes_effect_on_a_syn_that_nobody_answers", rules::unreplied_syn);
}

#[test]
fn syns_that_nobody_answers_do_not_keep_their_session() {
    isolated("syns_that_nobody_answers_do_not_keep_their_session", rules::unpinned_syn);
}

#[test]
fn a_translated_error_arrives_exactly_once_with_a_right_quote() {
    isolated("a_translated_error_arrives_exactly_once_with_a_right_quote", || {
        let mtus = Mtus { far: 1280, ..Mtus::default() };
        with_each(&Setup::default().mtus(mtus), paths::one_error)
    });
}

#[test]
fn two_mebibytes_pass_links_of_9000_1500_and_2000_bytes() {
    isolated("two_mebibytes_pass_links_of_9000_1500_and_2000_bytes", || {
        let mtus = Mtus { inside: 9000, outside: 1500, far: 2000 };
        with_each(&paths::forwarding().mtus(mtus), paths::files)
    });
}

#[test]
fn fragmented_datagrams_pass_a_static_prefix() {
    isolated("fragmented_datagrams_pass_a_static_prefix", || {
        with_each(&paths::fixed(), paths::fragmented_datagrams)
    });
}

#[test]
fn a_hundred_hosts_with_one_source_port_get_through_one_address() {
    isolated("a_hundred_hosts_with_one_source_port_get_through_one_address", || {
        with_each(&Setup::default(), clashes::a_hundred_hosts)
    });
}

#[test]
fn first_datagrams_sent_at_one_instant_are_one_flow_and_none_is_lost() {
    isolated("first_datagrams_sent_at_one_instant_are_one_flow_and_none_is_lost", || {
        with_each(&Setup::default(), clashes::at_one_instant)?;
        let workers = Setup::default().variant(Variant::TwoWorkers);
        clashes::at_one_instant(&Running::mooring(&workers)?).context("two workers")
    });
}

#[test]
fn two_hosts_with_one_source_port_reach_one_service() {
    isolated("two_hosts_with_one_source_port_reach_one_service", || {
        with_each(&Setup::default(), clashes::one_service)
    });
}

/// Runs `demand` around either NAT.
fn with_each(setup: &Setup, demand: fn(&Running) -> Result<()>) -> Result<()> {
    let kernel = Running::nftables(setup)?;
    demand(&kernel).context("by nftables: the lab itself is wrong")?;
    drop(kernel);
    let mooring = Running::mooring(setup)?;
    demand(&mooring).with_context(|| mooring.said()).context("by mooring")?;
    mooring.stop()
}
