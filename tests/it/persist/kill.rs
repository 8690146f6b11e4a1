//! A process that is killed with SIGKILL at random instants while it writes a journal, and a
//! checker that knows what the process had acknowledged.
//!
//! The writer is this test binary itself: `writer_process` does nothing unless the checker starts
//! it. `LEAKPROOF_KILLS=1000 cargo test --all-features --test it kill::` kills more often.

use std::collections::{HashMap, HashSet};
use std::env;
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use leakproof::persist::{Journal, Sync};
use leakproof::{Claim, Clock, DedupMap};

use crate::support::example::Folder;

const HOUR: Duration = Duration::from_secs(3600);
const DIRECTORY: &str = "LEAKPROOF_KILL_DIRECTORY";
const ROUND: &str = "LEAKPROOF_KILL_ROUND";
const EVERY: &str = "LEAKPROOF_KILL_EVERY_MS";

fn build(path: &Path, sync: Sync) -> DedupMap<str, u64> {
    let journal = Journal::open(path).expect("the lock is free");
    // Small segments, so that kills hit their creation and deletion as well.
    let journal = journal.sync(sync).segment_bytes(64 << 10);
    let builder = DedupMap::builder().ttl(HOUR).max_entries(10_000_000);
    builder
        .journal(journal)
        .build()
        .expect("the journal is whole")
}

/// Prints one line at once. A line is what the sender of a message would see.
fn print(line: &str) {
    let mut out = stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes())
        .expect("a pipe");
    out.flush().expect("a pipe");
}

/// Records ids until it is killed. `+ id` means that the id is recorded, `= id` that another thread
/// found it to be a duplicate, `? id` that it will be removed, and `- id` that it is removed.
/// `s n` means that no write of the journal has taken more than `n` ns.
#[test]
fn writer_process() {
    let Ok(path) = env::var(DIRECTORY) else {
        return;
    };
    let round = env::var(ROUND).expect("a number");
    let sync = match env::var(EVERY) {
        Ok(ms) => Sync::Every(Duration::from_millis(ms.parse().expect("a number"))),
        Err(_) => Sync::Always,
    };
    let seen = build(Path::new(&path), sync);
    thread::scope(|scope| {
        scope.spawn(|| {
            let is_measured = sync != Sync::Always;
            for _ in (0_u64..).take_while(|_| is_measured) {
                let longest = seen.stats().journal_longest_write.expect("a journal");
                print(&format!("s {}", longest.as_nanos()));
                thread::park_timeout(Duration::from_millis(2));
            }
        });
        // Two threads that handle the same messages: one waits for the other.
        for _ in 0..2 {
            let (seen, round) = (&seen, &round);
            scope.spawn(move || {
                for number in (0_u64..).take_while(|_| sync == Sync::Always) {
                    let id = format!("{round}/both/{number}");
                    match seen.claim_wait_blocking(&id, HOUR) {
                        Claim::Fresh(ticket) => {
                            ticket.commit(number).expect("in time");
                            print(&format!("+ {id}"));
                        }
                        Claim::Duplicate { .. } => print(&format!("= {id}")),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        for writer in 0..2 {
            let (seen, round) = (&seen, &round);
            scope.spawn(move || {
                for number in 0_u64.. {
                    let id = format!("{round}/{writer}/{number}");
                    seen.record(&id, number);
                    print(&format!("+ {id}"));
                    if number % 5 == 0 {
                        print(&format!("? {id}"));
                        seen.remove(&id);
                        print(&format!("- {id}"));
                    }
                    if sync != Sync::Always {
                        // The rate of a busy bot.
                        thread::park_timeout(Duration::from_micros(500));
                    }
                }
            });
        }
    });
}

/// The acknowledgements of one process, with the time at which the checker read them.
#[derive(Default)]
struct Acknowledged {
    recorded: HashMap<String, Duration>,
    duplicates: HashSet<String>,
    longest_write: Duration,
    /// The longest time between two lines of a thread that prints all the time: threads of a busy
    /// machine wait for a core.
    longest_gap: Duration,
    /// The time of its last line.
    last_measured: Option<Duration>,
    to_be_removed: HashSet<String>,
    removed: HashMap<String, Duration>,
}

/// Starts a writer, lets it write for about `span` after its first id, and kills it. Returns what
/// it acknowledged and the time of the kill.
fn run_and_kill(command: &mut Command, clock: &Clock, span: Duration) -> (Acknowledged, Duration) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (first, started) = channel();
    let reader = {
        let clock = clock.clone();
        thread::spawn(move || {
            let mut all = Acknowledged::default();
            for line in output.lines() {
                let line = line.expect("text");
                let Some((kind, id)) = line.split_at_checked(2) else {
                    continue;
                };
                let (now, id) = (clock.now(), id.to_owned());
                let is_first = match kind {
                    "s " => {
                        let nanos = id.parse().expect("a number");
                        all.longest_write = Duration::from_nanos(nanos);
                        let gap = now - all.last_measured.replace(now).unwrap_or(now);
                        all.longest_gap = all.longest_gap.max(gap);
                        continue;
                    }
                    "= " => all.duplicates.insert(id),
                    "+ " => all.recorded.insert(id, now).is_none(),
                    "? " => all.to_be_removed.insert(id),
                    "- " => all.removed.insert(id, now).is_none(),
                    _ => continue,
                };
                assert!(is_first, "acknowledged twice");
                first.send(()).ok();
            }
            all
        })
    };
    started
        .recv_timeout(Duration::from_secs(60))
        .expect("the writer records an id");
    thread::park_timeout(span);
    let killed = clock.now();
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let mut all = reader.join().expect("no panic");
    if let Some(last) = all.last_measured {
        all.longest_gap = all.longest_gap.max(killed.saturating_sub(last));
    }
    (all, killed)
}

fn kills(default: u32) -> u32 {
    let kills = env::var("LEAKPROOF_KILLS");
    kills.map_or(default, |kills| kills.parse().expect("a number"))
}

/// Kills in one directory, so that it stays small.
const PER_DIRECTORY: u32 = 20;

/// Kills writers, and checks after each kill what is in the journal. An acknowledgement counts if
/// it was read at least `grace` and the longest write before the kill. Returns the largest age of a
/// lost one.
fn check(name: &str, kills: u32, every: Option<u64>, grace: Duration) -> Duration {
    let mut folder = Folder::new(name);
    let clock = Clock::precise();
    let sync = every.map_or(Sync::Always, |ms| Sync::Every(Duration::from_millis(ms)));
    let mut expected: HashSet<String> = HashSet::new();
    let (mut acknowledged, mut killed_writers) = (0, 0);
    let (mut oldest_lost, mut beyond_write) = (Duration::ZERO, Duration::ZERO);
    for kill in 0..kills {
        if kill % PER_DIRECTORY == 0 {
            expected.clear();
            folder = Folder::new(&format!("{name}-{kill}"));
        }
        killed_writers += 1;
        let mut command = Command::new(env::current_exe().expect("a test has a path"));
        command
            .args([
                "--exact",
                "persist::kill::writer_process",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIRECTORY, folder.path())
            .env(ROUND, kill.to_string());
        if let Some(ms) = every {
            command.env(EVERY, ms.to_string());
        }
        // A sequence without a pattern, from the golden ratio.
        let random = u64::from(kill).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let span = 2 * grace + Duration::from_micros(random % 80_000);
        let (read, killed) = run_and_kill(&mut command, &clock, span);
        acknowledged += read.recorded.len();

        let seen = build(folder.path(), sync);
        seen.validate();
        let lost: Vec<&String> = expected
            .iter()
            .filter(|id| !seen.contains_key(id))
            .collect();
        assert!(lost.is_empty(), "lost after an earlier restart: {lost:?}");
        for (id, at) in &read.recorded {
            if read.to_be_removed.contains(id) || seen.contains_key(id) {
                continue;
            }
            let age = killed.saturating_sub(*at);
            oldest_lost = oldest_lost.max(age);
            let before_write = age.saturating_sub(read.longest_write + read.longest_gap);
            beyond_write = beyond_write.max(before_write);
            let counts = grace == Duration::ZERO || before_write > grace;
            assert!(!counts, "{id} is new, {age:?} after it was acknowledged");
        }
        for id in &read.duplicates {
            assert!(seen.contains_key(id), "{id} is new, and was a duplicate");
        }
        for (id, at) in &read.removed {
            let age = killed.saturating_sub(*at + read.longest_write + read.longest_gap);
            let counts = grace == Duration::ZERO || age > grace;
            assert!(!counts || !seen.contains_key(id), "{id} was removed");
        }
        expected.clear();
        seen.for_each(|id, _, _| {
            expected.insert(id.to_owned());
        });
    }
    println!(
        "{killed_writers} kills, {acknowledged} ids acknowledged, oldest lost {oldest_lost:?}, \
         {beyond_write:?} without the longest write and the longest wait for a core"
    );
    assert!(acknowledged > killed_writers);
    oldest_lost
}

#[test]
fn no_acknowledged_id_is_lost_by_sigkill_with_always() {
    let oldest_lost = check("kill-always", kills(200), None, Duration::ZERO);
    assert_eq!(oldest_lost, Duration::ZERO);
}

#[test]
fn ids_older_than_the_interval_are_not_lost_by_sigkill() {
    // The interval, and the time that a thread of a busy machine may wait for a core.
    let grace = Duration::from_millis(100 + 400);
    check("kill-every", kills(30), Some(100), grace);
}

/// A process that stops in an orderly way loses nothing, whatever the option is.
#[test]
fn dropped_map_loses_nothing() {
    let folder = Folder::new("kill-none");
    let done = AtomicBool::new(false);
    let seen = build(folder.path(), Sync::Every(HOUR));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..10_000 {
                seen.record(&number.to_string(), number);
            }
            done.store(true, Ordering::Relaxed);
        });
    });
    drop(seen);
    assert!(done.load(Ordering::Relaxed));
    assert_eq!(build(folder.path(), Sync::Never).len(), 10_000);
}
