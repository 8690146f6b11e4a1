//! `CompoundKey`: one byte key made of several parts.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

/// One byte key made of several parts, for collections keyed by `[u8]`.
///
/// Each part is preceded by its length, so that `("ab", "c")` and `("a", "bc")` are different keys whatever the parts
/// contain. An empty part is an error: an id without its chat would be taken for the same id from everywhere.
///
/// ```
/// use leakproof::{CompoundKey, DedupSet};
/// use std::time::Duration;
///
/// let seen = DedupSet::<[u8]>::new(Duration::from_secs(3600), 10_000);
/// let (chat, id) = ("1203630@g.us", "3EB0C767D26A");
/// assert!(seen.insert(&CompoundKey::new([chat, id])?));
/// assert!(!seen.insert(&CompoundKey::new([chat, id])?));
///
/// let missing = CompoundKey::new([chat, ""]).unwrap_err();
/// assert_eq!(missing.index, 1);
/// assert_eq!(missing.to_string(), "part 2 of the key is empty");
/// # Ok::<(), leakproof::MissingPart>(())
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
    /// [`MissingPart`] names the first part that is empty. No parts at all count as the first one missing.
    pub fn new<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Result<Self, MissingPart> {
        let mut bytes = Vec::with_capacity(64);
        for (index, part) in parts.into_iter().enumerate() {
            let part = part.as_ref();
            if part.is_empty() {
                return Err(MissingPart { index });
            }
            push_length(&mut bytes, part.len());
            bytes.extend_from_slice(part);
        }
        if bytes.is_empty() { Err(MissingPart { index: 0 }) } else { Ok(Self { bytes }) }
    }
}

/// Appends a length as LEB128: seven bits a byte, low bits first, the top bit says that more follow.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
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
pub struct MissingPart {
    /// Which one, counted from zero.
    pub index: usize,
}

impl fmt::Display for MissingPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of the key is empty", self.index + 1)
    }
}

impl Error for MissingPart {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(CompoundKey::new(["ab", "c"]), CompoundKey::new(["a", "bc"]));
        assert_ne!(CompoundKey::new(["ab"]), CompoundKey::new(["a", "b"]));
        assert_ne!(CompoundKey::new([b"\x01a\x01b".as_slice()]), CompoundKey::new([b"a".as_slice(), b"b"]));
        let long = "x".repeat(1_000);
        assert_ne!(CompoundKey::new([long.as_str(), "y"]), CompoundKey::new([long.as_str(), "z"]));
    }

    #[test]
    fn a_missing_part_is_named() {
        assert_eq!(CompoundKey::new(["", "id"]), Err(MissingPart { index: 0 }));
        assert_eq!(CompoundKey::new(["chat", "", "id"]), Err(MissingPart { index: 1 }));
        assert_eq!(CompoundKey::new([""; 0]), Err(MissingPart { index: 0 }));
    }
}
