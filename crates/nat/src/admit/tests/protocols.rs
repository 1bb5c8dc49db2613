//! What is mapped and let in for one protocol is neither for another; and queries of ICMP.

use mooring_session::Direction;
use mooring_wire::Protocol;

use crate::fixture::{INSIDE, OUTSIDE, World, flow};
use crate::{HAIRPIN_INTERFACE, Refusal};

/// One address, everybody may send to what is mapped, and a static host.
const OPEN: &str = r#"
    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10"]
    filtering = "endpoint-independent"

    [[rule]]
    name = "server"
    kind = "static"
    inside = "10.0.0.8/32"
    outside = "203.0.113.20/32"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    pool = "egress"
"#;

/// RFC 7857 §5: a port of UDP and the same one of TCP are two ends, and have two mappings.
#[test]
fn mappings_are_made_per_protocol() {
    let mut world = World::new(OPEN);
    let ports = [Protocol::UDP, Protocol::TCP].map(|protocol| {
        world.session(flow(protocol, "10.0.0.2:5000", "198.51.100.1:53")).outside_port
    });
    assert_ne!(ports[0], ports[1], "one of 64,512 times they would be equal by chance");
    assert_eq!(world.nat.mappings.len(), 2);
}

/// RFC 7857 §6: so is the filtering that lets everybody in.
#[test]
fn filtering_is_per_protocol() {
    let mut world = World::new(OPEN);
    let session = world.session(flow(Protocol::UDP, "10.0.0.2:5000", "198.51.100.1:53"));
    let to = format!("203.0.113.10:{}", session.outside_port);
    let mut arrive = |protocol, flags| {
        world.arrive(OUTSIDE, flow(protocol, "198.51.100.7:7", &to), flags).map(drop)
    };
    let syn = Some(mooring_wire::tcp::Flags::SYN);
    assert_eq!(arrive(Protocol::TCP, syn), Err(Refusal::NoSession));
    assert_eq!(arrive(Protocol::UDP, None), Ok(()));
}

/// RFC 5508 REQ-7: "NAT devices enforcing Basic NAT MUST support the traversal of hairpinned ICMP Query
/// sessions". The static host sees the pinging one by its outside end.
#[test]
fn a_ping_hairpins_to_a_static_host() {
    let mut world = World::new(OPEN);
    let ping = flow(Protocol::ICMP, "10.0.0.2:119", "203.0.113.20:0");
    let first = world.arrive(INSIDE, ping, None).expect("half of a hairpin");
    let half = world.nat.sessions.session(first.index).clone();
    assert!(half.is_hairpin(first.direction));
    let middle = half.key(Direction::Reverse).exchanged();
    assert_eq!(
        middle,
        flow(Protocol::ICMP, &format!("203.0.113.10:{}", half.outside_port), "203.0.113.20:0")
    );
    let second = world.arrive(HAIRPIN_INTERFACE, middle, None).expect("the other half");
    let other = world.nat.sessions.session(second.index).clone();
    let reply = other.key(Direction::Forward);
    let answer = flow(Protocol::ICMP, "10.0.0.8:0", &format!("203.0.113.10:{}", half.outside_port));
    assert_eq!(reply, answer, "the answer has the identifier that it was asked with");
}
