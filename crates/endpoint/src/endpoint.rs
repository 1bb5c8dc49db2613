//! The endpoint: which packet belongs to which connection, and which connection has to make room.

use std::net::IpAddr;

use mooring_http::{Method, Request, Response, Status};
use mooring_packet::Offload;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketSet};
use smoltcp::wire::HardwareAddress;

use crate::connection::{Connection, Phase, instant};
use crate::device::{LEAST_MTU, Line};
use crate::segment::{Ends, Refusal, Segment};

/// What an endpoint serves and how much of it at a time.
#[derive(Clone, Debug)]
pub struct Config {
    /// The services.
    pub services: Vec<Service>,
    /// All that is random (sequence numbers) comes from it.
    pub seed: [u8; 32],
    /// Connections at a time, at most: each takes about 8 KB at start. At least 1.
    pub capacity: usize,
    /// Of these, half-open ones at most. At least 1.
    pub backlog: usize,
    /// Bytes of the longest IP packet that may be sent: the least of the interfaces' MTUs.
    pub mtu: u16,
}

/// A service on a TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it does.
    pub kind: ServiceKind,
    /// The owned address.
    pub address: IpAddr,
    /// The TCP port; not 0.
    pub port: u16,
}

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// An HTTP server that says whether the appliance is well, at `/` and `/healthz`.
    Health,
}

/// What happened to the packets that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// SYNs that were given a connection.
    pub accepted: u64,
    /// HTTP requests answered, refusals included.
    pub requests: u64,
    /// Connections that had to make room for a new one.
    pub evicted: u64,
    /// Clients that took too long.
    pub late: u64,
    /// Segments without a connection that were answered by a reset.
    pub reset: u64,
}

/// All services of a worker. See the crate's documentation.
pub struct Endpoint {
    services: Vec<Service>,
    interface: Interface,
    /// For what belongs to no connection.
    no_sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    /// Who uses each connection, and when it wants a turn; beside them, so that looking for one
    /// reads little memory.
    places: Vec<Place>,
    /// The earliest of the places' times.
    next_due: u64,
    backlog: usize,
    mtu: usize,
    scratch: Vec<u8>,
    random: ChaCha8Rng,
    resets: Resets,
    counters: Counters,
}

/// A connection as seen from outside.
#[derive(Clone, Copy, Debug)]
struct Place {
    tag: u32,
    phase: Phase,
    ends: Option<Ends>,
    /// When the connection was accepted, in milliseconds.
    accepted: u64,
    /// When it wants a turn, in milliseconds.
    due: u64,
}

impl Endpoint {
    /// An endpoint that has taken all its memory.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut random = ChaCha8Rng::from_seed(config.seed);
        let mtu = usize::from(config.mtu).max(LEAST_MTU);
        let capacity = config.capacity.max(1);
        Self {
            services: config.services,
            interface: interface(&mut random, mtu, 0),
            no_sockets: SocketSet::new(Vec::new()),
            connections: (0..capacity).map(|_| Connection::new()).collect(),
            places: vec![Place::FREE; capacity],
            next_due: u64::MAX,
            backlog: config.backlog.clamp(1, capacity),
            mtu,
            scratch: vec![0; mtu],
            random,
            resets: Resets { second: 0, left: RESETS_PER_SECOND },
            counters: Counters::default(),
        }
    }

    /// Takes an IP packet and emits what it calls for. `offload` as the port gave it: a partial
    /// checksum is not verified, a super-packet is taken whole.
    ///
    /// Costs a look at each connection's tag (4 bytes) and one turn of one connection.
    ///
    /// # Errors
    /// [`Refusal`], for whoever counts drops; nothing has changed then, and nothing was emitted.
    pub fn input(
        &mut self,
        now_ms: u64,
        packet: &[u8],
        offload: Offload,
        emit: &mut impl FnMut(&mut [u8], Offload),
    ) -> Result<(), Refusal> {
        let segment = Segment::read(packet, offload.partial().is_some())?;
        if !self.serves(&segment.ends) {
            return Err(Refusal::Malformed);
        }
        let known = self.find(&segment.ends);
        match known {
            // RFC 1122 §4.2.2.13: a SYN "MAY" reopen a connection "directly from TIME-WAIT state".
            Some(at) if segment.begins() && self.places[at].phase == Phase::Over => {
                self.accept(now_ms, at, segment.ends);
                self.turn(now_ms, at, Some(packet), emit);
            }
            Some(at) => self.turn(now_ms, at, Some(packet), emit),
            None if segment.begins() => {
                let at = self.room().ok_or(Refusal::Full)?;
                self.accept(now_ms, at, segment.ends);
                self.turn(now_ms, at, Some(packet), emit);
            }
            None if segment.resets() => {}
            None => self.reset(now_ms, packet, emit)?,
        }
        Ok(())
    }

    /// Does what time asks for: retransmissions, and clients that take too long.
    pub fn poll(&mut self, now_ms: u64, emit: &mut impl FnMut(&mut [u8], Offload)) {
        if now_ms < self.next_due {
            return;
        }
        for at in 0..self.places.len() {
            if self.places[at].due <= now_ms {
                self.turn(now_ms, at, None, emit);
            }
        }
        self.next_due = self.places.iter().map(|place| place.due).min().unwrap_or(u64::MAX);
    }

    /// When [`Endpoint::poll`] has something to do, in milliseconds, at the earliest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        (self.next_due != u64::MAX).then_some(self.next_due)
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Connections in use.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.iter().filter(|place| place.phase > Phase::Over).count()
    }

    fn serves(&self, ends: &Ends) -> bool {
        let (address, port) = (ends.local.ip(), ends.local.port());
        self.services.iter().any(|service| service.address == address && service.port == port)
    }

    fn find(&self, ends: &Ends) -> Option<usize> {
        let tag = ends.tag();
        self.places.iter().position(|place| place.tag == tag && place.ends == Some(*ends))
    }

    /// A connection for a new client. Beyond the backlog the oldest half-open connection makes room;
    /// in a full house one that is over, then a half-open, then an idle one: the oldest.
    fn room(&mut self) -> Option<usize> {
        let half_open = self.places.iter().filter(|place| place.phase == Phase::HalfOpen).count();
        let only = (half_open >= self.backlog).then_some(Phase::HalfOpen);
        let places = self.places.iter().enumerate();
        let able = places.filter(|(_, place)| match only {
            Some(phase) => place.phase == phase,
            None => place.phase <= Phase::Idle,
        });
        let (at, place) = able.min_by_key(|(_, place)| (place.phase, place.accepted))?;
        self.counters.evicted += u64::from(place.phase > Phase::Over);
        Some(at)
    }

    fn accept(&mut self, now_ms: u64, at: usize, ends: Ends) {
        // Its generator is the source of initial sequence numbers and can be computed from one of
        // them, so each connection gets a new one: RFC 6528 wants numbers that nobody can guess.
        self.interface = interface(&mut self.random, self.mtu, now_ms);
        self.connections[at].open(now_ms, &ends);
        self.places[at] = Place {
            tag: ends.tag(),
            phase: Phase::HalfOpen,
            ends: Some(ends),
            accepted: now_ms,
            due: now_ms,
        };
        self.counters.accepted += 1;
    }

    fn turn(
        &mut self,
        now_ms: u64,
        at: usize,
        packet: Option<&[u8]>,
        emit: &mut impl FnMut(&mut [u8], Offload),
    ) {
        let mut line = Line { packet, scratch: &mut self.scratch, mtu: self.mtu, emit };
        let connection = &mut self.connections[at];
        let turn = connection.turn(now_ms, &mut self.interface, &mut line, &health);
        self.counters.requests += turn.requests;
        self.counters.late += u64::from(turn.late);
        let place = &mut self.places[at];
        (place.phase, place.due) = (connection.phase(), turn.due);
        self.next_due = self.next_due.min(turn.due);
        if place.phase == Phase::Free {
            connection.forget();
            *place = Place::FREE;
        }
    }

    /// Answers a segment of no connection by a reset (RFC 9293 §3.5.2), but not endlessly.
    fn reset(
        &mut self,
        now_ms: u64,
        packet: &[u8],
        emit: &mut impl FnMut(&mut [u8], Offload),
    ) -> Result<(), Refusal> {
        if !self.resets.take(now_ms) {
            return Err(Refusal::RateLimited);
        }
        let packet = Some(packet);
        let mut line = Line { packet, scratch: &mut self.scratch, mtu: self.mtu, emit };
        self.interface.poll_ingress_single(instant(now_ms), &mut line, &mut self.no_sockets);
        self.counters.reset += 1;
        Ok(())
    }
}

impl Place {
    const FREE: Self = Self { tag: 0, phase: Phase::Free, ends: None, accepted: 0, due: u64::MAX };
}

/// Resets that may still be sent in this second.
#[derive(Debug)]
struct Resets {
    second: u64,
    left: u32,
}

impl Resets {
    fn take(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if second != self.second {
            *self = Self { second, left: RESETS_PER_SECOND };
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The health service: load balancers and probes ask `/healthz` or `/`.
fn health(request: Request<'_>) -> Response {
    let Request { method: Method::Get | Method::Head, path } = request;
    match path {
        "/" | "/healthz" => Response::text(Status::Ok, "ok\n"),
        _ => Response::bare(Status::NotFound),
    }
}

/// A stack that takes packets for any address: which ones, the caller and `serves` decide.
fn interface(random: &mut ChaCha8Rng, mtu: usize, now_ms: u64) -> Interface {
    let mut config = InterfaceConfig::new(HardwareAddress::Ip);
    config.random_seed = random.next_u64();
    let mut line = Line { packet: None, scratch: &mut [], mtu, emit: &mut |_: &mut [u8], _| {} };
    let mut interface = Interface::new(config, &mut line, instant(now_ms));
    interface.set_any_ip(true);
    interface
}

/// Resets of our own: enough to end what a restart has left, useless to an attacker.
const RESETS_PER_SECOND: u32 = 100;
