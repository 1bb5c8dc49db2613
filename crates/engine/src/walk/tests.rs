//! What becomes of a packet: one test for each behaviour, from the frame that comes in to those that
//! leave. Each file is a part of the walk.

mod across;
mod counting;
mod errors;
mod hairpin;
mod held;
mod limits;
mod local;
mod offloads;
mod older;
mod options;
mod peers;
mod queries;
mod quoted;
mod quoted_hostile;
mod quoted_kinds;
mod refused;
pub(crate) mod reloaded;
mod services;
mod short;
mod tcp;
mod translated;
pub(crate) mod v6;
mod waiting;
mod window;
mod workers;

use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{Bench, HOST, INSIDE, SERVER, frames};

/// The host sends a datagram from port 5000 to port 53 of the server; returns the port by which the
/// server sees it.
fn open_udp(bench: &mut Bench) -> u16 {
    let sent = bench.forward(INSIDE, &frames::inside(HOST, SERVER).udp(5000, 53, b"question"));
    match Seen::read(&sent).transport {
        Transport::Udp(port, 53) => port,
        other => panic!("not the datagram: {other:?}"),
    }
}
