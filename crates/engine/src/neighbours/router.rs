//! Router advertisements (RFC 4861 §6.2), for the interfaces that are told to send them: inside hosts
//! learn by them who their router is, the MTU, and prefixes to make addresses from.
//!
//! We are a router ourselves, so what other routers advertise is not heard.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use arrayvec::ArrayVec;
use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;
use mooring_wire::ethernet::{self, EtherType};
use mooring_wire::router::{ALL_NODES, ALL_ROUTERS, RouterAdvertisement};

use super::jitter::Jitter;
use super::life::NEVER;
use super::{InterfaceLink, Neighbours, Role};
use crate::outbox::Outbox;

/// The interfaces on which we call ourselves a router.
#[derive(Debug)]
pub(super) struct Routers {
    links: Box<[Option<Advertising>]>,
    silent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Advertising {
    /// Advertisements that still follow each other sooner.
    initial_left: u8,
    due: Tick,
    last: Option<Tick>,
}

impl Neighbours {
    /// Advertises us as a router on `interface`, at the next poll and from then on. The MTU is that of
    /// the link, the prefixes are those of 64 bits among the interface's own addresses.
    pub fn advertise_router(&mut self, interface: InterfaceId, now: Tick) {
        let Some(place) = self.routers.links.get_mut(usize::from(interface.0)) else { return };
        if self.role == Role::Listener || self.routers.silent {
            return;
        }
        let begins = place.is_none();
        *place = Some(Advertising { initial_left: INITIAL, due: now, last: None });
        if begins {
            self.memberships.join(interface, ALL_ROUTERS, now);
        }
        self.timers.at(now);
    }

    /// Calls us a router on `interface` no more, and says so.
    pub fn retire_router(&mut self, interface: InterfaceId, now: Tick, outbox: &mut Outbox) {
        let index = usize::from(interface.0);
        if self.routers.links.get_mut(index).and_then(Option::take).is_none() {
            return;
        }
        self.memberships.leave(interface, ALL_ROUTERS, now);
        self.timers.at(now);
        advertise(&self.links[index], interface, 0, outbox);
    }

    /// Tells every link that we stop being its router (RFC 4861 §6.2.5), so that hosts with another
    /// one turn to it at once. For a worker that ends; it transmits the outbox once more.
    pub fn farewell(&mut self, now: Tick, outbox: &mut Outbox) {
        for index in 0..self.links.len() {
            self.retire_router(InterfaceId(index as u8), now, outbox);
        }
    }
}

impl Routers {
    pub(super) fn new(links: &[InterfaceLink]) -> Self {
        Self { links: vec![None; links.len()].into(), silent: false }
    }

    /// Advertises nothing from now on.
    pub(super) fn silence(&mut self) {
        self.links.fill(None);
        self.silent = true;
    }

    /// A host asks for routers (RFC 4861 §6.2.6). True when it will be told, together with all others
    /// who ask meanwhile, `delay` from now or later.
    pub(super) fn asked(&mut self, interface: InterfaceId, now: Tick, delay: Duration) -> bool {
        let Some(Some(advertising)) = self.links.get_mut(usize::from(interface.0)) else {
            return false;
        };
        let earliest = advertising.last.map_or(now, |last| now.max(last + MIN_BETWEEN));
        advertising.due = advertising.due.min(earliest + delay);
        true
    }

    /// Sends one advertisement that is due. False when none is, or when no buffer is free: it stays
    /// due then.
    pub(super) fn step(
        &mut self,
        links: &[InterfaceLink],
        jitter: &mut Jitter,
        now: Tick,
        outbox: &mut Outbox,
    ) -> bool {
        let due = |place: &Option<Advertising>| place.is_some_and(|it| it.due <= now);
        let Some(index) = self.links.iter().position(due) else { return false };
        let Some(advertising) = &mut self.links[index] else { return false };
        if !advertise(&links[index], InterfaceId(index as u8), LIFETIME, outbox) {
            return false;
        }
        advertising.initial_left = advertising.initial_left.saturating_sub(1);
        advertising.last = Some(now);
        let interval = jitter.between(MIN_INTERVAL, MAX_INTERVAL);
        advertising.due = now
            + match advertising.initial_left {
                0 => interval,
                _ => interval.min(MAX_INITIAL_INTERVAL),
            };
        true
    }

    /// When the next advertisement is due.
    pub(super) fn next_due(&self) -> Tick {
        self.links.iter().flatten().map(|advertising| advertising.due).min().unwrap_or(NEVER)
    }
}

/// Sends an advertisement with this lifetime in seconds.
fn advertise(
    link: &InterfaceLink,
    interface: InterfaceId,
    lifetime: u16,
    outbox: &mut Outbox,
) -> bool {
    let prefixes = prefixes(link);
    let advertisement = RouterAdvertisement {
        source: link.link_local(),
        source_link_layer: link.mac,
        lifetime,
        mtu: link.mtu.into(),
        prefixes: &prefixes,
    };
    outbox.originate(interface, ethernet::HEADER_LEN + advertisement.packet_len(), |frame| {
        let (header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        ethernet::emit(header, Mac::multicast_v6(ALL_NODES), link.mac, EtherType::IPV6);
        advertisement.emit(packet);
    })
}

/// The prefixes of our own addresses from which a host can make one: 64 bits (RFC 4862 §5.5.3 with
/// RFC 2464 §4), and not link-local (RFC 4861 §4.6.2).
fn prefixes(link: &InterfaceLink) -> ArrayVec<Ipv6Addr, PREFIXES> {
    let mut prefixes = ArrayVec::new();
    for network in link.addresses.iter().filter(|network| network.prefix_len() == 64) {
        let IpAddr::V6(prefix) = network.network() else { continue };
        let is_new = !prefix.is_unicast_link_local() && !prefixes.contains(&prefix);
        if is_new && !prefixes.is_full() {
            prefixes.push(prefix);
        }
    }
    prefixes
}

/// Advertisements after the start that follow each other sooner: MAX_INITIAL_RTR_ADVERTISEMENTS of
/// RFC 4861 §10.
pub(super) const INITIAL: u8 = 3;

/// The longest wait between them: MAX_INITIAL_RTR_ADVERT_INTERVAL.
pub(super) const MAX_INITIAL_INTERVAL: Duration = Duration::from_secs(16);

/// Between two unasked advertisements: MinRtrAdvInterval and MaxRtrAdvInterval of RFC 4861 §6.2.1.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(200);
/// See [`MIN_INTERVAL`].
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(600);

/// Between any two advertisements: MIN_DELAY_BETWEEN_RAS.
pub(super) const MIN_BETWEEN: Duration = Duration::from_secs(3);

/// How long who asks may have to wait beyond that: MAX_RA_DELAY_TIME.
pub(super) const MAX_DELAY: Duration = Duration::from_millis(500);

/// Seconds for which a host keeps us as its router: AdvDefaultLifetime, 3 * MaxRtrAdvInterval.
const LIFETIME: u16 = 1_800;

/// Prefixes in one advertisement; an interface with more advertises its first ones.
const PREFIXES: usize = 16;
