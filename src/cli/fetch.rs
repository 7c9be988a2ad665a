//! One answer of an endpoint: a single GET, directly, without following redirects, the time for all of it bounded.

use std::time::Duration;

use thiserror::Error;

/// Largest answer that is read, in bytes, inclusive. A `/status` has a few thousand.
pub const ANSWER_SIZE_BYTES_MAX: u64 = 1024 * 1024;

/// Longest time that `--timeout` accepts, in seconds, inclusive.
const TIMEOUT_S_MAX: f64 = 3600.0;

/// Why there is no answer that can be used.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The address can't be used, whoever listens there.
    #[error("{reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody takes the connection.
    #[error("{reason}")]
    Refused {
        /// What the system said.
        reason: String,
    },
    /// The answer was not complete in time.
    #[error("no complete answer within {timeout_s} seconds")]
    TimedOut {
        /// The time it had, seconds.
        timeout_s: f64,
    },
    /// The connection ended in the middle, or what came is no HTTP.
    #[error("{reason}")]
    Broken {
        /// How.
        reason: String,
    },
    /// The answer points elsewhere, which is not followed.
    #[error("it redirects (HTTP {status}); name the endpoint itself")]
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not 200.
    #[error("HTTP status {status} where 200 is needed")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is larger than any status document.
    #[error("it is larger than {ANSWER_SIZE_BYTES_MAX} bytes, which no status document is")]
    TooLarge,
    /// This program can fetch nothing.
    #[cfg(not(feature = "net"))]
    #[error(
        "this program was built without the feature `net`; build it with it, or give a saved answer to `validate --file`"
    )]
    Without,
}

/// Reads the seconds of a `--timeout`.
///
/// # Errors
/// What is wrong with the text.
pub fn timeout_s(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    checked_timeout(seconds).map(|_| seconds)
}

/// Returns the seconds of a `--timeout` as a duration.
///
/// # Errors
/// What is wrong with the number.
pub fn checked_timeout(seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= TIMEOUT_S_MAX {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("timeout must be above 0 and at most {TIMEOUT_S_MAX} seconds, found {seconds}"))
    }
}

/// Fetches an answer: one GET, no redirect, no proxy, the time for all of it bounded.
///
/// # Errors
/// [`FetchError`].
#[cfg(feature = "net")]
pub fn fetch(url: &str, timeout: Duration) -> Result<Vec<u8>, FetchError> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .build(),
    );
    let failed = |error| failure(&error, timeout);
    let mut answer = agent.get(url).header("accept", "application/json").call().map_err(failed)?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(FetchError::Redirected { status: status.as_u16() });
    }
    if status.as_u16() != 200 {
        return Err(FetchError::Status { status: status.as_u16() });
    }
    let bytes = answer.body_mut().with_config().limit(ANSWER_SIZE_BYTES_MAX + 1).read_to_vec().map_err(failed)?;
    if bytes.len() as u64 > ANSWER_SIZE_BYTES_MAX { Err(FetchError::TooLarge) } else { Ok(bytes) }
}

#[cfg(feature = "net")]
fn failure(error: &ureq::Error, timeout: Duration) -> FetchError {
    use std::io::ErrorKind;

    let reason = error.to_string();
    match error {
        ureq::Error::Timeout(_) => FetchError::TimedOut { timeout_s: timeout.as_secs_f64() },
        ureq::Error::BodyExceedsLimit(_) => FetchError::TooLarge,
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => FetchError::Address { reason },
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => FetchError::Refused { reason },
        ureq::Error::Io(source) => match source.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => FetchError::Refused { reason },
            _ => FetchError::Broken { reason },
        },
        _ => FetchError::Broken { reason },
    }
}

/// Fetches nothing: this program was built without a network.
///
/// # Errors
/// [`FetchError::Without`].
#[cfg(not(feature = "net"))]
pub fn fetch(_url: &str, _timeout: Duration) -> Result<Vec<u8>, FetchError> {
    Err(FetchError::Without)
}
