//! Which datagrams were cut here, or have passed in pieces, last: while their fragments are on the way, no
//! other may leave with the identification of one of them between the same ends (RFC 6864 §4.3).

use super::piece::Datagram;
use crate::index::Index;
use crate::{Address, KeyedHash};

/// The last datagrams that have left in pieces, as they have left. All memory is taken at start.
pub(super) struct Cuts<A> {
    index: Index,
    datagrams: Vec<Datagram<A>>,
    /// Where the next one goes, in the place of the oldest.
    next: usize,
    most: usize,
}

impl<A: Address> Cuts<A> {
    /// Remembers `most` of them.
    pub(super) fn new(most: usize) -> Self {
        let datagrams = Vec::with_capacity(most);
        Self { index: Index::new(most), datagrams, next: 0, most }
    }

    pub(super) fn has(&self, datagram: &Datagram<A>, hash: &KeyedHash) -> bool {
        let is_it = |at: u32| self.datagrams[at as usize] == *datagram;
        !self.datagrams.is_empty() && self.index.find(datagram.hash(hash), is_it).is_some()
    }

    /// Remembers one that is not there yet, and forgets the oldest for it.
    pub(super) fn enter(&mut self, datagram: Datagram<A>, hash: &KeyedHash) {
        if self.most == 0 {
            return;
        }
        let at = self.next;
        match self.datagrams.get_mut(at) {
            Some(oldest) => {
                self.index.remove(oldest.hash(hash), at as u32);
                *oldest = datagram;
            }
            None => self.datagrams.push(datagram),
        }
        self.index.insert(datagram.hash(hash), at as u32);
        self.next = (at + 1) % self.most;
    }
}
