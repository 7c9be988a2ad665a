//! The fold with its hashes.

use drillfold_kernel::{
    BEHAVIOUR_VERSION, COMPONENTS, Kernel,
    effect::Effect,
    event::{BookDelta, Event},
    registry::{OpenPermissionReason, TradingMode},
    resolver::ReasonSet,
    units::{Seq, TimeMs},
};
use serde::Serialize;
use thiserror::Error;

use xxhash_rust::xxh3::xxh3_64;

use crate::wal::{
    ChainHasher, Checkpoint, Digest128, Digest256, ImageError, Stretch, TraceHeader, encode_state, state_hash,
};

/// How far apart a trace's checkpoints and state images stand, in events. A trace's header names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From one checkpoint to the next; at least 1.
    pub checkpoint: u32,
    /// From one state image to the next; 0 for none.
    pub image: u32,
}

impl Strides {
    /// Those of drills, whose runs are short and are looked at closely.
    pub const DRILL: Self = Self { checkpoint: 256, image: 4096 };

    /// Those of long logs: a checkpoint costs as much as thousands of events of market data, and folding on from an image
    /// takes some hundredths of a second.
    pub const LONG: Self = Self { checkpoint: 65_536, image: 131_072 };
}

/// Steps when the kernel's state changes its shape without changing the bytes of an empty one.
const STATE_LAYOUT_VERSION: u32 = 2;

/// Why a fold can't go on.
#[derive(Debug, Error)]
pub enum FoldError {
    /// State or behaviour could not be turned into bytes; a defect of ours, never of the log.
    #[error("encode event {seq}", seq = seq.0)]
    Encode {
        /// The event.
        seq: Seq,
        /// What failed.
        #[source]
        source: ImageError,
    },
}

/// What the chain hash covers of one event: what could be observed of it. Its version is
/// [`BEHAVIOUR_VERSION`].
#[derive(Serialize)]
struct Behaviour<'a> {
    mode: TradingMode,
    reasons: ReasonSet,
    codes: &'a [OpenPermissionReason],
    effects: &'a [Effect],
}

/// The behaviour record of the last event that had no effects and left no code.
#[derive(Clone, Debug)]
struct Quiet {
    mode: TradingMode,
    reasons: ReasonSet,
    bytes: Vec<u8>,
    digest: u64,
}

/// A kernel, the chain over its behaviour, and the effects of the last event.
#[derive(Clone, Debug)]
pub struct Folder {
    kernel: Kernel,
    chain: ChainHasher,
    strides: Strides,
    effects: Vec<Effect>,
    quiet: Option<Quiet>,
    /// True where the last event left what `quiet` has.
    was_quiet: bool,
    /// What was done at each event since the last checkpoint, and between the two before.
    behaviours: Vec<Stretch>,
    closed_behaviours: Vec<Stretch>,
    seq: Seq,
    at: TimeMs,
}

impl Folder {
    /// Returns a folder before the first event.
    #[must_use]
    pub fn new(strides: Strides) -> Self {
        Self::resume(strides, Kernel::down(), Seq(0), TimeMs(0), Digest128::ZERO)
    }

    /// Returns a folder after the event `seq` at `at`, where there was a checkpoint with that chain hash and `kernel` was
    /// the state.
    #[must_use]
    pub fn resume(strides: Strides, kernel: Kernel, seq: Seq, at: TimeMs, chain: Digest128) -> Self {
        Self {
            kernel,
            chain: ChainHasher::resume(chain),
            strides,
            effects: Vec::new(),
            quiet: None,
            was_quiet: false,
            behaviours: Vec::new(),
            closed_behaviours: Vec::new(),
            seq,
            at,
        }
    }

    /// Applies the next event; its number is one more than the last.
    ///
    /// # Errors
    /// [`FoldError::Encode`].
    pub fn step(&mut self, at: TimeMs, event: &Event) -> Result<(), FoldError> {
        self.seq = Seq(self.seq.0.saturating_add(1));
        self.at = at;
        self.effects.clear();
        self.kernel.apply(self.seq, at, event, &mut self.effects);
        self.note_behaviour()
    }

    /// Applies the next event, a book change, where it lies, if the kernel can take it so; false where [`Self::step`] has to
    /// be called, and then nothing has changed. The fold is the same either way.
    ///
    /// # Errors
    /// [`FoldError::Encode`].
    pub fn step_book_change(&mut self, at: TimeMs, change: &impl BookDelta) -> Result<bool, FoldError> {
        let seq = Seq(self.seq.0.saturating_add(1));
        self.effects.clear();
        if !self.kernel.apply_book_change(seq, at, change, &mut self.effects) {
            return Ok(false);
        }
        (self.seq, self.at) = (seq, at);
        self.note_behaviour().map(|()| true)
    }

    /// Adds what was done at the last event to the chain and the behaviours.
    #[inline]
    fn note_behaviour(&mut self) -> Result<(), FoldError> {
        let (mode, reasons) = (self.kernel.core.resolution.mode, self.kernel.core.resolution.reasons);
        let is_quiet = self.effects.is_empty() && !self.kernel.latch.is_set();
        if let Some(quiet) = &self.quiet
            && is_quiet
            && quiet.mode == mode
            && quiet.reasons == reasons
        {
            if !(self.was_quiet && self.chain.push_again()) {
                self.chain.push(&quiet.bytes);
            }
            self.was_quiet = true;
            extend(&mut self.behaviours, quiet.digest);
            return Ok(());
        }
        let codes: Vec<OpenPermissionReason> = self.kernel.latch.codes().collect();
        let behaviour = Behaviour { mode, reasons, codes: &codes, effects: &self.effects };
        let bytes = encode_state(&behaviour).map_err(|source| FoldError::Encode { seq: self.seq, source })?;
        self.chain.push(&bytes);
        let digest = xxh3_64(&bytes);
        extend(&mut self.behaviours, digest);
        self.was_quiet = is_quiet;
        if is_quiet {
            self.quiet = Some(Quiet { mode, reasons, bytes, digest });
        }
        Ok(())
    }

    /// Returns the kernel after the last event.
    #[must_use]
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Returns what the kernel asked for at the last event.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Returns the number of the last event; 0 before the first.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Returns the time of the last event.
    #[must_use]
    pub const fn at(&self) -> TimeMs {
        self.at
    }

    /// True where a checkpoint is due after the last event.
    #[must_use]
    pub const fn checkpoint_is_due(&self) -> bool {
        self.seq.0.is_multiple_of(self.strides.checkpoint as u64)
    }

    /// True where a state image is due after the last event.
    #[must_use]
    pub const fn image_is_due(&self) -> bool {
        self.strides.image != 0 && self.seq.0.is_multiple_of(self.strides.image as u64)
    }

    /// Returns the state hash after the last event, as a checkpoint there would have it.
    ///
    /// # Errors
    /// [`FoldError::Encode`].
    pub fn state(&self) -> Result<Digest128, FoldError> {
        let leaves = leaves_of(&self.kernel).map_err(|source| FoldError::Encode { seq: self.seq, source })?;
        Ok(state_hash(&leaves))
    }

    /// Closes the chain's batch and returns the checkpoint after the last event.
    ///
    /// # Errors
    /// [`FoldError::Encode`].
    pub fn checkpoint(&mut self) -> Result<Checkpoint, FoldError> {
        let leaves = leaves_of(&self.kernel).map_err(|source| FoldError::Encode { seq: self.seq, source })?;
        std::mem::swap(&mut self.behaviours, &mut self.closed_behaviours);
        self.behaviours.clear();
        Ok(Checkpoint::new(self.seq, self.at, self.chain.checkpoint(), leaves))
    }

    /// Returns what was done at each event that the last checkpoint closed.
    #[must_use]
    #[expect(clippy::misnamed_getters, reason = "those that are being collected are nobody else's")]
    pub fn behaviours(&self) -> &[Stretch] {
        &self.closed_behaviours
    }

    /// Returns the digest of what was done at the last event; `None` before the first.
    #[must_use]
    pub fn behaviour_digest(&self) -> Option<u64> {
        self.behaviours.last().or_else(|| self.closed_behaviours.last()).map(|stretch| stretch.digest)
    }

    /// Returns the header of a trace that this build makes of a log.
    ///
    /// # Errors
    /// [`FoldError::Encode`].
    pub fn trace_header(
        event_schema: Digest128,
        scenario_digest: Digest256,
        seed: u64,
        strides: Strides,
    ) -> Result<TraceHeader, FoldError> {
        Ok(TraceHeader {
            behaviour_version: BEHAVIOUR_VERSION,
            checkpoint_stride_events: strides.checkpoint,
            image_stride_events: strides.image,
            state_fingerprint: state_fingerprint().map_err(|source| FoldError::Encode { seq: Seq(0), source })?,
            event_schema,
            scenario_digest,
            seed,
            components: COMPONENTS.iter().map(|name| (*name).to_owned()).collect(),
        })
    }
}

/// Adds one event to stretches.
fn extend(stretches: &mut Vec<Stretch>, digest: u64) {
    match stretches.last_mut() {
        Some(last) if last.digest == digest && last.event_count < u32::MAX => last.event_count += 1,
        Some(_) | None => stretches.push(Stretch { event_count: 1, digest }),
    }
}

/// Returns the hash of each component of a state, in the order of [`COMPONENTS`].
///
/// # Errors
/// [`ImageError`] where a component can't be encoded.
pub fn leaves_of(kernel: &Kernel) -> Result<Vec<Digest128>, ImageError> {
    let Kernel { core, feeds, orders, ledger, groups, session, latch, monitors, .. } = kernel;
    let bytes: [Vec<u8>; COMPONENTS.len()] = [
        encode_state(core)?,
        encode_state(feeds)?,
        encode_state(orders)?,
        encode_state(ledger)?,
        encode_state(groups)?,
        encode_state(session)?,
        encode_state(latch)?,
        encode_state(monitors)?,
    ];
    Ok(bytes.iter().map(|bytes| Digest128::of(bytes)).collect())
}

/// Returns the fingerprint of the state's type: a digest over the bytes of an empty state and the layout's version.
///
/// # Errors
/// [`ImageError`] where the empty state can't be encoded.
pub fn state_fingerprint() -> Result<Digest128, ImageError> {
    let mut bytes = encode_state(&Kernel::down())?;
    bytes.extend_from_slice(&STATE_LAYOUT_VERSION.to_le_bytes());
    Ok(Digest128::of(&bytes))
}
