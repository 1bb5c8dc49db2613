//! The name of a next hop. A session holds this index, never a MAC address, so a gateway that
//! changes its MAC is followed by all of its sessions at once.

/// Index of an entry in the engine's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHopIndex(pub u16);

impl NextHopIndex {
    /// No entry of the table: the packet goes on into the other half of a hairpin.
    pub const HAIRPIN: Self = Self(u16::MAX);
}
