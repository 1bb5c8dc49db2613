//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, Unaligned};

use crate::error::{Field, Layer, ParseError};
use crate::ethernet::EtherType;
use crate::mac::Mac;
use crate::view;

/// A message that maps IPv4 to Ethernet addresses. There is nothing in it to edit: a reply is
/// written afresh.
#[derive(Debug)]
pub struct Arp<B: SplitByteSlice> {
    message: Ref<B, Message>,
}

impl<B: SplitByteSlice> Arp<B> {
    /// The view of the message at the front of `bytes`, padding ignored.
    ///
    /// # Errors
    /// `Truncated` below [`LEN`] bytes; `BadValue` for other types or lengths of address.
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (message, _padding) = view::split_header::<B, Message>(bytes, Layer::Arp)?;
        let wrong = |field, value: U16| {
            Err(ParseError::BadValue { layer: Layer::Arp, field, value: value.get().into() })
        };
        if message.hardware_type != HARDWARE_ETHERNET {
            return wrong(Field::HardwareType, message.hardware_type);
        }
        if message.protocol_type != PROTOCOL_IPV4 {
            return wrong(Field::ProtocolType, message.protocol_type);
        }
        if message.address_lengths != ADDRESS_LENGTHS {
            return wrong(Field::AddressLengths, message.address_lengths);
        }
        Ok(Self { message })
    }

    /// [`REQUEST`], [`REPLY`], or something else.
    pub fn operation(&self) -> u16 {
        self.message.operation.get()
    }

    /// The Ethernet address of the sender.
    pub fn sender_mac(&self) -> Mac {
        self.message.sender_mac
    }

    /// The IPv4 address of the sender; unspecified in a probe (RFC 5227 §1.1).
    pub fn sender_ip(&self) -> Ipv4Addr {
        self.message.sender_ip.into()
    }

    /// The Ethernet address of the target; meaningless in a request.
    pub fn target_mac(&self) -> Mac {
        self.message.target_mac
    }

    /// The IPv4 address that is asked for, or that of the receiver of a reply.
    pub fn target_ip(&self) -> Ipv4Addr {
        self.message.target_ip.into()
    }
}

/// A message that we originate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// Our Ethernet address.
    pub sender_mac: Mac,
    /// Our IPv4 address; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// Whose address it is; [`Mac::ZERO`] in a request.
    pub target_mac: Mac,
    /// What is asked for, or whom the reply is for.
    pub target_ip: Ipv4Addr,
}

impl Emit {
    /// Writes the message into the first [`LEN`] bytes of `buf`.
    ///
    /// # Panics
    /// If `buf` is shorter than that.
    pub fn emit(&self, buf: &mut [u8]) {
        let message = Message {
            hardware_type: HARDWARE_ETHERNET,
            protocol_type: PROTOCOL_IPV4,
            address_lengths: ADDRESS_LENGTHS,
            operation: U16::new(self.operation),
            sender_mac: self.sender_mac,
            sender_ip: self.sender_ip.octets(),
            target_mac: self.target_mac,
            target_ip: self.target_ip.octets(),
        };
        view::write_header(buf, &message);
    }
}

/// Bytes of a message.
pub const LEN: usize = size_of::<Message>();

/// Operation: who has the target address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has it.
pub const REPLY: u16 = 2;

const HARDWARE_ETHERNET: U16 = U16::new(1);
const PROTOCOL_IPV4: U16 = U16::new(EtherType::IPV4.0);
const ADDRESS_LENGTHS: U16 = U16::new(0x0604);

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Message {
    hardware_type: U16,
    protocol_type: U16,
    address_lengths: U16,
    operation: U16,
    sender_mac: Mac,
    sender_ip: [u8; 4],
    target_mac: Mac,
    target_ip: [u8; 4],
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Arp, Emit, LEN, REPLY, REQUEST};
    use crate::error::{Field, Layer, ParseError};
    use crate::mac::Mac;

    /// The request of smoltcp's tests.
    const BYTES: [u8; 28] = [
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x21,
        0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x41, 0x42, 0x43, 0x44,
    ];
    const REQUEST_MESSAGE: Emit = Emit {
        operation: REQUEST,
        sender_mac: Mac([0x11, 0x12, 0x13, 0x14, 0x15, 0x16]),
        sender_ip: Ipv4Addr::new(0x21, 0x22, 0x23, 0x24),
        target_mac: Mac([0x31, 0x32, 0x33, 0x34, 0x35, 0x36]),
        target_ip: Ipv4Addr::new(0x41, 0x42, 0x43, 0x44),
    };

    #[test]
    fn deconstruct() {
        let mut padded = [0xee; 46];
        padded[..28].copy_from_slice(&BYTES);
        let arp = Arp::parse(&padded[..]).unwrap();
        assert_eq!(arp.operation(), REQUEST);
        assert_eq!(arp.sender_mac(), REQUEST_MESSAGE.sender_mac);
        assert_eq!(arp.sender_ip(), REQUEST_MESSAGE.sender_ip);
        assert_eq!(arp.target_mac(), REQUEST_MESSAGE.target_mac);
        assert_eq!(arp.target_ip(), REQUEST_MESSAGE.target_ip);
    }

    #[test]
    fn construct() {
        let mut bytes = [0xee; LEN];
        REQUEST_MESSAGE.emit(&mut bytes);
        assert_eq!(bytes, BYTES);
        Emit { operation: REPLY, ..REQUEST_MESSAGE }.emit(&mut bytes);
        assert_eq!(Arp::parse(&bytes[..]).unwrap().operation(), REPLY);
    }

    #[test]
    fn truncated() {
        assert_eq!(
            Arp::parse(&BYTES[..27]).unwrap_err(),
            ParseError::Truncated { layer: Layer::Arp, needed: LEN, had: 27 }
        );
    }

    #[test]
    fn other_kinds_of_address() {
        for (at, value, field, held) in [
            (1, 6, Field::HardwareType, 6),
            (2, 0x86, Field::ProtocolType, 0x8600),
            (4, 8, Field::AddressLengths, 0x0804),
            (5, 16, Field::AddressLengths, 0x0610),
        ] {
            let mut bytes = BYTES;
            bytes[at] = value;
            assert_eq!(
                Arp::parse(&bytes[..]).unwrap_err(),
                ParseError::BadValue { layer: Layer::Arp, field, value: held }
            );
        }
    }
}
