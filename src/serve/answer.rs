//! Which answer a request gets: a pure function of method, path and board.

use drillfold_kernel::units::Seq;
use hyper::{Method, StatusCode};

use serde_json::json;

use super::{Board, Shown, owner, page};

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// The metrics, which are written by whoever gets the answer.
    Metrics,
    /// The stream, which is opened by whoever gets the answer.
    Events,
    /// The page, which alone may load anything: its own files and its own stream.
    Html,
    Style,
    Script,
}

impl Media {
    /// Returns the value of `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Metrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Events => "text/event-stream",
            Self::Html => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
        }
    }

    /// Returns the value of `Content-Security-Policy`.
    pub(super) const fn policy(self) -> &'static str {
        match self {
            Self::Html => {
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
            Self::Json | Self::Metrics | Self::Events | Self::Style | Self::Script => {
                "default-src 'none'; frame-ancestors 'none'"
            }
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
    pub(super) fn ok(media: Media, body: String) -> Self {
        Self { status: StatusCode::OK, media, body, allow: false, seq: None, retry_after_s: None }
    }

    pub(super) fn error(status: StatusCode, says: &str) -> Self {
        Self { status, ..Self::ok(Media::Json, json!({ "error": says }).to_string()) }
    }

    /// Refuses a request because its client has sent too many; in `wait_s` seconds there is one again.
    pub(super) fn too_many_requests(wait_s: u64) -> Self {
        let refused = Self::error(StatusCode::TOO_MANY_REQUESTS, "too many requests of this client");
        Self { retry_after_s: Some(wait_s), ..refused }
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Status,
    Health,
    Metrics,
    Stream,
    Vocabulary,
    Page,
    Style,
    Script,
}

impl Resource {
    /// Every one with its path.
    pub(super) const ALL: [(Self, &'static str); 8] = [
        (Self::Status, "/api/v1/status"),
        (Self::Health, "/api/v1/health"),
        (Self::Metrics, "/metrics"),
        (Self::Stream, "/api/v1/stream"),
        (Self::Vocabulary, "/api/v1/vocabulary"),
        (Self::Page, "/"),
        (Self::Style, "/page.css"),
        (Self::Script, "/page.js"),
    ];

    /// Returns all paths that there are.
    pub(super) fn paths() -> [&'static str; 8] {
        Self::ALL.map(|(_, path)| path)
    }

    /// Returns what stands at a path, byte for byte: nothing is decoded and no part is taken away.
    pub(super) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, of)| *of == path).map(|(resource, _)| resource)
    }
}

/// Answers a request; metrics are written, and a stream opened, by whoever gets the answer. Source: AT-022 (health), AT-407 (no method but GET).
pub(super) fn answer(method: &Method, path: &str, board: &Board) -> Answer {
    let Some(resource) = Resource::at(path) else {
        let says = format!("no such path; there are {}", Resource::paths().join(", "));
        return Answer::error(StatusCode::NOT_FOUND, &says);
    };
    if method != Method::GET {
        let refused = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "read-only: GET is the only method");
        return Answer { allow: true, ..refused };
    }
    match resource {
        Resource::Status => {
            shown(board, |shown| Answer { seq: Some(shown.seq), ..Answer::ok(Media::Json, shown.status.clone()) })
        }
        Resource::Health => shown(board, |shown| {
            let (build_id, contract_version) = (&shown.build_id, &shown.contract_version);
            let health = json!({ "ok": true, "build_id": build_id, "contract_version": contract_version });
            Answer::ok(Media::Json, health.to_string())
        }),
        Resource::Metrics => Answer::ok(Media::Metrics, String::new()),
        Resource::Stream => Answer::ok(Media::Events, String::new()),
        Resource::Vocabulary => Answer::ok(Media::Json, owner::vocabulary().to_string()),
        Resource::Page => Answer::ok(Media::Html, page::HTML.to_owned()),
        Resource::Style => Answer::ok(Media::Style, page::CSS.to_owned()),
        Resource::Script => Answer::ok(Media::Script, page::SCRIPT.to_owned()),
    }
}

/// Answers with what is shown, or that nothing is.
fn shown(board: &Board, answer: impl FnOnce(&Shown) -> Answer) -> Answer {
    match board.shown() {
        Some(shown) => answer(&shown),
        None => Answer::error(StatusCode::SERVICE_UNAVAILABLE, "no process is up"),
    }
}

#[cfg(test)]
mod tests {
    use drillfold_kernel::units::TimeMs;

    use super::*;

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
        for (_, path) in Resource::ALL {
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
