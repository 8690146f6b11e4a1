//! `SimDisk`: a disk in memory whose operations fail, and that crashes.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use super::super::disk::Disk;

/// Sends messages, and receives permits.
type Gate = (Sender<()>, Receiver<()>);

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    /// The length that survives a crash of the machine.
    pub(super) synced: usize,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Sim {
    pub(super) files: BTreeMap<u64, File>,
    pub(super) current: u64,
    /// The new form of a segment.
    rewritten: Vec<u8>,
    /// Operations until one fails, and the number of its bytes that are written all the same.
    pub(super) fuse: Option<(usize, usize)>,
    /// `true` if all operations fail after the first failure, as after a crash.
    pub(super) crashes: bool,
    pub(super) operations: usize,
    /// Segments that were rewritten.
    pub(super) replaced: usize,
    /// If set, each append sends a message, and waits for a permit.
    pub(super) gate: Option<Arc<Mutex<Gate>>>,
}

#[derive(Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<Sim>>);

impl SimDisk {
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Sim) -> R) -> R {
        work(&mut self.0.lock().expect("not poisoned"))
    }

    /// Counts an operation. Returns the number of bytes to write if it fails.
    fn operate<R>(&self, work: impl FnOnce(&mut Sim, Option<usize>) -> R) -> io::Result<R> {
        self.with(|sim| {
            sim.operations += 1;
            match &mut sim.fuse {
                Some((0, bytes)) => {
                    let bytes = *bytes;
                    sim.fuse = sim.crashes.then_some((0, 0));
                    work(sim, Some(bytes));
                    Err(io::Error::other("the disk fails"))
                }
                fuse => {
                    if let Some((left, _)) = fuse {
                        *left -= 1;
                    }
                    Ok(work(sim, None))
                }
            }
        })
    }

    /// Returns the disk after a crash of the machine that keeps this many bytes of the last
    /// segment, of which the last `torn` are zero.
    pub(super) fn after_crash(&self, lost: usize, torn: usize) -> Option<Self> {
        let mut sim = self.with(|sim| sim.clone());
        sim.fuse = None;
        if let Some(mut last) = sim.files.last_entry() {
            let file = last.get_mut();
            let kept = file.content.len().checked_sub(lost)?;
            if kept < file.synced || kept - file.synced < torn {
                return None;
            }
            file.content.truncate(kept);
            let from = kept - torn;
            file.content[from..].fill(0);
        } else if lost + torn > 0 {
            return None;
        }
        Some(Self(Arc::new(Mutex::new(sim))))
    }
}

impl Disk for SimDisk {
    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(self.with(|sim| sim.files.keys().copied().collect()))
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn Read + Send>> {
        let content = self.with(|sim| sim.files.get(&number).map(|file| file.content.clone()));
        match content {
            Some(content) => Ok(Box::new(Cursor::new(content))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        self.operate(|sim, failed| {
            // The failing operation may have created the file.
            if failed != Some(0) {
                sim.files.insert(number, File::default());
            }
            if failed.is_none() {
                sim.current = number;
            }
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(gate) = self.with(|sim| sim.gate.clone()) {
            let gate = gate.lock().expect("not poisoned");
            gate.0.send(()).map_err(io::Error::other)?;
            gate.1.recv().map_err(io::Error::other)?;
        }
        self.operate(|sim, failed| {
            let written = failed.map_or(bytes.len(), |bytes_left| bytes_left.min(bytes.len()));
            let current = sim.current;
            let file = sim.files.get_mut(&current).expect("a current file");
            file.content.extend_from_slice(&bytes[..written]);
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.operate(|sim, failed| {
            let current = sim.current;
            let file = sim.files.get_mut(&current).expect("a current file");
            if failed.is_none() {
                file.synced = file.content.len();
            }
        })
    }

    fn cut(&mut self, number: u64, length: u64) -> io::Result<()> {
        self.operate(|sim, failed| {
            if failed.is_none() {
                let file = sim.files.get_mut(&number).expect("a file");
                file.content.truncate(length as usize);
                file.synced = file.synced.min(length as usize);
            }
        })
    }

    fn delete(&mut self, number: u64) -> io::Result<()> {
        self.operate(|sim, failed| {
            // A crash may come before or after the deletion.
            if failed != Some(0) {
                sim.files.remove(&number);
            }
        })
    }

    fn rewrite(&mut self, _: u64) -> io::Result<()> {
        self.operate(|sim, _| sim.rewritten.clear())
    }

    fn append_rewritten(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.operate(|sim, failed| {
            if failed.is_none() {
                sim.rewritten.extend_from_slice(bytes);
            }
        })
    }

    fn replace(&mut self, number: u64) -> io::Result<()> {
        self.operate(|sim, failed| {
            // A crash may come before or after the renaming.
            if failed != Some(0) {
                let content = std::mem::take(&mut sim.rewritten);
                let synced = content.len();
                sim.files.insert(number, File { content, synced });
                sim.replaced += 1;
            }
        })
    }

    fn discard_rewritten(&mut self) -> io::Result<()> {
        self.operate(|sim, _| sim.rewritten.clear())
    }

    fn release(&mut self) {}

    fn path_of(&self, number: u64) -> PathBuf {
        PathBuf::from(format!("{number}.segment"))
    }
}
