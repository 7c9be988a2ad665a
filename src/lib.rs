//! drillfold: a deterministic, event-sourced simulator and replay engine for chaos drills of a trading system's safety layer.
//!
//! Rooms in reading order: `drillfold_kernel` folds events into state; [`contract`] makes `/status` of it and validates it;
//! [`scenario`] is what people write; [`exchange`] and [`sim`] are the world; [`wal`] and [`storage`] keep the log;
//! [`replay`] folds it again; [`judge`] decides; [`inspect`] finds out why; [`evidence`] writes packs; [`feed`] reads real
//! frames; [`serve`] shows a status over HTTP; [`cli`] is the command line. The map is `specs/ARCHITECTURE.md`.

pub mod cli;
pub mod contract;
pub mod evidence;
pub mod exchange;
pub mod feed;
pub mod inspect;
pub mod judge;
pub mod replay;
pub mod scenario;
#[cfg(feature = "net")]
pub mod serve;
#[cfg(feature = "net")]
pub mod shadow;
pub mod sim;
pub mod storage;
pub mod text;
pub mod wal;
