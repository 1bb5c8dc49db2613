//! Listening to groups, and the reports of it, byte by byte and in time.

use std::net::Ipv6Addr;
use std::time::Duration;

use mooring_wire::Mac;
use mooring_wire::icmpv6::Icmpv6;

use super::{Bench, OUTSIDE, Outcome, hex, ip, is_report};
use crate::neighbours::{ADDRESSES, Ignored};

const LINK_LOCAL_GROUP: &str = "ff0200000000000000000001ff000002";
const POOL_GROUP: &str = "ff0200000000000000000001ff000010";
const TO_EXCLUDE: u8 = 4;
const TO_INCLUDE: u8 = 3;
const IS_EXCLUDE: u8 = 2;

/// The records of the reports among what was sent: kind and group.
fn records(bench: &mut Bench) -> Vec<(u8, Vec<u8>)> {
    let reports = bench.sent().into_iter().filter(|frame| is_report(frame));
    let records =
        reports.flat_map(|frame| frame[70..].chunks(20).map(<[u8]>::to_vec).collect::<Vec<_>>());
    records.map(|record| (record[0], record[4..].to_vec())).collect()
}

fn listening() -> Bench {
    let mut bench = Bench::new(8);
    assert!(bench.neighbours.listen_for(OUTSIDE, v6("2001:db8:1::10"), bench.now));
    bench
}

/// The same after its reports.
fn settled() -> Bench {
    let mut bench = listening();
    bench.pass_ms(0);
    bench.pass_ms(1_000);
    assert_eq!(records(&mut bench).len(), 4);
    bench
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn groups(bench: &Bench) -> Vec<Mac> {
    let groups = bench.neighbours.groups();
    groups.inspect(|(interface, _)| assert_eq!(*interface, OUTSIDE)).map(|(_, mac)| mac).collect()
}

/// A query from the router `fe80::9` with this response code, for `group`.
pub(super) fn query(code: u16, group: &str) -> Vec<u8> {
    let message = hex(&format!("82 00 0000 {code:04x} 0000 {group} 00000000"));
    let mut frame = hex("333300000001 02aa00000009 86dd 60000000 0024 00 01 \
         fe80000000000000 0000000000000009 ff020000000000000000000000000001 3a 00 0502 0000 0100");
    frame.extend(message);
    Icmpv6::parse(&mut frame[62..]).unwrap().fill_checksum(v6("fe80::9"), v6("ff02::1"));
    frame
}

const ALL: &str = "00000000000000000000000000000000";

/// RFC 3810 §5.2, §6.1
#[test]
fn joining_is_reported_at_once_and_once_more_within_a_second() {
    let mut bench = listening();
    bench.pass_ms(0);
    let report = format!(
        "333300000016 020000000002 86dd 60000000 0038 00 01 \
         fe800000000000000000 00fffe000002 ff020000000000000000000000000016 3a00 0502 0000 0100 \
         8f 00 6fdb 0000 0002 04 00 0000 {LINK_LOCAL_GROUP} 04 00 0000 {POOL_GROUP}"
    );
    assert_eq!(bench.sent(), [hex(&report)]);
    let again = bench.neighbours.next_deadline().expect("a repetition is due");
    assert!(again <= bench.now + Duration::from_secs(1));
    bench.pass_ms(1_000);
    assert_eq!(bench.sent(), [hex(&report)]);
    assert_eq!(bench.neighbours.next_deadline(), None);
}

#[test]
fn the_port_is_told_which_groups_to_receive() {
    let mut bench = Bench::new(8);
    assert!(groups(&bench).is_empty(), "without IPv6 there is nothing to listen to");
    bench.neighbours.announce(OUTSIDE, ip("203.0.113.10"), bench.now);
    assert!(groups(&bench).is_empty());
    bench.neighbours.announce(OUTSIDE, ip("2001:db8:1::10"), bench.now);
    let expected = ["33:33:00:00:00:01", "33:33:ff:00:00:02", "33:33:ff:00:00:10"];
    assert_eq!(groups(&bench), expected.map(|mac| mac.parse().unwrap()));
    bench.neighbours.withdraw(OUTSIDE, ip("2001:db8:1::10"), bench.now);
    assert_eq!(
        groups(&bench),
        expected[..2].iter().map(|mac| mac.parse().unwrap()).collect::<Vec<_>>()
    );
}

#[test]
fn a_group_is_left_with_its_last_address() {
    let mut bench = settled();
    // The same last three bytes, and one of them twice.
    for address in ["2001:db8:2::10", "2001:db8:2::10"] {
        assert!(bench.neighbours.listen_for(OUTSIDE, v6(address), bench.now));
    }
    assert_eq!(bench.neighbours.next_deadline(), None, "the group is known already");
    bench.neighbours.withdraw(OUTSIDE, ip("2001:db8:1::10"), bench.now);
    bench.neighbours.withdraw(OUTSIDE, ip("2001:db8:1::10"), bench.now);
    bench.pass_ms(0);
    assert_eq!(records(&mut bench), []);
    bench.neighbours.withdraw(OUTSIDE, ip("2001:db8:2::10"), bench.now);
    for wait in [0, 1_000] {
        bench.pass_ms(wait);
        assert_eq!(records(&mut bench), [(TO_INCLUDE, hex(POOL_GROUP))], "after {wait} ms more");
    }
    assert_eq!(bench.neighbours.next_deadline(), None);
    assert_eq!(groups(&bench).len(), 2);
}

#[test]
fn a_group_that_is_joined_again_while_it_is_left_stays() {
    let mut bench = settled();
    bench.neighbours.withdraw(OUTSIDE, ip("2001:db8:1::10"), bench.now);
    bench.pass_ms(0);
    assert_eq!(records(&mut bench), [(TO_INCLUDE, hex(POOL_GROUP))]);
    bench.neighbours.listen_for(OUTSIDE, v6("2001:db8:1::10"), bench.now);
    for wait in [0, 1_000] {
        bench.pass_ms(wait);
        assert_eq!(records(&mut bench), [(TO_EXCLUDE, hex(POOL_GROUP))], "after {wait} ms more");
    }
    assert_eq!(groups(&bench).len(), 3);
}

/// RFC 3810 §6.2: the answer waits a random time within the one that is asked for.
#[test]
fn who_asks_is_answered_in_time() {
    for (asked, answer) in [
        (ALL, vec![LINK_LOCAL_GROUP, POOL_GROUP]),
        (POOL_GROUP, vec![POOL_GROUP]),
        (LINK_LOCAL_GROUP, vec![LINK_LOCAL_GROUP]),
    ] {
        let mut bench = settled();
        assert_eq!(bench.ndp(&query(10_000, asked)), Outcome::Answered);
        assert!(bench.sent().is_empty(), "not at once");
        let due = bench.neighbours.next_deadline().expect("an answer is due");
        assert!(due <= bench.now + Duration::from_secs(10));
        bench.pass_ms(10_000);
        let expected: Vec<_> = answer.iter().map(|group| (IS_EXCLUDE, hex(group))).collect();
        assert_eq!(records(&mut bench), expected);
        assert_eq!(bench.neighbours.next_deadline(), None);
    }
}

#[test]
fn a_query_that_does_not_concern_us_or_breaks_a_rule_is_not_answered() {
    let mut bench = settled();
    let stranger = query(10_000, "ff0200000000000000000001ff000099");
    assert_eq!(bench.ndp(&stranger), Outcome::Ignored(Ignored::NotForUs));
    let whole = query(10_000, ALL);
    // Hop limit, source, no router alert, checksum.
    for (at, value, reason) in [
        (21, 2, Ignored::Malformed),
        (22, 0x20, Ignored::Malformed),
        (56, 1, Ignored::Malformed),
        (64, 1, Ignored::BadChecksum),
    ] {
        let mut wrong = whole.clone();
        wrong[at] = value;
        assert_eq!(bench.ndp(&wrong), Outcome::Ignored(reason), "byte {at}");
    }
    for len in 0..whole.len() {
        assert_eq!(bench.ndp(&whole[..len]), Outcome::Ignored(Ignored::Malformed), "{len} bytes");
    }
    assert_eq!(bench.neighbours.next_deadline(), None);
    assert_eq!(bench.ndp(&whole), Outcome::Answered, "and the unbroken one is");
}

#[test]
fn many_groups_are_reported_in_packets_that_fit() {
    let mut bench = Bench::new(8);
    for number in 0..150 {
        let address = Ipv6Addr::from_bits(v6("2001:db8:9::").to_bits() + 0x100 + number);
        assert!(bench.neighbours.listen_for(OUTSIDE, address, bench.now));
    }
    bench.pass_ms(0);
    let sent = bench.sent();
    assert_eq!(sent.len(), 3);
    let lengths: Vec<_> = sent.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1290, 1290, 70 + 20 * 29]);
}

#[test]
fn addresses_are_bounded_and_the_port_hears_of_it() {
    let mut bench = Bench::new(8);
    let address =
        |number: usize| Ipv6Addr::from_bits(v6("2001:db8:9::").to_bits() + 0x100 + number as u128);
    let taken = (0..ADDRESSES + 9)
        .filter(|number| bench.neighbours.listen_for(OUTSIDE, address(*number), bench.now));
    assert_eq!(taken.count(), ADDRESSES - 1, "the link-local one has a place, too");
    assert!(bench.neighbours.needs_all_groups(OUTSIDE));
    assert!(!bench.neighbours.needs_all_groups(super::InterfaceId(0)));
}
