//! Which flow the next packet belongs to, and which addresses and port a flow has.
//!
//! There are always as many flows as were asked for, each in a slot of its own. When a new one begins it
//! takes the place of the one whose turn it is. The numbers of a slot's packets go on across flows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Gives every packet its flow.
#[derive(Debug)]
pub(crate) struct Flows {
    slots: Vec<Slot>,
    /// Packets of one flow in a row.
    burst: u32,
    /// How many of the present burst were given.
    given: u32,
    /// Whose turn it is.
    at: usize,
    /// Of a million packets, those that begin a flow.
    fresh: u32,
    /// What has come together of them, in millionths.
    credit: u32,
    /// The next flow that begins.
    next: u64,
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    flow: u64,
    sequence: u32,
}

/// What the next packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Where the receiver counts it.
    pub(crate) slot: u32,
    /// The flow, for [`Addressing::of`].
    pub(crate) flow: u64,
    /// Of the slot.
    pub(crate) sequence: u32,
    /// Of all; chooses the size.
    pub(crate) turn: u64,
}

impl Flows {
    /// `count` flows in turn, `burst` packets of each; `fresh` of a million packets begin a new one.
    pub(crate) fn new(count: u32, burst: u32, fresh: u32) -> Self {
        let slots = (0..count).map(|flow| Slot { flow: u64::from(flow), sequence: 0 }).collect();
        Self { slots, burst, given: 0, at: 0, fresh, credit: 0, next: u64::from(count), turn: 0 }
    }

    /// How many there are at a time.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Packets until every one has had its turn.
    pub(crate) fn round(&self) -> u64 {
        u64::from(self.len()) * u64::from(self.burst)
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Turn {
        if self.given == self.burst {
            self.given = 0;
            self.at = if self.at + 1 == self.slots.len() { 0 } else { self.at + 1 };
        }
        self.given += 1;
        let slot = &mut self.slots[self.at];
        self.credit += self.fresh;
        if self.credit >= MILLION {
            self.credit -= MILLION;
            slot.flow = self.next;
            self.next += 1;
        }
        let turn = Turn {
            slot: self.at as u32,
            flow: slot.flow,
            sequence: slot.sequence,
            turn: self.turn,
        };
        slot.sequence = slot.sequence.wrapping_add(1);
        self.turn += 1;
        turn
    }
}

/// Which ends the packet of a turn has.
#[derive(Debug)]
pub(crate) enum Tuples {
    /// Flows of an addressing, from this one on.
    Counted(Addressing, u64),
    /// These, each with the number that its packets carry for the receiver; as many as there are flows.
    Listed(Vec<(u32, Ends)>),
}

impl Tuples {
    /// The number for the receiver, and the ends.
    pub(crate) fn of(&self, turn: &Turn) -> (u32, Ends) {
        match self {
            Self::Counted(addressing, first) => (turn.slot, addressing.of(first + turn.flow)),
            Self::Listed(all) => all[turn.flow as usize % all.len()],
        }
    }
}

/// The addresses that flows go between.
#[derive(Clone, Debug)]
pub(crate) struct Addressing {
    /// The first of `sources`.
    pub(crate) source: IpAddr,
    pub(crate) sources: u32,
    /// The first of `destinations`, of the same family.
    pub(crate) destination: IpAddr,
    pub(crate) destinations: u32,
}

/// The ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// The source port, or the identifier of an ICMP echo request.
    pub(crate) port: u16,
}

impl Addressing {
    /// Flows that differ; the one after them is the first again.
    pub(crate) fn capacity(&self) -> u64 {
        u64::from(self.sources) * PORTS * u64::from(self.destinations)
    }

    /// The ends of a flow: sources in turn, then ports; every source and port meets every destination in
    /// the end.
    pub(crate) fn of(&self, flow: u64) -> Ends {
        let flow = flow % self.capacity();
        let (source, rest) = (flow % u64::from(self.sources), flow / u64::from(self.sources));
        let (port, lap) = (rest % PORTS, rest / PORTS);
        let destination = (rest + source + lap) % u64::from(self.destinations);
        Ends {
            source: nth(self.source, source as u32).unwrap_or(self.source),
            destination: nth(self.destination, destination as u32).unwrap_or(self.destination),
            port: FIRST_PORT + port as u16,
        }
    }

    /// The last destination; `None` when the range goes beyond the end of all addresses.
    pub(crate) fn destination_range(&self) -> Option<RangeInclusive<IpAddr>> {
        Some(self.destination..=nth(self.destination, self.destinations - 1)?)
    }

    /// Whether there is a last source.
    pub(crate) fn has_sources(&self) -> bool {
        nth(self.source, self.sources - 1).is_some()
    }
}

/// The address `n` after `first`.
pub(crate) fn nth(first: IpAddr, n: u32) -> Option<IpAddr> {
    Some(match first {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().checked_add(n)?).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().checked_add(n.into())?).into(),
    })
}

const MILLION: u32 = 1_000_000;

/// Those below are for services.
pub(crate) const FIRST_PORT: u16 = 1_024;

/// Source ports of one address.
pub(crate) const PORTS: u64 = 65_536 - FIRST_PORT as u64;

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::{ProptestConfig, proptest};

    use super::{Addressing, Flows, PORTS};

    fn addressing(sources: u32, destinations: u32) -> Addressing {
        Addressing {
            source: "10.0.0.250".parse().unwrap(),
            sources,
            destination: "2001:db8::ffff".parse().unwrap(),
            destinations,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_flow_gets_the_same_share_in_runs_of_a_burst(count in 1_u32..50, burst in 1_u32..9) {
            let mut flows = Flows::new(count, burst, 0);
            for expected in (0..3).flat_map(|_| 0..count) {
                for _ in 0..burst {
                    assert_eq!(flows.next().slot, expected);
                }
            }
            assert_eq!(flows.round(), u64::from(count * burst));
        }

        #[test]
        fn new_flows_are_the_share_that_was_asked_for(count in 1_u32..50, fresh in 0_u32..=1_000_000) {
            let mut flows = Flows::new(count, 1, fresh);
            let mut seen = HashSet::new();
            let begun = (0..10_000).filter(|_| {
                let flow = flows.next().flow;
                seen.insert(flow) && flow >= u64::from(count)
            });
            assert_eq!(begun.count() as u64, 10_000 * u64::from(fresh) / 1_000_000);
        }

        #[test]
        fn a_slot_numbers_its_packets_without_a_gap(count in 1_u32..50, fresh in 0_u32..=1_000_000) {
            let mut flows = Flows::new(count, 3, fresh);
            let mut next = HashMap::new();
            for turn in 0..1_000 {
                let given = flows.next();
                let expected = next.entry(given.slot).or_insert(0);
                assert_eq!((given.sequence, given.turn), (*expected, turn));
                *expected += 1;
            }
        }
    }

    #[test]
    fn flows_differ_until_all_are_used() {
        for (sources, destinations) in [(1, 1), (2, 3), (3, 2)] {
            let addressing = addressing(sources, destinations);
            let all: HashSet<_> = (0..addressing.capacity()).map(|n| addressing.of(n)).collect();
            assert_eq!(all.len() as u64, addressing.capacity());
            assert_eq!(addressing.of(addressing.capacity()), addressing.of(0));
        }
    }

    #[test]
    fn sources_and_destinations_are_all_used_by_few_flows() {
        let addressing = addressing(3, 4);
        let few: Vec<_> = (0..12).map(|n| addressing.of(n)).collect();
        let sources: HashSet<_> = few.iter().map(|ends| ends.source.to_string()).collect();
        let destinations: HashSet<_> = few.iter().map(|ends| ends.destination).collect();
        assert_eq!((sources.len(), destinations.len()), (3, 4));
        assert!(sources.contains("10.0.0.252") && PORTS == 64_512);
    }

    #[test]
    fn ranges_end_with_the_addresses() {
        let mut addressing = addressing(1, 2);
        assert_eq!(
            addressing.destination_range().map(|range| range.end().to_string()),
            Some("2001:db8::1:0".to_owned())
        );
        addressing.destination = "255.255.255.255".parse().unwrap();
        assert!(addressing.destination_range().is_none() && addressing.has_sources());
    }
}
