//! What a node and those who agree for it know of each other.
//!
//! A machine proposes and is told what was decided; who decides (Raft of several coordinators, a group of
//! one, a model in the simulator) is not known to it. The driver of a node carries proposals and messages
//! to an [`Agreement`] and gives it a [`Ground`] to stand on; what was decided is turned into state by an
//! [`Agreed`], so that a log need not be kept for ever.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::ShortId;
use crate::limits;
use crate::machine::Input;
use crate::wire::codec::DecodeError;

/// A proposal. What goes round it fits into a control frame beside it.
pub const PROPOSAL_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX / 4 * 3;

/// What was decided, as state that fits into a snapshot. The same entries give the same state.
pub trait Agreed: Send {
    /// Takes the next entry; the first has the index 1, and there are no gaps.
    fn apply(&mut self, index: u64, entry: &[u8]);
    /// All of it, for whoever lacks the entries.
    fn snapshot(&self) -> Bytes;
    /// Becomes what [`Agreed::snapshot`] gave.
    ///
    /// # Errors
    /// The bytes are no snapshot; nothing changed.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), DecodeError>;
}

/// The node under an [`Agreement`].
pub trait Ground: Send + Sync + fmt::Debug {
    /// Sends a message to a coordinator that is linked; false, and nothing sent, without such a link.
    fn send(&self, peer: ShortId, message: Bytes) -> bool;
    /// Hands an input to the machine; waits while it has too many.
    fn tell(&self, input: Input) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// The node cannot go on.
    fn fail(&self, reason: String);
}

/// Who agrees for a node. Nothing here waits.
pub trait Agreement: Send + Sync + fmt::Debug {
    /// The node runs: `me` in its `incarnation`. Called once, on its runtime.
    fn begin(&self, me: ShortId, incarnation: u64, ground: Arc<dyn Ground>);
    /// Takes a proposal of the machine; it is answered by [`Input::Committed`] or [`Input::Undecided`].
    /// False, and nothing done, if too many wait.
    fn propose(&self, entry: Bytes) -> bool;
    /// The link to a coordinator came up or went down.
    fn linked(&self, peer: ShortId, is_up: bool);
    /// A coordinator sent a message; one that finds no room is dropped.
    fn heard(&self, peer: ShortId, message: Bytes);
    /// The node stops.
    fn end(&self);
}

/// What a coordinator is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It orders what is decided.
    Leader,
    /// It has a vote.
    Follower,
    /// It is told, and has no vote.
    Learner,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Leader => "leader",
            Part::Follower => "follower",
            Part::Learner => "learner",
        })
    }
}

/// How far a coordinator is, as it said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub id: ShortId,
    /// What it is.
    pub part: Part,
    /// The term it is in.
    pub term: u64,
    /// The last entry that it applied; 0 without any.
    pub applied: u64,
    /// Whether it was heard of within the last seconds.
    pub is_heard: bool,
}
