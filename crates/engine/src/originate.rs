//! ICMP errors of our own: what we tell the sender of a packet that we cannot forward.
//!
//! They are made before anything is translated, so the sender sees its own packet quoted, in its own
//! view of the world (RFC 1812 §4.3.2), and they go back to the link address that the packet came
//! from.

use std::net::Ipv4Addr;

use mooring_packet::Packet;
use mooring_policy::InterfaceId;
use mooring_wire::ethernet::{self, EtherType, Ethernet, HEADER_LEN};
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::ipv4::{self, Ipv4};
use mooring_wire::{Mac, Protocol};

use crate::classify::Flow;
use crate::echo::OUR_TTL;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine};

impl Engine {
    /// Tells the sender that its packet's time ended here (RFC 1812 §5.3.1).
    #[cold]
    pub(crate) fn expired(
        &mut self,
        scene: Scene,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> DropReason {
        self.complain(scene, Complaint::TimeExceeded, packet, outbox);
        DropReason::TtlExpired
    }

    /// Tells the sender of a packet that may not be cut how long it may be (RFC 1191 §4).
    #[cold]
    pub(crate) fn too_big(
        &mut self,
        scene: Scene,
        egress: InterfaceId,
        flow: &Flow,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> DropReason {
        if flow.dont_fragment {
            let mtu = self.links[usize::from(egress.0)].mtu;
            self.complain(scene, Complaint::FragmentationNeeded(mtu), packet, outbox);
        }
        DropReason::TooBig
    }

    /// Tells a host that wanted a new session when there is no room for it, or its packet's time ended
    /// here; every other refusal is silent.
    pub(crate) fn refused(
        &mut self,
        scene: Scene,
        reason: DropReason,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> DropReason {
        match reason {
            DropReason::TableFull | DropReason::PortsExhausted | DropReason::SourceLimit => {
                self.complain(scene, Complaint::HostUnreachable, packet, outbox);
            }
            DropReason::TtlExpired => self.complain(scene, Complaint::TimeExceeded, packet, outbox),
            _ => {}
        }
        reason
    }

    /// Sends an ICMP error back to where the packet came from, as often as the limit allows.
    fn complain(
        &mut self,
        scene: Scene,
        complaint: Complaint,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) {
        let Some(address) = self.own_v4(scene.ingress) else { return };
        let limit = match complaint {
            Complaint::FragmentationNeeded(_) => &mut self.too_big_limit,
            _ => &mut self.error_limit,
        };
        if !limit.allow(scene.now) {
            return;
        }
        let mac = self.links[usize::from(scene.ingress.0)].mac;
        let from = Complainer { interface: scene.ingress, mac, address };
        if complain(packet.bytes(), complaint, from, outbox) {
            self.counters.originated += 1;
        }
    }
}

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaint {
    /// The packet's time to live ended here.
    TimeExceeded,
    /// The packet may not be cut and is longer than this many bytes (RFC 1191 §4).
    FragmentationNeeded(u16),
    /// We have no room for another session (RFC 6888 REQ-11 and design: the host is told).
    HostUnreachable,
}

/// Who complains.
#[derive(Clone, Copy, Debug)]
struct Complainer {
    interface: InterfaceId,
    mac: Mac,
    address: Ipv4Addr,
}

/// Sends an error about the IPv4 packet in `frame` back to its sender. False when the packet may get
/// none, or no buffer is free.
fn complain(frame: &[u8], complaint: Complaint, from: Complainer, outbox: &mut Outbox) -> bool {
    let Ok(ethernet) = Ethernet::parse(frame) else { return false };
    let Ok(ip) = Ipv4::parse(ethernet.payload()) else { return false };
    if !may_be_answered(&ip) {
        return false;
    }
    let quote = &ethernet.payload()[..usize::from(ip.total_len()).min(MAX_QUOTE)];
    let icmp_len = icmpv4::HEADER_LEN + quote.len();
    let len = HEADER_LEN + ipv4::HEADER_LEN + icmp_len;
    let (to_mac, to) = (ethernet.source(), ip.source());
    outbox.originate(from.interface, len, |buffer| {
        ethernet::emit(buffer, to_mac, from.mac, EtherType::IPV4);
        ipv4::Emit {
            source: from.address,
            destination: to,
            protocol: Protocol::ICMP,
            ttl: OUR_TTL,
            // RFC 1812 §4.3.2.5: errors travel with precedence 6.
            tos: 0xc0,
            identification: 0,
            dont_fragment: true,
            payload_len: icmp_len as u16,
        }
        .emit(&mut buffer[HEADER_LEN..]);
        write_message(&mut buffer[HEADER_LEN + ipv4::HEADER_LEN..], complaint, quote);
    })
}

/// Writes the ICMP message: header, quote, checksum.
fn write_message(icmp: &mut [u8], complaint: Complaint, quote: &[u8]) {
    let (kind, code, mtu) = match complaint {
        Complaint::TimeExceeded => (icmpv4::TIME_EXCEEDED, icmpv4::TTL_EXCEEDED, 0),
        Complaint::FragmentationNeeded(mtu) => {
            (icmpv4::DEST_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, mtu)
        }
        Complaint::HostUnreachable => (icmpv4::DEST_UNREACHABLE, icmpv4::HOST_UNREACHABLE, 0),
    };
    icmp[..4].copy_from_slice(&[kind, code, 0, 0]);
    icmp[4..6].copy_from_slice(&[0, 0]);
    icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    icmp[8..].copy_from_slice(quote);
    Icmpv4::parse(icmp).expect("the buffer holds a whole message").fill_checksum();
}

/// RFC 1122 §3.2.2: no error about an ICMP error, about a later fragment, or to a sender that is not
/// one host.
fn may_be_answered(ip: &Ipv4<&[u8]>) -> bool {
    let source = ip.source();
    let one_host = !(source.is_unspecified()
        || source.is_loopback()
        || source.is_multicast()
        || source.is_broadcast());
    let about_error = ip.protocol() == Protocol::ICMP
        && !Icmpv4::parse(ip.payload()).is_ok_and(|icmp| icmp.is_query());
    one_host && !about_error && ip.fragment_offset() == 0
}

/// RFC 1812 §4.3.2.3: as much of the packet as fits 576 bytes.
const MAX_QUOTE: usize = 576 - ipv4::HEADER_LEN - icmpv4::HEADER_LEN;

#[cfg(test)]
mod tests;
