//! The wish to stop, from whoever has it to whoever waits.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// A wish to stop. It is never taken back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Returns one that nobody has yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns one that comes with the first SIGINT or SIGTERM. The process does not end by them from then on.
    ///
    /// # Errors
    /// The system has no thread for it, or refuses to tell of signals.
    pub fn on_signal() -> io::Result<Self> {
        let stop = Self::new();
        let told = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let signal = runtime.block_on(async { Signal::listen() })?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(signal.comes());
            told.set();
        })?;
        Ok(stop)
    }

    /// Asks to stop.
    pub fn set(&self) {
        let (set, changed) = &*self.0;
        *set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// True where somebody asked to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.wait_for(Duration::ZERO)
    }

    /// Waits until somebody asks to stop.
    pub fn wait(&self) {
        let (set, changed) = &*self.0;
        let held = set.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(held, |set| !*set).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until somebody asks to stop, at most so long; tells whether somebody did.
    #[must_use]
    pub fn wait_for(&self, time: Duration) -> bool {
        let (set, changed) = &*self.0;
        let held = set.lock().unwrap_or_else(PoisonError::into_inner);
        *changed.wait_timeout_while(held, time, |set| !*set).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The signals by which a process is asked to stop.
struct Signal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signal {
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    async fn comes(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "other systems can refuse")]
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn comes(self) {
        // Where the system can't tell, waiting for it would stop the server at once.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_goes_on_when_it_is_set() {
        let stop = Stop::new();
        assert!(!stop.is_set() && !stop.wait_for(Duration::from_millis(1)));
        let waiting = {
            let stop = stop.clone();
            thread::spawn(move || stop.wait())
        };
        stop.set();
        waiting.join().unwrap();
        assert!(stop.is_set() && stop.wait_for(Duration::from_secs(60)));
    }
}
