//! Who ends sessions: a timing wheel of lists, armed lazily.
//!
//! A packet only stores when it was seen. A record stands in the slot of the moment at which it
//! would end if no further packet came; when that moment has passed, the table looks at it once: it
//! has ended, or it moves to the slot of its new end. So a session is looked at about once per
//! timeout, whatever its traffic (docs/decisions/0001-timing-wheel.md), and a bounded number of
//! records is looked at per batch.
//!
//! The lists run through the records themselves, by 32-bit indexes.

use crate::Tick;

/// A wheel of 8,192 lists, one for each 1,024 ms.
pub struct Wheel {
    heads: Box<[u32]>,
    /// The slot that is being emptied, counted from tick 0 and never wrapped.
    cursor: u64,
}

/// A record's place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    next: u32,
    /// The record before this one, or the slot (with [`IS_SLOT`] set) whose head this one is.
    previous: u32,
}

/// The links of all records, by record number.
pub trait Links {
    /// The link of record `index`.
    fn link(&mut self, index: u32) -> &mut Link;
}

impl Wheel {
    /// An empty wheel that stands at tick 0.
    #[must_use]
    pub fn new() -> Self {
        Self { heads: vec![NIL; SLOTS as usize].into_boxed_slice(), cursor: 0 }
    }

    /// Puts record `index`, which is in no list, where it will be due soon after `deadline`.
    ///
    /// A deadline beyond the span of the wheel becomes due early; whoever is told that a record is
    /// due checks it and arms it again.
    pub fn arm(&mut self, index: u32, deadline: Tick, links: &mut impl Links) {
        let wanted = deadline.as_millis() / SLOT_MILLIS;
        let slot = wanted.clamp(self.cursor, self.cursor + SLOTS - 1) % SLOTS;
        let first = self.heads[slot as usize];
        *links.link(index) = Link { next: first, previous: slot as u32 | IS_SLOT };
        if first != NIL {
            links.link(first).previous = index;
        }
        self.heads[slot as usize] = index;
    }

    /// Takes record `index` out of its list.
    pub fn disarm(&mut self, index: u32, links: &mut impl Links) {
        let Link { next, previous } = std::mem::replace(links.link(index), Link::NONE);
        if previous & IS_SLOT != 0 {
            if let Some(head) = self.heads.get_mut((previous & !IS_SLOT) as usize) {
                *head = next;
            }
        } else {
            links.link(previous).next = next;
        }
        if next != NIL {
            links.link(next).previous = previous;
        }
    }

    /// Of the first `looks` records that would become due within 512 slots (8 min 44 s), the first
    /// that is `wanted`. `link` gives the link of a record.
    pub fn soonest<'l>(
        &self,
        mut looks: u32,
        link: impl Fn(u32) -> &'l Link,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        for slot in self.cursor..self.cursor + SOON_SLOTS {
            let mut index = self.heads[(slot % SLOTS) as usize];
            while index != NIL {
                if wanted(index) {
                    return Some(index);
                }
                looks = looks.checked_sub(1)?;
                index = link(index).next;
            }
        }
        None
    }

    /// A record whose slot lies wholly before `now`, taken out of its list. Each call, and each slot
    /// that turned out empty, takes one from `budget`; `None` when nothing is due or the budget is
    /// spent.
    pub fn due(&mut self, now: Tick, budget: &mut u32, links: &mut impl Links) -> Option<u32> {
        let current = now.as_millis() / SLOT_MILLIS;
        while *budget > 0 && self.cursor < current {
            *budget -= 1;
            let index = self.heads[(self.cursor % SLOTS) as usize];
            if index != NIL {
                self.disarm(index, links);
                return Some(index);
            }
            self.cursor += 1;
        }
        None
    }
}

impl Link {
    /// Of a record that is in no list.
    pub const NONE: Self = Self { next: NIL, previous: IS_SLOT | NO_SLOT };

    /// Of a free record; `next` is the free record after it.
    #[must_use]
    pub const fn free(next: Option<u32>) -> Self {
        Self {
            next: match next {
                Some(next) => next,
                None => NIL,
            },
            previous: IS_SLOT | NO_SLOT,
        }
    }

    /// The free record after this one.
    #[must_use]
    pub const fn next_free(self) -> Option<u32> {
        if self.next == NIL { None } else { Some(self.next) }
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

/// Slots of the wheel: it spans 8,388 s, more than the longest default timeout (7,440 s).
const SLOTS: u64 = 8192;

/// Milliseconds of a slot. A record is due at most one slot after its deadline, which keeps the
/// promise that a session ends within two seconds of its timeout.
const SLOT_MILLIS: u64 = 1024;

/// Slots that are looked through for records that become due soon.
const SOON_SLOTS: u64 = 512;

/// No record.
const NIL: u32 = u32::MAX;

/// Marks `previous` as a slot; record numbers have 31 bits.
const IS_SLOT: u32 = 1 << 31;

/// A slot number that does not exist.
const NO_SLOT: u32 = IS_SLOT - 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{Link, Links, SLOT_MILLIS, Wheel};
    use crate::Tick;

    struct Records(Vec<Link>);

    impl Links for Records {
        fn link(&mut self, index: u32) -> &mut Link {
            &mut self.0[index as usize]
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u32..16, 0u64..20_000_000).prop_map(|(i, t)| Step::Arm(i, t)),
            4 => (0u32..16, 0u64..20_000).prop_map(|(i, t)| Step::Arm(i, t)),
            2 => (0u32..16).prop_map(Step::Disarm),
            3 => (0u64..600_000).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in steps()) {
            let mut wheel = Wheel::new();
            let mut records = Records(vec![Link::NONE; 16]);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Arm(index, after) if !model.contains_key(&index) => {
                        wheel.arm(index, Tick::from_millis(now + after), &mut records);
                        model.insert(index, now + after);
                    }
                    Step::Arm(..) => {}
                    Step::Disarm(index) => {
                        if model.remove(&index).is_some() {
                            wheel.disarm(index, &mut records);
                        }
                    }
                    Step::Pass(millis) => now += millis,
                }
                let tick = Tick::from_millis(now);
                let mut budget = u32::MAX;
                while let Some(index) = wheel.due(tick, &mut budget, &mut records) {
                    let deadline = model[&index];
                    if deadline > now {
                        // Beyond the span: due early, armed again.
                        wheel.arm(index, Tick::from_millis(deadline), &mut records);
                    } else {
                        model.remove(&index);
                    }
                }
                // Nothing stays longer than a slot after its deadline.
                prop_assert!(model.values().all(|&deadline| deadline + 2 * SLOT_MILLIS > now));
            }
            for index in model.into_keys() {
                wheel.disarm(index, &mut records);
            }
            prop_assert!(wheel.heads.iter().all(|&head| head == super::NIL));
            prop_assert_eq!(records.0, vec![Link::NONE; 16]);
        }
    }

    #[test]
    fn keeps_to_its_budget() {
        let mut wheel = Wheel::new();
        let mut records = Records(vec![Link::NONE; 100]);
        for index in 0..100 {
            wheel.arm(index, Tick::ZERO, &mut records);
        }
        let mut budget = 64;
        let mut seen = 0;
        while wheel.due(Tick::from_millis(5_000), &mut budget, &mut records).is_some() {
            seen += 1;
        }
        assert_eq!((seen, budget), (64, 0));
    }
}
