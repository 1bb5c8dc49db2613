//! SYN from outside that nobody has asked for, where the policy answers them (RFC 5382 REQ-4): held for
//! six seconds, in which a host inside may open the same connection the other way; if none has, the
//! sender hears Port Unreachable.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use arrayvec::ArrayVec;
use mooring_nat::Listed;
use mooring_packet::Packet;
use mooring_policy::{InterfaceId, Policy, UnsolicitedSyn};
use mooring_session::{FlowKey, Tick};
use mooring_wire::Mac;
use mooring_wire::ethernet::{self, Ethernet, HEADER_LEN};
use mooring_wire::tcp::Flags;

use crate::Engine;
use crate::classify::Flow;
use crate::family::Family;
use crate::originate::Complaint;
use crate::outbox::Outbox;
use crate::walk::Scene;

/// Those of both families.
pub(crate) struct Unsolicited {
    answers: bool,
    pub(crate) v4: Waiting<Ipv4Addr>,
    pub(crate) v6: Waiting<Ipv6Addr>,
}

/// Those of one, the oldest first.
pub(crate) struct Waiting<A>(VecDeque<Syn<A>>);

struct Syn<A> {
    key: FlowKey<A>,
    due: Tick,
    ingress: InterfaceId,
    sender: Mac,
    /// The packet from its IP header on, as far as there is room.
    quote: ArrayVec<u8, QUOTE>,
}

impl Unsolicited {
    pub(crate) fn new(policy: &Policy) -> Self {
        let waiting = (Waiting(VecDeque::new()), Waiting(VecDeque::new()));
        let mut unsolicited = Self { answers: false, v4: waiting.0, v6: waiting.1 };
        unsolicited.follow(policy);
        unsolicited
    }

    /// Takes the memory that another policy asks for, or gives it back.
    pub(crate) fn follow(&mut self, policy: &Policy) {
        self.answers = policy.tcp.unsolicited_syn == UnsolicitedSyn::Icmp;
        self.v4.follow(self.answers);
        self.v6.follow(self.answers);
    }
}

impl<A> Waiting<A> {
    /// When the oldest is due.
    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.0.front().map(|syn| syn.due)
    }

    fn follow(&mut self, answers: bool) {
        match answers {
            true => self.0.reserve_exact(HELD - self.0.len().min(HELD)),
            false => self.0 = VecDeque::new(),
        }
    }
}

impl Engine {
    /// Holds a SYN from outside that was dropped, if the policy answers such. When too many wait it is
    /// forgotten, as is one that is there already.
    pub(crate) fn hold_unsolicited<A: Family>(
        &mut self,
        scene: Scene,
        flow: &Flow<A>,
        packet: &Packet<'_>,
    ) {
        let opens = flow.flags.is_some_and(|flags| {
            flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST | Flags::FIN)
        });
        if !self.unsolicited.answers || !opens {
            return;
        }
        let waiting = &A::unsolicited(&mut self.unsolicited).0;
        let is_there = || waiting.iter().any(|syn| syn.key == flow.key);
        if waiting.len() >= HELD || is_there() || !self.is_unsolicited(&flow.key, scene.ingress) {
            return;
        }
        let Ok(ethernet) = Ethernet::parse(packet.bytes()) else { return };
        let bytes = &ethernet.payload()[..flow.ip_len as usize];
        A::unsolicited(&mut self.unsolicited).0.push_back(Syn {
            key: flow.key,
            due: scene.now + WAIT,
            ingress: scene.ingress,
            sender: ethernet.source(),
            quote: bytes.iter().copied().take(QUOTE).collect(),
        });
    }

    /// Whether a SYN is one to answer by the policy of now: from where its source is, to an address of
    /// ours from outside of it; of no rule, and of nobody whom a list denies: he hears nothing.
    fn is_unsolicited<A: Family>(&self, key: &FlowKey<A>, ingress: InterfaceId) -> bool {
        let back = self.policy.route(key.source.into());
        let destination = key.destination.into();
        let from_outside = self.policy.outside_of(destination).contains(ingress)
            && self.policy.is_held(destination)
            && back.is_some_and(|hop| hop.interface == ingress)
            && !key.source.is_martian();
        let has_other_answer = || match A::nat(&self.nats).listed(key, ingress, &self.policy) {
            Some(Listed::Rule(_)) => true,
            Some(Listed::Pool { pool, .. }) => {
                !self.policy.pool(pool).access.of(key.source.into()).allowed
            }
            None => false,
        };
        from_outside && !has_other_answer()
    }

    /// Tells the senders of those that have waited long enough, as often as the limit allows, from the
    /// address that they wanted. If there is a session by now, a host inside has opened it; and the
    /// policy may be another one by now.
    pub(crate) fn answer_unsolicited<A: Family>(&mut self, now: Tick, outbox: &mut Outbox) {
        loop {
            let waiting = &mut A::unsolicited(&mut self.unsolicited).0;
            let Some(syn) = waiting.pop_front_if(|syn| syn.due <= now) else { return };
            let opened = A::nat(&self.nats).sessions.find_key(&syn.key).is_some();
            if opened || !self.is_unsolicited(&syn.key, syn.ingress) {
                continue;
            }
            if !self.may_complain(now, Complaint::PortUnreachable) {
                continue;
            }
            let mac = self.links[usize::from(syn.ingress.0)].mac;
            let ends = [syn.key.destination, syn.key.source];
            let len = HEADER_LEN + A::ERROR_HEADERS + syn.quote.len();
            let sent = outbox.originate(syn.ingress, len, |buffer| {
                ethernet::emit(buffer, syn.sender, mac, A::ETHER_TYPE);
                let complaint = Complaint::PortUnreachable;
                A::write_error(&mut buffer[HEADER_LEN..], ends, complaint, &syn.quote);
            });
            self.counters.originated += u64::from(sent);
        }
    }
}

/// RFC 5382 REQ-4: "for at least 6 seconds".
const WAIT: Duration = Duration::from_secs(6);

/// SYN of a family that wait, at most.
const HELD: usize = 256;

/// Bytes of each that are kept: all of a SYN with the options that hosts send.
const QUOTE: usize = 128;
