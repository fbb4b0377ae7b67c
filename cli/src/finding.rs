//! Finding a mesh, asking one node one thing, and turning the client's errors into exit codes.

use std::net::SocketAddr;
use std::time::Duration;

use starling_client::session::{ConnectError, Endpoint, EndpointSettings, Handler, Incoming, Session};
use starling_client::{Client, ClientError, ClientSettings, Trust};
use starling_core::wire::request::{
    Ask, Empty, Member, Overview, PeersView, RefusedCode, Reply, Request, Say,
};
use starling_net::trust::install_crypto;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args::ClientSettings as Wanted;
use crate::exit::{ExitCode, Failure};

/// Nodes that are asked for their hot path's times.
const HOT_PATHS_MAX: usize = 64;
/// Of these, so many at once.
const ASKED_AT_ONCE: usize = 8;

/// A mesh that was found: whom to trust and whom to ask, in this order.
#[derive(Clone, Debug)]
pub struct Found {
    /// The mesh's trust.
    pub trust: Trust,
    /// Nodes that the user named; empty when the running dev mesh was found.
    pub named: Vec<String>,
    /// Coordinators that are known.
    pub coordinators: Vec<String>,
    /// Edges that are known.
    pub edges: Vec<String>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Finds the mesh by flags and environment, else the one that `starling dev` runs.
///
/// # Errors
/// There is none, or its trust file cannot be used.
pub fn find(wanted: &Wanted) -> Result<Found, Failure> {
    install_crypto();
    let dev = ClientSettings::from_dev();
    let trust = match (&wanted.trust, &dev) {
        (Some(path), _) => Trust::load(path)?,
        (None, Ok(dev)) => dev.trust.clone(),
        (None, Err(_)) if !wanted.nodes.is_empty() => {
            return Err(Failure::new(
                ExitCode::Usage,
                "whom shall this command trust? no trust file was named",
            )
            .with_help("add --trust FILE with the mesh.trust that `starling init` made"));
        }
        (None, Err(error)) => {
            return Err(Failure::new(ExitCode::Unreachable, format!("no mesh was found: {error}"))
                .with_help(
                    "run `starling dev`, or name a node with --node ADDRESS and its mesh with --trust FILE",
                ));
        }
    };
    let dev = dev.ok().filter(|dev| dev.trust.mesh == trust.mesh);
    let (edges, coordinators) = dev.map(|dev| (dev.edges, dev.coordinators)).unwrap_or_default();
    Ok(Found { trust, named: wanted.nodes.clone(), coordinators, edges, timeout: wanted.timeout })
}

impl Found {
    /// Nodes to ask about the mesh as a whole: the named ones, else coordinators, else edges.
    fn to_ask(&self) -> Vec<String> {
        if self.named.is_empty() {
            [self.coordinators.clone(), self.edges.clone()].concat()
        } else {
            self.named.clone()
        }
    }

    /// The mesh as the first node that answers knows it.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn overview(&self) -> Result<Overview, Failure> {
        let mut last = None;
        for address in self.to_ask() {
            match self.ask(&address, Ask::Overview(Empty {})).await {
                Ok(Say::Overview(overview)) => return Ok(overview),
                Ok(other) => last = Some(unexpected(&address, &other)),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(nobody_known))
    }

    /// What nodes with a hot path say of themselves, the named ones or up to 64 that live; and
    /// how many there are.
    ///
    /// # Errors
    /// None of them answers.
    pub async fn hot_paths(&self) -> Result<(usize, Vec<Overview>), Failure> {
        let mut addresses = self.named.clone();
        if addresses.is_empty() {
            let has_hot_path = |member: &&Member| {
                (member.roles.contains("edge") || member.roles.contains("aggregator"))
                    && !matches!(&*member.status, "down" | "left" | "banned")
                    && !member.address.is_empty()
            };
            let members = self.overview().await?.members;
            addresses = members.iter().filter(has_hot_path).map(|member| member.address.clone()).collect();
        }
        let nodes = addresses.len();
        addresses.truncate(HOT_PATHS_MAX);
        let (mut answers, mut last) = (Vec::new(), None);
        for some in addresses.chunks(ASKED_AT_ONCE) {
            let mut asked = JoinSet::new();
            for address in some {
                let (found, address) = (self.clone(), address.clone());
                asked.spawn(async move {
                    match found.ask(&address, Ask::Overview(Empty {})).await? {
                        Say::Overview(overview) => Ok(overview),
                        other => Err(unexpected(&address, &other)),
                    }
                });
            }
            for answer in asked.join_all().await {
                match answer {
                    Ok(overview) => answers.push(overview),
                    Err(failure) => last = Some(failure),
                }
            }
        }
        match answers.is_empty() {
            true => Err(last.unwrap_or_else(nobody_known)),
            false => Ok((nodes, answers)),
        }
    }

    /// Peers as the first node that answers finds them.
    ///
    /// # Errors
    /// Nobody answers, or all refuse.
    pub async fn peers(&self, ask: Ask) -> Result<PeersView, Failure> {
        let mut last = None;
        for address in self.to_ask() {
            match self.ask(&address, ask.clone()).await {
                Ok(Say::Peers(view)) => return Ok(view),
                Ok(other) => last = Some(unexpected(&address, &other)),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(nobody_known))
    }

    /// One question to one node.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn ask(&self, address: &str, ask: Ask) -> Result<Say, Failure> {
        match self.say(address, ask).await? {
            Say::Refused(refused) => Err(refusal(refused.code, &refused.text)),
            say => Ok(say),
        }
    }

    /// One question to one node, whose answer may be a refusal.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn say(&self, address: &str, ask: Ask) -> Result<Say, Failure> {
        let (session, mut answers) = self.open(address).await?;
        session
            .request(&Request { id: 1, ask: Some(ask) })
            .map_err(|error| no_answer(address, &error.to_string()))?;
        let answer = tokio::time::timeout(self.timeout, answers.recv()).await;
        session.close();
        match answer {
            Ok(Some(Reply { say: Some(say), .. })) => Ok(say),
            Ok(Some(Reply { say: None, .. })) => Err(Failure::new(
                ExitCode::Failed,
                format!("{address} answered with something newer than this version"),
            )),
            Ok(None) => Err(no_answer(address, "it closed the connection")),
            Err(_) => Err(Failure::new(
                ExitCode::Timeout,
                format!("{address} did not answer within {:?}", self.timeout),
            )
            .with_help("is the node busy? allow more time with --timeout")),
        }
    }

    /// A session with one node and the replies that come over it.
    ///
    /// # Errors
    /// The node does not answer or is not of this mesh.
    pub async fn open(&self, address: &str) -> Result<(Session, mpsc::Receiver<Reply>), Failure> {
        let settings = EndpointSettings { connect_timeout: self.timeout, ..EndpointSettings::default() };
        let endpoint = Endpoint::new(&self.trust, &settings).map_err(|error| connect_failure(&error))?;
        let (replies, answers) = mpsc::channel(16);
        let socket = resolve(address).await?;
        let session = Session::connect(&endpoint, socket, Ears(replies))
            .await
            .map_err(|error| connect_failure(&error))?;
        Ok((session, answers))
    }

    /// A client at the first named edge, or any; other edges of the mesh serve when that one dies.
    ///
    /// # Errors
    /// No edge can be reached, or none of the nodes that were named.
    pub async fn client(&self) -> Result<Client, Failure> {
        let mut edges = Vec::new();
        match self.overview().await {
            Ok(overview) => edges.extend(self.edges_of(&overview)),
            // Who named a node did not mean another one.
            Err(failure) if !self.named.is_empty() => return Err(failure),
            Err(_) => {}
        }
        edges.extend(self.edges.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        edges.retain(|edge| seen.insert(edge.clone()));
        let mut settings = ClientSettings::new(self.trust.clone(), edges);
        settings.request_timeout = self.timeout.max(Duration::from_secs(5));
        settings.endpoint.connect_timeout = settings.endpoint.connect_timeout.min(self.timeout);
        settings.coordinators.clone_from(&self.coordinators);
        Client::connect(settings).await.map_err(|error| client_failure(&error))
    }

    /// The named nodes, unless they are no edges, then the edges that live, those near the first named.
    fn edges_of(&self, overview: &Overview) -> Vec<String> {
        let is_other = |address: &String| {
            overview.members.iter().any(|member| member.address == *address && !member.roles.contains("edge"))
        };
        let mut edges: Vec<String> =
            self.named.iter().filter(|address| !is_other(address)).cloned().collect();
        let region = overview.members.iter().find(|member| edges.first() == Some(&member.address));
        let region = region.map(|member| member.region.clone());
        let is_alive = |member: &&Member| {
            member.roles.contains("edge") && member.status != "down" && !member.address.is_empty()
        };
        let mut others: Vec<&Member> = overview.members.iter().filter(is_alive).collect();
        others.sort_by_key(|member| region.as_ref() != Some(&member.region));
        edges.extend(others.into_iter().map(|member| member.address.clone()));
        edges
    }
}

struct Ears(mpsc::Sender<Reply>);

impl Handler for Ears {
    fn on_incoming(&mut self, incoming: Incoming) {
        if let Incoming::Reply(reply) = incoming {
            // A command asks one thing at a time; what nobody waits for may go.
            self.0.try_send(*reply).ok();
        }
    }
}

async fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let refuse = |why: String| {
        Failure::new(ExitCode::Unreachable, format!("cannot find {address}: {why}"))
            .with_help("an address is host:port, such as 127.0.0.1:7420")
    };
    let mut found = tokio::net::lookup_host(address).await.map_err(|error| refuse(error.to_string()))?;
    found.next().ok_or_else(|| refuse("the name has no address".into()))
}

fn no_answer(address: &str, why: &str) -> Failure {
    Failure::new(ExitCode::Unreachable, format!("{address} gave no answer: {why}"))
        .with_help("does the node run?")
}

fn nobody_known() -> Failure {
    Failure::new(ExitCode::Unreachable, "no node is known").with_help("add --node ADDRESS")
}

fn unexpected(address: &str, say: &Say) -> Failure {
    Failure::new(ExitCode::Failed, format!("{address} gave an unexpected answer: {say:?}"))
}

/// A refusal with its exit code.
pub fn refusal(code: u32, text: &str) -> Failure {
    let codes = [
        (RefusedCode::Unauthorized, ExitCode::Auth),
        (RefusedCode::NotFound, ExitCode::NotFound),
        (RefusedCode::Unavailable, ExitCode::Unreachable),
    ];
    let exit =
        codes.iter().find(|(refused, _)| *refused as u32 == code).map_or(ExitCode::Failed, |(_, exit)| *exit);
    Failure::new(exit, text.to_string())
}

/// Why there is no connection, with its exit code.
pub fn connect_failure(error: &ConnectError) -> Failure {
    let code = match error {
        ConnectError::Unreachable { .. } | ConnectError::Closed { .. } | ConnectError::Address { .. } => {
            ExitCode::Unreachable
        }
        ConnectError::RefusedCertificate { .. } => ExitCode::Auth,
        ConnectError::Trust(_) => ExitCode::Configuration,
        ConnectError::Version { .. }
        | ConnectError::Protocol { .. }
        | ConnectError::Socket(_)
        | ConnectError::Settings(_) => ExitCode::Failed,
    };
    Failure::new(code, error.to_string())
}

/// What went wrong in the client, with its exit code.
pub fn client_failure(error: &ClientError) -> Failure {
    let code = match error {
        ClientError::Connect(connect) => return connect_failure(connect),
        ClientError::Trust(_) => ExitCode::Configuration,
        ClientError::Unreachable { .. } | ClientError::Unavailable { .. } | ClientError::NoDevMesh { .. } => {
            ExitCode::Unreachable
        }
        ClientError::AgentClosed { .. } => ExitCode::Auth,
        ClientError::Subject { .. } | ClientError::Settings(_) => ExitCode::Usage,
        ClientError::NotFound { .. } => ExitCode::NotFound,
        ClientError::Timeout { .. } => ExitCode::Timeout,
        ClientError::Closed
        | ClientError::TooLarge { .. }
        | ClientError::Refused { .. }
        | ClientError::NotHere { .. }
        | ClientError::Unknown { .. }
        | ClientError::Undelivered(_)
        | ClientError::Malformed { .. }
        | ClientError::NoEntropy => ExitCode::Failed,
    };
    Failure::new(code, error.to_string())
}

/// Runs a client command's future on a runtime of its own.
///
/// # Errors
/// The system gives no threads, or what the command says.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(future);
    // A thread that still reads stdin must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    done
}
