//! `CompoundKey`: one byte key made of several parts.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

/// One byte key made of several parts, for collections keyed by `[u8]`.
///
/// Each part is preceded by its length, so that `("ab", "c")` and `("a", "bc")` are different keys
/// whatever the parts contain. An empty part is an error: an id without its chat would be taken for
/// the same id from everywhere. Give a number as its bytes, `chat.to_be_bytes()`, and an id that
/// may be missing as `id.unwrap_or_default()`.
///
/// ```
/// use leakproof::{CompoundKey, DedupSet};
/// use std::time::Duration;
///
/// let seen = DedupSet::<[u8]>::new(10_000, Duration::from_secs(3600));
/// let (chat, id) = ("1203630@g.us", "3EB0C767D26A");
/// assert!(seen.insert(&CompoundKey::new([chat, id])?));
/// assert!(!seen.insert(&CompoundKey::new([chat, id])?));
///
/// let missing = CompoundKey::new([chat, ""]).unwrap_err();
/// assert_eq!(missing.index, 1);
/// assert_eq!(missing.to_string(), "part 2 of the key is empty");
///
/// let key = CompoundKey::new([chat, id])?;
/// assert_eq!(CompoundKey::parts(&key).collect::<Vec<_>>(), [chat.as_bytes(), id.as_bytes()]);
/// # Ok::<(), leakproof::EmptyPart>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CompoundKey {
    bytes: Vec<u8>,
}

impl CompoundKey {
    /// Joins `parts`, at the cost of one allocation.
    ///
    /// # Errors
    ///
    /// [`EmptyPart`] names the first part that is empty. No parts at all count as the first one
    /// missing.
    pub fn new<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Result<Self, EmptyPart> {
        let mut bytes = Vec::with_capacity(64);
        for (index, part) in parts.into_iter().enumerate() {
            let part = part.as_ref();
            if part.is_empty() {
                return Err(EmptyPart { index });
            }
            push_length(&mut bytes, part.len());
            bytes.extend_from_slice(part);
        }
        if bytes.is_empty() {
            Err(EmptyPart { index: 0 })
        } else {
            Ok(Self { bytes })
        }
    }

    /// Returns the parts of a key that [`new`](Self::new) made, for example during `for_each`. If
    /// the bytes are not such a key, returns the parts that can be read.
    pub fn parts(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(move || {
            let length = take_length(&mut key)?;
            let (part, rest) = key.split_at_checked(length)?;
            key = rest;
            Some(part)
        })
    }
}

/// Appends a length as LEB128: seven bits a byte, low bits first, the top bit says that more
/// follow.
pub(crate) fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

pub(crate) fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(length);
        }
    }
    None
}

impl Deref for CompoundKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for CompoundKey {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A part of a [`CompoundKey`] was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyPart {
    /// Which one, counted from zero.
    pub index: usize,
}

impl fmt::Display for EmptyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of the key is empty", self.index + 1)
    }
}

impl Error for EmptyPart {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_unambiguous() {
        assert_ne!(CompoundKey::new(["ab", "c"]), CompoundKey::new(["a", "bc"]));
        assert_ne!(CompoundKey::new(["ab"]), CompoundKey::new(["a", "b"]));
        assert_ne!(
            CompoundKey::new([b"\x01a\x01b".as_slice()]),
            CompoundKey::new([b"a".as_slice(), b"b"])
        );
        let long = "x".repeat(1_000);
        assert_ne!(
            CompoundKey::new([long.as_str(), "y"]),
            CompoundKey::new([long.as_str(), "z"])
        );
    }

    #[test]
    fn parts_returns_the_parts() {
        let long = "x".repeat(70_000);
        let key = CompoundKey::new(["chat", long.as_str(), "i"]).expect("no part is empty");
        assert_eq!(
            CompoundKey::parts(&key).collect::<Vec<_>>(),
            [b"chat", long.as_bytes(), b"i"]
        );
        for bytes in [
            &[][..],
            &[0x80],
            &[5, 1],
            &[0xff; 20],
            &[0xff, 0xff, 0x7f, 1],
        ] {
            assert_eq!(CompoundKey::parts(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn empty_part_is_named() {
        assert_eq!(CompoundKey::new(["", "id"]), Err(EmptyPart { index: 0 }));
        assert_eq!(
            CompoundKey::new(["chat", "", "id"]),
            Err(EmptyPart { index: 1 })
        );
        assert_eq!(CompoundKey::new([""; 0]), Err(EmptyPart { index: 0 }));
    }
}
