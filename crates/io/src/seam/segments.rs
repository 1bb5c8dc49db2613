//! Cuts a super-packet into the segments that its sender would have sent itself.

use mooring_packet::Packet;
use mooring_packet::offload::GsoKind;
use mooring_wire::Protocol;
use mooring_wire::checksum;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::tcp::{Flags, Tcp};
use mooring_wire::udp::{self, Udp};
use mooring_wire::{ipv4, ipv6};

use super::layout::Layout;

/// The segments of one super-packet, written one after the other.
pub(super) struct Segments<'p> {
    /// Ethernet header to transport header, options included.
    headers: &'p [u8],
    payload: &'p [u8],
    /// Payload bytes of each segment but the last.
    size: usize,
    layout: Layout,
    /// Segments written so far.
    written: usize,
}

impl<'p> Segments<'p> {
    /// `None` when the packet is not of the kind that its metadata says, or cannot be cut.
    pub(super) fn of(packet: &'p Packet<'_>) -> Option<Self> {
        let frame = packet.bytes();
        let layout = Layout::of(frame)?;
        let (protocol, family_fits) = match packet.offload.gso_kind()? {
            GsoKind::TcpV4 => (Protocol::TCP, !layout.ipv6),
            GsoKind::TcpV6 => (Protocol::TCP, layout.ipv6),
            GsoKind::UdpL4 => (Protocol::UDP, true),
        };
        // What begins elsewhere is an inner header of a tunnel.
        let partial = packet.offload.partial();
        let is_outer = partial.is_none_or(|at| usize::from(at.start) == layout.transport);
        if layout.protocol != protocol || !family_fits || !is_outer {
            return None;
        }
        let transport = &frame[layout.transport..layout.end];
        let header_len = match protocol {
            Protocol::TCP => Tcp::parse(transport).ok()?.header_len(),
            _ => Udp::parse(transport).ok().map(|_| udp::HEADER_LEN)?,
        };
        let (headers, payload) = frame[..layout.end].split_at(layout.transport + header_len);
        let size = usize::from(packet.offload.gso_size());
        (size > 0).then_some(Self { headers, payload, size, layout, written: 0 })
    }

    /// Whether there is another one. A super-packet without payload is one segment.
    pub(super) fn remain(&self) -> bool {
        self.written == 0 || self.written * self.size < self.payload.len()
    }

    /// Bytes of the next one with all its headers. At most those of the super-packet.
    pub(super) fn next_len(&self) -> Option<usize> {
        self.remain().then(|| self.headers.len() + self.next_payload().len())
    }

    /// Writes the next one into `bytes`, which has [`Self::next_len`] of them.
    pub(super) fn write_next(&mut self, bytes: &mut [u8]) {
        let payload = self.next_payload();
        let (headers, rest) = bytes.split_at_mut(self.headers.len());
        headers.copy_from_slice(self.headers);
        rest.copy_from_slice(payload);
        self.edit_ip(&mut bytes[HEADER_LEN..]);
        let transport = &mut bytes[self.layout.transport..];
        // No longer than the super-packet, whose length fits.
        let pseudo_sum = checksum::add(self.layout.pseudo_sum, transport.len() as u16);
        match self.layout.protocol {
            Protocol::TCP => self.edit_tcp(transport, pseudo_sum),
            _ => Self::edit_udp(transport, pseudo_sum),
        }
        self.written += 1;
    }

    fn next_payload(&self) -> &'p [u8] {
        let rest = self.payload.get(self.written * self.size..).unwrap_or_default();
        &rest[..rest.len().min(self.size)]
    }

    fn edit_ip(&self, packet: &mut [u8]) {
        let len = packet.len();
        if self.layout.ipv6 {
            let header = ipv6::Header::mut_at_front(packet).expect("the layout has found it");
            header.set_payload_len((len - ipv6::HEADER_LEN) as u16);
        } else {
            let header = ipv4::Header::mut_at_front(packet).expect("the layout has found it");
            header.become_segment(len as u16, self.written as u16);
            let mut ip = ipv4::Ipv4::parse(packet).expect("its length is that of its bytes");
            ip.fill_checksum();
        }
    }

    /// What a sender says once: congestion window reduced with the first segment (RFC 3168 §6.1.2), push
    /// and the end with the last.
    fn edit_tcp(&self, segment: &mut [u8], pseudo_sum: u16) {
        let is_last = (self.written + 1) * self.size >= self.payload.len();
        let mut tcp = Tcp::parse(segment).expect("the header was parsed before");
        let mut flags = tcp.flags();
        if self.written > 0 {
            flags = flags.without(Flags::CWR);
        }
        if !is_last {
            flags = flags.without(Flags::FIN | Flags::PSH);
        }
        tcp.set_flags(flags);
        tcp.set_sequence(tcp.sequence().wrapping_add((self.written * self.size) as u32));
        tcp.fill_checksum(pseudo_sum);
    }

    fn edit_udp(datagram: &mut [u8], pseudo_sum: u16) {
        let word = |at| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        let (source_port, destination_port) = (word(0), word(2));
        udp::emit(datagram, source_port, destination_port, pseudo_sum);
    }
}
