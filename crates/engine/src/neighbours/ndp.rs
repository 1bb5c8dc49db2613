//! Neighbor discovery for IPv6 (RFC 4861): what we read from solicitations and advertisements, and
//! the five packets that we send. Also reads the other questions that come by ICMPv6: for routers (see
//! `router`) and for groups (see `membership`).
//!
//! It knows the protocol only; what an advertisement means for an entry is in `life`. Advertisements
//! of routers and redirects are not taken: routes are configured.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::ethernet::{self, EtherType, Ethernet};
use mooring_wire::icmpv6::{
    Icmpv6, MLD_QUERY, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, ROUTER_SOLICITATION,
};
use mooring_wire::ipv6::Ipv6;
use mooring_wire::mld::{Query, query_message};
use mooring_wire::ndp::{
    Advertisement, MAX_LEN, NeighborAdvertisement, NeighborSolicitation, Solicitation,
    emit_advertisement, emit_solicitation, solicited_node_group,
};
use mooring_wire::router::{ALL_NODES, RouterSolicitation};
use mooring_wire::{Mac, Protocol};

use super::life::Word;
use super::table::Key;
use super::{Ignored, InterfaceLink, Neighbours, Outcome, Role, names_one_machine, router};
use crate::outbox::Outbox;

impl Neighbours {
    /// Takes in a frame with a message of those that [`is_neighbour_message`] names, from its Ethernet
    /// header on, whatever its destination. `owned` says which addresses we answer for on this
    /// interface; a link-local address that we made is one of them unasked. Held packets that this sets free are in the
    /// outbox afterwards.
    pub fn on_ndp(
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
        let message = match Message::read(frame) {
            Ok(message) => message,
            Err(reason) => return Outcome::Ignored(reason),
        };
        let made = link.unconfigured_link_local();
        let owned = |address: Ipv6Addr| made == Some(address) || owned(IpAddr::V6(address));
        if !link.may_be_neighbour(message.sender) {
            return Outcome::Ignored(Ignored::BadSender);
        }
        match message.body {
            Body::Solicitation { target, source_mac } => {
                let solicitation = Asked { interface, own: link.mac, target, source_mac };
                self.on_solicitation(&message, solicitation, now, owned, outbox)
            }
            // RFC 4862 §5.4.4: somebody advertises an address of ours.
            Body::Advertisement { target, .. } if owned(target) => {
                self.on_conflict(interface, target, message.sender, now)
            }
            Body::Advertisement { target, word } => {
                let key = Key { interface, address: IpAddr::V6(target) };
                // RFC 4861 §7.2.5: "There is no need to create an entry if none exists."
                let slot = self.table.find(&key);
                match slot.is_some_and(|slot| self.hear(slot, word, now, outbox)) {
                    true => Outcome::Learned,
                    false => Outcome::Ignored(Ignored::NotForUs),
                }
            }
            Body::RouterSolicitation { source_mac } => {
                let known = source_mac.filter(|_| !owned(message.source));
                let delay = self.jitter.between(Duration::ZERO, router::MAX_DELAY);
                let will_answer = self.routers.asked(interface, now, delay);
                self.timers.at(self.routers.next_due());
                if will_answer {
                    self.learn_asker(interface, message.source, known, now, outbox);
                }
                answered(will_answer, Ignored::NotForUs)
            }
            Body::ListenerQuery { group, longest } => {
                let due = now + self.jitter.between(Duration::ZERO, longest);
                let will_answer = self.memberships.asked(interface, group, due);
                self.timers.at(self.memberships.next_due());
                answered(will_answer, Ignored::NotForUs)
            }
        }
    }

    fn on_solicitation(
        &mut self,
        message: &Message,
        asked: Asked,
        now: Tick,
        owned: impl Fn(Ipv6Addr) -> bool,
        outbox: &mut Outbox,
    ) -> Outcome {
        let source = IpAddr::V6(message.source);
        // Somebody checks whether the address is free before it takes it (RFC 4862 §5.4).
        let probe = message.source.is_unspecified();
        if !probe && !names_one_machine(source) {
            return Outcome::Ignored(Ignored::BadSender);
        }
        if !probe && owned(message.source) {
            return self.on_conflict(asked.interface, message.source, message.sender, now);
        }
        if !owned(asked.target) {
            return Outcome::Ignored(Ignored::NotForUs);
        }
        self.learn_asker(asked.interface, message.source, asked.source_mac, now, outbox);
        if self.role == Role::Listener {
            return Outcome::Ignored(Ignored::NotForUs);
        }
        if probe {
            // RFC 4862 §5.4.3: it is about to take the address. Our answer tells it not to.
            self.contested(asked.interface, IpAddr::V6(asked.target), message.sender, now);
        }
        answered(answer(message, asked, outbox), Ignored::NoBuffer)
    }

    /// RFC 4861 §7.2.3, §6.2.6: the entry of one who asks is made or updated, but asking proves nothing
    /// about whether it hears us.
    fn learn_asker(
        &mut self,
        interface: InterfaceId,
        source: Ipv6Addr,
        mac: Option<Mac>,
        now: Tick,
        outbox: &mut Outbox,
    ) {
        let Some(mac) = mac.filter(|_| !source.is_unspecified()) else { return };
        let key = Key { interface, address: IpAddr::V6(source) };
        let word = Word { mac: Some(mac), solicited: false, overrides: true };
        if let Some(slot) = self.find_or_insert(key, now) {
            self.hear(slot, word, now, outbox);
        }
    }

    fn on_conflict(
        &mut self,
        interface: InterfaceId,
        address: Ipv6Addr,
        mac: Mac,
        now: Tick,
    ) -> Outcome {
        match self.role {
            Role::Speaker => self.contested(interface, IpAddr::V6(address), mac, now),
            Role::Listener => Outcome::Ignored(Ignored::NotForUs),
        }
    }
}

fn answered(is_answered: bool, otherwise: Ignored) -> Outcome {
    if is_answered { Outcome::Answered } else { Outcome::Ignored(otherwise) }
}

/// Whether [`Neighbours::on_ndp`] takes ICMPv6 messages of this type: neighbor discovery, router
/// solicitations, and multicast listener queries (which stand behind a hop-by-hop header).
#[must_use]
pub const fn is_neighbour_message(kind: u8) -> bool {
    matches!(kind, NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT | ROUTER_SOLICITATION | MLD_QUERY)
}

/// A message that is valid by RFC 4861 §7.1, with what matters around it.
struct Message {
    /// The link-layer address that the message tells, else the frame's source.
    sender: Mac,
    source: Ipv6Addr,
    body: Body,
}

enum Body {
    Solicitation { target: Ipv6Addr, source_mac: Option<Mac> },
    Advertisement { target: Ipv6Addr, word: Word },
    RouterSolicitation { source_mac: Option<Mac> },
    ListenerQuery { group: Option<Ipv6Addr>, longest: Duration },
}

/// A solicitation, and where it arrived.
#[derive(Clone, Copy)]
struct Asked {
    interface: InterfaceId,
    own: Mac,
    target: Ipv6Addr,
    source_mac: Option<Mac>,
}

impl Message {
    fn read(frame: &[u8]) -> Result<Self, Ignored> {
        let frame = Ethernet::parse(frame).map_err(|_| Ignored::Malformed)?;
        let frame_source = frame.source();
        let packet = Ipv6::parse(frame.into_payload()).map_err(|_| Ignored::Malformed)?;
        if let Some(message) = query_message(&packet) {
            return Self::read_query(&packet, message, frame_source);
        }
        // No other message needs an extension header, and none may be in pieces (RFC 6980 §5).
        if packet.next_header() != Protocol::ICMPV6 {
            return Err(Ignored::Malformed);
        }
        let message = Icmpv6::parse(packet.payload()).map_err(|_| Ignored::Malformed)?;
        let (body, told) = match message.kind() {
            NEIGHBOR_SOLICITATION => Self::read_solicitation(&packet)?,
            NEIGHBOR_ADVERTISEMENT => Self::read_advertisement(&packet)?,
            ROUTER_SOLICITATION => Self::read_router_solicitation(&packet)?,
            _ => return Err(Ignored::Malformed),
        };
        if !message.checksum_is_valid(packet.source(), packet.destination()) {
            return Err(Ignored::BadChecksum);
        }
        Ok(Self { sender: told.unwrap_or(frame_source), source: packet.source(), body })
    }

    fn read_query(packet: &Ipv6<&[u8]>, message: &[u8], sender: Mac) -> Result<Self, Ignored> {
        let query = Query::parse(message).map_err(|_| Ignored::Malformed)?;
        let icmp = Icmpv6::parse(message).map_err(|_| Ignored::Malformed)?;
        if !icmp.checksum_is_valid(packet.source(), packet.destination()) {
            return Err(Ignored::BadChecksum);
        }
        let longest = Duration::from_millis(query.max_response_millis().into());
        let body = Body::ListenerQuery { group: query.group(), longest };
        Ok(Self { sender, source: packet.source(), body })
    }

    fn read_router_solicitation(packet: &Ipv6<&[u8]>) -> Result<(Body, Option<Mac>), Ignored> {
        let message =
            RouterSolicitation::parse(packet.payload()).map_err(|_| Ignored::Malformed)?;
        if !message.is_acceptable(packet.hop_limit(), packet.source()) {
            return Err(Ignored::Malformed);
        }
        let source_mac = message.source_link_layer();
        Ok((Body::RouterSolicitation { source_mac }, source_mac))
    }

    fn read_solicitation(packet: &Ipv6<&[u8]>) -> Result<(Body, Option<Mac>), Ignored> {
        let message =
            NeighborSolicitation::parse(packet.payload()).map_err(|_| Ignored::Malformed)?;
        if !message.is_acceptable(packet.hop_limit(), packet.source(), packet.destination()) {
            return Err(Ignored::Malformed);
        }
        let source_mac = message.source_link_layer();
        Ok((Body::Solicitation { target: message.target(), source_mac }, source_mac))
    }

    fn read_advertisement(packet: &Ipv6<&[u8]>) -> Result<(Body, Option<Mac>), Ignored> {
        let message =
            NeighborAdvertisement::parse(packet.payload()).map_err(|_| Ignored::Malformed)?;
        if !message.is_acceptable(packet.hop_limit(), packet.destination()) {
            return Err(Ignored::Malformed);
        }
        let mac = message.target_link_layer();
        let word = Word { mac, solicited: message.solicited(), overrides: message.overrides() };
        Ok((Body::Advertisement { target: message.target(), word }, mac))
    }
}

/// Asks for `target`: everybody who may have it, or the neighbour alone to see whether it is still
/// there (RFC 4861 §7.2.2, §7.3.3).
pub(super) fn ask(
    link: &InterfaceLink,
    interface: InterfaceId,
    target: Ipv6Addr,
    to: Option<Mac>,
    outbox: &mut Outbox,
) -> bool {
    let solicitation = Solicitation {
        source: link.source_v6(target),
        destination: if to.is_some() { target } else { solicited_node_group(target) },
        target,
        source_link_layer: Some(link.mac),
    };
    let to = to.unwrap_or(Mac::solicited_node(target));
    outbox.originate(interface, FRAME_LEN, |frame| {
        let (header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        ethernet::emit(header, to, link.mac, EtherType::IPV6);
        emit_solicitation(packet, &solicitation);
    })
}

/// Asks all who may have `address` whether they do, from nobody (RFC 4862 §5.4.2).
pub(super) fn probe(
    link: &InterfaceLink,
    interface: InterfaceId,
    address: Ipv6Addr,
    outbox: &mut Outbox,
) -> bool {
    let solicitation = Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        destination: solicited_node_group(address),
        target: address,
        source_link_layer: None,
    };
    outbox.originate(interface, PROBE_LEN, |frame| {
        let (header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        ethernet::emit(header, Mac::solicited_node(address), link.mac, EtherType::IPV6);
        emit_solicitation(packet, &solicitation);
    })
}

/// Tells all nodes that `address` is ours (RFC 4861 §7.2.6).
pub(super) fn announce(
    link: &InterfaceLink,
    interface: InterfaceId,
    address: Ipv6Addr,
    outbox: &mut Outbox,
) -> bool {
    let to = Mac::multicast_v6(ALL_NODES);
    advertise(interface, (link.mac, to), address, (ALL_NODES, false), outbox)
}

/// RFC 4861 §7.2.4: the answer goes to who asked, or, when that one has no address yet, to all
/// nodes without the solicited flag.
fn answer(message: &Message, asked: Asked, outbox: &mut Outbox) -> bool {
    let (destination, to) = match message.source.is_unspecified() {
        true => (ALL_NODES, Mac::multicast_v6(ALL_NODES)),
        false => (message.source, message.sender),
    };
    let solicited = !message.source.is_unspecified();
    advertise(asked.interface, (asked.own, to), asked.target, (destination, solicited), outbox)
}

/// Sends an advertisement of `address`, from it. It overrides what is known, since nobody stands in
/// for us, and calls us a router, which we are: a host that has us as its gateway would drop us from
/// its list otherwise (RFC 4861 §7.2.5).
fn advertise(
    interface: InterfaceId,
    (own, to): (Mac, Mac),
    address: Ipv6Addr,
    (destination, solicited): (Ipv6Addr, bool),
    outbox: &mut Outbox,
) -> bool {
    let advertisement = Advertisement {
        source: address,
        destination,
        target: address,
        target_link_layer: Some(own),
        router: true,
        solicited,
        overrides: true,
    };
    outbox.originate(interface, FRAME_LEN, |frame| {
        let (header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        ethernet::emit(header, to, own, EtherType::IPV6);
        emit_advertisement(packet, &advertisement);
    })
}

/// Bytes of every frame that we send but a probe: all have the link-layer option, hence the longest
/// packet.
const FRAME_LEN: usize = ethernet::HEADER_LEN + MAX_LEN;

/// Bytes of a probe, which has no option.
const PROBE_LEN: usize = FRAME_LEN - OPTION_LEN;
const OPTION_LEN: usize = 8;
