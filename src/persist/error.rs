//! `PersistError`: the error of saving and restoring.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The error of saving or restoring the contents of a collection.
///
/// `path` is absent if the caller passed a reader or writer.
#[derive(Debug)]
#[non_exhaustive]
pub enum PersistError {
    /// There is no file to restore.
    NotFound {
        /// The file that does not exist.
        path: PathBuf,
    },
    /// The operating system, a writer, a reader or a [`Codec`](crate::Codec) returned an
    /// error.
    Io {
        /// The file.
        path: Option<PathBuf>,
        /// The error.
        source: io::Error,
    },
    /// The file is damaged, or is not a file of this kind.
    Damaged {
        /// The file.
        path: Option<PathBuf>,
        /// The offset of the damaged header or block, in bytes.
        offset: u64,
        /// The damage.
        reason: String,
    },
    /// Another process, or another journal of this process, uses the directory.
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The collection contains entries. Restore before the first entry is recorded.
    NotEmpty,
    /// The collection has a journal, which restored its contents.
    HasJournal,
}

impl PersistError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: Some(path.to_owned()),
            source,
        }
    }

    /// Adds the file to an error of a reader or writer.
    pub(crate) fn at(self, file: &Path) -> Self {
        let file = || Some(file.to_owned());
        match self {
            Self::Io { path: None, source } => Self::Io {
                path: file(),
                source,
            },
            Self::Damaged {
                path: None,
                offset,
                reason,
            } => Self::Damaged {
                path: file(),
                offset,
                reason,
            },
            other => other,
        }
    }
}

impl From<io::Error> for PersistError {
    fn from(source: io::Error) -> Self {
        Self::Io { path: None, source }
    }
}

impl fmt::Display for PersistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Option<PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "the stream".to_owned(),
        };
        match self {
            Self::NotFound { path } => write!(f, "{} does not exist", path.display()),
            Self::Io { path, source } => write!(f, "{}: {source}", name(path)),
            Self::Damaged {
                path,
                offset,
                reason,
            } => write!(f, "{} is damaged at byte {offset}: {reason}", name(path)),
            Self::InUse { path } => write!(
                f,
                "{} is in use by another process or journal; give each its own directory",
                path.display()
            ),
            Self::NotEmpty => {
                f.write_str("the collection contains entries; restore before the first is recorded")
            }
            Self::HasJournal => {
                f.write_str("the collection has a journal, which restored its contents")
            }
        }
    }
}

impl Error for PersistError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
