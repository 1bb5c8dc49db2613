//! What the indexes name: records of a cache line, and the keys of session number n, which no memory is read for.

use std::net::Ipv4Addr;

use mooring_session::memory::{Room, prefetch, room_for};
use mooring_session::{FlowKey, KeyedHash};
use mooring_wire::Protocol;

/// A line for each session, with both of its keys.
pub(crate) struct Records(Room<Record>);

#[derive(Clone)]
#[repr(align(64))]
struct Record {
    keys: [FlowKey<Ipv4Addr>; 2],
}

impl Records {
    pub(crate) fn new(sessions: u32) -> Self {
        let mut records = room_for(sessions as usize);
        records.extend((0..sessions).map(|n| Record { keys: [key(2 * n), key(2 * n + 1)] }));
        Self(records)
    }

    /// Whether a value of the index, number and direction, is that of the key.
    #[inline]
    pub(crate) fn has(&self, value: u32, key: &FlowKey<Ipv4Addr>) -> bool {
        self.0[(value >> 1) as usize].keys[(value & 1) as usize] == *key
    }

    #[inline]
    pub(crate) fn prefetch(&self, value: u32) {
        prefetch(&self.0[(value >> 1) as usize]);
    }

    /// The hash of a value that is in the index, as a table asks for it that moves its values.
    #[inline]
    pub(crate) fn hash_of(&self, hash: &KeyedHash, value: u32) -> u64 {
        hash.flow(&self.0[(value >> 1) as usize].keys[(value & 1) as usize])
    }
}

/// The key that a value of the index stands for.
#[inline]
pub(crate) fn key(value: u32) -> FlowKey<Ipv4Addr> {
    let (n, reverse) = (value >> 1, value & 1 == 1);
    let (address, port) = match reverse {
        false => (0x0a80_0000 + n / 63, 1024 + (n % 63) as u16),
        true => (0xc612_0000 + (n >> 15), 1024 + (n & 0x7fff) as u16),
    };
    let key = FlowKey {
        source: Ipv4Addr::from_bits(address),
        destination: Ipv4Addr::from_bits(0x1400_0001 + ((n % 16) << 8)),
        source_port: port,
        destination_port: 53,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    };
    if reverse { key.exchanged() } else { key }
}

/// One that no session has.
#[inline]
pub(crate) fn other_key(value: u32) -> FlowKey<Ipv4Addr> {
    FlowKey { protocol: Protocol::TCP, ..key(value) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Records, key, other_key};

    #[test]
    fn no_two_values_have_a_key() {
        let keys: HashSet<_> =
            (0..100_000).flat_map(|value| [key(value), other_key(value)]).collect();
        assert_eq!(keys.len(), 200_000);
    }

    #[test]
    fn a_record_knows_its_keys() {
        let records = Records::new(100);
        for value in 0..200 {
            assert!(records.has(value, &key(value)) && !records.has(value, &key(value ^ 1)));
        }
    }
}
