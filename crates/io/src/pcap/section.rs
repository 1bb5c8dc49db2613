//! The newer format, pcapng (draft-ietf-opsawg-pcapng): sections of blocks. A section has its byte
//! order and its interfaces; each interface has its link type and its unit of time.

use std::io::BufRead;

use super::block::{Body, Order, Source};
use super::{Captured, Fault, LinkType, MAX_PACKET, NANOS};

/// The section that is being read.
#[derive(Debug)]
pub(super) struct Section {
    order: Order,
    interfaces: Vec<Interface>,
    /// The time of the last packet, for packets that have none.
    last_ns: u64,
}

#[derive(Debug)]
struct Interface {
    /// An error only when a packet of it comes: others may be readable.
    link_type: u16,
    /// Longest piece that was captured of a packet; 0 for no limit.
    snap_len: u32,
    /// Time units in a second.
    units: u128,
    /// Seconds to add.
    offset: i64,
}

impl Section {
    /// Reads the rest of a Section Header Block, after its type.
    pub(super) fn open<R: BufRead>(source: &mut Source<R>) -> Result<Self, Fault> {
        let len: [u8; 4] = source.array()?;
        let order = match source.array()? {
            [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
            [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
            _ => return Err(Fault::NotACapture),
        };
        let len = order.u32(len);
        let (major, minor) = (order.u16(source.array()?), order.u16(source.array()?));
        if major != 1 {
            return Err(Fault::Version(major, minor));
        }
        // Type, both lengths, byte order and version are 20 of them.
        let rest = len
            .checked_sub(20)
            .filter(|_| len.is_multiple_of(4))
            .ok_or(Fault::Length(len.into()))?;
        source.skip(rest)?;
        end_of_block(source, order, len)?;
        Ok(Self { order, interfaces: Vec::new(), last_ns: 0 })
    }

    /// Reads the next block; a packet if it is one.
    pub(super) fn block<R: BufRead>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Captured>, Fault> {
        let kind: [u8; 4] = source.array()?;
        if kind == SECTION_HEADER {
            let last_ns = self.last_ns;
            *self = Self { last_ns, ..Self::open(source)? };
            return Ok(None);
        }
        let kind = self.order.u32(kind);
        let len = self.order.u32(source.array()?);
        let rest = len
            .checked_sub(12)
            .filter(|_| len.is_multiple_of(4))
            .ok_or(Fault::Length(len.into()))?;
        let is_known = matches!(kind, INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
        if !is_known {
            source.skip(rest)?;
            end_of_block(source, self.order, len)?;
            return Ok(None);
        }
        if len > MAX_BLOCK {
            return Err(Fault::Length(len.into()));
        }
        let body = source.bytes(rest)?;
        end_of_block(source, self.order, len)?;
        let body = Body { rest: &body, order: self.order };
        match kind {
            INTERFACE => self.describe(body).map(|()| None),
            SIMPLE_PACKET => self.simple_packet(body).map(Some),
            _ => self.packet(body, kind).map(Some),
        }
    }

    /// An Interface Description Block.
    fn describe(&mut self, mut body: Body<'_>) -> Result<(), Fault> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(Fault::Interface(MAX_INTERFACES as u32));
        }
        let (link_type, _, snap_len) = (body.u16()?, body.u16()?, body.u32()?);
        let mut interface = Interface { link_type, snap_len, units: 1_000_000, offset: 0 };
        while !body.rest.is_empty() {
            let (code, len) = (body.u16()?, usize::from(body.u16()?));
            let value = body.take(len)?;
            body.take((4 - len % 4) % 4)?;
            match (code, value) {
                (END_OF_OPTIONS, _) => break,
                (TIME_RESOLUTION, [exponent]) => interface.units = units(*exponent)?,
                (TIME_OFFSET, value) => {
                    let bytes = value.try_into().map_err(|_| Fault::Length(len as u64))?;
                    interface.offset = self.order.i64(bytes);
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// An Enhanced Packet Block, or its obsolete forerunner.
    fn packet(&mut self, mut body: Body<'_>, kind: u32) -> Result<Captured, Fault> {
        let number = match kind {
            ENHANCED_PACKET => body.u32()?,
            _ => {
                let number = body.u16()?;
                let _drops = body.u16()?;
                number.into()
            }
        };
        let time = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
        let (len, original_len) = (body.u32()?, body.u32()?);
        let interface = self.interface(number)?;
        let link_type = LinkType::from_number(interface.link_type.into())?;
        let timestamp_ns = interface.nanoseconds(time)?;
        if len > MAX_PACKET {
            return Err(Fault::Length(len.into()));
        }
        let bytes = body.take(len as usize)?.to_vec();
        self.last_ns = timestamp_ns;
        Ok(Captured { timestamp_ns, link_type, bytes, original_len })
    }

    /// A Simple Packet Block: of the first interface, without a time.
    fn simple_packet(&self, mut body: Body<'_>) -> Result<Captured, Fault> {
        let original_len = body.u32()?;
        let interface = self.interface(0)?;
        let link_type = LinkType::from_number(interface.link_type.into())?;
        let limit = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let len = original_len.min(limit);
        if len > MAX_PACKET {
            return Err(Fault::Length(len.into()));
        }
        let bytes = body.take(len as usize)?.to_vec();
        Ok(Captured { timestamp_ns: self.last_ns, link_type, bytes, original_len })
    }

    fn interface(&self, number: u32) -> Result<&Interface, Fault> {
        self.interfaces.get(number as usize).ok_or(Fault::Interface(number))
    }
}

impl Interface {
    /// A time of this interface in nanoseconds after 1970.
    fn nanoseconds(&self, time: u64) -> Result<u64, Fault> {
        let since = i128::try_from(u128::from(time) * u128::from(NANOS) / self.units);
        let offset = i128::from(self.offset) * i128::from(NANOS);
        let sum = since.map_err(|_| Fault::Time)? + offset;
        u64::try_from(sum).map_err(|_| Fault::Time)
    }
}

/// Time units in a second: a power of ten, or of two where the first bit is set.
fn units(exponent: u8) -> Result<u128, Fault> {
    let (base, exponent) =
        if exponent & 0x80 == 0 { (10u128, exponent) } else { (2, exponent & 0x7f) };
    base.checked_pow(exponent.into()).ok_or(Fault::Time)
}

/// Every block ends with its length once more.
fn end_of_block<R: BufRead>(source: &mut Source<R>, order: Order, len: u32) -> Result<(), Fault> {
    let again = order.u32(source.array()?);
    if again == len { Ok(()) } else { Err(Fault::Length(again.into())) }
}

/// The type of a Section Header Block reads the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const END_OF_OPTIONS: u16 = 0;
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;

/// A packet, and its options and lengths.
const MAX_BLOCK: u32 = MAX_PACKET + (1 << 16);

/// Interfaces of one section that are remembered.
const MAX_INTERFACES: usize = 65_536;
