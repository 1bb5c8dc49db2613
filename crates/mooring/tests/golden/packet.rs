//! Packets from words, built by etherparse.

use std::net::{IpAddr, SocketAddr};
use std::vec::IntoIter;

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    PacketBuilder, PacketBuilderStep,
};

/// The words of a line; a text in quotation marks is one.
pub(crate) struct Words {
    words: IntoIter<String>,
    line: String,
}

impl Words {
    pub(crate) fn new(line: &str) -> Self {
        let mut parts = line.splitn(3, '"');
        let split = |part: &str| part.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut words = split(parts.next().unwrap_or_default());
        if let Some(text) = parts.next() {
            words.extend(["text".to_owned(), text.to_owned()]);
        }
        words.extend(split(parts.next().unwrap_or_default()));
        Self { words: words.into_iter(), line: line.to_owned() }
    }

    pub(crate) fn next(&mut self) -> &'static str {
        self.words.next().unwrap_or_else(|| panic!("a word is missing: {}", self.line)).leak()
    }

    pub(crate) fn rest(self) -> impl Iterator<Item = String> {
        self.words
    }

    fn number<N: std::str::FromStr>(&mut self) -> N {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("`{word}` is no number: {}", self.line))
    }
}

/// What follows the ends of a packet.
#[derive(Default)]
struct Options {
    payload: Vec<u8>,
    ttl: Option<u8>,
    dont_fragment: bool,
    identifier: u16,
    quote: Option<usize>,
    mtu: u16,
    cut: Option<usize>,
    set: Vec<(usize, Vec<u8>)>,
    piece: Option<usize>,
    reversed: bool,
}

/// The frames of a line, each with how much of it is captured. `last` left by this interface last.
pub(crate) fn build(mut words: Words, last: Option<&[u8]>) -> Vec<(Vec<u8>, usize)> {
    let kind = words.next();
    if kind == "hex" {
        let frame = hex(&words.rest().collect::<String>());
        return vec![(frame.clone(), frame.len())];
    }
    let flags = if matches!(kind, "tcp" | "error") { words.next() } else { "" };
    let identifier = last.map_or(0, source_of);
    let [source, _, destination] = [(); 3].map(|()| end(words.next(), identifier));
    let (source, destination) = (source.expect("a source"), destination.expect("a destination"));
    let options = Options::read(words, identifier);
    let mut frame = match kind {
        "arp" => arp(source.ip(), destination.ip()),
        _ => packet(kind, flags, (source, destination), &options, last),
    };
    for (at, bytes) in &options.set {
        frame[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    let mut frames = match options.piece {
        Some(size) => pieces(&frame, size),
        None => vec![frame],
    };
    if options.reversed {
        frames.reverse();
    }
    let captured = |frame: &Vec<u8>| options.cut.map_or(frame.len(), |cut| cut.min(frame.len()));
    frames.into_iter().map(|frame| (frame.clone(), captured(&frame))).collect()
}

impl Options {
    fn read(mut words: Words, identifier: u16) -> Self {
        let mut options = Self::default();
        while !words.words.as_slice().is_empty() {
            match words.next() {
                "text" => options.payload = words.next().into(),
                "size" => options.payload = vec![b'x'; words.number()],
                "ttl" => options.ttl = Some(words.number()),
                "df" => options.dont_fragment = true,
                "id" if words.words.as_slice()[0] == "?" => {
                    words.next();
                    options.identifier = identifier;
                }
                "id" => options.identifier = words.number(),
                "quote" => options.quote = Some(words.number()),
                "mtu" => options.mtu = words.number(),
                "cut" => options.cut = Some(words.number()),
                "fragments" => options.piece = Some(words.number()),
                "reversed" => options.reversed = true,
                "set" => {
                    let (at, bytes) = words.next().split_once('=').expect("AT=HEX");
                    options.set.push((at.parse().expect("a place"), hex(bytes)));
                }
                other => panic!("`{other}` is unknown: {}", words.line),
            }
        }
        options
    }
}

/// An end with or without a port; `None` for the arrow between two.
fn end(word: &str, unknown: u16) -> Option<SocketAddr> {
    let word = word.replace('?', &unknown.to_string());
    let bare = || word.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    word.parse().ok().or_else(bare)
}

fn packet(
    kind: &str,
    flags: &str,
    (source, destination): (SocketAddr, SocketAddr),
    options: &Options,
    last: Option<&[u8]>,
) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ip(source.ip(), destination.ip(), options);
    let payload = &options.payload;
    let (from, to) = (source.port(), destination.port());
    let echo = |v4: u8, v6: u8| if source.is_ipv4() { v4 } else { v6 };
    let [high, low] = options.identifier.to_be_bytes();
    let written = match kind {
        "udp" => ip.udp(from, to).write(&mut frame, payload),
        "tcp" => {
            let tcp = flags.chars().fold(ip.tcp(from, to, 1_000, 64_000), |tcp, flag| match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(2_000),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                other => panic!("no flag is called {other}"),
            });
            tcp.write(&mut frame, payload)
        }
        "ping" => icmp(ip, &source, (echo(8, 128), 0), [high, low, 0, 1], payload, &mut frame),
        "pong" => icmp(ip, &source, (echo(0, 129), 0), [high, low, 0, 1], payload, &mut frame),
        "error" => {
            let (kind, code) = flags.split_once('/').expect("TYPE/CODE");
            let kind = (kind.parse().expect("a type"), code.parse().expect("a code"));
            let quoted = &last.expect("something left by this interface before")[14..];
            let shown = options.quote.unwrap_or(quoted.len()).min(quoted.len());
            let [high, low] = options.mtu.to_be_bytes();
            icmp(ip, &source, kind, [0, 0, high, low], &quoted[..shown], &mut frame)
        }
        other => panic!("no packet is called {other}"),
    };
    written.expect("a vector takes all");
    frame
}

fn icmp(
    ip: PacketBuilderStep<IpHeaders>,
    source: &SocketAddr,
    (kind, code): (u8, u8),
    rest: [u8; 4],
    payload: &[u8],
    frame: &mut Vec<u8>,
) -> Result<(), etherparse::err::packet::BuildWriteError> {
    match source {
        SocketAddr::V4(_) => ip.icmpv4_raw(kind, code, rest).write(frame, payload),
        SocketAddr::V6(_) => ip.icmpv6_raw(kind, code, rest).write(frame, payload),
    }
}

fn ip(source: IpAddr, destination: IpAddr, options: &Options) -> PacketBuilderStep<IpHeaders> {
    let ttl = options.ttl.unwrap_or(64);
    let headers = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            let header = Ipv4Header::new(0, ttl, IpNumber::UDP, source, destination);
            let mut header = header.expect("a header without payload is not too long");
            header.dont_fragment = options.dont_fragment;
            header.identification = 0x1234;
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber::UDP,
                hop_limit: ttl,
                source: source.octets(),
                destination: destination.octets(),
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => panic!("both ends are of one family"),
    };
    PacketBuilder::ethernet2(HOST, SOMEBODY).ip(headers)
}

fn arp(source: IpAddr, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (source, target) else {
        panic!("ARP is for IPv4")
    };
    let question = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: HOST,
        sender_ipv4: source.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(HOST, [0xff; 6]).arp(question.into());
    builder.write(&mut frame).expect("a vector takes all");
    frame
}

/// An IPv4 packet cut into pieces of `size` bytes of payload.
fn pieces(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (ethernet, packet) = frame.split_at(14);
    let (header, payload) = Ipv4Header::from_slice(packet).expect("IPv4");
    let count = payload.len().div_ceil(size);
    let piece = |(at, part): (usize, &[u8])| {
        let mut header = header.clone();
        header.more_fragments = at + 1 < count;
        header.fragment_offset = u16::try_from(at * size / 8)
            .ok()
            .and_then(|offset| offset.try_into().ok())
            .expect("13 bits");
        header.set_payload_len(part.len()).expect("16 bits");
        header.header_checksum = header.calc_header_checksum();
        let mut frame = ethernet.to_vec();
        header.write(&mut frame).expect("a vector takes all");
        frame.extend(part);
        frame
    };
    payload.chunks(size).enumerate().map(piece).collect()
}

/// The source port of a frame, or its ICMP identifier.
fn source_of(frame: &[u8]) -> u16 {
    let packet = &frame[14..];
    let (protocol, l4) = match packet[0] >> 4 {
        4 => (packet[9], &packet[usize::from(packet[0] & 15) * 4..]),
        _ => (packet[6], &packet[40..]),
    };
    let at = if matches!(protocol, 1 | 58) { 4 } else { 0 };
    u16::from_be_bytes([l4[at], l4[at + 1]])
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().map(|digit| char::from(digit).to_digit(16)).collect();
    let byte = |pair: &[Option<u32>]| match pair {
        [Some(high), Some(low)] => (high << 4 | low) as u8,
        _ => panic!("no hexadecimal bytes: {text}"),
    };
    digits.chunks(2).map(byte).collect()
}

/// Whoever sends.
const HOST: [u8; 6] = [0x02, 0xaa, 0, 0, 0, 0x0a];

/// Not us: a replay takes every frame.
const SOMEBODY: [u8; 6] = [0x02, 0xbb, 0, 0, 0, 0x0b];
