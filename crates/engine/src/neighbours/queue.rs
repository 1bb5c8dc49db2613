//! A first-in-first-out queue of table slots from whose middle a slot leaves at once.
//!
//! A ring of indices with one head: a slot is at most once in a queue, pushing and removing touch
//! three links, and nothing is allocated after the start. A queue whose slots all wait equally long
//! is thereby a timer list: the first slot is the first one due.
//!
//! It knows no time and no neighbour.

/// Some of the slots `0..capacity`, in the order in which they were pushed.
#[derive(Debug)]
pub(super) struct SlotQueue {
    /// Entry `capacity` is the head. A slot that is not queued links to itself.
    links: Box<[Link]>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u16,
    next: u16,
}

impl SlotQueue {
    /// An empty queue for the slots below `capacity`.
    pub(super) fn new(capacity: u16) -> Self {
        Self { links: (0..=capacity).map(|slot| Link { previous: slot, next: slot }).collect() }
    }

    /// Puts `slot` at the end, wherever it stood before.
    pub(super) fn push(&mut self, slot: u16) {
        self.remove(slot);
        let head = self.head();
        let last = self.links[usize::from(head)].previous;
        self.links[usize::from(slot)] = Link { previous: last, next: head };
        self.links[usize::from(last)].next = slot;
        self.links[usize::from(head)].previous = slot;
    }

    /// Takes `slot` out; does nothing when it is not queued.
    pub(super) fn remove(&mut self, slot: u16) {
        let Link { previous, next } = self.links[usize::from(slot)];
        self.links[usize::from(previous)].next = next;
        self.links[usize::from(next)].previous = previous;
        self.links[usize::from(slot)] = Link { previous: slot, next: slot };
    }

    /// Whether `slot` is queued.
    pub(super) fn contains(&self, slot: u16) -> bool {
        self.links[usize::from(slot)].next != slot
    }

    /// Takes the first slot out.
    pub(super) fn pop(&mut self) -> Option<u16> {
        let first = self.first()?;
        self.remove(first);
        Some(first)
    }

    /// The slot that has been queued longest.
    pub(super) fn first(&self) -> Option<u16> {
        let first = self.links[usize::from(self.head())].next;
        (first != self.head()).then_some(first)
    }

    fn head(&self) -> u16 {
        (self.links.len() - 1) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::SlotQueue;

    #[test]
    fn keeps_the_order_and_gives_up_its_middle() {
        let mut queue = SlotQueue::new(4);
        for slot in [2, 0, 3] {
            queue.push(slot);
        }
        queue.remove(0);
        queue.remove(1);
        queue.push(2);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(3), Some(2), None]);
    }

    #[test]
    fn holds_every_slot_of_the_largest_table() {
        let mut queue = SlotQueue::new(u16::MAX);
        (0..u16::MAX).for_each(|slot| queue.push(slot));
        assert!((0..u16::MAX).all(|slot| queue.pop() == Some(slot)));
        assert_eq!(queue.first(), None);
    }
}
