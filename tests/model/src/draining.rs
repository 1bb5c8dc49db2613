//! Families whose rules let their sessions drain: of one worker and of several, while pools go and come
//! back, addresses are given to others, and rules claim ports that are in use.

use crate::duel::Family;
use crate::families::{in_v6, of_workers, source_nat, universe};
use crate::packet::{TCP, UDP};
use crate::spec::{Action, Filtering, Kind, Net, Pool, Rule, Spec, ip};
use crate::step::Universe;

/// A pool whose sessions drain, and rules before it that claim something.
fn spec(pool: Option<Pool>, mut rules: Vec<Rule>) -> Spec {
    if let Some(pool) = &pool {
        rules.push(source_nat("egress", pool.name, "10.0.0.0/24"));
    }
    rules.iter_mut().for_each(|rule| rule.drain = true);
    Spec::new(pool.into_iter().collect(), rules)
}

fn pool(address: &str, ports: (u16, u16), kind: Kind) -> Pool {
    let mut pool = Pool::new("egress", &[address], ports);
    (pool.kind, pool.filtering) = (kind, Filtering::Endpoint);
    // Ports that rest would have to be known of every worker.
    pool.hold_down = (0, false);
    pool
}

fn family(mut specs: Vec<Spec>) -> Family {
    specs.iter_mut().for_each(|spec| spec.timeouts = [60, 120, 60, 30, 30]);
    let universe = universe();
    let universe = Universe {
        specs: specs.len(),
        reloads: 25,
        target_ports: vec![30000, 30001, 30002, 30003, 30004, 30005],
        ..universe
    };
    Family { specs, universe, workers: 1 }
}

const X: &str = "203.0.113.16";
const Y: &str = "203.0.113.17";
const PORTS: (u16, u16) = (30000, 30007);

fn web(address: &str, protocol: u8, ports: (u16, u16), target: &str) -> Rule {
    let name = if protocol == TCP { "web" } else { "names" };
    Rule::new(name, Action::PortForward(ip(address), protocol, ports, (ip(target), 80)))
}

/// Rules claim ports that sessions drain from, and pools those that rules forwarded.
fn claims(dependent: bool) -> Family {
    let random = |address| {
        let mut pool = pool(address, PORTS, Kind::Random);
        if dependent {
            (pool.endpoint_dependent, pool.filtering) = (true, Filtering::AddressAndPort);
        }
        Some(pool)
    };
    let both =
        || vec![web(X, TCP, (30000, 30001), "10.0.0.2"), web(X, UDP, (30002, 30005), "10.0.0.4")];
    let all = |inside| Rule::new("one", Action::Static(ip(inside), ip(X)));
    family(vec![
        spec(random(X), Vec::new()),
        spec(random(Y), Vec::new()),
        spec(None, both()),
        spec(random(X), both()),
        spec(random(Y), vec![web(X, UDP, (30001, 30003), "10.0.0.5")]),
        spec(random(Y), vec![all("10.0.0.3")]),
        spec(None, Vec::new()),
    ])
}

/// Slices that go, come back, and are others.
fn slices() -> Family {
    let sliced = |net, size| Some(pool(X, (30000, 30011), Kind::Slices(Net::of(net), size)));
    family(vec![
        spec(sliced("10.0.0.2/31", 6), Vec::new()),
        spec(None, Vec::new()),
        spec(Some(pool(Y, PORTS, Kind::Random)), Vec::new()),
        spec(Some(pool(X, PORTS, Kind::Random)), Vec::new()),
        spec(sliced("10.0.0.4/31", 6), Vec::new()),
        spec(sliced("10.0.0.0/29", 1), Vec::new()),
    ])
}

/// Blocks that go and come back, while the address is nobody's or rules have ports of it.
fn blocks() -> Family {
    let blocks = || Some(pool(X, (30000, 30023), Kind::Blocks(4, 2, 20)));
    let mut away = pool(Y, PORTS, Kind::Random);
    away.name = "away";
    let mut family = family(vec![
        spec(blocks(), Vec::new()),
        spec(None, Vec::new()),
        spec(Some(away), Vec::new()),
        spec(None, vec![web(X, UDP, (30002, 30009), "10.0.0.4")]),
    ]);
    family.universe.hairpins = 0;
    family
}

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Family)> {
    vec![
        ("claims", claims(false)),
        ("claims of two", of_workers(claims(false), 2)),
        ("claims of three", of_workers(claims(true), 3)),
        ("draining slices", slices()),
        ("draining slices of two", of_workers(slices(), 2)),
        ("draining slices of three", of_workers(slices(), 3)),
        ("draining blocks", blocks()),
        ("draining blocks of two", of_workers(blocks(), 2)),
        ("draining blocks of three", of_workers(blocks(), 3)),
        ("claims of v6", in_v6(of_workers(claims(true), 2))),
        ("draining slices of v6", in_v6(of_workers(slices(), 3))),
        ("draining blocks of v6", in_v6(of_workers(blocks(), 2))),
    ]
}

#[cfg(test)]
mod tests {
    use crate::trials::{STEPS, run};

    #[test]
    fn agrees_about_claims_on_ports_that_drain() {
        run("claims", STEPS);
    }

    #[test]
    fn agrees_about_claims_on_ports_that_drain_of_two_workers() {
        run("claims of two", STEPS);
    }

    #[test]
    fn agrees_about_claims_on_ports_that_drain_of_three_workers() {
        run("claims of three", STEPS);
    }

    #[test]
    fn agrees_about_slices_that_drain() {
        run("draining slices", STEPS);
    }

    #[test]
    fn agrees_about_slices_that_drain_of_two_workers() {
        run("draining slices of two", STEPS);
    }

    #[test]
    fn agrees_about_slices_that_drain_of_three_workers() {
        run("draining slices of three", STEPS);
    }

    #[test]
    fn agrees_about_blocks_that_drain() {
        run("draining blocks", STEPS);
    }

    #[test]
    fn agrees_about_blocks_that_drain_of_two_workers() {
        run("draining blocks of two", STEPS);
    }

    #[test]
    fn agrees_about_blocks_that_drain_of_three_workers() {
        run("draining blocks of three", STEPS);
    }

    #[test]
    fn agrees_about_claims_on_ports_that_drain_in_ipv6() {
        run("claims of v6", STEPS / 2);
    }

    #[test]
    fn agrees_about_slices_that_drain_in_ipv6() {
        run("draining slices of v6", STEPS / 2);
    }

    #[test]
    fn agrees_about_blocks_that_drain_in_ipv6() {
        run("draining blocks of v6", STEPS / 2);
    }
}
