use serde_json::json;

use super::*;
use crate::contract::{tolerance::Tolerance, validator::tests::active};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A status of drill 5 after its trigger.
fn latched() -> Value {
    let golden = include_str!("../../../fixtures/status/ws_book_gap.json");
    serde_json::from_str(golden).expect("a golden document")
}

fn expectation() -> Expectation {
    let tolerance = Tolerance::built_in().expect("the built-in file").for_drill(5);
    Expectation::new(latched(), tolerance).expect("the built-in schema")
}

fn answer(document: Value) -> Answer {
    Answer::Document(document)
}

fn failed(kind: FailureKind) -> Answer {
    Answer::Failed { kind, reason: format!("for example {}", kind.word()) }
}

/// Another latch than the expected one: safe, and not as expected.
fn otherwise() -> Value {
    let mut document = latched();
    document["open_permission_reason_codes"] = json!(["WS_TRADES_GAP_RECONCILE_REQUIRED"]);
    document
}

/// Tells a watch that starts at 1000 ms and has a second of the answers, each asked and received at these times from its
/// start. Returns what was captured, and after how many answers it was content.
fn watched(answers: &[(u64, u64, Answer)]) -> (Option<Captured>, Option<usize>) {
    let expectation = expectation();
    let baseline = active();
    let mut watch = Watch::begin(&expectation, Some(&baseline), at(1000), at(1000));
    let mut content = None;
    for (place, (asked, received, answer)) in answers.iter().enumerate() {
        let poll = Poll { asked: at(1000 + asked), received: at(1000 + received), answer: answer.clone() };
        if watch.take(poll) {
            content = Some(place + 1);
            break;
        }
    }
    (watch.finish().ok(), content)
}

#[test]
fn time_to_safe_lies_between_the_last_yes_and_the_first_no() {
    let (captured, content) =
        watched(&[(0, 4, answer(active())), (50, 53, answer(active())), (100, 107, answer(latched()))]);
    let captured = captured.expect("it is captured");
    assert_eq!(content, Some(3));
    assert!(captured.holds(), "{}", captured.comparison.to_text());
    assert_eq!(captured.safe, Some(Safe { received: at(107), allowed: Some(at(50)) }));
    assert_eq!((captured.requests, captured.relapses, captured.time_to_safe_ms()), (3, 0, Some(107)));
}

#[test]
fn what_is_safe_counts_from_the_first_and_what_is_expected_may_come_later() {
    let (captured, content) = watched(&[
        (0, 4, answer(active())),
        (10, 14, answer(otherwise())),
        (20, 24, answer(otherwise())),
        (30, 34, answer(latched())),
    ]);
    let captured = captured.expect("it is captured");
    assert_eq!((content, captured.holds()), (Some(4), true));
    assert_eq!((captured.time_to_safe_ms(), captured.observed_at), (Some(14), at(34)));
}

#[test]
fn a_refusal_that_is_lifted_does_not_count() {
    let (captured, content) = watched(&[
        (0, 4, answer(otherwise())),
        (10, 14, answer(active())),
        (20, 24, failed(FailureKind::Refused)),
        (30, 34, answer(latched())),
    ]);
    let captured = captured.expect("it is captured");
    assert_eq!((content, captured.relapses), (Some(4), 1));
    assert_eq!(captured.safe, Some(Safe { received: at(34), allowed: Some(at(10)) }));

    let (captured, content) = watched(&[(0, 4, answer(otherwise())), (10, 14, answer(active()))]);
    let captured = captured.expect("it is captured");
    assert_eq!((content, captured.safe, captured.holds()), (None, None, false));
    assert_eq!((captured.time_to_safe_ms(), captured.allowed), (None, Some(at(10))));
}

#[test]
fn failures_are_counted_and_end_nothing() {
    let kinds = [
        FailureKind::Refused,
        FailureKind::TimedOut,
        FailureKind::Broken,
        FailureKind::Redirected,
        FailureKind::Status,
        FailureKind::TooLarge,
        FailureKind::NotJson,
    ];
    let mut answers: Vec<(u64, u64, Answer)> = Vec::new();
    for (place, kind) in (0_u64..).zip(kinds) {
        answers.push((place * 20, place * 20 + 1, failed(kind)));
        answers.push((place * 20 + 10, place * 20 + 11, failed(kind)));
    }
    assert!(watched(&answers).0.is_none(), "no status ever came");
    answers.push((500, 501, answer(latched())));
    let (captured, content) = watched(&answers);
    let captured = captured.expect("it is captured");
    assert_eq!((content, captured.requests), (Some(15), 15));
    for (place, kind) in (0_u64..).zip(kinds) {
        let expected = Failures {
            count: 2,
            first: format!("for example {}", kind.word()),
            first_at: at(place * 20 + 1),
            last_at: at(place * 20 + 11),
        };
        assert_eq!(captured.failures.get(&kind), Some(&expected), "{kind:?}");
    }
    assert_eq!(captured.safe, Some(Safe { received: at(501), allowed: None }));
}

#[test]
fn what_does_not_say_is_neither_safe_nor_a_relapse() {
    let mut unclear = active();
    unclear.as_object_mut().expect("an object").remove("trading_mode");
    let (captured, content) =
        watched(&[(0, 4, answer(otherwise())), (10, 14, answer(unclear.clone())), (20, 24, answer(latched()))]);
    let captured = captured.expect("it is captured");
    assert_eq!((content, captured.time_to_safe_ms(), captured.relapses), (Some(3), Some(4), 0));
    assert!(captured.failures[&FailureKind::Unclear].first.starts_with("trading_mode missing, "));

    let captured = watched(&[(0, 4, answer(unclear))]).0.expect("it is captured");
    assert_eq!((captured.holds(), captured.safe), (false, None));
    assert!(captured.findings.iter().any(|finding| finding.to_string().contains("trading_mode is missing")));
}

#[test]
fn an_invalid_status_is_not_content_and_is_kept_when_the_time_is_over() {
    let mut invalid = latched();
    invalid["policy_age_sec"] = json!("young");
    let (captured, content) = watched(&[(0, 4, answer(invalid.clone())), (10, 14, answer(invalid.clone()))]);
    let captured = captured.expect("it is captured");
    assert_eq!((content, captured.holds(), captured.time_to_safe_ms()), (None, false, Some(4)));
    assert_eq!((captured.observed, captured.observed_at), (invalid, at(14)));
    assert!(captured.comparison.holds());
}

#[test]
fn the_deadline_ends_it() {
    for (received, counts) in [(999, true), (1000, false), (1500, false)] {
        let (captured, content) = watched(&[(0, 4, answer(active())), (990, received, answer(latched()))]);
        let captured = captured.expect("it is captured");
        assert_eq!(content, Some(2));
        assert_eq!((captured.holds(), captured.requests), (counts, 1 + u64::from(counts)), "{received}");
    }
}

#[test]
fn a_baseline_must_be_valid_and_allow() {
    let expectation = expectation();
    assert_eq!(expectation.bad_baseline(&active()), None);
    assert_eq!(expectation.bad_baseline(&latched()), Some(BadBaseline::Blocked));
    let mut invalid = active();
    invalid.as_object_mut().expect("an object").remove("mm_util");
    assert!(matches!(expectation.bad_baseline(&invalid), Some(BadBaseline::Invalid(findings)) if findings.len() >= 2));
}

#[test]
fn bytes_are_an_object_or_a_failure() {
    assert_eq!(Answer::of_bytes(b"{\"a\": 1}"), Answer::Document(json!({"a": 1})));
    for bytes in [&b""[..], b"<html>", b"[]", b"null", b"{", b"\xff\xfe", b"{} {}"] {
        let is_failure = matches!(Answer::of_bytes(bytes), Answer::Failed { kind: FailureKind::NotJson, .. });
        assert!(is_failure, "{bytes:?}");
    }
}

fn record(trigger: Trigger, has_baseline: bool) -> Record {
    Record {
        name: "drill_5_ws_book_gap".to_owned(),
        url: "http://localhost/status".to_owned(),
        note: Some("Dropped one packet.\n".to_owned()),
        trigger,
        started: "2026-01-05T09:00:00.000Z".to_owned(),
        has_baseline,
        expected: "golden.json".to_owned(),
        tolerance: "built in".to_owned(),
        within: at(1000),
        poll: at(50),
        timeout: at(5000),
    }
}

#[test]
fn the_seven_files_say_what_was_seen() {
    let mut own = latched();
    own["uptime_s"] = json!(4);
    let captured =
        watched(&[(0, 4, failed(FailureKind::TimedOut)), (50, 53, answer(active())), (100, 107, answer(own))])
            .0
            .expect("it is captured");
    let command = Trigger::Command { command: "drop one\nreport".to_owned(), took: Some(at(12)) };
    let pack = captured_pack(&record(command, true), &expectation(), &captured);
    let names: Vec<&str> = pack.keys().map(String::as_str).collect();
    let mut expected = super::super::PACK_FILES.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let text = |name: &str| String::from_utf8(pack[name].clone()).expect("text");
    assert_eq!(text("time_to_safe_ms"), "107\n");
    assert_eq!(text("validation.log"), "VALID observed_status.json\n");
    assert_eq!(text("diff.txt"), " extra  uptime_s: found 4\n");
    assert_eq!(text("expected_status.json"), to_text(&latched()));
    let trigger = text("trigger.md");
    for says in
        ["    drop one\n    report\n", "exit code 0 after 12 ms", "Dropped one packet.", "2026-01-05T09:00:00.000Z"]
    {
        assert!(trigger.contains(says), "{says}: {trigger}");
    }
    let notes = text("notes.md");
    for says in [
        "The capture **holds**",
        "At most 107 ms",
        "More than 50 ms",
        "| no answer in time | 1 | 4 | 4 |",
        "does not have: uptime_s.",
    ] {
        assert!(notes.contains(says), "{says}: {notes}");
    }
    assert!(!notes.contains("reaction"), "{notes}");
}

#[test]
fn the_notes_say_what_weakens_the_time() {
    let captured = watched(&[(0, 4, answer(active()))]).0.expect("it is captured");
    let notes = |trigger, has_baseline| {
        let pack = captured_pack(&record(trigger, has_baseline), &expectation(), &captured);
        assert_eq!(pack["time_to_safe_ms"], b"never\n");
        String::from_utf8(pack["notes.md"].clone()).expect("text")
    };
    let person = notes(Trigger::Person, true);
    assert!(person.contains("includes the reaction of the person"), "{person}");
    assert!(person.contains("does **not** hold") && person.contains("Never:"), "{person}");
    let unknown = notes(Trigger::Unknown, false);
    assert!(unknown.contains("counts from the first request") && unknown.contains("was not asked before"), "{unknown}");
}

#[test]
fn an_upper_bound_is_rounded_up() {
    assert_eq!(ms_up(Duration::from_micros(1)), 1);
    assert_eq!(ms_up(Duration::from_micros(1000)), 1);
    assert_eq!(ms_up(Duration::from_micros(1001)), 2);
    assert_eq!(ms_up(Duration::ZERO), 0);
}
