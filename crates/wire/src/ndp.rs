//! Neighbor solicitation and advertisement over Ethernet (RFC 4861 §4.3, §4.4).
//!
//! The views look at the ICMPv6 message alone; what RFC 4861 §7.1 asks of the packet around it
//! is checked by `is_acceptable`. The emitters write the whole IPv6 packet.

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, Unaligned};

use crate::error::{Field, Layer, ParseError};
use crate::icmpv6::{Icmpv6, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION};
use crate::ipv6;
use crate::mac::Mac;
use crate::protocol::Protocol;
use crate::view;

/// "Who has the target, and what is its link-layer address?"
#[derive(Debug)]
pub struct NeighborSolicitation<B: SplitByteSlice> {
    message: Ref<B, Message>,
    source_link_layer: Option<Mac>,
}

impl<B: SplitByteSlice> NeighborSolicitation<B> {
    /// The view of `bytes`, a whole ICMPv6 message.
    ///
    /// # Errors
    /// `Truncated` below 24 bytes or if an option goes beyond `bytes`; `BadValue` for another
    /// type or code, a multicast target, or an option of length 0 (RFC 4861 §7.1.1).
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (message, options) = parse_message(bytes, NEIGHBOR_SOLICITATION)?;
        let source_link_layer = link_layer_option(&options, OPTION_SOURCE_LINK_LAYER)?;
        Ok(Self { message, source_link_layer })
    }

    /// The address that is asked for.
    pub fn target(&self) -> Ipv6Addr {
        self.message.target.into()
    }

    /// The link-layer address of the sender, if it tells.
    pub fn source_link_layer(&self) -> Option<Mac> {
        self.source_link_layer
    }

    /// Whether a packet with this hop limit and these addresses may carry the message (RFC 4861
    /// §7.1.1). Its checksum is checked by [`Icmpv6::checksum_is_valid`].
    pub fn is_acceptable(&self, hop_limit: u8, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        // "If the IP source address is the unspecified address, the IP destination address is a
        // solicited-node multicast address", and "there is no source link-layer address option".
        let probe_is_right =
            is_solicited_node_group(destination) && self.source_link_layer.is_none();
        is_from_this_link(hop_limit) && (!source.is_unspecified() || probe_is_right)
    }
}

/// "The target is mine, and this is its link-layer address."
#[derive(Debug)]
pub struct NeighborAdvertisement<B: SplitByteSlice> {
    message: Ref<B, Message>,
    target_link_layer: Option<Mac>,
}

impl<B: SplitByteSlice> NeighborAdvertisement<B> {
    /// The view of `bytes`, a whole ICMPv6 message.
    ///
    /// # Errors
    /// `Truncated` below 24 bytes or if an option goes beyond `bytes`; `BadValue` for another
    /// type or code, a multicast target, or an option of length 0 (RFC 4861 §7.1.2).
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (message, options) = parse_message(bytes, NEIGHBOR_ADVERTISEMENT)?;
        let target_link_layer = link_layer_option(&options, OPTION_TARGET_LINK_LAYER)?;
        Ok(Self { message, target_link_layer })
    }

    /// The address that is advertised.
    pub fn target(&self) -> Ipv6Addr {
        self.message.target.into()
    }

    /// The link-layer address of the target; the answer to a multicast solicitation has one.
    pub fn target_link_layer(&self) -> Option<Mac> {
        self.target_link_layer
    }

    /// Whether the sender is a router.
    pub fn router(&self) -> bool {
        self.message.flags.get() & ROUTER != 0
    }

    /// Whether this answers a solicitation.
    pub fn solicited(&self) -> bool {
        self.message.flags.get() & SOLICITED != 0
    }

    /// Whether this replaces a link-layer address that is known already.
    pub fn overrides(&self) -> bool {
        self.message.flags.get() & OVERRIDE != 0
    }

    /// Whether a packet with this hop limit and destination may carry the message (RFC 4861
    /// §7.1.2). Its checksum is checked by [`Icmpv6::checksum_is_valid`].
    pub fn is_acceptable(&self, hop_limit: u8, destination: Ipv6Addr) -> bool {
        // "If the IP Destination Address is a multicast address the Solicited flag is zero."
        is_from_this_link(hop_limit) && !(destination.is_multicast() && self.solicited())
    }
}

/// A neighbor solicitation that we originate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Our address on that link; unspecified in a probe for duplicates.
    pub source: Ipv6Addr,
    /// [`solicited_node_group`] of the target, or the target itself to see whether it is there.
    pub destination: Ipv6Addr,
    /// The address that is asked for.
    pub target: Ipv6Addr,
    /// Our link-layer address; `None` in a probe for duplicates.
    pub source_link_layer: Option<Mac>,
}

/// A neighbor advertisement that we originate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// An address of ours on that link.
    pub source: Ipv6Addr,
    /// Who asked, or all nodes (`ff02::1`).
    pub destination: Ipv6Addr,
    /// The address that is advertised.
    pub target: Ipv6Addr,
    /// Its link-layer address.
    pub target_link_layer: Option<Mac>,
    /// Whether we are a router.
    pub router: bool,
    /// Whether this answers a solicitation.
    pub solicited: bool,
    /// Whether this replaces a link-layer address that is known already.
    pub overrides: bool,
}

/// Writes the IPv6 packet, checksum included, at the front of `buf` and returns its length in
/// bytes, at most [`MAX_LEN`].
///
/// # Panics
/// If `buf` is shorter than that.
pub fn emit_solicitation(buf: &mut [u8], solicitation: &Solicitation) -> usize {
    let Solicitation { source, destination, target, source_link_layer } = *solicitation;
    let message = Message::new(NEIGHBOR_SOLICITATION, 0, target);
    let option = source_link_layer.map(|mac| LinkLayerOption::new(OPTION_SOURCE_LINK_LAYER, mac));
    emit(buf, (source, destination), &message, option)
}

/// Writes the IPv6 packet, checksum included, at the front of `buf` and returns its length in
/// bytes, at most [`MAX_LEN`].
///
/// # Panics
/// If `buf` is shorter than that.
pub fn emit_advertisement(buf: &mut [u8], advertisement: &Advertisement) -> usize {
    let Advertisement { source, destination, target, target_link_layer, .. } = *advertisement;
    let flag = |set, bit| if set { bit } else { 0 };
    let flags = flag(advertisement.router, ROUTER)
        | flag(advertisement.solicited, SOLICITED)
        | flag(advertisement.overrides, OVERRIDE);
    let message = Message::new(NEIGHBOR_ADVERTISEMENT, flags, target);
    let option = target_link_layer.map(|mac| LinkLayerOption::new(OPTION_TARGET_LINK_LAYER, mac));
    emit(buf, (source, destination), &message, option)
}

/// The group on which the owner of `address` hears solicitations: `ff02::1:ff00:0/104` with the
/// last three bytes of the address (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node_group(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(SOLICITED_NODE_PREFIX | address.to_bits() & 0x00ff_ffff)
}

/// Whether a packet that arrives with this hop limit was sent on this very link: RFC 4861 §7.1,
/// "the packet could not possibly have been forwarded by a router".
#[must_use]
pub const fn is_from_this_link(hop_limit: u8) -> bool {
    hop_limit == HOP_LIMIT
}

fn is_solicited_node_group(address: Ipv6Addr) -> bool {
    address.to_bits() & !0x00ff_ffff == SOLICITED_NODE_PREFIX
}

fn parse_message<B: SplitByteSlice>(
    bytes: B,
    kind: u8,
) -> Result<(Ref<B, Message>, B), ParseError> {
    let (message, options) = view::split_header::<B, Message>(bytes, Layer::Ndp)?;
    let wrong = |field, value| Err(ParseError::BadValue { layer: Layer::Ndp, field, value });
    if message.kind != kind {
        return wrong(Field::Kind, message.kind.into());
    }
    if message.code != 0 {
        return wrong(Field::Code, message.code.into());
    }
    // RFC 4861 §7.1.1, §7.1.2: "Target Address is not a multicast address".
    if let [0xff, a, b, c, ..] = message.target {
        return wrong(Field::Target, u32::from_be_bytes([0xff, a, b, c]));
    }
    Ok((message, options))
}

/// The address in the first option of this kind that is as long as an Ethernet address needs.
/// Options of other kinds are skipped, as RFC 4861 §4.6 asks.
pub(crate) fn link_layer_option(options: &[u8], kind: u8) -> Result<Option<Mac>, ParseError> {
    let mut found = None;
    let mut rest = options;
    while !rest.is_empty() {
        let (option, _) = view::split_header::<&[u8], LinkLayerOption>(rest, Layer::Ndp)?;
        // RFC 4861 §4.6: "Nodes MUST silently discard an ND packet that contains an option with
        // length zero."
        if option.len == 0 {
            let (layer, field) = (Layer::Ndp, Field::OptionLength);
            return Err(ParseError::BadValue { layer, field, value: 0 });
        }
        (_, rest) = view::split(rest, usize::from(option.len) * OPTION_UNIT, Layer::Ndp, 0)?;
        if option.kind == kind && option.len == 1 && found.is_none() {
            found = Some(option.mac);
        }
    }
    Ok(found)
}

fn emit(
    buf: &mut [u8],
    (source, destination): (Ipv6Addr, Ipv6Addr),
    message: &Message,
    option: Option<LinkLayerOption>,
) -> usize {
    let option_len = if option.is_some() { OPTION_UNIT } else { 0 };
    let message_len = size_of::<Message>() + option_len;
    let header = ipv6::Emit {
        source,
        destination,
        next_header: Protocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: message_len as u16,
    };
    let packet = &mut buf[..ipv6::HEADER_LEN + message_len];
    header.emit(packet);
    view::write_header(&mut packet[ipv6::HEADER_LEN..], message);
    if let Some(option) = option {
        view::write_header(&mut packet[ipv6::HEADER_LEN + size_of::<Message>()..], &option);
    }
    Icmpv6::parse(&mut packet[ipv6::HEADER_LEN..])
        .expect("the message was just written")
        .fill_checksum(source, destination);
    packet.len()
}

/// The hop limit of every neighbor discovery packet (RFC 4861 §7.1).
pub const HOP_LIMIT: u8 = 255;

/// Bytes of the longest packet that the emitters write.
pub const MAX_LEN: usize = ipv6::HEADER_LEN + size_of::<Message>() + OPTION_UNIT;

const SOLICITED_NODE_PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;

const ROUTER: u32 = 1 << 31;
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;

pub(crate) const OPTION_SOURCE_LINK_LAYER: u8 = 1;
const OPTION_TARGET_LINK_LAYER: u8 = 2;

/// Option lengths count units of 8 bytes.
const OPTION_UNIT: usize = size_of::<LinkLayerOption>();

/// Both messages; a solicitation has no flags.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Message {
    kind: u8,
    code: u8,
    checksum: U16,
    flags: U32,
    target: [u8; 16],
}

impl Message {
    fn new(kind: u8, flags: u32, target: Ipv6Addr) -> Self {
        let (checksum, flags) = (U16::ZERO, U32::new(flags));
        Self { kind, code: 0, checksum, flags, target: target.octets() }
    }
}

/// A link-layer address option, or the first 8 bytes of another one.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LinkLayerOption {
    kind: u8,
    len: u8,
    mac: Mac,
}

impl LinkLayerOption {
    fn new(kind: u8, mac: Mac) -> Self {
        Self { kind, len: 1, mac }
    }
}

#[cfg(test)]
mod tests;
