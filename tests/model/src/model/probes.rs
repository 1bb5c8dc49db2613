//! Established connections that have fallen silent: the host inside is asked, once, before its session
//! ends (RFC 5382 §5, `docs/tcp-tracking.md`, "Before the end").

use super::{Judged, Model};
use crate::packet::{ACK, Body, Packet, TCP};
use crate::spec::Side;
use crate::tracking::{State, Way};

impl Model {
    /// A host has been asked something: it had to be.
    pub(crate) fn asked(&mut self, (side, packet): &(Side, Packet)) -> Judged<()> {
        let asks = |session: &super::Session| {
            packet.key().is_some_and(|key| {
                let ends = (key.protocol, key.source, key.destination);
                session.protocol == TCP && ends == (TCP, session.remote, session.inside)
            })
        };
        let at = self.sessions.iter().position(asks);
        let at = at.filter(|_| self.spec.tcp.probes && *side == Side::Inside);
        let Some(at) = at else { return Err(format!("nobody asked for {packet:?}")) };
        self.may_end_by_time(&self.sessions[at])?;
        let session = &self.sessions[at];
        let (ports, window) = ((session.remote.1, session.inside.1), 8192);
        let (seq, ack) = self.expected_by_host(session);
        let body = Body::Tcp { ports, seq, ack, flags: ACK, window, payload: Vec::new() };
        let expected = Packet::new(session.remote.0, session.inside.0, body);
        if *packet != expected || session.state != State::Established {
            return Err(format!("asked {packet:?}, not {expected:?}, {session:?}"));
        }
        let session = &mut self.sessions[at];
        let way = if session.outbound { Way::Forward } else { Way::Reverse };
        (session.state, session.last) = (State::Reset(way), self.now);
        Ok(())
    }

    /// Whether a session has to be asked before it ends.
    pub(super) fn is_asked(&self, session: &super::Session) -> bool {
        self.spec.tcp.probes && session.protocol == TCP && session.state == State::Established
    }
}
