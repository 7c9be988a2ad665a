//! `drillfold serve SCENARIO --log FILE` as a process that is killed again and again and goes on each time.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use drillfold::{
    contract::document::document,
    replay::{Folder, Strides},
    wal::{DecodedLog, read_log},
};
use drillfold_kernel::{
    effect::{Effect, OrderRequest},
    event::Event,
    registry::{OpenPermissionReason, TradingMode},
    units::Seq,
};
use serde_json::Value;

use crate::project::{done, program, root};

/// Kills of each scenario.
const KILLS_EACH: usize = 15;

/// A process that says nothing for so long is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server at work, and the lines that it prints; killed when dropped.
pub struct Serving {
    child: Child,
    lines: Receiver<String>,
    address: Option<String>,
}

impl Serving {
    /// Serves a scenario whose log is kept in a file.
    fn keeping(scenario: &str, log: &Path, speed: &str) -> Self {
        Self::start(&[scenario, "--speed", speed, "--log", log.to_str().expect("the path is text")])
    }

    /// Serves what the arguments say, on a free port.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = program(["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).current_dir(root()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines, address: None }
    }

    /// Waits for a line with `words`; `None` where the process has ended without it.
    pub fn says(&mut self, words: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once("http://") {
                        self.address = rest.split('/').next().map(str::to_owned);
                    }
                    if line.contains(words) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("it did not say {words:?}"),
            }
        }
    }

    /// Returns the status that is served; `None` where none is at the moment.
    pub fn status(&self) -> Option<Value> {
        self.status_after().map(|(_, status)| status)
    }

    /// As [`Self::status`], with the event after which it stands, as the server says.
    fn status_after(&self) -> Option<(Seq, Value)> {
        let host = self.address.as_ref().expect("it has said where it listens");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let seq = head.lines().find_map(|line| line.strip_prefix("x-drillfold-seq: "));
        head.starts_with("HTTP/1.1 200")
            .then(|| (Seq(seq.expect("it says the event").parse().unwrap()), serde_json::from_str(body).unwrap()))
    }

    /// Kills the process, which gets no time for anything.
    fn kill(self) {}

    #[cfg(unix)]
    fn terminate(&self) {
        let told = std::process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A log folded by itself.
pub struct Folded {
    log: DecodedLog,
    /// The status after each event.
    pub statuses: Vec<Option<Value>>,
    states: Vec<String>,
    /// What was sent, in order.
    sent: Vec<OrderRequest>,
    /// Size of the file when it was read.
    size_bytes: u64,
}

impl Folded {
    /// Reads and folds a log.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let log = read_log("the log", &bytes).unwrap_or_else(|error| panic!("{error}"));
        let mut folder = Folder::new(Strides::DRILL);
        let (mut statuses, mut states, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &log.entries {
            folder.step(entry.at, &entry.event).unwrap();
            statuses.push(folder.kernel().status().as_ref().map(document));
            states.push(folder.state().unwrap().to_string());
            sent.extend(folder.effects().iter().filter_map(|effect| match effect {
                Effect::Place(order) => Some((**order).clone()),
                _ => None,
            }));
        }
        Self { log, statuses, states, sent, size_bytes: bytes.len() as u64 }
    }

    /// Returns the status after an event.
    pub fn after(&self, seq: Seq) -> Option<&Value> {
        self.statuses.get(usize::try_from(seq.0.checked_sub(1)?).unwrap())?.as_ref()
    }

    /// Nothing is sent twice; every boot begins latched. Returns how many boots there were.
    #[track_caller]
    pub fn check(&self) -> usize {
        let labels: BTreeSet<&str> = self.sent.iter().map(|order| order.label.as_str()).collect();
        let intents: BTreeSet<_> = self.sent.iter().map(|order| order.intent).collect();
        assert_eq!((labels.len(), intents.len()), (self.sent.len(), self.sent.len()), "something was sent twice");
        let boots = self.log.entries.iter().filter(|entry| matches!(entry.event, Event::Booted(_)));
        let mut count = 0;
        for boot in boots {
            let status = self.after(boot.seq).expect("a booted layer has a status");
            assert_ne!(status["trading_mode"], TradingMode::Active.token());
            assert_eq!(status["open_permission_blocked_latch"], true, "after event {}", boot.seq.0);
            let codes = status["open_permission_reason_codes"].as_array().unwrap();
            let restart = OpenPermissionReason::RestartReconcileRequired.token();
            assert!(codes.iter().any(|code| code == restart), "after event {}: {codes:?}", boot.seq.0);
            count += 1;
        }
        count
    }
}

/// A generator of moments; the moments themselves are the machine's, so no seed repeats a run.
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Source: AT-430; the checklist's drill 4.
#[test]
fn a_killed_server_goes_on_where_its_log_ends_and_sends_nothing_twice() {
    let scenarios = [
        "scenarios/drill_4_crash_restart.toml",
        "scenarios/drill_1_partial_fill.toml",
        "scenarios/drill_7_session_termination.toml",
        "scenarios/drill_5_ws_book_gap.toml",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut moments = Moments(0x9e37_79b9_7f4a_7c15);
    let (mut gone_on, mut in_the_past) = (0, 0);
    for (place, scenario) in scenarios.into_iter().enumerate() {
        let log = folder.path().join(format!("{place}.wal"));
        for _ in 0..KILLS_EACH {
            let before = log.exists().then(|| Folded::read(&log)).filter(|before| !before.log.entries.is_empty());
            let mut serving = Serving::keeping(scenario, &log, "20");
            if moments.below(5) == 0 {
                // Somewhere on its way: while it starts, reads its log or repeats it.
                thread::sleep(Duration::from_millis(moments.below(80)));
                in_the_past += 1;
            } else if let Some(before) = before {
                let last = before.log.entries.last().unwrap().seq;
                let said = serving.says("goes on behind").expect("it goes on");
                let state = &before.states[before.states.len() - 1];
                assert_eq!(said, format!("goes on behind event {}, state {state}", last.0));
                gone_on += 1;
                let is_over = before.log.summary.end.is_some();
                until("the log grows", || is_over || fs::metadata(&log).unwrap().len() > before.size_bytes);
                thread::sleep(Duration::from_millis(moments.below(300)));
            } else {
                serving.says("http://").expect("it listens");
                until("the log has an event", || !Folded::read(&log).log.entries.is_empty());
                thread::sleep(Duration::from_millis(moments.below(300)));
            }
            let served = serving.address.is_some().then(|| serving.status_after()).flatten();
            serving.kill();
            let Some(after) = log.exists().then(|| Folded::read(&log)) else { continue };
            after.check();
            if let Some((seq, served)) = served {
                assert_eq!(after.after(seq), Some(&served), "what was served after event {}", seq.0);
            }
        }
        let mut serving = Serving::keeping(scenario, &log, "max");
        serving.says("the scenario has ended").expect("it comes to its end");
        let served = serving.status();
        serving.kill();
        let whole = Folded::read(&log);
        assert!(whole.log.summary.end.is_some(), "the log of a run that is over is sealed");
        let boots = whole.check();
        // Where a process is killed before it has booted again, the next one boots in its place.
        assert!(boots >= KILLS_EACH / 4, "{boots} boots, killed {KILLS_EACH} times");
        assert_eq!(served.as_ref(), whole.statuses.last().unwrap().as_ref());
        let replayed = done(program(["replay", log.to_str().unwrap()]));
        assert_eq!(replayed.code, 0, "{}", replayed.err);
        // Where the process was killed just before the end none is up there, and there is a sentence in place of a status.
        let mut printed = serde_json::Deserializer::from_str(&replayed.out).into_iter::<Value>();
        assert_eq!(printed.next().and_then(Result::ok), served);
    }
    println!("{} kills, {gone_on} gone on with, {in_the_past} at any moment", KILLS_EACH * scenarios.len());
    assert!(gone_on >= 30 && in_the_past >= 3, "{gone_on} gone on with, {in_the_past} at any moment");
}

#[test]
fn a_run_that_was_never_killed_leaves_the_log_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.wal");
    let mut serving = Serving::keeping("scenarios/drill_2_market_data_stale.toml", &log, "max");
    serving.says("the scenario has ended").expect("it comes to its end");
    serving.kill();
    let committed = read_log("committed", &fs::read(root().join("wal-logs/drill_2_market_data_stale.wal")).unwrap());
    let (kept, committed) = (Folded::read(&log).log, committed.unwrap());
    assert_eq!(kept.summary.event_digest, committed.summary.event_digest);
    assert_eq!(kept.marks, committed.marks);
}

#[test]
fn a_log_of_another_run_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.wal");
    fs::copy(root().join("wal-logs/drill_2_market_data_stale.wal"), &log).unwrap();
    let before = fs::read(&log).unwrap();
    let mut serving = Serving::keeping("scenarios/drill_5_ws_book_gap.toml", &log, "1");
    assert_eq!(serving.says("http://"), None);
    assert_eq!(serving.child.wait().unwrap().code(), Some(2));
    assert!(fs::read(&log).unwrap() == before, "the log has changed");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_stops_cleanly_and_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.wal");
    let scenario = "scenarios/drill_2_market_data_stale.toml";
    let mut serving = Serving::keeping(scenario, &log, "40");
    serving.says("http://").expect("it listens");
    thread::sleep(Duration::from_millis(200));
    serving.terminate();
    let said = serving.says("stopped after event").expect("it says where it stopped");
    assert!(serving.child.wait().unwrap().success());
    let stopped = Folded::read(&log);
    let last = stopped.log.entries.last().unwrap().seq;
    assert_eq!(said, format!("stopped after event {}; nothing is served any more", last.0));
    assert!(stopped.log.summary.end.is_none(), "it is not over");
    let mut serving = Serving::keeping(scenario, &log, "max");
    serving.says(&format!("goes on behind event {}", last.0)).expect("it goes on");
    serving.says("the scenario has ended").expect("it comes to its end");
    serving.terminate();
    assert!(serving.child.wait().unwrap().success());
    assert_eq!(Folded::read(&log).check(), 2);
}
