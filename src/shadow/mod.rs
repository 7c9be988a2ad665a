//! A live feed: the connection to a venue, what is said on it, and what of it is kept.
//!
//! **Owns** the [`Session`], which knows the venue's protocol and nothing of sockets or time (it is told both), the [`Client`],
//! which carries texts over a WebSocket and knows nothing of their meaning, and the [`Redactor`], through which every frame goes
//! before anything else sees it.
//!
//! ```text
//!   venue ◄──► Client ──Heard──► Session ──Act──► log, world, kernel
//!              Client ◄──Act──── Session ◄─PublicRequest─ kernel
//! ```
//!
//! **Invariants.**
//! * Nothing here trades: a request to the venue is one of [`Method`], and none of those places, changes or cancels an order.
//! * Every frame, received or sent, is kept before the events that it became, in the order of the connection. Nothing is
//!   dropped: where the fold is late, the socket is not read.
//! * A frame is redacted before it is kept, read, or spoken of; events are made of the redacted text, so a log makes them again.
//! * A failed attempt to connect is repeated after a wait that doubles up to a limit; only a connection that brought a frame
//!   begins again at the shortest.
//!
//! **What it does not do.** It decides nothing about the feed: gaps, silence and when to reconnect are the kernel's matter. It
//! writes no file.
//!
//! The [`PlayedVenue`] is the other end: a server that plays a recording and injects faults.
//!
//! Source: Deribit API over WebSocket, JSON-RPC (docs.deribit.com).

mod backoff;
mod client;
mod redact;
mod session;
mod venue;

pub use backoff::Backoff;
pub use client::{Client, ClientError, ClientOptions, FeedUrl, FeedUrlError, Heard};
pub use redact::{Credentials, Redactor, Secret, SecretError};
pub use session::{Act, Interval, Method, Session, SessionOptions};
pub use venue::{At, Fault, PlayedVenue, VenueError, VenueOptions};
