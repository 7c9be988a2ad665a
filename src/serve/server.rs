//! The server: one thread, bounded connections, no state of its own.

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::{Board, answer::answer};

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
    /// Time for a connection from its first byte to its last.
    pub connection_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            head_bytes_max: 8192,
            headers_max: 64,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(60),
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
        let work = move || runtime.block_on(accept(listener, board, limits, stopped));
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
async fn accept(listener: TcpListener, board: Board, limits: Limits, mut stopped: oneshot::Receiver<()>) {
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
        let board = board.clone();
        tokio::spawn(async move {
            let _place = place;
            let respond = service_fn(move |request| respond(request, board.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_timeout)
                .max_buf_size(limits.head_bytes_max)
                .max_headers(limits.headers_max)
                .serve_connection(TokioIo::new(stream), respond);
            // Whatever ends a connection concerns its client alone.
            let _ = tokio::time::timeout(limits.connection_timeout, connection).await;
        });
    }
}

async fn respond(request: Request<Incoming>, board: Board) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = answer(request.method(), request.uri().path(), &board);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    if answer.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    Ok(response)
}
