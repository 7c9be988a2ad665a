//! Which answer a request gets: a pure function of method, path and board.

use drillfold_kernel::units::Seq;
use hyper::{Method, StatusCode};

use super::Board;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// The metrics, which are written by whoever gets the answer.
    Metrics,
}

impl Media {
    /// Returns the value of `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Metrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns the value of `Content-Security-Policy`.
    pub(super) const fn policy(self) -> &'static str {
        match self {
            Self::Json | Self::Metrics => "default-src 'none'; frame-ancestors 'none'",
        }
    }
}

/// An answer, before it becomes HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) media: Media,
    pub(super) body: String,
    /// True where the methods that are allowed have to be named.
    pub(super) allow: bool,
    /// The event after which what it shows stands, where that can be told.
    pub(super) seq: Option<Seq>,
    /// In how many seconds to ask again.
    pub(super) retry_after_s: Option<u64>,
}

impl Answer {
    fn ok(body: String) -> Self {
        Self { status: StatusCode::OK, media: Media::Json, body, allow: false, seq: None, retry_after_s: None }
    }

    pub(super) fn error(status: StatusCode, says: &str) -> Self {
        Self { status, ..Self::ok(serde_json::json!({ "error": says }).to_string()) }
    }

    /// Refuses a request because its client has sent too many; in `wait_s` seconds there is one again.
    pub(super) fn too_many_requests(wait_s: u64) -> Self {
        let refused = Self::error(StatusCode::TOO_MANY_REQUESTS, "too many requests of this client");
        Self { retry_after_s: Some(wait_s), ..refused }
    }
}

/// All paths that there are.
pub(super) const PATHS: [&str; 3] = ["/api/v1/status", "/api/v1/health", "/metrics"];

/// Answers a request; metrics are written by whoever gets the answer. A path is compared byte for byte: nothing is decoded and
/// no part is taken away. Source: AT-022 (health), AT-407 (no method but GET).
pub(super) fn answer(method: &Method, path: &str, board: &Board) -> Answer {
    if !PATHS.contains(&path) {
        return Answer::error(StatusCode::NOT_FOUND, &format!("no such path; there are {}", PATHS.join(", ")));
    }
    if method != Method::GET {
        let refused = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "read-only: GET is the only method");
        return Answer { allow: true, ..refused };
    }
    if path == "/metrics" {
        return Answer { media: Media::Metrics, ..Answer::ok(String::new()) };
    }
    let Some(shown) = board.shown() else {
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "no process is up");
    };
    match path {
        "/api/v1/status" => Answer { seq: Some(shown.seq), ..Answer::ok(shown.status.clone()) },
        _ => Answer::ok(
            serde_json::json!({
                "ok": true,
                "build_id": shown.build_id,
                "contract_version": shown.contract_version,
            })
            .to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use drillfold_kernel::units::TimeMs;

    use super::*;
    use crate::serve::Shown;

    fn board() -> Board {
        let board = Board::new();
        let (build_id, contract_version) = ("b-1".into(), "5.2".into());
        board.put(Some(Shown { status: "{}".into(), build_id, contract_version, seq: Seq(1), at: TimeMs(1) }));
        board
    }

    #[test]
    fn at_022_health_names_build_and_contract() {
        let found = answer(&Method::GET, "/api/v1/health", &board());
        assert_eq!((found.status, found.seq), (StatusCode::OK, None));
        let document: serde_json::Value = serde_json::from_str(&found.body).unwrap();
        assert_eq!(document, serde_json::json!({ "ok": true, "build_id": "b-1", "contract_version": "5.2" }));
    }

    #[test]
    fn at_407_every_method_but_get_is_refused() {
        for path in PATHS {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS] {
                let found = answer(&method, path, &board());
                assert_eq!((found.status, found.allow), (StatusCode::METHOD_NOT_ALLOWED, true), "{method} {path}");
            }
        }
    }

    #[test]
    fn a_status_says_after_which_event_it_stands() {
        assert_eq!(answer(&Method::GET, "/api/v1/status", &board()).seq, Some(Seq(1)));
    }

    #[test]
    fn a_board_without_document_is_not_ok() {
        assert_eq!(answer(&Method::GET, "/api/v1/status", &Board::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&Method::GET, "/api/v1/health", &Board::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&Method::GET, "/metrics", &Board::new()).status, StatusCode::OK);
        assert_eq!(answer(&Method::GET, "/api/v1/other", &board()).status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_path_is_compared_byte_by_byte() {
        for path in ["/api/v1/status/", "//api/v1/status", "/api/v1/%73tatus", "/x/../api/v1/status", "/API/v1/status"]
        {
            assert_eq!(answer(&Method::GET, path, &board()).status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
