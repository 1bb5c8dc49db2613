//! Random messages at random times: never a panic, never a word in the name of an address that is
//! not ours, never a buffer or an entry lost.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mooring_session::NextHopIndex;
use mooring_wire::Mac;
use mooring_wire::arp::{Arp, Emit, LEN};
use mooring_wire::ethernet::{self, EtherType, Ethernet};
use mooring_wire::ipv6::Ipv6;
use mooring_wire::ndp::{
    Advertisement, MAX_LEN, NeighborAdvertisement, NeighborSolicitation, Solicitation,
    emit_advertisement, emit_solicitation,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use super::membership::query;
use super::router::{NAMED, solicitation};
use super::{Bench, GATEWAY, LARGE, OTHER, OUR_MAC, OURS, OUTSIDE, SMALL, ip, ours};

const CAPACITY: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Acquire(IpAddr),
    Release(usize),
    Hold(usize),
    Send(usize),
    Frame { bytes: Vec<u8>, flip: Option<(usize, u8)> },
    Announce(IpAddr),
    Withdraw(IpAddr),
    AdvertiseRouter,
    Farewell,
    Defend(IpAddr),
    Wait(u64),
    Transmit,
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    select(vec!["192.0.2.1", "203.0.113.10", "192.0.2.2", "192.0.2.3", "192.0.2.4", "0.0.0.0"])
        .prop_map(|text| text.parse().unwrap())
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    select(vec![
        "2001:db8:1::1",
        "2001:db8:1::10",
        "2001:db8:1::2",
        "2001:db8:1::3",
        "fe80::ff:fe00:2",
        "fe80::9",
        "::",
        "ff02::1",
        "ff02::1:ff00:10",
    ])
    .prop_map(|text| text.parse().unwrap())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)]
}

fn mac() -> impl Strategy<Value = Mac> {
    select(vec![GATEWAY, OTHER, OUR_MAC, Mac::BROADCAST, Mac::ZERO])
}

fn arp() -> impl Strategy<Value = Vec<u8>> {
    (1u16..=2, mac(), v4(), mac(), v4()).prop_map(
        |(operation, sender_mac, sender_ip, target_mac, target_ip)| {
            let mut frame = vec![0; ethernet::HEADER_LEN + LEN];
            ethernet::emit(&mut frame, Mac::BROADCAST, sender_mac, EtherType::ARP);
            Emit { operation, sender_mac, sender_ip, target_mac, target_ip }
                .emit(&mut frame[ethernet::HEADER_LEN..]);
            frame
        },
    )
}

fn ndp() -> impl Strategy<Value = Vec<u8>> {
    let option = || proptest::option::weighted(0.8, mac());
    (mac(), v6(), v6(), v6(), option(), any::<[bool; 3]>()).prop_map(
        |(from, source, destination, target, mac, [asks, solicited, overrides])| {
            let mut frame = vec![0; ethernet::HEADER_LEN + MAX_LEN];
            ethernet::emit(&mut frame, OUR_MAC, from, EtherType::IPV6);
            let body = &mut frame[ethernet::HEADER_LEN..];
            let len = match asks {
                true => emit_solicitation(
                    body,
                    &Solicitation { source, destination, target, source_link_layer: mac },
                ),
                false => emit_advertisement(
                    body,
                    &Advertisement {
                        source,
                        destination,
                        target,
                        target_link_layer: mac,
                        router: false,
                        solicited,
                        overrides,
                    },
                ),
            };
            frame.truncate(ethernet::HEADER_LEN + len);
            frame
        },
    )
}

/// A router solicitation, or a listener query.
fn question() -> impl Strategy<Value = Vec<u8>> {
    let group = select(vec!["::", "ff02::1:ff00:10", "ff02::1:ff00:99", "ff02::2"]);
    prop_oneof![
        Just(solicitation("fe800000000000000000000000000009", NAMED)),
        (any::<u16>(), group).prop_map(|(code, group)| {
            let group: Ipv6Addr = group.parse().unwrap();
            query(code, &format!("{:032x}", group.to_bits()))
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let flip = || proptest::option::weighted(0.2, (0usize..86, any::<u8>()));
    let frame = |bytes, flip| Step::Frame { bytes, flip };
    prop_oneof![
        3 => address().prop_map(Step::Acquire),
        2 => any::<usize>().prop_map(Step::Release),
        4 => any::<usize>().prop_map(Step::Hold),
        2 => any::<usize>().prop_map(Step::Send),
        6 => (arp(), flip()).prop_map(move |(bytes, flip)| frame(bytes, flip)),
        6 => (ndp(), flip()).prop_map(move |(bytes, flip)| frame(bytes, flip)),
        2 => (question(), flip()).prop_map(move |(bytes, flip)| frame(bytes, flip)),
        1 => vec(any::<u8>(), 0..100).prop_map(move |bytes| frame(bytes, None)),
        1 => select(&OURS[..]).prop_map(|address| Step::Announce(ip(address))),
        1 => select(&OURS[..]).prop_map(|address| Step::Withdraw(ip(address))),
        1 => Just(Step::AdvertiseRouter),
        1 => Just(Step::Farewell),
        1 => select(&OURS[..]).prop_map(|address| Step::Defend(ip(address))),
        4 => select(vec![1, 99, 500, 1_000, 3_000, 30_000, 86_400_000]).prop_map(Step::Wait),
        3 => Just(Step::Transmit),
    ]
}

/// The bench, and what must be true of it.
struct Model {
    bench: Bench,
    /// One entry a user.
    acquired: Vec<(NextHopIndex, IpAddr)>,
    accepted: u64,
    released: u64,
    dropped: u64,
}

impl Model {
    fn take(&mut self, step: Step) {
        let bench = &mut self.bench;
        match step {
            Step::Acquire(address) => {
                let in_use: HashSet<IpAddr> = self.acquired.iter().map(|user| user.1).collect();
                match bench.try_acquire(address) {
                    Some(hop) => self.acquired.push((hop, address)),
                    None if address.is_unspecified() || address.is_multicast() => {}
                    None => assert!(in_use.len() + held_entries(bench) >= CAPACITY),
                }
            }
            Step::Release(user) if !self.acquired.is_empty() => {
                let (hop, _) = self.acquired.swap_remove(user % self.acquired.len());
                bench.neighbours.release(hop);
            }
            Step::Hold(user) if !self.acquired.is_empty() => {
                let hop = self.acquired[user % self.acquired.len()].0;
                self.accepted += u64::from(bench.hold(hop, 0).is_ok());
            }
            Step::Send(user) if !self.acquired.is_empty() => {
                let hop = self.acquired[user % self.acquired.len()].0;
                if let Some(l2) = bench.neighbours.resolved(hop) {
                    let to = Mac(*l2.header.first_chunk().unwrap());
                    assert!(to.is_unicast() && ![OUR_MAC, Mac::ZERO].contains(&to), "{to}");
                }
            }
            Step::Frame { mut bytes, flip } => {
                if let Some((at, bits)) = flip.filter(|(at, _)| *at < bytes.len()) {
                    bytes[at] ^= bits;
                }
                let ether_type = bytes.get(12..14).map(<[u8]>::to_vec);
                match ether_type.as_deref() {
                    Some([8, 6]) => {
                        let (n, now) = (&mut bench.neighbours, bench.now);
                        n.on_arp(OUTSIDE, &bytes, now, ours, &mut bench.outbox)
                    }
                    _ => bench.ndp(&bytes),
                };
            }
            Step::Announce(address) => {
                assert!(bench.neighbours.announce(OUTSIDE, address, bench.now));
            }
            Step::Withdraw(address) => bench.neighbours.withdraw(OUTSIDE, address, bench.now),
            Step::AdvertiseRouter => bench.neighbours.advertise_router(OUTSIDE, bench.now),
            Step::Farewell => bench.neighbours.farewell(bench.now, &mut bench.outbox),
            Step::Defend(address) => {
                bench.neighbours.defend(OUTSIDE, address, bench.now, &mut bench.outbox);
            }
            Step::Wait(milliseconds) => self.dropped += bench.pass_ms(milliseconds),
            Step::Transmit | Step::Release(_) | Step::Hold(_) | Step::Send(_) => self.transmit(),
        }
    }

    fn transmit(&mut self) {
        for frame in self.bench.sent() {
            if frame[14..] == held_body() {
                self.released += 1;
                continue;
            }
            let frame = Ethernet::parse(&frame[..]).unwrap();
            assert_eq!(frame.source(), OUR_MAC);
            let (sender, target) = match frame.ether_type() {
                EtherType::ARP => {
                    let message = Arp::parse(frame.payload()).unwrap();
                    assert_eq!(message.sender_mac(), OUR_MAC);
                    (IpAddr::V4(message.sender_ip()), Some(IpAddr::V4(message.target_ip())))
                }
                _ => {
                    let packet = Ipv6::parse(frame.payload()).unwrap();
                    let message = NeighborAdvertisement::parse(packet.payload());
                    let claimed = message.map(|message| IpAddr::V6(message.target())).ok();
                    let asked = NeighborSolicitation::parse(packet.payload());
                    let asked = asked.map(|message| IpAddr::V6(message.target())).ok();
                    assert!(claimed.is_none_or(may_say), "{claimed:?} is not ours");
                    (IpAddr::V6(packet.source()), asked)
                }
            };
            // Nobody asks for what is ours before it is ours for sure, and for nothing else.
            match sender.is_unspecified() {
                true => assert!(target.is_none_or(ours), "{target:?} is not ours"),
                false => assert!(may_say(sender), "{sender} is not ours"),
            }
        }
    }

    fn check(&self) {
        let bench = &self.bench;
        let waiting: u64 = bench.neighbours.entries().map(|entry| u64::from(entry.held)).sum();
        assert!(bench.neighbours.entries().count() <= CAPACITY);
        for (hop, address) in &self.acquired {
            let users = self.acquired.iter().filter(|user| user.1 == *address).count();
            let slot = bench.neighbours.table.entry(hop.0);
            assert_eq!((slot.key.address, slot.users as usize), (*address, users));
        }
        for entry in bench.neighbours.entries() {
            let known = matches!(
                entry.state,
                super::State::Reachable | super::State::Stale | super::State::Probe
            );
            assert_eq!(entry.mac.is_some(), known, "{entry:?}");
            assert!(![Some(OUR_MAC), Some(Mac::ZERO)].contains(&entry.mac), "{entry:?}");
            assert!(entry.held == 0 || !known, "{entry:?}: nobody waits for who is known");
            assert!(!ours(entry.address) || entry.mac.is_none(), "{entry:?}: learned ourselves");
        }
        let (small, large) = bench.free_buffers();
        assert_eq!(large, LARGE);
        assert!(SMALL - small >= waiting as usize);
    }
}

fn may_say(address: IpAddr) -> bool {
    ours(address) || address == ip("fe80::ff:fe00:2")
}

fn held_entries(bench: &Bench) -> usize {
    bench.neighbours.entries().filter(|entry| entry.users == 0 && entry.held > 0).count()
}

/// What [`Bench::hold`] holds, behind the Ethernet header.
fn held_body() -> [u8; 46] {
    let mut body = [0x55; 46];
    body[45] = 0;
    body
}

proptest! {
    #[test]
    fn whatever_comes_whenever(steps in vec(step(), 1..120)) {
        let mut model = Model {
            bench: Bench::new(CAPACITY),
            acquired: Vec::new(),
            accepted: 0,
            released: 0,
            dropped: 0,
        };
        let room = model.bench.neighbours.table.index_capacity();
        for step in steps {
            model.take(step);
            model.check();
        }
        // Everything that waits leaves or is given up, and every buffer comes home.
        for _ in 0..6 {
            model.transmit();
            model.dropped += model.bench.pass(Duration::from_secs(1));
        }
        model.transmit();
        assert_eq!(model.accepted, model.released + model.dropped);
        assert_eq!(model.bench.free_buffers(), (SMALL, LARGE));
        assert_eq!(model.bench.neighbours.table.index_capacity(), room);
        assert!(model.bench.neighbours.unreachable.is_empty());
        assert!(model.bench.neighbours.next_deadline().is_none_or(|next| next > model.bench.now));
    }
}
