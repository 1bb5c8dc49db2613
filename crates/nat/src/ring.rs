//! Lists of numbered records, found by the hash of what their records have in common: an index knows
//! one record of each list, links beside the records the others. To add a record, and to take any one
//! out, costs the same however long its list is. Memory is taken at the start.

use mooring_session::index::Index;

/// Lists of at most the number of records that they were made for.
pub(crate) struct Rings {
    /// By the hash of a list: its first record.
    firsts: Index,
    links: Vec<Beside>,
}

/// The neighbours of a record in its list, which goes round: the first follows the last.
#[derive(Clone, Copy)]
struct Beside {
    before: u32,
    after: u32,
}

impl Rings {
    /// No lists, with room for `records` records.
    pub(crate) fn new(records: usize) -> Self {
        let alone = Beside { before: 0, after: 0 };
        Self { firsts: Index::new(records), links: vec![alone; records] }
    }

    /// The list under `hash` whose first record `is_its`, in the order in which records came.
    pub(crate) fn of(
        &self,
        hash: u64,
        is_its: impl FnMut(u32) -> bool,
    ) -> impl Iterator<Item = u32> {
        let first = self.firsts.find(hash, is_its);
        std::iter::successors(first, move |at| {
            Some(self.links[*at as usize].after).filter(|after| Some(*after) != first)
        })
    }

    /// Record `at`, which is in no list, is the last of the list of `hash` whose first record `is_its`.
    pub(crate) fn push(&mut self, hash: u64, at: u32, is_its: impl FnMut(u32) -> bool) {
        let Some(first) = self.firsts.find(hash, is_its) else {
            self.firsts.insert(hash, at);
            self.links[at as usize] = Beside { before: at, after: at };
            return;
        };
        let last = std::mem::replace(&mut self.links[first as usize].before, at);
        self.links[last as usize].after = at;
        self.links[at as usize] = Beside { before: last, after: first };
    }

    /// Record `at` leaves its list, the one of `hash`.
    pub(crate) fn remove(&mut self, hash: u64, at: u32) {
        let Beside { before, after } = self.links[at as usize];
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
        let was_first = self.firsts.remove(hash, at);
        if was_first && after != at {
            self.firsts.insert(hash, after);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::Rings;

    /// The hash of a list: all of them fall into one bucket of the index.
    fn hash(list: u32) -> u64 {
        u64::from(list % 2 + 1) << 56
    }

    proptest! {
        #[test]
        fn are_lists_that_any_record_may_leave(
            steps in prop::collection::vec((0u32..40, any::<bool>()), 0..300),
        ) {
            let mut rings = Rings::new(40);
            // Record n is of list n % 4.
            let mut lists: [Vec<u32>; 4] = Default::default();
            for (at, comes) in steps {
                let its = at % 4;
                let list = &mut lists[its as usize];
                match list.contains(&at) {
                    false if comes => {
                        rings.push(hash(its), at, |other| other % 4 == its);
                        list.push(at);
                    }
                    true if !comes => {
                        rings.remove(hash(its), at);
                        list.retain(|other| *other != at);
                    }
                    _ => {}
                }
                for (its, list) in (0..).zip(&lists) {
                    let is: Vec<u32> = rings.of(hash(its), |other| other % 4 == its).collect();
                    prop_assert_eq!(&is, list);
                }
            }
        }
    }
}
