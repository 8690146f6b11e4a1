//! The lines of a file or of standard input, gzipped or not; those that are bad are named and counted.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::output::note;
use crate::terminal::progress;
use crate::{MILLION, Result};

const NAMED_BAD_LINES: usize = 5;
/// No id or key is that long, and what has no line ends at all must not fill the memory.
const LONGEST_LINE: usize = 1 << 20;
/// What some programs begin a text with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub enum Source {
    /// So many lines that are made up.
    Generated(usize),
    Read(Input),
}

impl Source {
    pub fn new(file: Option<OsString>, generated: Option<usize>) -> Self {
        match file {
            None => Self::Generated(generated.unwrap_or(MILLION)),
            Some(dash) if dash == "-" => Self::Read(Input::Stdin),
            Some(path) => Self::Read(Input::File(path.into())),
        }
    }
}

pub enum Input {
    Stdin,
    File(PathBuf),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Input {
    pub fn lines(&self) -> Result<Lines<'_>> {
        let open = || {
            unzipped(match self {
                Self::Stdin => Box::new(io::stdin().lock()),
                Self::File(path) => Box::new(File::open(path)?),
            })
        };
        let reader = open().map_err(|error| self.unreadable(&error))?;
        Ok(Lines {
            input: self,
            reader,
            line: Vec::new(),
            read: 0,
            bad: 0,
        })
    }

    fn unreadable(&self, error: &io::Error) -> String {
        format!("cannot read {self}: {error}")
    }
}

fn unzipped(mut input: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut magic = Vec::new();
    input.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == [0x1f, 0x8b];
    let whole = Cursor::new(magic).chain(input);
    Ok(if is_gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(whole))))
    } else {
        Box::new(BufReader::new(whole))
    })
}

pub struct Lines<'a> {
    input: &'a Input,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    pub read: usize,
    pub bad: usize,
}

impl Lines<'_> {
    /// The next line that is text, without what ends it.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        loop {
            self.line.clear();
            let end = self
                .read_line()
                .map_err(|error| self.input.unreadable(&error))?;
            if !end && self.line.is_empty() {
                return Ok(None);
            }
            self.read += 1;
            if self.read == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            progress("lines read", self.read);
            match str::from_utf8(self.line.trim_ascii_end()) {
                _ if self.line.len() > LONGEST_LINE => self.reject("too long"),
                Err(_) => self.reject("not UTF-8"),
                Ok("") => self.reject("empty"),
                Ok(_) => break,
            }
        }
        Ok(str::from_utf8(self.line.trim_ascii_end()).ok())
    }

    /// Whether the line has an end. Of one that is too long, only so much is held that it can be told.
    fn read_line(&mut self) -> io::Result<bool> {
        self.reader
            .by_ref()
            .take(LONGEST_LINE as u64 + 1)
            .read_until(b'\n', &mut self.line)?;
        if self.line.len() > LONGEST_LINE && !self.line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        Ok(self.line.ends_with(b"\n"))
    }

    /// Passes over the line that was read last.
    pub fn reject(&mut self, reason: &str) {
        self.bad += 1;
        if self.bad <= NAMED_BAD_LINES {
            note(format_args!("line {}: {reason}; passed over", self.read));
        } else if self.bad == NAMED_BAD_LINES + 1 {
            note("further bad lines are only counted");
        }
    }
}
