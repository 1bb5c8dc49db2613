//! Addresses of ours: who contradicts, who listens only, and what is given up in vain.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mooring_policy::{InterfaceId, Policy, load};
use mooring_wire::Mac;

use super::{Bench, GATEWAY_REPLY, OTHER, OUTSIDE, Outcome, RETRANSMIT, SMALL, hex, ip, is_report};
use crate::neighbours::{CONFLICT_MEMORY, CONFLICTS, Ignored, Role};

const ASKS_FOR_US: &str = "ffffffffffff 02aa00000009 0806 | 0001 0800 06 04 0001 \
     02aa00000009 c0000202 000000000000 cb00710a";
const CLAIMS_OURS: &str = "ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 0002 \
     02bb00000007 cb00710a ffffffffffff cb00710a";
const PROBES_OURS: &str = "ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 0001 \
     02bb00000007 00000000 000000000000 cb00710a";

/// Both families on both sides, a pool of each, and a router inside.
fn policy(pools: &str, inside: &str) -> Policy {
    let text = format!(
        r#"
[[interface]]
name = "inside"
device = "in0"
addresses = ["10.0.0.1/24", "fd00:10::1/64"]
{inside}
[[interface]]
name = "outside"
device = "out0"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[[pool]]
name = "four"
addresses = ["203.0.113.10/32"]
[[pool]]
name = "six"
addresses = [{pools}]
[[rule]]
name = "four"
kind = "source-nat"
from = "inside"
to = "outside"
pool = "four"
[[rule]]
name = "six"
kind = "source-nat"
from = "inside"
to = "outside"
pool = "six"
"#
    );
    load(&text).expect("the policy is valid").policy
}

/// The frames of both links since the last call.
fn sent(bench: &mut Bench) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    for interface in [InterfaceId(0), OUTSIDE] {
        sent.extend(bench.outbox.ready_for(interface).map(|packet| packet.bytes().to_vec()));
    }
    bench.outbox.clear();
    sent
}

#[test]
fn what_a_policy_owns_is_taken_up_and_its_changes_are_followed() {
    let mut bench = Bench::new(8);
    let first = policy(r#""2001:db8:1::200/119""#, "router_advertisements = true");
    bench.neighbours.take_up(&first, bench.now);
    bench.pass_ms(0);
    let frames = sent(&mut bench);
    let of_kind = |kind| {
        frames.iter().filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[54] == kind).count()
    };
    // 256 of the pool are announced, with two addresses of interfaces; all 512 are listened for.
    assert_eq!((of_kind(136), of_kind(135), of_kind(134)), (258, 258, 1));
    let group = |mac: &str| (OUTSIDE, mac.parse().unwrap());
    let listens = |bench: &Bench, mac| bench.neighbours.groups().any(|known| known == group(mac));
    assert!(listens(&bench, "33:33:ff:00:02:00") && listens(&bench, "33:33:ff:00:03:ff"));
    bench.pass_ms(10_000);
    sent(&mut bench);

    let second = policy(r#""2001:db8:1::200/120""#, "");
    let Bench { neighbours, outbox, now, .. } = &mut bench;
    neighbours.change_policy((&first, &second), *now, outbox);
    assert!(listens(&bench, "33:33:ff:00:02:ff") && !listens(&bench, "33:33:ff:00:03:00"));
    bench.pass_ms(0);
    let frames = sent(&mut bench);
    let farewell = frames.iter().find(|frame| frame[54] == 134).expect("no router any more");
    assert_eq!(farewell[60..62], [0, 0]);
    assert!(
        frames.iter().all(|frame| frame[54] == 134 || is_report(frame)),
        "the rest is in peace"
    );
}

fn contested(bench: &Bench) -> bool {
    is_contested(bench, "203.0.113.10")
}

fn is_contested(bench: &Bench, address: &str) -> bool {
    let here = (OUTSIDE, ip(address));
    bench.neighbours.conflicts(bench.now).any(|known| (known.interface, known.address) == here)
}

#[test]
fn a_conflict_is_remembered_until_its_last_sign_is_old() {
    let mut bench = Bench::new(8);
    let begun = bench.now;
    assert_eq!(bench.arp(CLAIMS_OURS), Outcome::Conflict(ip("203.0.113.10")));
    bench.pass(CONFLICT_MEMORY - Duration::from_millis(1));
    bench.arp(CLAIMS_OURS);
    let known: Vec<_> = bench.neighbours.conflicts(bench.now).copied().collect();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].mac, known[0].since, known[0].seen), (OTHER, begun, bench.now));
    bench.pass(CONFLICT_MEMORY - Duration::from_millis(1));
    assert!(contested(&bench) && !is_contested(&bench, "192.0.2.1"));
    bench.pass_ms(1);
    assert!(!contested(&bench));
    bench.arp(CLAIMS_OURS);
    bench.neighbours.withdraw(OUTSIDE, ip("203.0.113.10"), bench.now);
    assert!(!contested(&bench), "it is not ours any more");
}

/// RFC 5227 §2.1.1
#[test]
fn one_who_probes_is_a_conflict_while_we_take_the_address_up() {
    let mut bench = Bench::new(8);
    bench.arp(PROBES_OURS);
    assert!(!contested(&bench), "switches probe whom they know");
    bench.neighbours.announce(OUTSIDE, ip("203.0.113.10"), bench.now);
    bench.pass_ms(0);
    assert_eq!(bench.arp(PROBES_OURS), Outcome::Answered);
    assert!(!contested(&bench), "he hears that it is taken");
    ask_anew(&mut bench);
    bench.arp(CLAIMS_OURS);
    assert!(contested(&bench));
}

/// Until the last announcement, a second after the first; returns what was asked with it.
fn ask_anew(bench: &mut Bench) -> Vec<Vec<u8>> {
    bench.pass_ms(100);
    bench.pass_ms(899);
    sent(bench);
    bench.pass_ms(1);
    let is_question = |frame: &Vec<u8>| {
        let arp = frame[12..14] == [8, 6] && frame[28..32] == [0; 4];
        arp || frame[12..14] == [0x86, 0xdd] && frame[54] == 135
    };
    sent(bench).into_iter().filter(is_question).collect()
}

/// The old holder of an address that moves speaks for it until it hears of the move, and then no more.
#[test]
fn who_lets_go_of_an_address_that_we_take_up_is_no_conflict() {
    for (address, asked) in [("203.0.113.10", 38..42), ("2001:db8:1::10", 62..78)] {
        let address = ip(address);
        let mut bench = Bench::new(8);
        bench.neighbours.announce(OUTSIDE, address, bench.now);
        bench.pass_ms(0);
        for _ in 0..2 {
            bench.neighbours.contested(OUTSIDE, address, OTHER, bench.now);
            assert!(!is_contested(&bench, &address.to_string()));
        }
        let questions = ask_anew(&mut bench);
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        assert_eq!(questions.len(), 1, "whether he still has it");
        assert_eq!(questions[0][asked], octets);
        bench.pass(CONFLICT_MEMORY / 2);
        assert!(!is_contested(&bench, &address.to_string()));
    }
}

#[test]
fn who_still_speaks_for_an_address_when_we_have_taken_it_up_is_a_conflict() {
    let mut bench = Bench::new(8);
    let begun = bench.now;
    bench.neighbours.announce(OUTSIDE, ip("203.0.113.10"), bench.now);
    bench.pass_ms(0);
    assert_eq!(bench.arp(CLAIMS_OURS), Outcome::Conflict(ip("203.0.113.10")));
    assert!(!contested(&bench));
    assert_eq!(ask_anew(&mut bench).len(), 1);
    bench.arp(CLAIMS_OURS);
    let known = bench.neighbours.conflicts(bench.now).next().expect("he answered");
    assert_eq!((known.mac, known.since, known.seen), (OTHER, begun, bench.now));
    // Who comes later needs no second sign.
    bench.neighbours.withdraw(OUTSIDE, ip("203.0.113.10"), bench.now);
    bench.arp(CLAIMS_OURS);
    assert!(contested(&bench));
}

#[test]
fn whom_nobody_contradicts_is_not_asked_about_twice() {
    let mut bench = Bench::new(8);
    bench.neighbours.announce(OUTSIDE, ip("203.0.113.10"), bench.now);
    bench.pass_ms(0);
    bench.neighbours.contested(OUTSIDE, ip("203.0.113.11"), OTHER, bench.now);
    assert!(ask_anew(&mut bench).is_empty());
}

#[test]
fn conflicts_are_bounded_and_the_oldest_sign_gives_way() {
    let mut bench = Bench::new(8);
    for number in 0..CONFLICTS as u32 + 1 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xcb00_0000 + number));
        bench.neighbours.contested(OUTSIDE, address, OTHER, bench.now);
        bench.now = bench.now + Duration::from_millis(1);
    }
    assert_eq!(bench.neighbours.conflicts(bench.now).count(), CONFLICTS);
    assert!(!is_contested(&bench, "203.0.0.0"));
    assert!(is_contested(&bench, "203.0.0.1"));
}

/// Of several workers one speaks; the others learn from the same frames.
#[test]
fn a_listener_learns_and_resolves_and_says_nothing_about_our_addresses() {
    let mut bench = Bench::new(8);
    bench.neighbours.role = Role::Listener;
    for address in ["203.0.113.10", "2001:db8:1::10"] {
        assert!(bench.neighbours.announce(OUTSIDE, ip(address), bench.now));
        let defends = bench.neighbours.defend(OUTSIDE, ip(address), bench.now, &mut bench.outbox);
        assert!(!defends);
    }
    bench.pass_ms(0);
    assert_eq!(bench.arp(CLAIMS_OURS), Outcome::Ignored(Ignored::NotForUs));
    assert!(!contested(&bench));
    assert_eq!(bench.arp(ASKS_FOR_US), Outcome::Learned);
    assert!(bench.knows("192.0.2.2"));
    assert!(bench.sent().is_empty());
    assert_eq!((bench.neighbours.next_deadline(), bench.neighbours.groups().count()), (None, 0));
    let hop = bench.acquire("192.0.2.9");
    bench.hold(hop, 1).unwrap();
    assert_eq!(bench.sent().len(), 1, "it asks for itself");
}

#[test]
fn packets_that_waited_in_vain_are_handed_out_once_and_no_buffer_is_lost() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    for number in 1..=3 {
        bench.hold(hop, number).unwrap();
    }
    for _ in 0..2 {
        bench.pass(RETRANSMIT);
    }
    bench.sent();
    bench.now = bench.now + RETRANSMIT;
    assert_eq!(bench.poll(), 3);
    let waited = bench.neighbours.next_unreachable().expect("three have waited");
    assert_eq!((waited.interface, waited.address), (OUTSIDE, ip("192.0.2.2")));
    assert_eq!(waited.packet.bytes().len(), 60);
    bench.outbox.discard(waited.packet);
    assert_eq!(bench.free_buffers().0, SMALL - 2);
    assert_eq!(bench.poll(), 0);
    assert!(bench.neighbours.next_unreachable().is_none());
    assert_eq!((bench.free_buffers().0, bench.neighbours.next_deadline()), (SMALL, None));
}

/// A whole /16 of forged senders fills the table and pushes out nobody whom a session needs.
#[test]
fn a_table_full_of_strangers_still_has_room_for_a_session() {
    let mut bench = Bench::new(1_000);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 0).unwrap();
    bench.arp(GATEWAY_REPLY);
    for number in 0..=u16::MAX {
        let [a, b] = number.to_be_bytes();
        let sender = format!("0266{a:02x}{b:02x}0000 0a00{a:02x}{b:02x}");
        let frame = format!(
            "ffffffffffff 02660000{a:02x}{b:02x} 0806 | 0001 0800 06 04 0001 {sender} \
             000000000000 c0000201"
        );
        assert_eq!(bench.arp(&frame), Outcome::Answered);
        bench.outbox.clear();
    }
    assert_eq!(bench.neighbours.entries().count(), 1_000);
    for number in 0..999 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xc633_6400 + number));
        assert!(bench.try_acquire(address).is_some(), "session {number}");
    }
    let header = bench.neighbours.resolved(hop).expect("the gateway is still known").header;
    assert_eq!(header[..6], hex("02aa00000009"));
    assert_ne!(header[..6], Mac::BROADCAST.0);
}

/// A Pod has a /32 and a gateway outside of it: it is asked for on that link, by that address.
#[test]
fn a_gateway_outside_of_every_prefix_is_asked_from_our_address() {
    let mut bench = Bench::new(8);
    bench.neighbours.set_addresses(OUTSIDE, &["10.1.2.3/32".parse().unwrap()]);
    let hop = bench.acquire("169.254.1.1");
    bench.hold(hop, 0).unwrap();
    let request = "ffffffffffff 020000000002 0806 | 0001 0800 06 04 0001 \
         020000000002 0a010203 000000000000 a9fe0101";
    assert_eq!(bench.sent(), [hex(request)]);
}
