//! Evidence packs: what a reviewer of the drill checklist signs.
//!
//! **Owns** the content of `evidence/phase2/`: one pack a drill ([`pack()`]), what is found when one is made again
//! ([`verify_files`]), and what stands beside the packs: the sign-off ([`Signoff`]) and a page over all
//! ([`sheets()`]); and what a CI service is told of a set of runs ([`CiReport`]).
//!
//! **Invariant:** a pack is made of events, digests and judgements only: the same run gives the same bytes on any machine.
//! No wall-clock time, host name or absolute path enters.
//! **Invariant:** a box is ticked only by a check that ran.
//!
//! **What it does not do.** It writes no files; the caller puts the bytes where they belong, or compares them.

mod ci;
mod pack;
mod pages;
mod proof;
mod registry_proof;
mod sheets;
mod signoff;
mod verify;

pub use ci::{CiReport, CiRun, Compared, annotation_of_error, junit_of_error};
pub use pack::{DrillRun, PACK_FILES, Pack, PackError, pack};
pub use proof::{PROOF, PROVENANCE_FILE, Revision, SUMS_FILE, Sources, provenance};
pub use registry_proof::registry_proof;
pub use sheets::{SHEET_FILES, sheets};
pub use signoff::{DRILLS, DrillLine, Point, Signoff, Tick};
pub use verify::{FileVerdict, verify_files};
