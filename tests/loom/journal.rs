//! The drains of a journal, in every interleaving of two threads. `src/sync.rs` says how to run
//! them.
//!
//! The journal writes to real files, which are read back from the directory as after a crash.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::BuildHasherDefault;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
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

/// Runs two calls on one set with a new journal in two threads. Returns their results.
fn at_once<R: 'static>(
    folder: &Arc<Folder>,
    first: fn(&Set, &Folder) -> R,
    second: fn(&Set, &Folder) -> R,
) -> (R, R) {
    let seen = folder.open();
    let (other, its_folder) = (seen.clone(), Arc::clone(folder));
    let thread = thread::spawn(move || first(&other, &its_folder));
    let result = second(&seen, folder);
    (thread.join().expect("no panic"), result)
}

#[test]
fn concurrent_calls_return_after_their_records_are_on_disk() {
    let folder = Arc::new(Folder::new("calls"));
    let first = |seen: &Set, folder: &Folder| {
        assert!(seen.insert("first id"));
        assert!(folder.contains("first id"));
    };
    let second = |seen: &Set, folder: &Folder| {
        assert!(seen.insert("second id"));
        assert!(folder.contains("second id"));
    };
    explore(move || _ = at_once(&folder, first, second));
}

#[test]
fn duplicate_is_answered_after_the_id_is_on_disk() {
    let folder = Arc::new(Folder::new("duplicate"));
    let is_new = |seen: &Set, folder: &Folder| {
        let is_new = seen.record("the id") == Recorded::New;
        assert!(folder.contains("the id"));
        is_new
    };
    explore(move || {
        let (one, other) = at_once(&folder, is_new, is_new);
        assert_ne!(one, other);
    });
}

#[test]
fn id_that_is_recorded_during_a_clear_is_on_disk_if_it_stays() {
    let folder = Arc::new(Folder::new("clear"));
    let insert = |seen: &Set, folder: &Folder| {
        assert!(seen.insert("the id"));
        if seen.contains("the id") {
            assert!(folder.contains("the id"));
        }
    };
    explore(move || _ = at_once(&folder, insert, |seen, _| seen.clear()));
}
