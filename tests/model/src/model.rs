//! What the appliance should do, the slow and obvious way.
//!
//! [`Model::judge`] says what must come of a packet, and changes what is remembered as the packet does.
//! It is told what was seen ([`Seen`]), for two things that are the engine's to choose: the port of a
//! lease, and the address that a host is paired with. Each choice is checked against the rules before it
//! is believed. Which worker a packet belongs to it reckons itself (`owner`).

mod drains;
mod errors;
mod leases;
mod limits;
mod plan;
mod probes;
mod reload;
mod says;
mod unsolicited;
mod windows;

use std::collections::BTreeMap;
use std::net::IpAddr;

use self::limits::{Counts, Holder};
use self::plan::{Plan, is_syn, may_begin};
use self::unsolicited::Unsolicited;
pub(crate) use self::windows::Numbers;
use self::windows::{Belief, Talk};
use crate::owner::Owners;
use crate::packet::{Body, End, Key, Packet};
use crate::spec::{Pool, Side, Spec, is_own, own_address, side_of};
use crate::tracking::{State, Way};

pub(crate) struct Model {
    pub(crate) spec: Spec,
    /// Milliseconds.
    pub(crate) now: u64,
    pub(crate) generation: u32,
    pub(crate) workers: usize,
    pub(crate) sessions: Vec<Session>,
    pub(crate) mappings: Vec<Mapping>,
    /// Ports that rest.
    resting: Vec<Rest>,
    /// Blocks that nobody has any more, who had them last, and until when they rest.
    blocks: Vec<((IpAddr, u16), IpAddr, u64)>,
    /// The pools that say how long, by name: a pool that is gone is remembered.
    rests: BTreeMap<&'static str, Pool>,
    /// Which address of a pool a host was seen to be paired with.
    paired: BTreeMap<(&'static str, IpAddr), IpAddr>,
    /// Which worker a packet comes to.
    pub(crate) owners: Owners,
    /// Addresses that the kernel answers for.
    pub(crate) kernel: Vec<IpAddr>,
    /// Since which generation it is known whom mappings talk to: since a policy asked first.
    contacts_since: Option<u32>,
    /// The timeouts of the policies since the last sweep was done.
    pending: Vec<[u64; 5]>,
    buckets: BTreeMap<(usize, Bucket), (f64, u64)>,
    /// New sessions that count against a rate: thousandths of them, and when.
    spent: BTreeMap<(usize, limits::Spender), (u64, u64)>,
    /// What is counted, of IPv6 and of IPv4.
    counts: [Counts; 2],
    /// Sessions that the packet of now has ended, or policies before it.
    gone: Vec<Key>,
    /// SYN that nobody has asked for and whose senders will be told.
    unsolicited: Vec<Unsolicited>,
    next: u64,
    /// Connections that have begun to close, ever.
    closed: u64,
}

/// Both directions of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) worker: usize,
    pub(crate) protocol: u8,
    pub(crate) inside: End,
    pub(crate) outside: End,
    pub(crate) remote: End,
    /// Which way its first packet went.
    pub(crate) began: Way,
    pub(crate) rule: &'static str,
    /// The pool of its outside end.
    pool: Option<&'static str>,
    /// Whose limits count it beside its source's.
    holder: Option<Holder>,
    /// Limits count it.
    counted: bool,
    /// The mapping that it shares.
    pub(crate) mapping: Option<u64>,
    /// Where forward and reverse packets come in.
    pub(crate) sides: [Side; 2],
    pub(crate) state: State,
    /// Of a connection that closes: how many had begun to before it.
    closing: Option<u64>,
    pub(crate) last: u64,
    pub(crate) packets: [u64; 2],
    /// When a policy was asked about it.
    renewed: u64,
    generation: u32,
    drains: bool,
    /// Only what comes from inside keeps it alive.
    outbound: bool,
    talk: Talk,
}

/// An inside end and what stands for it outside.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) id: u64,
    pub(crate) worker: usize,
    pub(crate) pool: &'static str,
    pub(crate) protocol: u8,
    pub(crate) inside: End,
    pub(crate) outside: End,
    /// Limits count it.
    counted: bool,
}

/// A port whose mapping has ended, and when it is anybody's again.
#[derive(Clone, Debug)]
struct Rest {
    was: Mapping,
    until: u64,
    /// Its host may have had it again meanwhile, in the half of a hairpin that nobody saw.
    doubtful: bool,
}

/// What was seen of a packet's way.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The workers that walked it; true: as the second half of a hairpin.
    pub(crate) legs: Vec<(usize, bool)>,
    /// Why it was dropped.
    pub(crate) dropped: Option<&'static str>,
    /// What left.
    pub(crate) sent: Vec<(Side, Packet)>,
    /// The outside end of a session that no packet shows.
    pub(crate) learned: Option<End>,
    /// Sessions that are not there any more.
    pub(crate) gone: Vec<Key>,
}

/// What should be seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) dropped: Option<&'static str>,
    pub(crate) sent: Vec<(Side, Packet)>,
}

/// What the appliance says itself is limited in rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bucket {
    Error,
    TooBig,
    Echo,
}

/// Why a packet is dropped: a name of `show drops`.
pub(crate) type Reason = &'static str;

/// What the model says, or how the engine has broken a rule.
pub(crate) type Judged<T> = Result<T, String>;

impl Session {
    pub(crate) fn key(&self, way: Way) -> Key {
        let Self { protocol, inside, outside, remote, .. } = *self;
        match way {
            Way::Forward => Key { protocol, source: inside, destination: remote },
            Way::Reverse => Key { protocol, source: remote, destination: outside },
        }
    }

    /// The flow of a packet behind its translation.
    fn translated(&self, way: Way) -> Key {
        self.key(way.turned()).turned()
    }

    /// No conversation goes on in it.
    fn is_expendable(&self) -> bool {
        self.state.is_expendable()
    }

    pub(crate) fn side(&self, way: Way) -> Side {
        self.sides[way as usize]
    }
}

impl Model {
    pub(crate) fn new(spec: Spec, workers: usize) -> Self {
        let contacts_since = spec.filters_by_address().then_some(0);
        Self {
            contacts_since,
            now: 0,
            generation: 1,
            workers,
            sessions: Vec::new(),
            mappings: Vec::new(),
            resting: Vec::new(),
            blocks: Vec::new(),
            rests: spec.pools.iter().map(|pool| (pool.name, pool.clone())).collect(),
            paired: BTreeMap::new(),
            owners: Owners::new(&spec, workers),
            kernel: Vec::new(),
            pending: Vec::new(),
            buckets: BTreeMap::new(),
            spent: BTreeMap::new(),
            counts: [false, true].map(|v4| Counts::of(&spec, v4)),
            gone: Vec::new(),
            unsolicited: Vec::new(),
            next: 0,
            closed: 0,
            spec,
        }
    }

    /// What must come of a whole packet that comes in by `from`.
    pub(crate) fn judge(&mut self, packet: &Packet, from: Side, seen: &Seen) -> Judged<Expected> {
        self.gone.clone_from(&seen.gone);
        if let Body::Error { .. } = packet.body {
            return self.error(packet, from, seen);
        }
        let key = packet.key().expect("an ICMP error has been judged");
        match self.lookup(&key) {
            // With a forged source it may have come to a worker that does not know the session.
            Some((at, way)) if self.is_there(at, way, from, seen) => {
                self.pass((at, way), packet, from, seen)
            }
            _ => self.miss(&key, packet, from, seen),
        }
    }

    fn is_there(&self, at: usize, way: Way, from: Side, seen: &Seen) -> bool {
        let session = &self.sessions[at];
        session.side(way) == from || session.worker == seen.first_half()
    }

    /// Whether a session has been admitted, or asked about, under the policy of now.
    pub(crate) fn is_current(&self, session: &Session) -> bool {
        session.generation == self.generation
    }

    /// The session of a flow, if the policy of now still wants it.
    fn lookup(&mut self, key: &Key) -> Option<(usize, Way)> {
        let (at, way) = self.find(key)?;
        self.recheck(at).then_some((at, way))
    }

    pub(crate) fn find(&self, key: &Key) -> Option<(usize, Way)> {
        [Way::Forward, Way::Reverse].into_iter().find_map(|way| {
            let at = self.sessions.iter().position(|session| session.key(way) == *key)?;
            Some((at, way))
        })
    }

    /// A packet without a session.
    fn miss(&mut self, key: &Key, packet: &Packet, from: Side, seen: &Seen) -> Judged<Expected> {
        if let Some(done) = self.ours(key, packet, from, seen) {
            return Ok(done);
        }
        let plan = match self.plan(key, from) {
            Ok(plan) => plan,
            Err(reason) => {
                self.keep_unsolicited(reason, packet, from, seen);
                return Ok(self.refuse(reason, packet, from, seen));
            }
        };
        match self.admit(&plan, packet, from, seen)? {
            Ok(at) => self.pass((at, plan.began), packet, from, seen),
            Err(reason) => Ok(self.refuse(reason, packet, from, seen)),
        }
    }

    /// What the addresses decide alone.
    fn ours(&mut self, key: &Key, packet: &Packet, from: Side, seen: &Seen) -> Option<Expected> {
        let (source, destination) = (key.source.0, key.destination.0);
        let outside = self.spec.is_outside_address(destination);
        if [source, destination].into_iter().any(is_martian) {
            return Some(Expected::dropped("martian"));
        }
        if is_own(destination) || outside && from == Side::Outside {
            let answers = match outside {
                true => self.spec.pings(destination),
                false => own_address(from, destination) == destination,
            };
            if answers && matches!(packet.body, Body::Echo { reply: false, .. }) {
                if outside && side_of(source) == Some(Side::Inside) {
                    return Some(Expected::dropped("spoofed_source"));
                }
                if outside && !self.spec.may_ping(destination, source) {
                    return Some(Expected::dropped("denied"));
                }
                return Some(self.echo(packet, from, seen));
            }
        }
        if is_own(destination) {
            return Some(Expected::dropped("no_service"));
        }
        (!outside && self.kernel.contains(&destination))
            .then(|| Expected::dropped("kernel_address"))
    }

    /// A session for a flow that may have one.
    fn admit(
        &mut self,
        plan: &Plan,
        packet: &Packet,
        from: Side,
        seen: &Seen,
    ) -> Judged<Result<usize, Reason>> {
        let worker = if from == Side::Hairpin { seen.last() } else { seen.first_half() };
        if !may_begin(plan, packet.flags(), &self.spec) {
            return Ok(Err("no_session"));
        }
        if packet.ttl <= 1 && from != Side::Hairpin {
            return Ok(Err("ttl_expired"));
        }
        self.check_owner(plan, from, worker)?;
        let first = (from == Side::Hairpin).then(|| plan.key.turned());
        let first = first.and_then(|key| self.find(&key));
        let spared = first.map(|(at, _)| self.sessions[at].key(Way::Forward));
        if let Some(reason) = self.limit(plan, worker, (spared, seen))? {
            return Ok(Err(reason));
        }
        let (outside, mapping) = match self.outside(plan, worker, seen)? {
            Ok(outside) => outside,
            Err(reason) => return Ok(Err(reason)),
        };
        let protocol = plan.key.protocol;
        let session = Session {
            worker,
            protocol,
            inside: plan.inside,
            outside,
            remote: plan.remote,
            began: plan.began,
            rule: plan.rule,
            pool: self.pool_of(plan).map(|pool| pool.name),
            holder: None,
            counted: false,
            mapping,
            sides: plan.sides,
            state: match packet.flags() {
                Some(flags) if !is_syn(flags) => State::PickedUp,
                _ => State::Begun(plan.began),
            },
            closing: None,
            last: self.now,
            packets: [0; 2],
            renewed: self.now,
            generation: self.generation,
            drains: plan.drains,
            outbound: self.refreshes_outbound(plan),
            talk: Talk::default(),
        };
        let keys = [session.key(Way::Forward), session.key(Way::Reverse)];
        if keys.iter().any(|key| self.find(key).is_some()) {
            return Ok(Err("ports_exhausted"));
        }
        self.spend(plan, worker);
        self.sessions.push(session);
        let at = self.sessions.len() - 1;
        self.count(at, self.holder_of(plan));
        Ok(Ok(at))
    }

    /// A packet of a session.
    fn pass(
        &mut self,
        (at, way): (usize, Way),
        packet: &Packet,
        from: Side,
        seen: &Seen,
    ) -> Judged<Expected> {
        let session = &self.sessions[at];
        let worker = if from == Side::Hairpin { seen.last() } else { seen.first_half() };
        if session.worker != worker {
            return Err(format!("worker {worker} walked a packet of {session:?}"));
        }
        if session.side(way) != from {
            return Ok(Expected::dropped("spoofed_source"));
        }
        if self.reopens_too_many(at, way, packet.flags()) {
            return Ok(self.refuse("half_open_limit", packet, from, seen));
        }
        let belief = self.believe(at, way, packet);
        if belief == Belief::Dropped {
            return Ok(Expected::dropped("out_of_window"));
        }
        if packet.ttl <= 1 {
            return Ok(self.refuse("ttl_expired", packet, from, seen));
        }
        let session = &self.sessions[at];
        let egress = session.side(way.turned());
        let mut translated = packet.with_key(session.translated(way));
        let mtu = mtu(egress);
        // No router cuts in IPv6 (RFC 8200 §5).
        if packet.wire_len() > mtu && (packet.whole || packet.source.is_ipv6()) {
            let error = if packet.source.is_ipv4() { (3, 4) } else { (2, 0) };
            let sent = self.tell((error, mtu as u32, Bucket::TooBig), packet, from, seen);
            return Ok(Expected { dropped: Some("too_big"), sent });
        }
        if egress == Side::Hairpin {
            return self.second_half(at, &translated, packet, (way, seen));
        }
        self.touch(at, way, belief.flags(packet.flags()));
        translated.ttl -= 1;
        Ok(Expected { dropped: None, sent: vec![(egress, translated)] })
    }

    /// A packet behind the first half of a hairpin: as if it came from outside (RFC 4787 REQ-9).
    fn second_half(
        &mut self,
        first: usize,
        half: &Packet,
        packet: &Packet,
        (way, seen): (Way, &Seen),
    ) -> Judged<Expected> {
        let key = half.key().expect("it has one, as before");
        let together = seen.first_half() == seen.last();
        let id = self.sessions[first].key(Way::Forward);
        if !together {
            // What it does to the state stays, whatever the other worker says.
            self.touch(first, way, packet.flags());
        }
        let found = match self.lookup(&key) {
            Some((at, way)) if self.sessions[at].side(way) == Side::Hairpin => Ok((at, way)),
            _ => match self.plan(&key, Side::Hairpin) {
                Ok(plan) => {
                    self.admit(&plan, half, Side::Hairpin, seen)?.map(|at| (at, plan.began))
                }
                Err(reason) => Err(reason),
            },
        };
        let found = found.and_then(|(at, way)| {
            let too_many = self.reopens_too_many(at, way, packet.flags());
            if too_many { Err("half_open_limit") } else { Ok((at, way)) }
        });
        let (mut second, back) = match found {
            Ok(found) => found,
            Err(reason) => {
                let at = self.find(&id).map(|found| found.0);
                if let Some(at) = at.filter(|_| !together) {
                    self.sessions[at].packets[way as usize] -= 1;
                }
                if let Some(at) = at.filter(|at| self.is_unused(*at)) {
                    self.end(at);
                }
                return Ok(self.refuse(reason, packet, Side::Inside, seen));
            }
        };
        let session = &self.sessions[second];
        if session.worker != seen.last() {
            return Err(format!("worker {} walked a packet of {session:?}", seen.last()));
        }
        let mut translated = half.with_key(session.translated(back));
        translated.ttl -= 1;
        let egress = session.side(back.turned());
        if together {
            let (first, _) = self.find(&id).ok_or("the first half has gone")?;
            let id = session.key(Way::Forward);
            self.touch(first, way, packet.flags());
            (second, _) = self.find(&id).ok_or("half of a hairpin has gone for the other")?;
        }
        self.touch(second, back, packet.flags());
        Ok(Expected { dropped: None, sent: vec![(egress, translated)] })
    }

    /// More pieces of a datagram of a flow have passed.
    pub(crate) fn pass_pieces(&mut self, key: &Key, number: usize) {
        let Some((at, way)) = self.find(key) else { return };
        (0..number).for_each(|_| self.touch(at, way, None));
    }

    fn is_unused(&self, at: usize) -> bool {
        self.sessions[at].packets == [0; 2]
    }

    /// Accounts for a packet.
    fn touch(&mut self, at: usize, way: Way, flags: Option<u8>) {
        let session = &mut self.sessions[at];
        session.packets[way as usize] += 1;
        let (after, anew) = session.state.after(way, flags, session.outbound);
        session.state = after;
        if anew {
            session.last = self.now;
        }
        self.closes(at);
    }

    /// Takes a session out, and its mapping if nobody else uses it.
    pub(crate) fn end(&mut self, at: usize) -> Session {
        let session = self.sessions.remove(at);
        if let Some(id) = session.mapping
            && !self.sessions.iter().any(|other| other.mapping == Some(id))
        {
            let at = self.mappings.iter().position(|mapping| mapping.id == id);
            let was = self.mappings.remove(at.expect("a session's mapping is there"));
            self.rest(was);
        } else if let (None, Some(pool)) = (session.mapping, session.pool) {
            self.rest_block(pool, session.inside.0, session.outside);
        }
        session
    }
}

impl Expected {
    pub(crate) const fn dropped(reason: Reason) -> Self {
        Self { dropped: Some(reason), sent: Vec::new() }
    }
}

impl Seen {
    /// The worker that had the last word.
    fn last(&self) -> usize {
        self.legs.last().map_or(0, |leg| leg.0)
    }

    /// The worker that walked it as it arrived.
    fn first_half(&self) -> usize {
        self.legs.iter().rev().find(|leg| !leg.1).map_or(0, |leg| leg.0)
    }
}

/// Bytes of the longest packet that a link carries.
pub(crate) const fn mtu(side: Side) -> usize {
    match side {
        Side::Inside => 1500,
        Side::Outside => 1400,
        Side::Hairpin => usize::MAX,
    }
}

/// No packet on a link may have it (RFC 1812 §5.3.7, RFC 4291 §2.7).
fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets() == [0; 4]
                || v4.octets()[0] == 127
                || (224..240).contains(&v4.octets()[0])
                || v4.octets() == [255; 4]
        }
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            v6.octets()[0] == 0xff || v6.to_bits() <= 1 || link_local
        }
    }
}
