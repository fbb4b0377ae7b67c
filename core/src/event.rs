//! Typed events: what a node tells people. Names and formats are given to them elsewhere.

use crate::id::{AgentId, NodeId, ShortId};
use crate::topology::manager::Strategy;
use crate::topology::partition::Status;

/// Something that happened at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link to a peer is up.
    PeerUp {
        /// The peer.
        node: NodeId,
        /// Where it listens, as it says; nowhere if it is silent.
        addresses: Vec<String>,
        /// The peer's name.
        name: String,
        /// Its roles.
        roles: String,
        /// Its region.
        region: String,
    },
    /// The link to a peer is down.
    PeerDown {
        /// The peer.
        node: NodeId,
        /// The peer's name.
        name: String,
        /// Whether it fell silent.
        timed_out: bool,
    },
    /// The link to a peer goes on over another connection; nothing else changed.
    LinkMoved {
        /// The peer.
        peer: ShortId,
    },
    /// The node has a new certificate, which new connections are opened with.
    CertificateReplaced {
        /// When it runs out, in seconds since 1970.
        ends_seconds: u64,
    },
    /// Files of credentials cannot be used; what was used before is used still.
    CredentialsRefused {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The node asked for a new certificate in vain; it asks again.
    RenewalFailed {
        /// Why.
        reason: String,
    },
    /// A certificate for an admitted node could not be issued here.
    NotIssued {
        /// The node that asked.
        node: ShortId,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The node's certificate grows old and there is no newer one.
    CertificateAges {
        /// Hundredths of its life that have passed: 50, 75 or 90.
        percent: u8,
        /// Seconds until peers refuse it.
        seconds_left: u64,
    },
    /// A peer has been away for so long that nothing is owed to it.
    PeerLost {
        /// The peer's name.
        name: String,
    },
    /// A node of the region does not answer this one or others; it has yet to refute that.
    PeerSuspected {
        /// The peer's name.
        name: String,
    },
    /// A peer said good-bye.
    PeerLeft {
        /// The peer's name.
        name: String,
    },
    /// A peer is banned: its link is closed, and nothing of it is taken any more.
    PeerBanned {
        /// The peer's name.
        name: String,
        /// What it did.
        reason: &'static str,
    },
    /// An accusation was refuted.
    FalselyAccused {
        /// Who accused.
        by: ShortId,
        /// Whom.
        subject: ShortId,
    },
    /// An admission or message of a peer was refused.
    Refused {
        /// The peer.
        peer: ShortId,
        /// Why.
        reason: &'static str,
    },
    /// An agent attached elsewhere.
    AgentSuperseded {
        /// The agent.
        agent: AgentId,
    },
    /// A system update was applied here.
    UpdateApplied {
        /// Place in the log.
        index: u64,
    },
    /// More or fewer of the nodes that count are in reach, and that has held for a while.
    StatusChanged {
        /// The status of the region, or of the mesh at a coordinator.
        status: Status,
        /// Whether this side reaches too few to agree.
        is_cut_off: bool,
        /// Nodes in reach when it began, this one included.
        reachable: usize,
        /// Nodes that counted then, this one included.
        roster: usize,
    },
    /// Peers were put in order by their distance.
    Rebalanced {
        /// The round after which it was.
        round: u64,
        /// How peers are chosen.
        strategy: Strategy,
        /// How many peers are measured.
        measured: usize,
        /// How many there are.
        peers: usize,
        /// Into how many clusters they fall.
        clusters: usize,
        /// How many are preferred.
        preferred: usize,
        /// How many of these were not before.
        joined: usize,
        /// How many were and are not.
        left: usize,
    },
    /// More patterns than are declared exactly: wider ones are declared.
    InterestWidened,
}
