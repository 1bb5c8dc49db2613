//! The device that smoltcp sees: at most one packet to read, and a sink for what it says.

use mooring_packet::Offload;
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// A packet on its way in, and the way out.
pub(crate) struct Line<'a, E> {
    /// The IP packet to read; gone once read.
    pub(crate) packet: Option<&'a [u8]>,
    /// Where packets are written before they are emitted.
    pub(crate) scratch: &'a mut [u8],
    /// Bytes of the longest IP packet to be sent.
    pub(crate) mtu: usize,
    /// Takes the packets that leave.
    pub(crate) emit: &'a mut E,
}

/// A packet to be read.
pub(crate) struct Incoming<'a>(&'a [u8]);

/// Room for a packet that leaves.
pub(crate) struct Outgoing<'a, E> {
    scratch: &'a mut [u8],
    emit: &'a mut E,
}

impl<E: FnMut(&mut [u8], Offload)> Device for Line<'_, E> {
    type RxToken<'t>
        = Incoming<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t, E>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_, E>)> {
        let packet = self.packet.take()?;
        Some((Incoming(packet), Outgoing { scratch: self.scratch, emit: self.emit }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, E>> {
        Some(Outgoing { scratch: self.scratch, emit: self.emit })
    }

    /// Checksums of what comes in were verified before (`segment`), or are still partial.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl<E: FnMut(&mut [u8], Offload)> TxToken for Outgoing<'_, E> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let packet = self.scratch.get_mut(..len).expect("TCP keeps to the MTU that it was told");
        let written = write(packet);
        (self.emit)(packet, Offload::NONE);
        written
    }
}

/// Bytes of the least MTU that is believed: headers and some data must fit.
pub(crate) const LEAST_MTU: usize = 256;
