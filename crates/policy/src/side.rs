//! Sets of interfaces: on which links an address is outside.

use crate::policy::InterfaceId;

/// A set of interfaces, one bit each: interface n is bit n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSet(pub u64);

impl InterfaceSet {
    /// The one interface.
    #[must_use]
    pub fn only(interface: InterfaceId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(interface);
        set
    }

    /// The first `count` interfaces.
    #[must_use]
    pub fn first(count: usize) -> Self {
        let unused = Self::CAPACITY.saturating_sub(count) as u32;
        Self(u64::MAX.checked_shr(unused).unwrap_or_default())
    }

    /// Adds an interface. One that no policy can have is left out.
    pub fn insert(&mut self, interface: InterfaceId) {
        self.0 |= bit(interface);
    }

    /// Takes an interface out.
    pub fn remove(&mut self, interface: InterfaceId) {
        self.0 &= !bit(interface);
    }

    /// Whether the interface is in the set.
    #[must_use]
    pub fn contains(self, interface: InterfaceId) -> bool {
        self.0 & bit(interface) != 0
    }

    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The interface that comes first in the configuration.
    #[must_use]
    pub fn lowest(self) -> Option<InterfaceId> {
        (!self.is_empty()).then(|| InterfaceId(self.0.trailing_zeros() as u8))
    }

    /// Those of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The interfaces, in the order of the configuration.
    pub fn iter(self) -> impl Iterator<Item = InterfaceId> {
        (0..Self::CAPACITY as u8).map(InterfaceId).filter(move |id| self.contains(*id))
    }

    /// No interface.
    pub const EMPTY: Self = Self(0);

    /// As many interfaces as a policy may have.
    pub const CAPACITY: usize = 64;
}

fn bit(interface: InterfaceId) -> u64 {
    1_u64.checked_shl(interface.0.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{InterfaceId, InterfaceSet};

    #[test]
    fn the_first_are_counted_up_to_the_whole_set() {
        assert_eq!(InterfaceSet::first(0), InterfaceSet::EMPTY);
        assert_eq!(InterfaceSet::first(3), InterfaceSet(0b111));
        assert_eq!(InterfaceSet::first(64), InterfaceSet(u64::MAX));
    }

    #[test]
    fn what_is_inserted_is_contained_until_removed() {
        let mut set = InterfaceSet::only(InterfaceId(63));
        set.insert(InterfaceId(2));
        assert_eq!(set.iter().collect::<Vec<_>>(), [InterfaceId(2), InterfaceId(63)]);
        assert_eq!(set.lowest(), Some(InterfaceId(2)));
        set.remove(InterfaceId(2));
        assert!(!set.contains(InterfaceId(2)));
        assert_eq!(set, InterfaceSet::only(InterfaceId(63)));
    }

    #[test]
    fn an_interface_that_cannot_be_is_in_no_set() {
        assert!(InterfaceSet::only(InterfaceId(64)).is_empty());
        assert!(!InterfaceSet(u64::MAX).contains(InterfaceId(255)));
    }
}
