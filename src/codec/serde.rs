//! `Serde`: a codec for every type that serde supports.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, invalid};

/// Stores any type that serde supports, in the format [postcard](https://docs.rs/postcard).
///
/// Postcard contains no field names: adding, removing or reordering fields changes the format.
///
/// ```
/// use leakproof::DedupMap;
/// use leakproof::Serde;
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Reply {
///     text: String,
///     attempts: u32,
/// }
///
/// let seen = DedupMap::<str, Serde<Reply>>::new(1_000, Duration::from_secs(3600));
/// seen.record("id", Serde(Reply { text: "hello".into(), attempts: 1 }));
/// let mut file = Vec::new();
/// seen.save_to(&mut file)?;
///
/// let restarted = DedupMap::<str, Serde<Reply>>::new(1_000, Duration::from_secs(3600));
/// restarted.restore_from(&file[..])?;
/// assert_eq!(restarted.get("id").unwrap().text, "hello");
/// # Ok::<(), leakproof::persist::PersistError>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);

impl<T: Clone + Serialize + DeserializeOwned> Codec for Serde<T> {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        postcard::serialize_with_flavor(&self.0, Appended(out)).map_err(invalid)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(Self(value)),
            Ok(_) => Err(invalid("bytes after the value")),
            Err(error) => Err(invalid(error)),
        }
    }
}

/// Writes a value at the end of a vector.
struct Appended<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl<T> std::ops::Deref for Serde<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Serde<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}
