//! Which answer a request gets: a pure function of method, path and board.

use hyper::{Method, StatusCode};

use super::{Board, owner, page};

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Html,
    Css,
    Script,
    /// The stream of events, which is the body itself.
    Events,
}

impl Media {
    /// Returns the value of `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Css => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Events => "text/event-stream",
        }
    }

    /// Returns the value of `Content-Security-Policy`: the page may use its own files and its own stream, and nothing else.
    pub(super) const fn policy(self) -> &'static str {
        match self {
            Self::Html => {
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
            Self::Json | Self::Css | Self::Script | Self::Events => "default-src 'none'",
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
}

impl Answer {
    fn ok(body: String) -> Self {
        Self { status: StatusCode::OK, media: Media::Json, body, allow: false }
    }

    fn file(media: Media, text: &str) -> Self {
        Self { media, ..Self::ok(text.to_owned()) }
    }

    fn error(status: StatusCode, says: &str) -> Self {
        Self { status, ..Self::ok(serde_json::json!({ "error": says }).to_string()) }
    }

    /// Refuses a stream because there are too many.
    pub(super) fn no_more_streams() -> Self {
        Self::error(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open; try again when another has ended")
    }
}

/// All paths that there are.
const PATHS: [&str; 7] =
    ["/", "/page.css", "/page.js", "/api/v1/status", "/api/v1/health", "/api/v1/stream", "/api/v1/vocabulary"];

/// Answers a request; a stream is opened by whoever gets the answer. Source: AT-022 (health), AT-407 (no method but GET).
pub(super) fn answer(method: &Method, path: &str, board: &Board) -> Answer {
    if !PATHS.contains(&path) {
        return Answer::error(StatusCode::NOT_FOUND, &format!("no such path; there are {}", PATHS.join(", ")));
    }
    if method != Method::GET {
        let refused = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "read-only: GET is the only method");
        return Answer { allow: true, ..refused };
    }
    match path {
        "/" => return Answer::file(Media::Html, page::HTML),
        "/page.css" => return Answer::file(Media::Css, page::CSS),
        "/page.js" => return Answer::file(Media::Script, page::SCRIPT),
        "/api/v1/vocabulary" => return Answer::ok(owner::vocabulary().to_string()),
        "/api/v1/stream" => return Answer::file(Media::Events, ""),
        _ => {}
    }
    let Some(shown) = board.shown() else {
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "no process is up");
    };
    match path {
        "/api/v1/status" => Answer::ok(shown.status.clone()),
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
    use drillfold_kernel::units::{Seq, TimeMs};

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
        assert_eq!(found.status, StatusCode::OK);
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
    fn a_board_without_document_is_not_ok() {
        assert_eq!(answer(&Method::GET, "/api/v1/status", &Board::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&Method::GET, "/api/v1/health", &Board::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&Method::GET, "/api/v1/other", &board()).status, StatusCode::NOT_FOUND);
    }
}
