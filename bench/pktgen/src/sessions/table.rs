//! The table of sessions: which end each has on the outside, and whether its answers find their way.

use std::net::IpAddr;

use mooring_wire::Mac;
use mooring_wire::ethernet::{EtherType, Ethernet};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;

use super::What;
use crate::flows::Ends;
use crate::receive::Take;
use crate::stamp::Stamp;
use crate::template::Template;

/// Sessions, numbered from zero; number n is of flow `first + n`.
#[derive(Debug)]
pub(crate) struct Sessions {
    first: u64,
    seen: Vec<Option<Seen>>,
}

/// What was seen of a session on the outside.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Of the answer.
    ends: Ends,
    /// When its packet was sent.
    begun: u64,
}

impl Sessions {
    pub(super) fn new(first: u64, count: u32) -> Self {
        Self { first, seen: vec![None; count as usize] }
    }

    pub(super) fn grow(&mut self, count: u32) {
        self.seen.resize(count as usize, None);
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// All of them.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        (0..self.seen.len() as u32).collect()
    }

    /// Those that were seen on the outside.
    pub(crate) fn arrived(&self) -> u64 {
        self.seen.iter().flatten().count() as u64
    }

    /// When the session was begun, in nanoseconds of the clock; `None` if it was not seen.
    pub(crate) fn begun(&self, number: u32) -> Option<u64> {
        Some(self.seen.get(number as usize)?.as_ref()?.begun)
    }

    pub(super) fn flow(&self, number: u32) -> u64 {
        self.first + u64::from(number)
    }

    /// The ends of its answers.
    pub(super) fn seen(&self, number: u32) -> Option<Ends> {
        Some(self.seen.get(number as usize)?.as_ref()?.ends)
    }
}

/// Fills the table on the outside.
pub(super) struct Arrivals<'s> {
    run: u16,
    what: &'s What,
    sessions: &'s mut Sessions,
    packets: u64,
    hop: Option<Mac>,
}

impl<'s> Arrivals<'s> {
    pub(super) fn new(run: u16, what: &'s What, sessions: &'s mut Sessions) -> Self {
        Self { run, what, sessions, packets: 0, hop: None }
    }

    /// Who sent the last of them on the link.
    pub(super) fn hop(&self) -> Option<Mac> {
        self.hop
    }
}

impl Take for Arrivals<'_> {
    fn take(&mut self, frame: &[u8], _: u64) {
        let Some(stamp) = Stamp::of(frame).filter(|stamp| stamp.run == self.run) else { return };
        let Some(header) = Header::of(frame, self.what.template) else { return };
        let Some(seen) = self.sessions.seen.get_mut(stamp.slot as usize) else { return };
        if !header.is_to(self.what.port, self.what.template) {
            return;
        }
        // A packet that the network doubles is one.
        self.packets += u64::from(seen.is_none());
        self.hop = Some(header.from);
        let Header { source, destination, source_port: port, .. } = header;
        let ends = Ends { source: destination, destination: source, port };
        seen.get_or_insert(Seen { ends, begun: stamp.time });
    }

    fn packets(&self) -> u64 {
        self.packets
    }
}

/// Hears answers on the inside.
pub(super) struct Answers<'s> {
    run: u16,
    what: &'s What,
    sessions: &'s Sessions,
    valid: Vec<bool>,
    wrong: u64,
    packets: u64,
}

impl<'s> Answers<'s> {
    pub(super) fn new(what: &'s What, sessions: &'s Sessions) -> Self {
        Self { run: 0, what, sessions, valid: vec![false; sessions.len()], wrong: 0, packets: 0 }
    }

    /// Another attempt; those that are valid stay so.
    pub(super) fn begin(&mut self, run: u16) {
        (self.run, self.packets) = (run, 0);
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.valid[number as usize]
    }

    pub(super) fn wrong(&self) -> u64 {
        self.wrong
    }
}

impl Take for Answers<'_> {
    fn take(&mut self, frame: &[u8], _: u64) {
        let Some(stamp) = Stamp::of(frame).filter(|stamp| stamp.run == self.run) else { return };
        let Some(header) = Header::of(frame, self.what.template) else { return };
        let Some(valid) = self.valid.get_mut(stamp.slot as usize) else { return };
        self.packets += u64::from(!*valid);
        let began = self.what.addressing.of(self.sessions.flow(stamp.slot));
        let is_back = header.destination == began.source
            && header.source == began.destination
            && header.destination_port == began.port;
        *valid |= is_back;
        self.wrong += u64::from(!is_back);
    }

    fn packets(&self) -> u64 {
        self.packets
    }
}

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    from: Mac,
    source: IpAddr,
    destination: IpAddr,
    /// Of ICMP both are the identifier.
    source_port: u16,
    destination_port: u16,
}

impl Header {
    /// `None` when the packet is of another kind, or has headers that no NAT puts there.
    fn of(frame: &[u8], template: Template) -> Option<Self> {
        let frame = Ethernet::parse(frame).ok()?;
        let from = frame.source();
        let (source, destination, protocol, body): (IpAddr, IpAddr, _, _) = match frame.ether_type()
        {
            EtherType::IPV4 => {
                let ip = Ipv4::parse(frame.into_payload()).ok()?;
                (ip.source().into(), ip.destination().into(), ip.protocol(), ip.into_payload())
            }
            EtherType::IPV6 => {
                let ip = Ipv6::parse(frame.into_payload()).ok()?;
                (ip.source().into(), ip.destination().into(), ip.next_header(), ip.into_payload())
            }
            _ => return None,
        };
        if protocol != template.protocol(source.is_ipv4()) {
            return None;
        }
        let number = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
        let places = if template == Template::Icmp { [4, 4] } else { [0, 2] };
        let [source_port, destination_port] = [number(places[0])?, number(places[1])?];
        Some(Self { from, source, destination, source_port, destination_port })
    }

    fn is_to(&self, port: u16, template: Template) -> bool {
        template == Template::Icmp || self.destination_port == port
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mooring_wire::Mac;

    use super::{Answers, Arrivals, Sessions, What};
    use crate::flows::{Addressing, Ends};
    use crate::receive::Take;
    use crate::stamp::Stamp;
    use crate::template::{Direction, Frames, LinkEnds, Template};

    const INSIDE: LinkEnds = LinkEnds { source: Mac([2, 0, 0, 0, 0, 1]), destination: Mac([2; 6]) };

    /// The hosts, and what a NAT puts in the place of the first one.
    fn hosts(is_ipv4: bool) -> [IpAddr; 3] {
        let texts = match is_ipv4 {
            true => ["10.0.0.2", "198.51.100.1", "203.0.113.1"],
            false => ["fd00::2", "2001:db8:2::1", "2001:db8:1::1"],
        };
        texts.map(|text| text.parse().unwrap())
    }

    fn what(template: Template, is_ipv4: bool) -> What {
        let [source, destination, _] = hosts(is_ipv4);
        let addressing = Addressing { source, sources: 1, destination, destinations: 1 };
        What { addressing, template, port: 9 }
    }

    fn frame(what: &What, direction: Direction, ends: &Ends, slot: u32) -> Vec<u8> {
        let is_ipv4 = what.addressing.source.is_ipv4();
        let frames = Frames::new(what.template, is_ipv4, INSIDE, 9, direction, &[64]);
        let mut bytes = vec![0; frames.longest()];
        frames.write(
            0,
            ends,
            &Stamp { run: 7, slot, sequence: 0, time: 1_000 + u64::from(slot) },
            &mut bytes,
        );
        bytes
    }

    /// What a NAT makes of flow `n`: its own address and port 40,000 + n.
    fn translated(what: &What, n: u16) -> Ends {
        let [_, destination, source] = hosts(what.addressing.source.is_ipv4());
        Ends { source, destination, port: 40_000 + n }
    }

    #[test]
    fn a_session_is_valid_when_its_answer_comes_to_where_it_began() {
        let templates = [Template::Udp, Template::TcpSyn, Template::Icmp];
        for (template, is_ipv4) in templates.into_iter().flat_map(|t| [(t, true), (t, false)]) {
            let what = what(template, is_ipv4);
            let mut sessions = Sessions::new(5, 3);
            let mut arrivals = Arrivals::new(7, &what, &mut sessions);
            for n in [0, 2] {
                arrivals.take(&frame(&what, Direction::There, &translated(&what, n), n.into()), 0);
            }
            // Of another run, and of no session.
            arrivals.take(&frame(&what, Direction::There, &translated(&what, 9), 3), 0);
            assert_eq!((arrivals.packets(), arrivals.hop()), (2, Some(INSIDE.source)));
            let answer = sessions.seen(2).unwrap();
            assert_eq!(
                (answer.source, answer.destination),
                (translated(&what, 0).destination, translated(&what, 0).source)
            );
            assert_eq!(
                (answer.port, sessions.begun(2), sessions.seen(1)),
                (40_002, Some(1_002), None)
            );
            assert_eq!(sessions.arrived(), 2);

            let mut answers = Answers::new(&what, &sessions);
            answers.begin(7);
            let back = |flow: u64| {
                let began = what.addressing.of(flow);
                Ends { source: began.destination, destination: began.source, port: began.port }
            };
            // Session 0 is answered rightly, the answer to 2 comes to the host of another flow.
            answers.take(&frame(&what, Direction::Back, &back(5), 0), 0);
            answers.take(&frame(&what, Direction::Back, &back(6), 2), 0);
            assert_eq!([0, 1, 2].map(|n| answers.has(n)), [true, false, false], "{template:?}");
            assert_eq!((answers.wrong(), answers.packets()), (1, 2));
        }
    }
}
