//! Files of snapshots. A file is replaced as a whole or stays as it was.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::PersistError;

/// Writes a file by way of a temporary one in the same directory, so that a crash leaves either the
/// previous file or the whole new one.
///
/// The order matters: the content is on disk before the rename, and the rename before the return.
pub(crate) fn replace<R>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<R, PersistError>,
) -> Result<R, PersistError> {
    let temporary = Temporary::beside(path)?;
    let io_error = |error| PersistError::io(path, error);
    let file = File::create(&temporary.path).map_err(io_error)?;
    let mut writer = BufWriter::new(&file);
    let result = write(&mut writer).map_err(|error| error.at(path))?;
    writer.flush().map_err(io_error)?;
    drop(writer);
    file.sync_all().map_err(io_error)?;
    fs::rename(&temporary.path, path).map_err(io_error)?;
    sync_folder(&folder_of(path)).map_err(io_error)?;
    Ok(result)
}

/// A file that is removed unless it was renamed.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(path: &Path) -> Result<Self, PersistError> {
        // Relaxed: only the number itself matters.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let Some(name) = path.file_name() else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
            return Err(PersistError::io(path, error));
        };
        let mut name = name.to_owned();
        name.push(format!(".{}.{number}.tmp", process::id()));
        let path = path.with_file_name(name);
        Ok(Self { path })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename, it does not exist. Otherwise the error that led here is reported.
        let _ = fs::remove_file(&self.path);
    }
}

pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes renames, creations and deletions in a directory durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    // Other systems cannot open a directory as a file, and order these operations themselves.
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// Opens a snapshot for reading.
pub(crate) fn open(path: &Path) -> Result<BufReader<File>, PersistError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PersistError::NotFound {
            path: path.to_owned(),
        },
        _ => PersistError::io(path, error),
    })?;
    Ok(BufReader::new(file))
}
