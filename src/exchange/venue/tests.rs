//! Matching, reduce-only, resting fills, cancels.

use super::*;
use crate::exchange::market::tests::{Given, listing};

const SHAPE: MarketShape = MarketShape { levels: 3, walk_ticks: 4 };
const BTC: InstrumentId = InstrumentId(0);
const T: TimeMs = TimeMs(1_000);

/// Mid 50_000, tick 500: asks 50_500, 51_000, 51_500 with 100 each, bids 49_500, 49_000, 48_500.
fn venue() -> Venue {
    Venue::new(vec![listing(true)], SHAPE, &[("BTC".into(), Price(50_000))]).unwrap()
}

fn order(label: &str, side: Side, qty: i64, price: i64) -> NewOrder {
    NewOrder {
        label: label.into(),
        instrument: BTC,
        side,
        qty: Qty(qty),
        price: Price(price),
        reduce_only: false,
        time_in_force: TimeInForce::ImmediateOrCancel,
    }
}

fn resting(label: &str, side: Side, qty: i64, price: i64) -> NewOrder {
    NewOrder { time_in_force: TimeInForce::GoodTilCancelled, ..order(label, side, qty, price) }
}

fn reducing(order: NewOrder) -> NewOrder {
    NewOrder { reduce_only: true, ..order }
}

/// Writes reports in short: `open/filled`, `rejected code`, `traded qty@price`.
fn told(reports: &[Report]) -> Vec<String> {
    reports
        .iter()
        .map(|report| match report {
            Report::Updated(order) => format!("{:?} {}", order.state, order.filled.0),
            Report::Rejected { code, .. } => format!("rejected {code}"),
            Report::Traded(trades) => {
                trades.iter().map(|trade| format!("{}@{}", trade.qty.0, trade.price.0)).collect::<Vec<_>>().join(" ")
            }
        })
        .collect()
}

fn position(venue: &Venue) -> i64 {
    venue.positions().first().map_or(0, |position| position.qty.0)
}

#[test]
fn immediate_orders_fill_at_the_levels_and_end() {
    #[track_caller]
    fn check(order: &NewOrder, treatment: Treatment, expected: &[&str], left_position: i64) {
        let mut venue = venue();
        assert_eq!(told(&venue.place(T, order, treatment)), expected);
        assert_eq!(position(&venue), left_position);
        assert!(venue.open_orders().is_empty());
    }
    check(&order("a", Side::Buy, 50, 50_500), Treatment::Match, &["Open 0", "50@50500", "Filled 50"], 50);
    check(&order("a", Side::Buy, 150, 60_000), Treatment::Match, &["Open 0", "100@50500 50@51000", "Filled 150"], 150);
    check(&order("a", Side::Buy, 150, 50_500), Treatment::Match, &["Open 0", "100@50500", "Cancelled 100"], 100);
    check(&order("a", Side::Buy, 150, 50_000), Treatment::Match, &["Open 0", "Cancelled 0"], 0);
    check(
        &order("a", Side::Sell, 400, 40_000),
        Treatment::Match,
        &["Open 0", "100@49500 100@49000 100@48500", "Cancelled 300"],
        -300,
    );
    check(&order("a", Side::Buy, 50, 60_000), Treatment::Refuse(10_009), &["rejected 10009"], 0);
    check(&order("a", Side::Buy, 50, 60_000), Treatment::Starve(Ppm(0)), &["Open 0", "Cancelled 0"], 0);
    check(
        &order("a", Side::Buy, 50, 60_000),
        Treatment::Starve(Ppm(500_000)),
        &["Open 0", "20@50500", "Cancelled 20"],
        20,
    );
    check(&order("a", Side::Buy, 50, 60_000), Treatment::Starve(Ppm(PPM)), &["Open 0", "50@50500", "Filled 50"], 50);
}

#[test]
fn orders_off_the_grid_are_refused() {
    #[track_caller]
    fn check(order: &NewOrder) {
        assert_eq!(told(&venue().place(T, order, Treatment::Match)), ["rejected -32602"]);
    }
    check(&order("a", Side::Buy, 0, 50_500));
    check(&order("a", Side::Buy, -10, 50_500));
    check(&order("a", Side::Buy, 15, 50_500));
    check(&order("a", Side::Buy, 10, 50_501));
    check(&order("a", Side::Buy, 10, 0));
    check(&NewOrder { instrument: InstrumentId(4), ..order("a", Side::Buy, 10, 50_500) });
}

#[test]
fn reduce_only_is_capped_to_the_position() {
    #[track_caller]
    fn check(position_before: i64, order: &NewOrder, expected: &[&str], position_after: i64) {
        let mut venue = venue();
        if position_before != 0 {
            let side = if position_before > 0 { Side::Buy } else { Side::Sell };
            let price = if position_before > 0 { 60_000 } else { 40_000 };
            venue.place(T, &super::tests::order("p", side, position_before.abs(), price), Treatment::Match);
        }
        assert_eq!(told(&venue.place(T, order, Treatment::Match)), expected);
        assert_eq!(position(&venue), position_after);
    }
    check(0, &reducing(order("r", Side::Sell, 10, 40_000)), &["rejected 11030"], 0);
    check(50, &reducing(order("r", Side::Buy, 10, 60_000)), &["rejected 11030"], 50);
    check(50, &reducing(order("r", Side::Sell, 80, 40_000)), &["Open 0", "50@49500", "Cancelled 50"], 0);
    check(50, &reducing(order("r", Side::Sell, 30, 40_000)), &["Open 0", "30@49500", "Filled 30"], 20);
    check(-50, &reducing(order("r", Side::Buy, 60, 60_000)), &["Open 0", "50@50500", "Cancelled 50"], 0);
}

#[test]
fn resting_orders_fill_at_their_price_when_the_book_comes_to_them() {
    let mut venue = venue();
    assert_eq!(told(&venue.place(T, &resting("g", Side::Buy, 30, 49_500), Treatment::Match)), ["Open 0"]);
    assert_eq!(venue.open_orders().len(), 1);
    // Four ticks down: the best ask is 48_500.
    let (_, reports) = venue.walk(TimeMs(1_200), BTC, &mut Given(vec![4, 0], 0)).unwrap();
    assert_eq!(told(&reports), ["30@49500", "Filled 30"]);
    assert_eq!((position(&venue), venue.open_orders().len()), (30, 0));
    assert_eq!(venue.own_trades(TimeMs(1_200)).len(), 1);
    assert_eq!(venue.own_trades(TimeMs(1_201)).len(), 0);
}

#[test]
fn a_crossing_resting_order_fills_and_rests() {
    let mut venue = venue();
    let reports = venue.place(T, &resting("g", Side::Buy, 150, 50_500), Treatment::Match);
    assert_eq!(told(&reports), ["Open 0", "100@50500", "Open 100"]);
    assert_eq!(venue.open_orders().first().map(|order| order.filled), Some(Qty(100)));
}

#[test]
fn a_resting_reduce_only_order_goes_with_the_position() {
    let mut venue = venue();
    venue.place(T, &order("p", Side::Buy, 50, 60_000), Treatment::Match);
    assert_eq!(told(&venue.place(T, &reducing(resting("r", Side::Sell, 50, 60_000)), Treatment::Match)), ["Open 0"]);
    let reports = venue.place(T, &order("c", Side::Sell, 50, 40_000), Treatment::Match);
    assert_eq!(told(&reports), ["Open 0", "50@49500", "Filled 50", "Cancelled 0"]);
    assert!(venue.open_orders().is_empty());
}

#[test]
fn cancels_are_idempotent() {
    let mut venue = venue();
    venue.place(T, &resting("g", Side::Buy, 30, 49_500), Treatment::Match);
    let by_label = CancelTarget { order_id: None, label: "g" };
    assert_eq!(told(&venue.cancel(by_label)), ["Cancelled 0"]);
    assert_eq!(told(&venue.cancel(by_label)), ["Cancelled 0"]);
    assert_eq!(told(&venue.cancel(CancelTarget { order_id: Some(OrderId(1)), label: "" })), ["Cancelled 0"]);
    assert!(venue.cancel(CancelTarget { order_id: Some(OrderId(9)), label: "" }).is_empty());
    assert!(venue.cancel(CancelTarget { order_id: None, label: "?" }).is_empty());
}

#[test]
fn history_knows_every_accepted_order_by_label() {
    let mut venue = venue();
    venue.place(T, &order("a", Side::Buy, 50, 60_000), Treatment::Match);
    venue.place(T, &order("a", Side::Buy, 50, 40_000), Treatment::Match);
    venue.place(T, &order("b", Side::Buy, 50, 60_000), Treatment::Refuse(1));
    let states: Vec<VenueState> =
        venue.order_history(&["b".into(), "a".into(), "c".into()]).iter().map(|order| order.state).collect();
    assert_eq!(states, [VenueState::Filled, VenueState::Cancelled]);
}

#[test]
fn the_index_moves_with_the_perpetual() {
    let option = Listing {
        name: "BTC-26JUN26-60000-C".into(),
        kind: InstrumentKind::Option,
        delta: Some(Ppm(500_000)),
        ..listing(true)
    };
    let mut venue = Venue::new(vec![listing(true), option], SHAPE, &[("BTC".into(), Price(60_000))]).unwrap();
    venue.walk(T, BTC, &mut Given(vec![3, 1], 0));
    for instrument in [BTC, InstrumentId(1)] {
        assert_eq!(venue.ticker(instrument).unwrap().index, Some(Price(61_500)));
    }
    assert_eq!(venue.ticker(InstrumentId(1)).unwrap().delta, Some(Ppm(500_000)));
    assert_eq!(venue.ticker(InstrumentId(2)), None);
}

#[test]
fn listings_no_market_can_be_made_of_are_refused() {
    #[track_caller]
    fn check(listings: Vec<Listing>, levels: u16, expected: &str) {
        let shape = MarketShape { levels, ..SHAPE };
        let error = Venue::new(listings, shape, &[("BTC".into(), Price(50_000))]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let with = |change: fn(&mut Listing)| {
        let mut listing = listing(true);
        change(&mut listing);
        vec![listing]
    };
    check(with(|l| l.tick_size = Price(0)), 3, "instrument BTC-PERPETUAL: tick_size must be positive, found 0");
    check(with(|l| l.level_qty = Qty(-1)), 3, "instrument BTC-PERPETUAL: level_qty must be positive, found -1");
    check(
        with(|l| l.underlying = "ETH".into()),
        3,
        "underlying ETH of instrument BTC-PERPETUAL has no index price, set market.index",
    );
    check(vec![listing(true)], 0, "synthetic books need at least one level a side, set market.levels");
    check(vec![listing(true), listing(true)], 3, "instrument BTC-PERPETUAL is listed twice, list it once");
}
