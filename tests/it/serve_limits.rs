//! What no client of `drillfold serve` may do, over real sockets to the real process; its metrics, and how it stops.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Lines, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use drillfold::{
    serve::{Board, Limits, Server},
    wal::read_log,
};
use serde_json::Value;

use crate::project::{base_runs, program, root};

const DRILL: &str = "scenarios/drill_2_market_data_stale.toml";
const STATUS: &str = "/api/v1/status";
const PATHS: [&str; 3] = [STATUS, "/api/v1/health", "/metrics"];

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server at work; stopped when dropped.
struct Served {
    child: Child,
    address: String,
    said: Lines<BufReader<ChildStdout>>,
}

impl Served {
    fn start(more: &[&str]) -> Self {
        Self::at("127.0.0.1:0", more)
    }

    fn at(listen: &str, more: &[&str]) -> Self {
        let mut command = program(["serve", DRILL, "--listen", listen]);
        command.args(more).current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        let address = first.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        Self { child, address, said }
    }

    fn paused(more: &[&str]) -> Self {
        let mut served = Self::start(&[&["--speed", "max", "--pause-at", "tripped"], more].concat());
        assert_eq!(served.line(), "paused at tripped");
        served
    }

    /// Returns the next line that it prints.
    fn line(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }

    fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Sends bytes on a connection of their own and returns all that comes back until its end.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        // A server that has heard enough may close before all is sent.
        let _ = client.to.write_all(bytes);
        client.rest()
    }

    /// Asks for a path and returns the answer.
    fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.ask(path);
        client.answer().unwrap()
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until the process has ended.
    fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns a number of its metrics.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection.
struct Client {
    from: BufReader<TcpStream>,
    to: TcpStream,
}

/// An answer, its headers in lower case.
#[derive(Debug)]
struct Answer {
    code: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { from: BufReader::new(stream.try_clone().unwrap()), to: stream }
    }

    fn ask(&mut self, path: &str) {
        self.to.write_all(request("GET", path, "").as_bytes()).unwrap();
    }

    /// Reads one answer; `None` where the connection has ended instead.
    fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        self.from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let code = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.from.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        self.from.read_exact(&mut body).unwrap();
        Some(Answer { code, headers, body: String::from_utf8(body).unwrap() })
    }

    /// Reads until the server has ended the connection; fails where it does not.
    fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.from.read_to_end(&mut bytes) {
            assert!(is_cut(&error), "the connection stays open: {error}");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Tells whether the other side has ended a connection, and not our patience.
fn is_cut(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// Returns a request of any host that is answered; `more` are header lines with their ends.
fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_head_is_bounded_in_size_in_headers_and_in_its_target() {
    let served = Served::paused(&[]);
    let close = "Connection: close\r\n";
    let headers = |count: usize| (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>() + close;
    let target = |length: usize| format!("/{}", "x".repeat(length - 1));
    for (what, sent, expected) in [
        ("64 headers", request("GET", STATUS, &headers(62)), "200"),
        ("65 headers", request("GET", STATUS, &headers(63)), "431"),
        ("a large header", request("GET", STATUS, &format!("x: {}\r\n{close}", "x".repeat(7_000))), "200"),
        ("too large a header", request("GET", STATUS, &format!("x: {}\r\n{close}", "x".repeat(9_000))), "431"),
        ("the longest target", request("GET", &target(1_024), close), "404"),
        ("too long a target", request("GET", &target(1_025), close), "414"),
        ("a target without end", format!("GET {}", "/x".repeat(100_000)), "431"),
        ("a head without end", format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(100_000)), "431"),
    ] {
        assert_eq!(code(&served.raw(sent.as_bytes())), expected, "{what}");
    }
    assert_eq!(served.get(STATUS).code, 200);
}

#[test]
fn a_request_has_no_body_and_none_is_read_without_end() {
    let served = Served::paused(&[]);
    let asked = served.get(STATUS);
    let with = |method: &str, more: &str, body: &str| served.raw((request(method, STATUS, more) + body).as_bytes());
    let smuggled = request("GET", "/metrics", "");
    for (what, found, expected) in [
        ("a body", with("GET", "Content-Length: 5\r\n", "12345"), "413"),
        ("a body that is announced", with("GET", "Content-Length: 1000000000\r\n", ""), "413"),
        ("chunks", with("GET", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n0\r\n\r\n"), "413"),
        ("no chunk", with("GET", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), "413"),
        ("a request as a body", with("GET", &format!("Content-Length: {}\r\n", smuggled.len()), &smuggled), "413"),
        ("a body of another method", with("POST", "Content-Length: 5\r\n", "12345"), "405"),
        ("an expectation", with("PUT", "Expect: 100-continue\r\nContent-Length: 5\r\n", ""), "405"),
    ] {
        assert_eq!((code(&found), found.matches("HTTP/1.1 ").count()), (expected, 1), "{what}: {found}");
        assert!(found.to_ascii_lowercase().contains("connection: close"), "{what}: {found}");
    }
    let empty = with("GET", "Content-Length: 0\r\nConnection: close\r\n", "");
    assert_eq!(code(&empty), "200");

    let mut client = served.connect();
    client.to.write_all(request("POST", STATUS, "Content-Length: 1000000000\r\n").as_bytes()).unwrap();
    let mut sent = 0_usize;
    let refused = loop {
        match client.to.write(&[b'x'; 65_536]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 64 << 20, "it reads on and on");
    };
    assert!(is_cut(&refused), "{refused}");
    assert_eq!(served.get(STATUS).body, asked.body);
}

#[test]
fn what_is_malformed_gets_nothing() {
    let served = Served::paused(&[]);
    let head = |line: &str| format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes();
    let get = |more: &str| request("GET", STATUS, more).into_bytes();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("garbage", (0_u8..=255).cycle().take(4_096).collect(), "400"),
        ("zeros", vec![0; 64], "400"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "400"),
        ("HTTP/0.9", b"GET /api/v1/status\r\n\r\n".to_vec(), "400"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), ""),
        ("version 9.9", head("GET /api/v1/status HTTP/9.9"), "400"),
        ("no version", head("GET /api/v1/status HTTP/"), "400"),
        ("a method in small letters", head("get /api/v1/status HTTP/1.1"), "405"),
        ("an absolute target", head("GET http://localhost/api/v1/status HTTP/1.1"), "400"),
        ("another host's target", head("GET http://evil.example/api/v1/status HTTP/1.1"), "400"),
        ("no slash", head("GET api/v1/status HTTP/1.1"), "400"),
        ("all", head("OPTIONS * HTTP/1.1"), "400"),
        ("a tunnel", head("CONNECT localhost:80 HTTP/1.1"), "400"),
        ("a space", head("GET /api/v1/status x HTTP/1.1"), "400"),
        ("NUL in the target", head("GET /api/v1/status\0 HTTP/1.1"), "400"),
        ("a query", head("GET /api/v1/status?at=tripped HTTP/1.1"), "400"),
        ("an encoded letter", head("GET /api/v1/%73tatus HTTP/1.1"), "404"),
        ("an encoded NUL", head("GET /api/v1/status%00 HTTP/1.1"), "404"),
        ("a bad encoding", head("GET /%zz HTTP/1.1"), "404"),
        ("a way up", head("GET /x/../api/v1/status HTTP/1.1"), "404"),
        ("an encoded way up", head("GET /x/%2e%2e/api/v1/status HTTP/1.1"), "404"),
        ("a file", head("GET /../../../../etc/passwd HTTP/1.1"), "404"),
        ("two slashes", head("GET //api/v1/status HTTP/1.1"), "404"),
        ("NUL in a header", get("x: \0\r\n"), "400"),
        ("no colon", get("x\r\n"), "400"),
        ("a space before the colon", get("x : y\r\n"), "400"),
        ("a folded header", get("x: y\r\n z\r\n"), "400"),
        ("two hosts", get("Host: localhost\r\nConnection: close\r\n"), "400"),
        ("no host", b"GET /api/v1/status HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), "400"),
        ("no host of HTTP/1.0", b"GET /api/v1/status HTTP/1.0\r\n\r\n".to_vec(), "400"),
        ("two lengths", get("Content-Length: 1\r\nContent-Length: 2\r\n"), "400"),
        ("a length below zero", get("Content-Length: -1\r\n"), "400"),
        ("a length with a sign", get("Content-Length: +0\r\n"), "400"),
        ("no length", get("Content-Length: x\r\n"), "400"),
        ("a length and chunks", get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), "413"),
        ("an unknown coding", get("Transfer-Encoding: xchunked\r\n"), "400"),
        ("chunks not last", get("Transfer-Encoding: chunked, identity\r\n"), "400"),
        ("chunks of HTTP/1.0", head("GET /api/v1/status HTTP/1.0\r\nTransfer-Encoding: chunked"), "400"),
    ];
    let before = served.get(STATUS).body;
    for (what, mut sent, expected) in cases {
        // What stands behind a bad request is none of ours: it must not be answered either.
        let close = format!("GET {STATUS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let bad = !["404", "405"].contains(&expected);
        if bad {
            sent.extend(close.bytes());
        }
        let found = served.raw(&sent);
        assert_eq!(code(&found), expected, "{what}: {found}");
        assert!(!found.contains(" 200 "), "{what}: {found}");
    }
    assert_eq!(served.get(STATUS).body, before);
}

#[test]
fn only_get_is_answered_and_what_does_not_exist_is_not_found() {
    let served = Served::paused(&[]);
    for path in PATHS {
        assert_eq!(served.get(path).code, 200, "{path}");
        for method in ["HEAD", "OPTIONS", "TRACE", "CONNECT", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "X"] {
            let found = served.raw(request(method, path, "Connection: close\r\n").as_bytes());
            assert_eq!(code(&found), "405", "{method} {path}");
            assert!(found.to_ascii_lowercase().contains("\r\nallow: get\r\n"), "{method} {path}: {found}");
        }
    }
    for path in ["/nothing", "/api", "/api/v1/", "/api/v2/status", "/metrics/"] {
        assert_eq!(served.get(path).code, 404, "{path}");
    }
}

#[test]
fn a_host_that_is_not_ours_is_refused_unless_it_is_allowed() {
    let served = Served::paused(&["--allow-host", "drills.example"]);
    let ask = |host: &str| {
        let sent = format!("GET {STATUS} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        code(&served.raw(sent.as_bytes())).to_owned()
    };
    for host in [served.address.as_str(), "localhost:9", "[::1]", "drills.example", "DRILLS.example:80"] {
        assert_eq!(ask(host), "200", "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "x.drills.example", "127.0.0.1.evil.example"] {
        assert_eq!(ask(host), "421", "{host}");
    }
}

#[test]
fn every_answer_has_the_headers_that_keep_a_browser_from_mistaking_it() {
    let served = Served::paused(&[]);
    let mut client = served.connect();
    let mut found = Vec::new();
    for sent in [
        request("GET", STATUS, ""),
        request("GET", "/api/v1/health", ""),
        request("GET", "/metrics", ""),
        request("GET", "/nothing", ""),
        request("DELETE", STATUS, ""),
        request("GET", STATUS, "Host: evil.example\r\n"),
        request("GET", STATUS, "").replace("localhost", "evil.example"),
        request("GET", STATUS, "Content-Length: 1\r\n"),
    ] {
        client.to.write_all(sent.as_bytes()).unwrap();
        let answer = client.answer().unwrap();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{sent}: {answer:?}");
        }
        assert!(!answer.headers.contains_key("server"), "{answer:?}");
        found.push(answer.code);
    }
    assert_eq!(found, [200, 200, 200, 404, 405, 400, 421, 413]);
}

#[test]
fn slow_clients_are_cut_and_keep_nobody_waiting() {
    let served = Served::paused(&[]);
    thread::scope(|scope| {
        // A head, letter by letter.
        scope.spawn(|| {
            let mut client = served.connect();
            let began = Instant::now();
            let letters = request("GET", STATUS, &"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(40));
            let cut = letters.bytes().find(|letter| {
                thread::sleep(Duration::from_millis(50));
                client.to.write_all(&[*letter]).is_err()
            });
            assert!(cut.is_some(), "not cut in {:?}", began.elapsed());
        });
        // Nothing at all, and nothing after an answer.
        scope.spawn(|| assert_eq!(served.connect().rest(), ""));
        scope.spawn(|| {
            let mut client = served.connect();
            client.ask(STATUS);
            assert_eq!(client.answer().unwrap().code, 200);
            assert_eq!(client.rest(), "");
        });
        // Requests without end, and no answer is taken.
        scope.spawn(|| {
            let mut client = served.connect();
            let many = request("GET", STATUS, "").repeat(100);
            let error = loop {
                if let Err(error) = client.to.write_all(many.as_bytes()) {
                    break error;
                }
            };
            assert!(is_cut(&error), "it was waited for: {error}");
        });
        for _ in 0..20 {
            assert_eq!(served.get(STATUS).code, 200);
        }
    });
    let cut = |why: &str| served.metric(&format!("drillfold_http_cut_connections_total{{why=\"{why}\"}}"));
    let began = Instant::now();
    while cut("silent") < 3.0 || cut("stalled") < 1.0 {
        assert!(began.elapsed() < PATIENCE, "{} silent, {} stalled", cut("silent"), cut("stalled"));
    }
}

#[test]
fn connections_above_the_limit_wait_for_a_place() {
    const CONNECTIONS_MAX: usize = 128;
    let served = Served::paused(&[]);
    let mut held: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| served.connect()).collect();
    for client in &mut held {
        client.ask(STATUS);
        assert_eq!(client.answer().unwrap().code, 200);
    }
    let mut waiting: Vec<Client> = (0..20).map(|_| served.connect()).collect();
    for client in &mut waiting {
        client.ask(STATUS);
    }
    let mut letter = [0];
    waiting[0].to.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = waiting[0].to.peek(&mut letter).unwrap_err();
    assert!(matches!(early.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{early}");
    waiting[0].to.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(held);
    for client in &mut waiting {
        assert_eq!(client.answer().unwrap().code, 200);
    }
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_ask_again() {
    let served = Served::paused(&["--requests-per-second", "1"]);
    let mut client = served.connect();
    let mut codes = Vec::new();
    let limited = loop {
        client.ask(STATUS);
        let answer = client.answer().unwrap();
        codes.push(answer.code);
        if answer.code != 200 {
            break answer;
        }
        assert!(codes.len() < 1_000, "never limited");
    };
    assert!(codes.len() > 4, "four at once are permitted: {codes:?}");
    assert_eq!((limited.code, limited.headers["retry-after"].as_str()), (429, "1"));
    // Whoever waits is answered again.
    let began = Instant::now();
    loop {
        let answer = served.get("/metrics");
        if answer.code == 200 {
            assert!(!answer.body.contains("drillfold_http_rate_limited_total 0\n"), "{}", answer.body);
            break;
        }
        assert!(began.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn metrics_say_what_the_status_says() {
    let served = Served::paused(&[]);
    let status = served.get(STATUS);
    let found = served.get("/metrics");
    assert_eq!(found.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(found.body.ends_with("# EOF\n"));
    let samples: BTreeMap<&str, f64> = found
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').map(|(name, value)| (name, value.parse().unwrap())).unwrap())
        .collect();
    let document: Value = serde_json::from_str(&status.body).unwrap();
    let number = |key: &str| document[key].as_f64().unwrap();
    assert_eq!(samples["drillfold_up"], 1.0);
    assert_eq!(samples["drillfold_event_seq"].to_string(), status.headers["x-drillfold-seq"]);
    for (name, value) in [
        ("drillfold_status_disk_used_ratio", number("disk_used_pct")),
        ("drillfold_status_policy_age_seconds", number("policy_age_sec")),
        ("drillfold_status_ws_event_lag_seconds", number("ws_event_lag_ms") / 1_000.0),
        ("drillfold_status_loop_tick_last_timestamp_seconds", number("loop_tick_last_ts_ms") / 1_000.0),
        ("drillfold_status_429_count_5m", number("429_count_5m")),
        ("drillfold_status_open_permission_blocked_latch", 1.0),
        ("drillfold_stage{stage=\"paused\"}", 1.0),
        ("drillfold_stage{stage=\"running\"}", 0.0),
    ] {
        assert_eq!(samples[name], value, "{name}");
    }
    let numbers =
        document.as_object().unwrap().values().filter(|value| value.is_number() || value.is_boolean()).count();
    assert_eq!(samples.keys().filter(|name| name.starts_with("drillfold_status_")).count(), numbers);
    let mode = document["trading_mode"].as_str().unwrap();
    assert_eq!(samples[format!("drillfold_trading_mode{{mode=\"{mode}\"}}").as_str()], 1.0);
    for reason in document["open_permission_reason_codes"].as_array().unwrap() {
        let name = format!("drillfold_open_permission_reason{{reason={reason}}}");
        assert_eq!(samples[name.as_str()], 1.0, "{name}");
    }
}

#[test]
fn an_address_that_others_can_reach_is_warned_of() {
    for (listen, warned) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let mut served = Served::at(listen, &["--speed", "max"]);
        served.signal("TERM");
        assert_eq!(served.ended().code(), Some(0));
        let mut said = String::new();
        served.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said.contains("no authentication and no TLS"), warned, "{listen}: {said}");
    }
}

#[test]
fn a_signal_stops_it_when_the_answers_at_hand_are_finished() {
    for name in ["TERM", "INT"] {
        let mut served = Served::paused(&[]);
        let mut idle = served.connect();
        idle.ask(STATUS);
        assert_eq!(idle.answer().unwrap().code, 200);
        let sent = request("GET", STATUS, "");
        let (begin, end) = sent.split_at(20);
        let mut at_hand = served.connect();
        at_hand.to.write_all(begin.as_bytes()).unwrap();
        // Once another connection is served, this one has been accepted.
        assert_eq!(served.get(STATUS).code, 200);
        served.signal(name);
        assert_eq!(idle.rest(), "", "an idle connection is closed");
        at_hand.to.write_all(end.as_bytes()).unwrap();
        let answer = at_hand.answer().unwrap();
        assert_eq!((answer.code, answer.headers.get("connection").map(String::as_str)), (200, Some("close")));
        assert!(served.line().starts_with("stopped "));
        assert_eq!(served.ended().code(), Some(0), "{name}");
        assert!(TcpStream::connect(&served.address).is_err());
    }
}

#[test]
fn a_client_that_does_not_finish_is_not_waited_for() {
    let mut served = Served::paused(&[]);
    let mut half = served.connect();
    half.to.write_all(b"GET /api").unwrap();
    assert_eq!(served.get(STATUS).code, 200);
    served.signal("TERM");
    assert!(served.line().starts_with("stopped "));
    assert_eq!(served.ended().code(), Some(0));
}

/// Starts a server of the library, whose limits a test chooses.
fn with(limits: Limits) -> Server {
    Server::start("127.0.0.1:0".parse().unwrap(), Board::new(), limits, Vec::new()).unwrap()
}

#[test]
fn a_request_at_hand_holds_a_stop_up_for_its_time_only() {
    let (head_timeout, finish_timeout) = (Duration::from_secs(600), Duration::from_millis(100));
    let server = with(Limits { head_timeout, finish_timeout, ..Limits::default() });
    let mut half = Client::connect(&server.address().to_string());
    half.to.write_all(b"GET /api").unwrap();
    let mut other = Client::connect(&server.address().to_string());
    other.ask(STATUS);
    assert_eq!(other.answer().unwrap().code, 503);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(half.rest(), "");
}

#[test]
fn a_connection_ends_after_its_time_between_two_answers() {
    let connection_timeout = Duration::from_millis(300);
    let server = with(Limits { connection_timeout, ..Limits::default() });
    let began = Instant::now();
    let mut client = Client::connect(&server.address().to_string());
    let mut answers = 0;
    while client.to.write_all(request("GET", STATUS, "").as_bytes()).is_ok() {
        let Some(answer) = client.answer() else { break };
        assert_eq!(answer.code, 503);
        answers += 1;
        assert!(began.elapsed() < PATIENCE, "{answers} answers, and it goes on");
    }
    assert!(answers > 0 && began.elapsed() >= connection_timeout);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut served = Served::paused(&[]);
    let mut idle = served.connect();
    idle.ask(STATUS);
    assert_eq!(idle.answer().unwrap().code, 200);
    let mut half = served.connect();
    half.to.write_all(b"GET /api").unwrap();
    assert_eq!(served.get(STATUS).code, 200);
    served.signal("TERM");
    // The first one has come.
    assert_eq!(idle.rest(), "");
    served.signal("INT");
    assert_eq!(served.ended().code(), Some(130));
}

/// Requests, and connections that send them, of the load.
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 50;

#[test]
fn a_load_drops_no_request_and_changes_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("loaded.wal");
    let mut served = Served::start(&["--speed", "20", "--log", log.to_str().unwrap()]);
    let waited = Instant::now();
    // Before its boot a process has no status.
    while served.get(STATUS).code != 200 {
        assert!(waited.elapsed() < PATIENCE, "it does not come up");
    }
    let sent = AtomicUsize::new(0);
    let began = Instant::now();
    let mut times_us: Vec<u128> = thread::scope(|scope| {
        let served = &served;
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = served.connect();
                    let mut times_us = Vec::new();
                    while sent.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                        let asked = Instant::now();
                        client.ask(STATUS);
                        let answer = client.answer().expect("no request is dropped");
                        times_us.push(asked.elapsed().as_micros());
                        assert_eq!(answer.code, 200);
                        let document: Value = serde_json::from_str(&answer.body).expect("each body is whole");
                        assert_eq!(document.as_object().map(serde_json::Map::len), Some(35));
                        assert!(answer.headers["x-drillfold-seq"].parse::<u64>().is_ok());
                    }
                    times_us
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("each client is served")).collect()
    });
    let took = began.elapsed();
    assert_eq!(times_us.len(), REQUESTS);
    times_us.sort_unstable();
    println!(
        "{REQUESTS} requests at {CONNECTIONS} connections: {:.0} requests/s, p50 {} us, p99 {} us",
        REQUESTS as f64 / took.as_secs_f64(),
        times_us[REQUESTS / 2],
        times_us[REQUESTS * 99 / 100]
    );

    assert!(served.line().starts_with("the scenario has ended"));
    let loaded = served.get(STATUS);
    let mut quiet = Served::start(&["--speed", "max"]);
    assert!(quiet.line().starts_with("the scenario has ended"));
    let unloaded = quiet.get(STATUS);
    assert_eq!(
        (&loaded.body, &loaded.headers["x-drillfold-seq"]),
        (&unloaded.body, &unloaded.headers["x-drillfold-seq"])
    );
    let run = base_runs().iter().find(|run| DRILL.contains(run.name())).expect("it is a drill");
    assert_eq!(loaded.headers["x-drillfold-seq"], run.outcome.recorded.last.seq.0.to_string());
    // The log's own digest over its events, and the events themselves, are those of the run that nobody asked.
    let events = |bytes: &[u8]| {
        let log = read_log("the log", bytes).unwrap();
        (log.summary.end.expect("it is sealed").event_digest, log.entries)
    };
    let (digest, entries) = events(&fs::read(&log).unwrap());
    assert_eq!(digest, run.outcome.recorded.event_digest);
    assert!(entries == events(&run.outcome.recorded.log).1, "the events are others");
}
