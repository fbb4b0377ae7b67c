//! Agents as an edge's machine sees them, and questions of clients.

use starling_core::identity::{AttachClaim, PublicKey, Signature};
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::wire::agent::{Candidate, Profile};
use starling_core::wire::request::{Ask, Overview, Say};

use crate::World;

impl World {
    /// A client asks a node.
    pub fn ask(&mut self, node: usize, connection: u32, id: u64, ask: Ask) {
        self.input(node, Input::Request { connection: ConnectionSlot(connection), id, ask });
    }

    /// Agents attach over a connection; their indices are counted from `first_index`.
    pub fn attach(&mut self, node: usize, connection: u32, request: u64, first_index: u32, agents: &[Agent]) {
        let candidates = agents.iter().zip(first_index..).map(|(agent, index)| agent.candidate(index));
        let (candidates, forged) = (candidates.collect(), Vec::new());
        let connection = ConnectionSlot(connection);
        self.input(node, Input::Attach { connection, request, candidates, forged });
    }

    /// What a node answers to an overview.
    ///
    /// # Panics
    /// It does not answer at once, which a running node does.
    pub fn overview(&mut self, node: usize) -> Overview {
        let connection = ConnectionSlot(u32::MAX);
        self.input(node, Input::Request { connection, id: 0, ask: Ask::Overview(Default::default()) });
        match self.nodes[node].record.replies.pop() {
            Some((_, _, Say::Overview(overview))) => overview,
            other => panic!("an overview is answered at once, not by {other:?}"),
        }
    }
}

/// An agent to attach.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Names the agent: all that its key is made of.
    pub number: u64,
    /// Its session.
    pub session: u64,
    /// Its state.
    pub state: String,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Agent {
    /// An idle agent without tags in its first session.
    pub fn new(number: u64) -> Agent {
        Agent { number, session: 1, state: "idle".to_string(), tags: Vec::new() }
    }

    /// As it attaches; machines never see a claim whose signature does not hold.
    pub fn candidate(&self, index: u32) -> Candidate {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&self.number.to_le_bytes());
        let (session, signature) = (self.session, Signature([0; 64]));
        let claim = AttachClaim { key: PublicKey(key), session, expires_ms: u64::MAX, signature };
        let (state, tags) = (self.state.clone(), self.tags.clone());
        Candidate { index, claim, profile: Profile { name: String::new(), state, tags } }
    }
}
