//! What a process takes of the machine, as the system tells it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory, descriptors and threads of one process.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Resident memory, in KiB.
    pub resident: u64,
    /// Open files, sockets among them.
    pub files: usize,
    /// Threads.
    pub threads: u64,
}

impl Taken {
    /// By the process of this id, now.
    pub fn by(pid: u32) -> Taken {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").count();
        Taken { resident: of("VmRSS:"), files, threads: of("Threads:") }
    }
}

/// Lets this process open as many files as the system grants; how many that is.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
