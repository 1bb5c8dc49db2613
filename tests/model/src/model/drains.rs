//! Sessions whose rule is gone.

use super::{Model, Session};
use crate::packet::{End, ICMP, ICMPV6, TCP};
use crate::spec::{Action, Kind, Spec};
use crate::tracking::Way;

impl Model {
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

    /// Whether the packets of both directions of a session come to its worker, whichever of them gets them
    /// first.
    pub(crate) fn is_at_home(&self, session: &Session) -> bool {
        let owner = |way: Way| self.owners.of(&session.key(way), session.side(way));
        [Way::Forward, Way::Reverse].into_iter().all(|way| owner(way) == session.worker)
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
    pub(crate) fn division(&self) -> String {
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
