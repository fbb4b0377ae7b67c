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

/// A change that the edge has sealed.
#[derive(Debug, Serialize)]
struct Changed {
    schema: &'static str,
    key: String,
    change: &'static str,
}

/// What a command has to say.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Value(Shown),
    Change(Changed),
}

impl Render for Answer {
    fn table(&self) -> String {
        match self {
            Answer::Value(Shown { text: Some(text), .. }) => format!("{text}\n"),
            Answer::Value(Shown { number: Some(number), .. }) => format!("{number}\n"),
            // People see by the prompt that it is done.
            Answer::Value(_) | Answer::Change(_) => String::new(),
        }
    }
}

/// `starling key`.
///
/// # Errors
/// No edge can be reached, the edge refuses the change, or there is no value to show.
pub fn run(args: &KeyArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let found = find(settings)?;
    let answer = block_on(async move {
        let client = found.client().await?;
        let done = work(&client, &args.command).await;
        let closed = client.close().await;
        let answer = done?;
        closed.map_err(|error| client_failure(&error))?;
        Ok(answer)
    })?;
    output.print(&answer)
}

/// Does what was asked; what is to be said of it.
async fn work(client: &Client, command: &KeyCommand) -> Result<Answer, Failure> {
    if let KeyCommand::Get(NameArgs { key, .. }) = command {
        let value = client.get(key).await.map_err(|error| client_failure(&error))?;
        let value =
            value.ok_or_else(|| Failure::new(ExitCode::NotFound, format!("no value under `{key}`")))?;
        return Ok(Answer::Value(show(key, &value)));
    }
    // Agents write; this one leaves when it has.
    let agent = agent(client, "key").await?;
    let (change, key, written) = match command {
        KeyCommand::Get(args) => ("get", &args.key, Ok(())),
        KeyCommand::Put(args) => ("put", &args.key, agent.put(&args.key, args.value.clone()).await),
        KeyCommand::Delete(args) => ("delete", &args.key, agent.delete(&args.key).await),
        KeyCommand::Add(args) => ("add", &args.key, agent.add(&args.key, args.number).await),
        KeyCommand::Max(args) => ("max", &args.key, agent.max(&args.key, args.number).await),
        KeyCommand::Min(args) => ("min", &args.key, agent.min(&args.key, args.number).await),
    };
    written.map_err(|error| client_failure(&error))?;
    Ok(Answer::Change(Changed { schema: "starling.change/1", key: key.clone(), change }))
}

fn show(key: &str, value: &Value) -> Shown {
    let text = value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Shown { schema: "starling.key/1", key: key.to_owned(), text, number: value.as_number() }
}
