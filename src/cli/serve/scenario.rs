//! The status of a scenario that runs at a pace.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    sync::Arc,
};

use drillfold_kernel::{event::Event, units::Seq};
use serde_json::Value;

use super::{Pace, Publisher, ServeArgs, Serving};
use crate::{
    cli::{project::Project, run::recording},
    judge::run::{log_header, run_shown},
    replay::{Folder, KeptLog},
    scenario::model::Scenario,
    serve::Source,
    storage::Storage,
};

/// Runs a scenario and serves its status until the process is told to stop; returns the last event.
pub(super) fn serve(project: &Project, args: &ServeArgs, mut serving: Serving<'_>) -> anyhow::Result<Seq> {
    let scenario = chosen(project, args)?;
    if let Some(name) = &args.pause_at
        && !scenario.snapshots.iter().any(|snapshot| snapshot.name == *name)
    {
        let known: Vec<&str> = scenario.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        anyhow::bail!("{} has no snapshot {name:?}; it has {}", scenario.full_name(), known.join(", "));
    }
    let recording = recording(project, &args.what, &scenario)?;
    let kept = match &args.log {
        Some(path) => {
            let storage: Arc<dyn Storage> = Arc::new(*project.storage());
            Some(KeptLog::open(&storage, path, &log_header(&scenario))?)
        }
        None => None,
    };
    let past = kept.as_ref().map_or(Seq(0), KeptLog::past);
    let _server = serving.listen(&scenario.full_name(), args)?;
    if let Some(torn) = kept.as_ref().and_then(KeptLog::torn) {
        serving.cut(torn)?;
    }

    serving.board.source(Source::Drill(scenario.full_name()));
    let (board, stop) = (serving.board.clone(), serving.stop.clone());
    let mut pace = Pace::new(args.speed);
    let mut publisher = Publisher::default();
    let telling = RefCell::new(&mut serving);
    let last = Cell::new(Seq(0));
    let mut failed = None;
    let watch = |seq: Seq, _: &Event, folder: &Folder| {
        last.set(seq);
        // What the log has already is repeated, not shown.
        if seq < past {
            return if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        if seq == past {
            let told = folder.state().map_err(anyhow::Error::from).and_then(|state| {
                Ok(telling.borrow_mut().say(&format!("goes on behind event {}, state {state}", seq.0))?)
            });
            failed = told.err();
        }
        if failed.is_some() || pace.wait(folder.at(), &stop) {
            return ControlFlow::Break(());
        }
        publisher.after(folder, &board);
        ControlFlow::Continue(())
    };
    let taken = |name: &str, _: Option<&Value>| {
        if args.pause_at.as_deref() != Some(name) || last.get() < past {
            return ControlFlow::Continue(());
        }
        telling.borrow_mut().pause(name);
        ControlFlow::Break(())
    };
    let outcome = run_shown(&scenario, recording, kept, watch, taken)?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    if outcome.complete {
        serving.rest("the scenario has ended")?;
    }
    Ok(last.get())
}

fn chosen(project: &Project, args: &ServeArgs) -> anyhow::Result<Scenario> {
    let scenarios = project.scenarios(&args.what)?;
    let known: Vec<String> = scenarios.iter().filter_map(|scenario| scenario.variant.clone()).collect();
    scenarios.into_iter().find(|scenario| scenario.variant == args.variant).ok_or_else(|| {
        let variant = args.variant.as_deref().unwrap_or_default();
        anyhow::anyhow!("{} has no variant {variant:?}; it has: {}", args.what.display(), known.join(", "))
    })
}
