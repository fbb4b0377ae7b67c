//! The HTTP of the nodes of this process: what it needs is brought together before any node starts, and
//! its questions go to the node's own machine, or to other nodes as those of any client.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use starling_api::{Question, Served, Settings, Whom};
use starling_core::wire::request::{Ask, Say};
use starling_net::NodeHandle;
use starling_net::trust::{NodeCredentials, Trust};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::config::Config;
use crate::exit::{ExitCode, Failure};
use crate::finding::Found;

/// Questions that wait; more are not put.
const QUESTIONS_MAX: usize = 256;
/// Questions to other nodes at once.
const OTHERS_MAX: usize = 16;
/// How long another node may take.
const OTHERS_TAKE: Duration = Duration::from_secs(2);
/// And when it has to ask others itself where an agent is.
const LOCATING_TAKES: Duration = Duration::from_secs(4);
/// How long the own machine may take, before the next question is put.
const OWN_TAKES: Duration = Duration::from_millis(2_500);
/// A token is at least so long, so that it cannot be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// And at most.
const TOKEN_BYTES_MAX: usize = 256;

/// A node's HTTP that can begin.
#[derive(Debug)]
pub(crate) struct Front {
    listener: TcpListener,
    token: Option<String>,
    trust: Trust,
}

impl Front {
    /// What a node with `listen.http` needs, if it has one.
    ///
    /// # Errors
    /// The port is taken, or the token's file cannot be used.
    pub fn prepare(config: &Config) -> Result<Option<Front>, Failure> {
        let Some(address) = config.http else { return Ok(None) };
        let token = config.http_token_file.as_deref().map(read_token).transpose()?;
        let trust = NodeCredentials::load(&config.credentials)?.trust;
        let listener = bind(address).map_err(|error| {
            let what = format!("{} does not start: cannot listen on tcp {address}: {error}", config.name);
            let help = "stop what listens there, or set another `listen.http`; an empty one serves no HTTP";
            Failure::new(ExitCode::Configuration, what).with_help(help)
        })?;
        Ok(Some(Front { listener, token, trust }))
    }

    /// Serves a running node. It ends when the result is dropped.
    pub fn serve(self, config: &Config, node: &NodeHandle) -> Result<Served, Failure> {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        tokio::spawn(answer(asked, (node.asker(), node.asker()), self.trust));
        let transport = node.transport_reader();
        let settings = Settings {
            name: config.name.to_string(),
            role: config.roles.to_string(),
            region: config.region.to_string(),
            token: self.token,
            gauges: Box::new(move || {
                let now = transport();
                let mut gauges = vec![
                    ("transport.links", now.links),
                    ("transport.connections", now.connections),
                    ("transport.control_bytes", now.control_bytes),
                    ("transport.priority_bytes", now.priority_bytes),
                    ("transport.bulk_bytes", now.bulk_bytes),
                    ("transport.agents_bytes", now.agents_bytes),
                    ("transport.sent_packets", now.sent_packets),
                    ("transport.lost_packets", now.lost_packets),
                    ("transport.rtt_median_us", now.rtt_median_us),
                    ("transport.rtt_max_us", now.rtt_max_us),
                ];
                gauges.extend(now.resident_bytes.map(|bytes| ("resident_bytes", bytes)));
                gauges
            }),
        };
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok(starling_api::serve(listener, settings, questions)?)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let refuse = |what: String| {
        Failure::new(ExitCode::Configuration, format!("`listen.http_token_file` {}: {what}", file.display()))
            .with_help("write a line of 16 to 256 printable characters into it, readable by its owner alone")
    };
    let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let token = text.trim();
    let is_long_enough = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
    if !is_long_enough || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse("it holds no token".to_owned()));
    }
    Ok(token.to_owned())
}

/// Puts questions until nobody asks any more.
async fn answer(
    mut asked: mpsc::Receiver<Question>,
    (quick, slow): (starling_net::Asker, starling_net::Asker),
    trust: Trust,
) {
    let found =
        Found { trust, named: Vec::new(), coordinators: Vec::new(), edges: Vec::new(), timeout: OTHERS_TAKE };
    let places = Arc::new(Semaphore::new(OTHERS_MAX));
    let (to_quick, quick_asked) = mpsc::channel(QUESTIONS_MAX);
    let (to_slow, slow_asked) = mpsc::channel(QUESTIONS_MAX);
    tokio::spawn(answer_own(quick_asked, quick));
    tokio::spawn(answer_own(slow_asked, slow));
    while let Some(Question { whom, ask, answer }) = asked.recv().await {
        match whom {
            Whom::Own => {
                // For these a machine may have to ask others.
                let is_slow = matches!(ask, Ask::Peers(_) | Ask::Locate(_));
                let machine = if is_slow { &to_slow } else { &to_quick };
                if let Err(refused) = machine.try_send((ask, answer)) {
                    let (_, answer) = refused.into_inner();
                    // Who asked may have gone meanwhile; so below.
                    answer.send(Err("too many questions wait".to_owned())).ok();
                }
            }
            Whom::Node(address) => {
                let timeout = if matches!(ask, Ask::Locate(_)) { LOCATING_TAKES } else { OTHERS_TAKE };
                let (found, places) = (Found { timeout, ..found.clone() }, Arc::clone(&places));
                tokio::spawn(async move {
                    let Ok(_place) = places.acquire().await else { return };
                    let said = found.say(&address, ask).await.map_err(|failure| failure.to_string());
                    answer.send(said).ok();
                });
            }
        }
    }
}

/// A question to the own machine and where the answer goes.
type Own = (Ask, oneshot::Sender<Result<Say, String>>);

async fn answer_own(mut asked: mpsc::Receiver<Own>, mut machine: starling_net::Asker) {
    while let Some((ask, answer)) = asked.recv().await {
        if answer.is_closed() {
            continue;
        }
        let said = match tokio::time::timeout(OWN_TAKES, machine.ask(ask)).await {
            Ok(Some(say)) => Ok(say),
            Ok(None) => Err("the node has ended".to_owned()),
            Err(_) => Err(format!("its machine said nothing for {OWN_TAKES:?}")),
        };
        answer.send(said).ok();
    }
}
