//! `Codec`: the bytes of keys and values outside of the process.

#[cfg(all(feature = "serde", any(feature = "persist", feature = "redis")))]
mod serde;

use std::io;
use std::sync::Arc;

#[cfg(all(feature = "serde", any(feature = "persist", feature = "redis")))]
pub use self::serde::Serde;

/// A type that can be stored in a file or on a server: `()`, integers, strings, byte vectors, and
/// every type for which you implement the two methods.
///
/// Implement it for a value type of your own, or wrap a type that serde supports into `Serde`.
/// The bytes of a key must be equal for equal keys. Files do not contain the type: changing it
/// makes old files unreadable unless `decode` understands both forms.
///
/// ```
/// use leakproof::Codec;
/// use std::io;
///
/// #[derive(Clone, Debug, PartialEq)]
/// enum Reply {
///     Text(String),
///     Silence,
/// }
///
/// impl Codec for Reply {
///     fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
///         if let Self::Text(text) = self {
///             out.push(1);
///             text.encode(out)?;
///         }
///         Ok(())
///     }
///
///     fn decode(bytes: &[u8]) -> io::Result<Self> {
///         match bytes {
///             [] => Ok(Self::Silence),
///             [1, text @ ..] => Ok(Self::Text(str::decode(text)?)),
///             _ => Err(io::ErrorKind::InvalidData.into()),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored outside of the process",
    note = "implement `leakproof::Codec`, or wrap the value into `leakproof::Serde`"
)]
pub trait Codec: ToOwned {
    /// Appends the bytes of the value to `out`, without a length. Leaves what `out` contains.
    ///
    /// # Errors
    ///
    /// Returns an error if the value has no such form.
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Returns the value that [`encode`](Self::encode) wrote as exactly these bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if `encode` does not write these bytes.
    fn decode(bytes: &[u8]) -> io::Result<Self::Owned>;
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn utf8(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(invalid)
}

/// Implements `Codec` for types that are a sequence of bytes.
macro_rules! impl_bytes {
    ($($Type:ty, $as_bytes:expr, $from_bytes:expr;)+) => {$(
        impl Codec for $Type {
            fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
                let as_bytes: fn(&Self) -> &[u8] = $as_bytes;
                out.extend_from_slice(as_bytes(self));
                Ok(())
            }

            fn decode(bytes: &[u8]) -> io::Result<Self::Owned> {
                let from_bytes: fn(&[u8]) -> io::Result<Self::Owned> = $from_bytes;
                from_bytes(bytes)
            }
        }
    )+};
}
impl_bytes! {
    str, |text| text.as_bytes(), |bytes| utf8(bytes).map(str::to_owned);
    String, |text| text.as_bytes(), |bytes| utf8(bytes).map(str::to_owned);
    Box<str>, |text| text.as_bytes(), |bytes| utf8(bytes).map(Into::into);
    Arc<str>, |text| text.as_bytes(), |bytes| utf8(bytes).map(Into::into);
    [u8], |bytes| bytes, |bytes| Ok(bytes.to_vec());
    Vec<u8>, |bytes| bytes, |bytes| Ok(bytes.to_vec());
    Box<[u8]>, |bytes| bytes, |bytes| Ok(bytes.into());
    Arc<[u8]>, |bytes| bytes, |bytes| Ok(bytes.into());
}

impl Codec for () {
    fn encode(&self, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }

    fn decode(bytes: &[u8]) -> io::Result<()> {
        match bytes {
            [] => Ok(()),
            _ => Err(invalid("expected no bytes")),
        }
    }
}

impl Codec for bool {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        out.push(u8::from(*self));
        Ok(())
    }

    fn decode(bytes: &[u8]) -> io::Result<bool> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(invalid("expected one byte, 0 or 1")),
        }
    }
}

/// Integers are stored in little-endian order, `usize` and `isize` with 64 bits.
macro_rules! impl_integer {
    ($($Integer:ty as $Stored:ty),+) => {$(
        impl Codec for $Integer {
            fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
                out.extend_from_slice(&(*self as $Stored).to_le_bytes());
                Ok(())
            }

            fn decode(bytes: &[u8]) -> io::Result<$Integer> {
                let bytes = bytes.try_into().map_err(invalid)?;
                <$Integer>::try_from(<$Stored>::from_le_bytes(bytes)).map_err(invalid)
            }
        }
    )+};
}
impl_integer!(
    u8 as u8,
    u16 as u16,
    u32 as u32,
    u64 as u64,
    u128 as u128,
    usize as u64,
    i8 as i8,
    i16 as i16,
    i32 as i32,
    i64 as i64,
    i128 as i128,
    isize as i64
);
