//! The rows of the contract's long arrays, straight from a worker's records to JSON: a table of a
//! million sessions is written without a second copy of any.
//!
//! The names and the order of the fields are the contract.

use std::fmt;
use std::net::IpAddr;

use mooring_engine::neighbours::EntryView;
use mooring_engine::view::{MappingView, SessionView};
use mooring_session::{Counts, Tick};
use mooring_wire::{Mac, Protocol};
use serde::{Serialize, Serializer};

/// A row of `show sessions`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionRow<'v> {
    protocol: Text<Protocol>,
    inside: End,
    outside: End,
    remote: End,
    state: &'static str,
    rule: &'v str,
    worker: usize,
    age_ms: u64,
    idle_ms: u64,
    expires_ms: u64,
    forward: Traffic,
    reverse: Traffic,
}

impl<'v> SessionRow<'v> {
    /// The row of a session of `worker`.
    #[must_use]
    pub fn new(worker: usize, session: &'v SessionView) -> Self {
        Self {
            protocol: Text(session.protocol),
            inside: session.inside.into(),
            outside: session.outside.into(),
            remote: session.remote.into(),
            state: session.state,
            rule: &session.rule,
            worker,
            age_ms: session.age,
            idle_ms: session.idle,
            expires_ms: session.expires,
            forward: session.forward.into(),
            reverse: session.reverse.into(),
        }
    }
}

/// A row of `show mappings`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MappingRow<'v> {
    protocol: Text<Protocol>,
    inside: End,
    outside: End,
    pool: &'v str,
    sessions: u32,
    worker: usize,
}

impl<'v> MappingRow<'v> {
    /// The row of a mapping of `worker`.
    #[must_use]
    pub fn new(worker: usize, mapping: &'v MappingView) -> Self {
        Self {
            protocol: Text(mapping.protocol),
            inside: mapping.inside.into(),
            outside: mapping.outside.into(),
            pool: &mapping.pool,
            sessions: mapping.sessions,
            worker,
        }
    }
}

/// A row of `show neighbors`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NeighbourRow<'n> {
    address: IpAddr,
    interface: &'n str,
    mac: Option<Text<Mac>>,
    state: &'static str,
    held: u16,
    users: u32,
    age_ms: u64,
    worker: usize,
}

impl<'n> NeighbourRow<'n> {
    /// The row of an entry of `worker` as it was at `now`, on the interface of this name.
    #[must_use]
    pub fn new((worker, interface): (usize, &'n str), entry: &EntryView, now: Tick) -> Self {
        Self {
            address: entry.address,
            interface,
            mac: entry.mac.map(Text),
            state: entry.state.name(),
            held: entry.held,
            users: entry.users,
            age_ms: now.since(entry.since),
            worker,
        }
    }
}

/// A value as it is written for people.
#[derive(Clone, Copy, Debug)]
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An end of a flow.
#[derive(Clone, Copy, Debug, Serialize)]
struct End {
    address: IpAddr,
    port: u16,
}

impl From<(IpAddr, u16)> for End {
    fn from((address, port): (IpAddr, u16)) -> Self {
        Self { address, port }
    }
}

/// What one direction of a flow carried.
#[derive(Clone, Copy, Debug, Serialize)]
struct Traffic {
    packets: u64,
    bytes: u64,
}

impl From<Counts> for Traffic {
    fn from(counts: Counts) -> Self {
        Self { packets: counts.packets, bytes: counts.bytes }
    }
}

#[cfg(test)]
mod tests {
    use mooring_engine::neighbours::{EntryView, State};
    use mooring_engine::view::{MappingView, SessionView};
    use mooring_policy::InterfaceId;
    use mooring_session::{Counts, Tick};
    use mooring_wire::{Mac, Protocol};

    use super::{MappingRow, NeighbourRow, SessionRow};

    #[test]
    fn a_session_has_the_fields_of_the_contract_in_their_order() {
        let session = SessionView {
            protocol: Protocol::UDP,
            inside: ("10.0.0.2".parse().unwrap(), 5000),
            outside: ("203.0.113.10".parse().unwrap(), 40001),
            remote: ("2001:db8::2".parse().unwrap(), 53),
            state: "established",
            begun_inside: true,
            rule: "\"egress\"".to_owned(),
            age: 3,
            idle: 2,
            expires: 299_998,
            forward: Counts { packets: 3, bytes: 180 },
            reverse: Counts { packets: 2, bytes: 120 },
        };
        let expected = r#"{"protocol":"udp","inside":{"address":"10.0.0.2","port":5000},"#
            .to_owned()
            + r#""outside":{"address":"203.0.113.10","port":40001},"#
            + r#""remote":{"address":"2001:db8::2","port":53},"#
            + r#""state":"established","rule":"\"egress\"","worker":7,"#
            + r#""age_ms":3,"idle_ms":2,"expires_ms":299998,"#
            + r#""forward":{"packets":3,"bytes":180},"reverse":{"packets":2,"bytes":120}}"#;
        assert_eq!(serde_json::to_string(&SessionRow::new(7, &session)).unwrap(), expected);
    }

    #[test]
    fn a_mapping_of_an_unnamed_protocol_has_its_number_as_text() {
        let mapping = MappingView {
            protocol: Protocol(47),
            inside: ("10.0.0.2".parse().unwrap(), 0),
            outside: ("203.0.113.10".parse().unwrap(), 0),
            pool: "egress".to_owned(),
            sessions: 2,
        };
        let expected = r#"{"protocol":"47","inside":{"address":"10.0.0.2","port":0},"#.to_owned()
            + r#""outside":{"address":"203.0.113.10","port":0},"#
            + r#""pool":"egress","sessions":2,"worker":0}"#;
        assert_eq!(serde_json::to_string(&MappingRow::new(0, &mapping)).unwrap(), expected);
    }

    #[test]
    fn a_neighbour_without_a_mac_address_has_null() {
        let incomplete = EntryView {
            interface: InterfaceId(0),
            address: "10.0.0.2".parse().unwrap(),
            mac: None,
            state: State::Incomplete,
            held: 1,
            users: 2,
            since: Tick::ZERO,
        };
        let expected = r#"{"address":"10.0.0.2","interface":"inside","mac":null,"#.to_owned()
            + r#""state":"incomplete","held":1,"users":2,"age_ms":0,"worker":3}"#;
        let row = NeighbourRow::new((3, "inside"), &incomplete, Tick::ZERO);
        assert_eq!(serde_json::to_string(&row).unwrap(), expected);
        let known = EntryView { mac: Some(Mac([2, 0, 0, 0, 0, 0x1f])), ..incomplete };
        let row = NeighbourRow::new((3, "inside"), &known, Tick::ZERO);
        assert_eq!(serde_json::to_value(row).unwrap()["mac"], "02:00:00:00:00:1f");
    }
}
