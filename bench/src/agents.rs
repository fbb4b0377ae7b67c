//! Agents that attach to an edge through the client library, as anybody's would.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use starling_client::{
    Agent, Client, ClientSettings, Event, Notice, Profile, Publication, Subscription, new_key,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::part::{PATIENCE, Part, SUBJECT, Told, counts};
use crate::receipts::{Head, Phase, Receipts, new_histogram, wall_nanos};

/// Questions and answers have a subject each.
const QUESTIONS: &str = "bench.questions";
const ANSWERS: &str = "bench.answers";
/// Entries between two looks at the clock.
const BATCH: usize = 64;
/// Between two messages that are alone on their way.
const APART: Duration = Duration::from_millis(1);

async fn attach(part: &Part) -> Result<(Client, Agent)> {
    let edge = part.edge()?.to_string();
    let client = Client::connect(ClientSettings::new(part.load_trust()?, vec![edge])).await?;
    let agent = client.agent(new_key()?, Profile::default()).await?;
    Ok((client, agent))
}

async fn next(events: &mut Subscription) -> Result<Event> {
    match events.next().await.context("the subscription ended")? {
        Notice::Event(event) => Ok(event),
        Notice::Gap { reason } => bail!("events may be missing: {reason}"),
    }
}

/// Publishes as fast as the window allows.
///
/// # Errors
/// The edge does not take the agent, or entries are not acknowledged.
pub async fn publish(part: &Part) -> Result<()> {
    let (client, agent) = attach(part).await?;
    part.wait_for_go().await?;
    let (warm, over) = part.schedule();
    let mut number = 0;
    loop {
        let now = Instant::now();
        if now >= over {
            break;
        }
        let phase = if now < warm { Phase::WarmUp } else { Phase::Measured };
        for _ in 0..BATCH {
            let head = Head { number, sent: wall_nanos(), phase };
            agent.publish(SUBJECT, head.payload(part.payload)).await?;
            number += 1;
        }
    }
    let head = Head { number, sent: wall_nanos(), phase: Phase::Last };
    agent.publish(SUBJECT, head.payload(part.payload)).await?;
    timeout(PATIENCE, client.flush()).await.context("entries were not acknowledged")??;
    part.tell_and_stay(&Told { sent: number + 1, ..Told::default() }).await
}

/// Receives until the last entry came.
///
/// # Errors
/// The edge does not take the agent, or the last entry does not come.
pub async fn subscribe(part: &Part) -> Result<()> {
    let (_client, agent) = attach(part).await?;
    let mut events = agent.subscribe(SUBJECT).await?;
    part.ready()?;
    let until = Instant::now() + part.patience();
    let mut receipts = Receipts::default();
    while !receipts.is_over {
        let event = timeout_at(until, next(&mut events)).await.context("the end did not come")??;
        receipts.take(&event.payload, wall_nanos(), true);
    }
    part.tell_and_stay(&Told::of([&receipts])).await
}

/// Asks, one question after the other, for half of the time; then publishes one message at a time.
///
/// # Errors
/// The edge does not take the agent, or there is no answer.
pub async fn ask(part: &Part) -> Result<()> {
    let (client, agent) = attach(part).await?;
    let mut answers = agent.subscribe(ANSWERS).await?;
    part.wait_for_go().await?;
    let (warm, over) = part.schedule();
    let (mut times, mut receipts, mut number) = (new_histogram(), Receipts::default(), 0);
    loop {
        let now = Instant::now();
        if now >= over {
            break;
        }
        let phase = if now < warm { Phase::WarmUp } else { Phase::Measured };
        let head = Head { number, sent: wall_nanos(), phase };
        let question = Publication::on(QUESTIONS, head.payload(part.payload)).reply_on(ANSWERS);
        agent.publish_with(question).await?;
        let answer = timeout(PATIENCE, next(&mut answers)).await.context("no answer came")??;
        let answered = wall_nanos();
        ensure!(Head::read(&answer.payload) == Some(head), "an answer belongs to another question");
        receipts.take(&answer.payload, answered, true);
        if phase == Phase::Measured {
            times.saturating_record(answered.saturating_sub(head.sent).max(1));
        }
        number += 1;
    }
    let messages = tell(part, &agent).await?;
    timeout(PATIENCE, client.flush()).await.context("entries were not acknowledged")??;
    let told = Told { sent: number + messages, latency: counts(&times), ..Told::of([&receipts]) };
    part.tell_and_stay(&told).await
}

/// Publishes one message after the other, each when the one before has arrived.
async fn tell(part: &Part, agent: &Agent) -> Result<u64> {
    let over = Instant::now() + Duration::from_millis(part.measure_ms);
    let mut number = 0;
    loop {
        let phase = if Instant::now() < over { Phase::Single } else { Phase::Last };
        let head = Head { number, sent: wall_nanos(), phase };
        agent.publish_acknowledged(SUBJECT, head.payload(part.payload)).await?;
        number += 1;
        if phase == Phase::Last {
            return Ok(number);
        }
        tokio::time::sleep(APART).await;
    }
}

/// Answers until the last message came.
///
/// # Errors
/// The edge does not take the agent, or the last message does not come.
pub async fn answer(part: &Part) -> Result<()> {
    let (_client, agent) = attach(part).await?;
    let mut questions = agent.subscribe(QUESTIONS).await?;
    let mut messages = agent.subscribe(SUBJECT).await?;
    part.ready()?;
    let answering = answer_all(&agent, &mut questions);
    let mut receipts = Receipts::default();
    let receiving = async {
        while !receipts.is_over {
            let message = next(&mut messages).await?;
            receipts.take(&message.payload, wall_nanos(), true);
        }
        anyhow::Ok(())
    };
    let until = Instant::now() + part.patience();
    tokio::select! {
        failed = answering => return Err(failed),
        received = timeout_at(until, receiving) => received.context("the end did not come")??,
    }
    part.tell_and_stay(&Told::of([&receipts])).await
}

/// Answers every question; ends when that fails.
async fn answer_all(agent: &Agent, questions: &mut Subscription) -> anyhow::Error {
    loop {
        let answered = async {
            let question = next(questions).await?;
            let reply = question.reply.context("a question says where its answer goes")?;
            agent.publish(reply, question.payload).await?;
            anyhow::Ok(())
        };
        if let Err(error) = answered.await {
            return error;
        }
    }
}
