//! The lines of a file or of standard input, plain or gzipped.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::Result;
use crate::output::note;
use crate::progress::Progress;
use crate::text::thousands;

/// Bad lines that are reported one by one. All others are only counted.
const REPORTED: usize = 5;
/// No id or key is that long, and input without line breaks must not fill the memory.
const MAX_LINE: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The source of lines.
pub enum Input {
    Stdin,
    File(PathBuf),
}

impl Input {
    /// Returns the input of a path, of which `-` is standard input.
    pub fn new(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdin
        } else {
            Self::File(path)
        }
    }

    /// Opens the input.
    pub fn lines(&self) -> Result<Lines<'_>> {
        let open = || {
            unzipped(match self {
                Self::Stdin => Box::new(io::stdin().lock()),
                Self::File(path) => Box::new(File::open(path)?),
            })
        };
        let reader = open().map_err(|error| self.cannot_read(&error))?;
        Ok(Lines {
            input: self,
            reader,
            line: Vec::new(),
            progress: Progress::new("lines read"),
            read: 0,
            bad: 0,
        })
    }

    fn cannot_read(&self, error: &io::Error) -> String {
        format!("cannot read {self}: {error}")
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
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

/// An open input, and how many of its lines were read and were bad.
pub struct Lines<'a> {
    input: &'a Input,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    progress: Progress,
    pub read: usize,
    pub bad: usize,
}

impl Lines<'_> {
    /// Returns the next line that is valid text, without its line break.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        loop {
            self.line.clear();
            let has_end = self
                .read_line()
                .map_err(|error| self.input.cannot_read(&error))?;
            if !has_end && self.line.is_empty() {
                return Ok(None);
            }
            self.read += 1;
            if self.read == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            self.progress.update(self.read);
            match str::from_utf8(self.line.trim_ascii_end()) {
                _ if self.line.len() > MAX_LINE => self.reject("longer than 1 MiB"),
                Err(_) => self.reject("invalid UTF-8"),
                Ok("") => self.reject("empty"),
                Ok(_) => break,
            }
        }
        Ok(str::from_utf8(self.line.trim_ascii_end()).ok())
    }

    /// Reads a line, of which at most `MAX_LINE` bytes are kept. Returns `true` if it has an end.
    fn read_line(&mut self) -> io::Result<bool> {
        self.reader
            .by_ref()
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut self.line)?;
        if self.line.len() > MAX_LINE && !self.line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        Ok(self.line.ends_with(b"\n"))
    }

    /// Counts the last line as bad, and reports it if it is one of the first.
    pub fn reject(&mut self, reason: &str) {
        self.bad += 1;
        if self.bad <= REPORTED {
            note(format_args!(
                "{}:{}: skipped: {reason}",
                self.input, self.read
            ));
        } else if self.bad == REPORTED + 1 {
            note(format_args!(
                "{}: more bad lines are only counted",
                self.input
            ));
        }
    }

    /// Returns an error if lines were bad and none of them gave one of the `valid` results.
    pub fn check(&self, valid: u64) -> Result<()> {
        if valid == 0 && self.bad > 0 {
            let (input, bad) = (self.input, thousands(self.bad));
            return Err(format!("{input} has no valid line, and {bad} bad ones").into());
        }
        Ok(())
    }
}
