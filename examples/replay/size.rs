//! Sizes as options and tables show them.

use example_support::Result;

const UNITS: [(&str, u64); 6] = [
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
];

/// The bounds of one cache.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) entries: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl Size {
    /// Returns every size of one kind, each with that of the other kind if there is one.
    pub(crate) fn combine(mut entries: Vec<u64>, mut bytes: Vec<u64>) -> Result<Vec<Self>, String> {
        if entries.len() > 1 && bytes.len() > 1 {
            return Err("--max-entries and --max-bytes cannot both have several sizes".into());
        }
        if entries.is_empty() && bytes.is_empty() {
            entries = vec![100, 1_000, 10_000, 100_000];
        }
        let sorted = |sizes: &mut Vec<u64>| {
            sizes.sort_unstable();
            sizes.dedup();
            match sizes.len() {
                0 => vec![None],
                _ => sizes.iter().copied().map(Some).collect(),
            }
        };
        let bytes = sorted(&mut bytes);
        let combine = |entries| bytes.iter().map(move |&bytes| Self { entries, bytes });
        Ok(sorted(&mut entries).into_iter().flat_map(combine).collect())
    }
}

/// Parses a whole number with an optional unit, such as `64Mi`.
pub(crate) fn parse(text: &str) -> Result<u64, &'static str> {
    let (count, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit = match unit {
        "" => Some(1),
        unit => UNITS.iter().find(|known| known.0 == unit).map(|it| it.1),
    };
    let size = || count.parse::<u64>().ok()?.checked_mul(unit?);
    size()
        .filter(|&size| size > 0)
        .ok_or("a size must be a whole number above zero, with k, M, G, Ki, Mi, Gi or no unit")
}

/// Formats a size with the unit that makes it shortest.
pub(crate) fn shortest(size: u64) -> String {
    let whole = UNITS
        .iter()
        .filter(|(_, unit)| size > 0 && size % unit == 0);
    let short = whole.map(|(name, unit)| format!("{}{name}", size / unit));
    short
        .chain([size.to_string()])
        .min_by_key(String::len)
        .unwrap_or_default()
}
