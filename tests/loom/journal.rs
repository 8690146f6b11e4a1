//! The drains of a journal, in every interleaving of two threads. `src/sync.rs` says how to run
//! them.
//!
//! The journal writes to real files, which are read back from the directory as after a crash.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::BuildHasherDefault;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::tasks::explore;
use leakproof::persist::{Journal, Sync};
use leakproof::{DedupSet, ManualClock, Recorded};
use loom::thread;

/// With a random hasher, an id would have another shard in each execution.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Set = DedupSet<str, Hasher>;

const HOUR: Duration = Duration::from_secs(3600);

/// A temporary directory.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("leakproof-loom-{}-{name}", process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Returns a set with a new journal. Every call on it returns after its record is on disk.
    fn open(&self) -> Set {
        let _ = fs::remove_dir_all(&self.0);
        let journal = Journal::open(&self.0)
            .expect("not in use")
            .sync(Sync::Always);
        let builder = DedupSet::builder().ttl(HOUR).max_entries(4).shards(2);
        let builder = builder.clock(&ManualClock::new()).hasher(Hasher::default());
        builder
            .journal(journal)
            .build()
            .expect("an empty directory")
    }

    /// Returns `true` if a segment has these bytes.
    fn contains(&self, id: &str) -> bool {
        let has = |path: &Path| {
            let bytes = fs::read(path).expect("a file");
            bytes.windows(id.len()).any(|it| it == id.as_bytes())
        };
        let entries = fs::read_dir(&self.0).expect("a directory");
        entries
            .map(|it| it.expect("an entry").path())
            .any(|path| has(&path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn concurrent_calls_return_after_their_records_are_on_disk() {
    let folder = std::sync::Arc::new(Folder::new("calls"));
    explore(move || {
        let seen = folder.open();
        let (other, its_folder) = (seen.clone(), folder.clone());
        let thread = thread::spawn(move || {
            assert!(other.insert("first id"));
            assert!(its_folder.contains("first id"));
        });
        assert!(seen.insert("second id"));
        assert!(folder.contains("second id"));
        thread.join().expect("no panic");
    });
}

#[test]
fn duplicate_is_answered_after_the_id_is_on_disk() {
    let folder = std::sync::Arc::new(Folder::new("duplicate"));
    explore(move || {
        let seen = folder.open();
        let (other, its_folder) = (seen.clone(), folder.clone());
        let insert = |seen: &Set, folder: &Folder| {
            let is_new = seen.record("the id") == Recorded::New;
            assert!(folder.contains("the id"));
            is_new
        };
        let thread = thread::spawn(move || insert(&other, &its_folder));
        let is_new = insert(&seen, &folder);
        assert_ne!(is_new, thread.join().expect("no panic"));
    });
}

#[test]
fn id_that_is_recorded_during_a_clear_is_on_disk_if_it_stays() {
    let folder = std::sync::Arc::new(Folder::new("clear"));
    explore(move || {
        let seen = folder.open();
        let (other, its_folder) = (seen.clone(), folder.clone());
        let thread = thread::spawn(move || {
            assert!(other.insert("the id"));
            if other.contains("the id") {
                assert!(its_folder.contains("the id"));
            }
        });
        seen.clear();
        thread.join().expect("no panic");
    });
}
