//! The server: one thread, bounded connections, no state of its own.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    Board, Limits,
    admit::{Asked, has_body, refuse},
    answer::{Answer, Media, answer},
    limits::Rates,
    metrics::{Counts, Cut, metrics},
    stream::{Events, Streams},
};
use crate::contract::validator::ValidatorError;

/// The header that says after which event a status stands.
const SEQ: HeaderName = HeaderName::from_static("x-drillfold-seq");

/// Headers of every answer that is made here, whatever it says.
const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on. Choose another with `--listen`.
    #[error("cannot listen on {address}: choose another address or port with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The server's thread can't be started.
    #[error("cannot start the server")]
    Start(#[source] io::Error),
    /// The rules that a status is held against can't be used: the program is broken.
    #[error(transparent)]
    Rules(#[from] ValidatorError),
}

/// A server at work. When it is dropped it accepts nothing more, finishes the answers at hand in the time that its limits give
/// them, and ends.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a board at `address`; port 0 takes a free one. Requests may name its host as an address, as `localhost` or by
    /// one of `names`.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(address: SocketAddr, board: Board, limits: Limits, names: Vec<String>) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(address).map_err(|source| ServeError::Listen { address, source })?;
        let address = listener.local_addr().map_err(ServeError::Start)?;
        listener.set_nonblocking(true).map_err(ServeError::Start)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Start)?;
        let (stop, stopped) = watch::channel(false);
        let streams = Arc::new(Streams::new(board.clone(), limits.streams_max)?);
        let desk =
            Arc::new(Desk { board, streams, limits, names, rates: Rates::new(&limits), counts: Counts::default() });
        let work = move || runtime.block_on(accept(listener, desk, stopped));
        let thread = thread::Builder::new().name("serve".to_owned()).spawn(work).map_err(ServeError::Start)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already needs no word.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Desk {
    board: Board,
    streams: Arc<Streams>,
    limits: Limits,
    names: Vec<String>,
    rates: Rates,
    counts: Counts,
}

/// Accepts connections until it is told to stop; those that are open may then finish the answer at hand.
async fn accept(listener: TcpListener, desk: Arc<Desk>, mut stopped: watch::Receiver<bool>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(desk.limits.connections_max));
    // Ends when the last connection has dropped its receiver.
    let (finish, finishing) = watch::channel(());
    loop {
        let place = tokio::select! {
            _ = stopped.changed() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else {
            return;
        };
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Out of descriptors, or the client has gone: others may still come.
            Err(_) => {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (desk, finishing) = (Arc::clone(&desk), finishing.clone());
        tokio::spawn(async move {
            let _place = place;
            let _open = desk.counts.connected();
            converse(stream, peer.ip(), &desk, finishing).await;
        });
    }
    drop(listener);
    drop(finishing);
    let _ = finish.send(());
    // Whoever still has an answer at hand then is cut off with the runtime. The other half of the second is for connections
    // that notice that by themselves.
    let _ = timeout(desk.limits.finish_timeout + Duration::from_millis(500), finish.closed()).await;
}

/// Answers the requests of one connection until it ends or its time is over.
async fn converse(stream: TcpStream, peer: IpAddr, desk: &Arc<Desk>, mut finishing: watch::Receiver<()>) {
    let limits = desk.limits;
    // Answers are small and whole: waiting for more of them would only delay them.
    let _ = stream.set_nodelay(true);
    // The system would let its buffer grow to megabytes, and a client that takes nothing be noticed after minutes only.
    let _ = SockRef::from(&stream).set_send_buffer_size(limits.unsent_bytes_max);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let visit = Arc::new(Visit {
        desk: Arc::clone(desk),
        client: desk.rates.counted_as(peer),
        unread: AtomicBool::new(false),
        streaming: AtomicBool::new(false),
    });
    let service = {
        let visit = Arc::clone(&visit);
        service_fn(move |request| {
            let answered = Ok::<_, Infallible>(visit.respond(&request));
            std::future::ready(answered)
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
        () = visit.is_over(limits.connection_timeout) => None,
        _ = finishing.changed() => None,
    };
    if ended.is_none() && visit.streaming.load(Ordering::Relaxed) {
        // A stream has no end that could be waited for; whoever reads it sees that it ends.
        return;
    }
    if ended.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        let rest = poll_fn(|context| connection.poll_without_shutdown(context));
        ended = timeout(limits.finish_timeout, rest).await.ok();
    }
    let mut stream = connection.into_parts().io.into_inner();
    let malformed = match ended {
        None => return desk.counts.cut(Cut::Stalled),
        Some(Ok(())) => false,
        Some(Err(error)) if error.is_parse() => {
            desk.counts.cut(Cut::Malformed);
            true
        }
        Some(Err(error)) if error.is_timeout() => return desk.counts.cut(Cut::Silent),
        Some(Err(_)) => return desk.counts.cut(Cut::Stalled),
    };
    if malformed || visit.unread.load(Ordering::Relaxed) {
        // What lies unread when a socket is closed would take the answer with it, so some of it is read, for a moment.
        let _ = stream.shutdown().await;
        let _ = timeout(Duration::from_millis(500), discard(&mut stream)).await;
    }
}

/// Reads and forgets at most 64 KiB.
async fn discard(stream: &mut Pin<Box<TimeoutStream<TcpStream>>>) {
    let mut buffer = [0; 4_096];
    for _ in 0..16 {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// One connection's side of the desk.
#[derive(Debug)]
struct Visit {
    desk: Arc<Desk>,
    client: IpAddr,
    /// True where a body was refused and may lie unread.
    unread: AtomicBool,
    /// True while a stream of events is the answer at hand; it is the connection's last.
    streaming: AtomicBool,
}

impl Visit {
    /// Waits until no further request may begin, unless a stream is going on then.
    async fn is_over(&self, time: Duration) {
        sleep(time).await;
        if self.streaming.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Either<Full<Bytes>, Events>> {
        let desk = &self.desk;
        let (method, target, headers) = (request.method(), request.uri(), request.headers());
        let body = has_body(headers, request.body().is_end_stream());
        let asked = Asked { method, target, headers, body };
        let mut answer = match desk.rates.take(self.client) {
            Err(wait_s) => Answer::too_many_requests(wait_s),
            Ok(()) => {
                refuse(&asked, &desk.names, &desk.limits).unwrap_or_else(|| answer(method, target.path(), &desk.board))
            }
        };
        if answer.media == Media::Metrics {
            match metrics(&desk.board.view(), &desk.counts) {
                Ok(written) => answer.body = written,
                Err(_) => answer = Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
            }
        }
        let mut events = None;
        if answer.media == Media::Events {
            events = desk.streams.open();
            if events.is_none() {
                let refused = Answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open");
                answer = Answer { retry_after_s: Some(1), ..refused };
            }
        }
        self.streaming.store(events.is_some(), Ordering::Relaxed);
        desk.counts.answered(target.path(), answer.status);
        let mut response = with_headers(answer, events);
        if body {
            self.unread.store(true, Ordering::Relaxed);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Makes HTTP of an answer; a stream takes the place of its body.
fn with_headers(answer: Answer, events: Option<Events>) -> Response<Either<Full<Bytes>, Events>> {
    let body = events.map_or_else(|| Either::Left(Full::new(Bytes::from(answer.body))), Either::Right);
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.extend(ALWAYS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.media.content_type()));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(answer.media.policy()));
    if answer.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    if let Some(wait_s) = answer.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
    }
    if let Some(seq) = answer.seq {
        headers.insert(SEQ, HeaderValue::from(seq.0));
    }
    response
}
