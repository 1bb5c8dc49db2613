//! What a packet that finds no port has cost, in what was looked at: many such packets must not take the
//! worker's time.

use super::{config, udp};
use crate::Refusal;
use crate::fixture::{World, steps};

/// Each block that the host has is asked for a port once, and found once by each search for them: those
/// that it has on the address, and whether it may have another.
#[test]
fn what_finds_no_port_costs_as_many_steps_as_its_host_has_blocks() {
    for blocks in [1, 4, 16, 64] {
        let mut world = World::new(&config(&format!(
            r#"addresses = ["203.0.113.10"]
            ports = "2000-3999"
            allocation = {{ kind = "port-block", size = 10, max_blocks = {blocks} }}"#
        )));
        for n in 1..=blocks * 10 {
            world.session(udp(5, n));
        }
        steps();
        assert_eq!(world.send(udp(5, 10_000)).err(), Some(Refusal::PortsExhausted));
        let steps = steps();
        let most = 4 * u32::from(blocks) + 8;
        assert!((u32::from(blocks)..=most).contains(&steps), "{steps} for {blocks} blocks");
    }
}

/// Each packet tries 32 ports on each of eight addresses, and on all of them together looks at 256 in
/// order, once there were as many searches as there may be. The next packet has as much.
#[test]
fn a_packet_that_finds_no_shared_port_looks_at_a_bounded_number_of_them() {
    let mut world = World::new(&config(
        r#"addresses = ["203.0.113.8/29"]
        ports = "2000-2039"
        mapping = "endpoint-dependent"
        pooling = "arbitrary""#,
    ));
    for n in 1..=8 * 40 {
        world.session(udp(n, n));
        world.pass(4);
    }
    // All that was left at this time is spent.
    world.nat.sweeps.allowed(world.now);
    world.nat.sweeps.spend(usize::MAX);
    for n in 1..=5 {
        steps();
        assert_eq!(world.send(udp(400, n)).err(), Some(Refusal::PortsExhausted));
        assert_eq!(steps(), 8 * 32 + 256, "packet {n}");
    }
    world.finish(udp(7, 7));
    let found = (10..20).any(|n| world.send(udp(400, n)).is_ok());
    assert!(found, "it is enough for one of ten to find what is free");
}
