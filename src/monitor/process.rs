//! `ProcessFigures`: what the system tells of the process, asked of it in one place.

use super::cgroup;
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

/// What the system tells of the process. What it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Resident memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The limit on memory, in bytes, at which the process is ended. `None`: there is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// The limit on them, at which opening another one fails.
    pub open_files_limit: Option<u64>,
}

impl ProcessFigures {
    /// The figures of this process, now, as far as the system tells them.
    ///
    /// The limit on memory is the lowest of the process's control group and those above it (`memory.max` of version 2,
    /// `memory.limit_in_bytes` of version 1), as the file system shows them now: Linux only. One above the machine's
    /// memory is none. Where a group has several processes, they share the limit, and the group's page cache counts for
    /// it too.
    ///
    /// It takes some hundreds of microseconds, and more with thousands of open files.
    #[must_use]
    pub fn read() -> Self {
        let Ok(pid) = get_current_pid() else {
            return Self::default();
        };
        let mut system = System::new();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
        let Some(process) = system.process(pid) else {
            return Self::default();
        };
        let count = |count: Option<usize>| count.map(|count| count as u64);
        Self {
            // A process without memory could not ask: zero means that the system did not tell.
            memory_bytes: Some(process.memory()).filter(|&bytes| bytes > 0),
            memory_limit_bytes: cgroup::memory_limit(system.total_memory()),
            open_files: count(process.open_files()),
            open_files_limit: count(process.open_files_limit()),
        }
    }
}
