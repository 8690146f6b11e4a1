//! A `DedupMap` with a journal, which is dropped and opened again.
//!
//! Each thread has ids of its own, so it knows every answer. Three copies must know the same ids: a
//! copy of the directory from before the map is dropped, as after a crash, a snapshot, and the map
//! that is opened again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leakproof::persist::{Journal, PersistError, Sync};
use leakproof::{Claim, DedupMap, Recorded};

use crate::round::{Dice, Round, Tally, Time, nanos};

/// Starts of the map in a round.
const STARTS: u64 = 3;
const OPERATIONS: usize = 250;
/// The time between two starts, which counts by the wall clock, is shorter.
const DOWNTIME: u64 = 100_000_000_000;
const SEGMENT: u64 = 8 << 10;
/// A block with one insert: two numbers of 8 bytes, and a key of up to 12 bytes.
const RECORD: u64 = 28 + 1 + 8 + 13 + 9;

type Map = DedupMap<str, u64>;

/// The readings of the clock before and after an id was recorded.
#[derive(Clone, Copy)]
struct Known {
    before: u64,
    after: u64,
}

struct Persisted<'a> {
    round: &'a Round,
    time: Time,
    ttl: u64,
    /// The ids of each thread.
    ids: Vec<Mutex<Vec<Option<Known>>>>,
}

/// A temporary directory.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("leakproof-soak-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        folder.clear();
        folder
    }

    /// Removes its contents.
    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.0);
        fs::create_dir_all(&self.0).expect("the temporary directory is writable");
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let ttl = Duration::from_nanos(dice.between(40 * DOWNTIME, 100_000_000_000_000));
    let (ids, shards) = (dice.between(10, 200) as usize, 1 + dice.below(4));
    let sync = if dice.one_in(2) {
        Sync::Always
    } else {
        Sync::Every(Duration::from_millis(1))
    };
    let time = Time::new(&[ttl]);
    let folder = Folder::new();
    let clock = time.clock();
    // One shard may have all ids.
    let max_entries = (ids * round.threads + STARTS as usize) * shards;
    let builder = || {
        let builder = DedupMap::<str, u64>::builder().ttl(ttl).shards(shards);
        builder.max_entries(max_entries).clock(clock.clone())
    };
    let open = |path: &Path| -> Result<Map, Box<dyn std::error::Error>> {
        let journal = Journal::open(path)?.sync(sync).segment_bytes(SEGMENT);
        Ok(builder().journal(journal).build()?)
    };
    let of_thread = || Mutex::new(vec![None; ids]);
    let persisted = Persisted {
        round,
        time,
        ttl: nanos(ttl),
        ids: (0..round.threads).map(|_| of_thread()).collect(),
    };
    let mut tally = Tally::default();
    let live = folder.join("live");
    let result = (0..STARTS).try_for_each(|start| {
        let map = open(&live)?;
        persisted.compare(&map, "opened again", true);
        tally.add(&round.play_some(OPERATIONS, |thread| {
            let (persisted, map) = (&persisted, &map);
            move |dice: &mut Dice, tally: &mut Tally| persisted.step(map, thread, dice, tally)
        }));
        // With `Sync::Always`, every answered call is on disk already.
        if sync != Sync::Always {
            map.flush()?;
        }
        let crashed = folder.join("crashed");
        // The journal may delete a segment at the same time.
        while let Err(error) = copy(&live, &crashed) {
            if error.kind() != ErrorKind::NotFound {
                return Err(error.into());
            }
        }
        let restarted = open(&crashed)?;
        // The end of its run has the time of the last write, so ids may be younger.
        persisted.compare(&restarted, "opened after a crash", false);
        drop(restarted);
        let snapshot = folder.join("snapshot");
        let saved = map.save(&snapshot)?.saved;
        let restored = builder().build()?;
        let report = restored.restore(&snapshot)?;
        round.check_equal(
            "ids restored or expired",
            report.restored + report.expired,
            saved,
        );
        persisted.compare(&restored, "restored", true);
        // The journal ends with this reading of the clock.
        map.record(&format!("last {start}"), start);
        map.sweep();
        map.flush()?;
        let stats = map.stats();
        let bytes = size(&live)?;
        let bound = 2 * (RECORD * stats.len as u64 + SEGMENT) + (4 << 10);
        round.check(bytes <= bound, || {
            format!("the journal has {bytes} bytes, above {bound}: {stats}")
        });
        let failures = stats.journal_errors + stats.unsaved + stats.evicted;
        round.check_equal("failures of the journal", failures, 0);
        map.validate();
        tally.count("restarts");
        tally.count_many("ids restored", stats.restored);
        causes.count_many("journaled ids expired", stats.expired);
        causes.count_many("journaled ids removed", stats.removed);
        Ok::<(), Box<dyn std::error::Error>>(())
    });
    if let Err(error) = result {
        round.check(false, || format!("journal: {error}"));
    }
    tally
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn size(folder: &Path) -> Result<u64, PersistError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        bytes += entry.metadata().map_or(0, |it| it.len());
    }
    Ok(bytes)
}

fn name(thread: usize, id: usize) -> String {
    format!("{thread}:{id}")
}

impl Persisted<'_> {
    fn step(&self, map: &Map, thread: usize, dice: &mut Dice, tally: &mut Tally) {
        self.time.pass(dice, tally);
        let mut ids = self.ids[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let id = dice.below(ids.len());
        let (key, value) = (name(thread, id), id as u64);
        let known = ids[id];
        let before = self.time.now();
        let answer = match dice.below(20) {
            0..10 => {
                tally.count("ids recorded");
                match map.record(&key, value) {
                    Recorded::New => None,
                    Recorded::Duplicate { age, value } => Some((age, value)),
                    other => return self.round.check(false, || format!("id {key}: {other:?}")),
                }
            }
            10..15 => {
                tally.count("claims");
                match map.claim(&key) {
                    Claim::Fresh(ticket) if dice.one_in(4) => {
                        drop(ticket);
                        return self.agrees(&key, known, None, before, "in use");
                    }
                    Claim::Fresh(ticket) => {
                        if ticket.commit(value).is_err() {
                            // Another thread has passed the lease.
                            return tally.count("claims committed too late");
                        }
                        None
                    }
                    Claim::Duplicate { age, value } => Some((age, value)),
                    other => return self.round.check(false, || format!("id {key}: {other:?}")),
                }
            }
            15..17 => {
                tally.count("ids removed by call");
                let removed = map.remove(&key);
                ids[id] = None;
                return self.round.check(removed.is_none_or(|it| it == value), || {
                    format!("id {key} had the value {removed:?}")
                });
            }
            _ => {
                tally.count("ids read");
                let answer = map.age(&key).zip(map.get(&key));
                return self.agrees(&key, known, answer, before, "in use");
            }
        };
        self.agrees(&key, known, answer, before, "in use");
        if answer.is_none() {
            let after = self.time.now();
            ids[id] = Some(Known { before, after });
        }
    }

    /// Checks an answer: the age and value of a recorded id.
    fn agrees(
        &self,
        key: &str,
        known: Option<Known>,
        answer: Option<(Duration, u64)>,
        before: u64,
        what: &str,
    ) {
        let now = self.time.now();
        let (at_least, at_most) = known.map_or((u64::MAX, u64::MAX), |it| {
            (before.saturating_sub(it.after), now - it.before)
        });
        let (_, id) = key.split_once(':').unwrap_or_default();
        let holds = match answer {
            Some((age, value)) => {
                let (age, latest) = (nanos(age), at_most.saturating_add(DOWNTIME));
                age < self.ttl && (at_least..=latest).contains(&age) && id == value.to_string()
            }
            None => at_most.saturating_add(DOWNTIME) >= self.ttl,
        };
        self.round.check(holds, || {
            format!(
                "{what}: id {key} is {answer:?}; it was recorded {at_least} to {at_most} ns ago, \
                 the ttl is {} ns",
                self.ttl
            )
        });
    }

    /// Checks that a map knows the ids of all threads. Ids may be younger unless `is_exact`.
    fn compare(&self, map: &Map, what: &str, is_exact: bool) {
        let now = self.time.now();
        for (thread, ids) in self.ids.iter().enumerate() {
            let ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, &known) in ids.iter().enumerate() {
                let key = name(thread, id);
                let answer = map.age(&key).zip(map.get(&key));
                if is_exact || answer.is_none() {
                    self.agrees(&key, known, answer, now, what);
                }
            }
        }
    }
}
