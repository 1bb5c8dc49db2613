//! Established connections that fall silent: the host inside is asked whether it still has its one,
//! before the session ends (RFC 5382 §5, RFC 6146 §3.5.2.2).
//!
//! The question is a keep-alive in the name of the remote end: an acknowledgment without data, one
//! byte before what the host expects. A host with the connection answers it with an acknowledgment,
//! one without with a RST; both go to the remote end, too.

use mooring_session::{Direction, Tick};
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::tcp::{self, Flags};

use crate::Engine;
use crate::family::Family;
use crate::outbox::Outbox;

impl Engine {
    /// Asks for the sessions of a family that are to be asked. Those for which there is no buffer wait
    /// for the next poll.
    pub(crate) fn probe<A: Family>(&mut self, now: Tick, outbox: &mut Outbox) {
        loop {
            let sessions = &mut A::nat_mut(&mut self.nats).sessions;
            let Some(index) = sessions.next_to_ask() else { return };
            self.turned::<A>(now, index);
            let sessions = &mut A::nat_mut(&mut self.nats).sessions;
            let len = HEADER_LEN + A::IP_HEADER_LEN + tcp::HEADER_LEN;
            let Some(mut probe) = outbox.compose(len) else {
                sessions.ask_later(index);
                return;
            };
            let session = sessions.session(index);
            // Without the numbers any will do: what is out of the window is answered just so (RFC 9293
            // §3.10.7.4). Jool asks with these.
            let (expected, sent) = sessions.expected(index, Direction::Forward).unwrap_or((1, 0));
            let ports = [session.remote_port, session.inside_port];
            let segment = keep_alive(ports, expected.wrapping_sub(1), sent);
            let ends = [session.remote, session.inside];
            A::write_segment(&mut probe.bytes_mut()[HEADER_LEN..], ends, &segment);
            let hop = session.next_hop(Direction::Reverse);
            self.counters.originated += 1;
            // A host that does not resolve does not answer either.
            let _unresolved = self.leave_owned(now, hop, probe, outbox);
        }
    }
}

/// An acknowledgment without data; the checksum is left out.
fn keep_alive(
    [source, destination]: [u16; 2],
    sequence: u32,
    acknowledgment: u32,
) -> [u8; tcp::HEADER_LEN] {
    let mut segment = [0; tcp::HEADER_LEN];
    segment[0..2].copy_from_slice(&source.to_be_bytes());
    segment[2..4].copy_from_slice(&destination.to_be_bytes());
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    segment[12] = (tcp::HEADER_LEN as u8 / 4) << 4;
    segment[13] = Flags::ACK.0;
    segment[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    segment
}

/// The window that a question offers: nobody is to close his for it.
const WINDOW: u16 = 8_192;
