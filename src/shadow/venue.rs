//! The other end of a feed: a server that plays a recording, Deribit-style, with faults where they are asked for.
//!
//! It begins to play with the first subscription and goes on whoever listens, so that a client that comes back finds what it
//! missed gone. It keeps each book as recorded: whoever subscribes to one gets it whole, with the number of its state. It knows no
//! method that trades, answers any other than those listed with an error, and tells of every request, so that a test can wait
//! for it and see that nothing else was asked.
//!
//! Faults are placed in the recording, by a frame's number or by time since its first frame, so that they strike the same frame
//! at any speed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{SocketAddr, TcpListener},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use drillfold_kernel::{
    event::{BookChange, BookSnapshot, Level},
    units::InstrumentId,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc, oneshot},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    exchange::Book,
    feed::{
        deribit,
        error::RecordingError,
        recording::{RecordKind, records},
    },
    text::{
        decimal::{NANO_DIGITS, plain},
        speed::Speed,
        time::duration_ms,
    },
};

/// Messages that wait for one client at most; who reads more slowly is cut off.
const WAITING_MAX: usize = 65_536;

/// Largest frame that a client may send, bytes.
const REQUEST_SIZE_BYTES_MAX: usize = 1 << 20;

/// Size of a frame that is too large for any client, bytes.
const OVERSIZE_BYTES: usize = (4 << 20) + 1;

/// By how much change ids grow from one round of a loop to the next, so that they never fall.
const ROUND_CHANGE_IDS: u64 = 1_000_000_000_000;

/// A place in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the frame of this number, from 1.
    Frame(usize),
    /// Before the first frame so many ms after the recording's first.
    Ms(i64),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let frame = text.parse().ok().filter(|frame| *frame > 0).map(Self::Frame);
        frame
            .or_else(|| duration_ms(text).map(Self::Ms))
            .ok_or_else(|| "give a frame's number from 1, or a time since the first frame such as 30s".to_owned())
    }
}

/// What goes wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The book change of this number, from 1, is not sent.
    DropChange(usize),
    /// The recording stands still for so long; requests are answered.
    Silence(At, Duration),
    /// Every connection is lost.
    Disconnect(At),
    /// Every client gets an error with this code as the answer to its last request; with 10028 its session ends.
    Error(i32, At),
    /// Every client gets a frame that is no JSON.
    Garbage(At),
    /// Every client gets a frame above 4 MiB.
    Oversize(At),
    /// Every client gets its credentials and tokens back in places where nobody expects them.
    Leak(At),
}

impl Fault {
    const fn at(&self) -> Option<At> {
        match self {
            Self::DropChange(_) => None,
            Self::Silence(at, _)
            | Self::Disconnect(at)
            | Self::Error(_, at)
            | Self::Garbage(at)
            | Self::Oversize(at)
            | Self::Leak(at) => Some(*at),
        }
    }
}

/// How a venue plays.
#[derive(Clone, Debug)]
pub struct VenueOptions {
    /// How fast.
    pub speed: Speed,
    /// True where it begins again at its end.
    pub looped: bool,
    /// Connections that are refused at first.
    pub refused_connections: u32,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// Why there is no venue.
#[derive(Debug, thiserror::Error)]
pub enum VenueError {
    /// The recording can't be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// It has no market data.
    #[error("{file} has no market data")]
    Nothing {
        /// The file.
        file: String,
    },
    /// The address can't be listened on.
    #[error("cannot listen on {address}: choose another address or port with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Its thread can't be started.
    #[error("start the venue")]
    Start(#[source] io::Error),
    /// A loop without pauses would never let anybody keep up.
    #[error("--loop needs a speed; max would flood every client")]
    LoopAtMax,
}

/// One frame of the recording that goes to subscribers.
#[derive(Clone, Debug)]
struct Played {
    at_ms: i64,
    kind: &'static str,
    instrument: String,
    text: String,
}

/// A venue at work; it ends when it is dropped.
#[derive(Debug)]
pub struct PlayedVenue {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PlayedVenue {
    /// Plays a recording to whoever connects at `address`; port 0 takes a free one. `says` gets a line for all that happens.
    ///
    /// # Errors
    /// [`VenueError`].
    pub fn start(
        address: SocketAddr,
        file: &str,
        recording: &str,
        options: VenueOptions,
        says: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, VenueError> {
        if options.looped && options.speed == Speed::Max {
            return Err(VenueError::LoopAtMax);
        }
        let frames = played(file, recording)?;
        let listener = TcpListener::bind(address).map_err(|source| VenueError::Listen { address, source })?;
        let address = listener.local_addr().map_err(VenueError::Start)?;
        listener.set_nonblocking(true).map_err(VenueError::Start)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(VenueError::Start)?;
        let (stop, stopped) = oneshot::channel();
        let hub = Arc::new(Hub {
            state: Mutex::new(State { refusals_left: options.refused_connections, ..State::default() }),
            begun: Notify::new(),
            says: Box::new(says),
        });
        let work = move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, Arc::clone(&hub)) => {}
                    () = play(hub, frames, options) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("venue".to_owned()).spawn(work).map_err(VenueError::Start)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for PlayedVenue {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A venue that has ended already needs no word.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns the frames of a recording that are market data, in their order.
fn played(file: &str, recording: &str) -> Result<Vec<Played>, VenueError> {
    let mut frames = Vec::new();
    let mut start_us = None;
    for record in records(file, recording)? {
        let RecordKind::Received { frame } = record.kind else { continue };
        let Ok(messages) = deribit::parse(&frame) else { continue };
        let Some(message) = messages.first() else { continue };
        let kind = match message {
            deribit::Message::Snapshot { .. } | deribit::Message::Changed { .. } => "book",
            deribit::Message::Traded { .. } => "trades",
            deribit::Message::Ticked { .. } => "ticker",
            _ => continue,
        };
        let Some(instrument) = message.instrument().map(str::to_owned) else { continue };
        let start_us = *start_us.get_or_insert(record.at_us);
        let at_ms = record.at_us.saturating_sub(start_us) / 1_000;
        frames.push(Played { at_ms, kind, instrument, text: frame.into_owned() });
    }
    if frames.is_empty() { Err(VenueError::Nothing { file: file.to_owned() }) } else { Ok(frames) }
}

/// What all tasks share.
struct Hub {
    state: Mutex<State>,
    begun: Notify,
    says: Box<dyn Fn(String) + Send + Sync>,
}

#[derive(Default)]
struct State {
    refusals_left: u32,
    connections: u64,
    clients: BTreeMap<u64, Listener>,
    books: BTreeMap<String, Book>,
    tickers: BTreeMap<String, String>,
    tokens: u64,
}

/// One client as the player sees it.
struct Listener {
    channels: BTreeSet<String>,
    /// `None` ends the connection.
    queue: mpsc::Sender<Option<String>>,
    last_id: Value,
    secrets: Vec<String>,
}

impl Listener {
    /// Sends a text; false where the client is too far behind.
    fn send(&self, text: String) -> bool {
        self.queue.try_send(Some(text)).is_ok()
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: String) {
        (self.says)(text);
    }
}

async fn accept(listener: TcpListener, hub: Arc<Hub>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let refused = {
            let mut state = hub.state();
            let refused = state.refusals_left > 0;
            state.refusals_left = state.refusals_left.saturating_sub(1);
            refused
        };
        if refused {
            hub.say("refused a connection".to_owned());
            continue;
        }
        let _ = stream.set_nodelay(true);
        tokio::spawn(converse(stream, Arc::clone(&hub)));
    }
}

/// Talks to one client until either end has had enough.
async fn converse(stream: TcpStream, hub: Arc<Hub>) {
    let config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default()
        .max_message_size(Some(REQUEST_SIZE_BYTES_MAX))
        .max_frame_size(Some(REQUEST_SIZE_BYTES_MAX));
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else { return };
    let (queue, mut queued) = mpsc::channel(WAITING_MAX);
    let number = {
        let mut state = hub.state();
        state.connections = state.connections.saturating_add(1);
        let number = state.connections;
        let client = Listener { channels: BTreeSet::new(), queue, last_id: Value::Null, secrets: Vec::new() };
        state.clients.insert(number, client);
        number
    };
    hub.say(format!("connection {number} opened"));
    let mut heartbeat: Option<tokio::time::Interval> = None;
    loop {
        let beat = async {
            match &mut heartbeat {
                Some(interval) => {
                    interval.tick().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            text = queued.recv() => match text {
                Some(Some(text)) => if socket.send(Message::text(text)).await.is_err() { break },
                Some(None) | None => break,
            },
            () = beat => {
                let request = json!({ "jsonrpc": "2.0", "method": "heartbeat", "params": { "type": "test_request" } });
                if socket.send(Message::text(request.to_string())).await.is_err() { break }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let Some((answer, interval_s)) = hub.answer(number, text.as_str()) else { break };
                    if let Some(interval_s) = interval_s {
                        let pace = Duration::from_secs(interval_s);
                        heartbeat = Some(tokio::time::interval_at(tokio::time::Instant::now() + pace, pace));
                    }
                    for text in answer {
                        if socket.send(Message::text(text)).await.is_err() { break }
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    hub.state().clients.remove(&number);
    hub.say(format!("connection {number} closed"));
}

impl Hub {
    /// Answers a request: what is sent, and the pace of heartbeats where that was asked for. `None` for what is no request.
    fn answer(&self, number: u64, text: &str) -> Option<(Vec<String>, Option<u64>)> {
        let request: Value = serde_json::from_str(text).ok()?;
        let (id, method, params) = (request.get("id")?.clone(), request.get("method")?.as_str()?, &request["params"]);
        self.say(format!("connection {number} asked {}", method.escape_debug()));
        let result = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
        let channels: Vec<String> = params["channels"]
            .as_array()
            .map(|channels| channels.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let mut state = self.state();
        if let Some(client) = state.clients.get_mut(&number) {
            client.last_id = id.clone();
        }
        let mut interval_s = None;
        let answers = match method {
            "public/subscribe" | "private/subscribe" => {
                if let Some(client) = state.clients.get_mut(&number) {
                    client.channels.extend(channels.iter().cloned());
                }
                let mut answers = vec![result(json!(channels))];
                answers.extend(channels.iter().filter_map(|channel| state.first_message(channel)));
                if method == "public/subscribe" {
                    self.begun.notify_one();
                }
                answers
            }
            "public/unsubscribe" => {
                if let Some(client) = state.clients.get_mut(&number) {
                    client.channels.retain(|channel| !channels.contains(channel));
                }
                vec![result(json!(channels))]
            }
            "public/auth" => {
                state.tokens = state.tokens.saturating_add(1);
                let tokens =
                    [format!("played-access-{:06}", state.tokens), format!("played-refresh-{:06}", state.tokens)];
                if let Some(client) = state.clients.get_mut(&number) {
                    let given = ["client_id", "client_secret"].map(|name| params[name].as_str().map(str::to_owned));
                    client.secrets = given.into_iter().flatten().chain(tokens.clone()).collect();
                }
                let [access, refresh] = tokens;
                vec![result(json!({
                    "access_token": access, "refresh_token": refresh, "expires_in": 900, "token_type": "bearer",
                }))]
            }
            "public/set_heartbeat" => {
                interval_s = params["interval"].as_u64().filter(|interval| *interval > 0);
                vec![result(json!("ok"))]
            }
            "public/test" | "public/hello" => vec![result(json!({ "version": "1.2.26" }))],
            "public/get_time" => vec![result(json!(0))],
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                vec![json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string()]
            }
        };
        Some((answers, interval_s))
    }
}

impl State {
    /// Returns what a new subscriber of a channel gets first: the book as it is, or the last ticker.
    fn first_message(&self, channel: &str) -> Option<String> {
        let mut parts = channel.split('.');
        match (parts.next()?, parts.next()?) {
            ("book", name) => {
                let book = self.books.get(name)?.snapshot(InstrumentId(0))?;
                let side = |levels: &[Level]| {
                    let texts: Vec<String> = levels
                        .iter()
                        .map(|level| {
                            let number = |nano: i64| plain(nano.into(), NANO_DIGITS);
                            format!("[\"new\",{},{}]", number(level.price.0), number(level.qty.0))
                        })
                        .collect();
                    texts.join(",")
                };
                Some(format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{{\"channel\":{},\"data\":{{\
                     \"type\":\"snapshot\",\"instrument_name\":{},\"change_id\":{},\"bids\":[{}],\"asks\":[{}]}}}}}}",
                    json!(channel),
                    json!(name),
                    book.change_id,
                    side(&book.bids),
                    side(&book.asks)
                ))
            }
            ("ticker", name) => Some(on_channel(self.tickers.get(name)?, channel)),
            _ => None,
        }
    }

    /// Sends the same to everybody, and ends who can't follow.
    fn send_all(&mut self, text: impl Fn(&Listener) -> Option<String>) {
        self.clients.retain(|_, client| text(client).is_none_or(|text| client.send(text)));
    }
}

/// Returns a frame as it is on another channel of the same kind and instrument.
fn on_channel(frame: &str, channel: &str) -> String {
    let recorded = frame.split_once("\"channel\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
    match recorded {
        Some(name) if name != channel => frame.replacen(name, channel, 1),
        Some(_) | None => frame.to_owned(),
    }
}

/// Returns a frame with its change ids moved up by the rounds that were played before.
fn in_round(frame: &str, round: u64) -> String {
    let mut moved = frame.to_owned();
    for name in ["\"change_id\":", "\"prev_change_id\":"] {
        let Some(at) = moved.find(name).map(|at| at.saturating_add(name.len())) else { continue };
        let digits: String = moved.chars().skip(at).take_while(char::is_ascii_digit).collect();
        if let Ok(id) = digits.parse::<u64>() {
            let next = id.saturating_add(round.saturating_mul(ROUND_CHANGE_IDS)).to_string();
            moved.replace_range(at..at.saturating_add(digits.len()), &next);
        }
    }
    moved
}

/// Plays the recording from the first subscription on.
async fn play(hub: Arc<Hub>, frames: Vec<Played>, options: VenueOptions) {
    hub.begun.notified().await;
    hub.say(format!("plays {} frames", frames.len()));
    let mut round = 0_u64;
    loop {
        let mut changes = 0_usize;
        let mut struck: Vec<bool> = options.faults.iter().map(|_| round > 0).collect();
        let mut before_ms = 0;
        for (place, frame) in (1..).zip(&frames) {
            if let Speed::Times(times) = options.speed {
                let wait_ms = u64::try_from(frame.at_ms.saturating_sub(before_ms)).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(wait_ms) / times).await;
            } else {
                tokio::task::yield_now().await;
            }
            before_ms = frame.at_ms;
            for (fault, struck) in options.faults.iter().zip(&mut struck) {
                let due = match fault.at() {
                    Some(At::Frame(number)) => place >= number,
                    Some(At::Ms(ms)) => frame.at_ms >= ms,
                    None => false,
                };
                if due && !*struck {
                    *struck = true;
                    strike(&hub, *fault, place).await;
                }
            }
            let text = in_round(&frame.text, round);
            let messages = deribit::parse(&text).unwrap_or_default();
            let is_change = matches!(messages.first(), Some(deribit::Message::Changed { .. }));
            changes = changes.saturating_add(usize::from(is_change));
            let dropped = is_change && round == 0 && options.faults.contains(&Fault::DropChange(changes));
            {
                let mut state = hub.state();
                state.keep(frame, &text, messages);
                if !dropped {
                    let prefix = format!("{}.{}.", frame.kind, frame.instrument);
                    state.send_all(|client| {
                        let channel = client.channels.iter().find(|channel| channel.starts_with(&prefix))?;
                        Some(on_channel(&text, channel))
                    });
                }
            }
            if dropped {
                hub.say(format!("dropped change {changes} of {}, frame {place}", frame.instrument));
            }
        }
        hub.say(format!("played {} frames", frames.len()));
        if !options.looped {
            return std::future::pending().await;
        }
        round = round.saturating_add(1);
    }
}

impl State {
    /// Keeps what a later subscriber gets first.
    fn keep(&mut self, frame: &Played, text: &str, messages: Vec<deribit::Message>) {
        for message in messages {
            let instrument = InstrumentId(0);
            match message {
                deribit::Message::Snapshot { change_id, bids, asks, .. } => {
                    let book = self.books.entry(frame.instrument.clone()).or_default();
                    book.replace(&BookSnapshot { instrument, change_id, bids, asks });
                }
                deribit::Message::Changed { prev_change_id, change_id, bids, asks, .. } => {
                    let book = self.books.entry(frame.instrument.clone()).or_default();
                    book.follow(&BookChange { instrument, prev_change_id, change_id, bids, asks });
                }
                deribit::Message::Ticked { .. } => {
                    self.tickers.insert(frame.instrument.clone(), text.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// Lets a fault happen.
async fn strike(hub: &Hub, fault: Fault, place: usize) {
    match fault {
        Fault::DropChange(_) => {}
        Fault::Silence(_, time) => {
            hub.say(format!("silent for {} ms before frame {place}", time.as_millis()));
            tokio::time::sleep(time).await;
            hub.say("speaks again".to_owned());
        }
        Fault::Disconnect(_) => {
            hub.say(format!("disconnects before frame {place}"));
            hub.state().clients.clear();
        }
        Fault::Error(code, _) => {
            hub.say(format!("answers with {code} before frame {place}"));
            let mut state = hub.state();
            state.send_all(|client| {
                let error = json!({ "code": code, "message": "refused as it was asked for" });
                Some(json!({ "jsonrpc": "2.0", "id": client.last_id, "error": error }).to_string())
            });
            if code == crate::exchange::codes::TOO_MANY_REQUESTS {
                // The queue is sent before its end is seen.
                state.clients.clear();
            }
        }
        Fault::Garbage(_) => {
            hub.say(format!("sends garbage before frame {place}"));
            hub.state().send_all(|_| Some("{\"jsonrpc\":\"2.0\",\"method\":\"subscr".to_owned()));
        }
        Fault::Oversize(_) => {
            hub.say(format!("sends too large a frame before frame {place}"));
            hub.state().send_all(|_| Some("x".repeat(OVERSIZE_BYTES)));
        }
        Fault::Leak(_) => {
            hub.say(format!("leaks before frame {place}"));
            hub.state().send_all(|client| Some(leak(&client.secrets)));
        }
    }
}

/// Returns a frame with secrets where nobody expects them: as a key, within a text, within JSON in a text, as escapes.
fn leak(secrets: &[String]) -> String {
    let nested = json!({ "seen": secrets }).to_string();
    let escaped: Vec<String> = secrets
        .iter()
        .map(|secret| secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>())
        .map(|text| format!("\"{text}\""))
        .collect();
    let keys: serde_json::Map<String, Value> =
        secrets.iter().map(|secret| (format!("of {secret}"), json!(format!("<{secret}>")))).collect();
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{{\"channel\":\"user.leak\",\"data\":{{\"nested\":{},\
         \"escaped\":[{}],\"keys\":{}}}}}}}",
        json!(nested),
        escaped.join(","),
        Value::Object(keys)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_moved_to_another_channel_and_another_round() {
        let frame = r#"{"params":{"channel":"book.X.raw","data":{"prev_change_id":5,"change_id":6,"x":"book.X.raw"}}}"#;
        assert_eq!(
            in_round(&on_channel(frame, "book.X.100ms"), 2),
            r#"{"params":{"channel":"book.X.100ms","data":{"prev_change_id":2000000000005,"change_id":2000000000006,"x":"book.X.raw"}}}"#
        );
        assert_eq!(in_round(frame, 0), frame);
    }

    #[test]
    fn places_are_frames_or_times() {
        assert_eq!("12".parse(), Ok(At::Frame(12)));
        assert_eq!("1.5s".parse(), Ok(At::Ms(1_500)));
        assert!("0".parse::<At>().is_err() && "soon".parse::<At>().is_err());
    }
}
