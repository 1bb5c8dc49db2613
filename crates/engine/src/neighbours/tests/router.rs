//! Router advertisements in time; their bytes are tested where they are written.

use std::time::Duration;

use mooring_session::Tick;
use mooring_wire::icmpv6::Icmpv6;

use super::{Bench, GATEWAY, OUTSIDE, Outcome, hex, ip, is_report};
use crate::neighbours::router::{MAX_INTERVAL, MIN_BETWEEN, MIN_INTERVAL};
use crate::neighbours::{Ignored, Role};

const ADVERTISEMENT: &str = "333300000001 020000000002 86dd 60000000 0040 3a ff \
     fe80 000000000000 000000fffe000002 ff020000000000000000000000000001 \
     86 00 eee6 40 00 0708 00000000 00000000 01 01 020000000002 05 01 0000 000005dc \
     03 04 40 c0 00278d00 00093a80 00000000 20010db8000100000000000000000000";

/// A host asks for routers; `message` is what follows the type.
pub(super) fn solicitation(source: &str, message: &str) -> Vec<u8> {
    let message = hex(&format!("85 {message}"));
    let mut frame = hex(&format!(
        "333300000002 02aa00000009 86dd 60000000 {:04x} 3a ff {source} \
         ff020000000000000000000000000002",
        message.len()
    ));
    frame.extend(message);
    let source = u128::from_str_radix(source, 16).unwrap().into();
    Icmpv6::parse(&mut frame[54..]).unwrap().fill_checksum(source, "ff02::2".parse().unwrap());
    frame
}

const HOST: &str = "fe800000000000000000000000000009";
const NOBODY: &str = "00000000000000000000000000000000";
pub(super) const NAMED: &str = "00 0000 00000000 01 01 02aa00000009";
const NAMELESS: &str = "00 0000 00000000";

fn advertisements(bench: &mut Bench) -> Vec<Vec<u8>> {
    bench.sent().into_iter().filter(|frame| !is_report(frame)).collect()
}

fn advertising() -> Bench {
    let mut bench = Bench::new(8);
    bench.neighbours.advertise_router(OUTSIDE, bench.now);
    bench.pass_ms(0);
    assert_eq!(advertisements(&mut bench), [hex(ADVERTISEMENT)]);
    bench
}

/// The moments of the next `count` advertisements.
fn moments(bench: &mut Bench, count: usize) -> Vec<Tick> {
    let mut moments = Vec::new();
    while moments.len() < count {
        bench.now = bench.neighbours.next_deadline().expect("advertisements go on");
        bench.pass_ms(0);
        moments.extend(advertisements(bench).iter().map(|_| bench.now));
    }
    moments
}

/// RFC 4861 §6.2.4
#[test]
fn three_come_soon_and_then_one_in_200_to_600_seconds() {
    let mut bench = advertising();
    let mut last = bench.now;
    let gaps: Vec<u64> = moments(&mut bench, 12)
        .into_iter()
        .map(|moment| moment.since(std::mem::replace(&mut last, moment)))
        .collect();
    assert_eq!(gaps[..2], [16_000; 2]);
    let usual = MIN_INTERVAL.as_millis() as u64..=MAX_INTERVAL.as_millis() as u64;
    assert!(gaps[2..].iter().all(|gap| usual.contains(gap)), "{gaps:?}");
    assert!(gaps[2..].windows(2).any(|pair| pair[0] != pair[1]), "{gaps:?} are random");
}

/// RFC 4861 §6.2.6
#[test]
fn who_asks_is_answered_soon_but_never_twice_in_three_seconds() {
    let mut bench = advertising();
    let started = bench.now;
    assert_eq!(bench.ndp(&solicitation(NOBODY, NAMELESS)), Outcome::Answered);
    let first = moments(&mut bench, 1)[0];
    let soon = 3_000..=3_500;
    assert!(soon.contains(&first.since(started)), "MIN_DELAY_BETWEEN_RAS, then at most 0.5 s");
    for _ in 0..20 {
        bench.ndp(&solicitation(HOST, NAMED));
        bench.pass_ms(10);
        assert!(advertisements(&mut bench).is_empty());
    }
    let second = moments(&mut bench, 1)[0];
    assert!(soon.contains(&second.since(first)));
    bench.pass(MIN_BETWEEN);
    bench.ndp(&solicitation(HOST, NAMED));
    let asked = bench.now;
    assert!(moments(&mut bench, 1)[0].since(asked) <= 500);
    assert_eq!(bench.view("fe80::9").mac, Some(GATEWAY), "who asks is known afterwards");
}

#[test]
fn a_farewell_takes_the_router_back() {
    let mut bench = advertising();
    bench.pass_ms(1_000);
    bench.sent();
    bench.neighbours.farewell(bench.now, &mut bench.outbox);
    let last = advertisements(&mut bench);
    assert_eq!((last.len(), &last[0][60..62]), (1, &[0, 0][..]), "a lifetime of zero");
    bench.pass(Duration::from_secs(3_600));
    assert!(advertisements(&mut bench).is_empty());
    bench.neighbours.farewell(bench.now, &mut bench.outbox);
    assert!(bench.sent().is_empty(), "once");
    let asked = bench.ndp(&solicitation(HOST, NAMED));
    assert_eq!(asked, Outcome::Ignored(Ignored::NotForUs));
}

#[test]
fn all_routers_is_a_group_as_long_as_we_are_one() {
    let mut bench = advertising();
    let all_routers = (OUTSIDE, "33:33:00:00:00:02".parse().unwrap());
    assert!(bench.neighbours.groups().any(|group| group == all_routers));
    bench.neighbours.farewell(bench.now, &mut bench.outbox);
    assert!(!bench.neighbours.groups().any(|group| group == all_routers));
}

#[test]
fn a_solicitation_that_breaks_a_rule_is_not_heard() {
    let mut bench = advertising();
    let whole = solicitation(HOST, NAMED);
    let mut forwarded = whole.clone();
    forwarded[21] = 254;
    let mut damaged = whole.clone();
    damaged[57] ^= 1;
    for (what, frame, reason) in [
        ("forwarded", forwarded, Ignored::Malformed),
        ("nobody with an address", solicitation(NOBODY, NAMED), Ignored::Malformed),
        ("code", solicitation(HOST, "01 0000 00000000"), Ignored::Malformed),
        ("checksum", damaged, Ignored::BadChecksum),
        ("our MAC", solicitation(HOST, "00 0000 00000000 01 01 020000000002"), Ignored::BadSender),
    ] {
        assert_eq!(bench.ndp(&frame), Outcome::Ignored(reason), "{what}");
    }
    for len in 0..whole.len() {
        assert_eq!(bench.ndp(&whole[..len]), Outcome::Ignored(Ignored::Malformed), "{len} bytes");
    }
    assert_eq!(bench.neighbours.entries().count(), 0);
}

#[test]
fn only_who_is_told_to_is_a_router() {
    let mut bench = Bench::new(8);
    let asked = bench.ndp(&solicitation(HOST, NAMED));
    assert_eq!(asked, Outcome::Ignored(Ignored::NotForUs));
    assert!(!bench.knows("fe80::9"));
    bench.neighbours.role = Role::Listener;
    bench.neighbours.advertise_router(OUTSIDE, bench.now);
    bench.pass_ms(0);
    assert!(bench.sent().is_empty() && bench.neighbours.next_deadline().is_none());
}

#[test]
fn prefixes_follow_the_addresses_of_the_interface() {
    let mut bench = advertising();
    let addresses = ["fd00:1::1/64", "fd00:1::2/64", "fd00:2::1/56", "fe80::5/64", "192.0.2.1/24"];
    let addresses = addresses.map(|text| text.parse().unwrap());
    bench.neighbours.set_addresses(OUTSIDE, &addresses);
    moments(&mut bench, 1);
    bench.neighbours.advertise_router(OUTSIDE, bench.now);
    bench.pass_ms(0);
    let sent = advertisements(&mut bench);
    let frame = &sent[0];
    assert_eq!(frame.len(), 14 + 40 + 16 + 16 + 32, "one prefix of 64 bits, not link-local");
    assert_eq!(frame[102..118], "fd00:1::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(
        std::net::IpAddr::from(<[u8; 16]>::try_from(&frame[22..38]).unwrap()),
        ip("fe80::5")
    );
}
