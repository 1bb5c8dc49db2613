//! How evenly hosts are shared out among workers: a simulation with the owners of the appliance itself, for numbers
//! of workers that no machine at hand has.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mooring_nat::{Owners, Share};
use mooring_policy::load;
use mooring_session::FlowKey;
use mooring_wire::Protocol;

use crate::config::{Mapping, config};
use crate::flows::Family;

/// Prints, for each number of workers and hosts, the load of the busiest worker as a multiple of the mean.
pub(crate) fn print() {
    println!(
        "load of the busiest worker, the mean being 1; all hosts alike, and host n with 1/n of the traffic"
    );
    println!(
        "{:>8}{:>10}{:>10}{:>10}{:>22}",
        "workers", "hosts", "alike", "1/n", "handed over by a hash"
    );
    for workers in WORKERS {
        for hosts in HOSTS {
            let [alike, skewed] = [|_: u32| 1.0, |n: u32| 1.0 / f64::from(n + 1)]
                .map(|weight| busiest(workers, hosts, weight));
            // A hash of both ends that knows nothing of owners is right once in `workers` times.
            let strays = 1.0 - 1.0 / f64::from(workers);
            println!("{workers:>8}{hosts:>10}{alike:>10.2}{skewed:>10.2}{strays:>22.2}");
        }
    }
}

fn busiest(workers: u8, hosts: u32, weight: fn(u32) -> f64) -> f64 {
    let share = Share::new(0, workers).expect("there is a first one");
    let policy =
        load(&config(Family::V4, Mapping::Independent, 1_000)).expect("it is valid").policy;
    let owners = Owners::new(Arc::new(policy), share);
    let mut loads = vec![0.0; usize::from(workers)];
    for n in 0..hosts {
        loads[usize::from(owners.of_flow(&flow(n)))] += weight(n);
    }
    let mean = loads.iter().sum::<f64>() / f64::from(workers);
    loads.iter().copied().fold(0.0, f64::max) / mean
}

/// One that host `n` begins; hosts have addresses in a row.
fn flow(n: u32) -> FlowKey<Ipv4Addr> {
    let IpAddr::V4(remote) = Family::V4.remote(n).0 else { unreachable!("it is asked for IPv4") };
    FlowKey {
        source: Ipv4Addr::from_bits(0x0a80_0000 + n),
        destination: remote,
        source_port: 40_000,
        destination_port: 53,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    }
}

const WORKERS: [u8; 6] = [2, 4, 8, 16, 32, 64];
const HOSTS: [u32; 3] = [256, 4_096, 65_536];
