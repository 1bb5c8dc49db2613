//! Judges frames that have left: whole, byte by byte, against those that [`crate::frames`] builds.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::flows::{End, Outside};
use crate::frames::{Between, Datagram, LONGEST, Shape};

/// What has been found of the frames that left.
pub(crate) struct Judge {
    /// Frames compared, all of them equal.
    pub(crate) compared: u64,
    taken: HashSet<(Outside, End)>,
    shared: bool,
}

impl Judge {
    /// A judge of ports that remotes may share, or not.
    pub(crate) fn new(shared: bool) -> Self {
        Self { compared: 0, taken: HashSet::new(), shared }
    }

    /// Two sessions that a remote could not tell apart must not be.
    pub(crate) fn take(&mut self, outside: Outside, remote: End, inside: End) {
        // Every session has an inside end of its own, so without sharing no port serves two.
        let remote = if self.shared { remote } else { (IpAddr::from([0; 4]), 0) };
        assert!(self.taken.insert((outside, remote)), "{inside:?} has the {outside:?} of another");
        assert!(outside.port >= 1024, "{outside:?} is no port of the pool");
    }

    /// The frame that left is this datagram, or of its shape, between these Ethernet addresses.
    pub(crate) fn compare(
        &mut self,
        left: &[u8],
        (expected, shape): (Datagram, Shape),
        between: Between,
    ) {
        let mut frame = [0; LONGEST + 64];
        let len = expected.write(shape, between, &mut frame);
        let (session, frame) = (expected.session, &frame[..len]);
        assert!(left == frame, "session {session}: left\n{left:02x?}\nexpected\n{frame:02x?}");
        self.compared += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Judge;
    use crate::flows::{Family, Outside};
    use crate::frames::{Datagram, Shape};

    const BETWEEN: ([u8; 6], [u8; 6]) = ([2; 6], [4; 6]);

    fn datagram(family: Family) -> Datagram {
        let (from, to) = (family.inside(7), family.remote(7));
        Datagram { from, to, ttl: 64, session: 7, sequence: 9 }
    }

    #[test]
    fn the_frames_of_the_bench_are_as_short_as_they_may_be() {
        let mut frame = [0; 128];
        assert_eq!(datagram(Family::V4).write(Shape::Short, BETWEEN, &mut frame), 60);
        assert_eq!(datagram(Family::V6).write(Shape::Short, BETWEEN, &mut frame), 70);
    }

    #[test]
    #[should_panic(expected = "session 7")]
    fn a_bit_that_differs_is_found() {
        let mut frame = [0; 128];
        let expected = datagram(Family::V4);
        let len = expected.write(Shape::Short, BETWEEN, &mut frame);
        frame[len - 1] ^= 1;
        Judge::new(false).compare(&frame[..len], (expected, Shape::Short), BETWEEN);
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
