//! The limits of emergency close attempts: 5, 10 and 20 ticks beyond the best price. Source: AT-316; kernel contract section 7.

use std::path::Path;

use drillfold::judge::run::run_watched;
use drillfold_kernel::{
    effect::Effect,
    event::{Event, IntentClass},
    units::{Price, Side},
};

use crate::project::{scenario_files, scenarios};

#[test]
fn at_316_close_attempts_go_5_10_and_20_ticks_beyond_the_best_price() {
    let file =
        scenario_files().into_iter().find(|file| Path::new(file).ends_with("drill_1_partial_fill.toml")).unwrap();
    for (variant, expected) in [("three_closes", vec![5, 10, 20]), ("hedge", vec![5, 10, 20, 5])] {
        let scenario = scenarios(&file).into_iter().find(|of| of.variant.as_deref() == Some(variant)).unwrap();
        let mut ticks = Vec::new();
        run_watched(&scenario, None, |_, _: &Event, folder| {
            for effect in folder.effects() {
                let Effect::Place(order) = effect else {
                    continue;
                };
                if !matches!(order.class, IntentClass::EmergencyClose | IntentClass::EmergencyHedge) {
                    continue;
                }
                let kernel = folder.kernel();
                let book = &kernel.feeds.books[order.instrument.index()];
                let side = match order.side {
                    Side::Buy => &book.asks,
                    Side::Sell => &book.bids,
                };
                let (best, _) = side.levels().next().unwrap();
                let tick = kernel.core.instruments[order.instrument.index()].tick_size.unwrap();
                let beyond = Price(order.side.sign(order.price.minus(best).0));
                ticks.push(beyond.0 / tick.0);
            }
        })
        .unwrap();
        assert_eq!(ticks, expected, "{variant}");
    }
}
