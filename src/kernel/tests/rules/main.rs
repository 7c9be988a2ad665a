//! The kernel's rules, one event after another, each compared with an independent reading of the contract: one binary, one
//! module a subject.

mod kernel_rules;
mod producers;
mod prop_sequences;
mod reference;
mod rig;
mod vectors;
