//! The multicast groups of a device that are received.

use std::collections::BTreeSet;
use std::io;

use mooring_wire::Mac;

use super::refused::Refused;
use super::socket::{Membership, PacketSocket};
use crate::link::Link;

/// Groups whose frames reach every packet socket on a device. It receives nothing itself; the groups
/// are left when it is dropped.
#[derive(Debug)]
pub struct Groups {
    socket: PacketSocket,
    device: u32,
    joined: BTreeSet<Mac>,
    all: bool,
}

impl Groups {
    /// None yet, of the device `link`.
    ///
    /// # Errors
    /// The operating system's, when it has no more sockets or allows none.
    pub fn of(link: &Link) -> io::Result<Self> {
        // No frame passes by it.
        let socket = PacketSocket::open(&mut Refused::default())?;
        Ok(Self { socket, device: link.index, joined: BTreeSet::new(), all: false })
    }

    /// From now on these groups are received, and with `all` every other one, too.
    ///
    /// # Errors
    /// The operating system's, when the device is gone. Groups that were not joined are tried again
    /// by the next call.
    pub fn set(&mut self, groups: &BTreeSet<Mac>, all: bool) -> io::Result<()> {
        if all != self.all {
            self.change(Membership::All, all)?;
            self.all = all;
        }
        for group in groups.difference(&self.joined.clone()) {
            self.change(Membership::Group(*group), true)?;
            self.joined.insert(*group);
        }
        for group in self.joined.clone().difference(groups) {
            self.change(Membership::Group(*group), false)?;
            self.joined.remove(group);
        }
        Ok(())
    }

    fn change(&self, membership: Membership, join: bool) -> io::Result<()> {
        self.socket.change(self.device, membership, join)
    }
}
