//! What the rules have said lately, so that they need not be asked again by a flow that they would say the same of.
//!
//! A policy is the same for all addresses of a party; where no rule asks for ports, two parties, a protocol and the
//! interface are all that decides. It is remembered only where the answer is what it mostly is: something of a pool.
//! Nothing that a packet does can make it wrong: with another policy all is forgotten.

use std::cell::Cell;

use mooring_policy::{InterfaceId, Party, PartyId, Policy, PoolId, RuleId};
use mooring_session::Address;
use mooring_wire::Protocol;

/// The answers of one policy, and where in it the last flow was. In cells: to remember is no change that anybody sees.
#[derive(Debug)]
pub(crate) struct Decided {
    answers: Box<[Cell<Option<Answer>>; ANSWERS]>,
    /// Sender and receiver of the flow that was asked about last: those of the next are looked for there first.
    near: [Cell<PartyId>; 2],
}

/// All that decides, where ports do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) ingress: InterfaceId,
    pub(crate) protocol: Protocol,
    pub(crate) sender: PartyId,
    pub(crate) receiver: PartyId,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Asked,
    rule: RuleId,
    pool: PoolId,
}

impl Decided {
    /// Nothing is remembered.
    pub(crate) fn new() -> Self {
        Self { answers: Box::new([const { Cell::new(None) }; ANSWERS]), near: Default::default() }
    }

    /// The party of a flow's sender.
    #[inline]
    pub(crate) fn sender(&self, address: impl Address, policy: &Policy) -> PartyId {
        find(&self.near[0], address, policy)
    }

    /// The party of whom a flow is for.
    #[inline]
    pub(crate) fn receiver(&self, address: impl Address, policy: &Policy) -> PartyId {
        find(&self.near[1], address, policy)
    }

    /// The rule that decides, and the pool that it names, if that was learned.
    #[inline]
    pub(crate) fn answer(&self, asked: &Asked) -> Option<(RuleId, PoolId)> {
        let answer = self.answers[asked.place()].get()?;
        (answer.asked == *asked).then_some((answer.rule, answer.pool))
    }

    /// Answers that are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.answers.iter().filter(|answer| answer.get().is_some()).count()
    }

    /// This is what the rules said, and will say whatever the ports are.
    #[cold]
    pub(crate) fn learn(&self, asked: Asked, rule: RuleId, pool: PoolId) {
        self.answers[asked.place()].set(Some(Answer { asked, rule, pool }));
    }
}

impl Asked {
    /// Where its answer lies, if it is remembered.
    #[inline]
    const fn place(&self) -> usize {
        let ends = self.sender.number().wrapping_mul(31).wrapping_add(self.receiver.number());
        let rest = self.protocol.0.wrapping_mul(5).wrapping_add(self.ingress.0);
        ends.wrapping_add(rest as u32) as usize % ANSWERS
    }
}

/// A party, which is then the one that is near.
#[inline]
fn find(near: &Cell<PartyId>, address: impl Address, policy: &Policy) -> PartyId {
    let found = policy.party_id(address.into(), near.get());
    near.set(found);
    found
}

/// Answers that are remembered at most: for a few dozen networks inside, by two protocols.
const ANSWERS: usize = 128;

impl<A: Address> crate::Nat<A> {
    /// What the policy, which was adopted, says of the address that a packet is for.
    #[inline]
    #[must_use]
    pub fn receiver<'p>(&self, destination: A, policy: &'p Policy) -> &'p Party {
        policy.party_of(self.decided.receiver(destination, policy))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mooring_policy::{PoolId, RuleId};
    use mooring_session::{FlowKey, KeyedHash};
    use mooring_wire::Protocol;
    use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};
    use proptest::sample::select;

    use super::{ANSWERS, Asked, Decided};
    use crate::fixture::{INSIDE, OUTSIDE, flow, policy};
    use crate::{Arrival, Nat, Share};

    const CONFIG: &str = r#"
        pool = [
            { name = "egress", addresses = ["203.0.113.0/28"] },
            { name = "voice", addresses = ["203.0.113.16/28"] },
        ]

        [[rule]]
        name = "no-mail"
        kind = "drop"
        from = "inside"
        source = ["10.0.0.0/28"]
        protocol = "tcp"
        destination_ports = "25"

        [[rule]]
        name = "web"
        kind = "port-forward"
        from = "outside"
        address = "203.0.113.99"
        port = 80
        target = "10.0.0.7:8080"

        [[rule]]
        name = "voice"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        destination = ["198.51.100.0/25"]
        protocol = "udp"
        source_ports = "6000-6999"
        pool = "voice"

        [[rule]]
        name = "not there"
        kind = "drop"
        from = "inside"
        destination = ["198.51.100.64/26"]

        [[rule]]
        name = "egress"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        source = ["10.0.0.0/25"]
        pool = "egress"
    "#;

    /// The same, but everybody goes out by the other pool.
    fn other_config() -> String {
        CONFIG.replace("pool = \"egress\"", "pool = \"voice\"")
    }

    fn new_nat(config: &str) -> Nat<Ipv4Addr> {
        Nat::new(&policy(config), Share::ALL, KeyedHash::new([1, 2, 3, 4]))
    }

    fn flows() -> impl Strategy<Value = FlowKey<Ipv4Addr>> {
        let hosts = ["10.0.0.2", "10.0.0.7", "10.0.0.20", "10.0.0.200", "172.16.0.1"];
        let servers = ["198.51.100.7", "198.51.100.70", "198.51.100.200", "203.0.113.99"];
        let protocols = [Protocol::TCP, Protocol::UDP];
        let ports = (select(vec![5000, 6000, 8080]), select(vec![25, 53]));
        (select(protocols.to_vec()), select(hosts.to_vec()), select(servers.to_vec()), ports)
            .prop_map(|(protocol, host, server, (from, to))| {
                flow(protocol, &format!("{host}:{from}"), &format!("{server}:{to}"))
            })
    }

    fn planned(nat: &Nat<Ipv4Addr>, key: FlowKey<Ipv4Addr>, config: &str) -> String {
        let plans = [INSIDE, OUTSIDE].map(|ingress| {
            let arrival = Arrival {
                ingress,
                key,
                hash: 0,
                flags: None,
                ttl: 64,
                looked_up: true,
                number: 0,
                drawn: None,
            };
            nat.plan(&arrival, &policy(config))
        });
        format!("{plans:?}")
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_the_rules_say(
            flows in prop::collection::vec(flows(), 1..60),
            again in prop::collection::vec(flows(), 1..60),
        ) {
            let (mut nat, other) = (new_nat(CONFIG), other_config());
            for key in flows {
                prop_assert_eq!(planned(&nat, key, CONFIG), planned(&new_nat(CONFIG), key, CONFIG));
            }
            nat.adopt(&policy(&other), mooring_policy::Generation(1));
            for key in again {
                prop_assert_eq!(planned(&nat, key, &other), planned(&new_nat(&other), key, &other));
            }
        }
    }

    #[test]
    fn an_answer_is_of_the_flow_that_was_asked_about() {
        let (decided, policy) = (Decided::new(), policy(CONFIG));
        let key = flow(Protocol::UDP, "10.0.0.2:5000", "198.51.100.200:53");
        let sender = decided.sender(key.source, &policy);
        let receiver = decided.receiver(key.destination, &policy);
        let asked =
            |number| Asked { ingress: INSIDE, protocol: Protocol(number), sender, receiver };
        // Twice as many as there are places.
        for number in 0..=u8::MAX {
            decided.learn(asked(number), RuleId(number.into()), PoolId(0));
            for other in 0..=u8::MAX {
                let answer = decided.answer(&asked(other)).map(|(rule, _)| rule);
                assert!(
                    answer.is_none_or(|rule| rule == RuleId(other.into())),
                    "{other}: {answer:?}"
                );
            }
            assert_eq!(decided.answer(&asked(number)), Some((RuleId(number.into()), PoolId(0))));
        }
        assert_eq!(decided.len(), ANSWERS);
    }

    #[test]
    fn it_is_remembered_where_ports_do_not_matter() {
        let nat = new_nat(CONFIG);
        let remembers = |source: &str, destination: &str, protocol| {
            let key = flow(protocol, source, destination);
            let before = nat.decided.len();
            planned(&nat, key, CONFIG);
            nat.decided.len() > before
        };
        let tcp = Protocol::TCP;
        assert!(!remembers("10.0.0.2:5000", "198.51.100.200:53", tcp), "mail is not let out");
        assert!(remembers("10.0.0.2:5000", "198.51.100.200:53", Protocol::UDP));
        assert!(remembers("10.0.0.20:5000", "198.51.100.200:53", tcp));
        assert!(!remembers("10.0.0.20:5000", "198.51.100.7:53", Protocol::UDP), "voice has ports");
        assert!(
            !remembers("10.0.0.7:5000", "198.51.100.200:53", Protocol::UDP),
            "a forwarded port"
        );
        assert!(!remembers("10.0.0.200:5000", "198.51.100.200:53", tcp), "no rule");
    }
}
