//! Who sends fragments: one of them cannot take the memory from the others.

use mooring_wire::Protocol;

use crate::index::Index;
use crate::{Address, KeyedHash};

/// The sources (addresses, or the first ones of prefixes) of which there are datagrams, and how much each has.
pub(super) struct Senders<A> {
    index: Index,
    records: Vec<Sender<A>>,
    free: Vec<u32>,
    hash: KeyedHash,
}

struct Sender<A> {
    address: A,
    datagrams: u32,
    waiting: u32,
}

impl<A: Address> Senders<A> {
    /// For as many as there may be datagrams.
    pub(super) fn new(datagrams: usize, hash: KeyedHash) -> Self {
        Self {
            index: Index::new(datagrams),
            records: Vec::with_capacity(datagrams),
            free: Vec::with_capacity(datagrams),
            hash,
        }
    }

    /// The number of the sender of one datagram more; `None` when it has `most` already.
    pub(super) fn enter(&mut self, address: A, most: u32) -> Option<u32> {
        let hash = self.hash.end(address, 0, Protocol(0), 0);
        let is_it = |at: u32| self.records[at as usize].address == address;
        let at = match self.index.find(hash, is_it) {
            Some(at) => at,
            None => {
                let sender = Sender { address, datagrams: 0, waiting: 0 };
                let at = self.place(sender);
                self.index.insert(hash, at);
                at
            }
        };
        let sender = &mut self.records[at as usize];
        if sender.datagrams >= most {
            return None;
        }
        sender.datagrams += 1;
        Some(at)
    }

    /// One datagram less; a sender without any is forgotten.
    pub(super) fn leave(&mut self, at: u32) {
        let sender = &mut self.records[at as usize];
        sender.datagrams -= 1;
        if sender.datagrams == 0 {
            let hash = self.hash.end(sender.address, 0, Protocol(0), 0);
            self.index.remove(hash, at);
            self.free.push(at);
        }
    }

    /// Fragments of a sender that wait.
    pub(super) fn waiting(&mut self, at: u32) -> &mut u32 {
        &mut self.records[at as usize].waiting
    }

    fn place(&mut self, sender: Sender<A>) -> u32 {
        if let Some(at) = self.free.pop() {
            self.records[at as usize] = sender;
            return at;
        }
        self.records.push(sender);
        self.records.len() as u32 - 1
    }
}
