//! The server: one thread, bounded connections, no state of its own.

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};
use tokio_io_timeout::TimeoutStream;

use super::{
    Board,
    answer::{Answer, Media, answer},
    stream::{Events, Streams},
};
use crate::contract::validator::ValidatorError;

/// What one client, and all of them together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more waits until another has ended.
    pub connections_max: usize,
    /// Largest request line with its headers, bytes; at least 8192.
    pub head_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
    /// Time for a client to send a request's head, and for a connection to stay idle.
    pub head_timeout: Duration,
    /// Time for a connection from its first byte to its last, unless a stream of events runs over it.
    pub connection_timeout: Duration,
    /// Time for a client to take what is written to it.
    pub write_timeout: Duration,
    /// Streams of events at a time; one more is refused.
    pub streams_max: usize,
    /// What the system may hold of what a client has not taken yet, bytes.
    pub unsent_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            head_bytes_max: 8192,
            headers_max: 64,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(5),
            streams_max: 32,
            unsent_bytes_max: 32 * 1024,
        }
    }
}

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

/// A server at work; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a board at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(address: SocketAddr, board: Board, limits: Limits) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(address).map_err(|source| ServeError::Listen { address, source })?;
        let address = listener.local_addr().map_err(ServeError::Start)?;
        listener.set_nonblocking(true).map_err(ServeError::Start)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Start)?;
        let (stop, stopped) = oneshot::channel();
        let streams = Arc::new(Streams::new(board.clone(), limits.streams_max)?);
        let work = move || runtime.block_on(accept(listener, board, streams, limits, stopped));
        let thread = thread::Builder::new().name("serve".to_owned()).spawn(work).map_err(ServeError::Start)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A server that has ended already needs no word.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts connections until it is told to stop; those that are open then end with it.
async fn accept(
    listener: TcpListener,
    board: Board,
    streams: Arc<Streams>,
    limits: Limits,
    mut stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let place = tokio::select! {
            _ = &mut stopped => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else {
            return;
        };
        let accepted = tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // Out of descriptors, or the client has gone: others may still come.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // The system would grow the buffer to megabytes, and a client that takes nothing be noticed after minutes only.
        if socket2::SockRef::from(&stream).set_send_buffer_size(limits.unsent_bytes_max).is_err() {
            continue;
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_timeout));
        let (board, streams) = (board.clone(), Arc::clone(&streams));
        tokio::spawn(async move {
            let _place = place;
            let streaming = Arc::new(AtomicBool::new(false));
            let respond =
                service_fn(|request| respond(request, board.clone(), Arc::clone(&streams), Arc::clone(&streaming)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_timeout)
                .max_buf_size(limits.head_bytes_max)
                .max_headers(limits.headers_max)
                .serve_connection(TokioIo::new(Box::pin(stream)), respond);
            let mut connection = pin!(connection);
            // Whatever ends a connection concerns its client alone.
            let in_time = tokio::time::timeout(limits.connection_timeout, connection.as_mut()).await;
            if in_time.is_err() && streaming.load(Ordering::Relaxed) {
                let _ = connection.await;
            }
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    board: Board,
    streams: Arc<Streams>,
    streaming: Arc<AtomicBool>,
) -> Result<Response<Either<Full<Bytes>, Events>>, Infallible> {
    let mut answer = answer(request.method(), request.uri().path(), &board);
    let mut events = None;
    if answer.media == Media::Events {
        events = streams.open();
        if events.is_none() {
            answer = Answer::no_more_streams();
        }
    }
    streaming.store(events.is_some(), Ordering::Relaxed);
    let body = match events {
        Some(events) => Either::Right(events),
        None => Either::Left(Full::new(Bytes::from(answer.body))),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.media.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(answer.media.policy()));
    if answer.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    Ok(response)
}
