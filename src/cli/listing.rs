//! `drillfold list` and `drillfold new`.

use std::{io::Write, path::PathBuf};

use super::{EXIT_HOLDS, project::Project};
use crate::scenario;

/// Options of `drillfold list`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Scenario files or folders [default: scenarios/]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Options of `drillfold new`.
#[derive(Clone, Debug, clap::Args)]
pub struct NewArgs {
    /// The scenario's name, as its file will have it
    name: String,
}

/// Carries out `drillfold list`.
///
/// # Errors
/// A scenario that can't be read.
pub fn list(project: &Project, args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    for file in project.scenario_files(&args.paths)? {
        for scenario in project.scenarios(&file)? {
            match &scenario.variant {
                None => writeln!(out, "{:32} {}", scenario.name, scenario.title)?,
                Some(variant) => {
                    let first = scenario.shows.trim().lines().next().unwrap_or_default();
                    writeln!(out, "  /{variant:29} {first}")?;
                }
            }
        }
    }
    Ok(EXIT_HOLDS)
}

/// Carries out `drillfold new`: prints a commented scenario.
///
/// # Errors
/// Output that can't be written.
pub fn new(args: &NewArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    write!(out, "{}", scenario::template(&args.name))?;
    Ok(EXIT_HOLDS)
}
