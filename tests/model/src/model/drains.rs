//! Sessions whose rule is gone, and which worker their packets come to meanwhile.

use super::{Model, Session};
use crate::packet::{End, GRE, ICMP, ICMPV6, TCP, UDP};
use crate::spec::{Action, Kind, Spec};
use crate::tracking::Way;

impl Model {
    /// A policy of before is needed for as long as sessions may drain of it; one that says the same of all
    /// ports needs no place of its own.
    pub(super) fn remember(&mut self, before: Spec) {
        self.former.insert(0, before);
        let mut known = vec![self.spec.division()];
        self.former.retain(|spec| {
            let division = spec.division();
            let is_new = spec.drains() && !known.contains(&division);
            known.push(division);
            is_new
        });
    }

    /// Blocks of another shape begin anew: nobody has had one.
    pub(super) fn follow_blocks(&mut self, before: &Spec) {
        let shapes = |spec: &Spec| -> Vec<_> {
            let size = |kind| if let Kind::Blocks(size, ..) = kind { size } else { 0 };
            let shape = |pool: &crate::spec::Pool| {
                (pool.name, pool.addresses.clone(), pool.ports, size(pool.kind))
            };
            spec.pools.iter().map(shape).filter(|shape| shape.3 > 0).collect()
        };
        if shapes(before) != shapes(&self.spec) {
            self.blocks.clear();
        }
    }

    /// Whether the packets from outside of a session come to its worker, whichever of them gets them first.
    pub(super) fn is_at_home(&self, session: &Session) -> bool {
        let outside = session.outside;
        let stands = session.inside.0 != outside.0;
        let owner = self.owner_from_outside(session.protocol, outside).filter(|_| stands);
        owner.is_none_or(|owner| owner == session.worker)
    }

    /// Whether nobody else has the outside end of a session whose rule is gone.
    pub(super) fn may_drain(&self, session: &Session) -> bool {
        let Session { protocol, outside, inside, .. } = *session;
        let claimed = self.spec.claimant(protocol, outside);
        let leased = session.mapping.is_some() || session.began == Way::Forward;
        let mut pools = self.spec.pools.iter().filter(|pool| pool.leases(TCP, outside));
        let sliced = pools.find_map(|pool| pool.host_of_slice(outside));
        // A ping of an address of ours is ours.
        let pings = matches!(protocol, ICMP | ICMPV6) && outside.1 == 0;
        let pinged = pings && claimed.is_none() && self.spec.is_outside_address(outside.0);
        claimed.is_none_or(|end| end == inside)
            && !pinged
            && !(leased && sliced.is_some_and(|host| host != inside.0))
    }

    fn owner_from_outside(&self, protocol: u8, end: End) -> Option<usize> {
        let named = |spec: &Spec| {
            if let Some((host, _)) = spec.claimant(protocol, end) {
                return self.owners.get(&host).copied();
            }
            let mut pools = spec.pools.iter().filter(|pool| pool.leases(protocol, end));
            let any = pools.next()?;
            let special = |pool: &&crate::spec::Pool| {
                matches!(pool.kind, Kind::Blocks(..) | Kind::Slices(..)) && pool.leases(TCP, end)
            };
            let pool = spec.pools.iter().find(special).unwrap_or(any);
            match pool.host_of_slice(end) {
                Some(host) => self.owners.get(&host).copied(),
                None => {
                    self.owner_of_end(pool, end).or(Some(usize::from(end.1 / 2) % self.workers))
                }
            }
        };
        [&self.spec].into_iter().chain(&self.former).find_map(named)
    }
}

impl crate::spec::Pool {
    /// Whether a pool may give an end to somebody; identifiers are not limited, and GRE has no number.
    fn leases(&self, protocol: u8, end: End) -> bool {
        let (first, last) = self.ports;
        let has_ports = matches!(protocol, TCP | UDP);
        !self.empty
            && protocol != GRE
            && self.addresses.contains(&end.0)
            && (!has_ports || (first..=last).contains(&end.1))
    }
}

impl Spec {
    /// The inside end that a rule gives an outside end to.
    pub(crate) fn claimant(&self, protocol: u8, (address, port): End) -> Option<End> {
        self.rules.iter().find_map(|rule| match rule.action {
            Action::Static(inside, outside) if outside == address => Some((inside, port)),
            Action::PortForward(ours, of, (first, last), target)
                if (ours, of) == (address, protocol) && (first..=last).contains(&port) =>
            {
                Some((target.0, target.1 + (port - first)))
            }
            _ => None,
        })
    }

    /// Whether sessions of some rule drain.
    pub(crate) fn drains(&self) -> bool {
        self.rules.iter().any(|rule| rule.drain)
    }

    /// Whether some pool has blocks.
    pub(crate) fn has_blocks(&self) -> bool {
        self.pools.iter().any(|pool| matches!(pool.kind, Kind::Blocks(..)))
    }

    /// What says who has which port.
    fn division(&self) -> String {
        let pools: Vec<_> = self.pools.iter().map(|p| (&p.addresses, p.ports, p.kind)).collect();
        let claims =
            |action: &&Action| matches!(action, Action::Static(..) | Action::PortForward(..));
        let mut claims: Vec<String> = self
            .rules
            .iter()
            .map(|rule| &rule.action)
            .filter(claims)
            .map(|action| format!("{action:?}"))
            .collect();
        claims.sort_unstable();
        format!("{pools:?} {claims:?}")
    }
}
