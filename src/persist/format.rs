//! The format of all files: a header, then blocks of records. `docs/persistence.md` describes every
//! byte for other programs.
//!
//! Two designs were considered. A table of fixed-size slots that is written in place needs no
//! deletion, but every write is random, and a torn write destroys an older record. The append-only
//! file in use is written in sequence, a torn write destroys only itself, and a whole file is
//! deleted when its last id has expired.
//!
//! A reader trusts nothing: each length is compared with a limit before memory is allocated, and
//! memory grows with the bytes that are really there.

use std::io::{self, Read};

use crate::clock::{Clock, Nanos, nanos};
use crate::codec::Codec;

const MAGIC: &[u8; 7] = b"LEAKPRF";
const VERSION: u8 = 1;
/// The bytes of a file's header, and of a block's.
pub(crate) const HEADER: usize = 52;
pub(crate) const BLOCK_HEADER: usize = 28;
/// The first bytes of each block. A reader that meets a damaged block searches for the next one.
pub(crate) const MARK: [u8; 4] = *b"LKB\x01";
/// The largest payload of a block.
pub(crate) const MAX_BLOCK: usize = 64 << 20;
/// The largest record. Twice as much fits into a block, so a block is never stuck.
pub(crate) const MAX_RECORD: usize = 32 << 20;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    DedupSnapshot = 1,
    Segment = 2,
    CacheSnapshot = 3,
}

/// The same moment by both clocks. Times in records are readings of `clock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) clock: Nanos,
    /// Nanoseconds since 1970.
    pub(crate) wall: Nanos,
}

impl Anchor {
    /// Returns the present moment. `base` is added to the reading of `clock`.
    pub(crate) fn now(clock: &Clock, base: Nanos) -> Self {
        Self {
            clock: clock.nanos().saturating_add(base),
            wall: nanos(clock.wall()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// `true` if the blocks of a segment are not synchronised one by one, so that a crash of the
    /// machine may lose any of the last ones.
    pub(crate) is_unsynchronised: bool,
    /// The number of a segment, and of the first segment that its process wrote.
    pub(crate) number: u64,
    pub(crate) run: u64,
    /// The start of the process or of the snapshot.
    pub(crate) start: Anchor,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..7].copy_from_slice(MAGIC);
        bytes[7] = VERSION;
        bytes[8] = self.kind as u8;
        bytes[9] = u8::from(self.is_unsynchronised);
        for (at, word) in [self.number, self.run, self.start.clock, self.start.wall]
            .into_iter()
            .enumerate()
        {
            bytes[16 + 8 * at..][..8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Returns `true` if the checksum of these bytes matches.
    pub(crate) fn is_whole(bytes: &[u8; HEADER]) -> bool {
        word32(&bytes[48..]) == crc32fast::hash(&bytes[..48])
    }

    /// Returns the header, or the reason for which these bytes are none.
    pub(crate) fn decode(bytes: &[u8; HEADER], kind: Kind) -> Result<Self, String> {
        if bytes[..7] != *MAGIC {
            return Err("not a file of leakproof".to_owned());
        }
        if bytes[7] != VERSION {
            let version = bytes[7];
            return Err(format!(
                "version {version} of the format, expected {VERSION}"
            ));
        }
        if !Self::is_whole(bytes) {
            return Err("the checksum of the header does not match".to_owned());
        }
        if bytes[8] != kind as u8 {
            return Err(format!(
                "a file of kind {}, expected {}",
                bytes[8], kind as u8
            ));
        }
        let word = |at: usize| word64(&bytes[16 + 8 * at..]);
        Ok(Self {
            kind,
            is_unsynchronised: bytes[9] != 0,
            number: word(0),
            run: word(1),
            start: Anchor {
                clock: word(2),
                wall: word(3),
            },
        })
    }
}

fn word32(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(word)
}

fn word64(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(word)
}

/// Returns an empty block, to which records are appended.
pub(crate) fn new_block() -> Vec<u8> {
    vec![0; BLOCK_HEADER]
}

/// Writes the header of a block that has all its records.
pub(crate) fn seal_block(block: &mut [u8], anchor: Anchor) {
    let length = (block.len() - BLOCK_HEADER) as u32;
    block[..4].copy_from_slice(&MARK);
    block[8..12].copy_from_slice(&length.to_le_bytes());
    block[12..20].copy_from_slice(&anchor.clock.to_le_bytes());
    block[20..28].copy_from_slice(&anchor.wall.to_le_bytes());
    let crc = crc32fast::hash(&block[8..]);
    block[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A record of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An id was recorded.
    Insert {
        time: Nanos,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// An id was removed.
    Remove { time: Nanos, key: &'a [u8] },
    /// All ids were removed. The first record of its block.
    Clear,
    /// The snapshot ends, after this number of entries.
    End { count: u64 },
    /// An entry of a cache, the least recently used first.
    Cached {
        /// The time since the last access.
        idle: Nanos,
        /// The remaining time to live. `Nanos::MAX` if there is none.
        remaining: Nanos,
        /// The time since the last write.
        age: Nanos,
        key: &'a [u8],
        value: &'a [u8],
    },
}

const INSERT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR: u8 = 3;
const END: u8 = 4;
const CACHED: u8 = 5;

pub(crate) fn put_insert(
    out: &mut Vec<u8>,
    time: Nanos,
    key: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    value: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    put_record(out, |out| {
        out.push(INSERT);
        out.extend_from_slice(&time.to_le_bytes());
        put_sized(out, key)?;
        put_sized(out, value)
    })
}

pub(crate) fn put_remove(
    out: &mut Vec<u8>,
    time: Nanos,
    key: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    put_record(out, |out| {
        out.push(REMOVE);
        out.extend_from_slice(&time.to_le_bytes());
        put_sized(out, key)
    })
}

pub(crate) fn put_clear(out: &mut Vec<u8>) {
    out.push(CLEAR);
}

pub(crate) fn put_end(out: &mut Vec<u8>, count: u64) {
    out.push(END);
    out.extend_from_slice(&count.to_le_bytes());
}

pub(crate) fn put_cached(
    out: &mut Vec<u8>,
    [idle, remaining, age]: [Nanos; 3],
    key: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    value: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    put_record(out, |out| {
        out.push(CACHED);
        for time in [idle, remaining, age] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        put_sized(out, key)?;
        put_sized(out, value)
    })
}

/// Appends a record, or nothing if it cannot be written.
fn put_record(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    /// Removes an incomplete record, also if a codec panics.
    struct Cut<'a> {
        out: &'a mut Vec<u8>,
        to: usize,
    }
    impl Drop for Cut<'_> {
        fn drop(&mut self) {
            self.out.truncate(self.to);
        }
    }
    let begin = out.len();
    let mut cut = Cut { out, to: begin };
    put(cut.out)?;
    let end = cut.out.len();
    if end < begin || end - begin > MAX_RECORD {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a record must not exceed {MAX_RECORD} bytes"),
        ));
    }
    cut.to = end;
    Ok(())
}

/// Appends bytes, preceded by their length in LEB128.
#[inline]
fn put_sized(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let at = out.len();
    out.push(0);
    put(out)?;
    let Some(length) = out.len().checked_sub(at + 1) else {
        let reason = "a codec shortened the output";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    };
    if length < 0x80 {
        out[at] = length as u8;
        return Ok(());
    }
    let mut rest = length;
    let mut leb128 = Vec::with_capacity(5);
    while rest >= 0x80 {
        leb128.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    leb128.push(rest as u8);
    out.splice(at..=at, leb128);
    Ok(())
}

/// Returns the first record of a payload, and the rest. `None` if the bytes are no record.
pub(crate) fn take_record(mut bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let rest = &mut bytes;
    let (&kind, after) = rest.split_first()?;
    *rest = after;
    let record = match kind {
        INSERT => Record::Insert {
            time: take_word(rest)?,
            key: take_sized(rest)?,
            value: take_sized(rest)?,
        },
        REMOVE => Record::Remove {
            time: take_word(rest)?,
            key: take_sized(rest)?,
        },
        CLEAR => Record::Clear,
        END => Record::End {
            count: take_word(rest)?,
        },
        CACHED => Record::Cached {
            idle: take_word(rest)?,
            remaining: take_word(rest)?,
            age: take_word(rest)?,
            key: take_sized(rest)?,
            value: take_sized(rest)?,
        },
        _ => return None,
    };
    Some((record, bytes))
}

/// Decodes a key or a value. The error is the reason for which that is impossible.
pub(crate) fn decode<T: ?Sized + Codec>(what: &str, bytes: &[u8]) -> Result<T::Owned, String> {
    T::decode(bytes).map_err(|error| format!("a {what} cannot be decoded: {error}"))
}

fn take_word(bytes: &mut &[u8]) -> Option<u64> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*word))
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0_usize;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            let (sized, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            return Some(sized);
        }
    }
    None
}

/// The problem of a block.
#[derive(Debug)]
pub(crate) enum BadBlock {
    Io(io::Error),
    /// The file ends within the block.
    Short,
    /// The reason for which the bytes are no block.
    Damaged(String),
}

/// Reads a block into `payload`. Returns its anchor, or `None` at the end of the file.
pub(crate) fn read_block(
    reader: &mut impl Read,
    payload: &mut Vec<u8>,
) -> Result<Option<Anchor>, BadBlock> {
    let mut header = [0; BLOCK_HEADER];
    match read_full(reader, &mut header)? {
        0 => return Ok(None),
        BLOCK_HEADER => {}
        _ => return Err(BadBlock::Short),
    }
    if header[..4] != MARK {
        return Err(BadBlock::Damaged("a block does not begin here".to_owned()));
    }
    let length = word32(&header[8..]) as usize;
    if length > MAX_BLOCK {
        return Err(BadBlock::Damaged(format!(
            "a block must not exceed {MAX_BLOCK} bytes (got {length})"
        )));
    }
    payload.clear();
    // The vector grows as bytes arrive, so a false length allocates nothing.
    let read = reader.by_ref().take(length as u64).read_to_end(payload);
    if read.map_err(BadBlock::Io)? < length {
        return Err(BadBlock::Short);
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[8..]);
    crc.update(payload);
    if crc.finalize() != word32(&header[4..]) {
        return Err(BadBlock::Damaged(
            "the checksum of the block does not match".to_owned(),
        ));
    }
    Ok(Some(Anchor {
        clock: word64(&header[12..]),
        wall: word64(&header[20..]),
    }))
}

/// Reads until `buffer` is full or the file ends. Returns the number of bytes read.
pub(crate) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, BadBlock> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BadBlock::Io(error)),
        }
    }
    Ok(filled)
}
