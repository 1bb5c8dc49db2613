use std::collections::HashMap;
use std::net::Ipv4Addr;

use mooring_wire::Protocol;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq};
use proptest::proptest;

use super::{Arrived, Datagram, Fate, FragmentRefusal, FragmentTable, Piece, Room};
use crate::{FlowKey, KeyedHash, Tick};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const START: Tick = Tick::ZERO;

fn table(datagrams: usize, waiting: usize) -> FragmentTable<Ipv4Addr, u32> {
    let (datagrams_per_source, waiting_per_source) = (datagrams as u32, waiting as u32);
    let room = Room {
        datagrams,
        datagrams_per_source,
        waiting,
        waiting_per_source,
        source_prefix: 32,
        left: 3,
    };
    FragmentTable::new(room, KeyedHash::new([1, 2, 3, 4]))
}

fn datagram(host: u8, identification: u32) -> Datagram<Ipv4Addr> {
    Datagram {
        source: Ipv4Addr::new(10, 0, 0, host),
        destination: SERVER,
        identification,
        protocol: Protocol::UDP,
        ingress: 0,
    }
}

fn piece(start: u32, len: u32, last: bool) -> Piece {
    Piece { start, len, last }
}

fn fate(identification: u32) -> Fate<Ipv4Addr> {
    let flow = FlowKey {
        source: HOST,
        destination: SERVER,
        source_port: 5,
        destination_port: 53,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    };
    Fate::Follow { flow, identification }
}

#[test]
fn fragments_in_order_follow_the_first_and_are_forgotten_with_the_last() {
    let mut table = table(4, 4);
    let Ok(Arrived::First(at)) = table.arrive(&datagram(2, 7), piece(0, 16, false), START) else {
        panic!("the first fragment is recognised");
    };
    table.decide(at, fate(7));
    assert_eq!(table.release(at), None);
    let second = table.arrive(&datagram(2, 7), piece(16, 8, false), START);
    assert_eq!(second, Ok(Arrived::Decided(fate(7))));
    assert_eq!(table.len(), (1, 0));
    let last = table.arrive(&datagram(2, 7), piece(24, 3, true), START);
    assert_eq!(last, Ok(Arrived::Decided(fate(7))));
    assert!(table.is_empty());
}

#[test]
fn what_comes_before_the_first_waits_and_goes_in_order_of_arrival() {
    let mut table = table(4, 4);
    for (n, early) in [piece(16, 3, true), piece(8, 8, false)].into_iter().enumerate() {
        let Ok(Arrived::Early(at)) = table.arrive(&datagram(2, 7), early, START) else {
            panic!("a fragment without its first is early");
        };
        table.hold(at, n as u32).expect("there is room");
    }
    let Ok(Arrived::First(at)) = table.arrive(&datagram(2, 7), piece(0, 8, false), START) else {
        panic!("the first fragment is recognised");
    };
    table.decide(at, fate(7));
    let released: Vec<u32> = std::iter::from_fn(|| table.release(at)).collect();
    assert_eq!(released, [0, 1]);
    assert!(table.is_empty(), "all of it has come");
}

#[test]
fn an_overlap_ends_the_datagram() {
    let mut table = table(4, 4);
    let first = table.arrive(&datagram(2, 7), piece(0, 24, false), START);
    let Ok(Arrived::First(at)) = first else { panic!("the first fragment is recognised") };
    table.decide(at, fate(7));
    let overlap = table.arrive(&datagram(2, 7), piece(8, 8, false), START);
    assert_eq!(overlap, Err(FragmentRefusal::Overlap));
    let later = table.arrive(&datagram(2, 7), piece(24, 8, true), START);
    assert_eq!(later, Err(FragmentRefusal::Overlap));
}

#[test]
fn lengths_that_disagree_are_an_overlap() {
    for (first, second) in [
        (piece(8, 8, true), piece(16, 8, false)),
        (piece(8, 8, true), piece(16, 8, true)),
        (piece(16, 8, false), piece(8, 8, true)),
    ] {
        let mut table = table(4, 4);
        assert!(table.arrive(&datagram(2, 7), first, START).is_ok());
        let overlap = table.arrive(&datagram(2, 7), second, START);
        assert_eq!(overlap, Err(FragmentRefusal::Overlap), "{first:?} then {second:?}");
    }
}

#[test]
fn no_fragment_is_like_this() {
    let mut table = table(4, 4);
    for wrong in [
        piece(0, 0, true),
        piece(0, 12, false),
        piece(4, 8, false),
        piece(65_528, 8, true),
        piece(65_528, 64, true),
    ] {
        let refused = table.arrive(&datagram(2, 7), wrong, START);
        assert_eq!(refused, Err(FragmentRefusal::Malformed), "{wrong:?}");
    }
    assert!(table.is_empty());
    assert!(table.arrive(&datagram(2, 7), piece(65_528, 7, true), START).is_ok());
}

#[test]
fn both_bounds_refuse_and_time_makes_room() {
    let mut table = table(1, 1);
    let early = table.arrive(&datagram(2, 7), piece(8, 8, false), START);
    let Ok(Arrived::Early(at)) = early else { panic!("a fragment without its first is early") };
    assert_eq!(table.hold(at, 1), Ok(()));
    assert_eq!(table.hold(at, 2), Err(2));
    let full = table.arrive(&datagram(2, 8), piece(0, 8, false), START);
    assert_eq!(full, Err(FragmentRefusal::Full));
    assert_eq!(table.next_deadline(), Some(Tick::from_millis(2_000)));
    let mut given_back = Vec::new();
    table.expire(Tick::from_millis(1_999), 64, |held| given_back.push(held));
    assert_eq!((table.len(), &given_back[..]), ((1, 1), &[][..]));
    table.expire(Tick::from_millis(2_000), 64, |held| given_back.push(held));
    assert_eq!((table.len(), &given_back[..]), ((0, 0), &[1][..]));
    assert_eq!(table.next_deadline(), None);
}

/// RFC 6864 §4.3: neither of another that was cut, nor of one in fragments, nor does such a one take it
/// afterwards.
#[test]
fn what_is_cut_leaves_with_an_identification_that_is_not_in_use() {
    let mut table = table(4, 4);
    let in_fragments = |table: &mut FragmentTable<Ipv4Addr, u32>, id| {
        let first = table.arrive(&datagram(2, id), piece(0, 8, false), START);
        let Ok(Arrived::First(at)) = first else { panic!("the first fragment is recognised") };
        table.identify(at, OUTSIDE, SERVER, 0xffff, 50)
    };
    let cut = |table: &mut FragmentTable<Ipv4Addr, u32>, destination, random| {
        table.identify_cut((OUTSIDE, destination), Protocol::UDP, 0xffff, random)
    };
    assert_eq!(in_fragments(&mut table, 7), Some(7));
    assert_eq!(cut(&mut table, SERVER, 7), Some(8));
    assert_eq!(cut(&mut table, SERVER, 0x1_0007), Some(9));
    assert_eq!(cut(&mut table, HOST, 9), Some(9), "to somebody else");
    assert_eq!(in_fragments(&mut table, 9), Some(50));
    // The oldest is forgotten for a fourth.
    assert_eq!(cut(&mut table, SERVER, 9), Some(10));
    assert_eq!(cut(&mut table, SERVER, 8), Some(8));
}

#[test]
fn two_hosts_with_one_identification_get_two() {
    let mut table = table(4, 4);
    let mut identify = |host, random| {
        let first = table.arrive(&datagram(host, 7), piece(0, 8, false), START);
        let Ok(Arrived::First(at)) = first else { panic!("the first fragment is recognised") };
        let chosen = table.identify(at, OUTSIDE, SERVER, 0xffff, random);
        table.decide(at, fate(chosen.unwrap_or_default()));
        chosen
    };
    assert_eq!(identify(2, 100), Some(7));
    // The random number says 7 too; the next one is free.
    assert_eq!(identify(3, 0x1_0007), Some(8));
    assert_eq!(identify(4, 7), Some(9));
    table.arrive(&datagram(2, 7), piece(8, 8, true), START).expect("it is the rest");
    assert_eq!(table.len().0, 2);
    let first = table.arrive(&datagram(5, 7), piece(0, 8, false), START);
    let Ok(Arrived::First(at)) = first else { panic!("the first fragment is recognised") };
    let chosen = table.identify(at, OUTSIDE, SERVER, 0xffff, 100);
    assert_eq!(chosen, Some(100), "pieces of the first may still be on the way");
}

/// RFC 3022 §6.3, RFC 6864 §4.3: one host after the other, and the receiver may still wait for a piece.
#[test]
fn an_identification_rests_when_its_datagram_has_passed() {
    let mut table = table(4, 4);
    let mut pass = |host, id, random| {
        let first = table.arrive(&datagram(host, id), piece(0, 8, false), START);
        let Ok(Arrived::First(at)) = first else { panic!("the first fragment is recognised") };
        let chosen = table.identify(at, OUTSIDE, SERVER, 0xffff, random);
        table.decide(at, fate(chosen.unwrap_or_default()));
        table.arrive(&datagram(host, id), piece(8, 8, true), START).expect("it is the rest");
        assert_eq!(table.len().0, 0, "it has passed");
        chosen
    };
    assert_eq!(pass(2, 7, 50), Some(7));
    assert_eq!(pass(3, 7, 50), Some(50));
    assert_eq!(pass(3, 8, 50), Some(8));
    // Three are remembered.
    assert_eq!(pass(3, 9, 50), Some(9));
    assert_eq!(pass(3, 7, 50), Some(7), "it is free again");
}

/// Who has a prefix is one sender, however many addresses it takes.
#[test]
fn a_prefix_is_one_sender() {
    let room = Room {
        datagrams: 8,
        datagrams_per_source: 2,
        waiting: 8,
        waiting_per_source: 1,
        source_prefix: 31,
        left: 0,
    };
    let mut table: FragmentTable<Ipv4Addr, u32> =
        FragmentTable::new(room, KeyedHash::new([1, 2, 3, 4]));
    let mut begin = |host| table.arrive(&datagram(host, 1), piece(0, 8, false), START);
    assert!(begin(2).is_ok() && begin(3).is_ok());
    assert!(begin(4).is_ok(), "of another prefix");
    let mut again = |host| table.arrive(&datagram(host, 2), piece(0, 8, false), START);
    assert_eq!([2, 3].map(|host| again(host).err()), [Some(FragmentRefusal::Full); 2]);
    assert!(again(4).is_ok());
}

/// RFC 8200 §4.5: "an implementation may choose to detect this case and drop exact duplicate fragments
/// while keeping the other fragments belonging to the same packet".
#[test]
fn a_fragment_that_comes_twice_is_dropped_alone() {
    let mut table = table(4, 4);
    let pieces = [piece(8, 16, false), piece(24, 3, true), piece(0, 8, false)];
    for (n, part) in pieces.into_iter().enumerate() {
        let arrived = table.arrive(&datagram(2, 7), part, START);
        assert!(arrived.is_ok(), "{part:?}");
        if let Ok(Arrived::Early(at)) = arrived {
            table.hold(at, n as u32).expect("there is room");
        }
        for known in &pieces[..=n] {
            let again = table.arrive(&datagram(2, 7), *known, START);
            assert_eq!(again, Err(FragmentRefusal::Duplicate), "{known:?}");
        }
    }
    assert_eq!(table.len(), (1, 2));
}

/// Other boundaries are other fragments, though the bytes have all come.
#[test]
fn the_same_bytes_in_other_fragments_are_an_overlap() {
    for other in [
        piece(0, 16, false),
        piece(8, 8, false),
        piece(8, 24, false),
        piece(16, 8, false),
        piece(16, 16, false),
        piece(24, 8, false),
        piece(24, 2, true),
        piece(24, 8, true),
    ] {
        let mut table = table(4, 4);
        for known in [piece(0, 8, false), piece(8, 16, false), piece(24, 3, true)] {
            let arrived = table.arrive(&datagram(2, 7), known, START).expect("it fits");
            if let Arrived::First(at) = arrived {
                table.decide(at, Fate::Refused);
                table.hold(at, 1).expect("so that the datagram stays");
            }
        }
        let overlap = table.arrive(&datagram(2, 7), other, START);
        assert_eq!(overlap, Err(FragmentRefusal::Overlap), "{other:?}");
    }
}

/// RFC 3128: "IF FO=1 and PROTOCOL=TCP then DROP PACKET"; RFC 1858 §3.
#[test]
fn nothing_begins_within_a_tcp_header() {
    let of_tcp = Datagram { protocol: Protocol::TCP, ..datagram(2, 7) };
    for start in [8, 16] {
        let mut table = table(4, 4);
        let tiny = table.arrive(&of_tcp, piece(start, 8, false), START);
        assert_eq!(tiny, Err(FragmentRefusal::Tiny));
        assert!(table.is_empty(), "nothing is remembered of it");
        let Ok(Arrived::First(at)) = table.arrive(&of_tcp, piece(0, 24, false), START) else {
            panic!("the first fragment is recognised")
        };
        table.decide(at, fate(7));
        let tiny = table.arrive(&of_tcp, piece(start, 8, false), START);
        assert_eq!(tiny, Err(FragmentRefusal::Tiny));
        let rest = table.arrive(&of_tcp, piece(24, 8, true), START);
        assert_eq!(rest, Err(FragmentRefusal::Overlap), "it ends the datagram");
        let of_udp = table.arrive(&datagram(3, 7), piece(start, 8, false), START);
        assert!(matches!(of_udp, Ok(Arrived::Early(_))), "a header of UDP ends before");
    }
}

/// One sender does not take the memory from the others.
#[test]
fn each_sender_has_its_share() {
    let room = Room {
        datagrams: 8,
        datagrams_per_source: 2,
        waiting: 8,
        waiting_per_source: 3,
        source_prefix: 32,
        left: 0,
    };
    let mut table: FragmentTable<Ipv4Addr, u32> =
        FragmentTable::new(room, KeyedHash::new([1, 2, 3, 4]));
    let early = piece(8, 8, false);
    for sender in [2, 3, 4] {
        let arrived = [1, 2, 3].map(|id| table.arrive(&datagram(sender, id), early, START));
        let [Ok(Arrived::Early(one)), Ok(Arrived::Early(two)), third] = arrived else {
            panic!("{arrived:?}")
        };
        assert_eq!(third, Err(FragmentRefusal::Full));
        let held = [one, two, one, two].map(|at| table.hold(at, 9).is_ok());
        let fits = sender < 4;
        assert_eq!(held, [true, true, fits, false], "the third sender finds two places left");
    }
    let mut back = 0;
    table.expire(Tick::from_millis(2_000), 64, |_| back += 1);
    assert_eq!((back, table.len()), (8, (0, 0)));
    for id in [1, 2] {
        assert!(table.arrive(&datagram(2, id), early, Tick::from_millis(2_000)).is_ok());
    }
}

proptest! {
    /// However fragments of several datagrams come: what was held is given back or released exactly
    /// once, and the memory is empty in the end.
    #[test]
    fn nothing_that_waits_is_lost(
        arrivals in vec((2..5u8, 0..3u32, 0..4u32, 1..3u32, any::<bool>(), 0..900u64), 1..200),
    ) {
        let mut table = table(5, 6);
        let (mut now, mut held, mut back) = (0, 0u32, HashMap::<u32, u32>::new());
        for (host, id, start, len, last, pause) in arrivals {
            now += pause;
            let time = Tick::from_millis(now);
            table.expire(time, 2, |n| *back.entry(n).or_default() += 1);
            let what = datagram(host, id);
            match table.arrive(&what, piece(start * 8, len * 8, last), time) {
                Ok(Arrived::Early(at)) => {
                    if table.hold(at, held).is_ok() {
                        held += 1;
                    }
                }
                Ok(Arrived::First(at)) => {
                    let id = table.identify(at, OUTSIDE, SERVER, 3, id);
                    table.decide(at, id.map_or(Fate::Refused, fate));
                    while let Some(n) = table.release(at) {
                        *back.entry(n).or_default() += 1;
                    }
                }
                Ok(Arrived::Decided(_)) | Err(_) => {}
            }
            let (datagrams, waiting) = table.len();
            prop_assert!(datagrams <= 5);
            prop_assert_eq!(waiting + back.len(), held as usize);
        }
        table.expire(Tick::from_millis(now + 10_000), 64, |n| *back.entry(n).or_default() += 1);
        prop_assert!(table.is_empty());
        prop_assert_eq!(back.len(), held as usize);
        prop_assert!(back.values().all(|&times| times == 1));
    }
}
