//! Bad scenarios through the program: exit code 2, file, line and column, what was expected; never a panic.

use crate::project::{Done, ProjectCopy, done};

/// The drill that is spoilt.
const FILE: &str = "scenarios/drill_2_market_data_stale.toml";

/// Stands in an edit where the error is to be found; it is taken out again.
const PLACE: char = '§';

/// One bad scenario.
struct Case {
    /// What is wrong, in a word or two.
    what: &'static str,
    /// Text that stands in the file once.
    from: &'static str,
    /// What stands there then, with [`PLACE`] in it.
    to: &'static str,
    /// The error's code.
    code: &'static str,
    /// What the message says, what was expected included.
    says: &'static [&'static str],
}

const fn case(
    what: &'static str,
    from: &'static str,
    to: &'static str,
    code: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case { what, from, to, code, says }
}

const CASES: &[Case] = &[
    case("no TOML", "seed = 2\n", "seed = §= 2\n", "SCN0001", &[]),
    case("unclosed text", "title = \"Market data stale\"", "title = \"Market data stale§", "SCN0001", &[]),
    case("unknown key", "seed = 2\n", "§sead = 2\n", "SCN0002", &["sead", "expected", "seed"]),
    case(
        "unknown key in a step",
        "says = \"the venue stops sending market data\"\ndo.stop",
        "§sayz = \"x\"\ndo.stop",
        "SCN0002",
        &["sayz", "expected", "says"],
    ),
    case("unknown action", "do.resume_market_data", "do.§resume_data", "SCN0005", &["resume_data", "expected"]),
    case("missing key", "seed = 2\n", "", "SCN0003", &["seed"]),
    case("wrong type", "drill = 2\n", "drill = §\"two\"\n", "SCN0004", &["expected"]),
    case("number for a duration", "duration = \"95s\"", "duration = §95", "SCN0004", &["expected"]),
    case("other version", "drillfold/scenario/v1", "drillfold/scenario/v9", "SCN0006", &["drillfold/scenario/v1"]),
    case(
        "name differs",
        "name = \"drill_2_market_data_stale\"",
        "name = §\"drill_2_other\"",
        "SCN0008",
        &["drill_2_market_data_stale"],
    ),
    case("unusable name", "name = \"recovering\"", "name = §\"Re covering\"", "SCN0007", &["Re covering"]),
    case("number of a drill", "drill = 2\n", "drill = §9\n", "SCN0009", &["8"]),
    case("negative seed", "seed = 2\n", "seed = §-2\n", "SCN0010", &["-2"]),
    case(
        "not a duration",
        "at = \"10s\"\ntrigger = true\nsays = \"the venue stops sending market data\"\ndo.stop_market_data = {}\n\n[[step]]",
        "at = §\"10 parsecs\"\ntrigger = true\nsays = \"x\"\ndo.stop_market_data = {}\n\n[[step]]",
        "SCN0012",
        &["10 parsecs", "ms"],
    ),
    case("no time at all", "duration = \"95s\"", "duration = §\"0s\"", "SCN0013", &[]),
    case("out of range", "levels = 5", "levels = §100000", "SCN0014", &["100000", "1000"]),
    case(
        "unknown configuration",
        "ws_stale_threshold_ms = 3000",
        "§ws_stale_treshold_ms = 3000",
        "SCN0015",
        &["ws_stale_treshold_ms", "ws_stale_threshold_ms"],
    ),
    case(
        "unusable configuration",
        "ws_stale_threshold_ms = 3000",
        "ws_stale_threshold_ms = §\"soon\"",
        "SCN0016",
        &["ws_stale_threshold_ms"],
    ),
    case("time going backwards", "at = \"+6s\"", "at = §\"6s\"", "SCN0017", &[]),
    case("step after the end", "at = \"+6s\"", "at = §\"+600s\"", "SCN0018", &[]),
    case("two triggers", "at = \"+6s\"\n", "at = \"+6s\"\ntrigger = §true\n", "SCN0019", &[]),
    case("snapshot after the end", "at = \"60s\"", "at = §\"600s\"", "SCN0021", &[]),
    case("snapshot twice", "name = \"recovering\"", "name = §\"baseline\"", "SCN0022", &["baseline"]),
    case("snapshot never reached", "when = \"ws_event_lag_ms == 3200\"", "when = §\"1 == 2\"", "SCN0023", &[]),
    case(
        "snapshot with two moments",
        "at = \"60s\"",
        "at = \"60s\"\nwhen = \"trading_mode == 'Active'\"",
        "SCN0024",
        &["at", "when"],
    ),
    case(
        "unknown end of a range",
        "from = \"tripped\"\nto = \"recovering\"",
        "from = §\"triped\"\nto = \"recovering\"",
        "SCN0025",
        &["triped", "tripped"],
    ),
    case(
        "range backwards",
        "from = \"tripped\"\nto = \"recovering\"",
        "from = §\"recovering\"\nto = \"tripped\"",
        "SCN0026",
        &[],
    ),
    case("criterion", "criterion = \"lag-is-true\"", "criterion = §\"Lag Is True\"", "SCN0029", &["Lag Is True"]),
    case(
        "broken expression",
        "always = \"ws_event_lag_ms == since_trigger_ms\"",
        "always = \"ws_event_lag_ms == §\"",
        "SCN0030",
        &[],
    ),
    case(
        "unknown name in an expression",
        "always = \"ws_event_lag_ms == since_trigger_ms\"",
        "always = \"§ws_event_lag == since_trigger_ms\"",
        "SCN0030",
        &["ws_event_lag", "ws_event_lag_ms"],
    ),
    case(
        "wrong type in an expression",
        "always = \"ws_event_lag_ms == since_trigger_ms\"",
        "always = \"§ws_event_lag_ms\"",
        "SCN0030",
        &[],
    ),
    case(
        "unknown token",
        "when = \"!open_permission_blocked_latch\"",
        "when = 'trading_mode == §\"Aktive\"'",
        "SCN0031",
        &["Aktive", "Active"],
    ),
    case(
        "two things asked at once",
        "always = \"ws_event_lag_ms == since_trigger_ms\"",
        "always = \"true\"\nnever = \"false\"",
        "SCN0032",
        &["always"],
    ),
    case(
        "variant twice",
        "[[variant]]\nname = \"real_threshold\"",
        "[[variant]]\nname = \"real_threshold\"\nshows = \"x\"\n[[variant]]\nname = §\"real_threshold\"",
        "SCN0033",
        &["real_threshold"],
    ),
    case("empty text", "title = \"Market data stale\"", "title = §\"\"", "SCN0041", &[]),
    case(
        "recording elsewhere",
        "[world.market]\n",
        "[world]\nrecording = §\"../../etc/passwd\"\n[world.market]\n",
        "SCN0039",
        &[],
    ),
    case(
        "unknown input to withhold",
        "[world.market]\n",
        "[world]\nwithhold = [§\"nothing\"]\n[world.market]\n",
        "SCN0005",
        &["nothing", "expected"],
    ),
    case("too exact a number", "delta_limit = 100\n", "delta_limit = §0.0000000001\n", "SCN0016", &["delta_limit"]),
];

#[test]
fn each_kind_is_refused_with_its_place() {
    let copy = ProjectCopy::new();
    let path = copy.path().join(FILE);
    let good = std::fs::read_to_string(&path).expect("the drill is there");
    let mut wrong = Vec::new();
    for case in CASES {
        assert!(good.contains(case.from), "{}: the drill has no {:?}", case.what, case.from);
        let marked = good.replacen(case.from, case.to, 1);
        let place = marked.find(PLACE).map(|place| {
            let before = &marked[..place];
            let line = before.matches('\n').count() + 1;
            (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
        });
        std::fs::write(&path, marked.replace(PLACE, "")).expect("the copy can be written");
        let Done { code, out, err } = done(copy.drillfold(["run", FILE]));
        let shown = place.map_or_else(|| format!("{FILE}:"), |(line, column)| format!("{FILE}:{line}:{column}"));
        let says_place = err.lines().any(|line| {
            line.trim_start().strip_prefix("--> ").is_some_and(|at| {
                at == shown
                    || place.is_none() && at.strip_prefix(&shown).is_some_and(|rest| rest.split(':').count() == 2)
            })
        });
        let missing: Vec<_> = case.says.iter().filter(|word| !err.contains(**word)).collect();
        let has_code = err.contains(&format!("[{}]", case.code));
        if code != 2 || !out.is_empty() || !says_place || !missing.is_empty() || !has_code {
            wrong.push(format!(
                "## {} ({} at {shown}): exit code {code}, lacks {missing:?}, place {says_place}\n{out}{err}",
                case.what, case.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    let kinds: std::collections::BTreeSet<&str> = CASES.iter().map(|case| case.code).collect();
    assert!(kinds.len() >= 25, "only {} kinds", kinds.len());
}

/// Whatever a scenario file is cut or spoilt to, the program ends with an exit code.
#[test]
fn no_cut_and_no_doubled_line_panics() {
    let copy = ProjectCopy::new();
    let path = copy.path().join(FILE);
    let good = std::fs::read_to_string(&path).expect("the drill is there");
    let lines: Vec<&str> = good.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()).step_by(3) {
        for changed in [
            lines[..number].join("\n"),
            [&lines[..number], &lines[number + 1..]].concat().join("\n"),
            [&lines[..=number], &lines[number..]].concat().join("\n"),
        ] {
            std::fs::write(&path, changed).expect("the copy can be written");
            let found = done(copy.drillfold(["run", "--dry-run", FILE]));
            assert!(found.code == 0 || found.code == 2, "line {}: {line}: {}", number + 1, found.err);
        }
    }
}

#[test]
fn what_is_no_scenario_is_said() {
    let copy = ProjectCopy::new();
    std::fs::write(copy.path().join("latin.toml"), [0xe4, 0x3d]).expect("the copy can be written");
    for (arguments, says) in [
        (vec!["run", "nowhere.toml"], "nowhere.toml"),
        (vec!["run", "fixtures"], "fixtures"),
        (vec!["run", "latin.toml"], "latin.toml"),
        (vec!["run", "--filter", "nobody"], "drillfold list"),
        (vec!["run", "--seeds", "9..3"], "A below B"),
        (vec!["run", "--jobs", "0"], "--jobs"),
        (vec!["run", "--seed", "1", "--update"], "--update"),
        (vec!["run", "--nothing"], "--nothing"),
        (vec!["nothing"], "nothing"),
    ] {
        let found = done(copy.drillfold(&arguments));
        assert_eq!(found.code, 2, "{arguments:?}: {}{}", found.out, found.err);
        assert!(found.err.contains(says), "{arguments:?}: {}", found.err);
    }
    let mut command = copy.drillfold(["run", "--update"]);
    command.env("CI", "true");
    let refused = done(command);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("--update is refused where CI is set"), "{}", refused.err);
}
