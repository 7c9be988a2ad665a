//! What changed, event by event: mode, reasons, latch codes, causes of the risk state, exposure, open orders.

use std::fmt;

use drillfold_kernel::{
    Kernel,
    registry::{OpenPermissionReason, TradingMode},
    resolver::ReasonSet,
    state::Cause,
    units::{Qty, Seq, TimeMs},
};
use serde_json::{Value, json};

use crate::{
    judge::expr::Number,
    replay::{Events, Folder, Passed, ReplayError, Strides},
    wal::LogFiles,
};

use super::describe::describe;

/// What a timeline looks at. Equal where nothing changed: an exposure that moves with prices alone counts for nothing.
#[derive(Clone, Debug)]
pub struct Standing {
    /// True while a process is up.
    pub up: bool,
    /// The mode.
    pub mode: TradingMode,
    /// Its published reasons.
    pub reasons: ReasonSet,
    /// Codes of the latch, in registry order.
    pub codes: Vec<OpenPermissionReason>,
    /// Active causes of the risk state.
    pub causes: Vec<Cause>,
    /// Positions, one an instrument.
    pub positions: Vec<Qty>,
    /// Absolute net exposure per underlying, summed, in 1e-9 coins.
    pub exposure: i64,
    /// Orders of ours that rest at the venue, as we know them.
    pub open_orders: usize,
}

impl Standing {
    /// Returns how a kernel stands.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            up: kernel.core.up,
            mode: kernel.core.resolution.mode,
            reasons: kernel.core.resolution.reasons,
            codes: kernel.latch.codes().collect(),
            causes: kernel.active_causes().map(|(cause, _)| cause).collect(),
            positions: kernel.orders.positions.clone(),
            exposure: kernel.total_exposure(),
            open_orders: kernel.orders.live.len(),
        }
    }

    /// Returns what a program reads of it.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({
            "up": self.up,
            "trading_mode": self.mode.token(),
            "mode_reasons": self.reasons.iter().map(|reason| reason.token()).collect::<Vec<_>>(),
            "open_permission_reason_codes": self.codes.iter().map(|code| code.token()).collect::<Vec<_>>(),
            "causes": self.causes.iter().map(|cause| format!("{cause:?}")).collect::<Vec<_>>(),
            "exposure": Number::nano(self.exposure).to_string(),
            "open_orders": self.open_orders,
        })
    }
}

impl PartialEq for Standing {
    fn eq(&self, other: &Self) -> bool {
        let Self { up, mode, reasons, codes, causes, positions, exposure: _, open_orders } = self;
        (*up, *mode, *reasons, *open_orders) == (other.up, other.mode, other.reasons, other.open_orders)
            && *codes == other.codes
            && *causes == other.causes
            && *positions == other.positions
    }
}

impl Eq for Standing {}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.up {
            return f.write_str("down");
        }
        f.write_str(self.mode.token())?;
        let list = |f: &mut fmt::Formatter<'_>, name: &str, items: &[String]| match items {
            [] => Ok(()),
            items => write!(f, "  {name} {}", items.join(",")),
        };
        list(f, "reasons", &self.reasons.iter().map(|reason| reason.token().to_owned()).collect::<Vec<_>>())?;
        list(f, "latch", &self.codes.iter().map(|code| code.token().to_owned()).collect::<Vec<_>>())?;
        list(f, "causes", &self.causes.iter().map(|cause| format!("{cause:?}")).collect::<Vec<_>>())?;
        write!(f, "  exposure {}  open orders {}", Number::nano(self.exposure), self.open_orders)
    }
}

/// A line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A mark of the log, before the event of that number.
    Mark {
        /// The next event's number.
        seq: Seq,
        /// The mark's time.
        at: TimeMs,
        /// What kind of mark.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// How the kernel stands after an event that changed it.
    Change {
        /// The event.
        seq: Seq,
        /// Its time.
        at: TimeMs,
        /// The event in a few words.
        event: String,
        /// How the kernel stands.
        standing: Standing,
    },
}

impl Line {
    /// Returns what a program reads of it.
    #[must_use]
    pub fn document(&self) -> Value {
        match self {
            Self::Mark { seq, at, kind, name } => json!({ "seq": seq.0, "at_ms": at.0, "mark": kind, "name": name }),
            Self::Change { seq, at, event, standing } => {
                json!({ "seq": seq.0, "at_ms": at.0, "event": event, "standing": standing.document() })
            }
        }
    }
}

/// Folds a log from its beginning and tells every line of its timeline to `take`, marks in their places. Returns how many
/// events there were.
///
/// # Errors
/// [`ReplayError`]; whatever `take` returns.
pub fn timeline<E: From<ReplayError>>(
    files: &mut LogFiles<'_>,
    mut take: impl FnMut(&Line) -> Result<(), E>,
) -> Result<u64, E> {
    let mut events = Events::new(files)?;
    let mut folder = Folder::new(Strides::LONG);
    let mut standing = Standing::of(folder.kernel());
    while let Some(Passed { seq, at, mark }) = events.next_or_mark()? {
        if let Some(mark) = mark {
            take(&Line::Mark { seq, at, kind: mark.kind.name(), name: mark.name })?;
            continue;
        }
        folder.step(at, events.event()).map_err(ReplayError::from)?;
        let kernel = folder.kernel();
        let now = Standing::of(kernel);
        if now != standing {
            standing = now;
            let event = describe(events.event(), kernel);
            take(&Line::Change { seq, at, event, standing: standing.clone() })?;
        }
    }
    Ok(folder.seq().0)
}
