//! The answers as the contract's JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use mooring_engine::neighbours::EntryView;
use mooring_engine::view::{MappingView, SessionView};
use mooring_engine::{Counters, DropReason, InterfaceCounters, Occupancy, Work};
use mooring_policy::{Generation, Given, InterfaceId, NotTaken, Policy};
use mooring_session::Tick;
use serde_json::{Map, Value, json};

use crate::date;
use crate::rows::{MappingRow, NeighbourRow, SessionRow};

/// What is known of the appliance without asking a worker; turns answers into JSON.
#[derive(Clone, Debug)]
pub struct Report {
    /// Names of the interfaces, in the order of the configuration.
    pub interfaces: Vec<PortInfo>,
    /// Generation of the policy.
    pub generation: Generation,
}

/// An interface as `show interfaces` prints it.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The kernel's name of its device.
    pub device: String,
    /// `af_packet`, ...
    pub backend: &'static str,
    /// What else there is to say of it.
    pub details: Details,
    /// "up" where packets can pass, else what the kernel says of its device.
    pub state: String,
    /// The device's Ethernet address.
    pub mac: String,
    /// Bytes of the longest IP packet.
    pub mtu: u16,
    /// Our own addresses there.
    pub addresses: Vec<String>,
    /// What the backend carries beside ordinary packets.
    pub abilities: Vec<&'static str>,
    /// What the kernel has refused and the interface does without, a sentence each.
    pub notices: Vec<String>,
}

/// What some backends have to say of themselves.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// "copy" or "zero-copy".
    pub mode: Option<&'static str>,
    /// Receive queues of the device that have a socket.
    pub queues: Option<u32>,
    /// Entries of the rings of each socket: received, and to be sent.
    pub rings: Option<[u32; 2]>,
    /// The backend that was asked for and could not be had.
    pub instead_of: Option<&'static str>,
    /// Why it could not.
    pub reason: Option<String>,
    /// What the kernel has refused to the one that there is.
    pub notices: Vec<String>,
}

impl Report {
    /// `show sessions`, of one worker.
    pub fn sessions(
        worker: usize,
        sessions: &[SessionView],
    ) -> impl Iterator<Item = SessionRow<'_>> {
        sessions.iter().map(move |session| SessionRow::new(worker, session))
    }

    /// `show mappings`, of one worker.
    pub fn mappings(
        worker: usize,
        mappings: &[MappingView],
    ) -> impl Iterator<Item = MappingRow<'_>> {
        mappings.iter().map(move |mapping| MappingRow::new(worker, mapping))
    }

    /// `show counters`, of all workers.
    #[must_use]
    pub fn counters(&self, workers: &[(Counters, Occupancy)]) -> Value {
        let interfaces: Map<String, Value> = self
            .interfaces
            .iter()
            .enumerate()
            .map(|(at, port)| (port.name.clone(), traffic(&total(workers, at))))
            .collect();
        let workers: Vec<Value> =
            workers.iter().enumerate().map(|(at, worker)| self.worker(at, worker)).collect();
        json!({ "generation": self.generation.0, "interfaces": interfaces, "workers": workers })
    }

    /// `show drops`, of all workers: every reason, zeros too.
    #[must_use]
    pub fn drops(workers: &[(Counters, Occupancy)]) -> Value {
        drops(|reason| workers.iter().map(|(counters, _)| counters.dropped(reason)).sum())
    }

    /// `show interfaces`.
    #[must_use]
    pub fn interfaces(&self, workers: &[(Counters, Occupancy)]) -> Vec<Value> {
        let rows = self.interfaces.iter().enumerate().map(|(at, port)| {
            json!({
                "name": port.name,
                "device": port.device,
                "backend": port.backend,
                "mode": port.details.mode,
                "queues": port.details.queues,
                "rings": port.details.rings.map(|[receive, send]| {
                    json!({ "receive": receive, "send": send })
                }),
                "instead_of": port.details.instead_of,
                "reason": port.details.reason,
                "state": port.state,
                "mac": port.mac,
                "mtu": port.mtu,
                "addresses": port.addresses,
                "abilities": port.abilities,
                "notices": port.notices,
                "counters": traffic(&total(workers, at)),
            })
        });
        rows.collect()
    }

    /// `show addresses`: what this instance holds, each address in the state that `state_of` names,
    /// and since when; then what was given to it or may be and it does not hold, with the reason if
    /// that is its own.
    pub fn addresses<'r>(
        &'r self,
        policy: &'r Policy,
        not_taken: &'r [NotTaken],
        state_of: impl Fn(InterfaceId, IpAddr) -> (&'static str, Option<SystemTime>) + 'r,
    ) -> impl Iterator<Item = Value> + 'r {
        let given: BTreeMap<IpAddr, Given<'r>> =
            policy.given().map(|given| (given.address, given)).collect();
        let waiting: Vec<Given<'r>> =
            given.values().filter(|given| !given.standing.is_held()).copied().collect();
        let held = policy.addresses().map(move |(interface, address)| {
            let (state, since) = state_of(interface, address);
            let given = given.get(&address);
            json!({
                "address": address.to_string(),
                "interface": self.name(interface),
                "network": given.map(|given| given.network),
                "state": state,
                "since": since.map(date::rfc3339),
                "route": given.map(|given| given.route),
                "reason": null,
            })
        });
        let waiting = waiting.into_iter().map(|given| {
            json!({
                "address": given.address.to_string(),
                "interface": given.on.lowest().map(|interface| self.name(interface)),
                "network": given.network,
                "state": "claimed",
                "since": null,
                "route": given.route,
                "reason": null,
            })
        });
        let not_taken = not_taken.iter().map(|not_taken| {
            json!({
                "address": not_taken.address.to_string(),
                "interface": null,
                "network": null,
                "state": "claimed",
                "since": null,
                "route": not_taken.route,
                "reason": not_taken.reason,
            })
        });
        held.chain(waiting).chain(not_taken)
    }

    /// `show neighbors`, of one worker.
    pub fn neighbours(
        &self,
        worker: usize,
        entries: &[EntryView],
        now: Tick,
    ) -> impl Iterator<Item = NeighbourRow<'_>> {
        entries
            .iter()
            .map(move |entry| NeighbourRow::new((worker, self.name(entry.interface)), entry, now))
    }

    fn name(&self, interface: InterfaceId) -> &str {
        self.interfaces.get(usize::from(interface.0)).map_or("", |port| &port.name)
    }

    fn worker(&self, at: usize, (counters, occupancy): &(Counters, Occupancy)) -> Value {
        let mut row = json!({
            "worker": at,
            "sessions": occupancy.sessions,
            "mappings": occupancy.mappings,
            "leased_ports": occupancy.leased_ports,
            "fragmented": occupancy.fragmented,
            "waiting_fragments": occupancy.waiting_fragments,
            "translated": counters.translated,
            "local": counters.local,
            "served": counters.served,
            "handed_over": counters.handed_over,
            "cut": counters.cut,
            "held": counters.held,
            "originated": counters.originated,
            "conflicts": counters.conflicts,
            "sessions_created": counters.sessions_created,
            "sessions_expired": counters.sessions_expired,
            "sessions_ended": counters.sessions_ended,
            "transitory_ended": counters.transitory_ended,
            "batches": counters.work.batches.iter().sum::<u64>(),
            "batch_packets": counters.work.packets,
            "batch_mean": rounded(counters.work.mean_batch()),
            "batch_sizes": batch_sizes(&counters.work),
            "clocks_per_packet": rounded(counters.work.clocks_per_packet()),
            "idle_share": rounded(counters.work.idle_share()),
            "events": counters.events.iter().sum::<u64>(),
            "events_lost": counters.events_lost,
            "drops": drops(|reason| counters.dropped(reason)),
        });
        let sums = traffic(&sum(&counters.interfaces));
        if let (Some(row), Value::Object(sums)) = (row.as_object_mut(), sums) {
            row.extend(sums);
        }
        row
    }
}

/// Batches of each size.
fn batch_sizes(work: &Work) -> Value {
    work.sizes().map(|(size, batches)| (size, batches.into())).collect::<Map<_, _>>().into()
}

/// To a thousandth, which is more than it is good for.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// Every reason with its count.
fn drops(count: impl Fn(DropReason) -> u64) -> Value {
    let happened = DropReason::ALL.into_iter().map(|reason| (reason.name(), count(reason)));
    let drops: Map<String, Value> =
        happened.map(|(name, count)| (name.to_owned(), count.into())).collect();
    Value::Object(drops)
}

/// What all workers counted on interface `at`.
fn total(workers: &[(Counters, Occupancy)], at: usize) -> InterfaceCounters {
    let of_each: Vec<_> =
        workers.iter().filter_map(|(counters, _)| counters.interfaces.get(at).copied()).collect();
    sum(&of_each)
}

fn sum(counters: &[InterfaceCounters]) -> InterfaceCounters {
    counters.iter().fold(InterfaceCounters::default(), |sum, one| InterfaceCounters {
        rx_packets: sum.rx_packets + one.rx_packets,
        rx_bytes: sum.rx_bytes + one.rx_bytes,
        rx_lost: sum.rx_lost + one.rx_lost,
        rx_unreadable: sum.rx_unreadable + one.rx_unreadable,
        tx_packets: sum.tx_packets + one.tx_packets,
        tx_bytes: sum.tx_bytes + one.tx_bytes,
        tx_refused: sum.tx_refused + one.tx_refused,
        tx_coalesced: sum.tx_coalesced + one.tx_coalesced,
        tx_super_packets: sum.tx_super_packets + one.tx_super_packets,
    })
}

fn traffic(counters: &InterfaceCounters) -> Value {
    json!({
        "rx_packets": counters.rx_packets,
        "rx_bytes": counters.rx_bytes,
        "rx_lost": counters.rx_lost,
        "rx_unreadable": counters.rx_unreadable,
        "tx_packets": counters.tx_packets,
        "tx_bytes": counters.tx_bytes,
        "tx_refused": counters.tx_refused,
        "tx_coalesced": counters.tx_coalesced,
        "tx_super_packets": counters.tx_super_packets,
    })
}

#[cfg(test)]
mod tests {
    use mooring_engine::{Counters, DropReason, Occupancy};
    use mooring_policy::Generation;

    use super::Report;

    /// With several workers a host can run out of the ports of its own while others have free ones.
    #[test]
    fn each_worker_tells_its_own_drops() {
        let occupancy = Occupancy {
            sessions: 0,
            mappings: 0,
            leased_ports: 0,
            fragmented: 0,
            waiting_fragments: 0,
        };
        let workers = [0, 7].map(|exhausted| {
            let mut counters = Counters::new(0);
            counters.drops[DropReason::PortsExhausted as usize] = exhausted;
            (counters, occupancy)
        });
        let report = Report { interfaces: Vec::new(), generation: Generation(1) };
        let told = report.counters(&workers);
        let of = |worker: usize| &told["workers"][worker]["drops"];
        assert_eq!((&of(0)["ports_exhausted"], &of(1)["ports_exhausted"]), (&0.into(), &7.into()));
        assert_eq!(Report::drops(&workers)["ports_exhausted"], 7);
    }
}
