//! The heavy replay: is everything that matters in a state image?
//!
//! Beside the fold run two others: one whose state is encoded and decoded again after every event, and one that was decoded
//! at the last checkpoint. A part of the state that no image holds is lost in both, and shows as soon as it matters: in
//! what a kernel does, or in the bytes of its state.

use drillfold_kernel::{
    Kernel,
    effect::Effect,
    units::{Seq, TimeMs},
};

use serde::Serialize;

use crate::{
    contract::diff::{Difference, diff},
    replay::{Events, FoldError, Folder, ReplayError, Strides},
    wal::{LogFiles, decode_state, encode_state},
};

/// Which of the two other folds parted from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shadow {
    /// The one that is encoded and decoded after every event.
    EachEvent,
    /// The one that was decoded at the last checkpoint.
    SinceCheckpoint,
}

/// The first event at which a fold that went on from an image parted from the one that never stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// The event.
    pub seq: Seq,
    /// Its time.
    pub at: TimeMs,
    /// Which fold parted.
    pub shadow: Shadow,
    /// The image's event: what it lacks was there then.
    pub image_seq: Seq,
    /// True where the two did something different; false where only their states differ.
    pub is_observable: bool,
    /// Where the states differ afterwards, as far as images show it.
    pub differences: Vec<Difference>,
}

/// What a heavy replay found.
#[derive(Clone, Debug)]
pub struct Heavy {
    /// Events folded.
    pub event_count: u64,
    /// Checkpoints from which was folded on.
    pub checkpoint_count: u64,
    /// What images lose, if anything was found; the replay ends there.
    pub loss: Option<Loss>,
}

/// A fold from an image.
struct Other {
    shadow: Shadow,
    kernel: Kernel,
    image_seq: Seq,
    effects: Vec<Effect>,
}

/// Folds a log from its beginning three times over. A checkpoint is taken every `stride` events.
///
/// # Errors
/// [`ReplayError`]; a loss is no error but a finding.
pub fn replay_heavily(files: &mut LogFiles<'_>, stride: u32) -> Result<Heavy, ReplayError> {
    let mut events = Events::new(files)?;
    let mut folder = Folder::new(Strides { checkpoint: stride.max(1), image: 0 });
    let other = |shadow| Other { shadow, kernel: Kernel::down(), image_seq: Seq(0), effects: Vec::new() };
    let mut others = [other(Shadow::EachEvent), other(Shadow::SinceCheckpoint)];
    let mut checkpoint_count = 0;
    while let Some((seq, at)) = events.next()? {
        let event = events.event();
        folder.step(at, event)?;
        let failed = |source| FoldError::Encode { seq, source };
        let bytes = encode_state(folder.kernel()).map_err(failed)?;
        for other in &mut others {
            other.effects.clear();
            other.kernel.apply(seq, at, event, &mut other.effects);
            let (own, others) = (&folder.kernel().core.resolution, &other.kernel.core.resolution);
            let is_observable = other.effects != folder.effects() || own != others;
            if is_observable || encode_state(&other.kernel).map_err(failed)? != bytes {
                let differences = state_differences(folder.kernel(), &other.kernel);
                let (shadow, image_seq) = (other.shadow, other.image_seq);
                let loss = Some(Loss { seq, at, shadow, image_seq, is_observable, differences });
                return Ok(Heavy { event_count: seq.0, checkpoint_count, loss });
            }
        }
        let is_checkpoint = folder.checkpoint_is_due();
        if is_checkpoint {
            checkpoint_count += 1;
        }
        for other in &mut others {
            if other.shadow == Shadow::EachEvent || is_checkpoint {
                other.kernel = decode_state(&bytes).map_err(failed)?;
                other.image_seq = seq;
            }
        }
    }
    Ok(Heavy { event_count: folder.seq().0, checkpoint_count, loss: None })
}

/// Returns where two states differ, path by path.
#[must_use]
pub fn state_differences(left: &Kernel, right: &Kernel) -> Vec<Difference> {
    diff(&state_document(left), &state_document(right))
}

/// Returns a state as JSON, component by component.
#[must_use]
pub fn state_document(kernel: &Kernel) -> serde_json::Value {
    // A state has no map whose keys JSON lacks; a test sees to it.
    serde_json::to_value(kernel).unwrap_or_default()
}
