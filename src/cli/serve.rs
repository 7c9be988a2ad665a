//! `drillfold serve`: a scenario at a chosen pace, its status over HTTP.

use std::{io::Write, net::SocketAddr, path::PathBuf, thread, time::Duration};

use drillfold_kernel::{
    event::Event,
    status::Status,
    units::{Seq, TimeMs},
};
use serde_json::Value;

use super::{EXIT_HOLDS, project::Project, run::recording};
use crate::{
    contract::document::{document, to_text},
    judge::run::run_shown,
    replay::Folder,
    scenario::model::Scenario,
    serve::{Board, Limits, Server, Shown},
    wal::{Clock as _, SystemClock},
};

/// Options of `drillfold serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The scenario's file
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// Serve this variant of it
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Simulated seconds a second, or "max"
    #[arg(long, value_name = "N", default_value = "1")]
    speed: Speed,
    /// Stop the simulation at this snapshot and go on serving its status
    #[arg(long, value_name = "SNAPSHOT")]
    pause_at: Option<String>,
}

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speed {
    /// So many simulated seconds a second.
    Times(u32),
    /// As fast as it can.
    Max,
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times > 0 => Ok(Self::Times(times)),
            Ok(_) | Err(_) => Err("give a whole number from 1, or max".to_owned()),
        }
    }
}

/// Carries out `drillfold serve`. It ends when it is told to by a signal.
///
/// # Errors
/// A scenario that can't be read or run, a variant or snapshot that it has not, an address that can't be listened on.
pub fn serve(project: &Project, args: &ServeArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let scenario = chosen(project, args)?;
    if let Some(name) = &args.pause_at
        && !scenario.snapshots.iter().any(|snapshot| snapshot.name == *name)
    {
        let known: Vec<&str> = scenario.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        anyhow::bail!("{} has no snapshot {name:?}; it has {}", scenario.full_name(), known.join(", "));
    }
    let recording = recording(project, &args.scenario, &scenario)?;
    let board = Board::new();
    let server = Server::start(args.listen, board.clone(), Limits::default())?;
    writeln!(out, "{}: http://{}/api/v1/status", scenario.full_name(), server.address())?;
    out.flush()?;

    let mut publisher = Publisher::new(board, scenario.start, args.speed);
    let watch = |_: Seq, _: &Event, folder: &Folder| publisher.after(folder);
    let taken = |name: &str, _: Option<&Value>| {
        if args.pause_at.as_deref() == Some(name) {
            // A reader of this line that has gone away changes nothing.
            let _ = writeln!(out, "paused at {name}").and_then(|()| out.flush());
            rest();
        }
    };
    run_shown(&scenario, recording, watch, taken)?;
    writeln!(out, "the scenario has ended; its last status is served until this process is stopped")?;
    out.flush()?;
    rest();
    Ok(EXIT_HOLDS)
}

fn chosen(project: &Project, args: &ServeArgs) -> anyhow::Result<Scenario> {
    let scenarios = project.scenarios(&args.scenario)?;
    let known: Vec<String> = scenarios.iter().filter_map(|scenario| scenario.variant.clone()).collect();
    scenarios.into_iter().find(|scenario| scenario.variant == args.variant).ok_or_else(|| {
        let variant = args.variant.as_deref().unwrap_or_default();
        anyhow::anyhow!("{} has no variant {variant:?}; it has: {}", args.scenario.display(), known.join(", "))
    })
}

/// Does nothing until the process is stopped.
fn rest() {
    loop {
        thread::park();
    }
}

/// Shows the status after each event, not before its time has come.
struct Publisher {
    board: Board,
    began: TimeMs,
    speed: Speed,
    clock: SystemClock,
    shown: Option<Status>,
}

impl Publisher {
    fn new(board: Board, began: TimeMs, speed: Speed) -> Self {
        Self { board, began, speed, clock: SystemClock::start(), shown: None }
    }

    fn after(&mut self, folder: &Folder) {
        if let Speed::Times(times) = self.speed {
            let simulated_ms = u64::try_from(folder.at().since(self.began)).unwrap_or(0);
            let due = Duration::from_millis(simulated_ms) / times;
            thread::sleep(due.saturating_sub(self.clock.now()));
        }
        let status = folder.kernel().status();
        if status != self.shown {
            self.board.put(status.as_ref().map(shown));
            self.shown = status;
        }
    }
}

fn shown(status: &Status) -> Shown {
    Shown {
        status: to_text(&document(status)),
        build_id: status.build_id.clone(),
        contract_version: status.contract_version.to_owned(),
    }
}
