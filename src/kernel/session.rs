//! Sockets, the private session, rate counters and REST requests. Source: kernel contract section 5.

use alloc::vec::Vec;

use crate::{
    effect::{Effect, RestQuery, Route, RunFailure},
    event::{CloseCause, Socket},
    registry::{ModeReason, OpenPermissionReason},
    state::{Cause, Kernel, Pending, Purpose, SocketState},
    units::{RequestId, TimeMs},
};

/// The venue's error code for too many requests, which ends the session.
const TOO_MANY_REQUESTS: i32 = 10028;

impl Kernel {
    /// Notes that a frame of any kind arrived on a socket.
    pub(crate) fn heard(&mut self, socket: Socket) {
        let now = self.now();
        self.socket_mut(socket).last_frame_at = Some(now);
    }

    fn socket_mut(&mut self, socket: Socket) -> &mut SocketState {
        match socket {
            Socket::Public => &mut self.session.public,
            Socket::Private => &mut self.session.private,
        }
    }

    /// Returns the transport lag: time since the last frame of any kind, the larger of both sockets; a closed one goes on
    /// counting. `None` where a socket never had a frame.
    #[must_use]
    pub fn transport_lag_ms(&self) -> Option<i64> {
        let public = self.now().since(self.session.public.last_frame_at?);
        let private = self.now().since(self.session.private.last_frame_at?);
        Some(public.max(private))
    }

    /// Reconnects what is due, keeps sockets alive, fails requests that were not answered in time.
    pub(crate) fn advance_session(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now();
        let keepalive = self.config().keepalive_ms;
        if self.session.public.reconnect_at.is_some_and(|at| now >= at) {
            self.connect_public(effects);
        }
        if self.session.private.reconnect_at.is_some_and(|at| now >= at) {
            self.session.private.reconnect_at = Some(now.after(self.retry_after_ms()));
            effects.push(Effect::ConnectPrivate);
        }
        for (socket, effect) in
            [(&mut self.session.public, Effect::KeepAlivePublic), (&mut self.session.private, Effect::KeepAlivePrivate)]
        {
            if socket.open && now.since(socket.keepalive_at) >= keepalive {
                socket.keepalive_at = now;
                effects.push(effect);
            }
        }
        let timeout = self.config().rest_timeout_ms;
        let late: Vec<(RequestId, Purpose)> = self
            .session
            .pending
            .iter()
            .filter(|(_, pending)| now.since(pending.sent_at) >= timeout)
            .map(|(request, pending)| (*request, pending.purpose))
            .collect();
        for (request, purpose) in late {
            self.session.pending.remove(&request);
            self.rest_ended(None, true);
            self.request_failed(request, purpose, RunFailure::TimedOut, effects);
        }
        self.forget_old_counts(now);
        let interval = crate::config::seconds(self.config().reconcile_interval_s);
        if now.since(self.session.reconcile.last_started_at) >= interval {
            self.ask_run();
        }
    }

    fn forget_old_counts(&mut self, now: TimeMs) {
        let window = crate::config::seconds(self.config().count_window_s);
        self.session.terminations.retain(|at| now.since(*at) <= window);
        self.session.rate_limited.retain(|at| now.since(*at) <= window);
    }

    /// Drops the public socket, if it is open, and connects it again.
    pub(crate) fn connect_public(&mut self, effects: &mut Vec<Effect>) {
        let retry = self.now().after(self.retry_after_ms());
        self.session.public.open = false;
        self.session.public.reconnect_at = Some(retry);
        effects.push(Effect::ConnectPublic);
    }

    /// Returns after how long an attempt to connect that nothing answered is repeated.
    fn retry_after_ms(&self) -> i64 {
        self.config().rest_timeout_ms.saturating_add(self.config().reconnect_backoff_initial_ms)
    }

    /// Subscribes or authenticates on a socket that has just opened.
    pub(crate) fn socket_opened(&mut self, socket: Socket, effects: &mut Vec<Effect>) {
        let now = self.now();
        // A connection is no frame: the lag goes on until the first one.
        let last_frame_at = self.socket_mut(socket).last_frame_at;
        *self.socket_mut(socket) = SocketState { open: true, last_frame_at, keepalive_at: now, reconnect_at: None };
        match socket {
            Socket::Public => {
                self.await_snapshots();
                effects.push(Effect::Subscribe);
            }
            Socket::Private => effects.push(Effect::Authenticate),
        }
    }

    /// Takes the loss of a socket. A private one lost without a termination is a bare disconnect: no flag, no count.
    pub(crate) fn socket_closed(&mut self, socket: Socket, cause: CloseCause) {
        let now = self.now();
        match socket {
            Socket::Public => {
                let backoff = self.config().reconnect_backoff_initial_ms;
                self.session.public.open = false;
                self.session.public.reconnect_at = Some(now.after(backoff));
            }
            Socket::Private => {
                match cause {
                    CloseCause::Lost => self.session_lost(),
                    CloseCause::SessionEnded | CloseCause::KeyRevoked => self.terminated(),
                }
                self.session.private.open = false;
                self.schedule_private();
            }
        }
    }

    /// Takes an error that concerns the session.
    pub(crate) fn venue_errored(&mut self, code: i32) {
        self.heard(Socket::Private);
        if code == TOO_MANY_REQUESTS {
            self.terminated();
            self.schedule_private();
        }
    }

    /// Counts a termination once a session and flags the session kill. Source: AT-240.
    fn terminated(&mut self) {
        if !self.session.termination_counted {
            self.session.termination_counted = true;
            self.count_termination();
        }
        self.session_lost();
    }

    fn count_termination(&mut self) {
        let now = self.now();
        self.session.killed = Some(true);
        self.session.terminations.push(now);
    }

    /// Latches and degrades; what a termination and a bare disconnect have in common. Source: AT-409.
    fn session_lost(&mut self) {
        let stamp = self.core.stamp;
        self.session.active = false;
        self.monitors.raise(Cause::SessionEnded, stamp);
        self.set_latch(OpenPermissionReason::SessionTerminationReconcileRequired);
    }

    /// Schedules the next connection after the back-off, which doubles, without jitter. Source: AT-330.
    fn schedule_private(&mut self) {
        if self.session.private.reconnect_at.is_some() {
            return;
        }
        let initial = self.config().reconnect_backoff_initial_ms;
        let backoff = self.session.backoff_ms.max(initial);
        self.session.private.reconnect_at = Some(self.now().after(backoff));
        self.session.backoff_ms = backoff.saturating_mul(2).min(self.config().reconnect_backoff_max_ms);
    }

    /// Begins a session.
    pub(crate) fn authenticated(&mut self) {
        self.heard(Socket::Private);
        self.session.active = true;
        self.session.termination_counted = false;
        self.session.backoff_ms = 0;
        let seq = self.core.stamp.seq;
        for latch in &mut self.monitors.kill_latches {
            if latch.reason == ModeReason::KillRateLimitSessionTermination && !latch.reauthenticated {
                latch.reauthenticated = true;
                self.monitors.reauthenticated_at = Some(seq);
            }
        }
        self.ask_run();
    }

    /// Tries again after the back-off; a refusal with 10028 counts.
    pub(crate) fn authentication_refused(&mut self, code: i32) {
        self.heard(Socket::Private);
        if code == TOO_MANY_REQUESTS {
            self.count_termination();
            self.session_lost();
        }
        self.session.private.open = false;
        self.session.private.reconnect_at = None;
        self.schedule_private();
    }

    /// The flag falls with its code. Called when the session code has left.
    pub(crate) fn session_recovered(&mut self) {
        if self.session.killed == Some(true) {
            self.session.killed = Some(false);
        }
    }

    /// Returns the way an order or a cancel takes.
    pub(crate) const fn route(&self) -> Route {
        if self.session.private.open && self.session.active { Route::Socket } else { Route::Rest }
    }

    /// Asks the venue over REST and returns the request's number.
    pub(crate) fn ask(&mut self, query: RestQuery, purpose: Purpose, effects: &mut Vec<Effect>) -> RequestId {
        let request = RequestId(self.session.last_request.0.saturating_add(1));
        let sent_at = self.now();
        self.spend();
        self.session.last_request = request;
        self.session.pending.insert(request, Pending { purpose, sent_at });
        effects.push(Effect::Rest { request, query });
        request
    }

    /// Takes the failure of a request: a run fails with it, a pull is repeated by whoever still needs it.
    pub(crate) fn request_failed(
        &mut self,
        request: RequestId,
        purpose: Purpose,
        failure: RunFailure,
        effects: &mut Vec<Effect>,
    ) {
        match purpose {
            Purpose::Run => self.run_request_failed(request, failure, effects),
            // The hole or the missing price asks again.
            Purpose::Trades(_) => {}
            Purpose::Book(instrument) => {
                if let Some(book) = self.feeds.books.get_mut(instrument.index()) {
                    book.pull = None;
                }
            }
        }
    }
}
