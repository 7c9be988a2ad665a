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

    /// Returns one that comes with the first SIGINT or SIGTERM. The second ends the process at once, with the exit code that
    /// a shell has for that signal.
    ///
    /// # Errors
    /// The system has no thread for it, or refuses to tell of signals.
    pub fn on_signal() -> io::Result<Self> {
        let stop = Self::new();
        let told = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = runtime.block_on(async { Signals::listen() })?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(signals.next());
            told.set();
            std::process::exit(runtime.block_on(signals.next()));
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
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

/// What a shell has for a process that SIGINT has ended.
const EXIT_INTERRUPTED: i32 = 130;

impl Signals {
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and returns its exit code.
    #[cfg(unix)]
    async fn next(&mut self) -> i32 {
        /// What a shell has for a process that SIGTERM has ended.
        const EXIT_TERMINATED: i32 = 143;
        tokio::select! {
            _ = self.terminate.recv() => EXIT_TERMINATED,
            _ = self.interrupt.recv() => EXIT_INTERRUPTED,
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "other systems can refuse")]
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one and returns its exit code.
    #[cfg(not(unix))]
    async fn next(&mut self) -> i32 {
        // Where the system can't tell, waiting for it would stop the server at once.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        EXIT_INTERRUPTED
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
