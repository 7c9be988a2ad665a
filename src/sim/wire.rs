//! What travels between the process and the venue, and what the venue does with it.

use drillfold_kernel::{
    effect::{CancelRequest, Effect, OrderRequest, RestQuery, Route},
    event::{CloseCause, Event, LedgerRecord, RestAnswer, Socket, TimeInForce},
    units::{InstrumentId, PPM, RequestId, TimeMs},
};

use super::{
    faults::Fault,
    ledger::Beat,
    simulation::{Due, Simulation},
};
use crate::exchange::{CancelTarget, MarketData, NewOrder, Report, Treatment, codes};

/// The way that something takes: a socket's connection by its number, or REST by the number of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Public(u64),
    Private(u64),
    Rest(u64),
}

/// What the process asks of the venue.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Subscribe,
    ResubscribeBook(InstrumentId),
    KeepAlive,
    Authenticate,
    Place(Box<OrderRequest>),
    Cancel(CancelRequest),
    Query { request: RequestId, query: RestQuery, sent_at: TimeMs },
}

impl Simulation {
    /// Carries out one effect.
    pub(super) fn carry(&mut self, effect: &Effect) {
        match effect {
            Effect::Enqueue(record) => {
                if let LedgerRecord::Intent(intent) = record {
                    self.classes.insert(intent.intent, intent.class);
                }
                self.ledger.enqueue(record.clone());
            }
            Effect::WriteSlot(slot) => self.ledger.write_slot((**slot).clone()),
            Effect::Place(order) => {
                self.classes.insert(order.intent, order.class);
                self.send(self.route(order.route), Request::Place(order.clone()));
            }
            Effect::Cancel(cancel) => self.send(self.route(cancel.route), Request::Cancel(cancel.clone())),
            Effect::Rest { request, query } => {
                let sent_at = self.now();
                self.send(Way::Rest(self.boots), Request::Query { request: *request, query: query.clone(), sent_at });
            }
            Effect::ConnectPublic => self.connect(Socket::Public),
            Effect::ConnectPrivate => self.connect(Socket::Private),
            Effect::Authenticate => self.send(self.private(), Request::Authenticate),
            Effect::Subscribe => self.send(self.public(), Request::Subscribe),
            Effect::ResubscribeBook(id) => self.send(self.public(), Request::ResubscribeBook(*id)),
            Effect::KeepAlivePublic => self.send(self.public(), Request::KeepAlive),
            Effect::KeepAlivePrivate => self.send(self.private(), Request::KeepAlive),
            // These tell of the kernel itself; nothing out here changes.
            Effect::Refuse(_) | Effect::Note(_) => {}
        }
    }

    /// One beat of the ledger's writer.
    pub(super) fn beat(&mut self) {
        if !self.up {
            return;
        }
        match self.ledger.beat() {
            Beat::Idle => {}
            Beat::Drained(records) => self.hear([Event::LedgerDrained { records }]),
            Beat::Stalled(step) => self.count(step),
        }
    }

    /// A request reaches the venue, unless its connection is gone.
    pub(super) fn reach(&mut self, way: Way, request: Request) {
        let reaches = match way {
            Way::Public(number) => self.network.public.reaches(number),
            Way::Private(number) => self.network.private.reaches(number),
            Way::Rest(_) => true,
        };
        if !reaches {
            return;
        }
        match (request, way) {
            (Request::Subscribe, Way::Public(number)) => self.subscribe(number),
            (Request::ResubscribeBook(id), Way::Public(number)) => {
                if self.publisher.resubscribe(number, id) {
                    self.send_snapshot(id);
                }
            }
            (Request::KeepAlive, Way::Public(_)) => {
                if self.keepalives {
                    self.answer(way, Event::FrameHeard(Socket::Public));
                }
            }
            (Request::KeepAlive, Way::Private(_)) => self.answer(way, Event::FrameHeard(Socket::Private)),
            (Request::Authenticate, Way::Private(number)) => self.authenticate(number),
            (Request::Place(order), Way::Public(_) | Way::Private(_) | Way::Rest(_)) => self.place(way, &order),
            (Request::Cancel(cancel), Way::Public(_) | Way::Private(_) | Way::Rest(_)) => self.cancel(way, &cancel),
            (Request::Query { request, query, sent_at }, Way::Rest(_)) => self.query(way, request, &query, sent_at),
            // A request is sent on its own socket only.
            (Request::Subscribe | Request::ResubscribeBook(_), Way::Private(_) | Way::Rest(_))
            | (Request::KeepAlive, Way::Rest(_))
            | (Request::Authenticate, Way::Public(_) | Way::Rest(_))
            | (Request::Query { .. }, Way::Public(_) | Way::Private(_)) => {}
        }
    }

    /// A message reaches the process, unless its connection or its process is gone.
    pub(super) fn arrive(&mut self, way: Way, event: Event) {
        let arrives = match way {
            Way::Public(number) => self.network.public.arrives(number),
            Way::Private(number) => self.network.private.arrives(number),
            Way::Rest(boot) => self.boots == boot,
        };
        if !self.up || !arrives {
            return;
        }
        if self.crashes_on_arrival(&event) {
            return;
        }
        if let Event::SocketClosed { socket, .. } = event {
            match socket {
                Socket::Public => self.network.public.lose(),
                Socket::Private => self.network.private.lose(),
            };
        }
        self.ready.push_back(event);
    }

    /// A connection that was asked for is open, unless another was asked for since.
    pub(super) fn connected(&mut self, socket: Socket, number: u64) {
        let opened = match socket {
            Socket::Public => self.network.public.open(number),
            Socket::Private => self.network.private.open(number),
        };
        if opened {
            self.hear([Event::SocketOpened(socket)]);
        }
    }

    /// Sends market data to the subscriber, if there is one that hears it and no fault is in the way.
    pub(super) fn publish(&mut self, mut data: MarketData) {
        if !self.publisher.wants(&data) || !self.subscriber_hears() {
            return;
        }
        if self.publisher.is_stopped() {
            self.withhold();
            return;
        }
        match &mut data {
            MarketData::Snapshot(snapshot) => self.publisher.snapshot_sent(snapshot.instrument),
            MarketData::Changed(change) => {
                let place = change.instrument.index();
                if let Some((step, _)) = self.faults.strike(|fault| *fault == Fault::DropBookChange(place)) {
                    self.count(step);
                    return;
                }
            }
            MarketData::Traded { instrument, trades } => {
                let place = instrument.index();
                if let Some((step, _)) = self.faults.strike(|fault| *fault == Fault::DropTrades(place)) {
                    self.count(step);
                    return;
                }
                let steps_back =
                    |fault: &Fault| matches!(fault, Fault::StepBackTrades { instrument, .. } if *instrument == place);
                if let Some((step, Fault::StepBackTrades { by, .. })) = self.faults.strike(steps_back) {
                    self.count(step);
                    for trade in trades.iter_mut() {
                        trade.trade_seq = trade.trade_seq.saturating_sub(by);
                    }
                }
                if let Some((step, _)) = self.faults.strike(|fault| *fault == Fault::RepeatTrades(place)) {
                    self.count(step);
                    self.send_data(data.clone());
                }
            }
            MarketData::Ticked(_) | MarketData::Unusable { .. } => {}
        }
        self.send_data(data);
    }

    /// Sends what our orders went through on the private socket; what happens while there is none is not told again.
    pub(super) fn report(&mut self, reports: Vec<Report>) {
        let number = self.network.private.number();
        let private = &self.network.private;
        if !self.sessions.is_authenticated(number) || !private.reaches(number) || !private.arrives(number) {
            return;
        }
        for report in reports {
            let repeated = matches!(report, Report::Traded(_))
                .then(|| self.faults.strike(|fault| *fault == Fault::RepeatOwnTrades))
                .flatten();
            let event = told(report);
            if let Some((step, _)) = repeated {
                self.count(step);
                self.answer(Way::Private(number), event.clone());
            }
            self.answer(Way::Private(number), event);
        }
    }

    /// Sends every book whose snapshot the subscriber waits for.
    pub(super) fn send_owed_snapshots(&mut self) {
        let ids = (0..self.venue.markets().len()).filter_map(|place| u16::try_from(place).ok()).map(InstrumentId);
        for id in ids.collect::<Vec<_>>() {
            if self.publisher.owes_snapshot(id) {
                self.send_snapshot(id);
            }
        }
    }

    /// The feed ends: what travels arrives at this very moment and a ticker behind it, then nothing comes. So the stop loses
    /// nothing that was sent, and its last payload lies on the time of a tick. Source: decision 21.
    pub(super) fn stop_feed(&mut self, step: usize) {
        if self.publisher.is_stopped() {
            return;
        }
        let travelling = self.queue.take(|due| matches!(due, Due::Arrived { event, .. } if is_market_data(event)));
        for due in travelling {
            if let Due::Arrived { way, event } = due {
                self.arrive(way, *event);
            }
        }
        let last = self.reference.or_else(|| {
            let place = self.venue.markets().iter().position(|market| market.listing().synthetic)?;
            u16::try_from(place).ok().map(InstrumentId)
        });
        if self.subscriber_hears() {
            self.hear(last.and_then(|id| self.venue.ticker(id)).map(Event::TickerReceived));
        }
        self.publisher.stop();
        self.feed_stopped_by = Some(step);
    }

    /// Counts a message that the stopped feed kept back.
    fn withhold(&mut self) {
        if let Some(step) = self.feed_stopped_by {
            self.count(step);
        }
    }

    /// True where the subscribed connection is up on both ends.
    pub(super) fn subscriber_hears(&self) -> bool {
        self.publisher.subscriber().is_some_and(|number| self.network.public.arrives(number))
    }

    const fn public(&self) -> Way {
        Way::Public(self.network.public.number())
    }

    const fn private(&self) -> Way {
        Way::Private(self.network.private.number())
    }

    const fn route(&self, route: Route) -> Way {
        match route {
            Route::Socket => self.private(),
            Route::Rest => Way::Rest(self.boots),
        }
    }

    /// Puts a request on its way; on a socket that is not open it goes nowhere.
    fn send(&mut self, way: Way, request: Request) {
        let now = self.now();
        let arrival = match way {
            Way::Public(_) if self.network.public.is_open() => self.network.public.up.arrival(now),
            Way::Private(_) if self.network.private.is_open() => self.network.private.up.arrival(now),
            Way::Rest(_) => now.after(self.network.rest.delay()),
            Way::Public(_) | Way::Private(_) => return,
        };
        self.queue.push(arrival, Due::Reached(way, request));
    }

    /// Puts a message to the process on its way.
    pub(super) fn answer(&mut self, way: Way, event: Event) {
        let now = self.now();
        let arrival = match way {
            Way::Public(_) => self.network.public.down.arrival(now),
            Way::Private(_) => self.network.private.down.arrival(now),
            Way::Rest(_) => now.after(self.network.rest.delay()),
        };
        self.queue.push(arrival, Due::Arrived { way, event: Box::new(event) });
    }

    fn send_data(&mut self, data: MarketData) {
        let arrival = self.network.public.down.arrival(self.now());
        let arrived = Due::Arrived { way: self.public(), event: Box::new(data.into_event()) };
        self.queue.push(arrival, arrived);
    }

    fn connect(&mut self, socket: Socket) {
        let now = self.now();
        let connection = match socket {
            Socket::Public => &mut self.network.public,
            Socket::Private => &mut self.network.private,
        };
        let open_at = connection.connect(now);
        let number = connection.number();
        self.queue.push(open_at, Due::Connected(socket, number));
    }

    fn subscribe(&mut self, number: u64) {
        self.publisher.subscribe(number);
        let listening = self.subscriber_hears();
        self.publisher.release_trades(listening);
        self.answer(Way::Public(number), Event::Subscribed);
        self.send_owed_snapshots();
    }

    fn send_snapshot(&mut self, id: InstrumentId) {
        if self.publisher.is_stopped() {
            self.withhold();
            return;
        }
        // A recorded book that has not begun yet begins with the recording's own snapshot.
        let snapshot = self.venue.market(id).and_then(|market| market.published().snapshot(id));
        if let Some(snapshot) = snapshot
            && self.subscriber_hears()
        {
            self.publisher.snapshot_sent(id);
            self.send_data(MarketData::Snapshot(snapshot));
        }
    }

    fn authenticate(&mut self, number: u64) {
        let refused = self.faults.strike(|fault| matches!(fault, Fault::RefuseAuthentication { .. }));
        let event = match refused {
            Some((step, Fault::RefuseAuthentication { code })) => {
                self.count(step);
                Event::AuthenticationRefused { code }
            }
            _ => {
                self.sessions.accept(number);
                Event::Authenticated
            }
        };
        self.answer(Way::Private(number), event);
    }

    fn place(&mut self, way: Way, order: &OrderRequest) {
        if let Way::Rest(_) = way
            && let Some(refused) = self.rest_fault()
        {
            if let Some(code) = refused {
                self.answer(way, Event::OrderRejected { label: order.label.clone(), code });
            }
            return;
        }
        if let Way::Private(number) = way
            && !self.sessions.is_authenticated(number)
        {
            self.answer(way, Event::OrderRejected { label: order.label.clone(), code: codes::UNAUTHORIZED });
            return;
        }
        let treatment = self.treatment(order);
        let new_order = NewOrder {
            label: order.label.clone(),
            instrument: order.instrument,
            side: order.side,
            qty: order.qty,
            price: order.price,
            reduce_only: order.reduce_only,
            time_in_force: order.time_in_force,
        };
        let reports = self.venue.place(self.now(), &new_order, treatment);
        self.tell(way, reports);
    }

    fn cancel(&mut self, way: Way, cancel: &CancelRequest) {
        let lost = match way {
            Way::Rest(_) => self.rest_fault().is_some(),
            Way::Private(number) => !self.sessions.is_authenticated(number),
            Way::Public(_) => true,
        };
        if !lost {
            let reports = self.venue.cancel(CancelTarget { order_id: cancel.order_id, label: &cancel.label });
            self.tell(way, reports);
        }
    }

    /// Tells what a request led to: on the private socket as notifications, over REST in one answer.
    fn tell(&mut self, way: Way, reports: Vec<Report>) {
        let Way::Rest(_) = way else {
            self.report(reports);
            return;
        };
        let arrival = self.now().after(self.network.rest.delay());
        for report in reports {
            self.queue.push(arrival, Due::Arrived { way, event: Box::new(told(report)) });
        }
    }

    /// Returns what the oldest fitting fault makes of an order.
    fn treatment(&mut self, order: &OrderRequest) -> Treatment {
        let place = order.instrument.index();
        let refuses = |fault: &Fault| match fault {
            Fault::RejectOrder { instrument, only_legs, .. } => {
                instrument.is_none_or(|instrument| instrument == place) && !(*only_legs && order.class.is_containment())
            }
            _ => false,
        };
        if let Some((step, Fault::RejectOrder { code, .. })) = self.faults.strike(refuses) {
            self.count(step);
            return Treatment::Refuse(code);
        }
        let starves = |fault: &Fault| match fault {
            Fault::StarveOrder { instrument, .. } => {
                order.time_in_force == TimeInForce::ImmediateOrCancel
                    && instrument.is_none_or(|instrument| instrument == place)
            }
            _ => false,
        };
        if let Some((step, Fault::StarveOrder { fill, .. })) = self.faults.strike(starves) {
            if fill.0 < PPM {
                self.count(step);
            }
            return Treatment::Starve(fill);
        }
        Treatment::Match
    }

    /// Returns what a fault makes of a REST request: `None` nothing, `Some(None)` lost, `Some(Some(code))` refused.
    fn rest_fault(&mut self) -> Option<Option<i32>> {
        let (step, fault) = self.faults.strike(|fault| matches!(fault, Fault::RefuseRest { .. } | Fault::LoseRest))?;
        self.count(step);
        match fault {
            Fault::RefuseRest { code } => Some(Some(code)),
            _ => Some(None),
        }
    }

    fn query(&mut self, way: Way, request: RequestId, query: &RestQuery, sent_at: TimeMs) {
        let fault = self.rest_fault();
        if fault == Some(None) {
            return;
        }
        let venue_time = self.now();
        let arrival = venue_time.after(self.network.rest.delay());
        let round_trip_ms = arrival.since(sent_at);
        let event = match fault.flatten() {
            Some(code) => Event::RestRefused { request, code, round_trip_ms },
            None => match self.look_up(query) {
                Some(answer) => Event::RestAnswered { request, venue_time, round_trip_ms, answer },
                None => Event::RestRefused { request, code: codes::INVALID_PARAMS, round_trip_ms },
            },
        };
        self.queue.push(arrival, Due::Arrived { way, event: Box::new(event) });
    }

    /// Answers a question; `None` where it names an instrument without a book.
    fn look_up(&self, query: &RestQuery) -> Option<RestAnswer> {
        Some(match query {
            RestQuery::OpenOrders => RestAnswer::OpenOrders(self.venue.open_orders()),
            RestQuery::Positions => RestAnswer::Positions(self.venue.positions()),
            RestQuery::OwnTrades { since } => RestAnswer::OwnTrades(self.venue.own_trades(*since)),
            RestQuery::OrderHistory { labels } => RestAnswer::OrderHistory(self.venue.order_history(labels)),
            RestQuery::Book(id) => RestAnswer::Book(self.venue.market(*id)?.published().snapshot(*id)?),
            RestQuery::RecentTrades(id) => {
                RestAnswer::RecentTrades { instrument: *id, trades: self.venue.market(*id)?.recent_trades() }
            }
        })
    }

    /// The venue ends the private session: its last words still travel, then the socket is closed.
    pub(super) fn end_session(&mut self, words: Option<Event>, cause: CloseCause) -> bool {
        if !self.network.private.is_open() || !self.network.private.reaches(self.network.private.number()) {
            return false;
        }
        let number = self.network.private.number();
        self.network.private.close_at_venue();
        self.sessions.end(number);
        for event in words.into_iter().chain([Event::SocketClosed { socket: Socket::Private, cause }]) {
            self.answer(Way::Private(number), event);
        }
        true
    }

    /// A socket is lost, which both ends see at once.
    pub(super) fn lose_socket(&mut self, socket: Socket) -> bool {
        let lost = match socket {
            Socket::Public => self.network.public.lose(),
            Socket::Private => {
                self.sessions.end(self.network.private.number());
                self.network.private.lose()
            }
        };
        if lost {
            self.hear([Event::SocketClosed { socket, cause: CloseCause::Lost }]);
        }
        lost
    }
}

fn is_market_data(event: &Event) -> bool {
    matches!(
        event,
        Event::BookSnapshot(_)
            | Event::BookChanged(_)
            | Event::TradesReceived { .. }
            | Event::TickerReceived(_)
            | Event::FrameRejected { .. }
    )
}

fn told(report: Report) -> Event {
    match report {
        Report::Updated(order) => Event::OrderUpdated(order),
        Report::Rejected { label, code } => Event::OrderRejected { label, code },
        Report::Traded(trades) => Event::OwnTraded(trades),
    }
}
