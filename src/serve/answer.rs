//! Which answer a request gets: a pure function of method, path and board.

use drillfold_kernel::units::Seq;
use hyper::{Method, StatusCode};

use serde_json::json;

use super::{Board, Shown, owner, page};

/// An answer, before it becomes HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) body: String,
    /// True where the methods that are allowed have to be named.
    pub(super) allow: bool,
    /// The event after which what it shows stands, where that can be told.
    pub(super) seq: Option<Seq>,
    /// In how many seconds to ask again.
    pub(super) retry_after_s: Option<u64>,
}

impl Answer {
    pub(super) fn ok(kind: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, kind, body, allow: false, seq: None, retry_after_s: None }
    }

    pub(super) fn error(status: StatusCode, says: &str) -> Self {
        Self { status, ..Self::ok(JSON, json!({ "error": says }).to_string()) }
    }
}

/// The content type of documents.
pub(super) const JSON: &str = "application/json";

/// The content type of the page, which alone may load anything: its own files and its own stream.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// The content type of the stream; whoever gets such an answer opens one in the place of its body.
pub(super) const EVENTS: &str = "text/event-stream";

/// What the page may do: it has no use for anything but its own server.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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

    /// Returns what stands at a path, byte for byte: nothing is decoded and no part is taken away.
    pub(super) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, of)| *of == path).map(|(resource, _)| resource)
    }

    /// Returns its name where requests are counted.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Stream => "stream",
            Self::Vocabulary => "vocabulary",
            Self::Page => "page",
            Self::Style => "style",
            Self::Script => "script",
        }
    }
}

/// Answers a request; `metrics` are written where they are asked for. Source: AT-022 (health), AT-407 (no method but GET).
pub(super) fn answer(method: &Method, path: &str, board: &Board, metrics: impl FnOnce() -> Answer) -> Answer {
    let Some(resource) = Resource::at(path) else {
        let paths = Resource::ALL.map(|(_, path)| path).join(", ");
        return Answer::error(StatusCode::NOT_FOUND, &format!("no such path; there are {paths}"));
    };
    if method != Method::GET {
        let refused = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "read-only: GET is the only method");
        return Answer { allow: true, ..refused };
    }
    match resource {
        Resource::Status => {
            shown(board, |shown| Answer { seq: Some(shown.seq), ..Answer::ok(JSON, shown.status.clone()) })
        }
        Resource::Health => shown(board, |shown| {
            let (build_id, contract_version) = (&shown.build_id, &shown.contract_version);
            let health = json!({ "ok": true, "build_id": build_id, "contract_version": contract_version });
            Answer::ok(JSON, health.to_string())
        }),
        Resource::Metrics => metrics(),
        Resource::Stream => Answer::ok(EVENTS, String::new()),
        Resource::Vocabulary => Answer::ok(JSON, owner::vocabulary().to_string()),
        Resource::Page => Answer::ok(HTML, page::HTML.to_owned()),
        Resource::Style => Answer::ok("text/css; charset=utf-8", page::CSS.to_owned()),
        Resource::Script => Answer::ok("text/javascript; charset=utf-8", page::SCRIPT.to_owned()),
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

    fn asked(method: &Method, path: &str, board: &Board) -> Answer {
        answer(method, path, board, || Answer::ok("text/plain", "up".to_owned()))
    }

    #[test]
    fn at_022_health_names_build_and_contract() {
        let found = asked(&Method::GET, "/api/v1/health", &board());
        assert_eq!((found.status, found.seq), (StatusCode::OK, None));
        let document: serde_json::Value = serde_json::from_str(&found.body).unwrap();
        assert_eq!(document, serde_json::json!({ "ok": true, "build_id": "b-1", "contract_version": "5.2" }));
    }

    #[test]
    fn at_407_every_method_but_get_is_refused() {
        for (_, path) in Resource::ALL {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS] {
                let found = asked(&method, path, &board());
                assert_eq!((found.status, found.allow), (StatusCode::METHOD_NOT_ALLOWED, true), "{method} {path}");
            }
        }
    }

    #[test]
    fn a_status_says_after_which_event_it_stands() {
        assert_eq!(asked(&Method::GET, "/api/v1/status", &board()).seq, Some(Seq(1)));
    }

    #[test]
    fn a_board_without_document_is_not_ok() {
        assert_eq!(asked(&Method::GET, "/api/v1/status", &Board::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked(&Method::GET, "/api/v1/health", &Board::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked(&Method::GET, "/metrics", &Board::new()).body, "up");
        assert_eq!(asked(&Method::GET, "/api/v1/other", &board()).status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_path_is_compared_byte_by_byte() {
        for path in ["/api/v1/status/", "//api/v1/status", "/api/v1/%73tatus", "/x/../api/v1/status", "/API/v1/status"]
        {
            assert_eq!(asked(&Method::GET, path, &board()).status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
