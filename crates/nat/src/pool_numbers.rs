//! Numbers of pools that stay the same across reloads, by name, so that an inside end finds its mapping
//! again wherever its pool stands in the next configuration (RFC 4787 REQ-1); and of rules with limits, so
//! that what is counted of them is.

use std::collections::{HashMap, HashSet};

use mooring_policy::{Policy, PoolId, PoolLimits, Rule, RuleId};

/// The number of each thing of this policy that has one, and of those before that something is still
/// counted for.
#[derive(Debug, Default)]
struct Numbers {
    known: HashMap<String, u16>,
    /// By its place in the policy.
    of: Vec<Option<u16>>,
    /// By number: its place in the policy, or [`GONE`].
    places: Vec<u16>,
}

impl Numbers {
    /// Follows a policy, of which these are the names in their order: each keeps the number that its name
    /// had, a new one gets the lowest that is nobody's. Who is gone keeps its number as long as it is
    /// `in_use`, and for one policy more, so that nobody takes over what goes with it. Returns the numbers
    /// that were given out.
    ///
    /// Should all numbers be in use, which takes as many names in one policy or in the memory of
    /// sessions that drain, those of the gone are given out all the same: what is counted for both is then
    /// counted together until their sessions have ended or are checked.
    fn follow<'a>(
        &mut self,
        names: impl Iterator<Item = Option<&'a str>> + Clone,
        in_use: impl Fn(u16) -> bool,
    ) -> Vec<u16> {
        let wanted: HashSet<&str> = names.clone().flatten().collect();
        let of_before = |number: u16| self.places.get(usize::from(number)) != Some(&GONE);
        self.known.retain(|name, number| {
            wanted.contains(name.as_str()) || of_before(*number) || in_use(*number)
        });
        let taken: HashSet<u16> = self.known.values().copied().collect();
        let mut free = (0..=LAST).filter(|number| !taken.contains(number));
        let mut begun = Vec::new();
        self.of.clear();
        for name in names {
            let number = name.map(|name| match self.known.get(name) {
                Some(number) => *number,
                None => {
                    let number = free.next().or_else(|| take_over(&mut self.known, &wanted));
                    let number = number.unwrap_or(LAST);
                    self.known.insert(name.to_owned(), number);
                    begun.push(number);
                    number
                }
            });
            self.of.push(number);
        }
        let count = self.known.values().max().map_or(0, |last| usize::from(*last) + 1);
        self.places.clear();
        self.places.resize(count, GONE);
        for (place, number) in (0..).zip(&self.of) {
            if let Some(number) = number {
                self.places[usize::from(*number)] = place;
            }
        }
        begun
    }

    fn number(&self, place: u16) -> Option<u16> {
        self.of.get(usize::from(place)).copied().flatten()
    }

    fn place(&self, number: u16) -> Option<u16> {
        self.places.get(usize::from(number)).copied().filter(|place| *place != GONE)
    }
}

/// Those of pools.
#[derive(Debug, Default)]
pub(crate) struct PoolNumbers(Numbers);

impl PoolNumbers {
    /// See [`Numbers::follow`].
    pub(crate) fn follow(&mut self, policy: &Policy, in_use: impl Fn(u16) -> bool) -> Vec<u16> {
        self.0.follow(policy.pools.iter().map(|pool| Some(pool.name.as_str())), in_use)
    }

    /// All numbers lie below this one.
    pub(crate) fn count(&self) -> usize {
        self.0.places.len()
    }

    /// The number of a pool of the policy that was followed last.
    pub(crate) fn number(&self, pool: PoolId) -> u16 {
        self.0.of[usize::from(pool.0)].expect("every pool has one")
    }

    /// The pool that has a number; `None` when it is gone.
    pub(crate) fn pool(&self, number: u16) -> Option<PoolId> {
        self.0.place(number).map(PoolId)
    }
}

/// Those of rules that have limits.
#[derive(Debug, Default)]
pub(crate) struct RuleNumbers(Numbers);

impl RuleNumbers {
    /// See [`Numbers::follow`].
    pub(crate) fn follow(&mut self, policy: &Policy, in_use: impl Fn(u16) -> bool) -> Vec<u16> {
        let has_limits = |rule: &&Rule| rule.limits != PoolLimits::default();
        let name = |rule| Some(rule).filter(has_limits).map(|rule: &Rule| rule.name.as_str());
        self.0.follow(policy.rules.iter().map(name), in_use)
    }

    /// All numbers lie below this one.
    pub(crate) fn count(&self) -> usize {
        self.0.places.len()
    }

    /// The number of a rule of the policy that was followed last, if it has limits.
    pub(crate) fn number(&self, rule: RuleId) -> Option<u16> {
        self.0.number(rule.0)
    }

    /// The rule that has a number; `None` when it is gone, or has no limits any more.
    pub(crate) fn rule(&self, number: u16) -> Option<RuleId> {
        self.0.place(number).map(RuleId)
    }
}

/// The number of somebody who is not `wanted`, who loses it.
fn take_over(known: &mut HashMap<String, u16>, wanted: &HashSet<&str>) -> Option<u16> {
    let name = known.keys().find(|name| !wanted.contains(name.as_str()))?.clone();
    known.remove(&name)
}

/// No place.
const GONE: u16 = u16::MAX;

/// The highest number: one more means something to who counts.
const LAST: u16 = u16::MAX - 1;

#[cfg(test)]
mod tests {
    use mooring_policy::{Generation, Policy, PoolId, RuleId};
    use mooring_wire::Protocol;

    use super::{PoolNumbers, RuleNumbers};
    use crate::fixture::{World, flow, policy};

    /// A policy with two pools of these names.
    fn pools(first: &str, second: &str) -> Policy {
        policy(&format!(
            r#"
            pool = [
                {{ name = "{first}", addresses = ["203.0.113.10"] }},
                {{ name = "{second}", addresses = ["203.0.113.11"] }},
            ]
            rule = [
                {{ name = "web", kind = "source-nat", protocol = "tcp", pool = "{first}" }},
                {{ name = "rest", kind = "source-nat", pool = "{second}" }},
            ]"#
        ))
    }

    #[test]
    fn a_name_keeps_its_number() {
        let mut numbers = PoolNumbers::default();
        let mut follow = |first, second| {
            numbers.follow(&pools(first, second), |_| false);
            let found = [0, 1].map(|at| numbers.number(PoolId(at)));
            assert_eq!(found.map(|number| numbers.pool(number)), [0, 1].map(|at| Some(PoolId(at))));
            found
        };
        assert_eq!(follow("a", "b"), [0, 1]);
        assert_eq!(follow("c", "a"), [2, 0]);
        assert_eq!(follow("b", "c"), [1, 2], "b was gone for one policy only");
        assert_eq!(numbers.pool(0), None);
    }

    #[test]
    fn a_number_is_free_once_nothing_uses_it() {
        let mut numbers = PoolNumbers::default();
        assert_eq!(numbers.follow(&pools("a", "b"), |_| false), [0, 1]);
        assert_eq!(numbers.follow(&pools("b", "c"), |_| false), [2], "one policy more");
        assert_eq!(numbers.follow(&pools("d", "c"), |number| number == 0), [3]);
        assert_eq!(numbers.follow(&pools("d", "e"), |_| false), [0], "1 was in the last but one");
        assert_eq!(numbers.count(), 4);
        assert_eq!(numbers.follow(&pools("a", "d"), |_| false), [1], "another pool of that name");
    }

    #[test]
    fn there_is_a_number_for_every_pool_whatever_is_in_use() {
        let mut numbers = PoolNumbers::default();
        numbers.follow(&pools("a", "b"), |_| true);
        let gone = (2..=super::LAST).map(|number| (format!("gone{number}"), number));
        numbers.0.known.extend(gone);
        let mut policy = pools("a", "b");
        for n in 0..5 {
            policy.pools[1].name = format!("b{n}");
            assert_eq!(numbers.follow(&policy, |_| true).len(), 1);
            let found = [0, 1].map(|at| numbers.number(PoolId(at)));
            assert_eq!(found[0], 0, "who stays keeps its number");
            assert_eq!(numbers.pool(found[1]), Some(PoolId(1)));
        }
    }

    const DRAINS: &str = r#"
        limits = { sessions = 8, mappings_per_source = 8 }
        pool = [{ name = "egress", addresses = ["203.0.113.10"] }]
        rule = [{ name = "egress", kind = "source-nat", pool = "egress" }]
    "#;

    /// Far more names than there are numbers, one after the other, while a session lives that is not
    /// checked: the number of its pool is nobody else's meanwhile, and so is its outside end.
    #[test]
    fn pools_may_change_their_names_for_ever() {
        let mut world = World::new(DRAINS);
        let key = flow(Protocol::UDP, "10.0.0.2:5000", "192.0.2.7:53");
        let session = world.session(key);
        for n in 0..70_000 {
            world.policy.pools[0].name = format!("egress{n}");
            world.generation = Generation(world.generation.0 + 1);
            world.nat.adopt(&world.policy, world.generation);
            assert!(world.nat.pools.count() <= 3);
            assert_ne!(world.nat.pools.number(PoolId(0)), 0, "something is counted for it");
        }
        assert_eq!(world.sweep(), 0, "it goes on by the pool of now");
        let other = world.session(flow(Protocol::UDP, "10.0.0.2:5000", "192.0.2.8:53"));
        assert_eq!(other.outside_port, session.outside_port, "RFC 4787 REQ-1");
        assert_eq!((world.nat.mappings.len(), world.nat.leased_ports_of(PoolId(0))), (1, 1));
    }

    #[test]
    fn a_rule_with_limits_keeps_its_number() {
        let forwards = |names: [&str; 2], limits: [&str; 2]| {
            let rule = |at: usize| {
                let (name, limits, port) = (names[at], limits[at], 80 + at);
                format!(
                    "{{ name = \"{name}\", kind = \"port-forward\", address = \"203.0.113.10\", \
                     port = {port}, target = \"10.0.0.2:80\", {limits} }}"
                )
            };
            policy(&format!("rule = [{}, {}]", rule(0), rule(1)))
        };
        let (some, none) = ("limits = { half_open = 1 }", "");
        let mut numbers = RuleNumbers::default();
        let mut follow = |names, limits| {
            numbers.follow(&forwards(names, limits), |_| false);
            let found = [0, 1].map(|at| numbers.number(RuleId(at)));
            for (at, number) in (0..).zip(found) {
                let rule = number.and_then(|number| numbers.rule(number));
                assert_eq!(rule, number.map(|_| RuleId(at)));
            }
            (found, numbers.count())
        };
        assert_eq!(follow(["a", "b"], [none, none]), ([None; 2], 0));
        assert_eq!(follow(["a", "b"], [none, some]), ([None, Some(0)], 1));
        assert_eq!(follow(["b", "a"], [some, some]), ([Some(0), Some(1)], 2));
        assert_eq!(follow(["c", "a"], [none, some]), ([None, Some(1)], 2));
        assert_eq!(numbers.rule(0), None);
    }
}
