//! Capture files: [`Reader`] for pcap and pcapng, [`Writer`] for pcapng.
//!
//! A capture comes from anywhere. Whatever its bytes are, reading gives packets or an error with the
//! byte at which the file stops making sense; it never panics, and allocates no more than
//! [`MAX_PACKET`] beyond what the file holds. Writing is deterministic: the same packets give the
//! same bytes, whenever and wherever.
//!
//! Knows nothing of what is in a packet.

mod block;
mod classic;
mod reader;
mod section;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use thiserror::Error;

pub use self::reader::Reader;
pub use self::writer::Writer;

/// A packet as the capture holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it was captured, in nanoseconds after 1970. A Simple Packet Block has no time: it gets
    /// that of the packet before it.
    pub timestamp_ns: u64,
    /// What the bytes begin with.
    pub link_type: LinkType,
    /// What the capture holds of it.
    pub bytes: Vec<u8>,
    /// Its length on the wire, in bytes.
    pub original_len: u32,
}

impl Captured {
    /// True when its end is missing from the capture.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.bytes.len() < self.original_len as usize
    }
}

/// What the packets of a capture begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header; the first four bits say which.
    Ip,
}

impl LinkType {
    /// The number of <https://www.tcpdump.org/linktypes.html> as a link type that we read.
    fn from_number(number: u32) -> Result<Self, Fault> {
        match number {
            1 => Ok(Self::Ethernet),
            // LINKTYPE_RAW; DLT_RAW of BSD and OpenBSD, which some tools write; IPV4 and IPV6 alone.
            101 | 12 | 14 | 228 | 229 => Ok(Self::Ip),
            _ => Err(Fault::LinkType(number)),
        }
    }
}

/// Why a capture cannot be read on, and where.
#[derive(Debug, Error)]
#[error("at byte {offset}: {fault}")]
pub struct Error {
    /// Bytes of the file before the header, record or block that is wrong.
    pub offset: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a capture.
#[derive(Debug, Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins with none of the known numbers.
    #[error("neither pcap nor pcapng")]
    NotACapture,
    /// It ends in the middle of something.
    #[error("the file ends in the middle of a record")]
    CutOff,
    /// A version that we do not know.
    #[error("version {0}.{1} of the format is not known")]
    Version(u16, u16),
    /// Packets of links that we cannot read.
    #[error("link type {0} is neither Ethernet nor raw IP")]
    LinkType(u32),
    /// A length that no packet has, or one that contradicts another.
    #[error("a length of {0} bytes is impossible here")]
    Length(u64),
    /// A time that does not exist or lies beyond the year 2554.
    #[error("an impossible time")]
    Time,
    /// A packet of an interface that was not described before.
    #[error("interface {0} was not described")]
    Interface(u32),
}

/// Bytes of the longest packet that is read: longer than any on a wire.
pub const MAX_PACKET: u32 = 1 << 20;

const NANOS: u64 = 1_000_000_000;
