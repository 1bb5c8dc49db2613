//! Router solicitation and advertisement over Ethernet (RFC 4861 §4.1, §4.2): we hear the one and
//! send the other.

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, SplitByteSlice, Unaligned};

use crate::error::{Field, Layer, ParseError};
use crate::icmpv6::{Icmpv6, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION};
use crate::mac::Mac;
use crate::ndp::{HOP_LIMIT, OPTION_SOURCE_LINK_LAYER, is_from_this_link, link_layer_option};
use crate::protocol::Protocol;
use crate::{ipv6, view};

/// "Is there a router?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterSolicitation {
    source_link_layer: Option<Mac>,
}

impl RouterSolicitation {
    /// Reads `bytes`, a whole ICMPv6 message.
    ///
    /// # Errors
    /// `Truncated` below 8 bytes or if an option goes beyond `bytes`; `BadValue` for another type
    /// or code, or an option of length 0 (RFC 4861 §6.1.1).
    pub fn parse<B: SplitByteSlice>(bytes: B) -> Result<Self, ParseError> {
        let (header, options) = view::split_header::<B, SolicitationHeader>(bytes, Layer::Ndp)?;
        let wrong = |field, value: u8| {
            Err(ParseError::BadValue { layer: Layer::Ndp, field, value: value.into() })
        };
        if header.kind != ROUTER_SOLICITATION {
            return wrong(Field::Kind, header.kind);
        }
        if header.code != 0 {
            return wrong(Field::Code, header.code);
        }
        let source_link_layer = link_layer_option(&options, OPTION_SOURCE_LINK_LAYER)?;
        Ok(Self { source_link_layer })
    }

    /// The link-layer address of the sender, if it tells.
    #[must_use]
    pub const fn source_link_layer(&self) -> Option<Mac> {
        self.source_link_layer
    }

    /// Whether a packet with this hop limit and source may carry the message (RFC 4861 §6.1.1). Its
    /// checksum is checked by [`Icmpv6::checksum_is_valid`].
    #[must_use]
    pub const fn is_acceptable(&self, hop_limit: u8, source: Ipv6Addr) -> bool {
        // "If the IP source address is the unspecified address, there is no source link-layer
        // address option in the message."
        let nameless_is_right = !source.is_unspecified() || self.source_link_layer.is_none();
        is_from_this_link(hop_limit) && nameless_is_right
    }
}

/// A router advertisement that we originate, to all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'p> {
    /// Our link-local address.
    pub source: Ipv6Addr,
    /// Our link-layer address.
    pub source_link_layer: Mac,
    /// Seconds for which we are a default router; 0 from now on not.
    pub lifetime: u16,
    /// Bytes of the longest IPv6 packet on this link.
    pub mtu: u32,
    /// Prefixes of 64 bits that are on this link and from which hosts may make addresses.
    pub prefixes: &'p [Ipv6Addr],
}

impl RouterAdvertisement<'_> {
    /// Bytes of the IPv6 packet.
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        let options = size_of::<LinkLayerAndMtu>() + size_of_val(self.prefixes) * 2;
        ipv6::HEADER_LEN + size_of::<AdvertisementHeader>() + options
    }

    /// Writes the IPv6 packet, checksum included, at the front of `buf`.
    ///
    /// # Panics
    /// If `buf` is shorter than [`Self::packet_len`], or that is longer than a packet can be.
    pub fn emit(&self, buf: &mut [u8]) {
        let packet = &mut buf[..self.packet_len()];
        let payload_len = u16::try_from(packet.len() - ipv6::HEADER_LEN);
        let header = ipv6::Emit {
            source: self.source,
            destination: ALL_NODES,
            next_header: Protocol::ICMPV6,
            hop_limit: HOP_LIMIT,
            traffic_class: 0,
            flow_label: 0,
            payload_len: payload_len.expect("an interface has few prefixes"),
        };
        header.emit(packet);
        let message = &mut packet[ipv6::HEADER_LEN..];
        view::write_header(message, &AdvertisementHeader::new(self.lifetime));
        let options = &mut message[size_of::<AdvertisementHeader>()..];
        view::write_header(options, &LinkLayerAndMtu::new(self.source_link_layer, self.mtu));
        let places =
            options[size_of::<LinkLayerAndMtu>()..].chunks_exact_mut(size_of::<PrefixOption>());
        for (place, prefix) in places.zip(self.prefixes) {
            view::write_header(place, &PrefixOption::new(*prefix));
        }
        Icmpv6::parse(message)
            .expect("the message was just written")
            .fill_checksum(self.source, ALL_NODES);
    }
}

/// `ff02::1`
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// `ff02::2`: where solicitations go.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// AdvCurHopLimit of RFC 4861 §6.2.1.
const CURRENT_HOP_LIMIT: u8 = 64;

/// AdvValidLifetime and AdvPreferredLifetime of RFC 4861 §6.2.1, in seconds.
const VALID_LIFETIME: u32 = 2_592_000;
const PREFERRED_LIFETIME: u32 = 604_800;

/// Flags of a prefix option: on-link, and autonomous (hosts may make addresses).
const ON_LINK_AND_AUTONOMOUS: u8 = 0xc0;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SolicitationHeader {
    kind: u8,
    code: u8,
    _checksum: U16,
    _reserved: U32,
}

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct AdvertisementHeader {
    kind: u8,
    code: u8,
    checksum: U16,
    hop_limit: u8,
    /// Managed, other, and the preference of RFC 4191, which is medium: all zero.
    flags: u8,
    lifetime: U16,
    reachable_time: U32,
    retrans_timer: U32,
}

impl AdvertisementHeader {
    fn new(lifetime: u16) -> Self {
        Self {
            kind: ROUTER_ADVERTISEMENT,
            code: 0,
            checksum: U16::ZERO,
            hop_limit: CURRENT_HOP_LIMIT,
            flags: 0,
            lifetime: U16::new(lifetime),
            reachable_time: U32::ZERO,
            retrans_timer: U32::ZERO,
        }
    }
}

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct LinkLayerAndMtu {
    link_layer_kind: u8,
    link_layer_len: u8,
    mac: Mac,
    mtu_kind: u8,
    mtu_len: u8,
    reserved: U16,
    mtu: U32,
}

impl LinkLayerAndMtu {
    fn new(mac: Mac, mtu: u32) -> Self {
        Self {
            link_layer_kind: OPTION_SOURCE_LINK_LAYER,
            link_layer_len: 1,
            mac,
            mtu_kind: 5,
            mtu_len: 1,
            reserved: U16::ZERO,
            mtu: U32::new(mtu),
        }
    }
}

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct PrefixOption {
    kind: u8,
    len: u8,
    prefix_len: u8,
    flags: u8,
    valid_lifetime: U32,
    preferred_lifetime: U32,
    reserved: U32,
    prefix: [u8; 16],
}

impl PrefixOption {
    fn new(prefix: Ipv6Addr) -> Self {
        Self {
            kind: 3,
            len: 4,
            prefix_len: 64,
            flags: ON_LINK_AND_AUTONOMOUS,
            valid_lifetime: U32::new(VALID_LIFETIME),
            preferred_lifetime: U32::new(PREFERRED_LIFETIME),
            reserved: U32::ZERO,
            prefix: prefix.octets(),
        }
    }
}

const _: () = assert!(size_of::<PrefixOption>() == 2 * size_of::<Ipv6Addr>(), "see packet_len");

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::{RouterAdvertisement, RouterSolicitation};
    use crate::error::{Field, Layer, ParseError};
    use crate::mac::Mac;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const NOBODY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
    const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

    #[test]
    fn an_advertisement_byte_by_byte() {
        let advertisement = RouterAdvertisement {
            source: "fe80::ff:fe00:1".parse().unwrap(),
            source_link_layer: MAC,
            lifetime: 1800,
            mtu: 1500,
            prefixes: &["fd00:10::".parse().unwrap()],
        };
        let mut packet = [0xee; 104];
        assert_eq!(advertisement.packet_len(), packet.len());
        advertisement.emit(&mut packet);
        #[rustfmt::skip]
        let expected = [
            0x60, 0, 0, 0, 0, 64, 58, 255,
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1,
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            134, 0, 0x1f, 0x92, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0,
            1, 1, 2, 0, 0, 0, 0, 1,
            5, 1, 0, 0, 0, 0, 0x05, 0xdc,
            3, 4, 64, 0xc0, 0, 0x27, 0x8d, 0, 0, 0x09, 0x3a, 0x80, 0, 0, 0, 0,
            0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(packet, expected);
    }

    #[test]
    fn a_solicitation_is_read() {
        let bytes = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1];
        let solicitation = RouterSolicitation::parse(&bytes[..]).unwrap();
        assert_eq!(solicitation.source_link_layer(), Some(MAC));
        assert!(solicitation.is_acceptable(255, HOST));
        assert!(!solicitation.is_acceptable(254, HOST), "it was forwarded");
        assert!(!solicitation.is_acceptable(255, NOBODY), "nobody has no link-layer address");
        let nameless = RouterSolicitation::parse(&bytes[..8]).unwrap();
        assert!(nameless.is_acceptable(255, NOBODY) && nameless.source_link_layer().is_none());
    }

    #[test]
    fn other_messages_are_no_solicitation() {
        for (at, value, field) in
            [(0, 134, Field::Kind), (1, 1, Field::Code), (9, 0, Field::OptionLength)]
        {
            let mut bytes = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1];
            bytes[at] = value;
            let value = value.into();
            assert_eq!(
                RouterSolicitation::parse(&bytes[..]).unwrap_err(),
                ParseError::BadValue { layer: Layer::Ndp, field, value }
            );
        }
        let truncated = RouterSolicitation::parse(&[133, 0, 0, 0, 0, 0, 0][..]);
        assert_eq!(
            truncated.unwrap_err(),
            ParseError::Truncated { layer: Layer::Ndp, needed: 8, had: 7 }
        );
    }
}
