//! Our own services, between the engine and their endpoint: packets for them go in, what they send
//! comes out. Without a service in the policy nothing is allocated and nothing asked.

use std::io;

use mooring_endpoint::{self as endpoint, Refusal};
use mooring_engine::{DropReason, Engine, Outbox, Verdict};
use mooring_packet::{Offload, Packet};
use mooring_policy::{Service, ServiceKind};
use mooring_session::Tick;
use mooring_wire::ethernet::HEADER_LEN;

/// The services of a worker.
pub struct Services {
    endpoint: Option<Box<endpoint::Endpoint>>,
    /// What the endpoint was made of.
    made_of: (Vec<Service>, u16),
}

impl Services {
    /// Those of the engine's policy.
    ///
    /// # Errors
    /// The operating system's, when it has no random numbers.
    pub fn of(engine: &Engine) -> io::Result<Self> {
        let made_of = made_of(engine);
        let endpoint = endpoint(&made_of)?.map(Box::new);
        Ok(Self { endpoint, made_of })
    }

    /// Follows a change of the engine's policy. Where the services are others, their connections end.
    pub fn follow(&mut self, engine: &Engine) {
        let now = made_of(engine);
        if now == self.made_of {
            return;
        }
        // Without random numbers for the new ones there are none: the old ones are not wanted.
        self.endpoint = endpoint(&now).unwrap_or_default().map(Box::new);
        self.made_of = now;
    }

    /// Gives a packet whose verdict is [`Verdict::Service`] to its service, and what that answers to
    /// the engine.
    pub fn take(
        &mut self,
        now: Tick,
        (packet, verdict): (&Packet<'_>, Verdict),
        engine: &mut Engine,
        outbox: &mut Outbox,
    ) {
        let (Verdict::Service(_), Some(endpoint)) = (verdict, &mut self.endpoint) else { return };
        let Some(ip) = packet.bytes().get(HEADER_LEN..) else { return };
        let taken = endpoint.input(now.as_millis(), ip, packet.offload, &mut |bytes, offload| {
            send(now, bytes, offload, engine, outbox);
        });
        if let Err(refusal) = taken {
            engine.counters.drops[reason(refusal) as usize] += 1;
        }
    }

    /// Does what time asks of the services.
    pub fn poll(&mut self, now: Tick, engine: &mut Engine, outbox: &mut Outbox) {
        let Some(endpoint) = &mut self.endpoint else { return };
        endpoint.poll(now.as_millis(), &mut |bytes, offload| {
            send(now, bytes, offload, engine, outbox);
        });
    }

    /// When [`Services::poll`] has something to do, at the earliest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.endpoint.as_ref()?.next_deadline().map(Tick::from_millis)
    }
}

/// The services of the engine's policy, and the longest packet for every link.
fn made_of(engine: &Engine) -> (Vec<Service>, u16) {
    let mtu = engine.links().iter().map(|link| link.mtu).min().unwrap_or_default();
    (engine.policy().0.services.clone(), mtu)
}

fn endpoint((services, mtu): &(Vec<Service>, u16)) -> io::Result<Option<endpoint::Endpoint>> {
    if services.is_empty() {
        return Ok(None);
    }
    let services = services.iter().map(|service| endpoint::Service {
        kind: match service.kind {
            ServiceKind::Health => endpoint::ServiceKind::Health,
        },
        address: service.address,
        port: service.port,
    });
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let config = endpoint::Config {
        services: services.collect(),
        seed,
        capacity: CONNECTIONS,
        backlog: BACKLOG,
        mtu: *mtu,
    };
    Ok(Some(endpoint::Endpoint::new(config)))
}

/// The name under which a packet that is not served is counted.
const fn reason(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Malformed => DropReason::Malformed,
        Refusal::BadChecksum => DropReason::BadChecksum,
        Refusal::Full => DropReason::TableFull,
        Refusal::RateLimited => DropReason::RateLimited,
    }
}

/// A service repeats what is lost on its way, so a packet that cannot be sent is only counted.
fn send(now: Tick, bytes: &[u8], offload: Offload, engine: &mut Engine, outbox: &mut Outbox) {
    if let Err(reason) = engine.send_ip(now, bytes, offload, outbox) {
        engine.counters.drops[reason as usize] += 1;
    }
}

/// Connections of all services at a time: a load balancer that checks our health has a few.
const CONNECTIONS: usize = 256;

/// Of these, half-open ones at most.
const BACKLOG: usize = 64;
