//! The other family: NAT66 out and back, a static host, both mappings.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use mooring_policy::{Generation, InterfaceId};
use mooring_session::{Direction, FlowKey, KeyedHash, SessionRef, Tick};
use mooring_wire::Protocol;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fixture::v6::{packet_v6, session_v6};
use crate::fixture::{CountedHops, INSIDE, OUTSIDE, policy};
use crate::rewrite::rewrite_v6;
use crate::{Admission, Arrival, Nat, Owners, Place, Refusal, Share};

const CONFIG: &str = r#"
    pool = [{ name = "egress", addresses = ["2001:db8:7::10"], ports = "4000-4003", MAPPING }]
    rule = [
        { name = "own", kind = "static", inside = "fd00:10::8", outside = "2001:db8:7::8" },
        { name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" },
    ]
    interface = [
        { name = "inside", device = "in0", addresses = ["fd00:10::1/64"] },
        { name = "outside", device = "out0", addresses = ["2001:db8:1::1/64"] },
    ]
"#;

fn flow(protocol: Protocol, source: &str, destination: &str) -> FlowKey<Ipv6Addr> {
    let end = |text: &str| -> SocketAddrV6 { text.parse().expect("[address]:port") };
    let (source, destination) = (end(source), end(destination));
    FlowKey {
        source: *source.ip(),
        destination: *destination.ip(),
        source_port: source.port(),
        destination_port: destination.port(),
        vrf: 0,
        protocol,
        tag: 0,
    }
}

/// Translation, and a packet that arrives.
struct V6 {
    policy: mooring_policy::Policy,
    nat: Nat<Ipv6Addr>,
    hops: CountedHops,
    random: ChaCha8Rng,
}

impl V6 {
    fn new(mapping: &str) -> Self {
        let mapping = format!("mapping = \"{mapping}\"");
        Self::of(&CONFIG.replace("MAPPING", &mapping))
    }

    fn of(config: &str) -> Self {
        let policy = policy(config);
        let nat = Nat::new(&policy, Share::ALL, KeyedHash::new([5, 6, 7, 8]));
        let hops = CountedHops { users: Vec::new(), capacity: 8, closed_to_others: false };
        Self { policy, nat, hops, random: ChaCha8Rng::seed_from_u64(3) }
    }

    fn arrive(
        &mut self,
        ingress: InterfaceId,
        key: FlowKey<Ipv6Addr>,
    ) -> Result<SessionRef, Refusal> {
        let (hash, number) = (self.nat.sessions.hash(&key), self.random.next_u32());
        let arrival = Arrival {
            ingress,
            key,
            hash,
            flags: None,
            ttl: 64,
            looked_up: false,
            number,
            drawn: None,
        };
        let mut admission = Admission {
            policy: &self.policy,
            owners: &Owners::new(Arc::new(self.policy.clone()), Share::ALL),
            generation: Generation(1),
            now: Tick::ZERO,
            random: &mut self.random,
            hops: &mut self.hops,
        };
        self.nat.admit(&arrival, &mut admission)
    }
}

/// What admission stores is what translates the packet, its checksum and that of the answer.
#[test]
fn a_packet_goes_out_and_its_answer_comes_back() {
    for mapping in ["endpoint-independent", "endpoint-dependent"] {
        for protocol in [Protocol::UDP, Protocol::ICMPV6] {
            let mut world = V6::new(mapping);
            let remote = if protocol == Protocol::UDP { 53 } else { 0 };
            let to = format!("[2001:db8:1::2]:{remote}");
            let key = flow(protocol, "[fd00:10::2]:5000", &to);
            let found = world.arrive(INSIDE, key).expect("admitted");
            let session = world.nat.sessions.session(found.index).clone();
            assert_eq!(session.outside, "2001:db8:7::10".parse::<Ipv6Addr>().unwrap());
            let expected = session_v6(&key, session.outside, session.outside_port);
            assert_eq!(
                (session.address_delta, session.l4_delta),
                (expected.address_delta, expected.l4_delta)
            );
            for way in [Direction::Forward, Direction::Reverse] {
                let mut packet = packet_v6(&session.key(way), way, 64, b"ahoy");
                rewrite_v6(&mut packet, Place { l3: 0, l4: 40 }, &session, way, false);
                let translated = session.key(way.opposite()).exchanged();
                assert_eq!(packet, packet_v6(&translated, way, 63, b"ahoy"));
            }
            assert_eq!(
                world.arrive(OUTSIDE, session.key(Direction::Reverse)).map(|f| f.index),
                Ok(found.index)
            );
            let stranger = FlowKey { source_port: 9, ..session.key(Direction::Reverse) };
            assert!(world.arrive(OUTSIDE, stranger).is_err());
        }
    }
}

#[test]
fn a_static_host_is_reached_from_outside() {
    let mut world = V6::new("endpoint-independent");
    let key = flow(Protocol::UDP, "[2001:db8:1::2]:53", "[2001:db8:7::8]:7");
    let found = world.arrive(OUTSIDE, key).expect("admitted");
    assert_eq!(found.direction, Direction::Reverse);
    let session = world.nat.sessions.session(found.index);
    assert_eq!((session.inside, session.inside_port), ("fd00:10::8".parse().unwrap(), 7));
}

/// RFC 6888 REQ-4 speaks of subscribers, who have a prefix of IPv6.
#[test]
fn ipv6_hosts_of_one_prefix_share_its_limit() {
    let limits = "limits = { sessions_per_source = 2, source_prefix_v6 = 120 }\n";
    let mut world = V6::of(&format!("{limits}{}", CONFIG.replace(", MAPPING", "")));
    let mut from = |host: &str| {
        let source = format!("[fd00:10::{host}]:1");
        world.arrive(INSIDE, flow(Protocol::UDP, &source, "[2001:db8:1::2]:53"))
    };
    assert!(from("101").is_ok());
    assert!(from("1fe").is_ok());
    assert_eq!(from("142"), Err(Refusal::SourceLimit));
    assert!(from("242").is_ok());
}
