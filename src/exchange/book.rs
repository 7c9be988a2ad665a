//! One price-level book with its chain of change numbers.

use std::collections::BTreeMap;

use drillfold_kernel::{
    event::{BookChange, BookSnapshot, Level},
    units::{InstrumentId, Price, Qty, Side},
};

/// Levels of both sides and the number of the state they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    change_id: Option<u64>,
    bids: BTreeMap<Price, Qty>,
    asks: BTreeMap<Price, Qty>,
}

impl Book {
    /// Returns the book of the given state; levels without amount are left out.
    #[must_use]
    pub fn new(change_id: u64, bids: impl IntoIterator<Item = Level>, asks: impl IntoIterator<Item = Level>) -> Self {
        let side = |levels: &mut dyn Iterator<Item = Level>| {
            levels.filter(|level| level.qty > Qty::ZERO).map(|level| (level.price, level.qty)).collect()
        };
        Self { change_id: Some(change_id), bids: side(&mut bids.into_iter()), asks: side(&mut asks.into_iter()) }
    }

    /// Returns the number of the state; `None` before the first snapshot.
    #[must_use]
    pub const fn change_id(&self) -> Option<u64> {
        self.change_id
    }

    /// Takes a snapshot in place of everything before it.
    pub fn replace(&mut self, snapshot: &BookSnapshot) {
        *self = Self::new(snapshot.change_id, snapshot.bids.iter().copied(), snapshot.asks.iter().copied());
    }

    /// Takes a change if it follows the book's state, and tells whether it did.
    pub fn follow(&mut self, change: &BookChange) -> bool {
        if self.change_id != Some(change.prev_change_id) {
            return false;
        }
        self.change_id = Some(change.change_id);
        set(&mut self.bids, &change.bids);
        set(&mut self.asks, &change.asks);
        true
    }

    /// Returns the best level of a side: the highest bid for Buy, the lowest ask for Sell.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Level> {
        let (price, qty) = match side {
            Side::Buy => self.bids.last_key_value(),
            Side::Sell => self.asks.first_key_value(),
        }?;
        Some(Level { price: *price, qty: *qty })
    }

    /// Returns the whole book, best levels first; `None` before the first snapshot.
    #[must_use]
    pub fn snapshot(&self, instrument: InstrumentId) -> Option<BookSnapshot> {
        let level = |(price, qty): (&Price, &Qty)| Level { price: *price, qty: *qty };
        Some(BookSnapshot {
            instrument,
            change_id: self.change_id?,
            bids: self.bids.iter().rev().map(level).collect(),
            asks: self.asks.iter().map(level).collect(),
        })
    }

    /// Takes up to `qty` off the levels that an order of side `taker` with this limit reaches, best first, and returns what
    /// was taken from each. The number of the state stays: the change is published with the next one.
    pub fn take(&mut self, taker: Side, limit: Price, qty: Qty) -> Vec<Level> {
        let mut taken = Vec::new();
        let mut left = qty;
        while left > Qty::ZERO {
            let Some(best) = self.best(taker.opposite()) else { break };
            let reached = match taker {
                Side::Buy => best.price <= limit,
                Side::Sell => best.price >= limit,
            };
            if !reached {
                break;
            }
            let part = best.qty.min(left);
            left = left.minus(part);
            let levels = match taker {
                Side::Buy => &mut self.asks,
                Side::Sell => &mut self.bids,
            };
            set(levels, &[Level { price: best.price, qty: best.qty.minus(part) }]);
            taken.push(Level { price: best.price, qty: part });
        }
        taken
    }

    /// Returns the levels that turn `self` into `next`, bids and asks, by price; a level with zero amount goes.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> (Vec<Level>, Vec<Level>) {
        (differences(&self.bids, &next.bids), differences(&self.asks, &next.asks))
    }
}

fn set(side: &mut BTreeMap<Price, Qty>, levels: &[Level]) {
    for level in levels {
        if level.qty > Qty::ZERO {
            side.insert(level.price, level.qty);
        } else {
            side.remove(&level.price);
        }
    }
}

fn differences(from: &BTreeMap<Price, Qty>, to: &BTreeMap<Price, Qty>) -> Vec<Level> {
    let gone = from.keys().filter(|price| !to.contains_key(price)).map(|price| Level { price: *price, qty: Qty::ZERO });
    let set = to
        .iter()
        .filter(|(price, qty)| from.get(price) != Some(qty))
        .map(|(price, qty)| Level { price: *price, qty: *qty });
    let mut changes: Vec<Level> = gone.chain(set).collect();
    changes.sort_by_key(|level| level.price);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(price: i64, qty: i64) -> Level {
        Level { price: Price(price), qty: Qty(qty) }
    }

    fn book() -> Book {
        Book::new(7, [level(99, 5), level(98, 6)], [level(101, 5), level(102, 6)])
    }

    #[test]
    fn taking_walks_the_levels_within_the_limit() {
        #[track_caller]
        fn check(taker: Side, limit: i64, qty: i64, expected: &[(i64, i64)]) {
            let taken: Vec<(i64, i64)> =
                book().take(taker, Price(limit), Qty(qty)).iter().map(|level| (level.price.0, level.qty.0)).collect();
            assert_eq!(taken, expected);
        }
        check(Side::Buy, 100, 5, &[]);
        check(Side::Buy, 101, 3, &[(101, 3)]);
        check(Side::Buy, 101, 9, &[(101, 5)]);
        check(Side::Buy, 110, 9, &[(101, 5), (102, 4)]);
        check(Side::Buy, 110, 99, &[(101, 5), (102, 6)]);
        check(Side::Sell, 98, 6, &[(99, 5), (98, 1)]);
        check(Side::Sell, 100, 6, &[]);
        check(Side::Buy, 110, 0, &[]);
        check(Side::Buy, 110, -4, &[]);
    }

    #[test]
    fn a_change_follows_only_the_state_it_names() {
        let mut book = book();
        let change = |prev, id| BookChange {
            instrument: InstrumentId(0),
            prev_change_id: prev,
            change_id: id,
            bids: vec![level(99, 0)],
            asks: vec![level(100, 1)],
        };
        assert!(!book.follow(&change(6, 8)));
        assert_eq!(book.change_id(), Some(7));
        assert!(book.follow(&change(7, 8)));
        assert_eq!(book.best(Side::Buy), Some(level(98, 6)));
        assert_eq!(book.best(Side::Sell), Some(level(100, 1)));
        assert!(!Book::default().follow(&change(7, 8)));
    }

    #[test]
    fn changes_lead_from_one_book_to_the_other() {
        let (from, to) = (book(), Book::new(8, [level(99, 4), level(97, 1)], [level(102, 6), level(103, 2)]));
        let (bids, asks) = from.changes_to(&to);
        assert_eq!(bids, [level(97, 1), level(98, 0), level(99, 4)]);
        assert_eq!(asks, [level(101, 0), level(103, 2)]);
        let mut led = from;
        assert!(led.follow(&BookChange { instrument: InstrumentId(0), prev_change_id: 7, change_id: 8, bids, asks }));
        assert_eq!(led, to);
    }
}
