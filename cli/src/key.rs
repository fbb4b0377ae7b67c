//! `starling key`: replicated keys, read and written.

use serde::Serialize;
use starling_client::{Client, Value};

use crate::args::key::NameArgs;
use crate::args::{ClientSettings, KeyArgs, KeyCommand};
use crate::exit::{ExitCode, Failure};
use crate::finding::{block_on, client_failure, find};
use crate::messages::agent;
use crate::output::{Output, Render};

/// A key's value.
#[derive(Debug, Serialize)]
struct Shown {
    schema: &'static str,
    key: String,
    text: Option<String>,
    number: Option<i128>,
}

impl Render for Shown {
    fn table(&self) -> String {
        match (&self.text, self.number) {
            (Some(text), _) => format!("{text}\n"),
            (None, Some(number)) => format!("{number}\n"),
            (None, None) => String::new(),
        }
    }
}

/// `starling key`.
///
/// # Errors
/// No edge can be reached, the edge refuses the change, or there is no value to show.
pub fn run(args: &KeyArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let found = find(settings)?;
    let shown = block_on(async move {
        let client = found.client().await?;
        let done = work(&client, &args.command).await;
        let closed = client.close().await;
        let shown = done?;
        closed.map_err(|error| client_failure(&error))?;
        Ok(shown)
    })?;
    shown.map_or(Ok(()), |shown| output.print(&shown))
}

/// Does what was asked; what is to be shown of it.
async fn work(client: &Client, command: &KeyCommand) -> Result<Option<Shown>, Failure> {
    if let KeyCommand::Get(NameArgs { key, .. }) = command {
        let value = client.get(key).await.map_err(|error| client_failure(&error))?;
        let value =
            value.ok_or_else(|| Failure::new(ExitCode::NotFound, format!("no value under `{key}`")))?;
        return Ok(Some(show(key, &value)));
    }
    // Agents write; this one leaves when it has.
    let agent = agent(client, "key").await?;
    let written = match command {
        KeyCommand::Get(_) => Ok(()),
        KeyCommand::Put(args) => agent.put(&args.key, args.value.clone()).await,
        KeyCommand::Delete(args) => agent.delete(&args.key).await,
        KeyCommand::Add(args) => agent.add(&args.key, args.number).await,
        KeyCommand::Max(args) => agent.max(&args.key, args.number).await,
        KeyCommand::Min(args) => agent.min(&args.key, args.number).await,
    };
    written.map(|()| None).map_err(|error| client_failure(&error))
}

fn show(key: &str, value: &Value) -> Shown {
    let text = value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Shown { schema: "starling.key/1", key: key.to_owned(), text, number: value.as_number() }
}
