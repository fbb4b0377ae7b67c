//! The contract between protocol logic and the world.
//!
//! A [`Machine`] is deterministic and single-threaded: a driver hands it an [`Input`] and the time,
//! and carries out what it puts into the [`Outbox`]. It never fails and never blocks. The same
//! inputs give the same outputs, byte for byte, on every machine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Event;
use crate::hot::Report;
use crate::hot::own::Publication;
use crate::hot::view::View;
use crate::id::{AgentId, RegionId, ShortId};
use crate::identity::{Admission, Signature};
use crate::time::{Now, Time};
use crate::wire::agent::{Candidate, Change};
use crate::wire::bundle::Bundle;
use crate::wire::message::ControlBody;
use crate::wire::request::{Ask, Say};

/// Slot of a link at its node; never leaves the process and is never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkSlot(pub u32);

impl LinkSlot {
    /// The first slot of links that lead over other nodes; drivers count from 0 and stay below.
    pub const RELAYED: LinkSlot = LinkSlot(1 << 31);

    /// Whether the link leads over other nodes (`hot::relayed`).
    pub fn is_relayed(self) -> bool {
        self >= LinkSlot::RELAYED
    }
}

/// Slot of an agents' connection at its edge; never leaves the process and is never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionSlot(pub u32);

/// Protocol logic without socket, clock or lock.
pub trait Machine: Send {
    /// Takes one input and appends what is to be done.
    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox);
    /// When [`Input::Wake`] is wanted at the latest; read again after every step.
    fn deadline(&self) -> Option<Time>;
    /// Asserts the machine's own invariants.
    fn check(&self);
}

/// A peer as its certificate, admission and hello say.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Admission, verified against the mesh's authority and the peer's certificate.
    pub admission: Admission,
    /// Its incarnation.
    pub incarnation: u64,
    /// Where it listens, as it says.
    pub addresses: Vec<String>,
    /// Its process id, as it says.
    pub process: u32,
    /// Its software, as it says.
    pub version: String,
    /// By its identity key over what it says ([`crate::membership::record`]); not verified yet.
    pub signature: Signature,
}

/// What can happen to a machine.
#[derive(Debug)]
pub enum Input {
    /// Time passed to [`Machine::deadline`].
    Wake,
    /// A link is up; the machine may have none or one link to a peer.
    LinkUp {
        /// The link.
        link: LinkSlot,
        /// Who is at the other end.
        peer: Box<Peer>,
    },
    /// A link is gone.
    LinkDown {
        /// The link.
        link: LinkSlot,
        /// Whether it was silent for [`crate::limits::LINK_TIMEOUT`]; otherwise it was closed.
        timed_out: bool,
    },
    /// An address could not be dialled.
    DialFailed {
        /// As in [`Output::Dial`].
        address: String,
    },
    /// Addresses at which nodes of the mesh may listen, as somebody outside of it says.
    Candidates {
        /// As in [`Output::Dial`].
        addresses: Vec<String>,
    },
    /// A peer's control message.
    Control {
        /// The link.
        link: LinkSlot,
        /// The message.
        body: ControlBody,
    },
    /// A peer's probe came in a datagram.
    Probe {
        /// The link.
        link: LinkSlot,
        /// Encoding of [`crate::membership::detector::Probe`].
        body: Bytes,
    },
    /// An agents' connection is gone.
    Disconnected {
        /// The connection.
        connection: ConnectionSlot,
    },
    /// Agents whose attach signatures were verified for this connection.
    Attach {
        /// The connection.
        connection: ConnectionSlot,
        /// The request to answer.
        request: u64,
        /// Agents with a valid claim.
        candidates: Vec<Candidate>,
        /// Indices of candidates whose claim was refused.
        forged: Vec<u32>,
    },
    /// Agents changed state or tags; `first` is the number of the first change.
    Changes {
        /// The connection.
        connection: ConnectionSlot,
        /// Number of the first change on its connection.
        first: u64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// A client asks.
    Request {
        /// The connection.
        connection: ConnectionSlot,
        /// The request's id.
        id: u64,
        /// What is asked.
        ask: Ask,
    },
    /// How many agents of a connection acknowledged an update since the last such input.
    SystemAcknowledged {
        /// The connection.
        connection: ConnectionSlot,
        /// (update, agents).
        counts: Vec<(u64, u32)>,
    },
    /// A bundle of class state came; nobody has verified it yet.
    State {
        /// Over this link.
        link: LinkSlot,
        /// The bundle.
        bundle: Box<Bundle>,
    },
    /// The hot path saw a node do wrong.
    Reported(Report),
    /// Directed publications whose receiver's home the hot path does not know.
    Unresolved(Vec<Publication>),
    /// The log decided what was proposed.
    Committed {
        /// Place in the log, from 1.
        index: u64,
        /// What was proposed.
        entry: Bytes,
    },
    /// The log begins here: what was decided before is in a snapshot.
    Restored {
        /// Place of the last entry that it covers; what comes next has the next place.
        index: u64,
        /// The snapshot ([`crate::agreement::Agreed::snapshot`]).
        state: Bytes,
    },
    /// What was proposed is not decided, and nobody waits for it any longer.
    Undecided {
        /// What was proposed.
        entry: Bytes,
        /// Whether it may still be decided; otherwise it never will be.
        is_doubtful: bool,
    },
    /// How far the coordinators are, when that changed.
    Standings(Vec<crate::agreement::Standing>),
    /// Numbers of the hot path since the node's start, a few times a second.
    Measured(Box<crate::hot::counters::Snapshot>),
    /// Round trips of links as the transport measures them, about once a second; at most one a link.
    Distances(Vec<(LinkSlot, Duration)>),
    /// The transport wants a certificate, or answers that it was asked for one.
    Wanted(Wanted),
    /// The process was asked to stop.
    Stop,
}

/// What a transport wants that renews certificates ([`crate::membership`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A certificate for this node; answered by [`Granted::Certificate`], or not at all.
    Certificate {
        /// Its name for this attempt.
        number: u64,
        /// A request (PKCS #10).
        request: Bytes,
    },
    /// What became of a [`Granted::Issue`].
    Answer {
        /// For whom it was.
        node: ShortId,
        /// As in the question.
        number: u64,
        /// The certificate, PEM; or why there is none.
        result: Result<String, String>,
    },
}

/// What a machine has for a transport that renews certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Issue a certificate for a node whose admission was verified; answered by [`Wanted::Answer`].
    Issue {
        /// Who is admitted.
        admission: Box<Admission>,
        /// The node's name for this attempt.
        number: u64,
        /// The request (PKCS #10), not looked at yet.
        request: Bytes,
    },
    /// The answer to [`Wanted::Certificate`]; nobody has checked it.
    Certificate {
        /// As in the question.
        number: u64,
        /// The certificate, PEM; or why there is none.
        result: Result<String, String>,
    },
}

/// What a machine wants done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "outputs are moved once, from the outbox to the driver")]
pub enum Output {
    /// Open a link to an address; one attempt, answered by `LinkUp` or `DialFailed`.
    Dial {
        /// Socket address or host name with port; behind a `#`, if there is one, the full name of the node
        /// that must answer there, in hexadecimal digits.
        address: String,
    },
    /// Close a link.
    HangUp {
        /// The link.
        link: LinkSlot,
        /// Why, for the other side's log.
        reason: &'static str,
    },
    /// Send on the control lane.
    Control {
        /// The link.
        link: LinkSlot,
        /// The message.
        body: ControlBody,
    },
    /// Send the same to several on their control lanes; it is encoded once.
    ControlToAll {
        /// The links.
        links: Vec<LinkSlot>,
        /// The message.
        body: ControlBody,
    },
    /// Send a probe in a datagram, which may get lost.
    Probe {
        /// The link.
        link: LinkSlot,
        /// Encoding of [`crate::membership::detector::Probe`].
        body: Bytes,
    },
    /// Send a bundle of class state, whole, on the priority lane.
    State {
        /// The links.
        links: Vec<LinkSlot>,
        /// The bundle.
        bundle: Arc<Bundle>,
    },
    /// Answer a client, or tell it something (`id` 0).
    Reply {
        /// The connection.
        connection: ConnectionSlot,
        /// The request's id.
        id: u64,
        /// What is said.
        say: Say,
    },
    /// Tell each of these agents of a system update, each by a frame of its own.
    Broadcast {
        /// The connection.
        connection: ConnectionSlot,
        /// Agents' indices on it.
        agents: Vec<u32>,
        /// Place in the log.
        index: u64,
        /// What was decided.
        payload: Bytes,
    },
    /// From now on route by this view.
    View(Box<View>),
    /// An agent is hosted at this connection.
    Host {
        /// The agent.
        agent: AgentId,
        /// The connection.
        connection: ConnectionSlot,
        /// Its index there.
        index: u32,
    },
    /// An agent is no longer hosted at this connection.
    Unhost {
        /// The agent.
        agent: AgentId,
        /// The connection.
        connection: ConnectionSlot,
        /// Its index there.
        index: u32,
    },
    /// Publish what waited for a receiver's home.
    Admit(Vec<Publication>),
    /// Publications that found no receiver; their client is told.
    Undeliverable(Vec<Publication>),
    /// Remember where a remote agent lives; `None` forgets it.
    Home {
        /// The agent.
        agent: AgentId,
        /// Its region and edge.
        home: Option<(RegionId, ShortId)>,
    },
    /// Send again everything that this destination has not acknowledged, in order.
    Resend(Destination),
    /// This destination is gone: nothing is owed to it any more.
    Forget(Destination),
    /// Ask the agreed log to take an entry.
    Propose(Bytes),
    /// Something about certificates.
    Granted(Granted),
    /// Something that people may want to know.
    Event(Event),
    /// The node has said good-bye and may end.
    Stopped,
}

/// Who must acknowledge a bundle to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A node of the own region.
    Node(ShortId),
    /// All that want it in another region.
    Region(RegionId),
    /// Slow subscribers at this very node.
    Local,
}

/// Outputs for which an outbox keeps its memory.
const OUTPUTS_KEPT: usize = 64;

/// Collects a step's outputs, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Appends an output.
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Appends a control message.
    pub fn send(&mut self, link: LinkSlot, body: ControlBody) {
        self.push(Output::Control { link, body });
    }

    /// Appends a control message to several.
    pub fn send_to_all(&mut self, links: &[LinkSlot], body: ControlBody) {
        match links {
            [] => {}
            [link] => self.send(*link, body),
            links => self.push(Output::ControlToAll { links: links.to_vec(), body }),
        }
    }

    /// Appends a reply.
    pub fn reply(&mut self, connection: ConnectionSlot, id: u64, say: Say) {
        self.push(Output::Reply { connection, id, say });
    }

    /// Appends an event.
    pub fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// Gives memory back that only a rare step needed.
    pub fn give_back(&mut self) {
        self.outputs.shrink_to(OUTPUTS_KEPT);
    }

    /// What is inside.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
}
