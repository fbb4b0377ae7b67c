//! What can go wrong for the author of an agent, and what to do then.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use starling_core::id::AgentId;
use starling_core::interest::subject::SubjectError;
use starling_core::limits;
use starling_core::wire::codec::DecodeError;
use starling_core::wire::request::{Refused, RefusedCode};
use starling_net::trust::TrustError;

use crate::agent::PublishId;
use crate::session::ConnectError;

/// Why an operation failed. Unless a variant says otherwise nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None of the edges took the connection; the last or most telling refusal.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The trust file cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No edge was reachable for a while. The client goes on trying; try again later.
    #[error("no edge could be reached for {} s; the client keeps trying", after.as_secs())]
    Unreachable {
        /// For how long.
        after: Duration,
    },
    /// The client was closed by its owner.
    #[error("the client is closed")]
    Closed,
    /// The mesh closed this agent, such as when its key attached elsewhere with a newer session.
    #[error("agent {agent} is closed: {text}")]
    AgentClosed {
        /// The agent.
        agent: AgentId,
        /// What its edge said.
        text: String,
    },
    /// A subject or pattern is malformed.
    #[error("subject {text:?}: {source}")]
    Subject {
        /// The refused text.
        text: String,
        /// The rule.
        source: SubjectError,
    },
    /// A payload, name, state, tag or key is too long, or there are too many.
    #[error("{what} is over the limit of {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit, in bytes or in pieces.
        max: usize,
    },
    /// The edge refused; asking again will not help.
    #[error("{what} was refused: {text}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What the edge said.
        text: String,
    },
    /// There is no such thing.
    #[error("{what}: {text}")]
    NotFound {
        /// What was asked.
        what: &'static str,
        /// What the edge said.
        text: String,
    },
    /// The edge could not serve the request within its time, and said why.
    #[error("{what} is not possible now: {text}; try again later")]
    Unavailable {
        /// What was asked.
        what: &'static str,
        /// What the edge said last.
        text: String,
    },
    /// Only coordinators serve this.
    #[error("{what} is served by coordinators alone: name one in ClientSettings::coordinators ({text})")]
    NotHere {
        /// What was asked.
        what: &'static str,
        /// What the node said.
        text: String,
    },
    /// No answer came in time; a change may or may not have happened.
    #[error("{what} was not answered within {} ms; it may or may not have happened", after.as_millis())]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// The connection was lost before the answer; a change may or may not have happened, and doing
    /// it twice would not be the same as once, so the client did not repeat it.
    #[error("the connection was lost before {what} was answered; it may or may not have happened")]
    Unknown {
        /// What was asked.
        what: &'static str,
    },
    /// Publications that did not reach their receivers, since the last flush.
    #[error("{} not delivered, first: {}", count(.0), first(.0))]
    Undelivered(Vec<Failure>),
    /// A reply does not make sense; the node is at fault.
    #[error("the answer to {what} is malformed: {source}")]
    Malformed {
        /// What was asked.
        what: &'static str,
        /// What is wrong with the answer.
        source: DecodeError,
    },
    /// No running mesh was found to connect to by default.
    #[error("cannot use {}: {text}; start a mesh with: starling dev", path.display())]
    NoDevMesh {
        /// The file that describes the running mesh.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The settings make no sense.
    #[error("{0}")]
    Settings(&'static str),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoEntropy,
}

fn count(failures: &[Failure]) -> String {
    let listed = failures.len();
    if listed >= FAILURES_LISTED_MAX {
        return format!("{listed} or more publications were");
    }
    if listed == 1 { "a publication was".to_owned() } else { format!("{listed} publications were") }
}

fn first(failures: &[Failure]) -> String {
    failures.first().map_or_else(String::new, Failure::to_string)
}

/// Failures that are kept for the next flush; beyond this they are not listed.
pub(crate) const FAILURES_LISTED_MAX: usize = 4096;

/// A publication that did not reach its receivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub id: PublishId,
    /// Why.
    pub reason: FailureReason,
}

/// Why a publication did not reach its receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The agent that it was sent to was found nowhere.
    NotFound,
    /// No edge could be reached for too long; it may or may not have arrived.
    Lost,
    /// Its agent was closed before the acknowledgement; it may or may not have arrived.
    AgentClosed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            FailureReason::NotFound => "its receiver was found nowhere",
            FailureReason::Lost => "no edge could be reached, it may or may not have arrived",
            FailureReason::AgentClosed => "its agent was closed, it may or may not have arrived",
        };
        write!(f, "{}: {why}", self.id)
    }
}

impl ClientError {
    /// What a refusal means for who asked `what`.
    pub(crate) fn of_refusal(what: &'static str, refused: Refused) -> ClientError {
        let text = refused.text;
        if refused.code == RefusedCode::Unavailable as u32 {
            ClientError::Unavailable { what, text }
        } else if refused.code == RefusedCode::NotHere as u32 {
            ClientError::NotHere { what, text }
        } else if refused.code == RefusedCode::NotFound as u32 {
            ClientError::NotFound { what, text }
        } else {
            ClientError::Refused { what, text }
        }
    }

    /// An answer that does not answer.
    pub(crate) fn off_topic(what: &'static str) -> ClientError {
        ClientError::Malformed { what, source: DecodeError::Invalid("kind of reply") }
    }
}

/// Refuses a label that no edge would take.
pub(crate) fn check_label(what: &'static str, text: &str) -> Result<(), ClientError> {
    if text.len() > limits::LABEL_BYTES_MAX {
        return Err(ClientError::TooLarge { what, max: limits::LABEL_BYTES_MAX });
    }
    Ok(())
}

/// Refuses tags that no edge would take.
pub(crate) fn check_tags(tags: &[String]) -> Result<(), ClientError> {
    if tags.len() > limits::TAGS_PER_AGENT_MAX {
        return Err(ClientError::TooLarge { what: "the number of tags", max: limits::TAGS_PER_AGENT_MAX });
    }
    tags.iter().try_for_each(|tag| check_label("a tag", tag))
}
