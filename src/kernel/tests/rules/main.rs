//! The kernel's rules, one event after another, each compared with an independent reading of the contract: one binary, one
//! module a subject.

mod gates;
mod groups;
mod kernel_rules;
mod lifecycle;
mod machines;
mod orders;
mod producers;
mod prop_sequences;
mod reference;
mod rig;
mod sessions;
mod status;
mod vectors;
