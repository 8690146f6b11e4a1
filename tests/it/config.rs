//! What configs promise. Variables are the tests' own, but for one test that reads the process's environment.

use std::collections::HashMap;
use std::time::Duration;

use leakproof::{
    BuildError, ConfigError, ConfigErrorKind, DedupConfig, DedupSet, ListenerRegistry, LruCache,
    LruConfig, Overflow, RegistryConfig, unsync,
};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const PREFIX: &str = "WA_MESSAGE_DEDUP";

/// Variables of these values, by their names without the prefix.
fn variables<'a>(values: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let name = name.strip_prefix(PREFIX)?.strip_prefix('_')?;
        values
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| (*value).to_owned())
    }
}

fn dedup(values: &[(&str, &str)]) -> Result<DedupConfig, ConfigError> {
    DedupConfig::from_lookup(PREFIX, variables(values))
}

fn lru(values: &[(&str, &str)]) -> Result<LruConfig, ConfigError> {
    LruConfig::from_lookup(PREFIX, variables(values))
}

fn listeners(values: &[(&str, &str)]) -> Result<RegistryConfig, ConfigError> {
    RegistryConfig::from_lookup(PREFIX, variables(values))
}

#[test]
fn absent_variables_mean_the_defaults_as_documented() {
    let config = DedupConfig::from_env("LEAKPROOF_TEST_OF_ABSENCE").expect("nothing is wrong");
    assert_eq!(config, DedupConfig::default());
    let expected = DedupConfig {
        ttl: 24 * HOUR,
        max_entries: 1_000_000,
        max_bytes: None,
        lease: Duration::from_secs(60),
        max_in_flight: 10_000,
        shards: None,
        sweep_every: Some(HOUR),
    };
    assert_eq!(config, expected);
    let expected = LruConfig {
        max_entries: 1_000,
        max_weight: None,
        max_age: Some(HOUR / 2),
        max_idle: None,
        shards: None,
        sweep_every: Some(HOUR),
    };
    assert_eq!(
        LruConfig::from_env("LEAKPROOF_TEST_OF_ABSENCE"),
        Ok(expected)
    );
}

#[test]
fn every_variable_sets_its_field() {
    let config = dedup(&[
        ("TTL_MS", "3600000"),
        ("MAX_ENTRIES", "5000"),
        ("MAX_BYTES", "1000000"),
        ("LEASE_MS", "5000"),
        ("MAX_IN_FLIGHT", "50"),
        ("SHARDS", "4"),
        ("SWEEP_MS", " 60000 "),
    ]);
    let expected = DedupConfig {
        ttl: HOUR,
        max_entries: 5_000,
        max_bytes: Some(1_000_000),
        lease: Duration::from_secs(5),
        max_in_flight: 50,
        shards: Some(4),
        sweep_every: Some(Duration::from_secs(60)),
    };
    assert_eq!(config, Ok(expected));
    let config = lru(&[
        ("MAX_ENTRIES", "5000"),
        ("MAX_WEIGHT", "1000000"),
        ("MAX_AGE_MS", "off"),
        ("MAX_IDLE_MS", "300000"),
        ("SHARDS", "4"),
        ("SWEEP_MS", "off"),
    ]);
    let expected = LruConfig {
        max_entries: 5_000,
        max_weight: Some(1_000_000),
        max_age: None,
        max_idle: Some(Duration::from_secs(300)),
        shards: Some(4),
        sweep_every: None,
    };
    assert_eq!(config, Ok(expected));
}

#[test]
fn a_registry_has_its_settings_too() {
    assert_eq!(listeners(&[]), Ok(RegistryConfig::default()));
    let config = listeners(&[
        ("MAX_LISTENERS", "5000"),
        ("MAX_PER_TOPIC", "1"),
        ("OVERFLOW", "evict_oldest"),
        ("MAX_AGE_MS", "86400000"),
        ("BREAKER_FAILURES", "5"),
        ("BREAKER_RETRY_MS", "60000"),
        ("SWEEP_MS", "off"),
    ]);
    let expected = RegistryConfig {
        max_listeners: 5_000,
        max_per_topic: 1,
        overflow: Overflow::EvictOldest,
        max_age: Some(24 * HOUR),
        breaker_failures: Some(5),
        breaker_retry: Some(Duration::from_secs(60)),
        sweep_every: None,
    };
    assert_eq!(config.as_ref(), Ok(&expected));
    let bus = ListenerRegistry::<u8, bool>::builder()
        .config(&expected)
        .build()
        .expect("sound");
    assert_eq!(
        (bus.stats().max_listeners, bus.stats().ttl),
        (5_000, Some(24 * HOUR))
    );
    for _ in 0..2 {
        bus.on(
            7,
            |fails: &bool| if *fails { Err("failed") } else { Ok(()) },
        )
        .expect("the oldest makes room")
        .forget();
    }
    assert_eq!((bus.len(), bus.stats().evicted), (1, 1), "one per topic");
    for _ in 0..5 {
        bus.emit(&7, &true).unwrap();
    }
    assert_eq!(
        (bus.len(), bus.stats().open_breakers),
        (1, 1),
        "after five failures"
    );

    let error = listeners(&[("OVERFLOW", "drop")]).expect_err("no such thing");
    assert_eq!(
        (error.kind, &*error.allowed),
        (
            ConfigErrorKind::NotAChoice,
            "\"reject\" or \"evict_oldest\""
        )
    );
    assert!(listeners(&[("OVERFLOW", "1")]).is_err() && listeners(&[("OVERFLOW", "off")]).is_err());
    assert!(listeners(&[("MAX_PER_TOPIC", "0")]).is_err());
}

#[test]
fn what_is_wrong_is_an_error_that_names_variable_value_and_what_is_allowed() {
    use ConfigErrorKind::{NotANumber, TooLarge, TooSmall};
    let ttl = "a whole number of milliseconds, 60000 (1 min 0 s) to 3155760000000 (36525 d 0 h)";
    let entries = "a whole number, 1 to 268435456";
    let sweep =
        "a whole number of milliseconds, 1000 (1 s) to 3155760000000 (36525 d 0 h), or \"off\"";
    for (variable, value, kind, allowed) in [
        ("TTL_MS", "24h", NotANumber, ttl),
        ("TTL_MS", "", NotANumber, ttl),
        ("TTL_MS", "1.5", NotANumber, ttl),
        ("TTL_MS", "1_000_000", NotANumber, ttl),
        ("TTL_MS", "off", NotANumber, ttl),
        ("TTL_MS", "nan\u{fffd}", NotANumber, ttl),
        ("TTL_MS", "0", TooSmall, ttl),
        ("TTL_MS", "59999", TooSmall, ttl),
        ("TTL_MS", "-86400000", TooSmall, ttl),
        ("TTL_MS", "3155760000001", TooLarge, ttl),
        (
            "TTL_MS",
            "99999999999999999999999999999999999999999999",
            TooLarge,
            ttl,
        ),
        ("MAX_ENTRIES", "0", TooSmall, entries),
        ("MAX_ENTRIES", "many", NotANumber, entries),
        ("MAX_ENTRIES", "1073741825", TooLarge, entries),
        ("MAX_IN_FLIGHT", "0", TooSmall, entries),
        ("SWEEP_MS", "999", TooSmall, sweep),
        ("SWEEP_MS", "none", NotANumber, sweep),
        (
            "SHARDS",
            "4097",
            TooLarge,
            "a whole number, 1 to 4096, or \"off\"",
        ),
    ] {
        let error = dedup(&[(variable, value)]).expect_err(value);
        assert_eq!(error.variable, format!("{PREFIX}_{variable}"));
        assert_eq!(
            (&*error.value, error.kind, &*error.allowed),
            (value, kind, allowed),
            "{variable}"
        );
        let text = error.to_string();
        assert!(
            text.contains(&error.variable)
                && text.contains(&format!("{value:?}"))
                && text.contains(allowed)
        );
    }
    let error = lru(&[("MAX_IDLE_MS", "0")]).expect_err("zero");
    assert_eq!(
        (&*error.variable, error.kind),
        ("WA_MESSAGE_DEDUP_MAX_IDLE_MS", TooSmall)
    );
}

#[test]
fn the_edges_of_what_is_allowed_are_allowed() {
    assert_eq!(
        dedup(&[("TTL_MS", "60000")]).map(|config| config.ttl),
        Ok(Duration::from_secs(60))
    );
    let century = Duration::from_millis(3_155_760_000_000);
    assert_eq!(
        dedup(&[("TTL_MS", "3155760000000")]).map(|config| config.ttl),
        Ok(century)
    );
    assert_eq!(
        dedup(&[("MAX_ENTRIES", "1")]).map(|config| config.max_entries),
        Ok(1)
    );
    assert_eq!(
        dedup(&[("MAX_ENTRIES", "268435456")]).map(|config| config.max_entries),
        Ok(1 << 28)
    );
}

#[test]
fn the_lenient_way_reports_the_same_and_takes_the_default() {
    let values = [
        ("TTL_MS", "soon"),
        ("MAX_ENTRIES", "0"),
        ("LEASE_MS", "5000"),
        ("SWEEP_MS", "1"),
    ];
    let (config, errors) = DedupConfig::from_lookup_lenient(PREFIX, variables(&values));
    assert_eq!(
        config,
        DedupConfig {
            lease: Duration::from_secs(5),
            ..DedupConfig::default()
        }
    );
    let names: Vec<_> = errors
        .iter()
        .map(|error| error.variable.trim_start_matches("WA_MESSAGE_DEDUP_"))
        .collect();
    assert_eq!(names, ["TTL_MS", "MAX_ENTRIES", "SWEEP_MS"]);
    for (error, (variable, value)) in errors.iter().zip([values[0], values[1], values[3]]) {
        assert_eq!(
            dedup(&[(variable, value)]).as_ref(),
            Err(error),
            "the same as the strict way"
        );
    }
    assert_eq!(
        dedup(&values).as_ref(),
        Err(&errors[0]),
        "which tells of the first"
    );
    assert_eq!(
        DedupConfig::from_env_lenient("LEAKPROOF_TEST_OF_ABSENCE"),
        (DedupConfig::default(), vec![])
    );
}

#[test]
fn more_shards_than_can_each_have_a_part_are_an_error_too() {
    let error = dedup(&[("MAX_ENTRIES", "10"), ("SHARDS", "11")]).expect_err("one has nothing");
    assert_eq!(
        (&*error.variable, &*error.value),
        ("WA_MESSAGE_DEDUP_SHARDS", "11")
    );
    assert_eq!(
        (error.kind, &*error.allowed),
        (
            ConfigErrorKind::TooLarge,
            "a whole number, 1 to 10, or \"off\""
        )
    );
    let values = [("MAX_ENTRIES", "10"), ("SHARDS", "11")];
    let (config, errors) = DedupConfig::from_lookup_lenient(PREFIX, variables(&values));
    assert_eq!(
        (config.max_entries, config.shards, errors),
        (10, None, vec![error])
    );
    assert!(lru(&[("MAX_WEIGHT", "3"), ("SHARDS", "4")]).is_err());
    assert!(dedup(&[("MAX_BYTES", "3"), ("SHARDS", "4")]).is_err());
    assert!(dedup(&[("MAX_BYTES", "4"), ("SHARDS", "4")]).is_ok());
}

#[test]
fn a_config_applies_to_a_builder_and_what_comes_after_it_counts() {
    let config = dedup(&[
        ("TTL_MS", "60000"),
        ("MAX_ENTRIES", "77"),
        ("MAX_BYTES", "500"),
    ])
    .expect("allowed");
    let stats = DedupSet::<str>::builder()
        .config(&config)
        .build()
        .expect("sound")
        .stats();
    assert_eq!(
        (stats.ttl, stats.max_entries),
        (Duration::from_secs(60), 77)
    );
    assert_eq!((stats.max_bytes, stats.max_in_flight), (Some(500), 10_000));
    let set = DedupSet::<str>::builder()
        .max_entries(1)
        .config(&config)
        .ttl(HOUR)
        .build()
        .expect("sound");
    assert_eq!((set.stats().ttl, set.stats().max_entries), (HOUR, 77));
    let unsync = unsync::DedupSet::<u64>::builder()
        .config(&config)
        .build()
        .expect("sound");
    assert_eq!(unsync.stats().max_entries, 77);

    let config = lru(&[
        ("MAX_ENTRIES", "78"),
        ("MAX_WEIGHT", "500"),
        ("MAX_IDLE_MS", "2000"),
    ])
    .expect("allowed");
    let builder = || LruCache::<u64, String>::builder().config(&config);
    assert_eq!(
        builder().build().expect_err("nothing weighs"),
        BuildError::NoWeigher
    );
    let stats = builder()
        .weigher(|_, value| value.len() as u32)
        .build()
        .expect("sound")
        .stats();
    assert_eq!((stats.max_entries, stats.max_weight), (78, Some(500)));
    assert_eq!(
        (stats.ttl, stats.idle_timeout),
        (Some(HOUR / 2), Some(Duration::from_secs(2)))
    );
}

#[test]
fn limits_of_bytes_do_not_bind_keys_that_have_none() {
    let config = DedupConfig {
        max_bytes: Some(1),
        shards: Some(8),
        ..DedupConfig::default()
    };
    let seen = DedupSet::<u64>::builder()
        .config(&config)
        .build()
        .expect("sound");
    assert!(seen.insert(&1) && seen.insert(&2));
    assert!(!seen.insert(&1) && !seen.insert(&2));
    assert_eq!(seen.stats().max_bytes, None);
    let error = DedupSet::<str>::builder()
        .config(&config)
        .build()
        .expect_err("seven shards would have no byte");
    assert_eq!(error, BuildError::TooManyShards { shards: 8, max: 1 });
}

/// A variable's value: mostly a number near what is allowed.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u64..5_000).prop_map(|number| number.to_string()),
        (50_000u64..100_000_000).prop_map(|number| number.to_string()),
        any::<i128>().prop_map(|number| number.to_string()),
        Just("off".to_owned()),
        "[ 0-9a-z.+-]{0,6}",
    ]
}

proptest! {
    /// Zero shards, a shard without a part, a ttl of nothing: none of these gets through.
    #[test]
    fn a_config_that_is_read_builds_and_its_errors_are_of_variables_that_were_given(
        values in prop::collection::hash_map(
            prop::sample::select(vec![
                "TTL_MS", "MAX_ENTRIES", "MAX_BYTES", "LEASE_MS", "MAX_IN_FLIGHT", "SHARDS", "MAX_WEIGHT",
                "MAX_AGE_MS", "MAX_IDLE_MS",
            ]),
            value(),
            0..9,
        ),
    ) {
        let values: HashMap<String, String> =
            values.into_iter().map(|(name, value)| (format!("{PREFIX}_{name}"), value)).collect();
        let lookup = |name: &str| match name {
            // No background thread for every one of them.
            "WA_MESSAGE_DEDUP_SWEEP_MS" => Some("off".to_owned()),
            name => values.get(name).cloned(),
        };
        let (config, errors) = DedupConfig::from_lookup_lenient(PREFIX, lookup);
        for error in &errors {
            prop_assert!(values.contains_key(&error.variable), "{}", error);
        }
        prop_assert_eq!(DedupConfig::from_lookup(PREFIX, lookup), errors.into_iter().next().map_or(Ok(config.clone()), Err));
        prop_assert!(config.ttl >= Duration::from_secs(60));
        prop_assert!(DedupSet::<str>::builder().config(&config).build().is_ok(), "{:?}", config);

        let (config, _) = LruConfig::from_lookup_lenient(PREFIX, lookup);
        let builder = LruCache::<u8, u8>::builder().config(&config).weigher(|_, _| 1);
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
    fn what_is_left_out_has_its_default() {
        assert_eq!(dedup("{}"), Ok(DedupConfig::default()));
        assert_eq!(
            serde_json::from_str::<LruConfig>("{}").ok(),
            Some(LruConfig::default())
        );
    }

    #[test]
    fn times_are_milliseconds_or_text() {
        for ttl in [
            "86400000",
            "\"24h\"",
            "\"1d\"",
            "\"23h60m\"",
            "\"86400000\"",
            "\"1440 min\"",
            "\"86400s\"",
        ] {
            assert_eq!(
                dedup(&format!("{{\"ttl\": {ttl}}}")).map(|config| config.ttl),
                Ok(24 * HOUR),
                "{ttl}"
            );
            assert_eq!(
                dedup(&format!("{{\"ttl_ms\": {ttl}}}")).map(|config| config.ttl),
                Ok(24 * HOUR),
                "{ttl}"
            );
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
        assert_eq!(
            dedup(r#"{"sweep_ms": "off"}"#).map(|config| config.sweep_every),
            Ok(None)
        );
        assert_eq!(
            dedup(r#"{"sweep_every": null}"#).map(|config| config.sweep_every),
            Ok(None)
        );
    }

    #[test]
    fn choices_are_words() {
        let config = serde_json::from_str::<RegistryConfig>(r#"{"overflow": "evict_oldest"}"#)
            .expect("allowed");
        assert_eq!(config.overflow, Overflow::EvictOldest);
        for json in [
            r#"{"overflow": 1}"#,
            r#"{"overflow": null}"#,
            r#"{"overflow": "1h"}"#,
        ] {
            let error = serde_json::from_str::<RegistryConfig>(json)
                .expect_err("not a word of it")
                .to_string();
            assert!(
                error.contains("none of the choices") && error.contains("evict_oldest"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_not_allowed_is_an_error_that_says_what_is() {
        for (json, parts) in [
            (
                r#"{"ttl": "59s"}"#,
                ["ttl is \"59s\"", "too small", "60000 (1 min 0 s)"],
            ),
            (
                r#"{"ttl": 59999}"#,
                ["ttl is \"59999\"", "too small", "60000 (1 min 0 s)"],
            ),
            (
                r#"{"ttl": "a day"}"#,
                [
                    "ttl is \"a day\"",
                    "neither a whole number nor a time",
                    "60000",
                ],
            ),
            (
                r#"{"ttl": "1.5h"}"#,
                [
                    "neither a whole number nor a time",
                    "60000 (1 min 0 s)",
                    ", or a time such as 24h",
                ],
            ),
            (
                r#"{"ttl": null}"#,
                ["ttl is \"null\"", "not a whole number", "60000"],
            ),
            (
                r#"{"max_entries": 0}"#,
                ["max_entries is \"0\"", "too small", "1 to 268435456"],
            ),
            (
                r#"{"max_entries": -1}"#,
                ["max_entries is \"-1\"", "too small", "1 to 268435456"],
            ),
            (
                r#"{"max_entries": "24h"}"#,
                [
                    "max_entries is \"24h\"",
                    "not a whole number",
                    "1 to 268435456",
                ],
            ),
            (
                r#"{"max_entries": 1.5}"#,
                ["floating point", "1.5", "a whole number"],
            ),
            (
                r#"{"max_entries": 2, "shards": 3}"#,
                ["shards is \"3\"", "too large", "1 to 2"],
            ),
            (
                r#"{"max_entires": 5}"#,
                ["unknown field", "max_entires", "max_entries"],
            ),
            (
                r#"{"ttl": "2h", "ttl_ms": 5}"#,
                ["duplicate field", "ttl", ""],
            ),
            ("[]", ["a map of settings", "", ""]),
        ] {
            let error = dedup(json).expect_err(json);
            assert!(
                parts.iter().all(|part| error.contains(part)),
                "{json}: {error}"
            );
        }
    }
}
