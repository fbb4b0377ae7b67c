//! How much memory the process has, where the system says so.

/// Bytes of a page on the machines this runs on; others would be shown a multiple.
const PAGE_BYTES: u64 = 4_096;

/// Bytes of the process that are in RAM, by Linux's `/proc/self/statm`; none elsewhere.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(PAGE_BYTES))
}
