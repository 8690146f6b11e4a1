//! `Disk`: the operations on files that the journal needs, and the directory that implements them.
//!
//! Tests implement `Disk` with a disk in memory that crashes and fails at any operation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::{FileExt, TryLockError};

use super::super::PersistError;
use super::super::file::sync_folder;

/// Segments are files in one directory. At most one, the current one, is written.
pub(crate) trait Disk: Send {
    /// Returns the numbers of the segments in ascending order.
    fn segments(&self) -> io::Result<Vec<u64>>;
    /// Opens a segment for reading.
    fn open(&self, number: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Creates an empty segment, which becomes the current one. Its name is durable afterwards.
    fn create(&mut self, number: u64) -> io::Result<()>;
    /// Appends to the current segment.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content of the current segment durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Shortens a segment.
    fn cut(&mut self, number: u64, length: u64) -> io::Result<()>;
    /// Deletes a segment. It stays deleted after a crash.
    fn delete(&mut self, number: u64) -> io::Result<()>;
    /// Begins a new form of a segment, instead of one that was begun before.
    fn rewrite(&mut self, number: u64) -> io::Result<()>;
    /// Appends to the new form.
    fn append_rewritten(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the new form durable, and lets it take the place of the segment in one step.
    fn replace(&mut self, number: u64) -> io::Result<()>;
    /// Deletes the new form.
    fn discard_rewritten(&mut self) -> io::Result<()>;
    /// Lets other journals use it.
    fn release(&mut self);
    /// Returns the path of a segment, for errors.
    fn path_of(&self, number: u64) -> PathBuf;
}

const EXTENSION: &str = "segment";
/// The name of a segment's new form.
const REWRITTEN: &str = "rewritten.tmp";

/// A directory that is locked by this process.
pub(crate) struct Folder {
    path: PathBuf,
    current: Option<File>,
    rewritten: Option<File>,
    /// The lock ends when the file is closed.
    lock: Option<File>,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, PersistError> {
        let error = |error| PersistError::io(path, error);
        fs::create_dir_all(path).map_err(error)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(error)?;
        // Not called as a method: std has one of the same name since Rust 1.89.
        FileExt::try_lock(&lock).map_err(|reason| match reason {
            TryLockError::WouldBlock => PersistError::InUse {
                path: path.to_owned(),
            },
            TryLockError::Error(reason) => error(reason),
        })?;
        let mut folder = Self {
            path: path.to_owned(),
            current: None,
            rewritten: None,
            lock: Some(lock),
        };
        // After a crash, there may be one.
        folder.discard_rewritten().map_err(error)?;
        sync_folder(path).map_err(error)?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn current(&mut self) -> io::Result<&mut File> {
        let missing = || io::Error::other("no segment is open");
        self.current.as_mut().ok_or_else(missing)
    }
}

impl Disk for Folder {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = PathBuf::from(entry?.file_name());
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|it| it == EXTENSION) {
                numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.path_of(number))?))
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        // Not in append mode: after a cut, the position is set explicitly.
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(self.path_of(number))?;
        sync_folder(&self.path)?;
        self.current = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.current()?.sync_data()
    }

    fn cut(&mut self, number: u64, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path_of(number))?;
        file.set_len(length)?;
        file.sync_all()?;
        if let Some(current) = &mut self.current {
            current.seek(SeekFrom::End(0))?;
        }
        Ok(())
    }

    fn delete(&mut self, number: u64) -> io::Result<()> {
        remove(&self.path_of(number))?;
        // A later segment may have the removals of the ids in this one. If that is deleted and this
        // one comes back, the ids do as well.
        sync_folder(&self.path)
    }

    fn rewrite(&mut self, _: u64) -> io::Result<()> {
        self.rewritten = Some(File::create(self.path.join(REWRITTEN))?);
        Ok(())
    }

    fn append_rewritten(&mut self, bytes: &[u8]) -> io::Result<()> {
        let missing = || io::Error::other("no segment is rewritten");
        self.rewritten
            .as_mut()
            .ok_or_else(missing)?
            .write_all(bytes)
    }

    fn replace(&mut self, number: u64) -> io::Result<()> {
        let missing = || io::Error::other("no segment is rewritten");
        self.rewritten.take().ok_or_else(missing)?.sync_all()?;
        fs::rename(self.path.join(REWRITTEN), self.path_of(number))?;
        sync_folder(&self.path)
    }

    fn discard_rewritten(&mut self) -> io::Result<()> {
        self.rewritten = None;
        remove(&self.path.join(REWRITTEN))
    }

    fn release(&mut self) {
        (self.current, self.rewritten, self.lock) = (None, None, None);
    }

    fn path_of(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.{EXTENSION}"))
    }
}

/// Removes a file, unless an operator was faster.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
