//! Collects the arguments and returns the exit code; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = drillfold::cli::main(std::env::args_os(), &mut std::io::stdout(), &mut std::io::stderr());
    ExitCode::from(code)
}
