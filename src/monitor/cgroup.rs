//! The memory limit that Linux control groups set for this process.
//!
//! `sysinfo` reads the limit of a process's own group from version 0.37 on, which needs Rust 1.88.

use std::fs;
use std::path::Path;

/// Returns the lowest memory limit among the process's control group and its ancestors.
///
/// Returns `None` if there is no limit, or none at or below `machine_bytes`.
pub(super) fn memory_limit(machine_bytes: u64) -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest_limit(&membership, Path::new("/sys/fs/cgroup"), machine_bytes)
}

/// `membership` is the text of `/proc/self/cgroup`: a line `id:controllers:path` per hierarchy.
fn lowest_limit(membership: &str, mounts: &Path, machine_bytes: u64) -> Option<u64> {
    let path_of = |is_wanted: fn(&str) -> bool| {
        membership.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            is_wanted(controllers).then_some(path)
        })
    };
    // On a hybrid system, the hierarchy of version 1 that has the memory controller decides.
    let version_1 = path_of(|controllers| controllers.split(',').any(|it| it == "memory"));
    let (mount, path, file) = match version_1 {
        Some(path) => (mounts.join("memory"), path, "memory.limit_in_bytes"),
        None => (mounts.to_owned(), path_of(str::is_empty)?, "memory.max"),
    };
    // A container without a cgroup namespace sees the host's path, but its mount begins at its own
    // group. The files that do not exist are skipped, and the mount's root has the limit.
    mount
        .join(path.trim_start_matches('/'))
        .ancestors()
        .take_while(|group| group.starts_with(&mount))
        .filter_map(|group| fs::read_to_string(group.join(file)).ok())
        .filter_map(|limit| limit.trim().parse().ok())
        .filter(|&limit| limit <= machine_bytes)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const MACHINE: u64 = 1 << 34;

    /// A folder with the given files, removed when dropped.
    struct Mounts(PathBuf);

    impl Mounts {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("cgroup-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
                fs::write(path, text).expect("writable");
            }
            Self(root)
        }
    }

    impl Drop for Mounts {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn limit_is_the_lowest_of_all_ancestors_in_version_2() {
        let files = [
            ("a/memory.max", "4096\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/c/memory.max", "8192\n"),
        ];
        let mounts = Mounts::new("ancestors", &files);
        assert_eq!(lowest_limit("0::/a/b/c\n", &mounts.0, MACHINE), Some(4096));
        assert_eq!(lowest_limit("0::/d\n", &mounts.0, MACHINE), None);
    }

    #[test]
    fn version_1_decides_if_it_has_the_memory_controller() {
        let files = [
            ("memory/a/memory.limit_in_bytes", "8192\n"),
            ("memory.max", "1\n"),
        ];
        let mounts = Mounts::new("hybrid", &files);
        let membership = "5:cpu,memory:/a\n0::/\n";
        assert_eq!(lowest_limit(membership, &mounts.0, MACHINE), Some(8192));
    }

    #[test]
    fn limit_of_the_mount_root_holds_for_a_path_of_the_host() {
        let mounts = Mounts::new("host-path", &[("memory.max", "4096\n")]);
        let membership = "0::/system.slice/docker-1.scope\n";
        assert_eq!(lowest_limit(membership, &mounts.0, MACHINE), Some(4096));
    }

    #[test]
    fn limit_above_the_machine_is_no_limit() {
        let mounts = Mounts::new("above", &[("memory.max", "9223372036854771712\n")]);
        assert_eq!(lowest_limit("0::/\n", &mounts.0, MACHINE), None);
        assert_eq!(lowest_limit("", &mounts.0, MACHINE), None);
    }
}
