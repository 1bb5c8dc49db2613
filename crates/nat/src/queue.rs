//! A first-in, first-out queue of numbered records that any of them can leave: links beside the
//! records, no memory of its own.

/// The neighbours of a record in its queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    before: u32,
    after: u32,
}

impl Link {
    /// Of a record in no queue.
    pub(crate) const NONE: Self = Self { before: NIL, after: NIL };
}

/// The ends of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    first: u32,
    last: u32,
}

impl Queue {
    /// Nobody waits.
    pub(crate) const EMPTY: Self = Self { first: NIL, last: NIL };

    /// Who has waited longest.
    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NIL).then_some(self.first)
    }

    /// Record `at`, which is in no queue, waits from now on.
    pub(crate) fn push(&mut self, at: u32, links: &mut [Link]) {
        links[at as usize] = Link { before: self.last, after: NIL };
        match self.last {
            NIL => self.first = at,
            last => links[last as usize].after = at,
        }
        self.last = at;
    }

    /// Record `at` of this queue leaves it.
    pub(crate) fn remove(&mut self, at: u32, links: &mut [Link]) {
        let Link { before, after } = std::mem::replace(&mut links[at as usize], Link::NONE);
        match before {
            NIL => self.first = after,
            before => links[before as usize].after = after,
        }
        match after {
            NIL => self.last = before,
            after => links[after as usize].before = before,
        }
    }

    /// All that wait, the longest first.
    pub(crate) fn iter<'a>(&self, links: &'a [Link]) -> impl Iterator<Item = u32> + 'a {
        let next = |at: &u32| Some(links[*at as usize].after).filter(|after| *after != NIL);
        std::iter::successors(self.first(), next)
    }
}

const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Link, Queue};

    proptest! {
        #[test]
        fn is_a_deque_that_any_may_leave(steps in prop::collection::vec((0u32..9, any::<bool>()), 0..200)) {
            let (mut queue, mut links) = (Queue::EMPTY, [Link::NONE; 9]);
            let mut model: VecDeque<u32> = VecDeque::new();
            for (at, comes) in steps {
                match model.contains(&at) {
                    false if comes => {
                        queue.push(at, &mut links);
                        model.push_back(at);
                    }
                    true if !comes => {
                        queue.remove(at, &mut links);
                        model.retain(|waiting| *waiting != at);
                    }
                    _ => {}
                }
                prop_assert_eq!(queue.first(), model.front().copied());
                prop_assert_eq!(queue.iter(&links).collect::<VecDeque<u32>>(), model.clone());
            }
        }
    }
}
