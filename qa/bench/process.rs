//! What the kernel says of a process: memory, and time on a core.

use std::time::Duration;

/// Ticks a second of the times in `/proc`: Linux's own unit there, whatever its timer does.
const TICKS: f64 = 100.0;

/// Resident memory of a process in MB.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

pub fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
    };
    Memory { now: of("VmRSS:"), peak: of("VmHWM:") }
}

/// Seconds that all threads of a process have spent on a core, for itself and in the kernel.
pub fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may hold anything, blanks and brackets too.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// Waits until a process has little to do, at most ten seconds: some go on working for those who have gone.
pub async fn calm(pid: u32) {
    let mut before = cpu(pid);
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = cpu(pid);
        if now - before < 0.03 {
            return;
        }
        before = now;
    }
}
