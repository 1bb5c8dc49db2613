//! What goes in, and what must come out: whole frames, built by etherparse with checksums summed up anew. No
//! code of the translator has a part in it.

use std::collections::HashSet;
use std::net::IpAddr;

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};

use crate::flows::{End, Outside};
use crate::scene::Way;

/// A UDP datagram in its frame.
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) ttl: u8,
    /// Of the session.
    pub(crate) session: u32,
    /// Of the frame: no two are alike.
    pub(crate) sequence: u32,
    pub(crate) payload: usize,
}

/// What has been found of the frames that left.
pub(crate) struct Judge {
    /// Frames compared, all of them equal.
    pub(crate) compared: u64,
    taken: HashSet<(Outside, End)>,
    shared: bool,
}

impl Datagram {
    /// Writes the frame between two Ethernet addresses; its length.
    pub(crate) fn write(&self, (from, to): ([u8; 6], [u8; 6]), frame: &mut [u8]) -> usize {
        let mut payload = [0xa5; LONGEST];
        payload[..4].copy_from_slice(&self.session.to_be_bytes());
        payload[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        let packet = PacketBuilder::ethernet2(from, to).ip(self.header());
        let packet = packet.udp(self.from.1, self.to.1);
        let len = packet.size(self.payload);
        let written = packet.write_to_slice(frame, &payload[..self.payload]);
        written.expect("a slot has room for the longest frame");
        len
    }

    fn header(&self) -> IpHeaders {
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header =
                    Ipv4Header::new(0, self.ttl, IpNumber::UDP, from.octets(), to.octets());
                let mut header = header.expect("no payload is short");
                header.identification = self.sequence as u16;
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    hop_limit: self.ttl,
                    flow_label: Ipv6FlowLabel::try_new(self.sequence & 0xf_ffff)
                        .expect("it is masked"),
                    next_header: IpNumber::UDP,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            _ => unreachable!("both ends of a packet are of one family"),
        }
    }
}

impl Judge {
    /// A judge of mappings that may be shared by remotes, or not.
    pub(crate) fn new(shared: bool) -> Self {
        Self { compared: 0, taken: HashSet::new(), shared }
    }

    /// Two sessions that one remote could not tell apart must not be.
    pub(crate) fn take(&mut self, outside: Outside, remote: End, inside: End) {
        // All sessions of this bench have an inside end of their own, so without sharing no port serves two.
        let remote = if self.shared { remote } else { (IpAddr::from([0; 4]), 0) };
        assert!(self.taken.insert((outside, remote)), "{inside:?} has the {outside:?} of another");
        assert!(outside.port >= 1024, "{outside:?} is no port of the pool");
    }

    /// The frame that left is the datagram, between these Ethernet addresses.
    pub(crate) fn compare(&mut self, left: &[u8], expected: Datagram, way: Way) {
        let mut frame = [0; LONGEST + 64];
        let len = expected.write(way.leaves_between(), &mut frame);
        assert!(
            left == &frame[..len],
            "session {}: left\n{left:02x?}\nexpected\n{:02x?}",
            expected.session,
            &frame[..len]
        );
        self.compared += 1;
    }
}

/// Bytes of the longest payload.
pub(crate) const LONGEST: usize = 1472;

#[cfg(test)]
mod tests {
    use super::{Datagram, Judge};
    use crate::flows::{Family, Outside};
    use crate::scene::Way;

    fn datagram(family: Family) -> Datagram {
        let payload = family.least_payload();
        let (from, to) = (family.inside(7), family.remote(7));
        Datagram { from, to, ttl: 64, session: 7, sequence: 9, payload }
    }

    #[test]
    fn the_frames_of_the_bench_are_as_short_as_they_may_be() {
        let mut frame = [0; 128];
        let between = Way::Out.comes_between();
        assert_eq!(datagram(Family::V4).write(between, &mut frame), 60);
        assert_eq!(datagram(Family::V6).write(between, &mut frame), 70);
    }

    #[test]
    #[should_panic(expected = "session 7")]
    fn a_bit_that_differs_is_found() {
        let mut frame = [0; 128];
        let expected = datagram(Family::V4);
        let len = expected.write(Way::Out.leaves_between(), &mut frame);
        frame[len - 1] ^= 1;
        Judge::new(false).compare(&frame[..len], expected, Way::Out);
    }

    #[test]
    #[should_panic(expected = "of another")]
    fn a_port_that_two_have_is_found() {
        let mut judge = Judge::new(false);
        for n in 0..2 {
            let outside = Outside { at: 0, port: 5000 };
            judge.take(outside, Family::V4.remote(n), Family::V4.inside(n));
        }
    }
}
