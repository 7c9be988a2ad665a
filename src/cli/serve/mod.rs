//! `drillfold serve`: a status over HTTP, of a scenario that runs, of a log that is replayed or being written, or of a live
//! feed.

use std::{io::Write, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use drillfold_kernel::{
    registry::{OwnerReason, TradingMode},
    status::Status,
    units::{Seq, TimeMs},
};

use super::{EXIT_HOLDS, project::Project};
use crate::{
    contract::{
        config::plain_values,
        document::{document, to_text},
    },
    replay::Folder,
    serve::{Board, Change, Limits, Server, Shown, Stage, Stop},
    text::speed::Speed,
    wal::{Clock as _, SystemClock, TornTail},
};

mod feed;
mod log;
mod scenario;

/// Options of `drillfold serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// A scenario's file, which is run, or a log (`.wal`), which is replayed; with --feed a scenario for its world
    // With --feed alone it is empty.
    #[arg(
        value_name = "SCENARIO|LOG",
        required = false,
        value_parser = clap::builder::TypedValueParser::map(clap::builder::OsStringValueParser::new(), PathBuf::from),
        required_unless_present = "feed",
        default_value_if("feed", clap::builder::ArgPredicate::IsPresent, "")
    )]
    what: PathBuf,
    /// Serve this variant of the scenario
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Answer requests for this host name too, besides addresses and localhost; may be given more than once
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
    /// Requests a second that one client address may send in the long run; four times as many at once
    #[arg(long, value_name = "N", default_value_t = Limits::default().requests_per_second_max)]
    requests_per_second: NonZeroU32,
    /// Simulated seconds a second, or "max"
    #[arg(long, value_name = "N", default_value = "1")]
    speed: Speed,
    /// Stop at this snapshot and go on serving its status
    #[arg(long, value_name = "SNAPSHOT")]
    pause_at: Option<String>,
    /// The log is being written: read what is there and go on with it as it grows
    #[arg(long, conflicts_with_all = ["speed", "pause_at"])]
    follow: bool,
    /// Keep the log of the scenario's run, or of the feed, in this file; where it is there already, go on behind its last
    /// event: the process that wrote it was killed
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    log: Option<PathBuf>,
    #[command(flatten)]
    live: feed::FeedArgs,
}

/// Carries out `drillfold serve`. It ends when it is told to by a signal, and then holds.
///
/// # Errors
/// A scenario or log that can't be read or run, a variant or snapshot that it has not, an address that can't be listened
/// on.
pub fn serve(project: &Project, args: &ServeArgs, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let serving = Serving { stop: Stop::on_signal()?, board: Board::new(), out: &mut *out, err };
    let last = if let (Some(url), Some(log)) = (&args.live.feed, &args.log) {
        feed::serve(project, args, url, log, serving)?
    } else if args.what.extension().is_some_and(|ending| ending == "wal") {
        log::serve(project, args, serving)?
    } else {
        anyhow::ensure!(!args.follow, "--follow takes a log (.wal); {} is none", args.what.display());
        scenario::serve(project, args, serving)?
    };
    // A reader of this line that has gone away changes nothing.
    let _ = writeln!(out, "stopped after event {}; nothing is served any more", last.0);
    Ok(EXIT_HOLDS)
}

/// Of how many seconds a client may send the requests at once.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// What every source of statuses works with.
struct Serving<'o> {
    stop: Stop,
    board: Board,
    out: &'o mut dyn Write,
    err: &'o mut dyn Write,
}

impl Serving<'_> {
    /// Listens, and says where; `name` is what is served.
    fn listen(&mut self, name: &str, args: &ServeArgs) -> anyhow::Result<Server> {
        let limits = Limits {
            requests_per_second_max: args.requests_per_second,
            requests_burst_max: args.requests_per_second.saturating_mul(BURST_SECONDS),
            ..Limits::default()
        };
        let server = Server::start(args.listen, self.board.clone(), limits, args.allow_hosts.clone())?;
        if !server.address().ip().to_canonical().is_loopback() {
            writeln!(
                self.err,
                "warning: {} can be reached from other machines; there is no authentication and no TLS",
                server.address()
            )?;
        }
        self.say(&format!("{name}: http://{}/api/v1/status", server.address()))?;
        Ok(server)
    }

    /// Prints a line at once, for whoever waits for it.
    fn say(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Says what was cut off a log, and where it is now.
    fn cut(&mut self, torn: &TornTail) -> std::io::Result<()> {
        let (file, kept_in) = (torn.file.display(), torn.kept_in.display());
        self.say(&format!("{file}: {} bytes at its end were no whole record; they are in {kept_in} now", torn.bytes))
    }

    /// Goes on serving a paused status until it is told to stop.
    fn pause(&mut self, snapshot: &str) {
        self.board.stage(Stage::Paused(snapshot.to_owned()));
        // A reader of this line that has gone away changes nothing.
        let _ = self.say(&format!("paused at {snapshot}"));
        self.stop.wait();
    }

    /// Goes on serving the last status until it is told to stop.
    fn rest(&mut self, what: &str) -> std::io::Result<()> {
        self.board.stage(Stage::Ended);
        self.say(&format!("{what}; its last status is served until this process is stopped"))?;
        self.stop.wait();
        Ok(())
    }
}

/// Waits until the time of an event has come.
struct Pace {
    speed: Speed,
    clock: SystemClock,
    /// Simulated time at which the clock began, from the first event on.
    began: Option<TimeMs>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, clock: SystemClock::start(), began: None }
    }

    /// Waits until an event at `at` is due; tells whether the wait was cut short because the process is to stop.
    fn wait(&mut self, at: TimeMs, stop: &Stop) -> bool {
        let Speed::Times(times) = self.speed else { return stop.is_set() };
        let began = *self.began.get_or_insert_with(|| {
            self.clock = SystemClock::start();
            at
        });
        let simulated_ms = u64::try_from(at.since(began)).unwrap_or(0);
        let due = Duration::from_millis(simulated_ms) / times;
        stop.wait_for(due.saturating_sub(self.clock.now()))
    }
}

/// Puts the status of a fold on the board.
#[derive(Default)]
struct Publisher {
    shown: Option<(Seq, Status)>,
    /// The mode after the last event; none before the first one, and none in it while no process is up.
    mode: Option<Option<TradingMode>>,
}

impl Publisher {
    /// Shows the status after the last event, unless it is there already.
    fn after(&mut self, folder: &Folder, board: &Board) {
        self.passed(folder, board);
        if self.shown.as_ref().is_some_and(|(seq, _)| *seq == folder.seq()) {
            return;
        }
        let status = folder.kernel().status();
        match (&status, &self.shown) {
            (Some(status), Some((_, shown))) if status == shown => board.advance(folder.seq(), folder.at()),
            _ => board.put(status.as_ref().map(|status| shown(status, folder.seq(), folder.at()))),
        }
        self.shown = status.map(|status| (folder.seq(), status));
    }

    /// Tells the board where the last event has changed the mode; after every event, also of those whose status nobody is
    /// shown, so that the page knows since when the mode is what it is.
    fn passed(&mut self, folder: &Folder, board: &Board) {
        let core = &folder.kernel().core;
        let mode = core.up.then_some(core.resolution.mode);
        if self.mode == Some(mode) {
            return;
        }
        let before = self.mode.replace(mode);
        if mode.is_some() && before.flatten().is_none() {
            board.configured(plain_values(&core.config));
        }
        let status = folder.kernel().status();
        let primary = status.and_then(|status| {
            let code = document(&status).pointer("/owner_view/primary_owner_reason_code")?.as_str().map(str::to_owned);
            OwnerReason::from_token(&code?)
        });
        match mode {
            // The kernel keeps the mode over a crash; to an owner it begins anew with the process.
            Some(_) if before != Some(None) => {
                let since = core.mode_since;
                board.changed(Change { seq: since.seq, at: since.at, mode, primary });
            }
            // Before the first boot there is nothing to tell.
            None if before.is_none() => {}
            Some(_) | None => board.changed(Change { seq: folder.seq(), at: folder.at(), mode, primary }),
        }
    }

    /// Shows nothing until an event comes.
    fn silent(&mut self, board: &Board) {
        if board.view().stage != Stage::Silent {
            board.put(None);
            board.stage(Stage::Silent);
            self.shown = None;
        }
    }
}

fn shown(status: &Status, seq: Seq, at: TimeMs) -> Shown {
    Shown {
        status: to_text(&document(status)),
        build_id: status.build_id.clone(),
        contract_version: status.contract_version.to_owned(),
        seq,
        at,
    }
}
