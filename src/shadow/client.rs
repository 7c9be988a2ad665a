//! The connection itself: a thread that carries texts, and knows nothing of their meaning.

use std::{
    fmt, io,
    str::FromStr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinHandle as Task,
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Error as SocketError, Message, protocol::WebSocketConfig},
};

use super::redact::Secret;

/// Frames that wait for the fold at most; while so many do, the socket is not read.
const WAITING_MAX: usize = 1_024;

/// Where a feed is: `ws://HOST:PORT/PATH`, or `wss://`.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedUrl(String);

/// Why a text is no address of a feed. It is not repeated: it may have a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedUrlError {
    /// It is of another scheme.
    #[error("expected ws://HOST:PORT/PATH or wss://HOST/PATH")]
    Scheme,
    /// It holds a name or password, or a query, which could hold one.
    #[error("has a user or a query; credentials are given with --feed-credentials-env")]
    Credentials,
}

impl FromStr for FeedUrl {
    type Err = FeedUrlError;

    fn from_str(text: &str) -> Result<Self, FeedUrlError> {
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://")).ok_or(FeedUrlError::Scheme)?;
        if text.contains(['@', '?', '#']) {
            return Err(FeedUrlError::Credentials);
        }
        if rest.is_empty() || rest.starts_with(['/', ':']) || rest.contains(|letter: char| !letter.is_ascii_graphic()) {
            return Err(FeedUrlError::Scheme);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where to.
    pub url: FeedUrl,
    /// How long an attempt to connect, or to send one text, may take.
    pub timeout: Duration,
    /// Largest frame, bytes; a larger one ends its connection.
    pub frame_size_bytes_max: usize,
}

/// What a connection brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is open.
    Opened,
    /// It could not be opened, and why.
    NotOpened(String),
    /// A frame, not redacted yet. One of bytes is read as UTF-8, with U+FFFD for what is none.
    Frame(Secret),
    /// A frame that is too large, or is no text though it says so. The connection ends with it.
    Unusable(String),
    /// It is gone, and why.
    Closed(String),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its thread can't be started.
    #[error("start the feed's thread")]
    Start(#[source] io::Error),
    /// There is no TLS to be had.
    #[error("set up TLS for the feed")]
    Tls(#[source] rustls::Error),
}

/// What is asked of the thread.
enum Order {
    Connect(u64),
    Send(u64, Secret),
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection to a venue that can be made again and again; it ends when it is dropped.
#[derive(Debug)]
pub struct Client {
    orders: Option<mpsc::UnboundedSender<Order>>,
    heard: mpsc::Receiver<(u64, Heard)>,
    /// What the caller waits in.
    waiting: Runtime,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts a client without connection.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn start(options: ClientOptions) -> Result<Self, ClientError> {
        let waiting = Builder::new_current_thread().enable_time().build().map_err(ClientError::Start)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Start)?;
        let connector = Connector::Rustls(Arc::new(tls().map_err(ClientError::Tls)?));
        let (orders, ordered) = mpsc::unbounded_channel();
        let (heard, hearing) = mpsc::channel(WAITING_MAX);
        let work = move || runtime.block_on(Carrier { options, connector, ordered, heard }.work());
        let thread = thread::Builder::new().name("feed".to_owned()).spawn(work).map_err(ClientError::Start)?;
        Ok(Self { orders: Some(orders), heard: hearing, waiting, thread: Some(thread) })
    }

    /// Begins the connection of this number; the one before is dropped.
    pub fn connect(&self, connection: u64) {
        self.order(Order::Connect(connection));
    }

    /// Sends a text on the connection of this number, if it still is the one that is open.
    pub fn send(&self, connection: u64, text: Secret) {
        self.order(Order::Send(connection, text));
    }

    /// Returns what came next, and on which connection; `None` where nothing came in that time.
    pub fn next(&mut self, within: Duration) -> Option<(u64, Heard)> {
        let heard = &mut self.heard;
        self.waiting.block_on(async { tokio::time::timeout(within, heard.recv()).await.ok().flatten() })
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends with this client, so there is somebody who takes it.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.heard.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The same roots and provider as for every other TLS connection of the program.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The thread's own side.
struct Carrier {
    options: ClientOptions,
    connector: Connector,
    ordered: mpsc::UnboundedReceiver<Order>,
    heard: mpsc::Sender<(u64, Heard)>,
}

/// Where the thread stands.
enum Link {
    Closed,
    Connecting(u64, Task<Result<Stream, String>>),
    Open(u64, Box<Stream>),
}

impl Carrier {
    /// Works until nobody orders anything any more.
    async fn work(mut self) {
        let mut link = Link::Closed;
        loop {
            link = match link {
                Link::Closed => match self.ordered.recv().await {
                    Some(order) => self.obey(Link::Closed, order).await,
                    None => return,
                },
                Link::Connecting(number, mut attempt) => tokio::select! {
                    order = self.ordered.recv() => match order {
                        Some(order) => self.obey(Link::Connecting(number, attempt), order).await,
                        None => return attempt.abort(),
                    },
                    done = &mut attempt => match done.unwrap_or_else(|_| Err("the attempt was given up".to_owned())) {
                        Ok(stream) => {
                            self.tell(number, Heard::Opened).await;
                            Link::Open(number, Box::new(stream))
                        }
                        Err(reason) => {
                            self.tell(number, Heard::NotOpened(reason)).await;
                            Link::Closed
                        }
                    },
                },
                Link::Open(number, mut stream) => tokio::select! {
                    order = self.ordered.recv() => match order {
                        Some(order) => self.obey(Link::Open(number, stream), order).await,
                        None => return,
                    },
                    goes_on = listen(&self.heard, number, &mut stream) => {
                        if goes_on { Link::Open(number, stream) } else { Link::Closed }
                    }
                },
            };
        }
    }

    async fn obey(&self, link: Link, order: Order) -> Link {
        match (order, link) {
            (Order::Connect(number), before) => {
                if let Link::Connecting(_, attempt) = before {
                    attempt.abort();
                }
                Link::Connecting(number, tokio::spawn(connect(self.options.clone(), self.connector.clone())))
            }
            (Order::Send(wanted, text), Link::Open(number, mut stream)) if wanted == number => {
                let sending = stream.send(Message::text(text.expose().to_owned()));
                match tokio::time::timeout(self.options.timeout, sending).await {
                    Ok(Ok(())) => Link::Open(number, stream),
                    Ok(Err(error)) => self.closed(number, error.to_string()).await,
                    Err(_) => self.closed(number, "it takes nothing any more".to_owned()).await,
                }
            }
            (Order::Send(..), link) => link,
        }
    }

    async fn closed(&self, number: u64, reason: String) -> Link {
        self.tell(number, Heard::Closed(reason)).await;
        Link::Closed
    }

    async fn tell(&self, number: u64, heard: Heard) {
        // Who no longer listens is about to end this thread.
        let _ = self.heard.send((number, heard)).await;
    }
}

async fn connect(options: ClientOptions, connector: Connector) -> Result<Stream, String> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(options.frame_size_bytes_max))
        .max_frame_size(Some(options.frame_size_bytes_max));
    let connecting = connect_async_tls_with_config(options.url.to_string(), Some(config), true, Some(connector));
    match tokio::time::timeout(options.timeout, connecting).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", options.timeout.as_millis())),
    }
}

/// Takes one message, once there is room for what it says; false where the connection is over. Given up while it waits, it has
/// taken nothing.
async fn listen(heard: &mpsc::Sender<(u64, Heard)>, number: u64, stream: &mut Stream) -> bool {
    // Two places: a message that can't be used is followed by the end of its connection.
    let Ok(mut places) = heard.reserve_many(2).await else { return false };
    let mut tell = |heard| {
        if let Some(place) = places.next() {
            place.send((number, heard));
        }
    };
    match stream.next().await {
        Some(Ok(Message::Text(text))) => tell(Heard::Frame(Secret::new(text.as_str().to_owned()))),
        Some(Ok(Message::Binary(bytes))) => {
            tell(Heard::Frame(Secret::new(String::from_utf8_lossy(&bytes).into_owned())))
        }
        Some(Ok(Message::Close(reason))) => {
            tell(Heard::Closed(reason.map_or_else(
                || "the venue closed it".to_owned(),
                |reason| format!("the venue closed it with {}", reason.code),
            )));
            return false;
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
        Some(Err(error)) => {
            if matches!(error, SocketError::Capacity(_) | SocketError::Utf8(_)) {
                tell(Heard::Unusable(error.to_string()));
            }
            tell(Heard::Closed(error.to_string()));
            return false;
        }
        None => {
            tell(Heard::Closed("the venue is gone".to_owned()));
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_secrets() {
        for good in ["ws://127.0.0.1:80/ws/api/v2", "wss://www.deribit.com/ws/api/v2", "ws://[::1]:9"] {
            assert_eq!(good.parse::<FeedUrl>().unwrap().to_string(), good);
        }
        for (wrong, error) in [
            ("http://x", FeedUrlError::Scheme),
            ("ws://", FeedUrlError::Scheme),
            ("ws:///path", FeedUrlError::Scheme),
            ("ws://x y", FeedUrlError::Scheme),
            ("ws://me:pass@x", FeedUrlError::Credentials),
            ("wss://x/?key=1", FeedUrlError::Credentials),
        ] {
            assert_eq!(wrong.parse::<FeedUrl>(), Err(error), "{wrong}");
        }
    }
}
