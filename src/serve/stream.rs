//! The event stream: one message a change, several a second, and one at least every half second.
//!
//! A stream holds no queue: when its connection can take another message, it gets the board as it stands then. So a slow
//! client misses states and costs no memory, and one that takes nothing at all is cut by the connection's write timeout.
//!
//! Source: specs/serve.md; server-sent events as the HTML standard has them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{Board, Owner};
use crate::contract::validator::ValidatorError;

/// How often a stream looks at the board: at most ten messages a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// After how many looks without a change a message is sent all the same: a page takes longer silence for a loss.
const LOOKS_MAX: u32 = 4;

/// All streams of a server.
#[derive(Debug)]
pub(super) struct Streams {
    board: Board,
    owner: Owner,
    places: Arc<Semaphore>,
    /// The message of the board's last version, made once for all streams.
    made: Mutex<(u64, Bytes)>,
}

impl Streams {
    /// Prepares streams of a board, `streams_max` at a time.
    pub(super) fn new(board: Board, streams_max: usize) -> Result<Self, ValidatorError> {
        let owner = Owner::new()?;
        let view = board.view();
        let made = Mutex::new((view.version, event(&owner.message(&view))));
        Ok(Self { board, owner, places: Arc::new(Semaphore::new(streams_max)), made })
    }

    /// Opens a stream; `None` where there are as many as there may be.
    pub(super) fn open(self: &Arc<Self>) -> Option<Events> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Events { streams: Arc::clone(self), look, told: None, looks: 0, _place: place })
    }

    /// Returns the board's version and its message.
    fn message(&self) -> (u64, Bytes) {
        let view = self.board.view();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != view.version {
            *made = (view.version, event(&self.owner.message(&view)));
        }
        made.clone()
    }
}

/// Returns a message as an event: each of its lines after `data:`, and an empty line.
fn event(message: &str) -> Bytes {
    let mut event = String::with_capacity(message.len() + 512);
    for line in message.split(['\n', '\r']) {
        event.push_str("data:");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// One stream: a body that does not end by itself.
#[derive(Debug)]
pub(super) struct Events {
    streams: Arc<Streams>,
    look: Interval,
    /// The board's version of the last message.
    told: Option<u64>,
    /// Looks since the last message.
    looks: u32,
    _place: OwnedSemaphorePermit,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            ready!(self.look.poll_tick(context));
            self.looks = self.looks.saturating_add(1);
            if self.looks < LOOKS_MAX && self.told == Some(self.streams.board.version()) {
                continue;
            }
            let (version, message) = self.streams.message();
            (self.told, self.looks) = (Some(version), 0);
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_message_is_a_line_of_data() {
        assert_eq!(event("{}"), "data:{}\n\n");
        assert_eq!(event("{\n \"a\": 1\r\n}"), "data:{\ndata: \"a\": 1\ndata:\ndata:}\n\n");
    }

    #[test]
    fn there_are_only_so_many_streams_and_one_that_ends_makes_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let streams = Arc::new(Streams::new(Board::new(), 2).unwrap());
        let (first, second) = (streams.open(), streams.open());
        assert!(first.is_some() && second.is_some() && streams.open().is_none());
        drop(first);
        assert!(streams.open().is_some());
    }
}
