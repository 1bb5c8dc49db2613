//! Families with limits: of sources, pools and rules, of one worker and of several, and limits that another
//! policy changes while what they count lives.

use crate::duel::Family;
use crate::families::{in_v6, of_v6, of_workers, source_nat, tracking, universe};
use crate::packet::TCP;
use crate::spec::{Action, Filtering, Limits, NO_LIMITS, Net, Pool, Rule, Spec, ip};
use crate::step::Universe;

/// Limits of sources and pools, lists of who may begin, and a pool that has lost its addresses.
pub(crate) fn limits() -> Family {
    let mut pool = Pool::new("egress", &["203.0.113.16"], (30000, 30031));
    pool.filtering = Filtering::Endpoint;
    pool.hold_down = (0, false);
    pool.deny = vec![Net::of("198.51.100.2/32")];
    let forward = Action::PortForward(ip("203.0.113.17"), TCP, (8080, 8081), (ip("10.0.0.2"), 80));
    let mut web = Rule::new("web", forward);
    web.allow = vec![Net::of("198.51.100.0/24")];
    web.deny = vec![Net::of("198.51.100.2/32")];
    let mut lost = Pool::new("lost", &["203.0.113.18"], (30000, 30003));
    lost.empty = true;
    let rules = vec![
        web,
        source_nat("lost", "lost", "10.0.0.5/32"),
        source_nat("egress", "egress", "10.0.0.0/24"),
    ];
    let base = Spec::new(vec![pool, lost], rules);
    let mut of_source = base.clone();
    of_source.of_source =
        Limits { mappings: Some(4), half_open: Some(2), rate: Some(1), ..NO_LIMITS };
    let mut of_pool = base;
    of_pool.pools[0].limits = Limits {
        sessions: Some(9),
        mappings: Some(7),
        half_open: Some(3),
        rate: Some(2),
        ..NO_LIMITS
    };
    let universe = Universe { target_ports: vec![8080, 8081, 30000, 30001], ..universe() };
    let universe = Universe { wait: 600, specs: 1, ..universe };
    Family { specs: vec![of_source, of_pool], universe, workers: 1 }
}

/// So many connections that close: of a source, of a pool, of both.
pub(crate) fn transitory() -> Family {
    let mut family = tracking();
    for spec in &mut family.specs {
        spec.of_source = Limits { transitory: Some(1), ..NO_LIMITS };
        (spec.pools[0].ports, spec.pools[0].hold_down) = ((30000, 30031), (0, false));
        spec.timeouts[2] = 300;
    }
    let of_pool = |limit| Limits { transitory: Some(limit), ..NO_LIMITS };
    family.specs[1].pools[0].limits = of_pool(2);
    let mut third = family.specs[0].clone();
    (third.of_source, third.pools[0].limits) = (NO_LIMITS, of_pool(1));
    family.specs.push(third);
    let universe = Universe { specs: 3, hairpins: 80, wait: 600, ..family.universe };
    Family { universe, ..family }
}

/// The same of IPv6, of sources.
pub(crate) fn transitory_v6() -> Family {
    let mut family = of_v6();
    for spec in &mut family.specs {
        spec.of_source = Limits { transitory: Some(1), ..NO_LIMITS };
        spec.timeouts[2] = 300;
    }
    family
}

/// Limits that come, go and change under sessions: of sources, of a pool, of a host's static address and of
/// a forwarded port; and rules that go with their sessions still there.
pub(crate) fn that_change(workers: usize) -> Family {
    let mut pool = Pool::new("egress", &["203.0.113.16"], (30000, 30031));
    (pool.filtering, pool.hold_down) = (Filtering::Endpoint, (0, false));
    let web = Action::PortForward(ip("203.0.113.17"), TCP, (8080, 8081), (ip("10.0.0.2"), 80));
    let one = Action::Static(ip("10.0.0.3"), ip("203.0.113.20"));
    let mut rules = vec![Rule::new("web", web), Rule::new("one", one)];
    rules.push(source_nat("egress", "egress", "10.0.0.0/24"));
    rules.iter_mut().for_each(|rule| rule.drain = true);
    let mut base = Spec::new(vec![pool], rules);
    // What closes is there for long enough to be many.
    base.timeouts[2] = 120;
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = base.clone();
        change(&mut spec);
        spec
    };
    let specs = vec![
        base.clone(),
        with(&|spec| spec.of_source = limit([None, Some(4), Some(2), None], Some(1))),
        with(&|spec| spec.pools[0].limits = limit([Some(9), Some(7), Some(3), None], Some(2))),
        with(&|spec| {
            spec.rules[0].limits = limit([Some(3), None, Some(2), None], Some(2));
            spec.rules[1].limits = limit([Some(4), None, Some(1), None], Some(1));
        }),
        with(&|spec| {
            spec.of_source = limit([None, Some(3), Some(1), Some(1)], Some(2));
            spec.pools[0].limits = limit([Some(6), Some(5), Some(2), Some(2)], Some(3));
            spec.rules[0].limits = limit([Some(2), None, Some(1), Some(1)], Some(1));
        }),
        with(&|spec| {
            spec.of_source = limit([None, None, Some(3), Some(2)], None);
            spec.rules[1].limits = limit([Some(2), None, Some(2), Some(1)], None);
            spec.pools[0].limits = limit([Some(8), Some(6), None, None], None);
            // The same by another name.
            spec.pools[0].name = "exit";
            spec.rules[2].action = Action::SourceNat("exit");
        }),
        with(&|spec| {
            spec.rules.drain(..2);
            spec.of_source = limit([None, None, Some(1), None], None);
            spec.pools[0].limits = limit([Some(9), None, None, Some(1)], None);
        }),
    ];
    let mut universe = universe();
    universe.targets.push(ip("203.0.113.20"));
    let universe = Universe {
        target_ports: vec![8080, 8081, 30000, 30001, 1, 2],
        ports: vec![1, 2, 80],
        wait: 600,
        specs: specs.len(),
        reloads: 20,
        hairpins: 60,
        ..universe
    };
    let mut family = of_workers(Family { specs, universe, workers: 1 }, workers);
    family.specs[4].per_source = 4;
    family
}

/// Only one rule's, for a host's address of its own.
pub(crate) fn of_a_rule() -> Family {
    let mut family = that_change(1);
    let mut spec = family.specs.swap_remove(0);
    spec.rules[1].limits = limit([Some(2), None, None, None], None);
    family.universe.reloads = 0;
    Family { specs: vec![spec], ..family }
}

/// Sessions, mappings, connections that are not open and that close; new sessions in a second.
fn limit(
    [sessions, mappings, half_open, transitory]: [Option<usize>; 4],
    rate: Option<u64>,
) -> Limits {
    Limits { sessions, mappings, half_open, transitory, rate }
}

/// Those that change, by name.
pub(crate) fn that_change_all() -> Vec<(&'static str, Family)> {
    vec![
        ("limits that change", that_change(1)),
        ("limits that change of three", that_change(3)),
        ("limits that change of v6", in_v6(that_change(1))),
    ]
}

#[cfg(test)]
mod tests {
    use crate::trials::{STEPS, run};

    #[test]
    fn agrees_about_limits_of_sources() {
        run("limits of sources", STEPS);
    }

    #[test]
    fn agrees_about_limits_of_pools() {
        run("limits of pools", STEPS);
    }

    #[test]
    fn agrees_about_limits_of_connections_that_close() {
        run("transitory", STEPS);
    }

    #[test]
    fn agrees_about_limits_of_connections_that_close_of_two_workers() {
        run("transitory of two", STEPS / 2);
    }

    #[test]
    fn agrees_about_limits_of_connections_that_close_of_ipv6() {
        run("transitory of v6", STEPS);
    }

    #[test]
    fn agrees_about_limits_of_sources_of_two_workers() {
        run("limits of sources of two", STEPS / 2);
    }

    #[test]
    fn agrees_about_limits_of_pools_of_three_workers() {
        run("limits of pools of three", STEPS / 2);
    }

    #[test]
    fn agrees_about_limits_of_sources_in_ipv6() {
        run("limits of sources of v6", STEPS / 2);
    }

    #[test]
    fn agrees_about_limits_of_pools_in_ipv6() {
        run("limits of pools of v6", STEPS / 2);
    }

    #[test]
    fn agrees_about_limits_that_change_under_sessions() {
        run("limits that change", STEPS);
    }

    #[test]
    fn agrees_about_limits_that_change_under_sessions_of_three_workers() {
        run("limits that change of three", STEPS / 2);
    }

    #[test]
    fn agrees_about_limits_that_change_under_sessions_of_ipv6() {
        run("limits that change of v6", STEPS / 2);
    }
}
