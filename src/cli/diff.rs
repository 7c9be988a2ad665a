//! `drillfold diff`.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{EXIT_DIFFERS, EXIT_HOLDS, Format, logs::open_log, project::Project};
use crate::{
    contract::diff::{diff, to_text},
    inspect::{LogDiff, LoggedEvent, diff_logs},
    text::time::moment,
    wal::Digests,
};

/// Options of `drillfold diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// A status document (.json) or a log
    #[arg(value_name = "LEFT")]
    left: PathBuf,
    /// The other one, of the same kind
    #[arg(value_name = "RIGHT")]
    right: PathBuf,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Carries out `drillfold diff`.
///
/// # Errors
/// A file that can't be read, or two of different kinds.
pub fn run(project: &Project, args: &DiffArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(out);
    let is_json = |path: &Path| path.extension().is_some_and(|ending| ending == "json");
    anyhow::ensure!(
        is_json(&args.left) == is_json(&args.right),
        "{} and {} are of different kinds: give two status documents (.json) or two logs",
        args.left.display(),
        args.right.display()
    );
    let code = if is_json(&args.left) { documents(project, args, &mut out) } else { logs(project, args, &mut out) };
    out.flush()?;
    code
}

fn documents(project: &Project, args: &DiffArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let read = |path: &Path| -> anyhow::Result<Value> {
        let text = project.text(path)?;
        serde_json::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    };
    let found = diff(&read(&args.left)?, &read(&args.right)?);
    match args.format {
        Format::Human => write!(out, "{}", to_text(&found))?,
        Format::Json => {
            let whole = json!({ "schema": "drillfold/status-diff/v1", "differences": found });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
    }
    Ok(if found.is_empty() { EXIT_HOLDS } else { EXIT_DIFFERS })
}

fn logs(project: &Project, args: &DiffArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut left = open_log(project, &args.left, Digests::Check)?;
    let mut right = open_log(project, &args.right, Digests::Check)?;
    let found = diff_logs(&mut left, &mut right)?;
    match args.format {
        Format::Human => text(&found, out)?,
        Format::Json => {
            let whole = json!({ "schema": "drillfold/log-diff/v1", "diff": found });
            writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        }
    }
    Ok(if found.difference.is_none() { EXIT_HOLDS } else { EXIT_DIFFERS })
}

fn text(found: &LogDiff, out: &mut dyn Write) -> std::io::Result<()> {
    let Some(difference) = &found.difference else {
        return writeln!(out, "the same {} events", found.equal_count);
    };
    writeln!(out, "the same until event {}", found.equal_count)?;
    let event = |event: &Option<LoggedEvent>| match event {
        Some(event) => format!("{}  {}", moment(event.at_ms), event.words),
        None => "the log has ended".to_owned(),
    };
    writeln!(out, "first differing event: {}", difference.event.seq)?;
    writeln!(out, "  left   {}", event(&difference.event.left))?;
    writeln!(out, "  right  {}", event(&difference.event.right))?;
    for (side, logged) in [("left", &difference.event.left), ("right", &difference.event.right)] {
        if let Some(logged) = logged {
            writeln!(out, "  {side:5}  {}", logged.event)?;
        }
    }
    match &difference.effect {
        Some(pair) => {
            let shown = |effect: &Option<drillfold_kernel::effect::Effect>| {
                effect.as_ref().map_or_else(|| "nothing".to_owned(), |effect| format!("{effect:?}"))
            };
            writeln!(out, "first differing effect: at event {}", pair.seq)?;
            writeln!(out, "  left   {}", shown(&pair.left))?;
            writeln!(out, "  right  {}", shown(&pair.right))?;
        }
        None => writeln!(out, "no effect differs")?,
    }
    match &difference.status {
        Some(pair) => {
            writeln!(out, "first differing status: after event {}", pair.seq)?;
            for difference in &pair.differences {
                writeln!(out, "  {difference}")?;
            }
            Ok(())
        }
        None => writeln!(out, "no status differs"),
    }
}
