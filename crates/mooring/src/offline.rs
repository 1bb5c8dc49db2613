//! An engine without a network: for `replay` and `explain -c`.

use std::sync::Arc;

use mooring_engine::{Engine, Link};
use mooring_policy::{Generation, InterfaceId, Policy};
use mooring_wire::Mac;

/// An engine for `policy` whose links are nobody's. It announces nothing; with `fixed_peers` every
/// next hop has the address [`peer_mac`], otherwise it is asked for.
pub(crate) fn engine(policy: Arc<Policy>, seed: [u8; 32], fixed_peers: bool) -> Engine {
    let ids = || (0u8..).map(InterfaceId);
    let links: Vec<_> = ids()
        .zip(&policy.interfaces)
        .map(|(id, interface)| Link {
            mac: own_mac(id),
            mtu: interface.mtu.unwrap_or(ETHERNET_MTU),
        })
        .collect();
    let peers: Vec<_> =
        ids().zip(&links).map(|(id, _)| fixed_peers.then(|| peer_mac(id))).collect();
    let mut engine = Engine::new(policy, Generation(1), &links, seed);
    engine.go_offline(&peers);
    engine
}

/// Our address on an interface: 02:00:00:00:00:0n, n from 1.
pub(crate) fn own_mac(interface: InterfaceId) -> Mac {
    Mac([0x02, 0, 0, 0, 0, interface.0 + 1])
}

/// The address of every next hop there: 02:ff:00:00:00:0n.
pub(crate) fn peer_mac(interface: InterfaceId) -> Mac {
    Mac([0x02, 0xff, 0, 0, 0, interface.0 + 1])
}

/// Where no device says another and the configuration is silent.
const ETHERNET_MTU: u16 = 1500;
