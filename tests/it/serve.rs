//! `drillfold serve` as a process: the checklist's own commands over a real socket.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
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
        Self::start(program(arguments), snapshot)
    }

    fn start(mut command: Command, snapshot: &str) -> Self {
        let mut child = command.current_dir(root()).stdout(Stdio::piped()).spawn().unwrap();
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

/// The checklist's script to capture evidence and its command for a live endpoint, with our validator's name in the place of
/// `python tools/validate_status.py`; `$1` is the drill.
const CHECKLIST: &str = r#"
set -euo pipefail
DRILL_NAME="$1"
EVIDENCE_DIR="evidence/phase2/${DRILL_NAME}"
mkdir -p "$EVIDENCE_DIR"

# Capture /status
curl -s http://127.0.0.1:8080/api/v1/status | jq . > "$EVIDENCE_DIR/observed_status.json"

# Validate
drillfold validate \
  --file "$EVIDENCE_DIR/observed_status.json" \
  2>&1 | tee "$EVIDENCE_DIR/validation.log"

# Diff against expected (if exists)
if [[ -f "$EVIDENCE_DIR/expected_status.json" ]]; then
  diff <(jq -S . "$EVIDENCE_DIR/expected_status.json") \
       <(jq -S . "$EVIDENCE_DIR/observed_status.json") \
       > "$EVIDENCE_DIR/diff.txt" || true
fi

# Validate live endpoint
drillfold validate \
  --url http://127.0.0.1:8080/api/v1/status
"#;

#[test]
fn the_checklists_own_commands_work_as_printed() {
    let drill = "drill_2_market_data_stale";
    // As the issue has it, at the scenario's own pace and on the usual port; where another program has that, on another one.
    let port_is_free = TcpListener::bind("127.0.0.1:8080").is_ok();
    let mut command = program(["serve", "scenarios/drill_2_market_data_stale.toml", "--pause-at", "tripped"]);
    if !port_is_free {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let served = Served::start(command, "tripped");
    let golden = fs::read(root().join("fixtures/status/market_data_stale.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let evidence = folder.path().join("evidence/phase2").join(drill);
    fs::create_dir_all(&evidence).unwrap();
    fs::write(evidence.join("expected_status.json"), golden.to_string()).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_drillfold"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !(has("bash") && has("curl") && has("jq")) {
        assert!(std::env::var_os("CI").is_none(), "where CI is set bash, curl and jq have to be there");
        println!("without bash, curl and jq only the validator's command is tried");
        let url = format!("http://{}/api/v1/status", served.address);
        assert_eq!(done(program(["validate", "--url", &url])).code, 0);
        return;
    }
    let script = CHECKLIST.replace("127.0.0.1:8080", &served.address);
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash", drill]).current_dir(folder.path()).env("PATH", path);
    let found = done(command);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    let observed: Value = serde_json::from_slice(&fs::read(evidence.join("observed_status.json")).unwrap()).unwrap();
    assert_eq!(observed, golden);
    assert_eq!(fs::read_to_string(evidence.join("diff.txt")).unwrap(), "");
    assert_eq!(port_is_free, served.address == "127.0.0.1:8080");
}

#[test]
fn what_can_t_be_served_is_said() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["serve", "scenarios/drill_2_market_data_stale.toml", "--pause-at", "nowhere"],
            "has no snapshot \"nowhere\"",
        ),
        (
            &["serve", "wal-logs/drill_2_market_data_stale.wal", "--pause-at", "nowhere"],
            "has no snapshot \"nowhere\"; it has baseline, tripped, recovering, cleared",
        ),
        (&["serve", "wal-logs/drill_2_market_data_stale.wal", "--variant", "x"], "is a log, and a log is of one run"),
        (&["serve", "wal-logs/drill_2_market_data_stale.wal", "--log", "x"], "is a log already"),
        (&["serve", "scenarios/drill_2_market_data_stale.toml", "--follow"], "--follow takes a log"),
        (&["serve", "README.wal"], "README.wal"),
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
