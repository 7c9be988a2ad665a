//! The integration tests: one binary, one module a subject.

mod kernel_rules;
mod prop_sequences;
mod reference;
mod rig;
