//! Echo replies for addresses of ours: the request itself, turned round in place.

use mooring_nat::Place;
use mooring_wire::Mac;
use mooring_wire::ethernet::Ethernet;
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::icmpv6::{self, Icmpv6};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::{self, Ipv6};

use crate::DropReason;

/// Turns an ICMPv4 echo request into its reply (RFC 1122 §3.2.2.6). The whole frame is ours to edit.
///
/// # Errors
/// When the message's checksum is wrong: what is broken gets no answer.
pub(crate) fn reply_v4(frame: &mut [u8], place: Place, own: Mac) -> Result<(), DropReason> {
    turn_round(frame, own)?;
    let mut ip =
        Ipv4::parse(&mut frame[usize::from(place.l3)..]).map_err(|_| DropReason::Malformed)?;
    let (source, destination) = (ip.source(), ip.destination());
    ip.set_source(destination);
    ip.set_destination(source);
    ip.set_ttl(OUR_TTL);
    ip.fill_checksum();
    let mut icmp = Icmpv4::parse(ip.payload_mut()).map_err(|_| DropReason::Malformed)?;
    if !icmp.checksum_is_valid() {
        return Err(DropReason::BadChecksum);
    }
    icmp.set_kind(icmpv4::ECHO_REPLY);
    icmp.fill_checksum();
    Ok(())
}

/// Turns an ICMPv6 echo request into its reply (RFC 4443 §4.2).
///
/// # Errors
/// As for [`reply_v4`].
pub(crate) fn reply_v6(frame: &mut [u8], place: Place, own: Mac) -> Result<(), DropReason> {
    turn_round(frame, own)?;
    let mut ip =
        Ipv6::parse(&mut frame[usize::from(place.l3)..]).map_err(|_| DropReason::Malformed)?;
    let (source, destination) = (ip.source(), ip.destination());
    ip.set_source(destination);
    ip.set_destination(source);
    ip.set_hop_limit(OUR_TTL);
    let behind_extensions = usize::from(place.l4 - place.l3) - ipv6::HEADER_LEN;
    let mut icmp = Icmpv6::parse(&mut ip.payload_mut()[behind_extensions..])
        .map_err(|_| DropReason::Malformed)?;
    if !icmp.checksum_is_valid(source, destination) {
        return Err(DropReason::BadChecksum);
    }
    icmp.set_kind(icmpv6::ECHO_REPLY);
    icmp.fill_checksum(destination, source);
    Ok(())
}

/// The frame goes back to whoever put it on the link.
fn turn_round(frame: &mut [u8], own: Mac) -> Result<(), DropReason> {
    let mut ethernet = Ethernet::parse(frame).map_err(|_| DropReason::Malformed)?;
    let sender = ethernet.source();
    ethernet.set_destination(sender);
    ethernet.set_source(own);
    Ok(())
}

/// TTL and hop limit of packets that we originate.
pub(crate) const OUR_TTL: u8 = 64;
