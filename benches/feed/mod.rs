//! Levels for book changes, as often and as near to the best price as a recorded feed has them.
//!
//! The shares are those of 305 changed levels in 177 book changes of ten options that Deribit published on 2021-04-05.
//! Books of a perpetual are deeper, and change near their best level as well.

use std::collections::BTreeMap;

use drillfold_kernel::event::{BookChange, BookSnapshot, Level};
use drillfold_kernel::units::{InstrumentId, NANO, Price, Qty};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What happens to a level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Gone,
    Changed,
}

use Kind::{Changed, Gone, New};

/// What a change does to levels of one side, and how often each was seen. No change concerned both sides.
const SHAPES: [(u32, &[Kind]); 9] = [
    (22, &[New]),
    (20, &[Gone]),
    (7, &[Changed]),
    (56, &[New, Gone]),
    (50, &[Gone, New]),
    (8, &[New, Changed]),
    (11, &[Gone, Changed]),
    (2, &[Changed, New]),
    (1, &[Changed, Gone]),
];

/// Changed levels by how many levels of their side were better.
const BY_RANK: [u32; 8] = [99, 45, 62, 22, 2, 45, 26, 4];

/// USD on a level at least: five of them are as deep as the market monitors want a market to be.
const DEEP_USD: i64 = 100_000;

const DEPTH_MIN: usize = 16;
const DEPTH_MAX: usize = 32;

/// Books whose levels come and go.
pub struct Feed {
    random: ChaCha8Rng,
    /// Prices in half dollars away from the middle, best first, of each instrument's bids and asks.
    books: BTreeMap<(InstrumentId, bool), Vec<i64>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(1), books: BTreeMap::new() }
    }
}

impl Feed {
    /// Replaces the levels of a snapshot.
    pub fn fill_snapshot(&mut self, snapshot: &mut BookSnapshot) {
        for (of_bids, levels) in [(true, &mut snapshot.bids), (false, &mut snapshot.asks)] {
            let book = self.book(snapshot.instrument, of_bids);
            *levels =
                book.iter().map(|away| Level { price: price(of_bids, *away), qty: Qty(DEEP_USD * NANO) }).collect();
        }
    }

    /// Replaces the levels of a change and returns how many it has now.
    pub fn fill(&mut self, change: &mut BookChange) -> u64 {
        change.bids.clear();
        change.asks.clear();
        let of_bids = self.random.next_u32().is_multiple_of(2);
        let shape = SHAPES[self.drawn(&SHAPES.map(|(share, _)| share))].1;
        for kind in shape {
            let level = self.level(*kind, change.instrument, of_bids);
            if of_bids { &mut change.bids } else { &mut change.asks }.push(level);
        }
        shape.len() as u64
    }

    fn level(&mut self, kind: Kind, instrument: InstrumentId, of_bids: bool) -> Level {
        let qty = DEEP_USD + i64::from(self.random.next_u32() % 50 + 1) * 10;
        let rank = self.drawn(&BY_RANK);
        let book = self.book(instrument, of_bids);
        let rank = rank.min(book.len() - 1);
        let is_full = book.len() == DEPTH_MAX;
        let is_thin = book.len() == DEPTH_MIN;
        let (away, qty) = if kind == Changed {
            (book[rank], qty)
        } else if is_full || (kind == Gone && !is_thin) {
            (book.remove(rank), 0)
        } else {
            (insert_behind(book, rank), qty)
        };
        Level { price: price(of_bids, away), qty: Qty(qty * NANO) }
    }

    fn book(&mut self, instrument: InstrumentId, of_bids: bool) -> &mut Vec<i64> {
        self.books.entry((instrument, of_bids)).or_insert_with(|| (1..=DEPTH_MIN as i64).collect())
    }

    /// Draws a place by shares.
    fn drawn(&mut self, shares: &[u32]) -> usize {
        let mut left = self.random.next_u32() % shares.iter().sum::<u32>();
        shares.iter().position(|share| left.checked_sub(*share).inspect(|rest| left = *rest).is_none()).unwrap_or(0)
    }
}

fn price(of_bids: bool, away: i64) -> Price {
    let away = away * NANO / 2;
    Price(60_000 * NANO + if of_bids { -away } else { away })
}

/// Puts a level where the one of `rank` is, if there is a free price before it, or behind it where the next is free.
fn insert_behind(book: &mut Vec<i64>, rank: usize) -> i64 {
    let better = if rank == 0 { 0 } else { book[rank - 1] };
    if book[rank] > better + 1 {
        let away = book[rank] - 1;
        book.insert(rank, away);
        return away;
    }
    let mut place = rank + 1;
    while place < book.len() && book[place] == book[place - 1] + 1 {
        place += 1;
    }
    let away = book[place - 1] + 1;
    book.insert(place, away);
    away
}
