//! Which outside end a flow gets, seen from admission: each kind of allocation, pooling and rest.

mod addresses;
mod blocks;
mod cost;
mod deterministic;
mod every_kind;
mod overflow;
mod preferred;
mod resting;

use std::net::Ipv4Addr;

use mooring_session::FlowKey;
use mooring_wire::Protocol;

use crate::fixture::{World, flow};

/// A rule for all from inside to a pool with `pool` as its keys, one a line.
fn config(pool: &str) -> String {
    format!(
        r#"
        [[pool]]
        name = "egress"
        {pool}

        [[rule]]
        name = "egress"
        kind = "source-nat"
        from = "inside"
        pool = "egress"
        "#
    )
}

/// A flow of host `10.1.x.y` to a remote, 0 to 255.
fn to(host: u16, port: u16, protocol: Protocol, remote: u8) -> FlowKey<Ipv4Addr> {
    let remote_port = if protocol == Protocol::ICMP { 0 } else { 443 };
    FlowKey {
        source: host_address(host),
        source_port: port,
        ..flow(protocol, "0.0.0.0:0", &format!("198.51.100.{remote}:{remote_port}"))
    }
}

fn udp(host: u16, port: u16) -> FlowKey<Ipv4Addr> {
    to(host, port, Protocol::UDP, 1)
}

fn host_address(host: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a01_0000 | u32::from(host))
}

impl World {
    /// Ends the session of a flow.
    fn finish(&mut self, key: FlowKey<Ipv4Addr>) {
        let found = self.nat.sessions.find_key(&key).expect("the flow has a session");
        self.nat.end(found.index, &mut self.hops, self.now);
    }

    /// Goes on with the sweep until it is done.
    fn check_all(&mut self) {
        while self.nat.is_sweeping() {
            let mut budget = u32::MAX;
            let (nat, mut admission) = self.admission();
            while nat.sweep(&mut admission, &mut budget).is_some() {}
        }
    }
}
