//! The older format, pcap: one header, then records. Microseconds or nanoseconds, either byte order.

use std::io::BufRead;

use super::block::{Order, Source};
use super::{Captured, Fault, LinkType, MAX_PACKET, NANOS};

/// What the file header says.
#[derive(Debug)]
pub(super) struct Classic {
    order: Order,
    /// Nanoseconds of one unit of a record's fraction of a second.
    unit: u32,
    link_type: LinkType,
}

impl Classic {
    /// The byte order and the unit that a file beginning with `magic` has.
    pub(super) fn recognise(magic: [u8; 4]) -> Option<(Order, u32)> {
        match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => Some((Order::Little, 1000)),
            [0xa1, 0xb2, 0xc3, 0xd4] => Some((Order::Big, 1000)),
            [0x4d, 0x3c, 0xb2, 0xa1] => Some((Order::Little, 1)),
            [0xa1, 0xb2, 0x3c, 0x4d] => Some((Order::Big, 1)),
            _ => None,
        }
    }

    /// Reads the rest of the file header.
    pub(super) fn open<R: BufRead>(
        source: &mut Source<R>,
        (order, unit): (Order, u32),
    ) -> Result<Self, Fault> {
        let (major, minor) = (order.u16(source.array()?), order.u16(source.array()?));
        if major != 2 {
            return Err(Fault::Version(major, minor));
        }
        // Time zone and accuracy, which nobody writes; the longest packet, which many write wrongly.
        let _: [u8; 12] = source.array()?;
        // The high half says how long the frame check sequences are: they follow the IP packet.
        let link_type = LinkType::from_number(order.u32(source.array()?) & 0xffff)?;
        Ok(Self { order, unit, link_type })
    }

    /// The next record.
    pub(super) fn record<R: BufRead>(&self, source: &mut Source<R>) -> Result<Captured, Fault> {
        let mut number = || source.array().map(|bytes| self.order.u32(bytes));
        let (seconds, fraction, len, original_len) = (number()?, number()?, number()?, number()?);
        let nanos = u64::from(fraction) * u64::from(self.unit);
        if nanos >= NANOS {
            return Err(Fault::Time);
        }
        if len > MAX_PACKET {
            return Err(Fault::Length(len.into()));
        }
        let bytes = source.bytes(len)?;
        let timestamp_ns = u64::from(seconds) * NANOS + nanos;
        Ok(Captured { timestamp_ns, link_type: self.link_type, bytes, original_len })
    }
}
