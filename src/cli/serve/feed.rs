//! The status of a live feed: connect, keep, fold, publish.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use drillfold_kernel::{
    event::{CloseCause, Event, Socket},
    units::{Seq, TimeMs},
};

use super::{Publisher, ServeArgs, Serving};
use crate::{
    cli::project::Project,
    contract::config::RuntimeConfig,
    replay::{Folder, Strides},
    scenario::{self, model::Scenario},
    serve::Source,
    shadow::{
        Act, Backoff, Client, ClientOptions, Credentials, FeedUrl, Heard, Interval, Secret, Session, SessionOptions,
    },
    sim::{Deployment, Live, PublicRequest, Survived},
    storage::{DiskStorage, Durability, Storage as _},
    text::time,
    wal::{
        Access, Clock as _, Digest256, Digests, DurabilityPolicy, FeedFrame, LogFiles, LogHeader, LogWriter,
        ReadOptions, RecordBody, SystemClock, TEXT_SIZE_BYTES_MAX, TornTail, WriterOptions,
    },
};

/// Largest frame, bytes: as in a recording that is imported.
const FRAME_SIZE_BYTES_MAX: usize = 4 << 20;

/// Most of what a connection brought that is taken before the log is handed to its file and the status shown.
const TOGETHER_MAX: usize = 256;

/// How often the log is put on durable media, ms. A process that is killed loses nothing of it either way.
const SYNC_EVERY_MS: u32 = 1_000;

/// How the drill of a shadow run's log begins.
const DRILL: &str = "shadow ";

/// Options of a live feed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FeedArgs {
    /// Fold a live feed: the address of a Deribit-style WebSocket server, ws:// or wss://
    #[arg(long, value_name = "URL", requires = "log")]
    pub(super) feed: Option<FeedUrl>,
    /// Subscribe to this instrument, where no scenario is given; may be repeated
    #[arg(long = "instrument", value_name = "NAME", requires = "feed")]
    pub(super) instruments: Vec<String>,
    /// How often the venue sends what changed; raw may need credentials
    #[arg(long, value_name = "raw|100ms", default_value = "100ms", value_parser = interval)]
    pub(super) feed_interval: Interval,
    /// Wait after the first failed attempt to connect, and the longest one
    #[arg(long, value_name = "FIRST,LONGEST", default_value = "500ms,30s", value_parser = backoff)]
    pub(super) feed_backoff: Backoff,
    /// How long an attempt to connect may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(super) feed_timeout: Duration,
    /// Authenticate with the id and the secret that these variables of the environment hold
    #[arg(long, value_name = "ID_VAR,SECRET_VAR", requires = "feed")]
    pub(super) feed_credentials_env: Option<String>,
}

fn interval(text: &str) -> Result<Interval, String> {
    [Interval::Raw, Interval::Ms100]
        .into_iter()
        .find(|interval| interval.name() == text)
        .ok_or_else(|| "give raw or 100ms".to_owned())
}

fn backoff(text: &str) -> Result<Backoff, String> {
    let read =
        text.split_once(',').and_then(|(first, last)| Some((time::duration_ms(first)?, time::duration_ms(last)?)));
    match read {
        Some((first, last)) if first > 0 && last >= first => Ok(Backoff::new(first, last)),
        Some(_) | None => Err("give two times, the longer one last, such as 500ms,30s".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let ms = time::duration_ms(text).and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| "give a time such as 5s".to_owned())
}

/// Folds a live feed and serves its status until the process is told to stop.
pub(super) fn serve(
    project: &Project,
    args: &ServeArgs,
    url: &FeedUrl,
    path: &Path,
    mut serving: Serving<'_>,
) -> anyhow::Result<Seq> {
    let scenario = scenario(project, args)?;
    let config = RuntimeConfig::new(&scenario.config).with_context(|| format!("configure {}", scenario.name))?;
    let deployment = Deployment {
        config: config.kernel.clone(),
        runtime_config_hash: config.hash.clone(),
        reference_instrument: config.reference_instrument.clone(),
    };
    let feed = &args.live;
    let session = Session::new(SessionOptions {
        instruments: scenario.world.instruments.iter().map(|instrument| instrument.name.clone()).collect(),
        interval: feed.feed_interval,
        credentials: feed.feed_credentials_env.as_deref().map(credentials).transpose()?,
        backoff: feed.feed_backoff,
    });
    let Begun { log, folder, survived, torn } = begin(path, &scenario)?;
    let clock = HostClock::start(folder.at());
    let world = Live::new(&scenario, deployment, clock.now(), survived)?;
    let client = Client::start(ClientOptions {
        url: url.clone(),
        timeout: feed.feed_timeout,
        frame_size_bytes_max: FRAME_SIZE_BYTES_MAX,
    })?;
    let _server = serving.listen(&format!("{}{}", DRILL, scenario.name), args)?;
    if let Some(torn) = torn {
        serving.cut(&torn)?;
    }
    serving.board.source(Source::Feed(scenario.name.clone()));
    Shadow { log, folder, world, session, client, clock, serving, publisher: Publisher::default() }.run()
}

/// Returns what the run is made of: the scenario that was given, or one of the instruments alone.
fn scenario(project: &Project, args: &ServeArgs) -> anyhow::Result<Scenario> {
    let feed = &args.live;
    if args.what.as_os_str().is_empty() {
        ensure!(!feed.instruments.is_empty(), "--feed needs a scenario, or --instrument for each instrument");
        let text = built_in(&feed.instruments);
        let found = scenario::parse("live.toml", &text)?;
        return found.into_iter().next().context("no scenario was made of --instrument");
    }
    ensure!(feed.instruments.is_empty(), "--instrument: the scenario names the instruments");
    let found = project.scenarios(&args.what)?.into_iter().find(|scenario| scenario.variant == args.variant);
    found.with_context(|| format!("{} has no such variant", args.what.display()))
}

/// Writes the scenario of instruments: a live staleness threshold, nothing synthetic, no orders.
fn built_in(instruments: &[String]) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = "schema = \"drillfold/scenario/v1\"\nname = \"live\"\ntitle = \"A live feed\"\n\
                    shows = \"what the layer makes of a live feed\"\nseed = 1\nduration = \"1s\"\n\n\
                    [config]\nws_stale_threshold_ms = 15000\n"
        .to_owned();
    if let Some(name) = instruments.iter().find(|name| name.ends_with("-PERPETUAL")) {
        text.push_str(&format!("reference_instrument = {}\n", quoted(name)));
    }
    text.push_str("\n[world.market.index]\n");
    let underlyings: std::collections::BTreeSet<&str> =
        instruments.iter().map(|name| name.split(['-', '_']).next().unwrap_or_default()).collect();
    for underlying in underlyings {
        // No price of the table is ever shown to the layer.
        text.push_str(&format!("{} = 1\n", quoted(underlying)));
    }
    for name in instruments {
        text.push_str(&format!("\n[[world.instrument]]\nname = {}\n", quoted(name)));
    }
    text.push_str(
        "\n[strategy]\nopen_every = \"0s\"\nclose_every = \"0s\"\ncancel_every = \"0s\"\n\n\
         [[expect]]\ncriterion = \"heard\"\nsays = \"the feed arrives\"\nsometimes = 'event == \"BookSnapshot\"'\n",
    );
    text
}

/// Reads credentials from the environment; errors name the variables and never what they hold.
fn credentials(names: &str) -> anyhow::Result<Credentials> {
    let Some((id, secret)) = names.split_once(',') else {
        bail!("--feed-credentials-env: give the names of two variables, ID_VAR,SECRET_VAR");
    };
    let read = |name: &str| {
        let text = std::env::var(name)
            .map_err(|_| anyhow::anyhow!("--feed-credentials-env: the variable {name} is not set, or no text"))?;
        Secret::credential(text).with_context(|| format!("--feed-credentials-env: what {name} holds"))
    };
    Ok(Credentials { id: read(id)?, secret: read(secret)? })
}

/// The host's time, that never runs back, nor behind what a log says already.
struct HostClock {
    began: TimeMs,
    clock: SystemClock,
}

impl HostClock {
    fn start(least: TimeMs) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = TimeMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Self { began: now.max(least), clock: SystemClock::start() }
    }

    fn now(&self) -> TimeMs {
        self.began.after(i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX))
    }
}

/// A log that can be written to, and what it says so far.
struct Begun {
    log: LogWriter,
    folder: Folder,
    survived: Survived,
    torn: Option<TornTail>,
}

/// Creates the log, or folds the one that is there. Its files are their owner's alone.
fn begin(path: &Path, scenario: &Scenario) -> anyhow::Result<Begun> {
    let storage = DiskStorage::new(Durability::Synced).private();
    let durability =
        std::num::NonZeroU32::new(SYNC_EVERY_MS).map_or(DurabilityPolicy::EveryEvent, DurabilityPolicy::EveryMs);
    let options = WriterOptions::segmented(durability);
    let mut drill = format!("{DRILL}{}", scenario.name);
    while drill.len() > TEXT_SIZE_BYTES_MAX {
        drill.pop();
    }
    let header = LogHeader::first(&drill, scenario.seed, Digest256(scenario.digest), env!("CARGO_PKG_VERSION"));
    let mut folder = Folder::new(Strides::LONG);
    let mut survived = Survived::default();
    if storage.entry_kind(path)?.is_none() {
        storage.require_private_folder(path)?;
        let log = LogWriter::create(Arc::new(storage), path, &header, options)?;
        return Ok(Begun { log, folder, survived, torn: None });
    }
    storage.require_private(path)?;
    let name = path.display();
    {
        let reading = ReadOptions { digests: Digests::Check, access: Access::Mapped };
        let mut files = LogFiles::open(&storage, path, reading)?;
        files.header().require_known_schema(&name.to_string())?;
        let found = files.header();
        ensure!(
            found.drill == header.drill && found.scenario_digest == header.scenario_digest,
            "{name} is the log of {:?}, made of another scenario or other instruments: give another file",
            found.drill
        );
        let mut event = Event::LoopTicked;
        while let Some(record) = files.next_record()? {
            if let RecordBody::Event(raw) = record.body {
                raw.decode_into(&mut event).with_context(|| format!("{name}: event {}", record.seq.0))?;
                folder.step(record.at, &event)?;
                survived.after(&event, folder.effects());
            }
        }
    }
    let (log, torn) = LogWriter::resume_after_crash(Arc::new(storage), path, options)
        .with_context(|| format!("go on with {name}; `drillfold log repair` copies what is sound of a damaged log"))?;
    Ok(Begun { log, folder, survived, torn })
}

/// A shadow run at work.
struct Shadow<'o> {
    log: LogWriter,
    folder: Folder,
    world: Live,
    session: Session,
    client: Client,
    clock: HostClock,
    serving: Serving<'o>,
    publisher: Publisher,
}

impl Shadow<'_> {
    /// Folds what comes until the process is told to stop; returns the last event.
    fn run(mut self) -> anyhow::Result<Seq> {
        let stop = self.serving.stop.clone();
        if self.folder.kernel().status().is_some() {
            // The process that wrote the log is gone.
            let now = self.clock.now();
            self.fold(now, &Event::Crashed)?;
        }
        // A process that starts takes its sockets to be open, so the first attempt comes before its boot.
        let now = self.clock.now();
        let acts = self.session.request(now, PublicRequest::Connect);
        self.act(now, acts)?;
        let first = loop {
            match self.client.next(Duration::from_millis(100)) {
                Some((number, heard)) => break Some((number, heard)),
                None if stop.is_set() => break None,
                None => {}
            }
        };
        let Some((number, heard)) = first else { return self.end() };
        let opened = heard == Heard::Opened;
        let now = self.clock.now();
        let mut acts = self.session.hear(now, number, heard);
        acts.retain(|act| !matches!(act, Act::Tell(_)));
        self.act(now, acts)?;
        if let Some(booted) = self.world.next(now) {
            let requests = self.input(booted.at, &booted.event)?;
            if !opened {
                self.world.arrive(Event::SocketClosed { socket: Socket::Public, cause: CloseCause::Lost });
            }
            self.request(now, requests)?;
        }
        while !stop.is_set() {
            let now = self.clock.now();
            let acts = self.session.tick(now);
            self.act(now, acts)?;
            self.catch_up(now)?;
            self.show()?;
            let due = [self.world.due_at(), self.session.due_at()].into_iter().flatten().min();
            let wait_ms = due.map_or(100, |due| due.since(self.clock.now())).clamp(0, 100);
            let mut within = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
            for _ in 0..TOGETHER_MAX {
                let Some((number, heard)) = self.client.next(within) else { break };
                within = Duration::ZERO;
                let now = self.clock.now();
                self.catch_up(now)?;
                let acts = self.session.hear(now, number, heard);
                self.act(now, acts)?;
                self.catch_up(now)?;
            }
        }
        self.end()
    }

    /// Folds everything that is due by now.
    fn catch_up(&mut self, now: TimeMs) -> anyhow::Result<()> {
        while let Some(input) = self.world.next(now) {
            let requests = self.input(input.at, &input.event)?;
            self.request(now, requests)?;
        }
        Ok(())
    }

    fn request(&mut self, now: TimeMs, requests: Vec<PublicRequest>) -> anyhow::Result<()> {
        for request in requests {
            let acts = self.session.request(now, request);
            self.act(now, acts)?;
        }
        Ok(())
    }

    /// Folds an event and carries its effects out but for those that concern the feed, which it returns.
    fn input(&mut self, at: TimeMs, event: &Event) -> anyhow::Result<Vec<PublicRequest>> {
        self.fold(at, event)?;
        Ok(self.world.carry_out(self.folder.effects()))
    }

    /// Appends an event, then folds it.
    fn fold(&mut self, at: TimeMs, event: &Event) -> anyhow::Result<()> {
        let seq: Seq = self.log.event(at, event)?;
        self.folder.step(at, event)?;
        ensure!(seq == self.folder.seq(), "the log is at event {}, the fold at {}", seq.0, self.folder.seq().0);
        Ok(())
    }

    fn act(&mut self, now: TimeMs, acts: Vec<Act>) -> anyhow::Result<()> {
        for act in acts {
            match act {
                Act::Keep(direction, text) => self.log.feed_frame(now, &FeedFrame { direction, text: &text })?,
                Act::Tell(event) => self.world.arrive(event),
                Act::Connect(number) => self.client.connect(number),
                Act::Send(number, text) => self.client.send(number, text),
                Act::Say(text) => self.serving.say(&format!("feed: {text}"))?,
            }
        }
        Ok(())
    }

    /// Shows the status once the log that it follows from has been handed to the system.
    fn show(&mut self) -> anyhow::Result<()> {
        self.log.flush()?;
        self.publisher.after(&self.folder, &self.serving.board);
        Ok(())
    }

    /// Seals the log.
    fn end(self) -> anyhow::Result<Seq> {
        self.log.finish()?;
        Ok(self.folder.seq())
    }
}
