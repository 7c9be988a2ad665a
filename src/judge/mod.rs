//! Judging a run: what must hold, over the whole timeline.
//!
//! **Owns** the loop that runs a scenario ([`run`]), the observer with its facts ([`observe`], [`facts`]), the expression
//! language ([`expr`]), the global invariants ([`invariants`]), what a drill is held against ([`references`]), and the
//! verdict ([`report`]); also how a run went over time ([`course`]) and what a set of runs exercised ([`coverage`]). Beside
//! the first stands the leaner loop that records long logs and judges nothing ([`generate`]).
//!
//! **Invariants.** Judging changes nothing of what it looks at. An expression is checked in full before a run begins, so
//! that a mistyped name or token is an error and never an expectation that silently passes.

pub mod course;
pub mod coverage;
pub mod expectations;
pub mod expr;
pub mod facts;
pub mod generate;
pub mod invariants;
pub mod observe;
pub mod references;
pub mod report;
pub mod run;
