//! NATS in clear: one publisher to many connections, and one question after the other.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Client, ConnectOptions, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use versus_common::region::Reached;
use versus_common::{
    LAST, MEASURED, Receipts, Role, Settings, WARM_UP, end_after, end_with_parent, free_address,
    new_histogram, times, wall_nanos, write_head,
};

/// What entries, questions and the subscribers' progress are published on.
const EVENTS: &str = "versus.events";
const QUESTIONS: &str = "versus.questions";
const PROGRESS: &str = "versus.progress";
/// Subscribers, each on a connection of its own, and how many connect at once.
const CONNECTIONS: usize = 1_000;
const AT_ONCE: usize = 64;
/// Entries that not all subscribers have. Without a window the server would cut off who is slow.
const WINDOW: u64 = 4_096;
/// How often subscribers say how far all are.
const LOOK: Duration = Duration::from_millis(5);
/// How long the server may take to start, connections to come, and an answer.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (work, rest) = words.split_first().context("write a work: fanout or latency")?;
    match (work.as_str(), rest) {
        ("server", [program, port]) => serve(program, port),
        ("subscribers", [address]) => {
            end_with_parent();
            receive(address).await
        }
        ("answerer", [address]) => {
            end_with_parent();
            answer(address).await
        }
        ("fanout" | "latency", [program, rest @ ..]) => {
            let settings = Settings::parse(rest)?;
            end_after(settings.duration + settings.warm_up + 3 * PATIENCE);
            let address = free_address()?.to_string();
            let port = address.rsplit(':').next().context("an address has a port")?;
            let server = Role::start(&["server".into(), program.clone(), port.into()])?;
            ensure!(server.line()? == "ready", "a server says that it is ready");
            let mut report = if work == "fanout" {
                publish(&address, settings).await?
            } else {
                ask(&address, settings).await?
            };
            report["version"] = json!(version(program)?);
            println!("{report}");
            Ok(())
        }
        _ => bail!("{work} is no work of this program"),
    }
}

fn version(program: &str) -> Result<String> {
    let said = Command::new(program).arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Ok(said.trim().rsplit([' ', 'v']).next().unwrap_or("unknown").to_string())
}

/// Runs the server until stdin ends, so that it ends with us.
fn serve(program: &str, port: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", port]);
    let mut server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        ensure!(Instant::now() < until && server.try_wait()?.is_none(), "the server did not start");
        std::thread::sleep(LOOK);
    }
    println!("ready");
    let read = std::io::stdin().read_to_end(&mut Vec::new());
    server.kill()?;
    server.wait()?;
    read?;
    Ok(())
}

async fn connect(address: &str) -> Result<Client> {
    Ok(ConnectOptions::new().connection_timeout(PATIENCE).connect(address).await?)
}

/// Subscribes; done when the server knows.
async fn subscribe(client: &Client, subject: &'static str) -> Result<Subscriber> {
    let subscriber = client.subscribe(subject).await?;
    client.flush().await?;
    Ok(subscriber)
}

/// Receives on many connections until all have everything, and says what they got.
async fn receive(address: &str) -> Result<()> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut connecting = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (place, address) = (Arc::clone(&places).acquire_owned().await?, address.to_string());
        connecting.spawn(async move {
            let client = connect(&address).await?;
            let subscriber = subscribe(&client, EVENTS).await?;
            drop(place);
            anyhow::Ok((client, subscriber))
        });
    }
    let all: Result<Vec<(Client, Subscriber)>> = connecting.join_all().await.into_iter().collect();
    let (reached, mut receiving) = (Reached::new(CONNECTIONS), JoinSet::new());
    for (number, (client, mut subscriber)) in all?.into_iter().enumerate() {
        let reached = Arc::clone(&reached);
        receiving.spawn(async move {
            let _client = client;
            let mut receipts = Receipts::default();
            while !receipts.is_over {
                let message = subscriber.next().await.context("a subscription ended")?;
                receipts.take(&message.payload, wall_nanos());
                reached.set(number, receipts.delivered);
            }
            anyhow::Ok(receipts)
        });
    }
    let telling = tokio::spawn(tell(connect(address).await?, reached));
    println!("ready");
    let receipts: Result<Vec<Receipts>> = receiving.join_all().await.into_iter().collect();
    println!("{}", Receipts::report_all(&receipts?));
    telling.await?
}

/// Says again and again how many entries all have.
async fn tell(client: Client, reached: Arc<Reached>) -> Result<()> {
    let mut told = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let count = reached.by_all();
        if count > told {
            told = count;
            client.publish(PROGRESS, Bytes::copy_from_slice(&count.to_le_bytes())).await?;
        }
    }
}

/// Publishes as fast as the window allows.
async fn publish(address: &str, settings: Settings) -> Result<Value> {
    let subscribers = Role::start(&["subscribers".into(), address.into()])?;
    ensure!(subscribers.line()? == "ready", "subscribers say that they are ready");
    let client = connect(address).await?;
    let (reached, mut progress) = (Reached::new(1), subscribe(&client, PROGRESS).await?);
    let known = Arc::clone(&reached);
    tokio::spawn(async move {
        while let Some(message) = progress.next().await {
            known.set(0, message.payload[..].try_into().map_or(0, u64::from_le_bytes));
        }
    });
    let (warm, over) = settings.schedule();
    let (mut number, subject) = (0, Subject::from_static(EVENTS));
    loop {
        let now = Instant::now();
        let phase = match (now < warm, now < over) {
            (true, _) => WARM_UP,
            (false, true) => MEASURED,
            (false, false) => LAST,
        };
        reached.wait_for((number + 1_u64).saturating_sub(WINDOW)).await?;
        let mut payload = vec![0; settings.payload];
        write_head(&mut payload, number, wall_nanos(), phase);
        client.publish(subject.clone(), payload.into()).await?;
        number += 1;
        if phase == LAST {
            break;
        }
    }
    client.flush().await?;
    // Waiting for a line would hold up a thread of the runtime.
    let line = tokio::task::spawn_blocking(move || subscribers.line()).await??;
    let mut report: Value = serde_json::from_str(&line)?;
    report["sent"] = json!(number);
    report["settings"] = json!("TCP in clear, 1,000 connections, at most 4,096 entries that not all have");
    Ok(report)
}

async fn answer(address: &str) -> Result<()> {
    let client = connect(address).await?;
    let mut questions = subscribe(&client, QUESTIONS).await?;
    println!("ready");
    while let Some(question) = questions.next().await {
        let reply = question.reply.context("a question says where its answer goes")?;
        client.publish(reply, question.payload).await?;
    }
    bail!("the subscription ended")
}

/// One question after the other.
async fn ask(address: &str, settings: Settings) -> Result<Value> {
    let answerer = Role::start(&["answerer".into(), address.into()])?;
    ensure!(answerer.line()? == "ready", "an answerer says that it is ready");
    let client = connect(address).await?;
    let (warm, over) = settings.schedule();
    let (mut histogram, mut number, subject) = (new_histogram(), 0, Subject::from_static(QUESTIONS));
    loop {
        let begun = Instant::now();
        if begun >= over {
            break;
        }
        let mut payload = vec![0; settings.payload];
        write_head(&mut payload, number, wall_nanos(), MEASURED);
        let question = Bytes::from(payload);
        let asked = client.request(subject.clone(), question.clone());
        let answer = timeout(PATIENCE, asked).await.context("no answer came")??;
        ensure!(answer.payload == question, "an answer belongs to another question");
        if begun >= warm {
            histogram.saturating_record(u64::try_from(begun.elapsed().as_nanos())?);
        }
        number += 1;
    }
    let per_second = histogram.len() as f64 / settings.duration.as_secs_f64();
    let settings = "TCP in clear, request and reply through the server";
    Ok(json!({"per_second": per_second, "latency_us": times(&histogram), "settings": settings}))
}
