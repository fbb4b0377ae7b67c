//! What all rivals' programs share: the entries that `starling bench` publishes, the same checks on
//! them, and children that end with their parent.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// How long a run measures, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Measured.
    pub duration: Duration,
    /// Published before.
    pub warm_up: Duration,
    /// Bytes of a payload, at least 24.
    pub payload: usize,
}

impl Settings {
    /// Seconds of measuring and of warming up, and bytes of a payload.
    ///
    /// # Errors
    /// They are not three such numbers.
    pub fn parse(words: &[String]) -> Result<Settings> {
        let [duration, warm_up, payload] = words else {
            anyhow::bail!("write the seconds to measure, the seconds to warm up, and the payload's bytes")
        };
        let payload = payload.parse()?;
        ensure!((24..=32_768).contains(&payload), "a payload has 24 to 32768 bytes");
        let seconds = |text: &str| anyhow::Ok(Duration::try_from_secs_f64(text.parse()?)?);
        Ok(Settings { duration: seconds(duration)?, warm_up: seconds(warm_up)?, payload })
    }

    /// The same as words.
    pub fn words(&self) -> [String; 3] {
        [
            self.duration.as_secs_f64().to_string(),
            self.warm_up.as_secs_f64().to_string(),
            self.payload.to_string(),
        ]
    }
}

/// What an entry is for: the numbers of `starling bench`.
pub const WARM_UP: u8 = 0;
/// It counts.
pub const MEASURED: u8 = 1;
/// Nothing comes after it.
pub const LAST: u8 = 2;

/// Nanoseconds since 1970.
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes an entry's head: number, time and phase.
pub fn write_head(payload: &mut [u8], number: u64, phase: u8) {
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload[8..16].copy_from_slice(&wall_nanos().to_le_bytes());
    payload[16] = phase;
}

/// What one receiver got.
#[derive(Clone, Debug)]
pub struct Receipts {
    delivered: u64,
    duplicated: u64,
    measured: u64,
    begun: u64,
    ended: u64,
    next: u64,
    latency: Histogram<u64>,
    /// Whether the last entry came.
    pub is_over: bool,
}

impl Default for Receipts {
    fn default() -> Receipts {
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of a constant range");
        let (delivered, duplicated, measured, begun, ended, next) = (0, 0, 0, 0, 0, 0);
        Receipts { delivered, duplicated, measured, begun, ended, next, latency, is_over: false }
    }
}

impl Receipts {
    /// Takes an entry that came at `now`.
    pub fn take(&mut self, payload: &[u8], now: u64) {
        let word = |at: usize| payload[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let (number, sent, phase) = (word(0), word(8), payload[16]);
        if number < self.next {
            self.duplicated += 1;
            return;
        }
        (self.next, self.delivered) = (number + 1, self.delivered + 1);
        if phase == MEASURED {
            if self.measured == 0 {
                self.begun = now;
            }
            (self.measured, self.ended) = (self.measured + 1, now);
            self.latency.saturating_record(now.saturating_sub(sent).max(1));
        }
        self.is_over |= phase == LAST;
    }

    /// A result for the list of all.
    pub fn report(&self) -> Value {
        let seconds = self.ended.saturating_sub(self.begun).max(1) as f64 / 1e9;
        json!({
            "per_second": self.measured as f64 / seconds,
            "latency_us": times(&self.latency),
            "delivered": self.delivered,
            "lost": self.next - self.delivered,
            "duplicated": self.duplicated,
        })
    }
}

/// Microseconds of a histogram of nanoseconds.
pub fn times(histogram: &Histogram<u64>) -> Value {
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / 1e3;
    json!({"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "samples": histogram.len()})
}

/// This program again, in another role; it ends when its stdin does, so with us.
#[derive(Debug)]
pub struct Role {
    child: Child,
    lines: Arc<Mutex<BufReader<std::process::ChildStdout>>>,
}

impl Role {
    /// Starts it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn start(words: &[String]) -> Result<Role> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        Ok(Role { child, lines: Arc::new(Mutex::new(lines)) })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// It ended.
    pub fn line(&self) -> Result<String> {
        let mut line = String::new();
        let read = self.lines.lock().expect("reading does not panic").read_line(&mut line)?;
        ensure!(read > 0, "a process of the measurement ended");
        Ok(line.trim().to_string())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself; then only waiting is left.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Ends this process when nobody holds the other end of stdin any more.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        std::process::exit(0);
    });
}

/// Resident bytes of a process.
///
/// # Errors
/// It ended.
pub fn rss_bytes(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
