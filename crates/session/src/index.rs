//! The hash index: from a 64-bit hash to 31-bit record numbers, one cache line a bucket.
//!
//! A bucket has twelve slots, each a one-byte tag of the hash and a 32-bit value, and a count of the
//! values that had to move on to the next bucket because this one was full. A lookup of something
//! that is not there ends at the first bucket whose count is 0, nearly always the first. The index
//! does not know what its values mean: the caller compares the records.

use crate::memory::{Room, prefetch, room_for};
use crate::tags;

/// An index of at most the number of values it was made for.
pub struct Index {
    buckets: Room<Bucket>,
}

/// What the home bucket of a hash tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// This value may be the one.
    Likely(u32),
    /// If there is one it lies in another bucket.
    Elsewhere,
    /// There is none.
    Absent,
}

impl Index {
    /// An index with room for `values` values, allocated at once.
    #[must_use]
    pub fn new(values: usize) -> Self {
        let count = values.div_ceil(FILL).max(1);
        let mut buckets = room_for(count);
        buckets.resize(count, Bucket::EMPTY);
        Self { buckets }
    }

    /// Starts loading the bucket of `hash`.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.home(hash)]);
    }

    /// The value under `hash` that `is_it` accepts.
    #[inline(always)]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        // One round at most: in a tiny index every bucket may have overflowed.
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut hits = bucket.slots_with(tag);
            while hits != 0 {
                // There is one; a remainder of twelve would cost more than the question.
                let Some(&value) = bucket.values.get(hits.trailing_zeros() as usize) else { break };
                if is_it(value) {
                    return Some(value);
                }
                hits &= hits - 1;
            }
            if bucket.overflow == 0 {
                break;
            }
            at = self.next(at);
        }
        None
    }

    /// The first value in the home bucket of `hash` whose tag fits: what to prefetch before
    /// [`Index::find`] is asked.
    #[inline]
    #[must_use]
    pub fn likely(&self, hash: u64) -> Option<u32> {
        let bucket = &self.buckets[self.home(hash)];
        let hits = bucket.slots_with(tag(hash));
        // Without a hit there is no such place.
        bucket.values.get(hits.trailing_zeros() as usize).copied()
    }

    /// As [`Index::likely`], if there is a value at all under `hash`: its home bucket says so.
    #[inline]
    #[must_use]
    pub fn glance(&self, hash: u64) -> Glance {
        let bucket = &self.buckets[self.home(hash)];
        let hits = bucket.slots_with(tag(hash));
        match bucket.values.get(hits.trailing_zeros() as usize) {
            Some(value) => Glance::Likely(*value),
            None if bucket.overflow > 0 => Glance::Elsewhere,
            None => Glance::Absent,
        }
    }

    /// Adds a value. The caller has made sure that it is not there yet.
    ///
    /// # Panics
    /// When there are more values than the index was made for; the owner counts its records.
    pub fn insert(&mut self, hash: u64, value: u32) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            let free = bucket.slots_with(EMPTY);
            if free != 0 {
                let slot = free.trailing_zeros() as usize % SLOTS;
                bucket.tags[slot] = tag(hash);
                bucket.values[slot] = value;
                return;
            }
            bucket.overflow += 1;
            at = self.next(at);
        }
        unreachable!("the owner never adds more values than the index was made for");
    }

    /// Takes a value out. False when it is not there.
    pub fn remove(&mut self, hash: u64, value: u32) -> bool {
        let tag = tag(hash);
        let home = self.home(hash);
        let mut at = home;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut hits = bucket.slots_with(tag);
            while hits != 0 {
                let slot = hits.trailing_zeros() as usize % SLOTS;
                if bucket.values[slot] == value {
                    self.buckets[at].tags[slot] = EMPTY;
                    self.forget_overflow(home, at);
                    return true;
                }
                hits &= hits - 1;
            }
            if bucket.overflow == 0 {
                break;
            }
            at = self.next(at);
        }
        false
    }

    /// How many buckets a search reads under `hash` until it is known that nothing is there: 1 unless the
    /// first one has overflowed. What floods are measured by.
    #[must_use]
    pub fn reach(&self, hash: u64) -> usize {
        let mut at = self.home(hash);
        for read in 1..self.buckets.len() {
            if self.buckets[at].overflow == 0 {
                return read;
            }
            at = self.next(at);
        }
        self.buckets.len()
    }

    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        size_of_val::<[Bucket]>(&self.buckets)
    }

    /// The buckets that a value passed on its way from `home` to `at` no longer count it.
    fn forget_overflow(&mut self, home: usize, at: usize) {
        let mut passed = home;
        while passed != at {
            self.buckets[passed].overflow -= 1;
            passed = self.next(passed);
        }
    }

    /// The low half of the hash, scaled to the number of buckets.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u64::from(hash as u32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }
}

/// One cache line.
#[derive(Clone)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u8; SLOTS],
    /// Values whose home is this bucket or an earlier one and that lie in a later one.
    overflow: u32,
    values: [u32; SLOTS],
}

impl Bucket {
    const EMPTY: Self = Self { tags: [EMPTY; SLOTS], overflow: 0, values: [0; SLOTS] };

    /// A bit for each slot that carries `tag`.
    #[inline]
    fn slots_with(&self, tag: u8) -> u32 {
        tags::equal(&self.tags, tag)
    }
}

/// The top byte of the hash, but never [`EMPTY`].
#[inline]
const fn tag(hash: u64) -> u8 {
    let tag = (hash >> 56) as u8;
    if tag == EMPTY { 1 } else { tag }
}

/// Tag of a slot without a value.
const EMPTY: u8 = 0;

/// Slots of a bucket.
const SLOTS: usize = 12;

/// Values per bucket that the index is sized for: at two thirds full, one bucket in sixteen
/// overflows.
const FILL: usize = 8;

const _: () = assert!(size_of::<Bucket>() == 64);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::Index;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u32),
        Remove(usize),
        Find(u64, u32),
    }

    /// Few buckets and few tags, so that everything collides and overflows.
    fn crowded_hash() -> impl Strategy<Value = u64> {
        (0u64..4, 0u64..1 << 32).prop_map(|(tag, low)| tag << 56 | low)
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (crowded_hash(), any::<u32>()).prop_map(|(h, v)| Step::Insert(h, v)),
            2 => any::<usize>().prop_map(Step::Remove),
            2 => (crowded_hash(), any::<u32>()).prop_map(|(h, v)| Step::Find(h, v)),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn behaves_as_a_hash_map(steps in steps()) {
            let mut index = Index::new(64);
            let mut model: HashMap<u32, u64> = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert(hash, value) if model.len() < 64 && !model.contains_key(&value) => {
                        index.insert(hash, value);
                        model.insert(value, hash);
                    }
                    Step::Insert(..) => {}
                    Step::Remove(n) => {
                        let Some((&value, &hash)) = model.iter().nth(n % model.len().max(1)) else { continue };
                        prop_assert_eq!(index.remove(hash, value), true);
                        prop_assert_eq!(index.remove(hash, value), false);
                        model.remove(&value);
                    }
                    Step::Find(hash, value) => {
                        let expected = model.get(&value) == Some(&hash);
                        prop_assert_eq!(index.find(hash, |v| v == value).is_some(), expected);
                    }
                }
                for (&value, &hash) in &model {
                    prop_assert_eq!(index.find(hash, |v| v == value), Some(value));
                }
            }
            for (value, hash) in model.drain() {
                prop_assert_eq!(index.remove(hash, value), true);
            }
            prop_assert_eq!(index.buckets.iter().map(|b| b.overflow).sum::<u32>(), 0);
        }
    }

    #[test]
    fn fills_to_what_it_was_made_for() {
        let mut index = Index::new(10_000);
        for value in 0..10_000u32 {
            index.insert(u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15), value);
        }
        for value in 0..10_000u32 {
            let hash = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(index.find(hash, |v| v == value), Some(value));
        }
    }

    #[test]
    fn a_lookup_ends_although_every_bucket_has_overflowed() {
        let mut index = Index::new(16);
        let (first, second) = (1 << 56, 1 << 56 | 1 << 31);
        (0..13).for_each(|value| index.insert(first, value));
        assert!((0..12).all(|value| index.remove(first, value)));
        (100..112).for_each(|value| index.insert(second, value));
        assert!(index.buckets.iter().all(|bucket| bucket.overflow > 0));
        assert_eq!(index.find(first, |_| false), None);
        assert!(!index.remove(first, 99));
    }
}
