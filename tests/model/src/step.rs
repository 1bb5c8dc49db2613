//! What can happen, as plain data, and how it is drawn at random.

use std::net::IpAddr;

use crate::large::Large;
use crate::model::Numbers;
use crate::packet::{ACK, Body, FIN, GRE, Packet, RST, SYN, Sum, TCP, UDP, icmp_of};
use crate::random::Random;
use crate::spec::{Side, ip};
use crate::tracking::Way;

/// What happens, and to which worker a packet comes first.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) worker: usize,
    pub(crate) what: What,
    /// The engines are polled afterwards.
    pub(crate) polled: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A packet as it is.
    Send(Side, Packet),
    /// A packet of a session that there is, by its number, or one much like it.
    Along {
        session: usize,
        way: Way,
        twist: Twist,
        flags: u8,
        ttl: u8,
        sum: Sum,
        extra: u8,
        numbers: Numbers,
    },
    /// An ICMP error about a packet of a session.
    Error {
        session: usize,
        way: Way,
        twist: Twist,
        from: Side,
        source: IpAddr,
        kind: (u8, u8),
        cut: bool,
    },
    /// From a host inside to the outside end of a session.
    Hairpin { host: IpAddr, port: u16, session: usize, flags: u8 },
    /// A frame that is no packet.
    Flawed(Side, Packet, Flaw),
    /// Milliseconds pass.
    Wait(u64),
    /// Another configuration, by its number.
    Reload(usize),
    /// A datagram that comes in pieces: of a session, if there is one, or this one.
    Pieces { session: usize, way: Way, else_of: Packet, cut: Cut },
    /// Packets that come in one batch, each so many times.
    Together(Vec<Self>, usize),
    /// Among these: the hosts of two sessions send to each other's outside ends.
    Both { sessions: (usize, usize), flags: u8 },
    /// A super-packet, or one that may have to be cut.
    Large(Large),
    /// Several packets at once, more than the appliance answers.
    Flood(Side, Packet, usize),
}

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    Nothing,
    SourcePort(u16),
    Source(IpAddr),
    DestinationPort(u16),
    Protocol(u8),
    /// It comes in on the other side.
    Side,
    /// Of an error: the quote has so many bytes of its transport header, is of an error, of no query, or the MTU is this one.
    CutShort(u8),
    AboutError,
    AboutNothing,
    Mtu(u16),
}

/// How a datagram is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Bytes of payload, and of each piece in units of eight.
    pub(crate) len: usize,
    pub(crate) units: usize,
    /// They come in the order that follows from this; 0: as they were cut.
    pub(crate) order: u64,
    /// They come to workers so far from each other.
    pub(crate) spread: usize,
    pub(crate) wrong: Wrong,
}

/// What is wrong about the pieces of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// One comes again.
    Twice,
    /// After the second one, one that carries half of its bytes.
    Overlap,
    /// The first one never comes.
    Headless,
    /// It is of TCP, and not all of the header is in the first one (RFC 1858 §3).
    Tiny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// To another link address.
    Mac,
    HeaderSum,
    /// The header says more bytes than there are.
    Length,
    /// A record-route option.
    Option,
    /// A super-packet of a protocol that cannot be one.
    Offload,
}

/// What packets are made of: few of each, so that they collide.
#[derive(Clone, Debug)]
pub(crate) struct Universe {
    pub(crate) hosts: Vec<IpAddr>,
    pub(crate) ports: Vec<u16>,
    pub(crate) remotes: Vec<IpAddr>,
    pub(crate) remote_ports: Vec<u16>,
    /// Outside addresses and ports that somebody may send to unasked.
    pub(crate) targets: Vec<IpAddr>,
    pub(crate) target_ports: Vec<u16>,
    /// Longest wait in milliseconds, mostly.
    pub(crate) wait: usize,
    pub(crate) specs: usize,
    /// Of a thousand steps, how many are hairpins.
    pub(crate) hairpins: usize,
    /// Of a thousand steps, how many are reloads.
    pub(crate) reloads: usize,
    /// Of a thousand steps, how many are datagrams in pieces.
    pub(crate) pieces: usize,
    /// Of a thousand steps, how many are batches of several packets.
    pub(crate) batches: usize,
    /// Of a thousand steps, how many are packets that are longer than others.
    pub(crate) large: usize,
}

impl Universe {
    pub(crate) fn draw(&self, random: &mut Random) -> Step {
        let in_pieces = self.pieces > 0 && random.below(1000) < self.pieces;
        let what = match random.below(1000) {
            _ if in_pieces => self.pieces(random),
            _ if self.large > 0 && random.below(1000) < self.large => self.large(random),
            _ if self.batches > 0 && random.below(1000) < self.batches => self.batch(random),
            n if n < self.reloads => What::Reload(random.below(self.specs)),
            n if n < 50 => What::Wait(self.wait(random)),
            n if n < 50 + self.hairpins => self.hairpin(random),
            n if n < 450 => self.outward(random),
            n if n < 850 => self.along(random),
            n if n < 910 => self.inward(random),
            n if n < 970 => self.error(random),
            n if n < 985 => self.strange(random),
            _ => self.flawed(random),
        };
        Step { worker: random.below(6), what, polled: random.once_in(2) }
    }

    fn wait(&self, random: &mut Random) -> u64 {
        match random.below(20) {
            0 => random.below(self.wait * 40) as u64,
            _ => random.below(self.wait) as u64,
        }
    }

    /// From a host to a remote.
    fn outward(&self, random: &mut Random) -> What {
        let host = random.of(&self.hosts);
        let remote = self.alike(random, &self.remotes, host);
        let ports = (random.of(&self.ports), random.of(&self.remote_ports));
        What::Send(Side::Inside, self.packet(random, (host, remote), ports))
    }

    /// From a remote to an address of ours.
    fn inward(&self, random: &mut Random) -> What {
        let remote = random.of(&self.remotes);
        let target = self.alike(random, &self.targets, remote);
        let ports = (random.of(&self.remote_ports), random.of(&self.target_ports));
        let from = if random.once_in(6) { Side::Inside } else { Side::Outside };
        let source =
            if from == Side::Inside { self.alike(random, &self.hosts, target) } else { remote };
        What::Send(from, self.packet(random, (source, target), ports))
    }

    /// A packet that may begin something.
    fn packet(
        &self,
        random: &mut Random,
        (source, destination): (IpAddr, IpAddr),
        ports: (u16, u16),
    ) -> Packet {
        let len = if random.once_in(30) { 1350 + random.below(40) } else { random.below(4) };
        let payload = vec![random.below(256) as u8; len];
        let body = match random.below(20) {
            0..8 => Body::Udp { ports, payload },
            8..15 => {
                let flags = if random.once_in(8) { flags(random) } else { SYN };
                Body::Tcp { ports, seq: 1, ack: 0, flags, window: 1000, payload: Vec::new() }
            }
            15..19 => Body::Echo { reply: random.once_in(8), identifier: ports.0, payload },
            _ => Body::Other { protocol: GRE, payload },
        };
        let mut packet = Packet::new(source, destination, body);
        packet.ttl = ttl(random);
        packet.sum = sum(random, &packet);
        packet.identification = if source.is_ipv4() { random.below(4) as u16 } else { 0 };
        packet
    }

    fn along(&self, random: &mut Random) -> What {
        let way = if random.once_in(3) { Way::Forward } else { Way::Reverse };
        let twist = match random.below(40) {
            0 => Twist::SourcePort(random.of(&self.remote_ports)),
            1 => Twist::Source(random.of(&self.remotes)),
            2 => Twist::DestinationPort(random.of(&self.target_ports)),
            3 => Twist::Protocol(random.of(&[TCP, UDP, GRE])),
            4 => Twist::Side,
            _ => Twist::Nothing,
        };
        let (flags, ttl) = (flags(random), ttl(random));
        let sum = if random.once_in(30) {
            Sum::Wrong(1 + random.below(0xfff0) as u16)
        } else {
            Sum::Right
        };
        What::Along {
            session: random.below(1 << 20),
            way,
            twist,
            flags,
            ttl,
            sum,
            extra: random.below(3) as u8,
            numbers: random.of(&[Numbers::Right, Numbers::Right, Numbers::Beside, Numbers::Blind]),
        }
    }

    fn error(&self, random: &mut Random) -> What {
        let way = if random.once_in(3) { Way::Reverse } else { Way::Forward };
        let twist = match random.below(14) {
            0 => Twist::SourcePort(random.of(&self.target_ports)),
            1 => Twist::Side,
            2 => Twist::CutShort(random.of(&[0, 3, 4, 5, 6, 7])),
            3 => Twist::Protocol(GRE),
            4 => Twist::AboutError,
            5 => Twist::AboutNothing,
            6 => Twist::Mtu(random.of(&[0, 1, 67, 68, 1279, 1280])),
            _ => Twist::Nothing,
        };
        // It comes from where the packet went.
        let from = if way == Way::Forward { Side::Outside } else { Side::Inside };
        let routers = if from == Side::Outside { &self.remotes } else { &self.hosts };
        let kind = random.of(&[(3, 1), (3, 3), (11, 0), (3, 4), (12, 0)]);
        What::Error {
            session: random.below(1 << 20),
            way,
            twist,
            from,
            source: random.of(routers),
            kind,
            cut: random.once_in(2),
        }
    }

    fn hairpin(&self, random: &mut Random) -> What {
        let (host, port) = (random.of(&self.hosts), random.of(&self.ports));
        let flags = if random.once_in(3) { flags(random) } else { SYN };
        What::Hairpin { host, port, session: random.below(1 << 20), flags }
    }

    fn pieces(&self, random: &mut Random) -> What {
        let host = random.of(&self.hosts);
        let remote = self.alike(random, &self.remotes, host);
        let ports = (random.of(&self.ports), random.of(&self.remote_ports));
        let body = Body::Udp { ports, payload: Vec::new() };
        let wrong = match random.below(12) {
            0 | 1 => Wrong::Twice,
            2 | 3 => Wrong::Overlap,
            4 => Wrong::Headless,
            5 => Wrong::Tiny,
            _ => Wrong::Nothing,
        };
        let cut = Cut {
            len: 40 + random.below(30),
            units: 1 + random.below(2),
            order: random.below(5) as u64,
            spread: random.below(3),
            wrong,
        };
        let way = if random.once_in(2) { Way::Forward } else { Way::Reverse };
        let else_of = Packet::new(host, remote, body);
        What::Pieces { session: random.below(1 << 20), way, else_of, cut }
    }

    /// About as long as the links carry, or much longer.
    fn large(&self, random: &mut Random) -> What {
        let host = random.of(&self.hosts);
        let remote = self.alike(random, &self.remotes, host);
        let ports = (random.of(&self.ports), random.of(&self.remote_ports));
        let else_of = Packet::new(host, remote, Body::Udp { ports, payload: Vec::new() });
        What::Large(Large {
            session: random.below(1 << 20),
            way: if random.once_in(3) { Way::Reverse } else { Way::Forward },
            else_of,
            size: random.of(&[300, 1_340, 1_360, 1_372, 1_379, 1_400, 1_460, 1_472, 2_900]),
            count: 1 + random.below(4),
            whole: random.once_in(3),
            single: random.once_in(3),
        })
    }

    /// The same new flow twice and thrice, both directions of a hairpin, or whatever comes.
    fn batch(&self, random: &mut Random) -> What {
        let (first, second) = (random.below(1 << 20), random.below(1 << 20));
        let flags = if random.once_in(4) { flags(random) } else { SYN };
        let both = What::Both { sessions: (first, second), flags };
        match random.below(4) {
            0 => What::Together(vec![self.outward(random)], 2 + random.below(2)),
            1 => What::Together(vec![both], 1 + random.below(2)),
            2 => {
                let all = [self.hairpin(random), self.outward(random), both, self.along(random)];
                What::Together(all.to_vec(), 1 + random.below(2))
            }
            _ => {
                let any = |random: &mut Random| match random.below(4) {
                    0 => self.outward(random),
                    1 => self.hairpin(random),
                    _ => self.along(random),
                };
                let all = (0..2 + random.below(7)).map(|_| any(random)).collect();
                What::Together(all, 1)
            }
        }
    }

    /// Addresses that should not be.
    fn strange(&self, random: &mut Random) -> What {
        let strangers = [
            "127.0.0.1",
            "224.0.0.5",
            "255.255.255.255",
            "8.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "192.0.2.1",
        ];
        let v6 = ["::1", "ff02::5", "fe80::9", "2001:db8:9::9", "fd00:10::1", "2001:db8:1::1"];
        let (from, mut source) = match random.once_in(2) {
            true => (Side::Inside, random.of(&self.hosts)),
            false => (Side::Outside, random.of(&self.remotes)),
        };
        let stranger = ip(if source.is_ipv4() { random.of(&strangers) } else { random.of(&v6) });
        let mut destination = self.alike(random, &self.remotes, source);
        match random.below(4) {
            0 => source = stranger,
            1 => source = self.alike(random, &self.hosts, source),
            2 => source = self.alike(random, &self.targets, source),
            _ if source.is_ipv4() && random.once_in(2) => destination = ip(KERNEL),
            _ => destination = stranger,
        }
        let ports = (random.of(&self.ports), random.of(&self.remote_ports));
        What::Send(from, self.packet(random, (source, destination), ports))
    }

    fn flawed(&self, random: &mut Random) -> What {
        let (host, remote) = (random.of(&self.hosts), random.of(&self.remotes));
        let remote = self.alike(random, &[remote], host);
        let packet = self.packet(random, (host, remote), (1, 2));
        match random.below(30) {
            0 => {
                let target = random.of(&self.targets);
                let source = self.alike(random, &self.remotes, target);
                let body = Body::Echo { reply: false, identifier: 1, payload: Vec::new() };
                What::Flood(Side::Outside, Packet::new(source, target, body), 1_010)
            }
            n => {
                let all = [Flaw::Mac, Flaw::HeaderSum, Flaw::Length, Flaw::Option, Flaw::Offload];
                What::Flawed(Side::Inside, packet, all[n % 5])
            }
        }
    }

    /// One of a list, of the family of another.
    fn alike(&self, random: &mut Random, all: &[IpAddr], other: IpAddr) -> IpAddr {
        for _ in 0..20 {
            let one = random.of(all);
            if one.is_ipv4() == other.is_ipv4() {
                return one;
            }
        }
        let lists = [&self.hosts, &self.remotes, &self.targets];
        let same = |one: &&IpAddr| one.is_ipv4() == other.is_ipv4();
        lists.into_iter().flatten().find(same).copied().unwrap_or(other)
    }
}

fn flags(random: &mut Random) -> u8 {
    random.of(&[ACK, ACK, ACK, SYN | ACK, SYN | ACK, SYN, FIN | ACK, RST, RST | ACK, 0])
}

fn ttl(random: &mut Random) -> u8 {
    if random.once_in(40) { random.below(3) as u8 } else { 64 }
}

fn sum(random: &mut Random, packet: &Packet) -> Sum {
    match (random.below(40), &packet.body) {
        (_, Body::Other { .. }) => Sum::Right,
        (0, _) => Sum::Wrong(1 + random.below(0xfff0) as u16),
        (1, Body::Udp { .. }) if packet.source.is_ipv4() => Sum::Absent,
        _ => Sum::Right,
    }
}

/// An address that the kernel beside the appliance answers for.
pub(crate) const KERNEL: &str = "192.0.2.9";

/// The body of a packet of a flow, as its protocol has it.
pub(crate) fn body_of(
    protocol: u8,
    (way, asks): (Way, Way),
    source: IpAddr,
    (flags, extra): (u8, u8),
) -> Body {
    let payload = vec![extra; usize::from(extra)];
    match protocol {
        TCP => Body::Tcp { ports: (0, 0), seq: 7, ack: 9, flags, window: 500, payload },
        UDP => Body::Udp { ports: (0, 0), payload },
        _ if protocol == icmp_of(source) => {
            Body::Echo { reply: way != asks, identifier: 0, payload }
        }
        _ => Body::Other { protocol, payload },
    }
}
