//! What stands beside the packs of a whole set of drills.

use std::collections::BTreeMap;

use super::{
    pack::{DrillRun, Pack, PackError},
    pages::index_page,
    signoff::Signoff,
};

/// The files beside the packs: the sheet that a person signs, the same for programs, and the page over all drills.
pub const SHEET_FILES: [&str; 3] = ["SIGNOFF.md", "signoff.json", "index.html"];

/// Builds the files beside the packs, by name, from every run (drills first, each with its variants) and every pack by folder
/// name.
///
/// # Errors
/// [`PackError::Page`].
pub fn sheets(runs: &[DrillRun], packs: &BTreeMap<String, Pack>) -> Result<BTreeMap<String, Vec<u8>>, PackError> {
    let signoff = Signoff::new(runs, packs);
    let texts = [signoff.sheet(), format!("{:#}\n", signoff.document()), index_page(&signoff, runs)?];
    Ok(SHEET_FILES.iter().zip(texts).map(|(name, text)| ((*name).to_owned(), text.into_bytes())).collect())
}
