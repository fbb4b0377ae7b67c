//! Commands that speak and listen: publish, subscribe, send.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use starling_client::{AgentId, Client, Notice, Profile, new_key};
use starling_core::limits::PAYLOAD_BYTES_MAX;
use tokio::sync::mpsc;

use crate::args::{ClientSettings, PublishArgs, SendArgs, SubscribeArgs};
use crate::exit::{ExitCode, Failure};
use crate::finding::{block_on, client_failure, find};
use crate::output::{Format, Output, Render};
use crate::signals::stop_requested;

/// Bytes read from stdin at once.
const READ_BYTES: usize = 64 * 1024;
/// Blocks read ahead of publishing.
const READ_AHEAD: usize = 8;
/// Bytes collected before stdout is written.
const WRITE_BYTES: usize = 64 * 1024;

/// A new agent of this command.
pub(crate) async fn agent(client: &Client, name: &str) -> Result<starling_client::Agent, Failure> {
    let key = new_key().map_err(|error| client_failure(&error))?;
    let profile = Profile { name: name.into(), state: "working".into(), tags: vec!["cli".into()] };
    client.agent(key, profile).await.map_err(|error| client_failure(&error))
}

fn open(path: Option<&PathBuf>) -> Result<Box<dyn Read + Send>, Failure> {
    match path {
        None => Ok(Box::new(io::stdin())),
        Some(path) => match File::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => {
                Err(Failure::new(ExitCode::Failed, format!("cannot read {}: {error}", path.display())))
            }
        },
    }
}

/// All of a source, at most one entry's worth.
fn read_all(mut source: Box<dyn Read + Send>) -> Result<Bytes, Failure> {
    let mut data = Vec::new();
    source.by_ref().take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut data)?;
    if data.len() > PAYLOAD_BYTES_MAX {
        return Err(Failure::new(ExitCode::Failed, "the data is over 1 MiB, the most that an entry takes")
            .with_help("publish lines with --lines, or split the data"));
    }
    Ok(data.into())
}

/// `starling publish`.
///
/// # Errors
/// No edge can be reached, or not every entry was acknowledged.
pub fn publish(args: &PublishArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    starling_core::interest::subject::check_subject(&args.subject)
        .map_err(|error| Failure::new(ExitCode::Usage, format!("subject `{}`: {error}", args.subject)))?;
    let single = match (&args.data, args.lines) {
        (Some(data), _) => {
            if data.len() > PAYLOAD_BYTES_MAX {
                return Err(Failure::new(
                    ExitCode::Failed,
                    "the data is over 1 MiB, the most that an entry takes",
                ));
            }
            Some(Bytes::copy_from_slice(data.as_bytes()))
        }
        (None, false) => Some(read_all(open(args.file.as_ref())?)?),
        (None, true) => None,
    };
    let source = if single.is_none() { Some(open(args.file.as_ref())?) } else { None };
    let found = find(settings)?;
    block_on(async move {
        let client = found.client().await?;
        let agent = agent(&client, "publish").await?;
        let fail = |error: starling_client::ClientError| client_failure(&error);
        let published = match (single, source) {
            (Some(data), _) => agent.publish(args.subject.as_str(), data).await.map(|_| 1).map_err(fail),
            (None, Some(source)) => publish_lines(&agent, &args.subject, source).await,
            (None, None) => Ok(0),
        };
        // What was accepted before a fault is still waited for: it is on its way.
        client.flush().await.map_err(fail)?;
        let published = published?;
        output.detail(&format!("{published} entries acknowledged"));
        client.close().await.map_err(fail)?;
        let subject = args.subject.clone();
        output.print(&Published { schema: "starling.publish/1", subject, entries: published })
    })
}

/// What every destination has.
#[derive(Serialize)]
struct Published {
    schema: &'static str,
    subject: String,
    entries: u64,
}

impl Render for Published {
    fn table(&self) -> String {
        // People see by the prompt that it is done.
        String::new()
    }
}

/// One entry a line, its newline included; a last line without one stays without.
async fn publish_lines(
    agent: &starling_client::Agent,
    subject: &str,
    mut source: Box<dyn Read + Send>,
) -> Result<u64, Failure> {
    let (blocks, mut read) = mpsc::channel::<io::Result<Bytes>>(READ_AHEAD);
    // Reading may block for ever, as on a terminal; the thread ends with the process.
    std::thread::spawn(move || {
        loop {
            let mut block = vec![0; READ_BYTES];
            let sent = match source.read(&mut block) {
                Ok(0) => return,
                Ok(count) => {
                    block.truncate(count);
                    blocks.blocking_send(Ok(block.into()))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => blocks.blocking_send(Err(error)),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let mut number = 0;
    let mut partial = BytesMut::new();
    while let Some(block) = read.recv().await {
        let mut block = block?;
        while let Some(newline) = block.iter().position(|byte| *byte == b'\n') {
            let line = block.split_to(newline + 1);
            number += 1;
            check_line(partial.len() + line.len(), number)?;
            let line = if partial.is_empty() {
                line
            } else {
                partial.extend_from_slice(&line);
                partial.split().freeze()
            };
            agent.publish(subject, line).await.map_err(|error| client_failure(&error))?;
        }
        partial.extend_from_slice(&block);
        check_line(partial.len(), number + 1)?;
    }
    if !partial.is_empty() {
        number += 1;
        agent.publish(subject, partial.freeze()).await.map_err(|error| client_failure(&error))?;
    }
    Ok(number)
}

fn check_line(length: usize, number: u64) -> Result<(), Failure> {
    if length <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let what = format!(
        "line {number} is over 1 MiB, the most that an entry takes; the lines before it were published"
    );
    Err(Failure::new(ExitCode::Failed, what).with_help("split the line"))
}

#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    subject: &'a str,
    publisher: String,
    sequence: u64,
    payload: String,
}

/// `starling subscribe`.
///
/// # Errors
/// No edge can be reached, the pattern is wrong, or entries were lost.
pub fn subscribe(args: &SubscribeArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    starling_core::interest::subject::Pattern::parse(&args.pattern)
        .map_err(|error| Failure::new(ExitCode::Usage, format!("pattern `{}`: {error}", args.pattern)))?;
    let found = find(settings)?;
    block_on(async move {
        let client = found.client().await?;
        let agent = agent(&client, "subscribe").await?;
        let mut subscription =
            agent.subscribe(&args.pattern).await.map_err(|error| client_failure(&error))?;
        output.note("ready");
        let mut writer = Writer { output, raw: args.raw, buffer: Vec::new() };
        let mut left = args.count.unwrap_or(u64::MAX);
        let mut has_gap = false;
        let stop = stop_requested();
        tokio::pin!(stop);
        while left > 0 {
            let notice = tokio::select! {
                biased;
                notice = subscription.next() => notice,
                () = tokio::task::yield_now(), if !writer.buffer.is_empty() => {
                    writer.flush()?;
                    continue;
                }
                () = &mut stop => {
                    writer.flush()?;
                    return Err(Failure::quiet(if has_gap { ExitCode::Failed } else { ExitCode::Interrupted }));
                }
            };
            match notice {
                Some(Notice::Event(event)) => {
                    left -= 1;
                    writer.put(&event)?;
                }
                Some(Notice::Gap { reason }) => {
                    writer.flush()?;
                    has_gap = true;
                    crate::exit::say(&format!("gap: entries may be missing here: {reason}\n"));
                    if args.raw {
                        // What would follow is not the stream that was asked for.
                        return Err(Failure::quiet(ExitCode::Failed));
                    }
                }
                None => break,
            }
        }
        writer.flush()?;
        client.close().await.map_err(|error| client_failure(&error))?;
        if has_gap { Err(Failure::quiet(ExitCode::Failed)) } else { Ok(()) }
    })
}

struct Writer<'a> {
    output: &'a Output,
    raw: bool,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, event: &starling_client::Event) -> Result<(), Failure> {
        if self.raw {
            self.buffer.extend_from_slice(&event.payload);
        } else {
            let payload = String::from_utf8_lossy(&event.payload).into_owned();
            let publisher = event.publisher.to_string();
            match self.output.format {
                Format::Table => {
                    let payload = crate::output::table::printable(payload.trim_end_matches('\n'));
                    writeln!(self.buffer, "{}  {publisher}  {payload}", event.subject)?;
                }
                Format::Json | Format::Jsonl => {
                    let (subject, sequence) = (event.subject.as_str(), event.sequence);
                    let shown = Shown { schema: "starling.event/1", subject, publisher, sequence, payload };
                    serde_json::to_writer(&mut self.buffer, &shown)?;
                    self.buffer.push(b'\n');
                }
            }
        }
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.output.write(&self.buffer);
        self.buffer.clear();
        written
    }
}

/// `starling send`.
///
/// # Errors
/// No edge can be reached, or the agent is nowhere.
pub fn send(args: &SendArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let to: AgentId = args.agent.parse().map_err(|error| {
        Failure::new(ExitCode::Usage, format!("`{}` is not an agent's id: {error}", args.agent))
    })?;
    let data = match &args.data {
        Some(data) => Bytes::copy_from_slice(data.as_bytes()),
        None => read_all(open(None)?)?,
    };
    let found = find(settings)?;
    block_on(async move {
        let client = found.client().await?;
        let agent = agent(&client, "send").await?;
        agent.send(to, data).await.map_err(|error| client_failure(&error))?;
        client.flush().await.map_err(|error| match error {
            starling_client::ClientError::Undelivered(_) => Failure::new(
                ExitCode::NotFound,
                format!("agent {to} is not attached to any edge that can be reached"),
            ),
            other => client_failure(&other),
        })?;
        output.detail("the agent's edge has it");
        client.close().await.map_err(|error| client_failure(&error))
    })
}
