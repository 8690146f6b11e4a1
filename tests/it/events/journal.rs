//! Events about journals.

use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use leakproof::persist::{Journal, Sync};
use leakproof::{DedupSet, ManualClock};
use tracing::Level;
use tracing::subscriber::with_default;

use super::tracing_capture::{OnEvent, events_of};
use crate::support::example::Folder;
use crate::support::timeout::in_time;

#[test]
fn journal_events_mark_replay_failure_and_recovery_once() {
    let folder = Folder::new("journal-events");
    let path = folder.path().join("seen.d");
    let events = events_of(|| {
        let journal = Journal::open(&path).expect("not in use");
        let builder = DedupSet::<str>::builder()
            .ttl(Duration::from_secs(60))
            .max_entries(10)
            .clock(ManualClock::new());
        let seen = builder.journal(journal.sync(Sync::Always)).build();
        let seen = seen.expect("an empty journal");
        // A directory has the name of the first segment.
        let obstacle = path.join(format!("{:020}.segment", 1));
        fs::create_dir(&obstacle).expect("created");
        assert!(seen.insert("a") && seen.insert("b"));
        fs::remove_dir(&obstacle).expect("removed");
        assert!(seen.insert("c") && seen.insert("d"));
    });
    let states: Vec<&str> = events.iter().map(|event| event.field("state")).collect();
    assert_eq!(states, ["replayed", "failed", "recovered"]);
    let levels: Vec<Level> = events.iter().map(|event| event.level).collect();
    assert_eq!(levels, [Level::INFO, Level::WARN, Level::INFO]);
    for event in &events {
        assert_eq!(event.target, "leakproof::journal");
        assert_eq!(event.field("path"), path.display().to_string());
    }
    assert!(events[0].field("report").starts_with("0 entries restored"));
    assert!(!events[1].field("error").is_empty());
}

#[test]
fn subscriber_may_use_the_map_whose_clear_it_reports() {
    let folder = Folder::new("journal-subscriber");
    let path = folder.path().join("seen.d");
    let results = in_time(move || {
        let journal = Journal::open(&path).expect("not in use").sync(Sync::Always);
        let builder = DedupSet::<str>::builder().max_entries(10);
        let builder = builder.ttl(Duration::from_secs(60)).journal(journal);
        let seen = builder.build().expect("an empty journal");
        // A directory has the name of the first segment.
        fs::create_dir(path.join(format!("{:020}.segment", 1))).expect("created");
        let (result, results) = channel();
        let map = seen.clone();
        let flush = move |_| _ = result.send(map.flush().is_ok());
        with_default(OnEvent(flush), || seen.clear());
        results.iter().collect::<Vec<_>>()
    });
    assert_eq!(results, [false]);
}
