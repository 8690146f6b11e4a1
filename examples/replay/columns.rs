//! Which column of a line is what, and the request that a line is.

use std::fmt;

use example_support::Result;
use example_support::time::nanos;

/// A key asked for, with what is known of it.
pub(crate) struct Request<'a> {
    pub(crate) nanos: Option<u64>,
    pub(crate) key: &'a str,
    /// In so many bits as the weight of an entry has. Zero where there is no such column.
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
pub(crate) struct Columns {
    columns: Vec<Column>,
    /// Whether a line may have more columns: they are part of the last.
    last_takes_all: bool,
}

impl Columns {
    /// What generated requests have.
    pub(crate) fn all() -> Self {
        Self {
            columns: vec![Column::Time, Column::Key, Column::Bytes],
            last_takes_all: false,
        }
    }

    /// Whether the first line of a file is a header: it names the column of keys, and has no number.
    pub(crate) fn are_named_by(first: &str) -> bool {
        let is_number = |name: &str| {
            name.trim_ascii()
                .starts_with(|first: char| first.is_ascii_digit())
        };
        first
            .split(',')
            .any(|name| Column::named(name) == Column::Key)
            && !first.split(',').any(is_number)
    }

    /// As names, separated by commas, say.
    pub(crate) fn named(names: &str) -> Result<Self, String> {
        let columns: Vec<_> = names.split(',').map(Column::named).collect();
        for (column, name) in Column::ALL {
            match columns.iter().filter(|&&other| other == column).count() {
                0 if column == Column::Key => {
                    return Err(format!("no column is named \"key\" in: {names}"));
                }
                2.. if column != Column::Ignored => {
                    return Err(format!("two columns are named \"{name}\" in: {names}"));
                }
                _ => {}
            }
        }
        Ok(Self {
            columns,
            last_takes_all: false,
        })
    }

    /// As the `--columns` of somebody who knows the lines.
    pub(crate) fn given(names: &str) -> Result<Self, String> {
        Ok(Self {
            last_takes_all: true,
            ..Self::named(names)?
        })
    }

    /// As the first line's number of columns suggests.
    pub(crate) fn counted(first: &str) -> Result<Self, String> {
        match first.split(',').count() {
            1 => Self::named("key"),
            2 => Self::named("key,bytes"),
            3 => Self::named("time,key,bytes"),
            count => Err(format!(
                "the first line has {count} columns; say what they are: --columns -,key,bytes,-"
            )),
        }
    }

    pub(crate) fn have_bytes(&self) -> bool {
        self.columns.contains(&Column::Bytes)
    }

    pub(crate) fn have_time(&self) -> bool {
        self.columns.contains(&Column::Time)
    }

    pub(crate) fn parse<'a>(
        &self,
        line: &'a str,
        decimals: usize,
    ) -> Result<Request<'a>, &'static str> {
        let most = if self.last_takes_all {
            self.columns.len()
        } else {
            usize::MAX
        };
        let mut fields = line.splitn(most, ',').map(str::trim_ascii);
        let mut request = Request {
            nanos: None,
            key: "",
            bytes: 0,
        };
        for column in &self.columns {
            let field = fields.next().ok_or("too few columns")?;
            match column {
                Column::Key if field.is_empty() => return Err("no key"),
                Column::Key => request.key = field,
                Column::Bytes => request.bytes = bytes(field)?,
                Column::Time => request.nanos = Some(nanos(field, decimals)?),
                Column::Ignored => {}
            }
        }
        if fields.next().is_some() {
            Err("too many columns")
        } else {
            Ok(request)
        }
    }
}

fn bytes(field: &str) -> Result<u32, &'static str> {
    if field.is_empty() || !field.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("no valid number of bytes");
    }
    field
        .parse()
        .map_err(|_| "4 GiB or more, which no entry can weigh")
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |column: &Column| {
            Column::ALL
                .iter()
                .find(|known| known.0 == *column)
                .map_or("", |known| known.1)
        };
        f.write_str(&self.columns.iter().map(name).collect::<Vec<_>>().join(","))
    }
}
