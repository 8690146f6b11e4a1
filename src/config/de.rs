//! Configs from whatever `serde` reads: a map of settings, judged as variables are.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::error::Wrong;
use super::setting::{Setting, Settings};
use super::{DedupConfig, LruConfig, RegistryConfig};

impl<'de> Deserialize<'de> for DedupConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConfigVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for LruConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConfigVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for RegistryConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConfigVisitor(PhantomData))
    }
}

struct ConfigVisitor<C>(PhantomData<C>);

impl<'de, C: Settings> Visitor<'de> for ConfigVisitor<C> {
    type Value = C;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<C, A::Error> {
        let mut config = C::default();
        let mut given = vec![false; C::SETTINGS.len()];
        while let Some(name) = map.next_key::<String>()? {
            let named = |setting: &Setting<C>| {
                setting.field == name || setting.variable.to_ascii_lowercase() == name
            };
            let Some(at) = C::SETTINGS.iter().position(named) else {
                let known: Vec<_> = C::SETTINGS.iter().map(|setting| setting.field).collect();
                return Err(Error::custom(format_args!(
                    "unknown field {name:?}, expected one of {known:?}"
                )));
            };
            let setting = &C::SETTINGS[at];
            if std::mem::replace(&mut given[at], true) {
                return Err(Error::duplicate_field(setting.field));
            }
            let value: Given = map.next_value()?;
            let set = match &value {
                Given::Number(number) => setting.judge(*number, &mut config),
                Given::Text(text) => setting.read_text(text, &mut config),
                Given::Nothing => setting.turn_off(&mut config),
            };
            set.map_err(|wrong| error(wrong, name, &value))?;
        }
        match config.judge_shards() {
            Some((_, shards, wrong)) => Err(error(
                wrong,
                "shards".to_owned(),
                &Given::Number(shards as i128),
            )),
            None => Ok(config),
        }
    }
}

fn error<E: Error>(wrong: Wrong, name: String, value: &Given) -> E {
    E::custom(wrong.of(name, value.to_string()))
}

/// A value, as it stands there.
enum Given {
    Number(i128),
    Text(String),
    Nothing,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Nothing => f.write_str("null"),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl Visitor<'_> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or text")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Ok(Given::Number(number.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }

    fn visit_none<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }
}
