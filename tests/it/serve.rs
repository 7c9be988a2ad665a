//! `drillfold serve` as a process: the checklist's own commands over a real socket.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::project::{base_runs, done, program, root};

/// A server at work, paused at a snapshot of a drill; stopped when dropped.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn paused(drill: &str, snapshot: &str) -> Self {
        let scenario = format!("scenarios/{drill}.toml");
        let arguments = ["serve", &scenario, "--listen", "127.0.0.1:0", "--speed", "max", "--pause-at", snapshot];
        let mut child = program(arguments).current_dir(root()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        let address = first.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        assert_eq!(said.next().unwrap().unwrap(), format!("paused at {snapshot}"));
        Self { child, address }
    }

    /// Sends a request and returns status code, head and body.
    fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head.to_owned(), body.to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; then the test has failed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn at_022_health_says_which_build_keeps_which_contract() {
    let served = Served::paused("drill_2_market_data_stale", "tripped");
    let (code, _, body) = served.ask("GET", "/api/v1/health");
    let health: Value = serde_json::from_str(&body).unwrap();
    let status: Value = serde_json::from_str(&served.ask("GET", "/api/v1/status").2).unwrap();
    assert_eq!((code, &health["ok"]), (200, &Value::Bool(true)));
    assert_eq!(health["build_id"], status["build_id"]);
    assert_eq!(health["contract_version"], status["contract_version"]);
}

#[test]
fn at_407_no_method_but_get_is_answered_and_none_changes_anything() {
    let served = Served::paused("drill_2_market_data_stale", "tripped");
    let before = served.ask("GET", "/api/v1/status");
    for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        let (code, head, _) = served.ask(method, "/api/v1/status");
        assert_eq!(code, 405, "{method}");
        assert!(head.to_ascii_lowercase().contains("allow: get"), "{method}: {head}");
    }
    assert_eq!(served.ask("GET", "/api/v1/status").2, before.2);
}

#[test]
fn a_paused_drill_serves_its_golden_and_passes_the_validator_by_url() {
    for base in base_runs() {
        let served = Served::paused(base.name(), "tripped");
        let (code, _, body) = served.ask("GET", "/api/v1/status");
        assert_eq!(code, 200);
        let found: Value = serde_json::from_str(&body).unwrap();
        let taken = &base.outcome.snapshots["tripped"];
        assert_eq!(Some(&found), taken.document.as_ref(), "{}", base.name());
        let url = format!("http://{}/api/v1/status", served.address);
        let validated = done(program(["validate", "--strict", "--url", &url]));
        assert_eq!(validated.code, 0, "{}{}", validated.out, validated.err);
    }
}

#[test]
fn what_can_t_be_served_is_said() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["serve", "scenarios/drill_2_market_data_stale.toml", "--pause-at", "nowhere"],
            "has no snapshot \"nowhere\"",
        ),
        (&["serve", "scenarios/drill_2_market_data_stale.toml", "--variant", "nothing"], "has no variant \"nothing\""),
        (&["serve", "scenarios/drill_2_market_data_stale.toml", "--speed", "0"], "a whole number from 1, or max"),
        (&["serve", "scenarios/missing.toml"], "scenarios/missing.toml"),
    ];
    for (arguments, says) in cases {
        let mut command = program(*arguments);
        command.current_dir(root());
        let found = done(command);
        assert_eq!(found.code, 2, "{arguments:?}");
        assert!(found.err.contains(says), "{arguments:?}: {}", found.err);
    }
}
