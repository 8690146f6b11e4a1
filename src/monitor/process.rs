//! `ProcessFigures`: memory and open files of the process, as the operating system reports them.

use super::cgroup;
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

/// Memory and open files of a process. A figure that the operating system does not report is
/// `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Resident memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The memory limit, in bytes, at which the system ends the process. `None` if there is no
    /// limit.
    pub memory_limit_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// The limit on open file descriptors.
    pub open_files_limit: Option<u64>,
}

impl ProcessFigures {
    /// Reads the figures of this process.
    ///
    /// The memory limit is the lowest one of the process's control group and its parents:
    /// `memory.max` of cgroup v2, or `memory.limit_in_bytes` of v1. Only Linux has it. A limit
    /// above the machine's memory counts as none. All processes of a control group share its limit,
    /// and its page cache counts towards it.
    ///
    /// A call takes some hundreds of microseconds, and more with thousands of open files.
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
            // A running process has memory, so zero means that the system did not report it.
            memory_bytes: Some(process.memory()).filter(|&bytes| bytes > 0),
            memory_limit_bytes: cgroup::memory_limit(system.total_memory()),
            open_files: count(process.open_files()),
            open_files_limit: count(process.open_files_limit()),
        }
    }
}
