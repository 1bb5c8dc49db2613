//! Hold-down, RFC 6888 REQ-8: "it SHOULD NOT be reallocated to a new mapping until at least 120
//! seconds have passed".

use mooring_policy::PoolId;
use mooring_wire::Protocol;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::{config, to, udp};
use crate::Refusal;
use crate::event::EventKind;
use crate::fixture::World;

/// Four ports that rest for 120 s; everybody may send to a mapping.
fn four(more: &str) -> String {
    config(&format!(
        r#"addresses = ["203.0.113.10"]
        ports = "2000-2003"
        filtering = "endpoint-independent"
        {more}"#
    ))
}

fn filled(config: &str, protocol: Protocol) -> World {
    let mut world = World::new(config);
    for host in 1..=4 {
        world.session(to(host, 1, protocol, 1));
    }
    world
}

#[test]
fn a_port_rests_before_another_host_gets_it() {
    let mut world = filled(&four(""), Protocol::UDP);
    let port = world.nat.sessions.session(world.all()[0]).outside_port;
    world.finish(udp(1, 1));
    assert_eq!(world.nat.leased_ports(), 3, "it is nobody's");
    assert_eq!(world.nat.resting_ports_of(PoolId(0)), 1);
    assert_eq!(world.send(udp(5, 1)).err(), Some(Refusal::PortsExhausted), "and rests");
    assert!(world.nat.events.read().is_some_and(|event| event.kind == EventKind::PortsExhausted));
    world.pass(119_999);
    assert_eq!(world.send(udp(5, 1)).err(), Some(Refusal::PortsExhausted));
    world.pass(1);
    assert_eq!(world.session(udp(5, 1)).outside_port, port);
    assert_eq!((world.nat.leased_ports(), world.nat.resting_ports_of(PoolId(0))), (4, 0));
}

#[test]
fn the_host_that_had_a_port_may_have_it_back_at_once() {
    let mut world = filled(&four(""), Protocol::UDP);
    let port = world.nat.sessions.session(world.all()[0]).outside_port;
    world.finish(udp(1, 1));
    assert_eq!(world.session(udp(1, 1)).outside_port, port, "the same inside end");
    world.finish(udp(1, 1));
    assert_eq!(world.session(udp(1, 7)).outside_port, port, "another one, there is no other port");
    assert_eq!(world.nat.resting_ports_of(PoolId(0)), 0);
}

#[test]
fn an_inside_end_gets_the_port_that_it_had_among_many() {
    let mut world = World::new(&four("").replace("2000-2003", "2000-9999"));
    for n in 1..=20 {
        let port = world.session(udp(1, n)).outside_port;
        world.finish(udp(1, n));
        assert_eq!(world.session(udp(1, n)).outside_port, port);
        world.finish(udp(1, n));
    }
}

/// RFC 6888 REQ-8 a and c; `strict` makes no exceptions.
#[test]
fn what_is_excepted_does_not_rest_unless_strictly() {
    let dependent = "address-and-port-dependent";
    for (protocol, filtering, strict, rests) in [
        (Protocol::UDP, "endpoint-independent", false, true),
        (Protocol::ICMP, "endpoint-independent", false, true),
        (Protocol::TCP, "endpoint-independent", false, false),
        (Protocol::UDP, "address-dependent", false, false),
        (Protocol::UDP, dependent, false, false),
        (Protocol::TCP, "endpoint-independent", true, true),
        (Protocol::UDP, dependent, true, true),
        (Protocol::TCP, dependent, true, true),
    ] {
        let config = four(&format!("hold_down = {{ strict = {strict} }}"));
        let config = config.replace("\"endpoint-independent\"", &format!("\"{filtering}\""));
        let mut world = World::new(&config);
        world.session(to(1, 1, protocol, 1));
        world.finish(to(1, 1, protocol, 1));
        let resting = world.nat.resting_ports_of(PoolId(0));
        assert_eq!(resting, usize::from(rests), "{protocol:?} {filtering} {strict}");
        assert_eq!(world.nat.leased_ports(), 0);
    }
}

/// RFC 6888 REQ-8: "The length of time and the maximum number of ports in this state MUST be
/// configurable".
#[test]
fn time_and_number_are_configured() {
    let mut world = filled(&four("hold_down = { seconds = 7, ports = 2 }"), Protocol::UDP);
    for host in 1..=3 {
        world.finish(udp(host, 1));
    }
    assert_eq!(world.nat.resting_ports_of(PoolId(0)), 2, "the first made room");
    assert!(world.send(udp(5, 1)).is_ok());
    assert_eq!(world.send(udp(6, 1)).err(), Some(Refusal::PortsExhausted));
    world.pass(7_000);
    assert!(world.send(udp(6, 1)).is_ok() && world.send(udp(7, 1)).is_ok());
    for config in ["seconds = 0", "ports = 0"] {
        let mut world = filled(&four(&format!("hold_down = {{ {config} }}")), Protocol::UDP);
        world.finish(udp(1, 1));
        assert!(world.send(udp(5, 1)).is_ok(), "{config}");
    }
}

#[test]
fn what_rests_goes_on_resting_over_a_reload() {
    let mut world = filled(&four(""), Protocol::UDP);
    world.finish(udp(1, 1));
    world.finish(udp(2, 1));
    // Room for one less than rests; the pool at another place; without a rest of its own.
    let other = "[[pool]]\nname = \"other\"\naddresses = [\"203.0.113.9\"]\n";
    world.reload(&format!("{other}{}", four("hold_down = { ports = 1 }")));
    assert_eq!(world.nat.resting_ports_of(PoolId(1)), 1, "the one that rests longer");
    world.reload(&four("hold_down = { seconds = 0 }"));
    assert_eq!(world.nat.resting_ports_of(PoolId(0)), 1);
    assert!(world.send(udp(5, 1)).is_ok());
    assert_eq!(world.send(udp(6, 1)).err(), Some(Refusal::PortsExhausted));
    world.pass(120_000);
    assert!(world.send(udp(6, 1)).is_ok(), "time ends it, whatever its pool has become");
}

#[test]
fn ports_of_a_pool_that_is_gone_come_back_in_time() {
    let mut world = filled(&four(""), Protocol::UDP);
    world.finish(udp(1, 1));
    world.reload(&four("").replace("egress", "heir"));
    world.check_all();
    (2..=4).for_each(|host| world.finish(udp(host, 1)));
    assert_eq!(world.send(udp(5, 1)).err(), Some(Refusal::PortsExhausted), "all of them rest");
    world.pass(120_000);
    for _ in 0..3 {
        world.pass(1);
    }
    assert!((5..9).all(|host| world.send(udp(host, 1)).is_ok()));
}

proptest! {
    /// Against a list of what was had until when.
    #[test]
    fn nobody_gets_what_another_had_in_the_last_time(
        steps in prop::collection::vec((1u16..6, 1u16..4, any::<bool>(), 0u64..40_000), 1..150),
        ports in 1u32..6,
    ) {
        let more = format!("hold_down = {{ seconds = 60, ports = {ports} }}");
        let mut world = World::new(&four(&more).replace("2000-2003", "2000-2009"));
        // Port, host, when: the oldest first, not more than may rest.
        let mut had: Vec<(u16, u16, u64)> = Vec::new();
        for (host, port, begins, millis) in steps {
            world.now = mooring_session::Tick::from_millis(world.now.as_millis() + millis);
            let now = world.now.as_millis();
            had.retain(|(_, _, when)| when + 60_000 > now);
            let key = udp(host, port);
            match world.nat.sessions.find_key(&key) {
                Some(found) if !begins => {
                    let port = world.nat.sessions.session(found.index).outside_port;
                    world.finish(key);
                    had.push((port, host, now));
                    if had.len() > ports as usize {
                        had.remove(0);
                    }
                }
                None if begins => {
                    let rest_of_others = had.iter().filter(|(_, whose, _)| *whose != host).count();
                    match world.send(key) {
                        Ok(found) => {
                            let port = world.nat.sessions.session(found.index).outside_port;
                            let before = had.iter().find(|(resting, _, _)| *resting == port);
                            prop_assert!(before.is_none_or(|(_, whose, _)| *whose == host));
                            had.retain(|(resting, _, _)| *resting != port);
                        }
                        Err(refusal) => {
                            prop_assert_eq!(refusal, Refusal::PortsExhausted);
                            prop_assert!(world.nat.leased_ports() + rest_of_others >= 10);
                        }
                    }
                }
                _ => {}
            }
            prop_assert_eq!(world.nat.leased_ports(), world.nat.mappings.len());
        }
    }
}
