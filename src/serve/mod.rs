//! The status of a fold over HTTP: read-only, on its own thread, out of the fold's way.
//!
//! **Owns** the [`Board`], on which the fold's thread puts a document and from which any number of connections read the
//! last one, and the [`Server`] that answers them.
//!
//! **Invariants.** Nothing that arrives over a connection reaches the fold: the board has one writer, and a request can
//! only read it. Every method but GET is refused, and so is every body. Size, time and rate of requests, the time in which
//! an answer is taken, and the number of connections are bounded ([`Limits`]), so that no client can hold the server up or
//! make it grow.
//!
//! **What it does not do.** It makes no status and judges none; it knows the documents as bytes.
//!
//! ```text
//!   fold ──put──► Board ◄──read── connection, connection, ...
//! ```
//!
//! Source: status document; AT-022, AT-407.

mod admit;
mod answer;
mod board;
mod course;
mod limits;
mod metrics;
mod owner;
mod page;
mod server;
mod stop;
mod stream;

pub use board::{Board, Configured, Shown, Source, Stage, View};
pub use course::{CHANGES_MAX, Change, Course};
pub use limits::Limits;
pub use owner::Owner;
pub use server::{ServeError, Server};
pub use stop::Stop;
