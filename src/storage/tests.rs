//! One set of rules, checked on the disk and in memory.

use std::path::{Path, PathBuf};

use super::*;

/// Runs `rules` over both implementations, each in an empty folder.
#[track_caller]
fn check_both(rules: impl Fn(&dyn Storage, &Path)) {
    let memory = MemoryStorage::new();
    let root = Path::new("work");
    memory.create_folders(root).unwrap();
    rules(&memory, root);
    for durability in [Durability::Synced, Durability::Unsynced] {
        let folder = tempfile::tempdir().unwrap();
        rules(&DiskStorage::new(durability), folder.path());
    }
}

fn names(storage: &dyn Storage, folder: &Path) -> Vec<String> {
    storage.list(folder).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn appended_bytes_are_read_back_in_order() {
    check_both(|storage, root| {
        let path = root.join("a.wal");
        let mut file = storage.create_new(&path).unwrap();
        file.append(b"one").unwrap();
        file.append(b"two").unwrap();
        file.sync().unwrap();
        assert_eq!(file.size_bytes(), 6);
        assert_eq!(storage.read(&path).unwrap(), b"onetwo");
        drop(file);
        let mut file = storage.open_append(&path).unwrap();
        assert_eq!(file.size_bytes(), 6);
        file.append(b"three").unwrap();
        assert_eq!(file.size_bytes(), 11);
        assert_eq!(storage.read(&path).unwrap(), b"onetwothree");
    });
}

#[test]
fn a_new_file_never_overwrites() {
    check_both(|storage, root| {
        let path = root.join("a");
        storage.replace(&path, b"old").unwrap();
        let refused = storage.create_new(&path).unwrap_err();
        assert!(matches!(refused, StorageError::AlreadyExists { .. }), "{refused}");
        assert_eq!(storage.read(&path).unwrap(), b"old");
    });
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    check_both(|storage, root| {
        let path = root.join("a.wal");
        let first = storage.create_new(&path).unwrap();
        let refused = storage.open_append(&path).unwrap_err();
        assert!(matches!(refused, StorageError::Locked { .. }), "{refused}");
        assert!(refused.to_string().contains("another writer"), "{refused}");
        drop(first);
        storage.open_append(&path).unwrap();
    });
}

#[test]
fn a_replacement_is_whole_and_leaves_no_other_file() {
    check_both(|storage, root| {
        let path = root.join("status.json");
        storage.replace(&path, b"first, and longer").unwrap();
        storage.replace(&path, b"second").unwrap();
        assert_eq!(storage.read(&path).unwrap(), b"second");
        assert_eq!(names(storage, root), ["status.json"]);
    });
}

#[test]
fn a_replacement_that_fails_leaves_no_other_file() {
    check_both(|storage, root| {
        let path = root.join("folder");
        storage.create_folders(&path.join("inner")).unwrap();
        assert!(storage.replace(&path, b"bytes").is_err());
        assert_eq!(names(storage, root), ["folder"]);
    });
}

#[test]
fn a_listing_is_sorted_and_says_what_is_what() {
    check_both(|storage, root| {
        for name in ["b", "a10", "a2", "B"] {
            storage.replace(&root.join(name), b"").unwrap();
        }
        storage.create_folders(&root.join("a1/deep")).unwrap();
        let expected = [
            ("B", EntryKind::File),
            ("a1", EntryKind::Folder),
            ("a10", EntryKind::File),
            ("a2", EntryKind::File),
            ("b", EntryKind::File),
        ];
        let expected: Vec<Entry> =
            expected.into_iter().map(|(name, kind)| Entry { name: name.to_string(), kind }).collect();
        assert_eq!(storage.list(root).unwrap(), expected);
    });
}

#[test]
fn what_is_missing_is_named() {
    check_both(|storage, root| {
        let path = root.join("missing/file");
        let errors = [
            storage.read(&path).unwrap_err(),
            storage.create_new(&path).unwrap_err(),
            storage.open_append(&path).unwrap_err(),
            storage.replace(&path, b"").unwrap_err(),
            storage.list(&path).unwrap_err(),
            storage.remove(&path).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StorageError::NotFound { .. }), "{error}");
            assert!(error.to_string().contains("missing"), "{error}");
        }
        assert_eq!(storage.entry_kind(&path).unwrap(), None);
    });
}

#[test]
fn the_largest_size_is_inclusive() {
    check_both(|storage, root| {
        let path = root.join("a");
        storage.replace(&path, b"12345").unwrap();
        assert_eq!(storage.read_at_most(&path, 5).unwrap(), b"12345");
        let refused = storage.read_at_most(&path, 4).unwrap_err();
        assert!(matches!(refused, StorageError::TooLarge { size_bytes: 5, size_bytes_max: 4, .. }), "{refused}");
    });
}

#[test]
fn folders_and_files_come_and_go() {
    check_both(|storage, root| {
        let folder = root.join("x/y");
        storage.create_folders(&folder).unwrap();
        storage.create_folders(&folder).unwrap();
        assert_eq!(storage.entry_kind(&folder).unwrap(), Some(EntryKind::Folder));
        let path = folder.join("f");
        storage.replace(&path, b"").unwrap();
        assert_eq!(storage.entry_kind(&path).unwrap(), Some(EntryKind::File));
        assert!(storage.create_folders(&path).is_err());
        storage.remove(&path).unwrap();
        assert_eq!(storage.entry_kind(&path).unwrap(), None);
    });
}

#[test]
fn memory_takes_a_leading_dot_as_a_disk_does() {
    let storage = MemoryStorage::new();
    storage.replace(Path::new("./a"), b"x").unwrap();
    assert_eq!(storage.read(Path::new("a")).unwrap(), b"x");
    assert_eq!(names(&storage, Path::new(".")), ["a"]);
}

#[test]
fn the_fault_strikes_at_exactly_its_byte() {
    for budget in 0..=6_u64 {
        let memory = MemoryStorage::new();
        let faulty = FaultyStorage::new(memory.clone(), FaultBudget { bytes: Some(budget), syncs: None });
        let path = PathBuf::from("a");
        let mut file = faulty.create_new(&path).unwrap();
        let results = [file.append(b"abc").is_ok(), file.append(b"def").is_ok()];
        assert_eq!(results, [budget >= 3, budget >= 6], "budget {budget}");
        assert_eq!(memory.read(&path).unwrap(), b"abcdef"[..budget as usize]);
        assert_eq!(faulty.budget().bytes, Some(0));
    }
}

#[test]
fn a_replacement_on_a_full_disk_keeps_the_old_bytes() {
    let memory = MemoryStorage::new();
    memory.replace(Path::new("a"), b"old").unwrap();
    let faulty = FaultyStorage::new(memory, FaultBudget { bytes: Some(2), syncs: None });
    let refused = faulty.replace(Path::new("a"), b"new").unwrap_err();
    assert!(matches!(refused, StorageError::Io { .. }), "{refused}");
    assert_eq!(faulty.read(Path::new("a")).unwrap(), b"old");
}

#[test]
fn a_failed_sync_stays_failed() {
    let faulty = FaultyStorage::new(MemoryStorage::new(), FaultBudget { bytes: None, syncs: Some(1) });
    let mut file = faulty.create_new(Path::new("a")).unwrap();
    file.sync().unwrap();
    assert!(file.sync().is_err());
    assert!(file.sync().is_err());
}

#[test]
fn a_folder_appears_whole_or_not_at_all() {
    for durability in [Durability::Synced, Durability::Unsynced] {
        let root = tempfile::tempdir().unwrap();
        let disk = DiskStorage::new(durability);
        let files = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect();
        let folder = root.path().join("above/pack");
        disk.create_folder_filled(&folder, &files(&["a", "b"])).unwrap();
        assert_eq!(names(&disk, &folder), ["a", "b"]);
        assert_eq!(disk.read(&folder.join("b")).unwrap(), b"b");
        let refused = disk.create_folder_filled(&folder, &files(&["c"])).unwrap_err();
        assert!(matches!(refused, StorageError::AlreadyExists { .. }), "{refused}");
        assert_eq!(names(&disk, &folder), ["a", "b"]);

        // The second file's folder is missing, so the first is taken back.
        disk.create_folder_filled(&root.path().join("above/half"), &files(&["a", "missing/b"])).unwrap_err();
        assert_eq!(names(&disk, &root.path().join("above")), ["pack"]);
        disk.create_folder_filled(&folder.join("a/below"), &files(&["c"])).unwrap_err();
        assert_eq!(names(&disk, &folder), ["a", "b"]);
    }
}
