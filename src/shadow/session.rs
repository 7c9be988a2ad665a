//! The venue's protocol: what is asked, what is answered, when to connect. It knows no socket and no clock.

use std::{borrow::Cow, collections::BTreeMap};

use drillfold_kernel::{
    event::{CloseCause, Event, Socket},
    units::{InstrumentId, TimeMs},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    backoff::Backoff,
    client::Heard,
    redact::{Credentials, Redactor, Secret},
};
use crate::{feed::Instruments, sim::PublicRequest, wal::Direction};

/// Seconds between the venue's heartbeats; the least that it takes.
const HEARTBEAT_INTERVAL_S: u64 = 10;

/// Requests without an answer that are remembered; the oldest is forgotten for one more.
const ASKED_MAX: usize = 1_024;

/// Channels that are named where the venue did not subscribe them.
const NAMED_MAX: usize = 5;

/// The private channel that is subscribed with credentials.
const PRIVATE_CHANNEL: &str = "user.changes.any.any.raw";

/// What can be asked of the venue: everything there is. No method here places, changes or cancels an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Authenticates the connection.
    Auth,
    /// Asks for heartbeats.
    SetHeartbeat,
    /// Subscribes to public channels.
    Subscribe,
    /// Unsubscribes from public channels.
    Unsubscribe,
    /// Subscribes to private channels.
    SubscribePrivate,
    /// Keeps the connection alive.
    Test,
}

impl Method {
    /// Returns the venue's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "public/auth",
            Self::SetHeartbeat => "public/set_heartbeat",
            Self::Subscribe => "public/subscribe",
            Self::Unsubscribe => "public/unsubscribe",
            Self::SubscribePrivate => "private/subscribe",
            Self::Test => "public/test",
        }
    }
}

/// How often the venue sends what changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interval {
    /// Every change. The venue may want credentials for it.
    Raw,
    /// Together, each 100 ms.
    #[default]
    Ms100,
}

impl Interval {
    /// Returns how a channel's name ends.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ms100 => "100ms",
        }
    }
}

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The venue's names of the instruments, in the order of the world's table.
    pub instruments: Vec<String>,
    /// How often it wants to hear of them.
    pub interval: Interval,
    /// With what it authenticates, where private channels are wanted.
    pub credentials: Option<Credentials>,
    /// Waits between attempts to connect.
    pub backoff: Backoff,
}

/// What is to be done next; a list of them in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Keep a frame, which has no secret in it any more.
    Keep(Direction, String),
    /// Tell the kernel.
    Tell(Event),
    /// Begin a connection of this number, and drop the one before.
    Connect(u64),
    /// Send a text on the connection of this number.
    Send(u64, Secret),
    /// Tell whoever watches; without secrets and control characters.
    Say(String),
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Closed,
    /// An attempt is made once its time has come.
    Waiting,
    Connecting,
    Open {
        /// True once it has brought a frame.
        heard: bool,
    },
}

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    method: Method,
    /// True for the subscription to everything.
    whole: bool,
}

/// One side of the conversation with the venue.
#[derive(Clone, Debug)]
pub struct Session {
    options: SessionOptions,
    instruments: Instruments,
    redactor: Redactor,
    link: Link,
    connection: u64,
    next_id: u64,
    asked: BTreeMap<u64, Asked>,
}

impl Session {
    /// Returns a session without connection.
    #[must_use]
    pub fn new(options: SessionOptions) -> Self {
        let names: Vec<&str> = options.instruments.iter().map(String::as_str).collect();
        Self {
            instruments: Instruments::new(&names),
            redactor: Redactor::new(options.credentials.as_ref()),
            link: Link::Closed,
            connection: 0,
            next_id: 0,
            asked: BTreeMap::new(),
            options,
        }
    }

    /// Returns when an attempt to connect is due; `None` where none is.
    #[must_use]
    pub fn due_at(&self) -> Option<TimeMs> {
        (self.link == Link::Waiting).then(|| self.options.backoff.not_before())
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: TimeMs) -> Vec<Act> {
        if self.due_at().is_some_and(|at| at <= now) { self.begin() } else { Vec::new() }
    }

    /// Does what the kernel asks for. What needs a connection is left out where there is none.
    pub fn request(&mut self, now: TimeMs, request: PublicRequest) -> Vec<Act> {
        match (request, self.link) {
            (PublicRequest::Connect, Link::Closed | Link::Open { .. }) => {
                self.link = Link::Waiting;
                self.tick(now)
            }
            // The kernel repeats what nothing has answered yet; an attempt is under way.
            (PublicRequest::Connect, Link::Waiting | Link::Connecting) => Vec::new(),
            (PublicRequest::Subscribe, Link::Open { .. }) => {
                let mut acts = self.ask(Method::SetHeartbeat, json!({ "interval": HEARTBEAT_INTERVAL_S }), false);
                acts.extend(match self.options.credentials.clone() {
                    // What is subscribed may need what is authenticated, so its answer comes first.
                    Some(credentials) => self.authenticate(&credentials),
                    None => self.subscribe(),
                });
                acts
            }
            (PublicRequest::ResubscribeBook(instrument), Link::Open { .. }) => self.resubscribe(instrument),
            (PublicRequest::KeepAlive, Link::Open { .. }) => self.ask(Method::Test, json!({}), false),
            (PublicRequest::Subscribe | PublicRequest::ResubscribeBook(_) | PublicRequest::KeepAlive, _) => Vec::new(),
        }
    }

    /// Takes what the connection of that number brought. One that was dropped since brings nothing.
    pub fn hear(&mut self, now: TimeMs, connection: u64, heard: Heard) -> Vec<Act> {
        if connection != self.connection {
            return Vec::new();
        }
        match heard {
            Heard::Opened => {
                self.link = Link::Open { heard: false };
                vec![self.say("connected"), Act::Tell(Event::SocketOpened(Socket::Public))]
            }
            Heard::NotOpened(reason) => {
                self.link = Link::Waiting;
                let wait_ms = self.options.backoff.failed(now);
                vec![self.say(&format!("not connected: {reason}; the next attempt is in {wait_ms} ms"))]
            }
            Heard::Frame(frame) => self.frame(frame.expose()),
            Heard::Unusable(reason) => {
                let rejected = Event::FrameRejected {
                    socket: Socket::Public,
                    instrument: None,
                    channel: drillfold_kernel::event::Channel::Other,
                };
                vec![self.say(&format!("a frame can't be used: {reason}")), Act::Tell(rejected)]
            }
            Heard::Closed(reason) => {
                if self.link != (Link::Open { heard: true }) {
                    self.options.backoff.failed(now);
                }
                self.link = Link::Closed;
                let lost = Event::SocketClosed { socket: Socket::Public, cause: CloseCause::Lost };
                vec![self.say(&format!("connection lost: {reason}")), Act::Tell(lost)]
            }
        }
    }

    fn begin(&mut self) -> Vec<Act> {
        self.link = Link::Connecting;
        self.connection = self.connection.saturating_add(1);
        self.asked.clear();
        vec![Act::Connect(self.connection)]
    }

    fn say(&self, text: &str) -> Act {
        Act::Say(self.redactor.redact(text).escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Vec<Act> {
        let params = json!({
            "grant_type": "client_credentials",
            "client_id": credentials.id.expose(),
            "client_secret": credentials.secret.expose(),
        });
        self.ask(Method::Auth, params, false)
    }

    /// Subscribes to all market data.
    fn subscribe(&mut self) -> Vec<Act> {
        let interval = self.options.interval.name();
        let channels: Vec<String> = self
            .options
            .instruments
            .iter()
            .flat_map(|name| ["book", "ticker", "trades"].map(|kind| format!("{kind}.{name}.{interval}")))
            .collect();
        self.ask(Method::Subscribe, json!({ "channels": channels }), true)
    }

    fn resubscribe(&mut self, instrument: InstrumentId) -> Vec<Act> {
        let Some(name) = self.options.instruments.get(instrument.index()) else { return Vec::new() };
        let channel = format!("book.{name}.{}", self.options.interval.name());
        let mut acts = vec![self.say(&format!("subscribing to {channel} again"))];
        acts.extend(self.ask(Method::Unsubscribe, json!({ "channels": [channel] }), false));
        acts.extend(self.ask(Method::Subscribe, json!({ "channels": [channel] }), false));
        acts
    }

    /// The one place that makes a request.
    fn ask(&mut self, method: Method, params: Value, whole: bool) -> Vec<Act> {
        self.next_id = self.next_id.saturating_add(1);
        let id = self.next_id;
        self.asked.insert(id, Asked { method, whole });
        if self.asked.len() > ASKED_MAX {
            self.asked.pop_first();
        }
        let text = json!({ "jsonrpc": "2.0", "id": id, "method": method.name(), "params": params }).to_string();
        let kept = Act::Keep(Direction::Sent, self.redactor.redact(&text).into_owned());
        vec![kept, Act::Send(self.connection, Secret::new(text))]
    }

    fn frame(&mut self, raw: &str) -> Vec<Act> {
        self.link = Link::Open { heard: true };
        self.options.backoff.succeeded();
        self.learn_tokens(raw);
        let text = self.redactor.redact(raw).into_owned();
        let mut events = self.instruments.events(&text, Socket::Public);
        let mut after = Vec::new();
        // Market data say all there is to say of them; anything else may be an answer, or want one.
        let is_data = events.iter().all(|event| {
            !matches!(event, Event::FrameHeard(_) | Event::VenueErrored { .. } | Event::FrameRejected { .. })
        });
        if !is_data && let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(&text) {
            (events, after) = self.envelope(&envelope, events);
        }
        let mut acts = vec![Act::Keep(Direction::Received, text)];
        acts.extend(events.into_iter().map(Act::Tell));
        acts.extend(after);
        acts
    }

    /// Takes a frame that is no market data: the events that it is, and what follows from it.
    fn envelope(&mut self, envelope: &Envelope<'_>, events: Vec<Event>) -> (Vec<Event>, Vec<Act>) {
        match envelope.method.as_deref() {
            Some("heartbeat") if envelope.text_of("type").is_some_and(|kind| kind == "test_request") => {
                return (events, self.ask(Method::Test, json!({}), false));
            }
            // Private channels are kept; the account of the run is the simulated one, which they tell nothing of.
            Some("subscription") if envelope.text_of("channel").is_some_and(|name| name.starts_with("user.")) => {
                return (vec![Event::FrameHeard(Socket::Public)], Vec::new());
            }
            Some(_) => return (events, Vec::new()),
            None => {}
        }
        let Some(asked) = envelope.id.and_then(|id| self.asked.remove(&id)) else { return (events, Vec::new()) };
        if let Some(error) = envelope.error {
            let code = serde_json::from_str::<VenueError>(error.get()).map_or(0, |error| error.code);
            let mut after = vec![self.say(&format!("the venue refused {} with {code}", asked.method.name()))];
            if asked.method == Method::Auth {
                // Public channels need no credentials.
                after.extend(self.subscribe());
            }
            return (events, after);
        }
        match asked.method {
            Method::Auth => {
                let mut after = vec![self.say("authenticated")];
                after.extend(self.ask(Method::SubscribePrivate, json!({ "channels": [PRIVATE_CHANNEL] }), false));
                after.extend(self.subscribe());
                (events, after)
            }
            Method::Subscribe if asked.whole => (vec![Event::Subscribed], vec![self.subscribed(envelope.result)]),
            Method::Subscribe
            | Method::Unsubscribe
            | Method::SubscribePrivate
            | Method::SetHeartbeat
            | Method::Test => (events, Vec::new()),
        }
    }

    /// Says how many channels were subscribed, and which were not.
    fn subscribed(&self, result: Option<&RawValue>) -> Act {
        let channels: Vec<String> =
            result.and_then(|result| serde_json::from_str(result.get()).ok()).unwrap_or_default();
        let missing: Vec<&str> = self
            .options
            .instruments
            .iter()
            .filter(|name| {
                let book = format!("book.{name}.");
                !channels.iter().any(|channel| channel.starts_with(&book))
            })
            .map(String::as_str)
            .collect();
        let named = missing.get(..missing.len().min(NAMED_MAX)).unwrap_or_default().join(", ");
        let without = if missing.is_empty() {
            String::new()
        } else {
            format!("; without {} books, among them those of {named}", missing.len())
        };
        self.say(&format!("subscribed to {} channels{without}", channels.len()))
    }

    /// Learns the tokens of an answer to an authentication, so that they are found wherever they stand later.
    fn learn_tokens(&mut self, raw: &str) {
        if self.options.credentials.is_none() || !self.asked.values().any(|asked| asked.method == Method::Auth) {
            return;
        }
        let Ok(answer) = serde_json::from_str::<TokenAnswer<'_>>(raw) else { return };
        let is_auth = answer.id.and_then(|id| self.asked.get(&id)).is_some_and(|asked| asked.method == Method::Auth);
        if let Some(tokens) = answer.result.filter(|_| is_auth) {
            for token in [tokens.access_token, tokens.refresh_token].into_iter().flatten() {
                self.redactor.learn(Secret::new(token.into_owned()));
            }
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Envelope<'_> {
    /// Returns a text of the parameters.
    fn text_of(&self, name: &str) -> Option<String> {
        let params: Value = serde_json::from_str(self.params?.get()).ok()?;
        Some(params.get(name)?.as_str()?.to_owned())
    }
}

#[derive(Deserialize)]
struct VenueError {
    code: i32,
}

#[derive(Deserialize)]
struct TokenAnswer<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<Tokens<'a>>,
}

#[derive(Deserialize)]
struct Tokens<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refresh_token: Option<Cow<'a, str>>,
}
