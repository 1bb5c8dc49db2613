//! Numbers of pools that stay the same across reloads, by name, so that an inside end finds its mapping
//! again wherever its pool stands in the next configuration (RFC 4787 REQ-1).

use std::collections::HashMap;

use mooring_policy::{Policy, PoolId};

/// The number of each pool that a policy had since the start, and of those of this one.
#[derive(Debug, Default)]
pub(crate) struct PoolNumbers {
    known: HashMap<String, u16>,
    /// By the pool's place in the policy.
    of: Vec<u16>,
}

impl PoolNumbers {
    /// Follows a policy: a pool keeps the number that its name had, a new one gets one that no pool
    /// had. After 65,535 names the count begins again; only then do mappings get lost to sight.
    pub(crate) fn follow(&mut self, policy: &Policy) {
        if self.known.len() + policy.pools.len() > usize::from(u16::MAX) {
            self.known.clear();
        }
        self.of.clear();
        for pool in &policy.pools {
            let next = self.known.len() as u16;
            self.of.push(*self.known.entry(pool.name.clone()).or_insert(next));
        }
    }

    /// All numbers lie below this one.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// The number of a pool of the policy that was followed last.
    pub(crate) fn number(&self, pool: PoolId) -> u16 {
        self.of[usize::from(pool.0)]
    }

    /// The pool that has a number; `None` when it is gone.
    pub(crate) fn pool(&self, number: u16) -> Option<PoolId> {
        self.of.iter().position(|known| *known == number).map(|at| PoolId(at as u16))
    }
}

#[cfg(test)]
mod tests {
    use mooring_policy::{Policy, PoolId};

    use super::PoolNumbers;
    use crate::fixture::policy;

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
            numbers.follow(&pools(first, second));
            let found = [0, 1].map(|at| numbers.number(PoolId(at)));
            assert_eq!(found.map(|number| numbers.pool(number)), [0, 1].map(|at| Some(PoolId(at))));
            found
        };
        assert_eq!(follow("a", "b"), [0, 1]);
        assert_eq!(follow("c", "a"), [2, 0]);
        assert_eq!(follow("b", "c"), [1, 2]);
        assert_eq!(numbers.pool(0), None);
    }
}
