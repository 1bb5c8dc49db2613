//! The frames of a program: built from a template, then perhaps damaged.
//!
//! After its four bytes a frame has one for damage. Bits 6 and 7 both set: as many bytes are
//! overwritten as bits 0 and 1 say, each by three bytes of the program (where, in two; what to); where
//! the place has its top bit set the frame is cut or lengthened there instead. Checksums are right
//! afterwards, unless bit 2 is set too. Bits 4 and 5 both set: the frame has offload metadata, and
//! bits 2 and 3 say of which kind: a partial checksum, that of a super-packet, at a wrong place, or a
//! super-packet without.
//!
//! The TTL is 64, or by the upper half of `b`: 12 is 255, 13 is 0, 14 is 2, 15 is 1.
//!
//! No inside address stands where translation does not replace it, so that one outside is a leak.

mod link_layer;
mod towards;
mod v6;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use mooring_packet::Offload;
use mooring_packet::offload::GsoKind;
use mooring_policy::InterfaceId;
use mooring_wire::ethernet::{self, EtherType, Ethernet, HEADER_LEN};
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::ipv4::{self, Ipv4};
use mooring_wire::tcp::Tcp;
use mooring_wire::udp::Udp;
use mooring_wire::{Mac, Protocol, checksum};

use self::link_layer::neighbour_mac;
use super::input::Input;
use super::program::Template;
use super::{INSIDE, LINKS, OUTSIDE};

pub(crate) use self::link_layer::introductions;
pub(crate) use self::towards::turn_round;
pub(crate) use self::v6::{INSIDE_PREFIX as INSIDE_PREFIX_V6, l4_of as l4_of_v6};

/// A frame for the engine.
pub(crate) struct Given {
    pub(crate) frame: Vec<u8>,
    pub(crate) offload: Offload,
    /// It came from outside and has an inside address in it.
    pub(crate) forged: bool,
}

/// What went over the links lately, for frames that follow from others.
#[derive(Default)]
pub(crate) struct Memory {
    /// IPv4 packets that left by each link.
    left: [VecDeque<Vec<u8>>; 2],
    /// The same of IPv6, without what concerns the link alone.
    left_v6: [VecDeque<Vec<u8>>; 2],
    /// The last question of ARP that left by each link.
    asked: [Option<Vec<u8>>; 2],
    /// Frames given on each link.
    given: [VecDeque<Vec<u8>>; 2],
}

impl Memory {
    /// A frame has left.
    pub(crate) fn see(&mut self, link: InterfaceId, frame: &[u8]) {
        let link = usize::from(link.0);
        match frame[12..14] {
            // A later piece has nothing that an answer could be made of.
            [8, 0] if frame[20] & 0x1f != 0 || frame[21] != 0 => {}
            [8, 0] => push(&mut self.left[link], frame),
            [0x86, 0xdd] if v6::is_translated(frame) => push(&mut self.left_v6[link], frame),
            [8, 6] if frame[21] == 1 => self.asked[link] = Some(frame.to_vec()),
            _ => {}
        }
    }

    /// Frames have been given.
    pub(crate) fn remember(&mut self, link: InterfaceId, given: Vec<Given>) {
        for given in given {
            push(&mut self.given[usize::from(link.0)], &given.frame);
        }
    }
}

fn push(frames: &mut VecDeque<Vec<u8>>, frame: &[u8]) {
    frames.push_front(frame[..frame.len().min(2048)].to_vec());
    frames.truncate(16);
}

/// The bytes of a template.
#[derive(Clone, Copy)]
struct Arguments {
    a: u8,
    b: u8,
    c: u8,
    d: u8,
}

/// Reads one frame.
pub(crate) fn read(
    link: InterfaceId,
    template: Template,
    input: &mut Input<'_>,
    memory: &Memory,
) -> Given {
    let [a, b, c, d] = [input.byte(), input.byte(), input.byte(), input.byte()];
    let arguments = Arguments { a, b, c, d };
    let mut frame = match template {
        Template::Raw => raw(link, arguments, input),
        template => build(link, template, arguments, memory),
    };
    let damage = input.byte();
    let damaged = damage & 0xc0 == 0xc0;
    if damaged {
        (0..damage & 3).for_each(|_| overwrite(&mut frame, input));
    }
    let forged = wash(link, &mut frame);
    if !(damaged && damage & 4 != 0) {
        fill_checksums(&mut frame);
    }
    let offload = match damage & 0x30 {
        0x30 => offload(&mut frame, damage >> 2 & 3, d),
        _ => Offload::NONE,
    };
    Given { frame, offload, forged }
}

fn build(link: InterfaceId, template: Template, with: Arguments, memory: &Memory) -> Vec<u8> {
    let payload = vec![PAYLOAD; usize::from(with.d)];
    match template {
        Template::Udp => ip(link, with, Protocol::UDP, &udp(link, with, &payload)),
        Template::Tcp => ip(link, with, Protocol::TCP, &tcp(link, with, &payload)),
        Template::Ping => ip(link, with, Protocol::ICMP, &ping(with, &payload)),
        Template::Answer => answer(link, with, memory).unwrap_or_default(),
        Template::Error => error(link, with, memory).unwrap_or_default(),
        Template::Again => nth(&memory.given, link, with.a).unwrap_or_default(),
        Template::ArpQuestion => link_layer::question(link, with),
        Template::ArpAnswer => link_layer::answer(link, with, &memory.asked),
        Template::Ndp => link_layer::ndp(link, with),
        Template::PingUs => ping_us(link, with),
        Template::PingUsV6 => link_layer::ping_us_v6(link, with),
        Template::Other if with.c & 4 != 0 => {
            with_option(ip(link, with, Protocol::UDP, &udp(link, with, b"")), with.d)
        }
        Template::Other => {
            ip(link, with, Protocol([47, 50, 132, 2][usize::from(with.c & 3)]), &payload)
        }
        Template::Piece => {
            let (place, l4) = piece(link, with);
            // Of TCP such pieces are too short for the header, or lie in it.
            let protocol = if with.d >= 0xc0 { Protocol::TCP } else { Protocol::UDP };
            let mut frame = ip(link, with, protocol, &l4);
            let more = if with.c & 0x10 == 0 { 0x20 } else { 0 };
            frame[18..22].copy_from_slice(&[0x4d, with.c >> 5, more, 2 * place]);
            frame
        }
        Template::Long => {
            let long = vec![PAYLOAD; 1300 + 16 * usize::from(with.d)];
            ip(link, with, Protocol::TCP, &tcp(link, with, &long))
        }
        Template::Martian => {
            let mut frame = ip(link, with, Protocol::UDP, &udp(link, with, &payload));
            let at = if with.c & 8 == 0 { 26 } else { 30 };
            frame[at..at + 4].copy_from_slice(&MARTIANS[usize::from(with.c & 3)]);
            frame
        }
        Template::Raw => Vec::new(),
        Template::UdpV6 => v6::ip(link, with, Protocol::UDP, &udp(link, with, &payload)),
        Template::TcpV6 => v6::ip(link, with, Protocol::TCP, &tcp(link, with, &payload)),
        Template::PingV6 => v6::ip(link, with, Protocol::ICMPV6, &v6::ping(with, &payload)),
        Template::AnswerV6 => v6::answer(link, with, memory).unwrap_or_default(),
        Template::ErrorV6 => v6::error(link, with, memory).unwrap_or_default(),
        Template::Forwarded => towards::forwarded(link, with),
        Template::Static => towards::fixed(link, with),
        Template::Hairpin => towards::hairpin(link, with, memory).unwrap_or_default(),
        Template::PieceV6 => v6::piece(link, with),
    }
}

fn raw(link: InterfaceId, with: Arguments, input: &mut Input<'_>) -> Vec<u8> {
    let mut frame = input.bytes(with.d.into()).to_vec();
    if let (0, Some(destination)) = (with.a & 1, frame.first_chunk_mut()) {
        *destination = LINKS[usize::from(link.0)].mac.0;
    }
    frame
}

/// An IPv4 packet between the hosts of `a`.
fn ip(link: InterfaceId, with: Arguments, protocol: Protocol, l4: &[u8]) -> Vec<u8> {
    let inside = Ipv4Addr::new(10, 0, 0, 2 + (with.a & 7));
    let remote = match with.a >> 4 & 7 {
        far @ 0..5 => Ipv4Addr::new(198, 51, 100, 7 + far),
        near => Ipv4Addr::new(192, 0, 2, 50 + near),
    };
    let to_us = match with.a & 7 {
        6 => OWN[1],
        7 => inside,
        pool => POOL[usize::from(pool & 1)],
    };
    let forged = with.a & 0x88 == 0x88;
    let ends = if (link == INSIDE) != forged { (inside, remote) } else { (remote, to_us) };
    between(link, with, ends, protocol, l4)
}

fn between(
    link: InterfaceId,
    with: Arguments,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    protocol: Protocol,
    l4: &[u8],
) -> Vec<u8> {
    let ttl = match with.b >> 4 {
        12 => 255,
        13 => 0,
        14 => 2,
        15 => 1,
        _ => 64,
    };
    let mut frame = vec![0; HEADER_LEN + ipv4::HEADER_LEN];
    let us = LINKS[usize::from(link.0)].mac;
    ethernet::emit(&mut frame, us, neighbour_mac(source), EtherType::IPV4);
    let header = ipv4::Emit {
        source,
        destination,
        protocol,
        ttl,
        tos: 0,
        identification: 0x4d4d,
        dont_fragment: with.d & 1 == 0,
        payload_len: l4.len() as u16,
    };
    header.emit(&mut frame[HEADER_LEN..]);
    frame.extend(l4);
    frame
}

/// The ports of a flow as it leaves its own side: the inside one first on the inside.
fn ports(link: InterfaceId, with: Arguments) -> [[u8; 2]; 2] {
    let remote: u16 = [53, 80, 25, 443][usize::from(with.c & 3)];
    let (from, to) = match link {
        INSIDE => (1000 + u16::from(with.b & 15), remote),
        _ => (remote, 30_000 + u16::from(with.b & 3)),
    };
    [from.to_be_bytes(), to.to_be_bytes()]
}

fn udp(link: InterfaceId, with: Arguments, payload: &[u8]) -> Vec<u8> {
    let [from, to] = ports(link, with);
    let len = (8 + payload.len() as u16).to_be_bytes();
    [&from, &to, &len, &[0; 2], payload].concat()
}

fn tcp(link: InterfaceId, with: Arguments, payload: &[u8]) -> Vec<u8> {
    let [from, to] = ports(link, with);
    let numbers = [0x51; 8];
    let (header_len, flags) = (0x50, with.c >> 2);
    [&from, &to, &numbers[..], &[header_len, flags, 0x71, 0x71, 0, 0, 0, 0], payload].concat()
}

/// A piece of 16 bytes, and which one it is.
fn piece(link: InterfaceId, with: Arguments) -> (u8, Vec<u8>) {
    match with.c >> 2 & 3 {
        0 => (0, udp(link, with, &[PAYLOAD; 8])),
        place => (place, vec![PAYLOAD; 16]),
    }
}

/// The packet with four bytes of options: a route recorded, a time, a route chosen, an alert.
fn with_option(mut frame: Vec<u8>, choice: u8) -> Vec<u8> {
    let kind = [7, 68, 131, 148][usize::from(choice & 3)];
    frame.splice(34..34, [kind, 4, 4, 0]);
    frame[14] = 0x46;
    frame[17] += 4;
    frame
}

fn ping(with: Arguments, payload: &[u8]) -> Vec<u8> {
    [&[icmpv4::ECHO_REQUEST, 0, 0, 0, 3, with.b & 15, 1, 1], payload].concat()
}

fn ping_us(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let ours = [OWN[0], OWN[1], POOL[0], POOL[1]][usize::from(with.c & 3)];
    let mut frame = ip(link, with, Protocol::ICMP, &ping(with, b"abc"));
    frame[30..34].copy_from_slice(&ours.octets());
    frame
}

/// The answer to what left by the link: ends exchanged, a ping become its reply.
fn answer(link: InterfaceId, with: Arguments, memory: &Memory) -> Option<Vec<u8>> {
    let left = nth(&memory.left, link, with.a)?;
    let asked = Ipv4::parse(&left[HEADER_LEN..]).ok()?;
    let ends = (asked.destination(), asked.source());
    let mut l4 = asked.payload().to_vec();
    match asked.protocol() {
        Protocol::ICMP => l4[0] = if l4[0] == icmpv4::ECHO_REQUEST { 0 } else { l4[0] },
        Protocol::UDP => l4[..4].rotate_left(2),
        Protocol::TCP => {
            l4[..4].rotate_left(2);
            l4[13] = with.c >> 2;
        }
        _ => {}
    }
    Some(between(link, with, ends, asked.protocol(), &l4))
}

/// An error about what left by the link, from its other end or, by `b`, from somebody else. Of its
/// length, told by bits 6 and 7 of `d`, nobody speaks who is honest; the quote is that of an error if
/// bits 3 and 4 of `c` are set.
fn error(link: InterfaceId, with: Arguments, memory: &Memory) -> Option<Vec<u8>> {
    let left = nth(&memory.left, link, with.a)?;
    let quote = &left[HEADER_LEN..left.len().min(HEADER_LEN + 28 + usize::from(with.d & 63))];
    let quoted = Ipv4::parse(&left[HEADER_LEN..]).ok()?;
    let source = match (with.b & 3, link) {
        (0, _) => quoted.destination(),
        (1, INSIDE) => Ipv4Addr::new(10, 0, 0, 9),
        (2, _) => Ipv4Addr::new(10, 0, 0, 3),
        _ => Ipv4Addr::new(198, 51, 100, 99),
    };
    let (kind, code) = [(3, 3), (3, 4), (11, 0), (12, 0), (4, 0), (5, 1), (3, 1), (13, 0)]
        [usize::from(with.c & 7)];
    let mtu = [1300, 0, 67, 40][usize::from(with.d >> 6)];
    let [high, low] = u16::to_be_bytes(mtu);
    let l4 = [&[kind, code, 0, 0, 0, 0, high, low], quote].concat();
    if with.c & 0x18 == 0x18 {
        return Some(about_error(link, with, &left, &l4));
    }
    Some(between(link, with, (source, quoted.source()), Protocol::ICMP, &l4))
}

/// An error about an error, which is `l4` and is from whom `left` is from.
fn about_error(link: InterfaceId, with: Arguments, left: &[u8], l4: &[u8]) -> Vec<u8> {
    let mut quoted = left[HEADER_LEN..HEADER_LEN + ipv4::HEADER_LEN].to_vec();
    let (source, destination) = (Ipv4Addr::from([198, 51, 100, 99]), &quoted[12..16]);
    let to = Ipv4Addr::from(<[u8; 4]>::try_from(destination).expect("four bytes"));
    quoted[9] = Protocol::ICMP.0;
    quoted[0] = 0x45;
    quoted[2..4].copy_from_slice(&(20 + l4.len() as u16).to_be_bytes());
    let header = ipv4::Header::mut_at_front(&mut quoted).expect("the header is there");
    header.set_checksum(0);
    let sum = !checksum::sum(&quoted);
    quoted[10..12].copy_from_slice(&sum.to_be_bytes());
    let l4 = [&[3, 1, 0, 0, 0, 0, 0, 0], &quoted[..], &l4[..8]].concat();
    between(link, with, (source, to), Protocol::ICMP, &l4)
}

/// One of the frames of a link, the last being number 0.
fn nth(frames: &[VecDeque<Vec<u8>>; 2], link: InterfaceId, n: u8) -> Option<Vec<u8>> {
    let frames = &frames[usize::from(link.0)];
    frames.get(usize::from(n).checked_rem(frames.len())?).cloned()
}

/// Overwrites a byte, or cuts or lengthens the frame.
fn overwrite(frame: &mut Vec<u8>, input: &mut Input<'_>) {
    let (at, to) = (input.word(), input.byte());
    let place = usize::from(at & 0x7fff);
    if at & 0x8000 != 0 {
        frame.resize(place % (frame.len() + 9), to);
    } else if let Some(place) = place.checked_rem(frame.len()) {
        frame[place] = to;
    }
}

/// Makes an inside address another one where translation does not look. True when a frame from
/// outside has one where it would look.
fn wash(link: InterfaceId, frame: &mut [u8]) -> bool {
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    if (byte(12), byte(13)) == (0x86, 0xdd) {
        return v6::wash(link, frame);
    }
    let source_mac = 8;
    let places: &[usize] = match (byte(12), byte(13), byte(23), byte(34)) {
        (8, 6, ..) => &[source_mac, 24, 28, 38],
        (8, 0, 1, 3 | 4 | 5 | 11 | 12) => &[source_mac, 26, 30, 58],
        (8, 0, ..) => &[source_mac, 26, 30],
        _ => &[source_mac],
    };
    let mut forged = false;
    for at in 0..frame.len().saturating_sub(3) {
        if frame[at..at + 3] == INSIDE_PREFIX {
            match places.contains(&at) {
                true => forged |= link == OUTSIDE,
                false => frame[at] = PAYLOAD,
            }
        }
    }
    forged
}

/// Makes the checksums right, as far as there are whole headers.
fn fill_checksums(frame: &mut [u8]) {
    let Ok(frame) = Ethernet::parse(frame) else { return };
    match frame.ether_type() {
        EtherType::IPV4 => fill_v4(frame.into_payload()),
        EtherType::IPV6 => v6::fill(frame.into_payload()),
        _ => {}
    }
}

fn fill_v4(packet: &mut [u8]) {
    let Some(pseudo) = pseudo(packet) else { return };
    let Ok(mut ip) = Ipv4::parse(packet) else { return };
    ip.fill_checksum();
    let protocol = ip.protocol();
    let l4 = ip.payload_mut();
    match protocol {
        Protocol::TCP => {
            if let Ok(mut tcp) = Tcp::parse(l4) {
                tcp.fill_checksum(pseudo);
            }
        }
        Protocol::UDP => {
            if let Ok(mut udp) = Udp::parse(l4) {
                udp.fill_checksum(pseudo);
            }
        }
        Protocol::ICMP => {
            if let Ok(mut icmp) = Icmpv4::parse(l4) {
                icmp.fill_checksum();
            }
        }
        _ => {}
    }
}

/// Metadata of a kind, and the partial checksum in the frame that it speaks of.
fn offload(frame: &mut [u8], kind: u8, size: u8) -> Offload {
    let header = frame.get(14).map_or(20, |first| u16::from(first & 15) * 4);
    let is_tcp = frame.get(23) == Some(&Protocol::TCP.0);
    let offset = if is_tcp { 16 } else { 6 };
    let (gso, l4_header) = if is_tcp { (GsoKind::TcpV4, 20) } else { (GsoKind::UdpL4, 8) };
    let (start, size) = (14 + header, 600 + 8 * u16::from(size));
    let plain = Offload::partial_checksum(start, offset);
    let pseudo = frame.get(HEADER_LEN..).and_then(pseudo);
    let at = usize::from(start + offset);
    if let (Some(field), Some(pseudo)) = (frame.get_mut(at..at + 2), pseudo) {
        field.copy_from_slice(&pseudo.to_be_bytes());
    }
    match kind {
        0 => plain,
        1 => plain.with_gso(gso, size, start + l4_header),
        2 => Offload::partial_checksum(start + 50, offset),
        _ => Offload::NONE.with_gso(gso, size, start + l4_header),
    }
}

/// The sum of the pseudo-header of an IPv4 packet.
fn pseudo(packet: &[u8]) -> Option<u16> {
    let ip = Ipv4::parse(packet).ok()?;
    let len = ip.payload().len() as u16;
    Some(checksum::pseudo_v4(ip.source(), ip.destination(), ip.protocol(), len))
}

/// Of every address inside; the hosts are the last byte.
pub(crate) const INSIDE_PREFIX: [u8; 3] = [10, 0, 0];
pub(crate) const INSIDE_HOSTS: RangeInclusive<u8> = 1..=15;
/// Our own addresses, by link.
const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1)];
/// Neither ends in what an inside address begins with: the type of an echo reply follows it.
const POOL: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 16), Ipv4Addr::new(203, 0, 113, 17)];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MARTIANS: [[u8; 4]; 4] = [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]];
/// Anything but what an address inside begins with.
const PAYLOAD: u8 = 0x55;
/// Nobody's.
const MOVED: u8 = 0x80;
const ANYBODY: Mac = Mac::BROADCAST;
