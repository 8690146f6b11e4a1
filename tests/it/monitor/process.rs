//! Findings about the process: leaks are found, and other patterns are not mistaken for leaks.

use std::time::Duration;

use leakproof::monitor::{Figure, Kind, Monitor, ProcessFigures, Resource, Severity};
use leakproof::{BuildError, ManualClock};

use super::helpers::{MB, MINUTE, World, finding, noise, severity};

const LIMIT_MB: f64 = 8_000.0;

fn world() -> World {
    World::with(|builder| builder.memory_limit((LIMIT_MB * MB) as u64))
}

/// A disturbance in MB at a minute.
type Disturbance = Box<dyn FnMut(f64) -> f64>;

fn disturbances(seed: u64) -> [(&'static str, Disturbance); 5] {
    let mut even = noise(seed);
    let mut rare = noise(seed + 1);
    let mut small = noise(seed + 2);
    let period = 3.0 + (seed % 12) as f64;
    [
        ("nothing", Box::new(|_| 0.0)),
        ("noise", Box::new(move |_| 80.0 * even())),
        (
            "a sawtooth",
            Box::new(move |t| 250.0 * ((t % period) / period - 0.5) + 20.0 * small()),
        ),
        (
            "spikes",
            Box::new(move |_| if rare() > 0.8 { 1_500.0 } else { 0.0 }),
        ),
        ("a jump", Box::new(|t| if t < 20.0 { 0.0 } else { 400.0 })),
    ]
}

#[test]
fn leak_of_100_mb_a_minute_predicts_the_limit_within_20_percent() {
    for seed in 0..10 {
        for (name, mut disturbances) in disturbances(seed) {
            let world = world();
            let leaked = |t: f64| 500.0 + 100.0 * t;
            world.minutes((0..30).map(|t| leaked(f64::from(t)) + disturbances(f64::from(t))));
            for t in 30..60 {
                let t = f64::from(t);
                let level = leaked(t) + if name == "a jump" { 400.0 } else { 0.0 };
                let report = world.minutes([leaked(t) + disturbances(t)]);
                let leak = finding(&report, Kind::MemoryGrowth)
                    .unwrap_or_else(|| panic!("{name}, {t}: {report}"));
                assert_eq!(leak.severity, Severity::Warning, "{name}: {report}");
                assert!(leak.to_string().contains("active leak"), "{leak}");
                // A spike is used memory, so the limit is nearer while it lasts.
                let memory = report.process.memory.expect("known");
                if (memory.used as f64 / MB - level).abs() < 300.0 {
                    let truth = (LIMIT_MB - level) / 100.0;
                    let reported = memory.time_to_limit.expect("it grows").as_secs_f64() / 60.0;
                    assert!(
                        (reported / truth - 1.0).abs() < 0.2,
                        "{name}, minute {t}: {reported} of {truth} minutes"
                    );
                }
            }
        }
    }
}

#[test]
fn leak_after_a_quiet_day_is_found_within_half_an_hour() {
    for seed in 0..10 {
        let mut noise = noise(seed);
        let world = world();
        assert_eq!(
            world
                .minutes((0..200).map(|_| 2_000.0 + 50.0 * noise()))
                .findings,
            []
        );
        let report =
            world.minutes((1..=30).map(|t| 2_000.0 + 100.0 * f64::from(t) + 50.0 * noise()));
        let leak = finding(&report, Kind::MemoryGrowth).expect("it leaks");
        assert!(leak.to_string().contains("active leak"), "{leak}");
        let left = report
            .process
            .memory
            .and_then(|memory| memory.time_to_limit)
            .expect("it grows");
        assert!(
            (24 * MINUTE..36 * MINUTE).contains(&left),
            "{left:?} of 30 minutes"
        );
    }
}

#[test]
fn fluctuation_without_growth_is_no_finding() {
    for seed in 0..10 {
        for (name, mut disturbances) in disturbances(seed) {
            let world = world();
            for t in 0..200 {
                let report = world.minutes([3_000.0 + disturbances(f64::from(t))]);
                // With ten samples, noise can look like a trend.
                if t >= 20 {
                    assert!(report.findings.is_empty(), "{name}, minute {t}: {report}");
                }
            }
        }
    }
}

#[test]
fn growth_severity_depends_on_the_rate() {
    let rates = [
        (-100, Severity::Normal),
        (0, Severity::Normal),
        (9, Severity::Normal),
        (10, Severity::Notice),
        (50, Severity::Notice),
        (51, Severity::Warning),
        (500, Severity::Warning),
        (501, Severity::Critical),
    ];
    for (rate, expected) in rates {
        let report = World::new().minutes((0..30).map(|t| f64::from(5_000 + rate * t)));
        assert_eq!(
            severity(&report, Kind::MemoryGrowth),
            expected,
            "{rate} MB a minute"
        );
        assert_eq!(report.severity(), expected);
        let memory = report.process.memory.expect("known");
        assert_eq!(memory.growth_per_minute, Some(f64::from(rate) * MB));
        assert_eq!(
            (memory.limit, memory.time_to_limit),
            (None, None),
            "there is no time to a limit that does not exist"
        );
    }
}

#[test]
fn growth_is_unknown_with_fewer_than_ten_samples() {
    let world = World::new();
    let report = world.minutes((0..9).map(|t| f64::from(1_000 * t)));
    assert_eq!(
        report.process.memory.expect("known").growth_per_minute,
        None
    );
    let report = world.minutes([9_000.0]);
    assert_eq!(
        report.process.memory.expect("known").growth_per_minute,
        Some(1_000.0 * MB)
    );
}

#[test]
fn memory_use_warns_at_75_and_is_critical_at_85_percent() {
    let uses = [
        (74.9, Severity::Normal),
        (75.0, Severity::Warning),
        (84.9, Severity::Warning),
        (85.0, Severity::Critical),
    ];
    for (percent, expected) in uses {
        let report = world().minutes([LIMIT_MB * percent / 100.0]);
        assert_eq!(
            severity(&report, Kind::Use(Resource::Memory)),
            expected,
            "{percent}%"
        );
    }
}

#[test]
fn short_time_to_limit_is_a_finding_even_if_growth_is_slow() {
    for (left, expected) in [
        (9, Severity::Critical),
        (59, Severity::Warning),
        (60, Severity::Normal),
    ] {
        let limit = u64::from(1_000 + 5 * 29 + 5 * left as u32) * 1_000_000;
        let world = World::with(|builder| builder.memory_limit(limit));
        let report = world.minutes((0..30).map(|t| f64::from(1_000 + 5 * t)));
        assert_eq!(
            severity(&report, Kind::TimeLeft(Resource::Memory)),
            expected,
            "{left} minutes"
        );
        let reported = report
            .process
            .memory
            .and_then(|memory| memory.time_to_limit);
        assert_eq!(reported, Some(left as u32 * MINUTE));
    }
}

#[test]
fn memory_limit_option_overrides_the_system() {
    let figures = || ProcessFigures {
        memory_bytes: Some(50),
        memory_limit_bytes: Some(100),
        open_files: Some(80),
        open_files_limit: Some(100),
    };
    let percent = |monitor: Monitor| {
        monitor
            .report()
            .process
            .memory
            .and_then(|memory| memory.percent())
    };
    assert_eq!(
        percent(
            Monitor::builder()
                .process(figures)
                .build()
                .expect("valid options")
        ),
        Some(50.0)
    );
    assert_eq!(
        percent(
            Monitor::builder()
                .process(figures)
                .memory_limit(1_000)
                .build()
                .expect("valid options")
        ),
        Some(5.0)
    );

    let report = Monitor::builder()
        .process(figures)
        .build()
        .expect("valid options")
        .report();
    let files = finding(&report, Kind::Use(Resource::OpenFiles)).expect("80 of 100");
    assert_eq!(
        (files.severity, files.figure),
        (Severity::Warning, Figure::Percent(80.0))
    );
    assert_eq!(
        files.to_string(),
        "warning: process: open files at 80.0% of the bound"
    );
}

#[test]
fn unknown_process_figures_are_no_findings() {
    let time = ManualClock::new();
    let monitor = Monitor::builder()
        .process(ProcessFigures::default)
        .clock(&time)
        .build()
        .expect("valid options");
    for _ in 0..30 {
        time.advance(MINUTE);
        monitor.sample();
    }
    let report = monitor.report();
    assert_eq!(
        (report.process.memory, report.process.open_files),
        (None, None)
    );
    assert!(report.findings.is_empty());
}

#[test]
fn process_source_panic_is_counted() {
    let monitor = Monitor::builder()
        .process(|| panic!("no figures"))
        .build()
        .expect("valid options");
    assert_eq!(monitor.sample().process.memory, None);
    assert_eq!(monitor.sample().panics, 2);
}

/// Reads the figures of the operating system. The other tests use figures of their own.
#[test]
#[cfg(target_os = "linux")]
fn read_returns_memory_and_open_files_on_linux() {
    let before = ProcessFigures::read();
    let grown = vec![1u8; 64 << 20];
    let files: Vec<_> = (0..50)
        .map(|_| std::fs::File::open("/dev/null").expect("it opens"))
        .collect();
    let after = ProcessFigures::read();
    let memory = |figures: ProcessFigures| figures.memory_bytes.expect("known on Linux");
    assert!(
        memory(after) >= memory(before) + (48 << 20),
        "{before:?} {after:?} {}",
        grown.len()
    );
    // Other tests open and close files at the same time.
    let open = |figures: ProcessFigures| figures.open_files.expect("known on Linux");
    assert!(
        open(after) >= open(before) + 30,
        "{before:?} {after:?} {}",
        files.len()
    );
    assert!(after.open_files_limit.expect("known on Linux") >= open(after));
}

#[test]
fn build_rejects_invalid_options_by_name() {
    use leakproof::monitor::{Thresholds, UseThresholds};
    let error =
        |builder: leakproof::monitor::MonitorBuilder| builder.build().expect_err("invalid options");
    assert_eq!(
        error(Monitor::builder().samples(0)),
        BuildError::Zero { limit: "samples" }
    );
    let beyond = BuildError::TooLarge {
        limit: "samples",
        value: 501,
        max: 500,
    };
    assert_eq!(error(Monitor::builder().samples(501)), beyond);
    assert_eq!(
        error(Monitor::builder().memory_limit(0)),
        BuildError::Zero {
            limit: "memory_limit"
        }
    );
    assert_eq!(
        error(Monitor::builder().sample_every(Duration::ZERO)),
        BuildError::Zero {
            limit: "sample_every"
        }
    );
    let never = BuildError::TooLarge {
        limit: "min_samples",
        value: 10,
        max: 9,
    };
    assert_eq!(
        error(Monitor::builder().samples(9)),
        never,
        "growth would never be known"
    );
    for (lower, upper, thresholds) in [
        (
            "memory_use.warning_percent",
            "memory_use.critical_percent",
            Thresholds {
                memory_use: Some(UseThresholds {
                    warning_percent: f64::NAN,
                    ..UseThresholds::default()
                }),
                ..Thresholds::default()
            },
        ),
        (
            "active_leak_bytes_per_minute",
            "critical_leak_bytes_per_minute",
            Thresholds {
                critical_leak_bytes_per_minute: 1e6,
                ..Thresholds::default()
            },
        ),
        (
            "time_left_critical",
            "time_left_warning",
            Thresholds {
                time_left_critical: 100 * MINUTE,
                ..Thresholds::default()
            },
        ),
    ] {
        assert_eq!(
            error(Monitor::builder().thresholds(thresholds)),
            BuildError::OutOfOrder { lower, upper }
        );
    }
}
