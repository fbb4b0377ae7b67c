//! What the kernel says of a process: proportional set size and processor time.

use std::fs;

/// Proportional set size in bytes: its own pages and its share of shared ones. `None` once it ended.
pub fn pss_bytes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Resident set size in bytes. `None` once it ended.
pub fn rss_bytes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Processor time in seconds, user and system, all threads. `None` once it ended.
pub fn cpu_seconds(process: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may contain anything; fields are counted behind it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // Linux has reported 100 clock ticks a second to programs on every architecture since 2.6.
    Some(ticks as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        assert!(pss_bytes(std::process::id()).unwrap() > 100_000);
        assert!(rss_bytes(std::process::id()).unwrap() > 100_000);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
        assert_eq!(pss_bytes(u32::MAX), None);
    }
}
