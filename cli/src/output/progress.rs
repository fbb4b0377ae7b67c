//! How far long work is: a bar on a terminal, otherwise a line on stderr now and then.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use super::table::grouped;

/// Off a terminal a line is said at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of one piece of work, on stderr; silent when the command is to be quiet.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: u64,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { output: Output, began: Instant, said: Instant, done: u64 },
}

impl Progress {
    /// Work called `what`, such as `attaching`, with `total` steps to do.
    pub fn begin(output: &Output, what: &str, total: u64) -> Progress {
        let is_terminal = io::stderr().is_terminal() && !output.is_quiet;
        let shown = if is_terminal {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            bar.set_style(bar_style());
            bar.set_message(what.to_owned());
            Shown::Bar(bar)
        } else {
            let now = Instant::now();
            Shown::Lines { output: output.clone(), began: now, said: now, done: 0 }
        };
        Progress { what: what.to_owned(), total, shown }
    }

    /// So many steps are done now, not only since the last call.
    pub fn set(&mut self, steps_done: u64) {
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(steps_done),
            Shown::Lines { output, began, said, done } => {
                *done = steps_done;
                if said.elapsed() >= LINE_INTERVAL {
                    *said = Instant::now();
                    output.note(&progress_line(&self.what, steps_done, self.total, began.elapsed()));
                }
            }
        }
    }

    /// Says a line on stderr without tearing the bar.
    pub fn note(&self, output: &Output, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| output.note(line)),
            Shown::Lines { .. } => output.note(line),
        }
    }

    /// The work is over; the bar goes, and without a terminal a last line is said.
    pub fn end(self) {
        match self.shown {
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines { output, began, done, .. } => {
                output.note(&progress_line(&self.what, done, self.total, began.elapsed()));
            }
        }
    }
}

fn bar_style() -> ProgressStyle {
    let template = "{msg} [{bar:30}] {human_pos}/{human_len} {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is a constant that parses");
    style.progress_chars("=> ")
}

fn progress_line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let per_second = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line =
        format!("{what}: {} of {}, {}/s", grouped(done), grouped(total), grouped(per_second as u64));
    if done > 0 && done < total {
        let left_seconds = (total - done) as f64 / per_second;
        line.push_str(&format!(", {left_seconds:.0} s left"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_rate_and_time_left() {
        let seconds = Duration::from_secs;
        assert_eq!(
            progress_line("attaching", 2_000, 10_000, seconds(4)),
            "attaching: 2,000 of 10,000, 500/s, 16 s left"
        );
        assert_eq!(progress_line("attaching", 10, 10, seconds(1)), "attaching: 10 of 10, 10/s");
        assert_eq!(progress_line("attaching", 0, 10, seconds(0)), "attaching: 0 of 10, 0/s");
    }

    #[test]
    fn quiet_work_can_be_begun_and_ended() {
        let output = Output { format: Default::default(), verbosity: 0, is_quiet: true };
        let mut progress = Progress::begin(&output, "attaching", 2);
        progress.set(1);
        progress.note(&output, "unseen");
        progress.end();
    }
}
