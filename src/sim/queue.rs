//! The event queue: total order by time, then by the order of insertion.

use std::collections::BTreeMap;

use drillfold_kernel::units::TimeMs;

/// What is due, in the one order in which it happens.
#[derive(Clone, Debug)]
pub(super) struct Queue<T> {
    due: BTreeMap<(TimeMs, u64), T>,
    inserted: u64,
    now: TimeMs,
}

impl<T> Queue<T> {
    /// Returns an empty queue whose clock stands at `start`.
    pub(super) const fn new(start: TimeMs) -> Self {
        Self { due: BTreeMap::new(), inserted: 0, now: start }
    }

    /// Returns the time of what was popped last.
    pub(super) const fn now(&self) -> TimeMs {
        self.now
    }

    /// Puts something in; what would be in the past is due now.
    pub(super) fn push(&mut self, at: TimeMs, item: T) {
        self.due.insert((at.max(self.now), self.inserted), item);
        self.inserted = self.inserted.saturating_add(1);
    }

    /// Takes out everything that fits, in its order; the clock stays.
    pub(super) fn take(&mut self, fits: impl Fn(&T) -> bool) -> Vec<T> {
        self.due.extract_if(.., |_, item| fits(item)).map(|(_, item)| item).collect()
    }

    /// Returns when the next is due; `None` where nothing is.
    pub(super) fn next_at(&self) -> Option<TimeMs> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Sets the clock to `now`, where it is behind. The caller has taken out what was due before.
    pub(super) fn advance(&mut self, now: TimeMs) {
        self.now = self.now.max(now);
    }

    /// Takes the next out and sets the clock to its time.
    pub(super) fn pop(&mut self) -> Option<T> {
        let ((at, _), item) = self.due.pop_first()?;
        self.now = at;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_their_order_and_the_past_is_now() {
        let mut queue = Queue::new(TimeMs(0));
        for (at, name) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            queue.push(TimeMs(at), name);
        }
        assert_eq!((queue.pop(), queue.now()), (Some('a'), TimeMs(3)));
        queue.push(TimeMs(1), 'x');
        let rest: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, "bxcd");
        assert_eq!((queue.pop(), queue.now()), (None, TimeMs(5)));
    }

    #[test]
    fn the_clock_goes_forward_alone() {
        let mut queue = Queue::new(TimeMs(3));
        assert_eq!(queue.next_at(), None);
        queue.push(TimeMs(9), 'a');
        queue.advance(TimeMs(7));
        queue.advance(TimeMs(5));
        assert_eq!((queue.next_at(), queue.now()), (Some(TimeMs(9)), TimeMs(7)));
    }

    #[test]
    fn what_fits_is_taken_in_order_and_the_rest_stays() {
        let mut queue = Queue::new(TimeMs(0));
        for (at, name) in [(5, 'c'), (3, 'A'), (5, 'D'), (3, 'b')] {
            queue.push(TimeMs(at), name);
        }
        assert_eq!(queue.take(|name| name.is_uppercase()), ['A', 'D']);
        assert_eq!((queue.pop(), queue.pop(), queue.pop(), queue.now()), (Some('b'), Some('c'), None, TimeMs(5)));
    }
}
