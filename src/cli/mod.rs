//! The command line: flags as typed, one file a command, exit codes.
//!
//! A command is a function from its options to an exit code; it prints through one writer. Exit codes everywhere:
//! [`EXIT_HOLDS`], [`EXIT_DIFFERS`], [`EXIT_UNCHECKED`]; `check` gives [`EXIT_UNTESTABLE`] where others give 2.

use std::{io::Write, path::PathBuf};

use clap::{Parser, Subcommand};

mod bisect;
mod capture;
mod diff;
mod evidence;
mod explain;
pub mod fetch;
mod import;
mod listing;
mod log;
mod logs;
mod project;
pub mod registry;
mod replay;
mod run;
#[cfg(feature = "net")]
mod serve;
pub mod validate;
#[cfg(feature = "net")]
mod venue;

pub use project::{Project, ProjectError};
pub use run::{RunArgs, SimulatedDrill, coverage_page, simulate_all};

/// What was asked holds.
pub const EXIT_HOLDS: u8 = 0;
/// It does not hold: a drill failed, a document is invalid, files differ.
pub const EXIT_DIFFERS: u8 = 1;
/// It could not be checked: usage, input, output.
pub const EXIT_UNCHECKED: u8 = 2;
/// It could not be checked, for `git bisect run`: skip this commit.
pub const EXIT_UNTESTABLE: u8 = 125;

/// A deterministic simulator and replay engine for chaos drills of a trading system's safety layer.
#[derive(Debug, Parser)]
#[command(name = "drillfold", version, about, max_term_width = 110)]
struct Cli {
    /// Folder with scenarios/, fixtures/, specs/, wal-logs/ and evidence/
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Break one rule of the kernel on purpose (builds with --cfg planted only)
    #[cfg(planted)]
    #[arg(long, global = true, value_name = "RULE")]
    plant: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Simulate scenarios and check every expectation and golden (default: all of scenarios/)
    Run(run::RunArgs),
    /// List scenarios, their variants and what they show
    List(listing::ListArgs),
    /// Print a commented scenario to start from
    New(listing::NewArgs),
    /// Judge one scenario or log with exit codes for `git bisect run` (0 good, 1 bad, 125 cannot be tested)
    Check(replay::CheckArgs),
    /// Fold a log, compare it with its trace, print the status
    Replay(replay::ReplayArgs),
    /// Tell why the kernel stands as it stands after an event of a log, and what clears it
    Explain(explain::ExplainArgs),
    /// Find the first event after which a condition holds, or at which two builds part
    Bisect(bisect::BisectArgs),
    /// Compare two status documents or two logs
    Diff(diff::DiffArgs),
    /// Look inside a log, check it, copy what is sound of a damaged one, generate a long one
    Log(log::LogArgs),
    /// Build evidence packs
    Evidence(evidence::EvidenceArgs),
    /// Turn a recorded feed into a log and a scenario that plays it
    Import(import::ImportArgs),
    /// Run a scenario at a pace and serve its status over HTTP
    #[cfg(feature = "net")]
    Serve(serve::ServeArgs),
    /// Play a recorded feed to whoever connects, with faults where they are asked for
    #[cfg(feature = "net")]
    Venue(venue::VenueArgs),
    /// Validate a `/status` document
    Validate(validate::ValidateArgs),
    /// Check the reason-code registry
    Registry(registry::RegistryArgs),
}

/// Output format of the commands that print a text or one document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text.
    #[default]
    Human,
    /// One JSON document.
    Json,
}

/// Carries out the command line and returns the exit code. Results go to `out`, what is wrong to `err`.
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_UNCHECKED } else { EXIT_HOLDS };
            let text = error.render();
            // A reader that has gone away does not change the exit code.
            let _ = if error.use_stderr() { write!(err, "{text}") } else { write!(out, "{text}") };
            return code;
        }
    };
    #[cfg(planted)]
    if let Some(rule) = &cli.plant
        && !drillfold_kernel::plant(rule)
    {
        let known: Vec<&str> = drillfold_kernel::planted_names().collect();
        let _ = writeln!(err, "error: no rule {rule:?} to break; known: {}", known.join(", "));
        return EXIT_UNCHECKED;
    }
    let project = Project::new(cli.root);
    let (result, unchecked) = match cli.command {
        Command::Run(args) => (run::run(&project, &args, out, err), EXIT_UNCHECKED),
        Command::List(args) => (listing::list(&project, &args, out), EXIT_UNCHECKED),
        Command::New(args) => (listing::new(&args, out), EXIT_UNCHECKED),
        Command::Check(args) => (replay::check(&project, &args, out), EXIT_UNTESTABLE),
        Command::Replay(args) => (replay::replay(&project, &args, out, err), EXIT_UNCHECKED),
        Command::Explain(args) => (explain::run(&project, &args, out), EXIT_UNCHECKED),
        Command::Bisect(args) => (bisect::run(&project, &args, out, err), EXIT_UNCHECKED),
        Command::Diff(args) => (diff::run(&project, &args, out), EXIT_UNCHECKED),
        Command::Log(args) => (log::log(&project, &args, out, err), EXIT_UNCHECKED),
        Command::Import(args) => (import::import(&project, &args, out), EXIT_UNCHECKED),
        Command::Evidence(args) => (evidence::evidence(&project, &args, out, err), EXIT_UNCHECKED),
        #[cfg(feature = "net")]
        Command::Serve(args) => (serve::serve(&project, &args, out, err), EXIT_UNCHECKED),
        #[cfg(feature = "net")]
        Command::Venue(args) => (venue::venue(&project, &args, out), EXIT_UNCHECKED),
        Command::Validate(args) => return validate::validate(&args, out),
        Command::Registry(args) => return registry::registry(&args, out),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let text = format!("{error:#}");
            // Findings of a scenario bring their own heading.
            let heading = if text.starts_with("error") { "" } else { "error: " };
            let _ = writeln!(err, "{heading}{text}");
            unchecked
        }
    }
}
