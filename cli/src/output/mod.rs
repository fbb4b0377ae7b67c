//! How answers look: data on stdout as a table, as JSON or as JSON lines; talk on stderr.
//!
//! A [`Render`] is one answer in all three forms; [`overview`] has those about the mesh. Its JSON
//! begins with a `schema` such as `starling.members/1`: fields may be added under the same number,
//! never changed or taken away.

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::commands::GlobalOptions;
use crate::exit::{self, Failure};

pub mod budget;
pub mod named;
pub mod overview;
pub mod peers;
pub mod progress;
pub mod table;
pub mod topology;

/// How answers look on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line, one line an item.
    Jsonl,
}

/// One answer in every format.
pub trait Render: Serialize {
    /// For people: whole lines, each with its newline.
    fn table(&self) -> String;

    /// One compact JSON document an item; the whole answer is one item unless it is a list.
    fn json_lines(&self) -> serde_json::Result<Vec<String>> {
        Ok(vec![serde_json::to_string(self)?])
    }
}

/// Where a command says what it has to say.
#[derive(Clone, Debug)]
pub struct Output {
    /// How answers look.
    pub format: Format,
    /// 0 usual, 1 more, 2 and above most.
    pub verbosity: u8,
    /// Whether stderr is for errors alone.
    pub is_quiet: bool,
}

impl Output {
    /// What the options ask for.
    pub fn new(options: &GlobalOptions) -> Output {
        Output { format: options.output, verbosity: options.verbose, is_quiet: options.quiet }
    }

    /// Prints an answer in the format that was asked for.
    pub fn print(&self, answer: &impl Render) -> Result<(), Failure> {
        self.write(render(answer, self.format)?.as_bytes())
    }

    /// Writes data to stdout as it is. A reader that went away ends the command quietly.
    pub fn write(&self, data: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(data).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => error.into(),
            _ => Failure::new(exit::ExitCode::Failed, format!("cannot write to stdout: {error}"))
                .with_help("is the disk full or the terminal gone?"),
        })
    }

    /// Says a line on stderr, unless quiet.
    pub fn note(&self, line: &str) {
        if !self.is_quiet {
            exit::say(&format!("{line}\n"));
        }
    }

    /// Says a line on stderr that begins with `warning:`, unless quiet.
    pub fn warn(&self, line: &str) {
        self.note(&format!("warning: {line}"));
    }

    /// Says a line on stderr when `-v` was given.
    pub fn detail(&self, line: &str) {
        if self.verbosity > 0 {
            self.note(line);
        }
    }
}

/// The text of an answer in a format, whole lines.
pub fn render(answer: &impl Render, format: Format) -> serde_json::Result<String> {
    match format {
        Format::Table => Ok(answer.table()),
        Format::Json => serde_json::to_string_pretty(answer).map(|text| text + "\n"),
        Format::Jsonl => Ok(answer.json_lines()?.into_iter().map(|line| line + "\n").collect()),
    }
}

/// Writes a report to a file as JSON.
///
/// # Errors
/// The file cannot be written; it may hold a part then.
pub fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(path, text).map_err(|error| {
        let what = format!("cannot write the report to {}: {error}", path.display());
        Failure::new(exit::ExitCode::Failed, what)
    })
}
