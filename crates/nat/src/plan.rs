//! What the policy makes of a new flow: who is inside, what stands for it outside, and where its
//! packets go. Nothing is taken and nothing changes here; a reload asks again for sessions that live.
//!
//! Four ways: *through* (the destination is somebody else's), *inbound* (it is ours, and the packet
//! comes from its outside), *hairpin* (it is ours, and the packet comes from inside), and the second
//! half of a hairpin, which is inbound from the first one.

use mooring_policy::{
    Action, Filtering, Hop, InterfaceId, Party, PartyId, Policy, Pool, PoolId, Question, RuleId,
};
use mooring_session::{Address, Contact, Direction, FlowKey, HAIRPIN, MappingIndex, NO_RULE};

use crate::decided::Asked;
use crate::{Arrival, Nat, Refusal};

/// In place of an interface: the packet comes from the first half of a hairpin, or goes on into the
/// second one.
pub const HAIRPIN_INTERFACE: InterfaceId = InterfaceId(HAIRPIN);

/// How a flow is to be translated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<A> {
    /// The rule that says so.
    pub(crate) rule: RuleId,
    /// Which way the packet travels that the plan was made for.
    pub(crate) began: Direction,
    /// The flow of forward packets: from the inside host to the remote one.
    pub(crate) forward: FlowKey<A>,
    /// What stands for the inside host.
    pub(crate) end: End<A>,
    /// Where forward packets go; `None`: on into the other half of a hairpin.
    pub(crate) out: Option<Hop>,
    /// Where reverse packets go.
    pub(crate) back: Hop,
}

/// What stands for an inside host outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<A> {
    /// Something of this pool.
    Lease(PoolId),
    /// This address and port; whether another flow has them is for the table to say.
    Fixed(A, u16),
    /// The outside end of a mapping.
    Shared(MappingIndex),
}

impl<A: Copy> Plan<A> {
    /// Interfaces that forward and reverse packets come in by.
    pub(crate) fn ingress(&self) -> [u8; 2] {
        [self.back.interface.0, self.out.map_or(HAIRPIN, |hop| hop.interface.0)]
    }

    /// The rule's number, or that of no rule.
    pub(crate) fn rule(&self) -> u16 {
        debug_assert!(self.rule.0 != NO_RULE, "a policy has at most 10,000 rules");
        self.rule.0
    }
}

impl<A: Address> Nat<A> {
    /// What the policy makes of a flow that begins.
    ///
    /// # Errors
    /// Why it makes nothing of it.
    pub(crate) fn plan(&self, arrival: &Arrival<A>, policy: &Policy) -> Result<Plan<A>, Refusal> {
        let destination = arrival.key.destination.into();
        let receiver = self.decided.receiver(arrival.key.destination, policy);
        if policy.party_of(receiver).ownership().is_none() {
            return self.through(arrival, receiver, policy);
        }
        if !policy.is_held(destination) {
            return Err(Refusal::AddressNotHeld);
        }
        let outside = policy.outside_of(destination);
        let Some(lowest) = outside.lowest() else {
            return Err(self.unsolicited(&arrival.key));
        };
        if arrival.ingress == HAIRPIN_INTERFACE {
            self.inbound(&Arrival { ingress: lowest, ..*arrival }, policy)
        } else if outside.contains(arrival.ingress) {
            let plan = self.inbound(arrival, policy)?;
            let sender = policy.party(arrival.key.source.into());
            Ok(Plan { out: Some(way_back(arrival, sender, policy)?), ..plan })
        } else {
            self.around(arrival, lowest, policy)
        }
    }

    /// A packet to somebody else: routed, then asked for.
    fn through(
        &self,
        arrival: &Arrival<A>,
        receiver: PartyId,
        policy: &Policy,
    ) -> Result<Plan<A>, Refusal> {
        let Arrival { ingress, key, .. } = *arrival;
        let sender = self.decided.sender(key.source, policy);
        let parties = [sender, receiver].map(|id| policy.party_of(id));
        let hop = parties[1].route(key.destination.into()).ok_or(Refusal::NoRoute)?;
        let asked = Asked { ingress, protocol: key.protocol, sender, receiver };
        let (rule, end) = match self.decided.answer(&asked) {
            Some((rule, pool)) => (rule, End::Lease(pool)),
            None => self.decide_and_learn(arrival, asked, hop.interface, policy)?,
        };
        let back = way_back(arrival, parties[0], policy)?;
        let began = Direction::Forward;
        Ok(Plan { rule, began, forward: key, end, out: Some(hop), back })
    }

    /// Asks the rules, and remembers what they will say of every flow between these parties.
    #[inline(never)]
    fn decide_and_learn(
        &self,
        arrival: &Arrival<A>,
        asked: Asked,
        egress: InterfaceId,
        policy: &Policy,
    ) -> Result<(RuleId, End<A>), Refusal> {
        let parties = [asked.sender, asked.receiver].map(|id| policy.party_of(id));
        let (rule, end) = decide(arrival, egress, parties, policy)?;
        let question = question(&arrival.key, arrival.ingress, egress);
        // Whether a port is forwarded to the sender depends on the port.
        if let End::Lease(pool) = end
            && !parties[0].is_target()
            && policy.ports_do_not_matter(&question, parties)
        {
            self.decided.learn(asked, rule, pool);
        }
        Ok((rule, end))
    }

    /// A packet to an address of ours from inside of it. A hairpin, unless one of its ends is an
    /// address that is delivered: that stands for itself, so one session translates the other end.
    fn around(
        &self,
        arrival: &Arrival<A>,
        outside: InterfaceId,
        policy: &Policy,
    ) -> Result<Plan<A>, Refusal> {
        let half = hairpin(arrival, outside, policy)?;
        let delivered = |address: A| policy.delivered().any(|(_, to)| to == address.into());
        let (source, destination) = (arrival.key.source, arrival.key.destination);
        if delivered(source) {
            let plan = self.inbound(&Arrival { ingress: outside, ..*arrival }, policy)?;
            Ok(Plan { out: Some(half.back), ..plan })
        } else if delivered(destination) {
            let plan = self.inbound(&Arrival { ingress: outside, ..*arrival }, policy)?;
            Ok(Plan { out: Some(plan.back), ..half })
        } else {
            Ok(half)
        }
    }

    /// A packet to an address of ours from its outside: what a rule makes of it, else what a mapping
    /// lets in (RFC 4787 §5). Where forward packets go is left open.
    fn inbound(&self, arrival: &Arrival<A>, policy: &Policy) -> Result<Plan<A>, Refusal> {
        let key = &arrival.key;
        let Some(rule) = policy.inbound(&question(key, arrival.ingress, arrival.ingress)) else {
            return self.to_mapping(arrival, policy);
        };
        let (address, port) = match &policy.rule(rule).action {
            Action::Static(map) => {
                let inside = map.inward(key.destination.into()).and_then(A::from_ip);
                (inside, key.destination_port)
            }
            Action::PortForward(forward) => match forward.target(key.destination_port) {
                Some((target, port)) => (A::from_ip(target), port),
                None => (None, 0),
            },
            Action::Drop => return Err(Refusal::RuleDrop),
            Action::SourceNat(_) | Action::Bypass => (None, 0),
        };
        let address = address.ok_or(Refusal::NoRule)?;
        if !policy.rule(rule).access.of(key.source.into()).allowed {
            return Err(Refusal::Denied);
        }
        let back = policy.route(address.into()).ok_or(Refusal::NoRoute)?;
        Ok(Plan {
            rule,
            began: Direction::Reverse,
            forward: FlowKey { source: address, source_port: port, ..key.exchanged() },
            end: End::Fixed(key.destination, key.destination_port),
            out: None,
            back,
        })
    }

    /// A packet to an outside end that may be mapped: the filtering of its pool decides, for as long
    /// as a rule would translate what the inside end itself sends there.
    fn to_mapping(&self, arrival: &Arrival<A>, policy: &Policy) -> Result<Plan<A>, Refusal> {
        let key = &arrival.key;
        let (address, port) = (key.destination, key.destination_port);
        let index = self.mappings.find_outside(address, port, key.protocol);
        let index = index.ok_or(Refusal::NoSession)?;
        let mapping = self.mappings.mapping(index);
        // Most packets from strangers end here, so the rules are not looked through before.
        let pool = self.pool_of(mapping).ok_or(Refusal::Filtered)?;
        let Pool { filtering, access, .. } = policy.pool(pool);
        let passes = self.passes(*filtering, index, key.source);
        if !passes || !self.may_keep_mapping(policy, pool, mapping) {
            return Err(Refusal::Filtered);
        }
        if !access.of(key.source.into()).allowed {
            return Err(Refusal::Denied);
        }
        let back = policy.route(mapping.inside.into()).ok_or(Refusal::NoRoute)?;
        let (source, source_port) = (mapping.inside, mapping.inside_port);
        let forward = FlowKey { source, source_port, ..key.exchanged() };
        // Others reach a host no longer than it may reach them: a mapping may outlive its rule.
        let rule = policy.decide(&question(&forward, back.interface, arrival.ingress));
        let rule = rule.filter(|rule| policy.rule(*rule).action == Action::SourceNat(pool));
        Ok(Plan {
            rule: rule.ok_or(Refusal::Filtered)?,
            began: Direction::Reverse,
            forward,
            end: End::Shared(index),
            out: None,
            back,
        })
    }

    /// Whether a remote that has no session may send to a mapping (RFC 4787 §5).
    fn passes(&self, filtering: Filtering, mapping: MappingIndex, remote: A) -> bool {
        match filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.contacts.sessions(Contact { mapping, remote }) > 0,
            Filtering::AddressAndPortDependent => false,
        }
    }

    /// A packet to an address of ours that nothing wants: mapped for somebody else, or not at all.
    fn unsolicited(&self, key: &FlowKey<A>) -> Refusal {
        match self.mappings.find_outside(key.destination, key.destination_port, key.protocol) {
            Some(_) => Refusal::Filtered,
            None => Refusal::NoSession,
        }
    }
}

impl<A: Address> Nat<A> {
    /// Whose `allow` and `deny` a packet of the flow `key` to an address of ours meets, come from
    /// outside of it by `ingress`: for people who ask why.
    #[must_use]
    pub fn listed(
        &self,
        key: &FlowKey<A>,
        ingress: InterfaceId,
        policy: &Policy,
    ) -> Option<Listed<A>> {
        if let Some(rule) = policy.inbound(&question(key, ingress, ingress)) {
            return Some(Listed::Rule(rule));
        }
        let (address, port) = (key.destination, key.destination_port);
        let index = self.mappings.find_outside(address, port, key.protocol)?;
        let mapping = self.mappings.mapping(index);
        let pool = self.pool_of(mapping)?;
        let passes = self.passes(policy.pool(pool).filtering, index, key.source);
        let inside = (mapping.inside, mapping.inside_port);
        Some(Listed::Pool { pool, inside, passes })
    }
}

/// Who has a list of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<A> {
    /// A `static` or `port-forward` rule, or one that drops.
    Rule(RuleId),
    /// The pool of a mapping.
    Pool {
        /// Which.
        pool: PoolId,
        /// Address and port of the host that has the mapping.
        inside: (A, u16),
        /// Its filtering lets the sender in.
        passes: bool,
    },
}

/// A packet from inside to an address of ours that is outside of it: it is translated as if it went
/// out there, and comes back as a packet from outside would (RFC 4787 REQ-9, "External source IP
/// address and port").
fn hairpin<A: Address>(
    arrival: &Arrival<A>,
    outside: InterfaceId,
    policy: &Policy,
) -> Result<Plan<A>, Refusal> {
    let [sender, other] =
        [arrival.key.source, arrival.key.destination].map(|address| policy.party(address.into()));
    let (rule, end) = decide(arrival, outside, [sender, other], policy)?;
    let allowed = match policy.rule(rule).action {
        Action::SourceNat(pool) => policy.pool(pool).hairpin,
        Action::Static(_) => true,
        Action::PortForward(_) | Action::Bypass | Action::Drop => false,
    };
    if !allowed {
        return Err(Refusal::NoRule);
    }
    let back = way_back(arrival, sender, policy)?;
    Ok(Plan { rule, began: Direction::Forward, forward: arrival.key, end, out: None, back })
}

/// Asks the rules about a flow that its sender begins.
fn decide<A: Address>(
    arrival: &Arrival<A>,
    egress: InterfaceId,
    parties: [&Party; 2],
    policy: &Policy,
) -> Result<(RuleId, End<A>), Refusal> {
    let key = &arrival.key;
    let question = question(key, arrival.ingress, egress);
    let rule = policy.decide_between(&question, parties).ok_or(Refusal::NoRule)?;
    let forwarded = || parties[0].is_target().then(|| forwarded(key, egress, policy)).flatten();
    let end = match &policy.rule(rule).action {
        // An inside end has one outside end, whoever speaks first (RFC 4787 REQ-1).
        Action::SourceNat(pool) => match forwarded() {
            Some((address, port)) => End::Fixed(address, port),
            None => End::Lease(*pool),
        },
        Action::Static(map) => {
            let outside = map.outward(key.source.into()).and_then(A::from_ip);
            End::Fixed(outside.ok_or(Refusal::NoRule)?, key.source_port)
        }
        Action::Bypass => End::Fixed(key.source, key.source_port),
        Action::Drop => return Err(Refusal::RuleDrop),
        Action::PortForward(_) => return Err(Refusal::NoRule),
    };
    if let End::Fixed(outside, _) = end
        && !policy.is_held(outside.into())
    {
        return Err(Refusal::AddressNotHeld);
    }
    Ok((rule, end))
}

/// The outside end that a rule forwards to the sender of a flow which leaves by `egress`.
fn forwarded<A: Address>(
    key: &FlowKey<A>,
    egress: InterfaceId,
    policy: &Policy,
) -> Option<(A, u16)> {
    let inside = key.source.into();
    let (address, port) = policy.forwarded_end(egress, inside, key.protocol, key.source_port)?;
    Some((A::from_ip(address)?, port))
}

/// What the rules are asked about a flow that comes in by `ingress` and would leave by `egress`.
pub fn question<A: Address>(
    key: &FlowKey<A>,
    ingress: InterfaceId,
    egress: InterfaceId,
) -> Question {
    Question {
        ingress,
        egress,
        source: key.source.into(),
        destination: key.destination.into(),
        protocol: key.protocol,
        source_port: key.source_port,
        destination_port: key.destination_port,
    }
}

/// The route back to the source. It must lead to where the packet came from, and the address must
/// not be ours: else the source is forged (RFC 2827, RFC 3704 §2.2 strict reverse path). Ours, but
/// delivered to the processes behind that interface, it may be.
fn way_back<A: Address>(
    arrival: &Arrival<A>,
    sender: &Party,
    policy: &Policy,
) -> Result<Hop, Refusal> {
    let source = arrival.key.source.into();
    let back = sender.route(source).ok_or(Refusal::NoRoute)?;
    let delivered = || policy.delivered().any(|to| to == (arrival.ingress, source));
    let forged = sender.ownership().is_some() && !delivered();
    if back.interface != arrival.ingress || forged {
        return Err(Refusal::SpoofedSource);
    }
    Ok(back)
}
