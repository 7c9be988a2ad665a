//! The status of a scenario that runs at a pace.

use std::{cell::RefCell, ops::ControlFlow};

use drillfold_kernel::{event::Event, units::Seq};
use serde_json::Value;

use super::{Pace, Publisher, ServeArgs, Serving};
use crate::{
    cli::{project::Project, run::recording},
    judge::run::run_shown,
    replay::Folder,
    scenario::model::Scenario,
    serve::Source,
};

/// Runs a scenario and serves its status until the process is told to stop.
pub(super) fn serve(project: &Project, args: &ServeArgs, mut serving: Serving<'_>) -> anyhow::Result<()> {
    let scenario = chosen(project, args)?;
    if let Some(name) = &args.pause_at
        && !scenario.snapshots.iter().any(|snapshot| snapshot.name == *name)
    {
        let known: Vec<&str> = scenario.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        anyhow::bail!("{} has no snapshot {name:?}; it has {}", scenario.full_name(), known.join(", "));
    }
    let recording = recording(project, &args.what, &scenario)?;
    let _server = serving.listen(&scenario.full_name(), args.listen)?;

    serving.board.source(Source::Drill(scenario.full_name()));
    let (board, stop) = (serving.board.clone(), serving.stop.clone());
    let mut pace = Pace::new(args.speed);
    let mut publisher = Publisher::default();
    let watch = |_: Seq, _: &Event, folder: &Folder| {
        if pace.wait(folder.at(), &stop) {
            return ControlFlow::Break(());
        }
        publisher.after(folder, &board);
        ControlFlow::Continue(())
    };
    let telling = RefCell::new(&mut serving);
    let taken = |name: &str, _: Option<&Value>| {
        if args.pause_at.as_deref() != Some(name) {
            return ControlFlow::Continue(());
        }
        telling.borrow_mut().pause(name);
        ControlFlow::Break(())
    };
    let outcome = run_shown(&scenario, recording, watch, taken)?;
    if outcome.complete {
        serving.rest("the scenario has ended")?;
    }
    Ok(())
}

fn chosen(project: &Project, args: &ServeArgs) -> anyhow::Result<Scenario> {
    let scenarios = project.scenarios(&args.what)?;
    let known: Vec<String> = scenarios.iter().filter_map(|scenario| scenario.variant.clone()).collect();
    scenarios.into_iter().find(|scenario| scenario.variant == args.variant).ok_or_else(|| {
        let variant = args.variant.as_deref().unwrap_or_default();
        anyhow::anyhow!("{} has no variant {variant:?}; it has: {}", args.what.display(), known.join(", "))
    })
}
