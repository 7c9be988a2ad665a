//! One side of a book: its price levels, best last.
//!
//! Most changes concern a price near the best one, and a price whose level goes is likely to come back. So a level that
//! goes keeps its place with an amount of 0, even the best: neither its going nor its return moves any other. Empty places
//! are cleared away before the ladder would grow beyond a power of two from 64 on, so that it has 64 places, or no more than
//! twice as many as it once had levels.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    event::Level,
    units::{Price, Qty, Side},
};

/// The smallest size, in places, at which empty ones are cleared away.
const CLEARED_SIZE_MIN: usize = 64;

/// The price levels of one side of a book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// Prices and amounts, best last; an amount of 0 or less is no level.
    places: Vec<(Price, Qty)>,
}

impl Ladder {
    /// Returns the ladder of these levels; of two at one price the later one holds.
    pub(crate) fn of(levels: &[Level], side: Side) -> Self {
        let mut ladder = Self { places: Vec::with_capacity(levels.len()) };
        for level in levels {
            ladder.put(*level, side);
        }
        ladder
    }

    /// Returns the levels, best first.
    pub fn levels(&self) -> impl Iterator<Item = (Price, Qty)> + '_ {
        self.places.iter().rev().copied().filter(|(_, qty)| qty.0 > 0)
    }

    /// Sets the amount at a price; 0 or less is none.
    #[inline]
    pub(crate) fn put(&mut self, level: Level, side: Side) {
        match self.place_of(level.price, side) {
            Ok(place) => {
                if let Some(slot) = self.places.get_mut(place) {
                    slot.1 = level.qty;
                }
            }
            Err(place) if level.qty.0 > 0 => self.insert(place, level, side),
            Err(_) => {}
        }
    }

    #[cold]
    fn insert(&mut self, place: usize, level: Level, side: Side) {
        let mut place = place;
        let size = self.places.len();
        if size >= CLEARED_SIZE_MIN && size.is_power_of_two() {
            self.places.retain(|(_, qty)| qty.0 > 0);
            place = self.place_of(level.price, side).unwrap_or_else(|place| place);
        }
        self.places.insert(place, (level.price, level.qty));
    }

    /// Returns the place of a price, or the place where it belongs.
    #[inline]
    fn place_of(&self, price: Price, side: Side) -> Result<usize, usize> {
        match side {
            Side::Buy => self.search(price, |found| found < price),
            Side::Sell => self.search(price, |found| found > price),
        }
    }

    #[inline]
    fn search(&self, price: Price, is_worse: impl Fn(Price) -> bool) -> Result<usize, usize> {
        let place = self.places.partition_point(|(found, _)| is_worse(*found));
        match self.places.get(place) {
            Some((found, _)) if *found == price => Ok(place),
            _ => Err(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn any_change() -> impl Strategy<Value = (i64, i64)> {
        let price = prop_oneof![8 => 0..200_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN + 2)];
        (price, prop_oneof![Just(0), Just(-1), 1..5_i64])
    }

    proptest! {
        #[test]
        fn prop_a_ladder_holds_what_a_sorted_map_would(changes in prop::collection::vec(any_change(), 0..600)) {
            for side in [Side::Buy, Side::Sell] {
                let mut ladder = Ladder::default();
                let mut map = BTreeMap::new();
                for (price, qty) in &changes {
                    ladder.put(Level { price: Price(*price), qty: Qty(*qty) }, side);
                    if *qty > 0 {
                        map.insert(*price, *qty);
                    } else {
                        map.remove(price);
                    }
                    let mut expected: Vec<(Price, Qty)> =
                        map.iter().map(|(price, qty)| (Price(*price), Qty(*qty))).collect();
                    if side == Side::Buy {
                        expected.reverse();
                    }
                    prop_assert_eq!(ladder.levels().collect::<Vec<_>>(), expected);
                }
            }
        }
    }

    #[test]
    fn a_level_that_goes_keeps_its_place_and_one_that_never_was_takes_none() {
        let mut ladder = Ladder::default();
        let mut put = |price, qty| {
            ladder.put(Level { price: Price(price), qty: Qty(qty) }, Side::Buy);
            ladder.places.len()
        };
        assert_eq!([put(1, 1), put(2, 1), put(3, 1)], [1, 2, 3]);
        assert_eq!([put(2, 0), put(9, 0)], [3, 3]);
        // Few places are not cleared, not even at a power of two.
        assert_eq!([put(4, 1), put(5, 1)], [4, 5]);
        assert_eq!(put(2, 1), 5);
    }

    #[test]
    fn places_of_levels_that_went_are_cleared_away() {
        let mut ladder = Ladder::default();
        for price in 0..10_000 {
            ladder.put(Level { price: Price(price), qty: Qty(1) }, Side::Buy);
            ladder.put(Level { price: Price(price), qty: Qty(0) }, Side::Buy);
        }
        assert!(ladder.places.len() <= CLEARED_SIZE_MIN);
        assert_eq!(ladder.levels().next(), None);
    }
}
