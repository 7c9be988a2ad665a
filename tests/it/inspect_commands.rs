//! `replay --at`, `explain`, `bisect`, `diff`, `check` at the command line: output, errors, exit codes.

use std::{fs, path::Path};

use serde_json::Value;

use crate::project::{Done, done, program, root};

fn log(name: &str) -> String {
    root().join("wal-logs").join(name).display().to_string()
}

fn drillfold(arguments: &[&str]) -> Done {
    done(program(arguments))
}

#[track_caller]
fn json(arguments: &[&str], code: i32) -> Value {
    let found = drillfold(arguments);
    assert_eq!(found.code, code, "{}{}", found.out, found.err);
    serde_json::from_str(&found.out).expect("it is JSON")
}

#[track_caller]
fn refused(arguments: &[&str], code: i32, says: &[&str]) {
    let found = drillfold(arguments);
    assert_eq!(found.code, code, "{}{}", found.out, found.err);
    for part in says {
        assert!(found.err.contains(part), "{part:?} is missing:\n{}", found.err);
    }
}

#[test]
fn a_place_can_be_written_in_four_ways() {
    let log = log("drill_5_ws_book_gap.wal");
    for place in ["615", "2026-01-05T09:00:10.083Z", "@1767603610083", "+10.083s"] {
        let found = json(&["replay", &log, "--at", place, "--format", "json"], 0);
        assert_eq!((&found["seq"], &found["at_ms"]), (&615.into(), &1_767_603_610_083_i64.into()), "{place}");
        assert_eq!(found["status"]["open_permission_blocked_latch"], true, "{place}");
    }
    refused(&["replay", &log, "--at", "soon"], 2, &["expected an event's number"]);
    refused(&["replay", &log, "--at", "99999"], 2, &["there is no event 99999: the log's last is 2380"]);
    assert!(drillfold(&["replay", &log, "--at", "0"]).out.starts_with("no process was up"));
}

#[test]
fn what_replay_prints_leads_from_one_form_to_another() {
    let log = log("drill_5_ws_book_gap.wal");
    let timeline = json(&["replay", &log, "--timeline", "--format", "json"], 0);
    let lines = timeline["lines"].as_array().unwrap();
    let triggers: Vec<&Value> = lines.iter().filter(|line| line["mark"] == "trigger").collect();
    assert_eq!(triggers.len(), 1);
    let people = drillfold(&["replay", &log, "--timeline"]).out;
    assert_eq!(people.lines().filter(|line| line.starts_with("    ") && line.contains("Z  ")).count(), lines.len());
    let statuses = drillfold(&["replay", &log, "--status-every", "500", "--format", "jsonl"]).out;
    let seqs: Vec<u64> =
        statuses.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [500, 1000, 1500, 2000]);
}

#[test]
fn a_written_trace_is_that_of_the_run_and_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("x.wal");
    fs::copy(log("drill_5_ws_book_gap.wal"), &copy).unwrap();
    let (copy, trace) = (copy.display().to_string(), folder.path().join("x.trace").display().to_string());
    let strides = ["--checkpoint-stride", "256", "--image-stride", "4096"];
    let written = drillfold(&[&["replay", &copy, "--write-trace", &trace], &strides[..]].concat());
    assert_eq!(written.code, 0, "{}", written.err);
    assert_eq!(fs::read(&trace).unwrap(), fs::read(log("drill_5_ws_book_gap.trace")).unwrap());
    assert_eq!(drillfold(&["check", &copy]).code, 0);
    refused(&["replay", &copy, "--write-trace", &trace], 2, &["x.trace"]);
}

#[test]
fn a_run_that_differs_offers_the_command_that_finds_the_event() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("x.wal");
    fs::copy(log("drill_5_ws_book_gap.wal"), &copy).unwrap();
    // The trace of another drill with the first one's header fields would be refused; a changed chain is found.
    let mut trace = fs::read(log("drill_5_ws_book_gap.trace")).unwrap();
    change_first_chain(&mut trace);
    fs::write(folder.path().join("x.trace"), &trace).unwrap();
    let copy = copy.display().to_string();
    let differs = drillfold(&["replay", &copy]);
    assert_eq!(differs.code, 1);
    assert!(differs.out.contains("same until event 0, different at event 256: chain"), "{}", differs.out);
    assert!(differs.out.contains(&format!("drillfold bisect {copy}")), "{}", differs.out);
    assert_eq!(drillfold(&["check", &copy]).code, 1);
}

/// Changes the chain hash of the first checkpoint and makes its frame sound again.
fn change_first_chain(trace: &mut [u8]) {
    const CHECKPOINT: [u8; 4] = [0x01, 0x71, 1, 0];
    let kind = trace.windows(4).position(|bytes| bytes == CHECKPOINT).unwrap();
    let start = kind - 8;
    let length = u32::from_le_bytes(trace[start + 4..start + 8].try_into().unwrap()) as usize;
    let frame = start..start + 28 + length;
    trace[start + 28] ^= 1;
    let checksum = crc32c::crc32c(&trace[frame.start + 4..frame.end]);
    trace[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn explain_prints_the_way_from_the_mode_to_the_trigger() {
    let log = log("drill_5_ws_book_gap.wal");
    let found = drillfold(&["explain", &log, "--at", "615"]);
    assert_eq!(found.code, 0, "{}", found.err);
    let chain = found.out.lines().find(|line| line.contains(" <- ")).unwrap();
    let parts: Vec<&str> = chain.trim().split(" <- ").collect();
    assert_eq!(
        parts[..4],
        [
            "ReduceOnly",
            "REDUCEONLY_OPEN_PERMISSION_LATCHED",
            "WS_BOOK_GAP_RECONCILE_REQUIRED",
            "gap in a feed of BTC-PERPETUAL"
        ]
    );
    assert!(parts[4].starts_with("event 615 (BookChanged: BTC-PERPETUAL, change "), "{chain}");
    assert_eq!(parts[5], "trigger (the network loses the next book change of the perpetual)");
    let program = json(&["explain", &log, "--at", "615", "--format", "json"], 0);
    assert_eq!(program["explanation"]["codes"][0]["raised"]["seq"], 615);
    assert!(drillfold(&["explain", &log, "--at", "0"]).out.contains("no process was up"));
}

#[test]
fn bisect_by_condition_answers_with_exit_codes() {
    let log = log("drill_3_wal_backpressure.wal");
    let found = json(&["bisect", &log, "--when", "wal_queue_enqueue_failures > 0", "--format", "json"], 1);
    assert_eq!(found["found"]["values"][0]["before"], "0");
    let never = drillfold(&["bisect", &log, "--when", "wal_queue_depth > 1000000"]);
    assert_eq!(never.code, 0);
    assert!(never.out.contains("it holds after none of the "), "{}", never.out);
    refused(
        &["bisect", &log, "--when", "wal_queue_dept > 1"],
        2,
        &["unknown name `wal_queue_dept`", "wal_queue_depth", "^^^"],
    );
}

#[test]
fn what_can_not_be_compared_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let sound = log("drill_5_ws_book_gap.wal");
    let copy = folder.path().join("alone.wal");
    fs::copy(&sound, &copy).unwrap();
    let alone = copy.display().to_string();
    refused(&["bisect", &alone], 2, &["alone.wal", "--trace", "--against"]);
    refused(&["check", &alone], 125, &["no trace beside it"]);
    let other = log("drill_3_wal_backpressure.trace");
    refused(&["replay", &sound, "--trace", &other], 2, &["it was made of another log"]);
    refused(&["bisect", &sound, "--against", "no/such/binary"], 2, &["no/such/binary", "could not be started"]);
    let shell = if Path::new("/bin/false").exists() { "/bin/false" } else { "/usr/bin/false" };
    refused(&["bisect", &sound, "--against", shell], 2, &[shell, "is it a drillfold"]);
    let silent = shell.replace("false", "true");
    refused(&["bisect", &sound, "--against", &silent], 2, &["drillfold"]);
}

#[test]
fn damaged_and_foreign_logs_are_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(log("drill_5_ws_book_gap.wal")).unwrap();
    let path = folder.path().join("x.wal");
    let shown = path.display().to_string();
    let mut damaged = bytes.clone();
    let middle = bytes.len() / 2;
    damaged[middle] ^= 1;
    let mut newer = bytes.clone();
    newer[8] = 99;
    for (bytes, says) in
        [(damaged, "x.wal: byte "), (newer, "99"), (b"not a log".to_vec(), "x.wal"), (Vec::new(), "x.wal")]
    {
        fs::write(&path, bytes).unwrap();
        for command in [
            &["replay"][..],
            &["replay", "--timeline"],
            &["explain"],
            &["bisect", "--when", "ticks < 0"],
            &["replay", "--heavy"],
        ] {
            let arguments: Vec<&str> = [command[0], &shown].into_iter().chain(command[1..].iter().copied()).collect();
            refused(&arguments, 2, &[says]);
        }
        refused(&["diff", &shown, &log("drill_5_ws_book_gap.wal")], 2, &[says]);
        refused(&["check", &shown], 125, &[]);
    }
}

#[test]
fn documents_and_logs_are_compared_by_their_kind() {
    let fixtures = root().join("fixtures/status");
    let files: Vec<String> = fs::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|path| path.ends_with(".json"))
        .collect();
    let (first, second) = (&files[0], &files[1]);
    assert_eq!(drillfold(&["diff", first, first]).code, 0);
    let differs = drillfold(&["diff", first, second]);
    assert_eq!(differs.code, 1, "{}", differs.err);
    assert!(differs.out.contains(": expected "), "{}", differs.out);
    let log = log("drill_5_ws_book_gap.wal");
    assert_eq!(drillfold(&["diff", &log, &log]).code, 0);
    refused(&["diff", first, &log], 2, &["different kinds"]);
}
