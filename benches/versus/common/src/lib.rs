//! What all rivals' programs share: the entries that `starling bench` publishes, the same checks on
//! them, and children that end with their parent.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

mod receipts;
pub mod region;

pub use receipts::{LAST, MEASURED, Receipts, SINGLE, WARM_UP, new_histogram, times, wall_nanos, write_head};

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

    /// When what is published begins to count, and when publishing is over.
    pub fn schedule(&self) -> (Instant, Instant) {
        let warm = Instant::now() + self.warm_up;
        (warm, warm + self.duration)
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

/// How long a role may take to end.
const END: Duration = Duration::from_secs(5);

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
        // It ends with its stdin, and what it started with it; who does not is killed.
        drop(self.child.stdin.take());
        let until = Instant::now() + END;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It may have ended by itself; then only waiting is left.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Ends this process with an error when it has not ended by itself after so long.
pub fn end_after(patience: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(patience);
        eprintln!("not done after {} s", patience.as_secs());
        std::process::exit(1);
    });
}

/// Ends this process when nobody holds the other end of stdin any more.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        std::process::exit(0);
    });
}

/// An address of this machine that nobody listens at, neither by UDP nor by TCP.
///
/// # Errors
/// The system has none.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..100 {
        let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port is free")
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
