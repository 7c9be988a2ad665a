//! The status of a log: replayed at a pace, or followed while it is being written.

use std::time::Duration;

use anyhow::{Context as _, bail};
use drillfold_kernel::{event::Event, units::Seq};

use super::{Pace, Publisher, ServeArgs, Serving};
use crate::{
    cli::{logs::open_log, project::Project},
    replay::{Folder, Strides},
    serve::Source,
    wal::{Clock as _, Digests, LogFiles, MarkKind, Polled, RecordBody, SystemClock},
};

/// How long nothing new in a followed log is waited for before the next look.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// After how long without an event the status of a followed log is no longer shown: a layer at work ticks many times a
/// second, and an old status must not be taken for today's.
const SILENT_AFTER: Duration = Duration::from_millis(2_000);

/// Serves the status of a log until the process is told to stop; returns the last event that was folded.
pub(super) fn serve(project: &Project, args: &ServeArgs, mut serving: Serving<'_>) -> anyhow::Result<Seq> {
    let name = args.what.display().to_string();
    if let Some(variant) = &args.variant {
        bail!("--variant {variant}: {name} is a log, and a log is of one run");
    }
    if let Some(log) = &args.log {
        bail!("--log {}: {name} is a log already; only a scenario is run", log.display());
    }
    let mut files = open_log(project, &args.what, Digests::Check)?;
    files.header().require_known_schema(&name)?;
    if let Some(snapshot) = &args.pause_at {
        require_snapshot(project, args, snapshot)?;
    }
    let _server = serving.listen(&name, args)?;

    show(args, &mut files, &mut serving)
}

/// Shows one status after the other until the process is told to stop; returns the last event that was folded.
fn show(args: &ServeArgs, files: &mut LogFiles<'_>, serving: &mut Serving<'_>) -> anyhow::Result<Seq> {
    let name = args.what.display().to_string();
    let file = args.what.file_name().unwrap_or_default().to_string_lossy().into_owned();
    serving.board.source(if args.follow { Source::Log(file) } else { Source::Replay(file) });
    let (board, stop) = (serving.board.clone(), serving.stop.clone());
    let mut pace = Pace::new(args.speed);
    let mut publisher = Publisher::default();
    let mut folder = Folder::new(Strides::LONG);
    let mut event = Event::LoopTicked;
    let clock = SystemClock::start();
    let (mut heard, mut sealed) = (Duration::ZERO, false);
    loop {
        let record = match files.poll().with_context(|| format!("after event {}", folder.seq().0))? {
            Polled::Record(record) => record,
            Polled::NothingNew if !args.follow || sealed => {
                publisher.after(&folder, &board);
                serving.rest("the log has ended")?;
                return Ok(folder.seq());
            }
            Polled::NothingNew => {
                // Shown once all that is there was read: what lies behind is history.
                if clock.now().saturating_sub(heard) < SILENT_AFTER {
                    publisher.after(&folder, &board);
                } else {
                    publisher.silent(&board);
                }
                if stop.wait_for(LOOK_AGAIN) {
                    return Ok(folder.seq());
                }
                continue;
            }
        };
        let at = record.at;
        sealed = matches!(record.body, RecordBody::End(_));
        match record.body {
            RecordBody::Event(raw) => {
                raw.decode_into(&mut event).with_context(|| format!("{name}: event {}", folder.seq().0 + 1))?;
                if !args.follow && pace.wait(at, &stop) {
                    return Ok(folder.seq());
                }
                folder.step(at, &event)?;
                heard = clock.now();
                if args.follow {
                    publisher.passed(&folder, &board);
                } else {
                    publisher.after(&folder, &board);
                }
            }
            RecordBody::Mark(mark) if mark.kind == MarkKind::Snapshot && Some(&mark.name) == args.pause_at.as_ref() => {
                serving.pause(&mark.name);
                return Ok(folder.seq());
            }
            RecordBody::Mark(_)
            | RecordBody::Frame(_)
            | RecordBody::Batch { .. }
            | RecordBody::Index(_)
            | RecordBody::End(_)
            | RecordBody::Unknown(_) => {}
        }
    }
}

/// A log has the names of its snapshots between its events, so all of it is looked through.
fn require_snapshot(project: &Project, args: &ServeArgs, wanted: &str) -> anyhow::Result<()> {
    let mut files: LogFiles<'_> = open_log(project, &args.what, Digests::Skip)?;
    let mut known = Vec::new();
    while let Some(record) = files.next_record()? {
        if let RecordBody::Mark(mark) = record.body
            && mark.kind == MarkKind::Snapshot
        {
            known.push(mark.name);
        }
    }
    if known.iter().any(|name| name == wanted) {
        return Ok(());
    }
    let has = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bail!("{} has no snapshot {wanted:?}; it has {has}", args.what.display())
}
