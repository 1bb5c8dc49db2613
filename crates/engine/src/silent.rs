//! Next hops that did not answer while packets waited for them: the last few, for whoever tells
//! people.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use mooring_policy::InterfaceId;
use mooring_session::Tick;

/// A next hop that did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilentHop {
    /// The interface that leads to it.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// When packets for it were given up last.
    pub last: Tick,
}

/// The last few of them.
#[derive(Debug, Default)]
pub(crate) struct SilentHops(ArrayVec<SilentHop, SILENT_HOPS>);

impl SilentHops {
    /// Notes that packets for a next hop were given up.
    pub(crate) fn note(&mut self, hop: SilentHop) {
        let same = |known: &&mut SilentHop| {
            (known.interface, known.address) == (hop.interface, hop.address)
        };
        if let Some(known) = self.0.iter_mut().find(same) {
            *known = hop;
        } else if let Err(full) = self.0.try_push(hop)
            && let Some(oldest) = self.0.iter_mut().min_by_key(|known| known.last)
        {
            *oldest = full.element();
        }
    }

    pub(crate) fn all(&self) -> &[SilentHop] {
        &self.0
    }
}

/// Next hops that are remembered: a scan of an inside network makes thousands.
pub const SILENT_HOPS: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mooring_policy::InterfaceId;
    use mooring_session::Tick;

    use super::{SILENT_HOPS, SilentHop, SilentHops};

    fn hop(number: u32, at: u64) -> SilentHop {
        let address = IpAddr::from(Ipv4Addr::from_bits(number));
        SilentHop { interface: InterfaceId(0), address, last: Tick::from_millis(at) }
    }

    #[test]
    fn the_last_ones_are_known_each_once() {
        let mut hops = SilentHops::default();
        for number in 0..SILENT_HOPS as u32 {
            hops.note(hop(number, u64::from(number)));
        }
        hops.note(hop(0, 100));
        hops.note(hop(77, 101));
        assert_eq!(hops.all().len(), SILENT_HOPS);
        assert!(hops.all().contains(&hop(0, 100)) && hops.all().contains(&hop(77, 101)));
        assert!(!hops.all().contains(&hop(1, 1)), "it was the oldest");
    }
}
