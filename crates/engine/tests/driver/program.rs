//! Writes programs, for the seeds of the fuzzer.

/// What a frame begins as, before it is damaged. Its four bytes `a` to `d` mean, where the template
/// uses them: `a` the hosts (bits 0 to 2 inside, bits 4 to 6 remote, forged when bits 3 and 7 are
/// set); `b` the source
/// port or what is chosen of it (bits 0 to 3) and the TTL (bits 4 to 7, see `frames`); `c` the
/// destination port (bits 0 to 1) and the flags of TCP (bits 2 to 7); `d` the length of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Template {
    /// A datagram: inside of a flow to a remote host, outside of one to the pool.
    Udp,
    /// A segment, as for a datagram.
    Tcp,
    /// An echo request, as for a datagram.
    Ping,
    /// The answer to a packet that left by this link: the one before the last `a` ones.
    Answer,
    /// An ICMP error about such a packet.
    Error,
    /// A frame that was given on this link before, once more: the one before the last `a` ones.
    Again,
    /// A question of ARP, `b` whose, for what `c` says.
    ArpQuestion,
    /// The answer to our last question of ARP on this link.
    ArpAnswer,
    /// Neighbor discovery: a solicitation for an address of ours, or an advertisement of one.
    Ndp,
    /// An echo request to an address of ours.
    PingUs,
    /// The same by IPv6.
    PingUsV6,
    /// A protocol without ports, or when bit 2 of `c` is set a datagram with an option, chosen by `d`.
    Other,
    /// A piece of a datagram, of 16 bytes: its place by bits 2 and 3 of `c`, the last one if bit 4 is set;
    /// bits 5 to 7 are of its identification. A tiny one of TCP if both highest bits of `d` are set.
    Piece,
    /// A long segment: 16 times `d` bytes and more.
    Long,
    /// A packet that no link should carry: a martian.
    Martian,
    /// `d` bytes of the program as they are, to our MAC unless bit 0 of `a` is set.
    Raw,
    /// As [`Self::Udp`], of IPv6.
    UdpV6,
    /// As [`Self::Tcp`], of IPv6.
    TcpV6,
    /// As [`Self::Ping`], of IPv6.
    PingV6,
    /// As [`Self::Answer`], of IPv6.
    AnswerV6,
    /// As [`Self::Error`], of IPv6.
    ErrorV6,
    /// A segment to a port that is forwarded, or by bits 2 and 3 of `b` to a service.
    Forwarded,
    /// A datagram to an address that is forwarded, or by bit 2 of `b` to a static one.
    Static,
    /// To the outside end of what left outside: the one before the last `a` ones, by host `b`.
    Hairpin,
    /// As [`Self::Piece`], of IPv6.
    PieceV6,
}

impl Template {
    pub(crate) const ALL: [Self; 25] = [
        Self::Udp,
        Self::Tcp,
        Self::Ping,
        Self::Answer,
        Self::Error,
        Self::Again,
        Self::ArpQuestion,
        Self::ArpAnswer,
        Self::Ndp,
        Self::PingUs,
        Self::PingUsV6,
        Self::Other,
        Self::Piece,
        Self::Long,
        Self::Martian,
        Self::Raw,
        Self::UdpV6,
        Self::TcpV6,
        Self::PingV6,
        Self::AnswerV6,
        Self::ErrorV6,
        Self::Forwarded,
        Self::Static,
        Self::Hairpin,
        Self::PieceV6,
    ];
}

/// The bytes of a program, step by step.
#[derive(Default)]
pub(crate) struct Program(Vec<u8>);

impl Program {
    /// A frame from inside.
    pub(crate) fn inside(self, template: Template, arguments: [u8; 4]) -> Self {
        self.frame(0, template, arguments, NO_DAMAGE)
    }

    /// A frame from outside.
    pub(crate) fn outside(self, template: Template, arguments: [u8; 4]) -> Self {
        self.frame(1, template, arguments, NO_DAMAGE)
    }

    /// A frame from inside with offload metadata: kind 0 to 3, see `frames`.
    pub(crate) fn offloaded(self, template: Template, arguments: [u8; 4], kind: u8) -> Self {
        self.frame(0, template, arguments, 0x30 | kind << 2)
    }

    /// A frame from inside with one byte overwritten.
    pub(crate) fn damaged(self, template: Template, arguments: [u8; 4], at: u16, to: u8) -> Self {
        let mut program = self.frame(0, template, arguments, 0xc1);
        program.0.extend(at.to_be_bytes());
        program.0.push(to);
        program
    }

    /// Policy `number` decides from now on.
    pub(crate) fn policy(mut self, number: u8) -> Self {
        self.0.push(number << 3 | 3);
        self
    }

    /// Two workers, from the start, and policy `number`.
    pub(crate) fn two_workers(number: u8) -> Self {
        Self(vec![number << 3 | TWO_WORKERS])
    }

    pub(crate) fn walk(mut self) -> Self {
        self.0.push(2);
        self
    }

    pub(crate) fn poll(mut self) -> Self {
        self.0.push(1);
        self
    }

    pub(crate) fn wait_seconds(mut self, seconds: u16) -> Self {
        self.0.push(0x38);
        self.0.extend(seconds.to_be_bytes());
        self
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn frame(mut self, link: u8, template: Template, arguments: [u8; 4], damage: u8) -> Self {
        let kind = if (template as u8) < 16 { 7 } else { 4 };
        self.0.push((template as u8 & 15) << 4 | link << 3 | kind);
        self.0.extend(arguments);
        self.0.push(damage);
        self
    }
}

/// In the first step.
pub(crate) const TWO_WORKERS: u8 = 0x83;

const NO_DAMAGE: u8 = 0;
