//! The meaning of the columns of a CSV line.

use std::fmt;

use example_support::Result;
use example_support::csv::CsvLine;
use example_support::time::TimeUnit;

/// A lookup of one key.
pub(crate) struct Request<'a> {
    pub(crate) nanos: Option<u64>,
    pub(crate) key: &'a str,
    /// The weight of the entry, or zero if there is no such column.
    pub(crate) bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Key,
    Bytes,
    Time,
    Ignored,
}

impl Column {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Key, "key"),
        (Self::Bytes, "bytes"),
        (Self::Time, "time"),
        (Self::Ignored, "-"),
    ];

    fn named(name: &str) -> Self {
        let known = Self::ALL
            .iter()
            .find(|known| known.1.eq_ignore_ascii_case(name.trim_ascii()));
        known.map_or(Self::Ignored, |known| known.0)
    }
}

#[derive(Clone)]
pub(crate) struct Columns(Vec<Column>);

impl Columns {
    /// Returns the columns of generated requests.
    pub(crate) fn all() -> Self {
        Self(vec![Column::Time, Column::Key, Column::Bytes])
    }

    /// Returns `true` if a line is a header: it names the column of keys and has no number.
    pub(crate) fn is_header(fields: &[&str]) -> bool {
        let is_number = |field: &&str| field.starts_with(|first: char| first.is_ascii_digit());
        fields.iter().any(|name| Column::named(name) == Column::Key)
            && !fields.iter().any(is_number)
    }

    /// Returns the columns of these names.
    pub(crate) fn named(names: &[&str]) -> Result<Self, String> {
        let columns: Vec<_> = names.iter().map(|name| Column::named(name)).collect();
        let all = names.join(",");
        for (column, name) in Column::ALL {
            match columns.iter().filter(|&&other| other == column).count() {
                0 if column == Column::Key => {
                    return Err(format!("no column is named \"key\" in {all}"));
                }
                2.. if column != Column::Ignored => {
                    return Err(format!("two columns are named \"{name}\" in {all}"));
                }
                _ => {}
            }
        }
        Ok(Self(columns))
    }

    /// Parses the value of the option `--columns`.
    pub(crate) fn parse(names: &str) -> Result<Self, String> {
        Self::named(&names.split(',').collect::<Vec<_>>())
    }

    /// Guesses the columns from how many the first line has.
    pub(crate) fn guessed(fields: &[&str]) -> Result<Self, String> {
        match fields.len() {
            1 => Self::parse("key"),
            2 => Self::parse("key,bytes"),
            3 => Self::parse("time,key,bytes"),
            count => Err(format!(
                "the first line has {count} columns; name them, such as --columns -,key,bytes,-"
            )),
        }
    }

    pub(crate) fn have_bytes(&self) -> bool {
        self.0.contains(&Column::Bytes)
    }

    pub(crate) fn have_time(&self) -> bool {
        self.0.contains(&Column::Time)
    }

    /// Parses a line as a request.
    pub(crate) fn request<'a>(
        &self,
        csv: &'a mut CsvLine,
        line: &str,
        unit: TimeUnit,
    ) -> Result<Request<'a>, &'static str> {
        let fields = csv.fields(line)?;
        if fields.len() != self.0.len() {
            return Err(if fields.len() < self.0.len() {
                "too few columns"
            } else {
                "too many columns"
            });
        }
        let mut request = Request {
            nanos: None,
            key: "",
            bytes: 0,
        };
        for (column, field) in self.0.iter().zip(fields) {
            match column {
                Column::Key if field.is_empty() => return Err("empty key"),
                Column::Key => request.key = field,
                Column::Bytes => request.bytes = bytes(field)?,
                Column::Time => request.nanos = Some(unit.nanos(field)?),
                Column::Ignored => {}
            }
        }
        Ok(request)
    }
}

fn bytes(field: &str) -> Result<u32, &'static str> {
    if field.is_empty() || !field.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid number of bytes");
    }
    field
        .parse()
        .map_err(|_| "bytes must be below 4 GiB, the most that an entry can weigh")
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |column: &Column| {
            Column::ALL
                .iter()
                .find(|known| known.0 == *column)
                .map_or("", |known| known.1)
        };
        let names: Vec<_> = self.0.iter().map(name).collect();
        f.write_str(&names.join(","))
    }
}
