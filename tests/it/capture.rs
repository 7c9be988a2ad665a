//! `drillfold evidence capture` against server processes: our own at a pace, and one that answers as badly as it is told to.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use drillfold::{
    contract::tolerance::{Rule, Tolerance},
    evidence::PACK_FILES,
    judge::references::{DrillExpectation, drill},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::project::{Done, done, files_below, program, root, scenario_files};

/// Tells the child its folder.
const FOLDER: &str = "DRILLFOLD_TEST_ANSWERS";

/// What the child serves before the drill is triggered, and after; beside them a file `triggered` appears.
const BEFORE: &str = "before.json";
const AFTER: &str = "after.json";

/// A process that is stopped when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended by itself, or been told to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server process that answers as it is told to; stopped when dropped.
struct Bad {
    _child: Stopped,
    folder: TempDir,
    url: String,
}

impl Bad {
    /// Starts a server. `before` and `after` say how requests are answered until the trigger and from it on: words in a row,
    /// the last of which goes on. See [`answer`].
    fn start(drill: u8, before: &str, after: &str) -> Self {
        let golden = drill_golden(drill);
        let baseline = golden.to_string_lossy().replace(".json", ".baseline.json");
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        fs::copy(baseline, folder.path().join(BEFORE)).expect("a golden");
        fs::copy(golden, folder.path().join(AFTER)).expect("a golden");
        fs::write(folder.path().join("plan"), format!("{before}\n{after}")).expect("the folder can be written");
        let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
            .args(["--exact", "capture::the_child_answers_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be run again");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let _child = Stopped(child);
        let address = lines.find_map(|line| line.strip_prefix("serving ").map(str::to_owned)).expect("it serves");
        Self { _child, folder, url: format!("http://{address}/api/v1/status") }
    }

    /// Changes a document that is served.
    fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.folder.path().join(name);
        let mut document: Value = serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON");
        change(&mut document);
        fs::write(path, document.to_string()).expect("it can be written");
    }

    /// Returns the capture of a drill on it, with a trigger that it obeys.
    fn capture(&self, drill: u8, more: &[&str]) -> Command {
        self.triggered(self.untriggered(drill, more))
    }

    /// Gives a command a trigger that the server obeys.
    fn triggered(&self, mut command: Command) -> Command {
        let mark = self.folder.path().join("triggered");
        command.arg("--trigger").arg(format!("touch '{}'", mark.display()));
        command
    }

    /// As [`Self::capture`], without a trigger.
    fn untriggered(&self, drill: u8, more: &[&str]) -> Command {
        self.untriggered_at(&self.url, drill, more)
    }

    /// As [`Self::untriggered`], with a way to it of its own.
    fn untriggered_at(&self, url: &str, drill: u8, more: &[&str]) -> Command {
        let mut command = program(["evidence", "capture", "--url", url, "--drill", &drill.to_string(), "--out"]);
        command.arg(self.out()).args(more).current_dir(root());
        if !more.contains(&"--poll-ms") {
            command.args(["--poll-ms", "5"]);
        }
        command
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("captured")
    }

    /// Returns the files that were written, as text.
    fn files(&self) -> BTreeMap<String, String> {
        let text = |bytes| String::from_utf8(bytes).expect("files are text");
        files_below(&self.out()).into_iter().map(|(name, bytes)| (name, text(bytes))).collect()
    }

    /// Checks that nothing was written, neither whole nor in part.
    #[track_caller]
    fn has_written_nothing(&self) {
        let names: Vec<String> = files_below(self.folder.path()).into_keys().collect();
        assert!(names.iter().all(|name| !name.contains('/') && !name.starts_with('.')), "{names:?}");
        assert!(!self.out().exists());
    }

    /// How many requests it has seen.
    fn requests(&self) -> usize {
        fs::read(self.folder.path().join("requests")).map_or(0, |marks| marks.len())
    }
}

fn drill_golden(number: u8) -> PathBuf {
    root().join("fixtures/status").join(drill(number).expect("a drill").1)
}

/// The server process: it runs only where a test has started it.
#[test]
fn the_child_answers_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let plan = fs::read_to_string(folder.join("plan")).expect("the parent wrote it");
    let mut plans: Vec<Vec<&str>> = plan.lines().map(|line| line.split(' ').collect()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("\nserving {}", listener.local_addr().expect("an address"));
    let mut requests = fs::File::create(folder.join("requests")).expect("the folder can be written");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a client");
        if read_request(&mut stream).is_none() {
            continue;
        }
        requests.write_all(b"r").expect("it can be written");
        let is_triggered = folder.join("triggered").exists();
        let document = folder.join(if is_triggered { AFTER } else { BEFORE });
        let words = plans.get_mut(usize::from(is_triggered)).expect("two lines");
        let word = if words.len() > 1 { words.remove(0) } else { words[0] };
        answer(&mut stream, word, &fs::read_to_string(document).expect("it is there"));
    }
}

/// Reads a request's head; `None` where the client goes before its end.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        request.push(byte[0]);
    }
    Some(request)
}

/// Answers as a word says; a client that has gone is nothing to it.
fn answer(stream: &mut TcpStream, word: &str, document: &str) {
    let whole = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let bytes = match word {
        "good" => whole("200 OK", document),
        "slow" => {
            thread::sleep(Duration::from_millis(60));
            whole("200 OK", document)
        }
        "silent" => {
            // It ends when the client gives up.
            while stream.read(&mut [0]).unwrap_or(0) > 0 {}
            return;
        }
        "dripping" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
            return;
        }
        "html" => whole("200 OK", "<html>"),
        "list" => whole("200 OK", "[1]"),
        "noise" => "what?\r\n\r\n".to_owned(),
        "hang_up" => return,
        "torn" => {
            let bytes = whole("200 OK", document);
            bytes[..bytes.len() - document.len() / 2].to_owned()
        }
        "huge" => whole("200 OK", &" ".repeat(1024 * 1024 + 1)),
        "redirect" => whole("302 Found\r\nlocation: /elsewhere", ""),
        "unavailable" => whole("503 Service Unavailable", "{}"),
        "die" => std::process::exit(0),
        "die_midway" => {
            let bytes = whole("200 OK", document);
            let _ = stream.write_all(&bytes.as_bytes()[..bytes.len() - document.len() / 2]);
            std::process::exit(0)
        }
        _ => panic!("no such word: {word}"),
    };
    let _ = stream.write_all(bytes.as_bytes());
}

/// Every drill: from Active, over its trigger, to its golden.
#[test]
fn each_drill_is_captured_from_a_running_system() {
    for number in 1..=8 {
        let server = Bad::start(number, "good", "good");
        server.change(AFTER, |document| {
            document["build_id"] = json!("another-build");
            document["ws_event_lag_ms"] = json!(4711);
            document["uptime_s"] = json!(12);
        });
        let found = done(server.capture(number, &["--note", "The fault was injected."]));
        assert_eq!(found.code, 0, "drill {number}: {}{}", found.out, found.err);
        assert!(found.out.contains("holds, written to ") && !found.out.contains("FAIL"), "{}", found.out);
        let files = server.files();
        let mut names = PACK_FILES.to_vec();
        names.sort_unstable();
        assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), names);
        let time: u64 = files["time_to_safe_ms"].trim().parse().expect("a number");
        assert!(time < 60_000, "{time}");
        assert_eq!(files["validation.log"], "VALID observed_status.json\n");
        assert!(files["diff.txt"].contains(" free   build_id: expected \"drill-build-1\", found \"another-build\"\n"));
        assert!(files["diff.txt"].contains(" extra  uptime_s: found 12\n"), "{}", files["diff.txt"]);
        assert!(!files["diff.txt"].contains('!'), "{}", files["diff.txt"]);
        assert!(files["trigger.md"].contains("The fault was injected."), "{}", files["trigger.md"]);
        assert!(files["trigger.md"].contains("touch '"), "{}", files["trigger.md"]);
        assert!(files["notes.md"].contains("Nothing.\n"), "{}", files["notes.md"]);
        let expected: Value = serde_json::from_str(&files["expected_status.json"]).expect("JSON");
        let golden: Value = serde_json::from_slice(&fs::read(drill_golden(number)).expect("a golden")).expect("JSON");
        assert_eq!(expected, golden);
        let observed: Value = serde_json::from_str(&files["observed_status.json"]).expect("JSON");
        assert_eq!(observed["build_id"], "another-build");
    }
}

/// Our own server: the scenario trips while it is watched, and a person is told when the watch begins.
#[test]
fn a_scenario_served_at_a_pace_is_captured() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let scenario = "scenarios/drill_5_ws_book_gap.toml";
    let arguments = ["serve", scenario, "--listen", "127.0.0.1:0", "--speed", "4", "--pause-at", "tripped"];
    let mut server = program(arguments).current_dir(root()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(server.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let _server = Stopped(server);
    let url = format!("http{}", said.next().expect("it serves").split("http").nth(1).expect("an address"));
    // Where it never allows an OPEN, the capture says so.
    for _ in 0..5000 {
        if !blocked(&url) {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let out = folder.path().join("captured");
    let mut command = program(["evidence", "capture", "--url", &url, "--drill", "5", "--poll-ms", "5", "--out"]);
    command.arg(&out).current_dir(root());
    let found = done(command);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    assert!(found.err.starts_with("trigger now: "), "{}", found.err);
    let notes = fs::read_to_string(out.join("notes.md")).expect("it is written");
    assert!(notes.contains("includes the reaction of the person"), "{notes}");
    assert!(notes.contains("More than "), "{notes}");
    let time: u64 = fs::read_to_string(out.join("time_to_safe_ms")).expect("written").trim().parse().expect("a number");
    assert!(time > 0 && time < 60_000, "{time}");
}

/// True where the system refuses an OPEN at this moment, or can't be asked.
fn blocked(url: &str) -> bool {
    let address = url.trim_start_matches("http://").split('/').next().expect("an address");
    let Ok(mut stream) = TcpStream::connect(address) else { return true };
    let sent = write!(stream, "GET /api/v1/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    sent.and_then(|()| stream.read_to_string(&mut answer)).is_err() || !answer.contains("\"Active\"")
}

#[test]
fn a_slow_system_is_captured_and_the_time_is_an_upper_bound() {
    let server = Bad::start(7, "slow", "silent dripping slow");
    let found = done(server.capture(7, &["--timeout", "0.5"]));
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    let files = server.files();
    let time: u64 = files["time_to_safe_ms"].trim().parse().expect("a number");
    // The clock starts with the trigger, so that two requests given up and a slow one lie in it.
    assert!(time >= 1060, "{time}");
    assert!(files["notes.md"].contains("| no answer in time | 2 | "), "{}", files["notes.md"]);
    assert!(files["notes.md"].contains("refuses an OPEN already") || files["notes.md"].contains("More than "));
}

#[test]
fn failures_of_all_kinds_are_counted_and_end_nothing() {
    let server =
        Bad::start(3, "good", "html list noise hang_up torn huge redirect unavailable unavailable silent good");
    let found = done(server.capture(3, &["--timeout", "0.5", "--format", "json"]));
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    let report: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!((&report["schema"], &report["holds"]), (&json!("drillfold/evidence_capture/v1"), &json!(true)));
    let mut counts = BTreeMap::new();
    for failure in report["failures"].as_array().expect("a list") {
        counts.insert(failure["what"].as_str().expect("a word"), failure["count"].as_u64().expect("a count"));
    }
    let expected = [
        ("answer too large", 1),
        ("broken answer", 3),
        ("no JSON object", 2),
        ("no answer in time", 1),
        ("redirect", 1),
        ("status not 200", 2),
    ];
    assert_eq!(counts, BTreeMap::from(expected), "{}", found.out);
    let notes = &server.files()["notes.md"];
    assert!(notes.contains("it redirects (HTTP 302)") && notes.contains("HTTP status 503"), "{notes}");
}

/// The baseline is asked for again, and given up in the end; a redirect at once.
#[test]
fn without_a_status_before_the_trigger_nothing_is_captured() {
    let cases = [
        ("html", 3, "asked 3 times: the answer is not JSON"),
        ("noise", 3, "asked 3 times: "),
        ("torn", 3, "asked 3 times: "),
        ("unavailable", 3, "asked 3 times: HTTP status 503"),
        ("silent", 3, "asked 3 times: no complete answer within 0.1 seconds"),
        ("redirect", 1, "asked once: it redirects (HTTP 302); name the endpoint itself"),
    ];
    for (word, requests, says) in cases {
        let server = Bad::start(2, word, "good");
        // Only silence is given up soon: a busy machine may need time to answer badly.
        let timeout = if word == "silent" { "0.1" } else { "5" };
        let found = done(server.capture(2, &["--retries", "2", "--timeout", timeout]));
        assert_eq!(found.code, 2, "{word}: {}{}", found.out, found.err);
        assert!(found.err.contains(says) && found.out.is_empty(), "{word}: {}", found.err);
        // A request that is given up may be gone before it is read.
        assert!(server.requests() == requests || word == "silent", "{word}: {} requests", server.requests());
        assert!(!server.folder.path().join("triggered").exists(), "{word}: nothing is triggered");
        server.has_written_nothing();
    }
    let server = Bad::start(2, "torn unavailable good", "good");
    let found = done(server.capture(2, &[]));
    assert_eq!(found.code, 0, "it is asked for again: {}{}", found.out, found.err);
}

#[test]
fn a_system_that_blocks_already_or_is_invalid_is_no_beginning() {
    let server = Bad::start(4, "good", "good");
    fs::copy(drill_golden(4), server.folder.path().join(BEFORE)).expect("a golden");
    let found = done(server.capture(4, &[]));
    assert_eq!(found.code, 1, "{}", found.err);
    assert!(found.out.contains("an OPEN is refused already") && found.out.contains("--no-baseline"), "{}", found.out);
    server.has_written_nothing();
    let found = done(server.untriggered(4, &["--no-baseline"]));
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    let notes = &server.files()["notes.md"];
    assert!(notes.contains("counts from the first request") && notes.contains("was not asked before"), "{notes}");

    let server = Bad::start(4, "good", "good");
    server.change(BEFORE, |document| drop(document.as_object_mut().expect("an object").remove("mm_util")));
    let found = done(server.capture(4, &["--format", "json"]));
    let report: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!((found.code, &report["holds"]), (1, &json!(false)), "{}", found.out);
    assert!(report["before"].to_string().contains("[CSP-MIN] required key mm_util is missing"), "{report}");
    server.has_written_nothing();
}

/// It dies in the middle of an answer, and nobody comes back.
#[test]
fn a_system_that_dies_midway() {
    // No status after the trigger: there is nothing to keep.
    let server = Bad::start(6, "good die_midway", "die_midway");
    let found = done(server.capture(6, &["--within", "0.4"]));
    assert_eq!(found.code, 2, "{}", found.out);
    assert!(
        found.err.contains("broken answer (1, first: ") && found.err.contains("connection refused ("),
        "{}",
        found.err
    );
    server.has_written_nothing();

    // It allowed OPENs until it died: that is kept, and holds nothing.
    let server = Bad::start(6, "good", "good good die");
    fs::copy(server.folder.path().join(BEFORE), server.folder.path().join(AFTER)).expect("it is there");
    let found = done(server.capture(6, &["--within", "0.4"]));
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let files = server.files();
    assert_eq!(files["time_to_safe_ms"], "never\n");
    assert!(files["diff.txt"].contains("!equal  trading_mode: expected \"ReduceOnly\", found \"Active\"\n"));
    assert!(files["notes.md"].contains("| connection refused | "), "{}", files["notes.md"]);
    assert_eq!(files["validation.log"], "VALID observed_status.json\n");
}

/// It is killed and another process takes its place, as in drill 4.
#[test]
fn a_restart_is_waited_for() {
    let (dying, heir) = (Bad::start(4, "good", "die"), Bad::start(4, "good", "good"));
    // The second server is reached over the address of the first one only when that is gone.
    let relay = Relay::start(&dying.url, &heir.url);
    fs::copy(drill_golden(4), heir.folder.path().join(BEFORE)).expect("a golden");
    let command = dying.triggered(dying.untriggered_at(&relay.url, 4, &[]));
    let found = done(command);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    assert!(dying.files()["notes.md"].contains("| broken answer | "), "{}", dying.files()["notes.md"]);
}

#[test]
fn what_does_not_hold_is_written_and_said() {
    // Another reason than the drill's.
    let server = Bad::start(5, "good", "good");
    fs::copy(drill_golden(6), server.folder.path().join(AFTER)).expect("a golden");
    let found = done(server.capture(5, &["--within", "0.2"]));
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    assert!(found.out.contains("ok   an OPEN is refused") && found.out.contains("FAIL the status is as expected"));
    let diff = &server.files()["diff.txt"];
    assert!(
        diff.contains("!equal  open_permission_reason_codes: expected [\"WS_BOOK_GAP_RECONCILE_REQUIRED\"]"),
        "{diff}"
    );
    assert!(diff.contains("\n free   "), "{diff}");

    // A bound: the lag is not above the threshold.
    let server = Bad::start(2, "good", "good");
    server.change(AFTER, |document| document["ws_event_lag_ms"] = json!(2999));
    let found = done(server.capture(2, &["--within", "0.2"]));
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let diff = &server.files()["diff.txt"];
    assert!(diff.contains("!bound  ws_event_lag_ms: expected 3200, found 2999; it must be above 3000\n"), "{diff}");

    // A count that was there before the trigger shows nothing.
    let server = Bad::start(7, "good", "good");
    server.change(BEFORE, |document| document["10028_count_5m"] = json!(1));
    let found = done(server.capture(7, &["--within", "0.2"]));
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let diff = &server.files()["diff.txt"];
    assert!(diff.contains("it must be above 1, the value before the trigger"), "{diff}");

    // Keys are missing.
    let server = Bad::start(5, "good", "good");
    server.change(AFTER, |document| {
        let keys = document.as_object_mut().expect("an object");
        keys.remove("mm_util");
        keys.remove("owner_view");
    });
    let found = done(server.capture(5, &["--within", "0.2"]));
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let files = server.files();
    for key in ["mm_util", "owner_view"] {
        assert!(files["validation.log"].contains(&format!("[CSP-MIN] required key {key} is missing\n")));
    }
    assert!(files["validation.log"].ends_with("INVALID observed_status.json (4 findings)\n"), "{files:?}");
}

#[test]
fn a_trigger_that_fails_ends_the_capture() {
    let server = Bad::start(5, "good", "good");
    let found = done({
        let mut command = server.untriggered(5, &[]);
        command.args(["--trigger", "echo unable; exit 3"]);
        command
    });
    assert_eq!((found.code, found.out.as_str()), (2, ""), "{}", found.err);
    assert!(found.err.contains("the trigger failed (exit status: 3)"), "{}", found.err);
    server.has_written_nothing();

    // One that goes on holds the fault in place; it is waited for until the deadline, and left alone.
    let server = Bad::start(5, "good", "good");
    let marks = server.folder.path().display().to_string();
    let mut command = server.untriggered(5, &["--within", "0.3"]);
    let hold = format!("n=0; while [ ! -e '{marks}/over' ] && [ $n -lt 500 ]; do sleep 0.02; n=$((n+1)); done");
    command.args(["--trigger", &format!("touch '{marks}/triggered'; {hold}; touch '{marks}/ended'")]);
    // What it holds open of ours is nothing that this waits for.
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs");
    assert_eq!(status.code(), Some(0));
    let trigger_page = &server.files()["trigger.md"];
    assert!(trigger_page.contains("still running when the capture ended"), "{trigger_page}");
    fs::write(server.folder.path().join("over"), "").expect("the folder can be written");
    while !server.folder.path().join("ended").exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The clock starts when a person is told, and the person triggers then.
#[test]
fn a_person_is_told_when_to_trigger() {
    let server = Bad::start(1, "good", "good");
    let mut command = server.untriggered(1, &["--within", "30"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(said.next().expect("it says so").starts_with("trigger now: http://127.0.0.1:"));
    fs::write(server.folder.path().join("triggered"), "").expect("the folder can be written");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(server.files()["notes.md"].contains("includes the reaction of the person"));
}

#[test]
fn what_can_be_refused_is_refused_before_anything_is_asked() {
    let server = Bad::start(2, "good", "good");
    let refused = |arguments: &[&str], says: &str| {
        let found: Done = done(server.capture(2, arguments));
        assert_eq!((found.code, found.out.as_str()), (2, ""), "{arguments:?}");
        assert!(found.err.contains(says), "{arguments:?}: {}", found.err);
        assert_eq!(server.requests(), 0, "{arguments:?}");
    };
    let folder = server.folder.path();
    let file = |name: &str, text: &str| {
        fs::write(folder.join(name), text).expect("the folder can be written");
        folder.join(name).display().to_string()
    };
    refused(&["--root", &folder.display().to_string()], "name the expected status with --expected");
    refused(&["--expected", "nowhere.json"], "nowhere.json: no such file");
    refused(&["--expected", &file("torn.json", "{")], "torn.json: not JSON");
    refused(&["--expected", &file("part.json", "{\"trading_mode\": \"Kill\"}")], "it lacks status_schema_version, ");
    let own = fs::read_to_string(root().join("specs/status/tolerance.toml")).expect("it is there");
    let unknown = own.replace("mm_util = \"free\"", "mm_utility = \"free\"");
    let line = unknown.lines().position(|line| line.starts_with("mm_utility")).expect("it is there") + 1;
    refused(&["--tolerance", &file("own.toml", &unknown)], &format!("own.toml:{line}: a status document has no key"));
    refused(&["--poll-ms", "0"], "0 is not in");
    refused(&["--within", "0"], "above 0");
    refused(&["--timeout", "never"], "not a number of seconds");
    refused(&["--retries", "11"], "11 is not in");
    fs::create_dir(server.out()).expect("the folder can be written");
    refused(&[], "captured: is there already");
    for drill in ["0", "9", "two"] {
        let arguments = ["evidence", "capture", "--url", &server.url, "--drill", drill];
        assert_eq!(done(program(arguments)).code, 2, "{drill}");
    }
    let found = done(program([
        "evidence",
        "capture",
        "--url",
        "not a url",
        "--drill",
        "2",
        "--root",
        &root().display().to_string(),
    ]));
    assert_eq!(found.code, 2);
    assert!(found.err.contains("asked once: "), "{}", found.err);
}

/// The default folder is below the project's, by the drill's name.
#[test]
fn the_default_folder_and_an_own_tolerance() {
    let copy = crate::project::ProjectCopy::new();
    let server = Bad::start(2, "good", "good");
    server.change(AFTER, |document| document["ws_event_lag_ms"] = json!(1500));
    let own = fs::read_to_string(root().join("specs/status/tolerance.toml")).expect("it is there");
    let tolerance = server.folder.path().join("own.toml");
    fs::write(&tolerance, own.replace("above = 3000", "above = 1000")).expect("the folder can be written");
    let mark = server.folder.path().join("triggered");
    let mut command = copy.drillfold(["evidence", "capture", "--drill", "2", "--poll-ms", "5", "--url", &server.url]);
    command.arg("--tolerance").arg(&tolerance).arg("--trigger").arg(format!("touch '{}'", mark.display()));
    let found = done(command);
    assert_eq!(found.code, 0, "{}{}", found.out, found.err);
    let folder = copy.path().join("evidence/live/drill_2_market_data_stale");
    assert_eq!(files_below(&folder).len(), PACK_FILES.len());
    assert_eq!(files_below(&copy.path().join("evidence/live")).len(), PACK_FILES.len(), "nothing lies beside it");
}

/// Passes each connection on: to the first server as long as that lives, then to the second.
struct Relay {
    url: String,
}

impl Relay {
    fn start(first: &str, second: &str) -> Self {
        let address = |url: &str| url.trim_start_matches("http://").split('/').next().expect("an address").to_owned();
        let (first, second) = (address(first), address(second));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/api/v1/status", listener.local_addr().expect("an address"));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Ok(server) = TcpStream::connect(&first).or_else(|_| TcpStream::connect(&second)) {
                    pass_on(client, server);
                }
            }
        });
        Self { url }
    }
}

/// Passes one request and its answer on, as far as both come.
fn pass_on(mut client: TcpStream, mut server: TcpStream) {
    let Some(request) = read_request(&mut client) else { return };
    let mut answer = Vec::new();
    if server.write_all(&request).is_ok() && server.read_to_end(&mut answer).is_ok() {
        let _ = client.write_all(&answer);
    }
}

/// What the checklist names for a drill is never free, and the drills' names are those of the scenarios.
#[test]
fn the_tolerance_keeps_what_the_checklist_asks_for() {
    let tolerance = Tolerance::built_in().expect("the built-in file");
    for (number, file) in (1..).zip(scenario_files()) {
        let (name, golden) = drill(number).expect("eight drills");
        assert_eq!(file.file_stem().and_then(|stem| stem.to_str()), Some(name));
        let path = root().join(format!("specs/drills/{name}.toml"));
        let expectation =
            DrillExpectation::parse(name, &fs::read_to_string(&path).expect("it is there")).expect("TOML");
        let rules: BTreeMap<String, Rule> = tolerance.for_drill(number).rules.into_iter().collect();
        let asked = &expectation.snapshots["tripped"];
        assert!(!asked.is_empty());
        for key in asked.keys() {
            assert_ne!(rules[key], Rule::Free, "drill {number}: {key}");
        }
        let read = |file: String| -> Value {
            let bytes = fs::read(root().join("fixtures/status").join(file)).expect("a golden");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        let (expected, baseline) = (read(golden.clone()), read(golden.replace(".json", ".baseline.json")));
        let rules = tolerance.for_drill(number);
        assert_eq!(rules.compare(&expected, &expected, Some(&baseline)).to_text(), "", "drill {number}");
        assert!(!rules.compare(&expected, &baseline, Some(&baseline)).holds(), "drill {number}: nothing has happened");
    }
}

#[test]
fn the_page_has_the_table_of_rules() {
    let page = fs::read_to_string(Path::new(root()).join("specs/evidence.md")).expect("it is there");
    let table = Tolerance::built_in().expect("the built-in file").to_table();
    assert!(page.contains(&table), "specs/evidence.md must have this table:\n{table}");
}
