//! Which answer a request gets: a pure function of method, path and board.

use hyper::{Method, StatusCode};

use super::Board;

/// An answer, before it becomes HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    /// True where the methods that are allowed have to be named.
    pub(super) allow: bool,
}

impl Answer {
    fn ok(body: String) -> Self {
        Self { status: StatusCode::OK, body, allow: false }
    }

    fn error(status: StatusCode, says: &str) -> Self {
        Self { status, body: serde_json::json!({ "error": says }).to_string(), allow: false }
    }
}

/// Answers a request. Source: AT-022 (health), AT-407 (no method but GET).
pub(super) fn answer(method: &Method, path: &str, board: &Board) -> Answer {
    let known = matches!(path, "/api/v1/status" | "/api/v1/health");
    if !known {
        return Answer::error(StatusCode::NOT_FOUND, "no such path; there are /api/v1/status and /api/v1/health");
    }
    if method != Method::GET {
        let refused = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "read-only: GET is the only method");
        return Answer { allow: true, ..refused };
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
        for path in ["/api/v1/status", "/api/v1/health"] {
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
