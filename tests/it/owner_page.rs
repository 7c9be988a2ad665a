//! The owner's page and its stream of events, over real sockets.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use drillfold::{
    contract::validator::{BuiltInSchema, Options, Validator},
    serve::{Board, Course, Limits, Owner, Server, Shown, Stage},
};
use drillfold_kernel::units::{Seq, TimeMs};
use serde_json::{Value, json};

use crate::project::{files_below, program, root};

/// Longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for a path and returns the connection, behind the request.
fn ask(address: SocketAddr, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    BufReader::new(stream)
}

/// Reads an answer's head: its code, and its lines in lower case.
fn head(answer: &mut BufReader<TcpStream>) -> (u16, Vec<String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(answer.read_line(&mut line).unwrap(), 0, "the answer has no head: {lines:?}");
        if line.trim().is_empty() {
            let code = lines.first().and_then(|first: &String| first.split(' ').nth(1)).unwrap().parse().unwrap();
            return (code, lines);
        }
        lines.push(line.trim().to_ascii_lowercase());
    }
}

/// Returns the code, the head and the body of an answer that has a length.
fn whole(address: SocketAddr, path: &str) -> (u16, Vec<String>, String) {
    let mut answer = ask(address, path);
    let (code, head) = head(&mut answer);
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    answer.read_exact(&mut body).unwrap();
    (code, head, String::from_utf8(body).unwrap())
}

/// A stream of events; its messages are read one by one.
struct Messages(BufReader<TcpStream>);

impl Messages {
    fn open(address: SocketAddr) -> Self {
        let mut answer = ask(address, "/api/v1/stream");
        let (code, head) = head(&mut answer);
        assert_eq!(code, 200);
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        Self(answer)
    }

    /// Returns the next message; `None` at the stream's end.
    fn next(&mut self) -> Option<Value> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
            if let Some(data) = line.strip_prefix("data:") {
                text.push_str(data);
            } else if !text.is_empty() {
                return Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
            }
        }
    }

    /// Reads on until a message is as it should be.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let message = self.next().unwrap_or_else(|| panic!("{what}: the stream has ended"));
            if holds(&message) {
                return message;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; {message}");
        }
    }
}

/// A server in this process.
fn served(board: &Board, limits: Limits) -> (Server, SocketAddr) {
    let server = Server::start("127.0.0.1:0".parse().unwrap(), board.clone(), limits, Vec::new()).unwrap();
    let address = server.address();
    (server, address)
}

fn golden(name: &str) -> String {
    fs::read_to_string(root().join("fixtures/status").join(name)).unwrap()
}

fn shown(status: &str, seq: u64) -> Shown {
    let (build_id, contract_version) = ("b-1".to_owned(), "5.2".to_owned());
    Shown { status: status.to_owned(), build_id, contract_version, seq: Seq(seq), at: TimeMs(1_000) }
}

/// A server of its own process.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let all = ["serve", "--listen", "127.0.0.1:0"].iter().chain(arguments);
        let mut child = program(all).current_dir(root()).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        let address = first.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_golden_status_gives_a_view_that_says_what_the_document_says() {
    let owner = Owner::new().unwrap();
    let validator = Validator::built_in(BuiltInSchema::Exact).unwrap();
    let files = files_below(&root().join("fixtures/status"));
    assert!(files.len() > 100, "there are {} golden documents", files.len());
    for (name, bytes) in files {
        let text = String::from_utf8(bytes).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(validator.validate(&document, Options::default()), [], "{name}");
        let view = owner.view(Some(&text), &Stage::Running, &Course::default());
        assert_eq!(view["fail_closed"], json!(false), "{name}: {view}");
        assert_eq!(view["mode"], document["trading_mode"], "{name}");
        assert_eq!(view["may_open"], json!(document["trading_mode"] == "Active"), "{name}");
        assert_eq!(view["sentence"], document["owner_view"]["owner_message"], "{name}");
        assert_eq!(view["unblock"], document["owner_view"]["unblock"], "{name}");
        let tokens = |list: &Value| -> Vec<Value> {
            list.as_array().unwrap().iter().map(|entry| entry["token"].clone()).collect()
        };
        assert_eq!(json!(tokens(&view["reasons"])), document["mode_reasons"], "{name}");
        assert_eq!(json!(tokens(&view["latch"]["codes"])), document["open_permission_reason_codes"], "{name}");
    }
}

#[test]
fn the_page_and_its_files_are_served_with_what_keeps_them_by_themselves() {
    let (_server, address) = served(&Board::new(), Limits::default());
    for (path, kind, holds) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/page.css", "text/css; charset=utf-8", "color-scheme"),
        ("/page.js", "text/javascript; charset=utf-8", "/api/v1/stream"),
        ("/api/v1/vocabulary", "application/json", "trading_mode"),
    ] {
        let (code, head, body) = whole(address, path);
        assert_eq!(code, 200, "{path}");
        assert!(body.contains(holds), "{path}: {body}");
        for line in [&format!("content-type: {kind}"), "cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(head.iter().any(|found| found == line), "{path} lacks {line}: {head:?}");
        }
        let policy = head.iter().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(!body.contains("http://") && !body.contains("https://"), "{path} names another place");
    }
    let page = whole(address, "/").2;
    for inline in ["<style", "style=", "onload", "onclick", "javascript:"] {
        assert!(!page.contains(inline), "the page has {inline}");
    }
    assert!(page.contains("Do not open new risk"), "without its script, the page says nothing");
    assert_eq!(whole(address, "/other").0, 404);
}

#[test]
fn a_stream_tells_at_once_and_then_what_has_changed() {
    let board = Board::new();
    let (_server, address) = served(&board, Limits::default());
    let mut messages = Messages::open(address);
    let first = messages.next().unwrap();
    assert_eq!((&first["schema"], &first["view"]["fail_closed"]), (&json!("drillfold/stream/v1"), &json!(true)));
    assert_eq!((&first["status"], &first["seq"]), (&Value::Null, &Value::Null));

    let tripped = golden("market_data_stale.json");
    board.put(Some(shown(&tripped, 7)));
    let message = messages.until("the document", |message| message["seq"] == 7);
    assert_eq!(message["status"], serde_json::from_str::<Value>(&tripped).unwrap());
    assert_eq!((&message["stage"], &message["view"]["mode"]), (&json!("running"), &json!("ReduceOnly")));

    board.advance(Seq(8), TimeMs(1_200));
    messages.until("the next event", |message| message["seq"] == 8 && message["at_ms"] == 1_200);
    board.put(Some(shown(&tripped.replace("ReduceOnly", "Sideways"), 9)));
    let message = messages.until("the unknown mode", |message| message["seq"] == 9);
    assert_eq!(message["view"]["fail_closed"], json!(true));
    assert!(message["view"]["findings"].to_string().contains("Sideways"), "{message}");

    board.put(Some(shown(&tripped, 10)));
    board.stage(Stage::Paused("tripped".to_owned()));
    let message = messages.until("the pause", |message| message["stage"] == "paused");
    assert_eq!((&message["paused_at"], &message["view"]["fail_closed"]), (&json!("tripped"), &json!(false)));
    board.stage(Stage::Ended);
    messages.until("the end", |message| message["stage"] == "ended");
    board.stage(Stage::Silent);
    let message = messages.until("the silence", |message| message["stage"] == "silent");
    assert_eq!(message["view"]["fail_closed"], json!(true));
}

/// The page takes 1.5 s without a message for a loss: three times what is promised.
#[test]
fn a_stream_of_which_nothing_changes_goes_on_telling_so() {
    let board = Board::new();
    board.put(Some(shown(&golden("market_data_stale.json"), 7)));
    let (_server, address) = served(&board, Limits::default());
    let mut messages = Messages::open(address);
    messages.next().unwrap();
    let began = Instant::now();
    for _ in 0..6 {
        messages.next().unwrap();
    }
    let taken = began.elapsed();
    // Six times at most half a second are three; a machine that is busy may take its time.
    assert!(taken < Duration::from_secs(9), "six messages took {taken:?}");
    assert!(taken > Duration::from_millis(600), "nothing changed, and six messages took only {taken:?}");
}

#[test]
fn a_stream_outlives_the_time_of_an_ordinary_connection() {
    let limits = Limits { connection_timeout: Duration::from_millis(300), ..Limits::default() };
    let (_server, address) = served(&Board::new(), limits);
    let mut messages = Messages::open(address);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        assert!(messages.next().is_some(), "the stream was cut after {:?}", began.elapsed());
    }
    // An ordinary one is cut, though it has been answered.
    let mut ordinary = ask(address, "/api/v1/vocabulary");
    let (code, _) = head(&mut ordinary);
    assert_eq!(code, 200);
    let mut rest = Vec::new();
    ordinary.read_to_end(&mut rest).unwrap();
}

#[test]
fn one_stream_more_than_there_may_be_is_refused_until_another_ends() {
    let (_server, address) = served(&Board::new(), Limits::default());
    let mut streams: Vec<Messages> = (0..32).map(|_| Messages::open(address)).collect();
    for stream in &mut streams {
        stream.next().unwrap();
    }
    let (code, _, body) = whole(address, "/api/v1/stream");
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("too many streams"), "{body}");
    // Ordinary requests are answered all the same.
    assert_eq!(whole(address, "/api/v1/vocabulary").0, 200);
    streams.pop();
    until("room for another stream", || head(&mut ask(address, "/api/v1/stream")).0 == 200);
}

#[test]
fn a_client_that_reads_nothing_holds_nobody_up_and_is_cut() {
    let board = Board::new();
    let limits = Limits { streams_max: 2, write_timeout: Duration::from_secs(1), ..Limits::default() };
    let (_server, address) = served(&board, limits);
    // It asks, and never reads: what it is sent fills the buffers between, and then waits.
    let mute = ask(address, "/api/v1/stream");
    let mut reading = Messages::open(address);
    let tripped = golden("market_data_stale.json");
    let began = Instant::now();
    let mut seq = 0;
    // With its place taken, a third stream is refused; once it is cut, there is room.
    until("the cut of a client that reads nothing", || {
        for _ in 0..5 {
            seq += 1;
            let before = Instant::now();
            board.put(Some(shown(&tripped, seq)));
            assert!(before.elapsed() < Duration::from_secs(2), "putting a document took {:?}", before.elapsed());
            thread::sleep(Duration::from_millis(30));
        }
        let message = reading.next().unwrap();
        assert!(message["seq"].as_u64().is_none_or(|found| found <= seq));
        head(&mut ask(address, "/api/v1/stream")).0 == 200
    });
    reading.until("the last state", |message| message["seq"].as_u64() == Some(seq));
    drop(mute);
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_process_that_is_killed_ends_its_streams() {
    let mut process = Process::start(&["scenarios/drill_2_market_data_stale.toml", "--speed", "1"]);
    let mut messages = Messages::open(process.address);
    let first = messages.until("a state", |message| message["view"]["fail_closed"] == json!(false));
    assert_eq!(first["source"], json!({ "kind": "drill", "name": "drill_2_market_data_stale" }));
    let seq = first["seq"].as_u64().unwrap();
    messages.until("the next event", |message| message["seq"].as_u64() > Some(seq));
    process.child.kill().unwrap();
    while messages.next().is_some() {}
}

#[test]
fn a_drill_has_a_course_and_says_since_when_its_mode_is_what_it_is() {
    let scenario = "scenarios/drill_2_market_data_stale.toml";
    let process = Process::start(&[scenario, "--speed", "max", "--pause-at", "tripped"]);
    let mut messages = Messages::open(process.address);
    let message = messages.until("the pause", |message| message["stage"] == "paused");
    let view = &message["view"];
    let changes = view["timeline"]["changes"].as_array().unwrap();
    let modes: Vec<&str> = changes.iter().map(|change| change["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["ReduceOnly", "Active", "ReduceOnly"], "newest first");
    let seqs: Vec<u64> = changes.iter().map(|change| change["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|one, next| one > next), "{seqs:?}");
    assert_eq!(view["since"], json!({ "seq": changes[0]["seq"], "at_ms": changes[0]["at_ms"] }));
    assert_eq!(changes[0]["primary"], message["status"]["owner_view"]["primary_owner_reason_code"]);
    assert_eq!(changes[0]["sentence"], message["status"]["owner_view"]["owner_message"]);
    assert!(view["since"]["at_ms"].as_u64() <= message["at_ms"].as_u64());
    // The step names two configured values; the drill leaves both as they are in specs/config/defaults.toml.
    let limits = &message["limits"];
    assert_eq!((&limits["ws_stale_clear_lag_ms"], &limits["ws_stale_clear_s"]), (&json!("500"), &json!("60")));
    assert_eq!(limits.get("mm_util_kill"), None, "what the document does not name");
}

#[test]
fn a_crash_and_a_restart_are_in_the_course() {
    let process = Process::start(&["scenarios/drill_4_crash_restart.toml", "--speed", "max", "--pause-at", "tripped"]);
    let mut messages = Messages::open(process.address);
    let message = messages.until("the pause", |message| message["stage"] == "paused");
    let changes = message["view"]["timeline"]["changes"].as_array().unwrap();
    let modes: Vec<Option<&str>> = changes.iter().map(|change| change["mode"].as_str()).collect();
    assert_eq!(modes, [Some("ReduceOnly"), None, Some("Active"), Some("ReduceOnly")], "newest first");
    assert!(changes.is_sorted_by(|one, next| one["seq"].as_u64() > next["seq"].as_u64()), "{changes:?}");
}
