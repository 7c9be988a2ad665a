//! `drillfold venue`: a WebSocket server that plays a recording, Deribit-style, with faults.

use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use super::{EXIT_HOLDS, project::Project};
use crate::{
    serve::Stop,
    shadow::{At, Fault, PlayedVenue, VenueOptions},
    text::{speed::Speed, time::duration_ms},
};

/// Options of `drillfold venue`.
#[derive(Clone, Debug, clap::Args)]
pub struct VenueArgs {
    /// The recording, as `drillfold import deribit` takes it
    #[arg(value_name = "RECORDING")]
    recording: PathBuf,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
    /// Recorded seconds a second, or "max"
    #[arg(long, value_name = "N", default_value = "1")]
    speed: Speed,
    /// Begin again at the end
    #[arg(long = "loop")]
    looped: bool,
    /// Refuse so many connections at first
    #[arg(long, value_name = "N", default_value_t = 0)]
    refuse_connections: u32,
    /// Do not send the book change of this number, from 1; as all that follow, it may be repeated
    #[arg(long, value_name = "N")]
    drop_change: Vec<usize>,
    /// Stand still AT a frame's number or a time since the first frame, FOR so long
    #[arg(long, value_name = "AT:FOR", value_parser = silence)]
    silence: Vec<Fault>,
    /// Lose every connection there
    #[arg(long, value_name = "AT")]
    disconnect: Vec<At>,
    /// Answer with this error there; 10028 ends the session
    #[arg(long, value_name = "CODE@AT", value_parser = error)]
    error: Vec<Fault>,
    /// Send a frame that is no JSON there
    #[arg(long, value_name = "AT")]
    garbage: Vec<At>,
    /// Send a frame above 4 MiB there
    #[arg(long, value_name = "AT")]
    oversize: Vec<At>,
    /// Send credentials and tokens back there, where nobody expects them
    #[arg(long, value_name = "AT")]
    leak: Vec<At>,
}

fn silence(text: &str) -> Result<Fault, String> {
    let (at, time) = text.split_once(':').ok_or("give AT:FOR, such as 30s:5s")?;
    let ms = duration_ms(time).and_then(|ms| u64::try_from(ms).ok()).ok_or("give AT:FOR, such as 30s:5s")?;
    Ok(Fault::Silence(at.parse()?, Duration::from_millis(ms)))
}

fn error(text: &str) -> Result<Fault, String> {
    let (code, at) = text.split_once('@').ok_or("give CODE@AT, such as 10028@30s")?;
    let code = code.parse().map_err(|_| "give CODE@AT, such as 10028@30s".to_owned())?;
    Ok(Fault::Error(code, at.parse()?))
}

/// Carries out `drillfold venue`. It ends when it is told to by a signal, and then holds.
///
/// # Errors
/// A recording that can't be read, an address that can't be listened on.
pub fn venue(project: &Project, args: &VenueArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let stop = Stop::on_signal()?;
    let text = project.text(&args.recording)?;
    let mut faults: Vec<Fault> = args.drop_change.iter().copied().map(Fault::DropChange).collect();
    faults.extend(args.silence.iter().chain(&args.error));
    faults.extend(args.disconnect.iter().copied().map(Fault::Disconnect));
    faults.extend(args.garbage.iter().copied().map(Fault::Garbage));
    faults.extend(args.oversize.iter().copied().map(Fault::Oversize));
    faults.extend(args.leak.iter().copied().map(Fault::Leak));
    let options =
        VenueOptions { speed: args.speed, looped: args.looped, refused_connections: args.refuse_connections, faults };
    let (says, said) = std::sync::mpsc::channel();
    let name = args.recording.display().to_string();
    // A line that nobody reads any more changes nothing.
    let venue = PlayedVenue::start(args.listen, &name, &text, options, move |line| drop(says.send(line)))?;
    writeln!(out, "{name}: ws://{}/ws/api/v2", venue.address())?;
    out.flush()?;
    while !stop.is_set() {
        if let Ok(line) = said.recv_timeout(Duration::from_millis(50)) {
            writeln!(out, "{line}")?;
            out.flush()?;
        }
    }
    Ok(EXIT_HOLDS)
}
