//! Configs from variables and from `serde`. One test reads the environment of the process, the
//! others their own variables.

use std::collections::HashMap;
use std::time::Duration;

use leakproof::{
    BuildError, ConfigError, DedupConfig, DedupSet, ListenerRegistry, LruCache, LruConfig,
    ManualClock, Overflow, Policy, RegistryConfig, unsync,
};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const PREFIX: &str = "WA_MESSAGE_DEDUP";

/// Returns a lookup of variables, given by their names without the prefix.
fn variables<'a>(values: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let name = name.strip_prefix(PREFIX)?.strip_prefix('_')?;
        let (_, value) = values.iter().find(|(variable, _)| *variable == name)?;
        Some((*value).to_owned())
    }
}

fn dedup(values: &[(&str, &str)]) -> Result<DedupConfig, ConfigError> {
    DedupConfig::from_lookup(PREFIX, variables(values))
}

fn lru(values: &[(&str, &str)]) -> Result<LruConfig, ConfigError> {
    LruConfig::from_lookup(PREFIX, variables(values))
}

fn registry(values: &[(&str, &str)]) -> Result<RegistryConfig, ConfigError> {
    RegistryConfig::from_lookup(PREFIX, variables(values))
}

#[test]
fn absent_variables_leave_the_documented_defaults() {
    let expected = DedupConfig {
        ttl: 24 * HOUR,
        max_entries: 1_000_000,
        max_bytes: None,
        lease: Duration::from_secs(60),
        max_in_flight: 10_000,
        max_waiting: 10_000,
        shards: None,
        sweep_every: Some(HOUR),
    };
    assert_eq!(DedupConfig::default(), expected);
    assert_eq!(DedupConfig::from_env("LEAKPROOF_TEST"), Ok(expected));
    let expected = LruConfig {
        max_entries: 1_000,
        max_weight: None,
        ttl: Some(HOUR / 2),
        idle_timeout: None,
        ttl_jitter: 0.0,
        stale: None,
        policy: Policy::Lru,
        shards: None,
        sweep_every: Some(HOUR),
    };
    assert_eq!(LruConfig::from_env("LEAKPROOF_TEST"), Ok(expected));
    let expected = RegistryConfig {
        max_listeners: 1_000,
        max_per_topic: 10,
        overflow: Overflow::Reject,
        ttl: None,
        breaker_failures: None,
        breaker_retry: None,
        sweep_every: Some(HOUR),
    };
    assert_eq!(RegistryConfig::from_env("LEAKPROOF_TEST"), Ok(expected));
}

#[test]
fn each_variable_sets_its_field() {
    let config = dedup(&[
        ("TTL_MS", "3600000"),
        ("MAX_ENTRIES", "5000"),
        ("MAX_BYTES", "1000000"),
        ("LEASE_MS", "5000"),
        ("MAX_IN_FLIGHT", "50"),
        ("MAX_WAITING", "70"),
        ("SHARDS", "4"),
        ("SWEEP_EVERY_MS", " 60000 "),
    ]);
    let expected = DedupConfig {
        ttl: HOUR,
        max_entries: 5_000,
        max_bytes: Some(1_000_000),
        lease: Duration::from_secs(5),
        max_in_flight: 50,
        max_waiting: 70,
        shards: Some(4),
        sweep_every: Some(Duration::from_secs(60)),
    };
    assert_eq!(config, Ok(expected));
    let config = lru(&[
        ("MAX_ENTRIES", "5000"),
        ("MAX_WEIGHT", "1000000"),
        ("TTL_MS", "off"),
        ("IDLE_TIMEOUT_MS", "300000"),
        ("TTL_JITTER", " 0.25 "),
        ("STALE_MS", "90000"),
        ("SHARDS", "4"),
        ("SWEEP_EVERY_MS", "off"),
    ]);
    let expected = LruConfig {
        max_entries: 5_000,
        max_weight: Some(1_000_000),
        ttl: None,
        idle_timeout: Some(Duration::from_secs(300)),
        ttl_jitter: 0.25,
        stale: Some(Duration::from_secs(90)),
        policy: Policy::Lru,
        shards: Some(4),
        sweep_every: None,
    };
    assert_eq!(config, Ok(expected));
    let config = registry(&[
        ("MAX_LISTENERS", "5000"),
        ("MAX_PER_TOPIC", "1"),
        ("OVERFLOW", "evict_oldest"),
        ("TTL_MS", "86400000"),
        ("BREAKER_FAILURES", "5"),
        ("BREAKER_RETRY_MS", "60000"),
        ("SWEEP_EVERY_MS", "off"),
    ]);
    let expected = RegistryConfig {
        max_listeners: 5_000,
        max_per_topic: 1,
        overflow: Overflow::EvictOldest,
        ttl: Some(24 * HOUR),
        breaker_failures: Some(5),
        breaker_retry: Some(Duration::from_secs(60)),
        sweep_every: None,
    };
    assert_eq!(config, Ok(expected));
}

#[test]
fn invalid_variable_is_an_error_with_value_and_requirement() {
    let ttl = "between 60000 (1 min) and 3155760000000 (100 years)";
    let entries = "between 1 and 268435456";
    let sweep = "between 1000 (1 s) and 3155760000000 (100 years), or off";
    let huge = "99999999999999999999999999999999999999999999";
    for (variable, value, must, range) in [
        ("TTL_MS", "24h", "must be a whole number", ttl),
        ("TTL_MS", "", "must be a whole number", ttl),
        ("TTL_MS", "1.5", "must be a whole number", ttl),
        ("TTL_MS", "+60000", "must be a whole number", ttl),
        ("TTL_MS", "-86400000", "must be a whole number", ttl),
        ("TTL_MS", "1_000_000", "must be a whole number", ttl),
        ("TTL_MS", "off", "must be a whole number", ttl),
        ("TTL_MS", "nan\u{fffd}", "must be a whole number", ttl),
        ("TTL_MS", "0", "must be", ttl),
        ("TTL_MS", "59999", "must be", ttl),
        ("TTL_MS", "3155760000001", "must be", ttl),
        ("TTL_MS", huge, "must be", ttl),
        ("MAX_ENTRIES", "0", "must be", entries),
        ("MAX_ENTRIES", "many", "must be a whole number", entries),
        ("MAX_ENTRIES", "1073741825", "must be", entries),
        ("MAX_IN_FLIGHT", "0", "must be", entries),
        ("MAX_WAITING", "0", "must be", entries),
        ("SWEEP_EVERY_MS", "999", "must be", sweep),
        ("SWEEP_EVERY_MS", "none", "must be a whole number", sweep),
        ("SHARDS", "4097", "must be", "between 1 and 4096, or off"),
    ] {
        let error = dedup(&[(variable, value)]).expect_err(value);
        assert_eq!(error.variable, format!("{PREFIX}_{variable}"));
        assert_eq!(error.value, value);
        assert_eq!(error.requirement, format!("{must} {range}"));
        let text = format!("invalid {PREFIX}_{variable}={value}: {must} {range}");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn error_text_stays_on_one_line() {
    let error = dedup(&[("TTL_MS", "1\n2")]).expect_err("two lines");
    assert!(error.to_string().contains("TTL_MS=1\\n2: must"), "{error}");
}

#[test]
fn unknown_choice_is_an_error_with_the_choices() {
    for value in ["drop", "1", "off", ""] {
        let error = registry(&[("OVERFLOW", value)]).expect_err(value);
        assert_eq!(error.requirement, "must be reject or evict_oldest");
    }
}

#[test]
fn fraction_outside_0_to_1_is_an_error() {
    for (text, fraction) in [("0", 0.0), ("1", 1.0), (".5", 0.5), ("1.0", 1.0)] {
        let config = lru(&[("TTL_JITTER", text)]);
        assert_eq!(
            config.map(|config| config.ttl_jitter),
            Ok(fraction),
            "{text}"
        );
    }
    for text in [
        "", "-0.1", "+0.1", "1.01", "10%", "nan", "inf", "1e-1", "off", "0,1", ".",
    ] {
        let values = [("TTL_JITTER", text)];
        let error = lru(&values).expect_err(text);
        let expected =
            format!("invalid {PREFIX}_TTL_JITTER={text}: must be a number between 0 and 1");
        assert_eq!(error.to_string(), expected);
        let (config, errors) = LruConfig::from_lookup_lenient(PREFIX, variables(&values));
        assert_eq!((config, errors), (LruConfig::default(), vec![error]));
    }
    let error = lru(&[("STALE_MS", "999")]).expect_err("below 1 s");
    assert_eq!(
        error.requirement,
        "must be between 1000 (1 s) and 3155760000000 (100 years), or off"
    );
}

#[test]
fn breaker_retry_without_failures_is_an_error() {
    for failures in [&[][..], &[("BREAKER_FAILURES", "off")]] {
        let values = [failures, &[("BREAKER_RETRY_MS", "60000")]].concat();
        let error = registry(&values).expect_err("the retry time would be ignored");
        assert_eq!(
            error.to_string(),
            "invalid WA_MESSAGE_DEDUP_BREAKER_RETRY_MS=60000: requires WA_MESSAGE_DEDUP_BREAKER_FAILURES"
        );
        let (config, errors) = RegistryConfig::from_lookup_lenient(PREFIX, variables(&values));
        assert_eq!((config, errors), (RegistryConfig::default(), vec![error]));
    }
}

#[test]
fn ends_of_each_range_are_allowed() {
    let ttl = |value| dedup(&[("TTL_MS", value)]).map(|config| config.ttl);
    assert_eq!(ttl("60000"), Ok(Duration::from_secs(60)));
    let century = Duration::from_millis(3_155_760_000_000);
    assert_eq!(ttl("3155760000000"), Ok(century));
    let entries = |value| dedup(&[("MAX_ENTRIES", value)]).map(|config| config.max_entries);
    assert_eq!(entries("1"), Ok(1));
    assert_eq!(entries("268435456"), Ok(1 << 28));
}

#[test]
fn lenient_reader_keeps_defaults_and_returns_all_errors() {
    let values = [
        ("MAX_ENTRIES", "0"),
        ("TTL_MS", "soon"),
        ("LEASE_MS", "5000"),
        ("SWEEP_EVERY_MS", "1"),
    ];
    let (config, errors) = DedupConfig::from_lookup_lenient(PREFIX, variables(&values));
    let expected = DedupConfig {
        lease: Duration::from_secs(5),
        ..DedupConfig::default()
    };
    assert_eq!(config, expected);
    let invalid = [values[0], values[1], values[3]];
    assert_eq!(errors.len(), invalid.len());
    for (error, value) in errors.iter().zip(invalid) {
        assert_eq!(dedup(&[value]).as_ref(), Err(error), "as the strict reader");
    }
    assert_eq!(dedup(&values).as_ref(), Err(&errors[0]));
    assert_eq!(
        DedupConfig::from_env_lenient("LEAKPROOF_TEST"),
        (DedupConfig::default(), vec![])
    );
}

#[test]
fn more_shards_than_the_smallest_bound_are_an_error() {
    let values = [("MAX_ENTRIES", "10"), ("SHARDS", "11")];
    let error = dedup(&values).expect_err("one shard would have no entry");
    assert_eq!(error.variable, "WA_MESSAGE_DEDUP_SHARDS");
    assert_eq!(error.requirement, "must be between 1 and 10, or off");
    let (config, errors) = DedupConfig::from_lookup_lenient(PREFIX, variables(&values));
    assert_eq!((config.max_entries, config.shards), (10, None));
    assert_eq!(errors, [error]);
    assert!(lru(&[("MAX_WEIGHT", "3"), ("SHARDS", "4")]).is_err());
    assert!(dedup(&[("MAX_BYTES", "3"), ("SHARDS", "4")]).is_err());
    assert!(dedup(&[("MAX_BYTES", "4"), ("SHARDS", "4")]).is_ok());
}

#[test]
fn dedup_config_applies_and_later_options_override_it() {
    let values = [
        ("TTL_MS", "60000"),
        ("MAX_ENTRIES", "77"),
        ("MAX_BYTES", "500"),
        ("MAX_WAITING", "9"),
    ];
    let config = dedup(&values).expect("valid");
    let stats = DedupSet::<str>::builder()
        .config(&config)
        .build()
        .expect("valid")
        .stats();
    assert_eq!((stats.ttl, stats.max_entries), (HOUR / 60, 77));
    assert_eq!((stats.max_bytes, stats.max_in_flight), (Some(500), 10_000));
    assert_eq!(stats.max_waiting, 9);
    let stats = DedupSet::<str>::builder()
        .max_entries(1)
        .config(&config)
        .ttl(HOUR)
        .build()
        .expect("valid")
        .stats();
    assert_eq!((stats.ttl, stats.max_entries), (HOUR, 77));
    let unsync = unsync::DedupSet::<u64>::builder()
        .config(&config)
        .build()
        .expect("valid");
    assert_eq!(unsync.stats().max_entries, 77);
}

#[test]
fn lru_config_applies_and_requires_a_weigher_for_max_weight() {
    let values = [
        ("MAX_ENTRIES", "78"),
        ("MAX_WEIGHT", "500"),
        ("IDLE_TIMEOUT_MS", "2000"),
    ];
    let config = lru(&values).expect("valid");
    let builder = || LruCache::<u64, String>::builder().config(&config);
    assert_eq!(
        builder().build().expect_err("no weigher"),
        BuildError::NoWeigher
    );
    let stats = builder()
        .weigher(|_, value| value.len() as u32)
        .build()
        .expect("valid")
        .stats();
    assert_eq!((stats.max_entries, stats.max_weight), (78, Some(500)));
    assert_eq!(stats.ttl, Some(HOUR / 2));
    assert_eq!(stats.idle_timeout, Some(Duration::from_secs(2)));
}

#[test]
fn lru_config_sets_jitter_and_stale_window() {
    let values = [
        ("TTL_MS", "100000"),
        ("TTL_JITTER", "0.5"),
        ("STALE_MS", "50000"),
    ];
    let config = lru(&values).expect("valid");
    let time = ManualClock::new();
    let mut cache = unsync::LruCache::<u32, u32>::builder()
        .config(&config)
        .clock(&time)
        .build()
        .expect("valid");
    cache.extend((0..100).map(|key| (key, key)));
    time.advance(Duration::from_secs(75));
    assert!(
        (1..100).contains(&cache.len()),
        "{} live entries",
        cache.len()
    );
    assert!((0..100).all(|key| cache.peek_stale(&key) == Some(&key)));
    time.advance(Duration::from_secs(75));
    assert!((0..100).all(|key| cache.peek_stale(&key).is_none()));

    // Jitter without a ttl would be ignored, unless code derives one.
    let config = LruConfig {
        ttl: None,
        ..config
    };
    let builder = || LruCache::<u32, u32>::builder().config(&config);
    let limit = "ttl or expire_after";
    let error = builder().build().expect_err("jitter of no ttl");
    assert_eq!(error, BuildError::Missing { limit });
    let derived = builder().expire_after(|_, _| Some(HOUR)).build();
    assert!(derived.is_ok());
}

#[test]
fn registry_config_applies() {
    let config = RegistryConfig {
        max_listeners: 5_000,
        max_per_topic: 1,
        overflow: Overflow::EvictOldest,
        ttl: Some(24 * HOUR),
        breaker_failures: Some(5),
        breaker_retry: Some(Duration::from_secs(60)),
        sweep_every: None,
    };
    let bus = ListenerRegistry::<u8, bool>::builder()
        .config(&config)
        .build()
        .expect("valid");
    let stats = bus.stats();
    assert_eq!((stats.max_listeners, stats.ttl), (5_000, Some(24 * HOUR)));
    for _ in 0..2 {
        bus.on(
            7,
            |fails: &bool| if *fails { Err("failed") } else { Ok(()) },
        )
        .expect("the oldest listener is evicted")
        .forget();
    }
    assert_eq!((bus.len(), bus.stats().evicted), (1, 1));
    for _ in 0..5 {
        bus.emit(&7, &true).unwrap();
    }
    assert_eq!((bus.len(), bus.stats().open_breakers), (1, 1));
}

#[test]
fn max_bytes_does_not_apply_to_keys_without_bytes() {
    let config = DedupConfig {
        max_bytes: Some(1),
        shards: Some(8),
        ..DedupConfig::default()
    };
    let seen = DedupSet::<u64>::builder()
        .config(&config)
        .build()
        .expect("valid");
    assert!(seen.insert(&1) && seen.insert(&2));
    assert!(!seen.insert(&1) && !seen.insert(&2));
    assert_eq!(seen.stats().max_bytes, None);
    let error = DedupSet::<str>::builder()
        .config(&config)
        .build()
        .expect_err("seven shards would have no byte");
    assert_eq!(error, BuildError::TooManyShards { shards: 8, max: 1 });
}

/// Returns values that are mostly numbers near the limits of the ranges.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u64..5_000).prop_map(|number| number.to_string()),
        (50_000u64..100_000_000).prop_map(|number| number.to_string()),
        any::<i128>().prop_map(|number| number.to_string()),
        (0.0..1.1).prop_map(|fraction: f64| fraction.to_string()),
        Just("off".to_owned()),
        "[ 0-9a-z.+-]{0,6}",
    ]
}

proptest! {
    /// No accepted config fails to build: no shard without a share, no ttl of zero.
    #[test]
    fn every_accepted_config_builds(
        values in prop::collection::hash_map(
            prop::sample::select(vec![
                "TTL_MS", "MAX_ENTRIES", "MAX_BYTES", "LEASE_MS", "MAX_IN_FLIGHT", "SHARDS", "MAX_WEIGHT",
                "IDLE_TIMEOUT_MS", "MAX_WAITING", "TTL_JITTER", "STALE_MS",
            ]),
            value(),
            0..8,
        ),
    ) {
        let values: HashMap<String, String> =
            values.into_iter().map(|(name, value)| (format!("{PREFIX}_{name}"), value)).collect();
        let lookup = |name: &str| match name {
            // The background thread would collect all of these collections.
            "WA_MESSAGE_DEDUP_SWEEP_EVERY_MS" => Some("off".to_owned()),
            name => values.get(name).cloned(),
        };
        let (config, errors) = DedupConfig::from_lookup_lenient(PREFIX, lookup);
        for error in &errors {
            prop_assert!(values.contains_key(&error.variable), "{}", error);
        }
        let first = errors.into_iter().next();
        prop_assert_eq!(
            DedupConfig::from_lookup(PREFIX, lookup),
            first.map_or(Ok(config.clone()), Err)
        );
        prop_assert!(config.ttl >= Duration::from_secs(60));
        prop_assert!(DedupSet::<str>::builder().config(&config).build().is_ok(), "{:?}", config);

        let (config, _) = LruConfig::from_lookup_lenient(PREFIX, lookup);
        let builder = LruCache::<u8, u8>::builder().config(&config).weigher(|_, _| 1)
            .expire_after(|_, _| None);
        prop_assert!(builder.build().is_ok(), "{:?}", config);
    }
}

#[cfg(feature = "serde")]
mod deserialized {
    use super::*;

    fn dedup(json: &str) -> Result<DedupConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_fields_have_their_defaults() {
        assert_eq!(dedup("{}"), Ok(DedupConfig::default()));
        let config = serde_json::from_str::<LruConfig>("{}");
        assert_eq!(config.ok(), Some(LruConfig::default()));
    }

    #[test]
    fn durations_are_milliseconds_or_texts() {
        let texts = [
            "86400000",
            "\"24h\"",
            "\"1d\"",
            "\"23h60m\"",
            "\"23h 60min\"",
            "\"86400000\"",
            "\"86400s\"",
        ];
        for ttl in texts {
            let config = dedup(&format!("{{\"ttl\": {ttl}}}"));
            assert_eq!(config.map(|config| config.ttl), Ok(24 * HOUR), "{ttl}");
        }
        let config = dedup(
            r#"{"sweep_every": "90m", "lease": "1h30m", "max_entries": 5, "max_bytes": 100, "shards": 2}"#,
        );
        let expected = DedupConfig {
            sweep_every: Some(HOUR * 3 / 2),
            lease: HOUR * 3 / 2,
            max_entries: 5,
            max_bytes: Some(100),
            shards: Some(2),
            ..DedupConfig::default()
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn fractions_are_numbers_or_texts() {
        let jitter = |json: &str| {
            let config = serde_json::from_str::<LruConfig>(json);
            config
                .map(|config| config.ttl_jitter)
                .map_err(|error| error.to_string())
        };
        for text in ["0.1", "\"0.1\"", "1e-1"] {
            assert_eq!(
                jitter(&format!("{{\"ttl_jitter\": {text}}}")),
                Ok(0.1),
                "{text}"
            );
        }
        assert_eq!(jitter(r#"{"ttl_jitter": 1, "stale": "2m"}"#), Ok(1.0));
        let error = jitter(r#"{"ttl_jitter": 1.5}"#).expect_err("above 1");
        assert!(error.contains("invalid ttl_jitter=1.5: must be a number between 0 and 1"));
        assert!(jitter(r#"{"ttl_jitter": null}"#).is_err());
    }

    #[test]
    fn off_and_null_disable_an_optional_setting() {
        for json in [r#"{"sweep_every": "off"}"#, r#"{"sweep_every": null}"#] {
            assert_eq!(dedup(json).map(|config| config.sweep_every), Ok(None));
        }
    }

    #[test]
    fn choices_are_words() {
        let config = serde_json::from_str::<RegistryConfig>(r#"{"overflow": "evict_oldest"}"#);
        assert_eq!(config.expect("valid").overflow, Overflow::EvictOldest);
        for json in [r#"{"overflow": 1}"#, r#"{"overflow": null}"#] {
            let error = serde_json::from_str::<RegistryConfig>(json).expect_err("not a choice");
            let text = error.to_string();
            assert!(text.contains("must be reject or evict_oldest"), "{text}");
        }
    }

    #[test]
    fn invalid_field_is_an_error_with_value_and_requirement() {
        let ttl = "between 60000 (1 min) and 3155760000000 (100 years)";
        for (json, expected) in [
            (
                r#"{"ttl": "59s"}"#,
                format!("invalid ttl=59s: must be {ttl}"),
            ),
            (
                r#"{"ttl": 59999}"#,
                format!("invalid ttl=59999: must be {ttl}"),
            ),
            (
                r#"{"ttl": "a day"}"#,
                format!("invalid ttl=a day: must be a duration such as 24h, {ttl}"),
            ),
            (
                r#"{"ttl": null}"#,
                format!("invalid ttl=off: must be a duration such as 24h, {ttl}"),
            ),
            (
                r#"{"max_entries": "24h"}"#,
                "invalid max_entries=24h: must be a whole number between 1 and 268435456".into(),
            ),
            (
                r#"{"max_entries": 2, "shards": 3}"#,
                "invalid shards=3: must be between 1 and 2, or off".into(),
            ),
            (
                r#"{"max_entries": 1.5}"#,
                "invalid max_entries=1.5: must be a whole number between 1 and 268435456".into(),
            ),
            (
                r#"{"max_entries": -1}"#,
                "invalid max_entries=-1: must be a whole number between 1 and 268435456".into(),
            ),
            (
                r#"{"max_entries": true}"#,
                "expected a number, a text or null".into(),
            ),
            (
                r#"{"max_entires": 5}"#,
                "unknown field max_entires, expected one of max_entries".into(),
            ),
            ("[]", "expected a map".into()),
        ] {
            let error = dedup(json).expect_err(json);
            assert!(error.contains(&expected), "{json}: {error}");
        }
    }
}
