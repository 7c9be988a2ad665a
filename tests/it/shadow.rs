//! `drillfold serve --feed` and `drillfold venue` as processes that talk to each other over a real socket.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use drillfold_kernel::units::Seq;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    project::{done, files_below, program, root},
    serve_restart::Folded,
};

/// How long anything may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

const RECORDING: &str = "scenarios/feeds/deribit-2021-04-05.txt";

/// Everything that may ever be asked of a venue.
const METHODS: [&str; 6] = [
    "private/subscribe",
    "public/auth",
    "public/set_heartbeat",
    "public/subscribe",
    "public/test",
    "public/unsubscribe",
];

/// A process whose lines can be waited for; it is killed when dropped.
struct Process {
    child: Child,
    said: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command.current_dir(root()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.0.lock().unwrap().push(line);
                heard.1.notify_all();
            }
        });
        Self { child, said }
    }

    fn lines(&self) -> Vec<String> {
        self.said.0.lock().unwrap().clone()
    }

    /// Waits until so many lines hold a text, and returns the last of them.
    #[track_caller]
    fn wait_for(&self, count: usize, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut lines = self.said.0.lock().unwrap();
        loop {
            let found: Vec<&String> = lines.iter().filter(|line| line.contains(text)).collect();
            if let Some(line) = found.get(count - 1) {
                return (*line).clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {count} lines with {text:?} among {lines:#?}");
            lines = self.said.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self) -> Vec<String> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        assert!(self.child.wait().unwrap().success());
        self.wait_for(1, "stopped after event");
        self.lines()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn venue(options: &[&str]) -> (Process, String) {
    let arguments = ["venue", RECORDING, "--listen", "127.0.0.1:0", "--speed", "10"];
    let venue = Process::start(program(arguments.iter().chain(options)));
    let url = venue.wait_for(1, "ws://").split_once(": ").unwrap().1.to_owned();
    (venue, url)
}

/// A shadow run with its own folder.
struct Shadow {
    process: Process,
    address: String,
    /// Every status that was asked for, with the event after which it stands, as the server says.
    served: RefCell<Vec<(u64, Value)>>,
}

/// What a shadow run said and served until its end.
struct Ended {
    /// Its last event.
    seq: u64,
    served: Vec<(u64, Value)>,
}

/// A folder with a scenario of the recorded instruments and quick thresholds.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let recording = fs::read_to_string(root().join(RECORDING)).unwrap();
    let names: BTreeSet<&str> =
        recording.split("\"instrument_name\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut text = "schema = \"drillfold/scenario/v1\"\nname = \"live\"\ntitle = \"Live\"\nshows = \"a feed\"\nseed = 1\n\
                    duration = \"1s\"\n[config]\nws_stale_threshold_ms = 2000\nws_stale_clear_s = 1\nws_stale_clear_lag_ms = 1500\n\
                    book_gap_quiet_s = 1\nreconcile_interval_s = 1\n[world.market.index]\nBTC = 1\nETH = 1\n"
        .to_owned();
    for name in names {
        text.push_str(&format!("[[world.instrument]]\nname = \"{name}\"\n"));
    }
    text.push_str(
        "[strategy]\nopen_every = \"0s\"\nclose_every = \"0s\"\ncancel_every = \"0s\"\n[[expect]]\ncriterion = \"heard\"\n\
         says = \"the feed arrives\"\nsometimes = 'event == \"BookSnapshot\"'\n",
    );
    fs::write(folder.path().join("live.toml"), text).unwrap();
    folder
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("live.wal")
}

impl Shadow {
    fn start(folder: &TempDir, url: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let (scenario, log) = (folder.path().join("live.toml"), log(folder));
        let (scenario, log) = (scenario.to_str().unwrap(), log.to_str().unwrap());
        let arguments = ["serve", scenario, "--feed", url, "--log", log, "--listen", "127.0.0.1:0"];
        let mut command = program(arguments.iter().chain(options));
        command.envs(variables.iter().copied());
        let process = Process::start(command);
        let line = process.wait_for(1, "http://");
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Self { process, address, served: RefCell::default() }
    }

    /// Returns the status; nothing while there is none.
    fn status(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(stream, "GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let seq = head.lines().find_map(|line| line.strip_prefix("x-drillfold-seq: "));
        head.starts_with("HTTP/1.1 200").then(|| {
            let status: Value = serde_json::from_str(body).unwrap();
            self.served.borrow_mut().push((seq.unwrap().parse().unwrap(), status.clone()));
            status
        })
    }

    /// Waits until a status is as wanted.
    #[track_caller]
    fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| wanted(status)) {
                return status.clone();
            }
            assert!(Instant::now() < until, "{what}: {status:?}\n{:#?}", self.process.lines());
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn wait_for_latch(&self, code: &str) -> Value {
        self.wait_for(code, |status| has_code(status, code))
    }

    #[track_caller]
    fn wait_for_clear(&self) -> Value {
        self.wait_for("clear", |status| status["open_permission_blocked_latch"] == false)
    }

    /// Stops it.
    #[track_caller]
    fn stop(self) -> Ended {
        let lines = self.process.stop();
        let said = lines.last().unwrap().strip_prefix("stopped after event ").unwrap().split(';').next().unwrap();
        Ended { seq: said.parse().unwrap(), served: self.served.into_inner() }
    }
}

fn has_code(status: &Value, code: &str) -> bool {
    status["open_permission_reason_codes"].as_array().unwrap().iter().any(|found| found == code)
}

/// Returns how many events of a kind a log has.
fn count(log: &Path, kind: &str) -> usize {
    done(program(["log", "dump", "--kind", kind, log.to_str().unwrap()])).out.lines().count()
}

/// Checks the log of a run that ended: sealed after its last event, sound, and folded to what was served after each event.
#[track_caller]
fn check_log(log: &Path, ended: &Ended) {
    let stat = done(program(["log", "stat", "--format", "json", log.to_str().unwrap()]));
    let stat: Value = serde_json::from_str(&stat.out).unwrap();
    assert_eq!((&stat["events"], &stat["sealed"]), (&ended.seq.into(), &true.into()));
    assert!(stat["frames"].as_u64() > Some(0), "{stat}");
    assert_eq!(done(program(["log", "verify", log.to_str().unwrap()])).code, 0);
    let replayed = done(program(["replay", log.to_str().unwrap()]));
    assert_eq!(replayed.code, 0, "{}", replayed.err);
    check_served(log, &ended.served);
}

/// Whatever was served is what a fold of the log has after the same event. Every boot is latched.
#[track_caller]
fn check_served(log: &Path, served: &[(u64, Value)]) {
    let folded = Folded::read(log);
    folded.check();
    for (seq, status) in served {
        assert_eq!(folded.after(Seq(*seq)), Some(status), "after event {seq}");
    }
}

#[test]
fn a_calm_feed_is_healthy_and_nothing_else_is_asked_of_the_venue() {
    let folder = folder();
    let (venue, url) = venue(&[]);
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    shadow.process.wait_for(1, "feed: subscribed to 30 channels");
    let status = shadow.wait_for("active", |status| status["trading_mode"] == "Active");
    assert_eq!(status["open_permission_reason_codes"], serde_json::json!([]));
    let address = format!("http://{}/api/v1/status", shadow.address);
    let valid = done(program(["validate", "--strict", "--url", &address]));
    assert_eq!(valid.code, 0, "{}{}", valid.out, valid.err);
    venue.wait_for(1, "played 460 frames");
    check_log(&log(&folder), &shadow.stop());
    let asked: BTreeSet<String> =
        venue.lines().iter().filter_map(|line| Some(line.split_once(" asked ")?.1.to_owned())).collect();
    assert!(asked.iter().all(|method| METHODS.contains(&method.as_str())), "{asked:?}");
    assert_eq!(count(&log(&folder), "BookChanged"), 177);
    assert_eq!(count(&log(&folder), "FrameRejected"), 0);

    // What was kept is a recording.
    let frames = done(program(["log", "frames", log(&folder).to_str().unwrap()]));
    let recording = folder.path().join("frames.jsonl");
    fs::write(&recording, frames.out).unwrap();
    let arguments = ["import", "deribit", recording.to_str().unwrap(), "--dry-run", "--format", "json"];
    let imported = done(program(arguments));
    let imported: Value = serde_json::from_str(&imported.out).unwrap();
    let found = ["changes", "snapshots", "gap_count", "error_count"].map(|name| imported[name].as_u64().unwrap());
    assert_eq!(found, [177, 10, 0, 0]);
}

#[test]
fn a_missing_change_latches_until_the_book_is_whole_again() {
    let folder = folder();
    let (venue, url) = venue(&["--drop-change", "20"]);
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    venue.wait_for(1, "dropped change 20");
    shadow.wait_for_latch("WS_BOOK_GAP_RECONCILE_REQUIRED");
    shadow.process.wait_for(1, "again");
    shadow.wait_for_clear();
    check_log(&log(&folder), &shadow.stop());
    assert_eq!(count(&log(&folder), "SocketClosed"), 0);
}

#[test]
fn silence_latches_and_the_feeds_return_clears() {
    let folder = folder();
    let (venue, url) = venue(&["--silence", "20s:5s"]);
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    venue.wait_for(1, "silent for 5000 ms");
    shadow.wait_for_latch("WS_DATA_STALE_RECONCILE_REQUIRED");
    venue.wait_for(1, "speaks again");
    shadow.wait_for_clear();
    check_log(&log(&folder), &shadow.stop());
}

#[test]
fn a_lost_connection_is_made_again_and_everything_subscribed() {
    let folder = folder();
    let (venue, url) = venue(&["--disconnect", "20s"]);
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    venue.wait_for(1, "disconnects");
    shadow.process.wait_for(1, "connection lost");
    shadow.process.wait_for(2, "subscribed to 30 channels");
    let ended = {
        shadow.wait_for_clear();
        shadow.stop()
    };
    check_log(&log(&folder), &ended);
    assert_eq!(count(&log(&folder), "SocketOpened"), 1);
    assert_eq!(count(&log(&folder), "BookSnapshot"), 20);
}

#[test]
fn refused_connections_are_repeated_more_and_more_slowly() {
    let folder = folder();
    let (venue, url) = venue(&["--refuse-connections", "4"]);
    let shadow = Shadow::start(&folder, &url, &["--feed-backoff", "100ms,400ms"], &[]);
    for wait_ms in [100, 200, 400] {
        shadow.process.wait_for(1, &format!("the next attempt is in {wait_ms} ms"));
    }
    shadow.process.wait_for(2, "the next attempt is in 400 ms");
    shadow.wait_for_clear();
    assert_eq!(venue.lines().iter().filter(|line| *line == "refused a connection").count(), 4);
    check_log(&log(&folder), &shadow.stop());
}

#[test]
fn a_venue_that_is_not_there_fails_closed() {
    let folder = folder();
    // A port on which nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shadow = Shadow::start(&folder, &format!("ws://127.0.0.1:{port}/"), &["--feed-backoff", "100ms,100ms"], &[]);
    shadow.process.wait_for(3, "not connected");
    let status = shadow.wait_for_latch("RESTART_RECONCILE_REQUIRED");
    assert_eq!(status["open_permission_blocked_latch"], true);
    let listen = format!("127.0.0.1:{port}");
    let late = Process::start(program(["venue", RECORDING, "--speed", "10", "--listen", &listen]));
    late.wait_for(1, "asked public/subscribe");
    shadow.wait_for_clear();
    shadow.stop();
}

#[test]
fn a_refusal_with_10028_ends_the_session() {
    let folder = folder();
    let (venue, url) = venue(&["--error", "10028@20s"]);
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    venue.wait_for(1, "answers with 10028");
    shadow.wait_for_latch("SESSION_TERMINATION_RECONCILE_REQUIRED");
    shadow.process.wait_for(2, "subscribed to 30 channels");
    check_log(&log(&folder), &shadow.stop());
    assert_eq!(count(&log(&folder), "VenueErrored"), 1);
}

#[test]
fn frames_that_can_t_be_used_are_rejected_and_cost_nothing_else() {
    let folder = folder();
    let (venue, url) = venue(&["--garbage", "10s", "--oversize", "20s"]);
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    venue.wait_for(1, "sends too large a frame");
    shadow.process.wait_for(1, "a frame can't be used");
    shadow.process.wait_for(2, "subscribed to 30 channels");
    shadow.wait_for_clear();
    check_log(&log(&folder), &shadow.stop());
    assert_eq!(count(&log(&folder), "FrameRejected"), 2);
    let frames = done(program(["log", "frames", log(&folder).to_str().unwrap()])).out;
    assert!(frames.lines().any(|line| line.ends_with(r#"subscr"}"#)), "what was garbage is kept");
}

#[test]
fn credentials_and_tokens_reach_no_file_and_no_line() {
    let folder = folder();
    let (venue, url) = venue(&["--leak", "20s", "--leak", "30s"]);
    let (id, secret) = ("clientId-4711", "a\"very\\secret/Key-é-0815");
    let options = ["--feed-credentials-env", "SHADOW_ID,SHADOW_SECRET", "--feed-interval", "raw"];
    let shadow = Shadow::start(&folder, &url, &options, &[("SHADOW_ID", id), ("SHADOW_SECRET", secret)]);
    shadow.process.wait_for(1, "feed: authenticated");
    for count in 1..=2 {
        venue.wait_for(count, "leaks");
    }
    venue.wait_for(1, "played 460 frames");
    let said = shadow.process.stop().join("\n");
    let mut haystacks: Vec<(String, String)> = files_below(folder.path())
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned()))
        .collect();
    haystacks.push(("standard output".to_owned(), said));
    for needle in [id, secret, "played-access-", "played-refresh-"] {
        let json = serde_json::to_string(needle).unwrap();
        let escaped: String = needle.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        for form in [needle, json.trim_matches('"'), &escaped, &needle[..8]] {
            for (name, haystack) in &haystacks {
                assert!(!haystack.contains(form), "{form} stands in {name}");
            }
        }
    }
    let frames = done(program(["log", "frames", log(&folder).to_str().unwrap()])).out;
    assert_eq!(frames.matches("user.leak").count(), 2, "the frames themselves are kept");
    let sent = done(program(["log", "frames", "--sent", log(&folder).to_str().unwrap()])).out;
    assert!(sent.contains("public/auth") && sent.contains("[redacted]"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(log(&folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(log(&folder), fs::Permissions::from_mode(0o644)).unwrap();
        let (scenario, log) = (folder.path().join("live.toml"), log(&folder));
        let arguments = [
            "serve",
            scenario.to_str().unwrap(),
            "--feed",
            &url,
            "--log",
            log.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ];
        let refused = done(program(arguments));
        assert!(refused.code == 2 && refused.err.contains("chmod 600"), "{}", refused.err);
    }
}

#[test]
fn a_killed_process_goes_on_with_its_log() {
    let folder = folder();
    let (venue, url) = venue(&["--loop"]);
    for wait_ms in [0, 150, 300, 600, 900, 1_200, 1_700, 2_300] {
        let shadow = Shadow::start(&folder, &url, &[], &[]);
        shadow.process.wait_for(1, "connected");
        // The moment is the test's subject: somewhere in the midst of whatever it does.
        thread::sleep(Duration::from_millis(wait_ms));
        shadow.status();
        let served = shadow.served.take();
        drop(shadow);
        check_served(&log(&folder), &served);
    }
    let shadow = Shadow::start(&folder, &url, &[], &[]);
    shadow.process.wait_for(1, "subscribed");
    shadow.wait_for_clear();
    check_log(&log(&folder), &shadow.stop());
    let boots = count(&log(&folder), "Booted");
    assert!((2..=9).contains(&boots) && count(&log(&folder), "Crashed") == boots - 1, "{boots} boots");
    assert_eq!(venue.lines().iter().filter(|line| line.contains("private/")).count(), 0);
}

#[test]
fn what_can_t_be_fed_is_said() {
    let cases: &[(&[&str], &str)] = &[
        (&["serve", "--feed", "ws://127.0.0.1:1/", "--log", "x.wal"], "--instrument for each instrument"),
        (&["serve", "--feed", "ws://127.0.0.1:1/", "--instrument", "BTC-PERPETUAL"], "--log"),
        (&["serve", "--feed", "http://127.0.0.1:1/", "--log", "x.wal"], "expected ws://HOST:PORT/PATH"),
        (&["serve", "--feed", "ws://me:pass@127.0.0.1:1/", "--log", "x.wal"], "--feed-credentials-env"),
        (&["venue", RECORDING, "--loop", "--speed", "max"], "--loop needs a speed"),
        (&["venue", "README.md"], "README.md"),
    ];
    for (arguments, says) in cases {
        let mut command = program(*arguments);
        command.current_dir(root());
        let found = done(command);
        assert_eq!(found.code, 2, "{arguments:?}");
        assert!(found.err.contains(says), "{arguments:?}: {}", found.err);
    }
}
