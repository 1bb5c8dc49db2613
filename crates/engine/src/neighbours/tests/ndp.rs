//! Neighbor discovery, byte by byte. Checksums of what we send are written out; those of what we
//! receive are filled in, unless a test is about them.

use mooring_wire::icmpv6::Icmpv6;

use super::{
    Bench, GATEWAY, NextHopIndex, OTHER, OUTSIDE, Outcome, REACHABLE_TIME, SMALL, State, hex, ip,
    without_reports,
};
use crate::neighbours::Ignored;

const US: &str = "20010db8000100000000000000000001";
const POOL: &str = "20010db8000100000000000000000010";
const PEER: &str = "20010db8000100000000000000000002";
const ALL_NODES: &str = "ff020000000000000000000000000001";
const POOL_GROUP: &str = "ff0200000000000000000001ff000010";
const NOBODY: &str = "00000000000000000000000000000000";
const UNICAST: &str = "020000000002 02aa00000009 86dd";

/// The frame of an ICMPv6 message with its right checksum; `message` has zeros in its place.
fn frame(ethernet: &str, hop_limit: u8, addresses: [&str; 2], message: &str) -> Vec<u8> {
    let message = hex(message);
    let mut bytes = hex(&format!("{ethernet} 60000000 {:04x} 3a {hop_limit:02x}", message.len()));
    bytes.extend(hex(&addresses.concat()));
    bytes.extend(message);
    let [source, destination] = addresses.map(|text| {
        std::net::Ipv6Addr::from_bits(
            u128::from_str_radix(text, 16).expect("32 hexadecimal digits"),
        )
    });
    Icmpv6::parse(&mut bytes[54..]).unwrap().fill_checksum(source, destination);
    bytes
}

fn from_peer(destination: &str, message: &str) -> Vec<u8> {
    frame(UNICAST, 255, [PEER, destination], message)
}

/// An advertisement of [`PEER`] with these flags (first byte) and options.
fn advertisement(flags: &str, options: &str) -> Vec<u8> {
    from_peer(US, &format!("88 00 0000 {flags}000000 {PEER} {options}"))
}

const SOLICITED: &str = "40";
const SOLICITED_OVERRIDE: &str = "60";
const OVERRIDE: &str = "20";
const FROM_GATEWAY: &str = "02 01 02aa00000009";
const FROM_OTHER: &str = "02 01 02bb00000007";

fn waiting_for_peer() -> (Bench, NextHopIndex) {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("2001:db8:1::2");
    bench.hold(hop, 1).unwrap();
    (bench, hop)
}

/// A neighbour in `state`, known at [`GATEWAY`].
fn peer_in(state: State) -> (Bench, NextHopIndex) {
    let (mut bench, hop) = waiting_for_peer();
    bench.sent();
    assert_eq!(bench.ndp(&advertisement(SOLICITED, FROM_GATEWAY)), Outcome::Learned);
    match state {
        State::Probe => _ = bench.pass(REACHABLE_TIME),
        State::Stale => {
            bench.ndp(&advertisement(OVERRIDE, FROM_OTHER));
            bench.ndp(&advertisement(OVERRIDE, FROM_GATEWAY));
        }
        _ => {}
    }
    bench.sent();
    assert_eq!(
        (bench.state("2001:db8:1::2"), bench.view("2001:db8:1::2").mac),
        (state, Some(GATEWAY))
    );
    (bench, hop)
}

#[test]
fn asks_the_group_of_the_target() {
    let (mut bench, _) = waiting_for_peer();
    let solicitation = "3333ff000002 020000000002 86dd 60000000 0020 3a ff \
         20010db8000100000000000000000001 ff0200000000000000000001ff000002 \
         87 00 1c24 00000000 20010db8000100000000000000000002 01 01 020000000002";
    assert_eq!(bench.sent(), [hex(solicitation)]);
}

#[test]
fn asks_the_neighbour_alone_whether_it_is_still_there() {
    let (mut bench, hop) = peer_in(State::Reachable);
    bench.neighbours.resolved(hop);
    bench.pass(REACHABLE_TIME);
    let solicitation = "02aa00000009 020000000002 86dd 60000000 0020 3a ff \
         20010db8000100000000000000000001 20010db8000100000000000000000002 \
         87 00 ec6e 00000000 20010db8000100000000000000000002 01 01 020000000002";
    assert_eq!(bench.sent(), [hex(solicitation)]);
}

/// RFC 4861 §7.2.4
#[test]
fn answers_a_solicitation_for_ours_and_learns_who_asked() {
    let mut bench = Bench::new(8);
    let question = format!("87 00 0000 00000000 {POOL} 01 01 02aa00000009");
    assert_eq!(bench.ndp(&from_peer(POOL_GROUP, &question)), Outcome::Answered);
    let answer = "02aa00000009 020000000002 86dd 60000000 0020 3a ff \
         20010db8000100000000000000000010 20010db8000100000000000000000002 \
         88 00 0a51 e0000000 20010db8000100000000000000000010 02 01 020000000002";
    assert_eq!(bench.sent(), [hex(answer)]);
    assert_eq!(bench.view("2001:db8:1::2").mac, Some(GATEWAY));
    assert_eq!(bench.state("2001:db8:1::2"), State::Stale);
}

#[test]
fn answers_one_who_does_not_tell_its_address_by_the_frame_and_learns_nothing() {
    let mut bench = Bench::new(8);
    let question = format!("87 00 0000 00000000 {POOL}");
    assert_eq!(bench.ndp(&from_peer(POOL, &question)), Outcome::Answered);
    assert_eq!(bench.sent()[0][..6], GATEWAY.0);
    assert!(!bench.knows("2001:db8:1::2"));
}

/// RFC 4861 §7.2.4, RFC 4862 §5.4: "the advertisement is sent to all nodes".
#[test]
fn answers_a_probe_for_duplicates_to_all_nodes() {
    let mut bench = Bench::new(8);
    let question = format!("87 00 0000 00000000 {POOL}");
    let probe = frame(UNICAST, 255, [NOBODY, POOL_GROUP], &question);
    assert_eq!(bench.ndp(&probe), Outcome::Answered);
    let answer = "333300000001 020000000002 86dd 60000000 0020 3a ff \
         20010db8000100000000000000000010 ff020000000000000000000000000001 \
         88 00 7909 a0000000 20010db8000100000000000000000010 02 01 020000000002";
    assert_eq!(bench.sent(), [hex(answer)]);
    assert_eq!(bench.neighbours.entries().count(), 0);
    let contested = bench.neighbours.conflicts(bench.now).next().expect("somebody wants it");
    assert_eq!((contested.address, contested.mac), (ip("2001:db8:1::10"), GATEWAY));
}

#[test]
fn announces_to_all_nodes_with_the_override_flag() {
    let mut bench = Bench::new(8);
    assert!(bench.neighbours.announce(OUTSIDE, ip("2001:db8:1::10"), bench.now));
    let announcement = "333300000001 020000000002 86dd 60000000 0020 3a ff \
         20010db8000100000000000000000010 ff020000000000000000000000000001 \
         88 00 7909 a0000000 20010db8000100000000000000000010 02 01 020000000002";
    // RFC 4862 §5.4.2: the question whether it is anybody else's goes with the first.
    let probe = "3333ff000010 020000000002 86dd 60000000 0018 3a ff \
         00000000000000000000000000000000 ff0200000000000000000001ff000010 \
         87 00 4cce 00000000 20010db8000100000000000000000010";
    let expected =
        [(0, vec![announcement, probe]), (100, vec![announcement]), (900, vec![announcement])];
    for (wait, frames) in expected {
        bench.pass_ms(wait);
        let frames: Vec<_> = frames.into_iter().map(hex).collect();
        assert_eq!(without_reports(bench.sent()), frames, "after {wait} ms more");
    }
    bench.pass_ms(1_000);
    assert_eq!(bench.neighbours.next_deadline(), None);
}

#[test]
fn answers_for_its_link_local_address_unasked_and_for_no_other() {
    let mut bench = Bench::new(8);
    for (target, outcome) in [
        ("fe80 000000000000 000000fffe000002", Outcome::Answered),
        ("fe80 000000000000 000000fffe000003", Outcome::Ignored(Ignored::NotForUs)),
    ] {
        let question = format!("87 00 0000 00000000 {target} 01 01 02aa00000009");
        assert_eq!(bench.ndp(&from_peer(ALL_NODES, &question)), outcome, "{target}");
    }
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn is_silent_about_addresses_of_others() {
    let mut bench = Bench::new(8);
    let question = format!("87 00 0000 00000000 {PEER} 01 01 02aa00000009");
    let outcome = bench.ndp(&from_peer(ALL_NODES, &question));
    assert_eq!(outcome, Outcome::Ignored(Ignored::NotForUs));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.neighbours.entries().count(), 0);
}

#[test]
fn another_user_of_an_address_of_ours_is_a_conflict() {
    let mut bench = Bench::new(8);
    let advertised = format!("88 00 0000 20000000 {POOL} {FROM_OTHER}");
    let asked = format!("87 00 0000 00000000 {US} 01 01 02bb00000007");
    for claim in [
        frame(UNICAST, 255, [POOL, ALL_NODES], &advertised),
        from_peer(US, &advertised),
        frame(UNICAST, 255, [POOL, US], &asked),
    ] {
        assert_eq!(bench.ndp(&claim), Outcome::Conflict(ip("2001:db8:1::10")));
    }
    assert!(bench.sent().is_empty());
    assert_eq!(bench.neighbours.entries().count(), 0);
}

/// RFC 4861 §7.2.5 and appendix C: what an advertisement does in each state.
#[test]
fn an_advertisement_does_what_the_table_says() {
    use State::{Probe, Reachable, Stale};
    let rows = [
        // state, flags, options -> state, MAC
        (Reachable, SOLICITED, FROM_GATEWAY, Reachable, GATEWAY),
        (Reachable, SOLICITED, FROM_OTHER, Stale, GATEWAY),
        (Reachable, SOLICITED_OVERRIDE, FROM_OTHER, Reachable, OTHER),
        (Reachable, OVERRIDE, FROM_GATEWAY, Reachable, GATEWAY),
        (Reachable, OVERRIDE, FROM_OTHER, Stale, OTHER),
        (Reachable, "00", FROM_OTHER, Stale, GATEWAY),
        (Reachable, "00", FROM_GATEWAY, Reachable, GATEWAY),
        (Stale, SOLICITED, FROM_GATEWAY, Reachable, GATEWAY),
        (Stale, SOLICITED, "", Reachable, GATEWAY),
        (Stale, SOLICITED, FROM_OTHER, Stale, GATEWAY),
        (Stale, SOLICITED_OVERRIDE, FROM_OTHER, Reachable, OTHER),
        (Stale, OVERRIDE, FROM_OTHER, Stale, OTHER),
        (Stale, "00", FROM_OTHER, Stale, GATEWAY),
        (Probe, SOLICITED, FROM_GATEWAY, Reachable, GATEWAY),
        (Probe, SOLICITED, "", Reachable, GATEWAY),
        (Probe, SOLICITED, FROM_OTHER, Probe, GATEWAY),
        (Probe, SOLICITED_OVERRIDE, FROM_OTHER, Reachable, OTHER),
        (Probe, OVERRIDE, FROM_OTHER, Stale, OTHER),
        (Probe, OVERRIDE, FROM_GATEWAY, Probe, GATEWAY),
    ];
    for (state, flags, options, next, mac) in rows {
        let (mut bench, hop) = peer_in(state);
        bench.ndp(&advertisement(flags, options));
        let row = format!("{state} + flags {flags}, options {options:?}");
        assert_eq!(bench.state("2001:db8:1::2"), next, "{row}");
        assert_eq!(bench.neighbours.resolved(hop).unwrap().header[..6], mac.0, "{row}");
    }
}

#[test]
fn an_advertisement_resolves_whom_packets_wait_for() {
    for (flags, state) in
        [(SOLICITED, State::Reachable), ("00", State::Stale), (OVERRIDE, State::Stale)]
    {
        let (mut bench, _) = waiting_for_peer();
        bench.sent();
        let outcome = bench.ndp(&advertisement(flags, ""));
        assert_eq!(outcome, Outcome::Ignored(Ignored::NotForUs), "it tells no address");
        assert_eq!(bench.ndp(&advertisement(flags, FROM_GATEWAY)), Outcome::Learned);
        assert_eq!(bench.state("2001:db8:1::2"), state);
        assert_eq!(bench.sent()[0][..14], hex("02aa00000009 020000000002 86dd"));
        assert_eq!(bench.free_buffers().0, SMALL);
    }
}

#[test]
fn an_advertisement_of_somebody_unknown_makes_no_entry() {
    let mut bench = Bench::new(8);
    let outcome = bench.ndp(&advertisement(SOLICITED_OVERRIDE, FROM_GATEWAY));
    assert_eq!(outcome, Outcome::Ignored(Ignored::NotForUs));
    assert_eq!(bench.neighbours.entries().count(), 0);
}

/// RFC 4861 §7.1.1, §7.1.2, §4.6, RFC 6980 §5
#[test]
fn what_breaks_a_rule_of_validation_is_not_heard() {
    let (mut bench, _) = waiting_for_peer();
    bench.sent();
    let advertised = format!("88 00 0000 60000000 {PEER} {FROM_GATEWAY}");
    let asked = format!("87 00 0000 00000000 {POOL}");
    let asked_with_option = format!("{asked} 01 01 02aa00000009");
    let broken = [
        ("forwarded", frame(UNICAST, 254, [PEER, US], &advertised)),
        ("forwarded", frame(UNICAST, 254, [PEER, POOL], &asked)),
        ("code", from_peer(US, &advertised.replacen("88 00", "88 01", 1))),
        ("solicited to a group", from_peer(ALL_NODES, &advertised)),
        ("option of length zero", from_peer(US, &format!("{advertised} 0e 00 000000000000"))),
        ("option beyond the end", from_peer(US, &format!("{advertised} 0e 02 000000000000"))),
        ("no target", from_peer(US, "88 00 0000 60000000")),
        ("probe not to the group", frame(UNICAST, 255, [NOBODY, POOL], &asked)),
        ("probe with an address", frame(UNICAST, 255, [NOBODY, POOL_GROUP], &asked_with_option)),
        ("another type", from_peer(US, &advertised.replacen("88", "86", 1))),
    ];
    for (what, frame) in broken {
        assert_eq!(bench.ndp(&frame), Outcome::Ignored(Ignored::Malformed), "{what}");
    }
    let mut behind_options = advertisement(SOLICITED, FROM_GATEWAY);
    behind_options[20] = 0;
    assert_eq!(bench.ndp(&behind_options), Outcome::Ignored(Ignored::Malformed));
    let whole = advertisement(SOLICITED, FROM_GATEWAY);
    for len in 0..whole.len() {
        assert_eq!(bench.ndp(&whole[..len]), Outcome::Ignored(Ignored::Malformed), "{len} bytes");
    }
    for byte in 22..whole.len() {
        let mut wrong = whole.clone();
        wrong[byte] ^= 0x10;
        assert!(matches!(bench.ndp(&wrong), Outcome::Ignored(_)), "byte {byte}");
    }
    let mut wrong = whole.clone();
    wrong[85] ^= 0x10;
    assert_eq!(bench.ndp(&wrong), Outcome::Ignored(Ignored::BadChecksum));
    assert_eq!(bench.state("2001:db8:1::2"), State::Incomplete);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.ndp(&whole), Outcome::Learned, "and the unbroken one is");
}

#[test]
fn nobody_is_learned_at_an_impossible_address() {
    let (mut bench, _) = waiting_for_peer();
    bench.sent();
    for mac in ["020000000002", "333300000001", "000000000000"] {
        let outcome = bench.ndp(&advertisement(SOLICITED, &format!("02 01 {mac}")));
        assert_eq!(outcome, Outcome::Ignored(Ignored::BadSender), "{mac}");
        let question = format!("87 00 0000 00000000 {POOL} 01 01 {mac}");
        let outcome = bench.ndp(&from_peer(POOL, &question));
        assert_eq!(outcome, Outcome::Ignored(Ignored::BadSender), "{mac}");
    }
    let question = format!("87 00 0000 00000000 {POOL} 01 01 02aa00000009");
    let from_group = frame(UNICAST, 255, [ALL_NODES, POOL], &question);
    assert_eq!(bench.ndp(&from_group), Outcome::Ignored(Ignored::BadSender));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.neighbours.entries().count(), 1);
}
