//! `Serialize` for reports, for a health endpoint. Names are those of the fields, durations integer
//! milliseconds.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::finding::{Figure, Finding};
use super::report::{CollectionReport, ProcessReport, Report, ResourceUsage};
use super::thresholds::Severity;
use crate::stats::ms;

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", &self.severity())?;
        map.serialize_entry("window_ms", &ms(self.window))?;
        map.serialize_entry("samples", &self.samples)?;
        map.serialize_entry("process", &self.process)?;
        map.serialize_entry("collections", &self.collections)?;
        map.serialize_entry("findings", &self.findings)?;
        map.serialize_entry("panics", &self.panics)?;
        map.end()
    }
}

impl Serialize for ProcessReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("memory", &self.memory)?;
        map.serialize_entry("open_files", &self.open_files)?;
        map.end()
    }
}

impl Serialize for CollectionReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &*self.name)?;
        map.serialize_entry("samples", &self.samples)?;
        map.serialize_entry("entries", &self.entries)?;
        if let Some(weight) = &self.weight {
            map.serialize_entry("weight", weight)?;
        }
        if let Some(in_flight) = &self.in_flight {
            map.serialize_entry("in_flight", in_flight)?;
        }
        map.serialize_entry("usage", &self.usage)?;
        map.end()
    }
}

impl Serialize for ResourceUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("used", &self.used)?;
        map.serialize_entry("limit", &self.limit)?;
        map.serialize_entry("percent", &self.percent())?;
        map.serialize_entry("growth_per_minute", &self.growth_per_minute)?;
        map.serialize_entry("time_to_limit_ms", &self.time_to_limit.map(ms))?;
        map.end()
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("collection", &self.collection.as_deref())?;
        map.serialize_entry("kind", self.kind.as_str())?;
        map.serialize_entry("severity", &self.severity)?;
        match self.figure {
            Figure::Percent(percent) => map.serialize_entry("percent", &percent)?,
            Figure::BytesPerMinute(growth) => map.serialize_entry("bytes_per_minute", &growth)?,
            Figure::TimeLeft(left) => map.serialize_entry("time_left_ms", &ms(left))?,
            Figure::Window { kept, ttl } => {
                map.serialize_entry("window_ms", &ms(kept))?;
                map.serialize_entry("ttl_ms", &ms(ttl))?;
            }
            Figure::Count(count) => map.serialize_entry("count", &count)?,
        }
        map.serialize_entry("text", &format_args!("{self}"))?;
        map.end()
    }
}
