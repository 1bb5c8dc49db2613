//! Overlapping pools, and what becomes of them.

use std::net::IpAddr;
use std::ops::Range;

use crate::packet::{End, octets};
use crate::spec::{Action, Net, Pool, Rule, Spec};

/// Last byte of the addresses of a pool, its ports, whether it is endpoint-dependent.
type Of = (Range<u8>, (u16, u16), bool);

/// The policies, one after the other. Of each something stays with the next one, of which sessions go on
/// beside those that have lost their ends to others.
pub(super) fn all() -> Vec<(&'static str, Spec)> {
    let (low, high) = ((1024, 30_000), (30_001, 60_000));
    let first = |(from, to), ports| (from..to, ports, false);
    let second = |(from, to), ports| (from..to, ports, true);
    let all = (64, 96);
    vec![
        ("base", spec(&[first((64, 80), low), second((64, 80), high)])),
        ("both grow", spec(&[first(all, low), second((64, 80), (30_001, 65_535))])),
        ("both shrink", spec(&[first((64, 80), (1024, 20_000)), second((64, 72), high)])),
        (
            "ports change hands",
            spec(&[first((64, 80), (15_000, 45_000)), second((64, 80), (45_001, 60_000))]),
        ),
        ("they swap addresses", spec(&[first((80, 96), low), second((64, 80), high)])),
        ("one moves on", spec(&[first((72, 88), (1024, 40_000)), second(all, (50_001, 65_000))])),
        ("one changes its kind", spec(&[(64..96, low, true), (64..96, high, true)])),
        ("so does the other", spec(&[(64..96, low, true), (64..96, high, false)])),
    ]
}

/// Two pools of each family, for one half of the hosts each.
fn spec([first, second]: &[Of; 2]) -> Spec {
    let (mut pools, mut rules) = (Vec::new(), Vec::new());
    let named = [("first", "second"), ("first6", "second6")];
    for (v6, (one, other)) in [false, true].into_iter().zip(named) {
        for (name, (last, ports, dependent), half) in [(one, first, 0), (other, second, 1)] {
            let mut pool = Pool::new(name, &[], *ports);
            pool.addresses = last.clone().map(|last| outside(v6, last)).collect();
            pool.endpoint_dependent = *dependent;
            pools.push(pool);
            let mut rule = Rule::new(name, Action::SourceNat(name));
            rule.source = Some(Net::of(HALVES[usize::from(v6)][half]));
            rules.push(rule);
        }
    }
    let mut spec = Spec::new(pools, rules);
    (spec.sessions, spec.per_source) = (400_000, 100_000);
    spec.timeouts = [3_600; 5];
    spec
}

/// The pool that a host's flows have ends of, as `HALVES` says.
pub(super) fn pool_of(spec: &Spec, host: IpAddr) -> &Pool {
    let last = octets(host).last().copied().expect("an address has bytes");
    &spec.pools[2 * usize::from(host.is_ipv6()) + usize::from(last >= 128)]
}

/// Of the hosts, one by its number; half of them have each pool.
pub(super) fn host(v6: bool, number: usize) -> IpAddr {
    let last = number + if number < HOSTS / 2 { 2 } else { 129 - HOSTS / 2 };
    if v6 {
        IpAddr::from([0xfd00, 0x10, 0, 0, 0, 0, 0, last as u16])
    } else {
        IpAddr::from([10, 0, 0, last as u8])
    }
}

/// Whom they talk to.
pub(super) fn remote(v6: bool, number: usize) -> End {
    let last = number % 7 + 1;
    let address = if v6 {
        IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, last as u16])
    } else {
        IpAddr::from([198, 51, 100, last as u8])
    };
    (address, 53)
}

fn outside(v6: bool, last: u8) -> IpAddr {
    if v6 {
        IpAddr::from([0x2001, 0xdb8, 0xff, 0, 0, 0, 0, last.into()])
    } else {
        IpAddr::from([203, 0, 113, last])
    }
}

pub(super) const HOSTS: usize = 250;
const HALVES: [[&str; 2]; 2] =
    [["10.0.0.0/25", "10.0.0.128/25"], ["fd00:10::/121", "fd00:10::80/121"]];
