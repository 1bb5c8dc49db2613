//! What has to be known of a packet before anything is done for it.

use std::net::{IpAddr, SocketAddr};

use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;
use mooring_wire::tcp::{Flags, Tcp};
use mooring_wire::{Protocol, checksum};

/// A TCP segment that is whole and undamaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) ends: Ends,
    pub(crate) flags: Flags,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) remote: SocketAddr,
    /// The service.
    pub(crate) local: SocketAddr,
}

/// Why a packet is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not TCP, a fragment, headers that contradict each other, or not for a service.
    Malformed,
    /// The checksum of the IPv4 header or of the segment is wrong.
    BadChecksum,
    /// A SYN while all connections are busy.
    Full,
    /// A segment of no connection, when too many were answered by a reset.
    RateLimited,
}

impl Segment {
    /// Reads an IP packet. `partial`: the checksum of the segment is still to be completed by a device,
    /// which means that the packet never was on a wire where it could have been damaged.
    ///
    /// # Errors
    /// When it is not a whole and undamaged TCP segment between two hosts.
    pub(crate) fn read(packet: &[u8], partial: bool) -> Result<Self, Refusal> {
        let (source, destination, payload, pseudo) = match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let ip = Ipv4::parse(packet).map_err(|_| Refusal::Malformed)?;
                if !ip.checksum_is_valid() {
                    return Err(Refusal::BadChecksum);
                }
                if ip.is_fragment() || ip.protocol() != Protocol::TCP {
                    return Err(Refusal::Malformed);
                }
                let (source, destination) = (ip.source(), ip.destination());
                let payload = ip.into_payload();
                let len = payload.len() as u16;
                let pseudo = checksum::pseudo_v4(source, destination, Protocol::TCP, len);
                (IpAddr::V4(source), IpAddr::V4(destination), payload, pseudo)
            }
            Some(6) => {
                let ip = Ipv6::parse(packet).map_err(|_| Refusal::Malformed)?;
                // Extension headers mean nothing to a service, and clients do not send them.
                if ip.next_header() != Protocol::TCP {
                    return Err(Refusal::Malformed);
                }
                let (source, destination) = (ip.source(), ip.destination());
                let payload = ip.into_payload();
                let len = payload.len() as u32;
                let pseudo = checksum::pseudo_v6(source, destination, Protocol::TCP, len);
                (IpAddr::V6(source), IpAddr::V6(destination), payload, pseudo)
            }
            _ => return Err(Refusal::Malformed),
        };
        let tcp = Tcp::parse(payload).map_err(|_| Refusal::Malformed)?;
        if !is_host(source) || !is_host(destination) || tcp.source_port() == 0 {
            return Err(Refusal::Malformed);
        }
        if !partial && !tcp.checksum_is_valid(pseudo) {
            return Err(Refusal::BadChecksum);
        }
        let remote = SocketAddr::new(source, tcp.source_port());
        let local = SocketAddr::new(destination, tcp.destination_port());
        Ok(Self { ends: Ends { remote, local }, flags: tcp.flags() })
    }

    /// The first segment of a connection.
    pub(crate) fn begins(&self) -> bool {
        let others = Flags(Flags::ACK.0 | Flags::RST.0 | Flags::FIN.0);
        self.flags.contains(Flags::SYN) && !self.flags.intersects(others)
    }

    /// RFC 9293 §3.5.2: a reset is never answered by a reset.
    pub(crate) fn resets(&self) -> bool {
        self.flags.contains(Flags::RST)
    }
}

impl Ends {
    /// A few bits that differ for most pairs of ends, compared before all of them are.
    pub(crate) fn tag(&self) -> u32 {
        let address = match self.remote.ip() {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32
            }
        };
        address.rotate_left(16) ^ u32::from(self.remote.port()) ^ u32::from(self.local.port()) << 16
    }
}

/// An address that one host may have: what is answered must go to somebody (RFC 1122 §3.2.1.3).
fn is_host(address: IpAddr) -> bool {
    let broadcast =
        matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 224);
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}
