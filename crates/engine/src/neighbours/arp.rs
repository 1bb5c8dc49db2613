//! ARP for IPv4 over Ethernet: what we read from it, and the five frames that we send.
//!
//! It knows the protocol only; what an answer means for an entry is in `life`.

use std::net::{IpAddr, Ipv4Addr};

use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;
use mooring_wire::arp::{Arp, Emit, LEN, REPLY, REQUEST};
use mooring_wire::ethernet::{self, EtherType, Ethernet, HEADER_LEN};

use super::life::Word;
use super::table::Key;
use super::{Ignored, InterfaceLink, Neighbours, Outcome, Role, State, names_one_machine};
use crate::outbox::Outbox;

impl Neighbours {
    /// Takes in an ARP frame, from its Ethernet header on, whatever its destination. `owned` says
    /// which addresses we answer for on this interface. Held packets that this sets free are in
    /// the outbox afterwards.
    pub fn on_arp(
        &mut self,
        interface: InterfaceId,
        frame: &[u8],
        now: Tick,
        owned: impl Fn(IpAddr) -> bool,
        outbox: &mut Outbox,
    ) -> Outcome {
        let Some(link) = self.links.get(usize::from(interface.0)) else {
            return Outcome::Ignored(Ignored::NotForUs);
        };
        let own = link.mac;
        let message = Ethernet::parse(frame).and_then(|frame| Arp::parse(frame.into_payload()));
        let Ok(message) = message else { return Outcome::Ignored(Ignored::Malformed) };
        if ![REQUEST, REPLY].contains(&message.operation()) {
            return Outcome::Ignored(Ignored::Malformed);
        }
        let sender = IpAddr::V4(message.sender_ip());
        let target = IpAddr::V4(message.target_ip());
        // A probe has no sender yet; it is only ever answered (RFC 5227 §2.1.1).
        let probe = message.sender_ip().is_unspecified();
        if !link.may_be_neighbour(message.sender_mac()) || !probe && !names_one_machine(sender) {
            return Outcome::Ignored(Ignored::BadSender);
        }
        // RFC 5227 §2.4: a sender address of ours from another MAC, request or reply.
        if !probe && owned(sender) {
            return match self.role {
                Role::Speaker => self.contested(interface, sender, message.sender_mac(), now),
                Role::Listener => Outcome::Ignored(Ignored::NotForUs),
            };
        }
        let asks_us = message.operation() == REQUEST && owned(target);
        let learned = self.merge(interface, &message, own, asks_us, now, outbox);
        if asks_us && self.role == Role::Speaker {
            // RFC 5227 §2.1.1: two who probe at a time are in conflict. Later a probe is none: switches
            // send them all the time to see who is there, and who means it hears the answer.
            if probe && self.announcer.is_under_way(interface, target) {
                self.contested(interface, target, message.sender_mac(), now);
            }
            return match answer(interface, own, &message, outbox) {
                true => Outcome::Answered,
                false => Outcome::Ignored(Ignored::NoBuffer),
            };
        }
        if learned { Outcome::Learned } else { Outcome::Ignored(Ignored::NotForUs) }
    }

    /// RFC 826: the sender's pair updates the entry that there is; a new entry is made only for one
    /// who asks for us (and has an address yet). An answer counts as one only while our question is
    /// out.
    fn merge(
        &mut self,
        interface: InterfaceId,
        message: &Arp<&[u8]>,
        own: Mac,
        asks_us: bool,
        now: Tick,
        outbox: &mut Outbox,
    ) -> bool {
        let key = Key { interface, address: IpAddr::V4(message.sender_ip()) };
        let slot = match asks_us {
            true => self.find_or_insert(key, now),
            false => self.table.find(&key),
        };
        let Some(slot) = slot else { return false };
        let entry = self.table.entry(slot);
        let asked = entry.attempts > 0 && matches!(entry.state, State::Incomplete | State::Probe);
        let word = Word {
            mac: Some(message.sender_mac()),
            solicited: asked && message.operation() == REPLY && message.target_mac() == own,
            overrides: true,
        };
        self.hear(slot, word, now, outbox)
    }
}

/// Asks for `target`: everybody, or the neighbour alone to see whether it is still there.
pub(super) fn ask(
    link: &InterfaceLink,
    interface: InterfaceId,
    target: Ipv4Addr,
    to: Option<Mac>,
    outbox: &mut Outbox,
) -> bool {
    let request = Emit {
        operation: REQUEST,
        sender_mac: link.mac,
        sender_ip: link.source_v4(target),
        target_mac: Mac::ZERO,
        target_ip: target,
    };
    send(interface, to.unwrap_or(Mac::BROADCAST), request, outbox)
}

/// Asks everybody whether they have `address`, without a sender (RFC 5227 §1.1).
pub(super) fn probe(
    link: &InterfaceLink,
    interface: InterfaceId,
    address: Ipv4Addr,
    outbox: &mut Outbox,
) -> bool {
    let request = Emit {
        operation: REQUEST,
        sender_mac: link.mac,
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: Mac::ZERO,
        target_ip: address,
    };
    send(interface, Mac::BROADCAST, request, outbox)
}

/// Tells everybody that `address` is ours, as a request (the announcement of RFC 5227 §2.3) and as
/// a reply (for those who only listen to replies; both forms are in RFC 5944 §4.6).
pub(super) fn announce(
    link: &InterfaceLink,
    interface: InterfaceId,
    address: Ipv4Addr,
    outbox: &mut Outbox,
) -> bool {
    let form = |operation, target_mac| Emit {
        operation,
        sender_mac: link.mac,
        sender_ip: address,
        target_mac,
        target_ip: address,
    };
    let request = send(interface, Mac::BROADCAST, form(REQUEST, Mac::ZERO), outbox);
    let reply = send(interface, Mac::BROADCAST, form(REPLY, link.mac), outbox);
    request || reply
}

fn answer(interface: InterfaceId, own: Mac, request: &Arp<&[u8]>, outbox: &mut Outbox) -> bool {
    let reply = Emit {
        operation: REPLY,
        sender_mac: own,
        sender_ip: request.target_ip(),
        target_mac: request.sender_mac(),
        target_ip: request.sender_ip(),
    };
    send(interface, request.sender_mac(), reply, outbox)
}

fn send(interface: InterfaceId, to: Mac, message: Emit, outbox: &mut Outbox) -> bool {
    outbox.originate(interface, HEADER_LEN + LEN, |frame| {
        let (header, body) = frame.split_at_mut(HEADER_LEN);
        ethernet::emit(header, to, message.sender_mac, EtherType::ARP);
        message.emit(body);
    })
}
