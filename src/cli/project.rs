//! Where things are in a project's folder, and reading them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    judge::references::{DrillExpectation, Golden, ReferenceError, References, golden_file},
    scenario::{self, error::ScenarioErrors, model::Scenario},
    storage::{DiskStorage, Durability, EntryKind, Storage, StorageError},
};

/// Why something of the project can't be used.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// A file or folder can't be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file is no text.
    #[error("{file}: not UTF-8 text")]
    NotText {
        /// The file.
        file: String,
    },
    /// A scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioErrors),
    /// A golden or a drill's expectation is wrong.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// There is no scenario where one was asked for.
    #[error("{place}: no scenario here; give a .toml file or a folder of them")]
    NoScenario {
        /// The file or folder.
        place: String,
    },
}

/// How many folders deep a folder of scenarios is searched.
const FOLDER_DEPTH_MAX: u32 = 8;

/// A project's folder.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    storage: DiskStorage,
}

impl Project {
    /// Returns the project in a folder.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, storage: DiskStorage::new(Durability::Synced) }
    }

    /// Returns the disk.
    #[must_use]
    pub const fn storage(&self) -> &DiskStorage {
        &self.storage
    }

    /// Returns a path below the project's folder.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        if self.root == Path::new(".") { PathBuf::from(below) } else { self.root.join(below) }
    }

    /// Returns a path as it stands below the project's folder, if it does.
    #[must_use]
    pub fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// Returns how reports name a file of the project: the same wherever the project lies.
    fn named(&self, path: &Path) -> String {
        self.below(path).display().to_string()
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// [`ProjectError::Storage`], [`ProjectError::NotText`].
    pub fn text(&self, path: &Path) -> Result<String, ProjectError> {
        let bytes = self.storage.read(path)?;
        String::from_utf8(bytes).map_err(|_| ProjectError::NotText { file: path.display().to_string() })
    }

    /// Reads a file that may be missing.
    ///
    /// # Errors
    /// [`ProjectError::Storage`].
    pub fn bytes_if_there(&self, path: &Path) -> Result<Option<Vec<u8>>, ProjectError> {
        match self.storage.entry_kind(path)? {
            Some(EntryKind::File) => Ok(Some(self.storage.read(path)?)),
            Some(_) | None => Ok(None),
        }
    }

    /// Writes a file whole, with the folders above it.
    ///
    /// # Errors
    /// [`ProjectError::Storage`].
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ProjectError> {
        if let Some(folder) = path.parent() {
            self.storage.create_folders(folder)?;
        }
        Ok(self.storage.replace(path, bytes)?)
    }

    /// Returns the scenario files of paths: a file itself, a folder's `.toml` files in name order and then those of the
    /// folders in it; without paths all of `scenarios/`, the drills first.
    ///
    /// # Errors
    /// [`ProjectError::NoScenario`], [`ProjectError::Storage`].
    pub fn scenario_files(&self, paths: &[PathBuf]) -> Result<Vec<PathBuf>, ProjectError> {
        let default = [self.path("scenarios")];
        let places = if paths.is_empty() { &default[..] } else { paths };
        let mut files = Vec::new();
        for place in places {
            let before = files.len();
            match self.storage.entry_kind(place)? {
                Some(EntryKind::Folder) => self.files_below(place, FOLDER_DEPTH_MAX, &mut files)?,
                Some(EntryKind::File) => files.push(place.clone()),
                Some(_) | None => {}
            }
            if files.len() == before {
                return Err(ProjectError::NoScenario { place: place.display().to_string() });
            }
        }
        Ok(files)
    }

    fn files_below(&self, folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> Result<(), ProjectError> {
        let entries = self.storage.list(folder)?;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File && entry.name.ends_with(".toml")) {
            files.push(folder.join(&entry.name));
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Folder) {
            self.files_below(&folder.join(&entry.name), depth, files)?;
        }
        Ok(())
    }

    /// Parses a scenario file: the scenario and its variants.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub fn scenarios(&self, file: &Path) -> Result<Vec<Scenario>, ProjectError> {
        let text = self.text(file)?;
        Ok(scenario::parse(&file.display().to_string(), &text)?)
    }

    /// Reads what a scenario is held against.
    ///
    /// # Errors
    /// [`ProjectError`]; a missing file is a failed check later, not an error.
    pub fn references(&self, scenario: &Scenario) -> Result<References, ProjectError> {
        let mut goldens = BTreeMap::new();
        for snapshot in &scenario.snapshots {
            let Some(file) = golden_file(scenario, &snapshot.name) else {
                continue;
            };
            let path = self.path("fixtures/status").join(file);
            if let Some(bytes) = self.bytes_if_there(&path)? {
                let name = path.display().to_string();
                let text = String::from_utf8(bytes).map_err(|_| ProjectError::NotText { file: name.clone() })?;
                let golden = Golden { file: self.named(&path), ..Golden::parse(&name, &text)? };
                goldens.insert(snapshot.name.clone(), golden);
            }
        }
        let path = self.path("specs/drills").join(format!("{}.toml", scenario.name));
        let expectation = match scenario.drill.map(|_| self.bytes_if_there(&path)).transpose()?.flatten() {
            None => None,
            Some(_) => {
                let parsed = DrillExpectation::parse(&path.display().to_string(), &self.text(&path)?)?;
                Some(DrillExpectation { file: self.named(&path), ..parsed })
            }
        };
        Ok(References { goldens, expectation })
    }
}
