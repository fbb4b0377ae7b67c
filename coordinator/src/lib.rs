//! The coordinator: a pure machine that folds regions into the global view and issues system
//! updates through an agreed log.
//!
//! What must be agreed goes out as `Propose` and comes back as `Committed`; who serves that log (Raft of
//! the coordinators, a model in the simulator) is not known here.

mod newest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
pub use newest::Newest;
use starling_core::agreement::{Part, Standing};
use starling_core::event::Event;
use starling_core::id::{RegionId, ShortId};
use starling_core::identity::{Context, Roles};
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot, Machine, Outbox, Output};
use starling_core::membership::{Fact, Identity, Neighbours};
use starling_core::node::overview::overview;
use starling_core::node::peering::{Peering, Presence};
use starling_core::node::quorum::Quorum;
use starling_core::node::routes::Routes;
use starling_core::node::updates::Updates;
use starling_core::summary::{EdgeVersion, Figure, Global};
use starling_core::time::{Now, Time};
use starling_core::topology::Operation;
use starling_core::wire::codec::Wire;
use starling_core::wire::message::{ControlBody, Leaving, Update, update_message};
use starling_core::wire::request::{
    Ask, CoordinatorView, Cut, CutEdge, DecidedView, Overview, RefusedCode, Say, UpdatesView,
};

/// Largest payload of a system update: every agent gets a copy.
const UPDATE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one answer with updates.
const UPDATES_BYTES_MAX: usize = 32 * 1024;
/// What an update takes in it beside its payload.
const UPDATE_OVERHEAD_BYTES: usize = 32;
/// Requests that wait for the log.
const PROPOSALS_MAX: usize = 1024;

/// The machine of a coordinator.
pub struct Coordinator {
    neighbours: Neighbours,
    routes: Routes,
    global: Global,
    updates: Updates,
    /// Requests in the order of their proposals.
    proposed: VecDeque<(ConnectionSlot, u64, Bytes)>,
    watchers: BTreeSet<ConnectionSlot>,
    covered: BTreeMap<ShortId, EdgeVersion>,
    quorum: Quorum,
    peering: Peering,
    /// How far the coordinators are, as the log's service says.
    standings: Vec<Standing>,
}

impl Coordinator {
    /// A coordinator that dials `seeds`.
    pub fn new(me: Identity, seeds: Vec<String>, seed: u64) -> Coordinator {
        let peering = Peering::new(&me, seed);
        Coordinator {
            neighbours: Neighbours::new(me, seeds, seed),
            routes: Routes::new(seed),
            global: Global::new(),
            updates: Updates::default(),
            proposed: VecDeque::new(),
            watchers: BTreeSet::new(),
            covered: BTreeMap::new(),
            quorum: Quorum::of_mesh(),
            peering,
            standings: Vec::new(),
        }
    }

    /// The same coordinator, which says this of itself.
    pub fn with_presence(mut self, presence: Presence) -> Coordinator {
        self.peering.set_presence(presence);
        self
    }

    fn facts(&mut self, now: Now, facts: Vec<Fact>, out: &mut Outbox) {
        for fact in facts {
            self.peering.on_fact(now, &fact, &self.neighbours, out);
            match fact {
                Fact::Up(id, _) => self.routes.peer_up(now, id),
                Fact::Down(id, link) => {
                    self.updates.remove(link);
                    self.routes.peer_down(now, id);
                    if let Some(region) = self.neighbours.get(id).map(|known| known.region()) {
                        self.global.remove_aggregator(region, id);
                    }
                }
                Fact::Lost(id) => {
                    self.routes.peer_lost(now, id);
                }
                // Nothing is owed to anyone here.
                Fact::Returned(..) | Fact::Back(..) | Fact::Met(_) | Fact::Apart(_) | Fact::Convicted(_) => {}
            }
        }
    }

    fn on_control(&mut self, now: Now, link: LinkSlot, body: ControlBody, out: &mut Outbox) {
        let Some((peer, known)) = self.neighbours.at(link) else { return };
        match body {
            ControlBody::Figure(bytes) if known.roles().has(Roles::AGGREGATOR) => {
                let region = known.region();
                let Ok(figure) = Figure::from_bytes(&bytes) else {
                    out.push(Output::HangUp { link, reason: "a malformed figure" });
                    return;
                };
                if self.global.offer(region, peer, Arc::new(figure), now.wall).is_err() {
                    out.event(Event::Refused { peer, reason: "too many regions or aggregators" });
                    return;
                }
                self.quorum.count_again();
                self.tell_watchers(Some(region), out);
            }
            ControlBody::UpdateApplied(applied) if known.roles().has(Roles::AGGREGATOR) => {
                self.updates.applied(link, applied.index, out);
            }
            ControlBody::PeerMessage(bytes) => {
                let facts = self.peering.hear(now, link, bytes, &mut self.neighbours, out);
                self.facts(now, facts, out);
            }
            ControlBody::Figure(_)
            | ControlBody::Interest(_)
            | ControlBody::InterestConfirmed(_)
            | ControlBody::Directory(_)
            | ControlBody::Locate(_)
            | ControlBody::Located(_)
            | ControlBody::Superseded(_)
            | ControlBody::Summary(_)
            | ControlBody::Update(_)
            | ControlBody::UpdateApplied(_)
            | ControlBody::Pace(_)
            | ControlBody::Missed(_)
            | ControlBody::Compare(_)
            | ControlBody::Versions(_)
            | ControlBody::Reroute(_)
            | ControlBody::NotHere(_)
            | ControlBody::Peers(_)
            | ControlBody::Probe(_)
            | ControlBody::Statements(_)
            | ControlBody::Standings(_)
            | ControlBody::Roster(_)
            | ControlBody::Names(_)
            | ControlBody::CertificateAsk(_)
            | ControlBody::CertificateAnswer(_)
            | ControlBody::Agreement(_)
            | ControlBody::RelayOpen(_)
            | ControlBody::RelayAccepted(_)
            | ControlBody::RelayClosed(_)
            | ControlBody::Relayed(_)
            | ControlBody::Proof(_)
            | ControlBody::Leaving(_) => {}
        }
    }

    /// Tells watchers which edges' versions the global cut covers since the last notice; only one
    /// region's can have changed when a figure of it came.
    fn tell_watchers(&mut self, region: Option<RegionId>, out: &mut Outbox) {
        if self.watchers.is_empty() {
            return;
        }
        let figures: Vec<Arc<Figure>> = match region {
            Some(region) => {
                self.global.region(region).map(|shown| Arc::clone(&shown.figure)).into_iter().collect()
            }
            None => self.global.figure().regions.into_values().map(|shown| shown.figure).collect(),
        };
        let mut edges = Vec::new();
        for (edge, version) in figures.iter().flat_map(|figure| &figure.cut.edges) {
            // Of two aggregators now one and now the other is shown; the cut only grows.
            if self.covered.get(edge).is_none_or(|covered| covered < version) {
                self.covered.insert(*edge, *version);
                let EdgeVersion { incarnation, version } = *version;
                edges.push(CutEdge { edge: edge.0, incarnation, version });
            }
        }
        if edges.is_empty() {
            return;
        }
        for watcher in &self.watchers {
            out.reply(*watcher, 0, Say::Cut(Cut { edges: edges.clone() }));
        }
    }

    fn on_request(&mut self, now: Now, connection: ConnectionSlot, id: u64, ask: Ask, out: &mut Outbox) {
        let say = match ask {
            Ask::Overview(_) => {
                let overview = overview(now, &self.global, &self.neighbours, self.updates.newest());
                let quorum = Some(Box::new(self.quorum.view(&self.neighbours)));
                Say::Overview(Overview { quorum, coordinators: self.coordinators(), ..overview })
            }
            Ask::WatchCut(_) => {
                self.watchers.insert(connection);
                self.covered.clear();
                out.reply(connection, id, Say::Done(starling_core::wire::request::Empty {}));
                return self.tell_watchers(None, out);
            }
            Ask::Update(payload) if payload.len() > UPDATE_BYTES_MAX => {
                RefusedCode::Limit.because("a system update has at most 16 KiB")
            }
            Ask::Update(_) if self.proposed.len() >= PROPOSALS_MAX => {
                RefusedCode::Unavailable.because("too many updates wait for the log")
            }
            Ask::Updates(after) => self.updates_after(after),
            Ask::Peers(ask) => {
                return self.peering.ask(now, (connection, id), ask, &self.neighbours, out);
            }
            // What is decided on one side of a partition may contradict what the other decides; several
            // coordinators see to that themselves, for a majority of them decides.
            Ask::Update(payload) => {
                let refusal = self.quorum.refusal(now, Operation::ChangeConfiguration);
                if let Some(refusal) = refusal.filter(|_| self.is_only()) {
                    return out.reply(connection, id, refusal);
                }
                let mut entry = BytesMut::with_capacity(8 + payload.len());
                entry.put_u64_le(now.wall.as_millis());
                entry.put_slice(&payload);
                let entry = entry.freeze();
                self.proposed.push_back((connection, id, entry.clone()));
                return out.push(Output::Propose(entry));
            }
            Ask::Edges(_) => {
                RefusedCode::NotHere.because("this is a coordinator; ask an aggregator of the region")
            }
            Ask::Subscribe(_)
            | Ask::Unsubscribe(_)
            | Ask::Detach(_)
            | Ask::Locate(_)
            | Ask::Agents(_)
            | Ask::SetKey(_)
            | Ask::GetKey(_) => {
                RefusedCode::NotHere.because("this is a coordinator; agents attach to an edge")
            }
        };
        out.reply(connection, id, say);
    }

    fn updates_after(&self, index: u64) -> Say {
        let mut bytes = 0;
        let mut updates = Vec::new();
        for update in self.updates.after(index) {
            bytes += update.payload.len() + UPDATE_OVERHEAD_BYTES;
            if bytes > UPDATES_BYTES_MAX && !updates.is_empty() {
                break;
            }
            let (index, decided_ms, payload) = (update.index, update.decided_ms, update.payload.clone());
            updates.push(DecidedView { index, decided_ms, payload });
        }
        Say::Updates(UpdatesView { updates })
    }

    /// The coordinators, for people.
    fn coordinators(&self) -> Vec<CoordinatorView> {
        let me = self.neighbours.me();
        let name = |id: ShortId| match self.neighbours.get(id) {
            _ if id == me.short() => me.admission.name.to_string(),
            Some(known) => known.admission.name.to_string(),
            None => id.to_string(),
        };
        let views = self.standings.iter().map(|standing| CoordinatorView {
            id: standing.id.0,
            name: name(standing.id),
            role: standing.part.to_string(),
            term: standing.term,
            applied: standing.applied,
            is_heard: standing.is_heard,
        });
        views.collect()
    }

    /// Whether no other coordinator has a vote.
    fn is_only(&self) -> bool {
        self.standings.iter().filter(|standing| standing.part != Part::Learner).count() <= 1
    }

    /// A snapshot stands for the log's beginning.
    fn on_restored(&mut self, state: &[u8], out: &mut Outbox) {
        let newest = Newest::from_snapshot(state).expect("the log's service checked its snapshot");
        let known = self.updates.newest();
        let mut lacking = newest.entries().filter(|(index, _)| *index > known).peekable();
        if lacking.peek().is_some_and(|(index, _)| *index > known + 1) {
            self.updates.begin_anew();
        }
        let lacking: Vec<(u64, Bytes)> = lacking.collect();
        for (index, entry) in lacking {
            self.on_committed(index, entry, out);
        }
    }

    fn on_undecided(&mut self, entry: &Bytes, is_doubtful: bool, out: &mut Outbox) {
        let ours = self.proposed.iter().position(|(_, _, proposed)| proposed == entry);
        let Some((connection, id, _)) = ours.and_then(|at| self.proposed.remove(at)) else { return };
        let say = if is_doubtful {
            RefusedCode::Doubtful.because(
                "the coordinators did not decide in time; it is not known whether they will: look at the \
                 decided updates before you issue it again",
            )
        } else {
            RefusedCode::Unavailable
                .because("no majority of the coordinators is in reach; nothing was decided")
        };
        out.reply(connection, id, say);
    }

    fn on_committed(&mut self, index: u64, entry: Bytes, out: &mut Outbox) {
        let Some((time, _)) = entry.split_first_chunk::<8>() else { return };
        let decided_ms = u64::from_le_bytes(*time);
        let payload = entry.slice(8..);
        let signer = self.neighbours.me().short().0;
        let mut update = Update { index, decided_ms, payload, signer, signature: Bytes::new() };
        let signature = self.neighbours.me().signer.sign(Context::Update, &update_message(&update));
        update.signature = Bytes::copy_from_slice(&signature.0);
        // A log that starts anew tells of what is known already.
        if self.updates.push(update, out) {
            out.event(Event::UpdateApplied { index });
        }
        // Other coordinators propose too: what is committed is not always the oldest of ours.
        let ours = self.proposed.iter().position(|(_, _, proposed)| *proposed == entry);
        if let Some((connection, id, _)) = ours.and_then(|at| self.proposed.remove(at)) {
            out.reply(connection, id, Say::Decided(index));
        }
    }
}

impl Machine for Coordinator {
    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox) {
        match input {
            Input::LinkUp { link, peer } => {
                let facts = self.neighbours.link_up(now, link, *peer, out);
                self.facts(now, facts, out);
            }
            Input::LinkDown { link, timed_out } => {
                let facts = self.neighbours.link_down(now, link, timed_out, out);
                self.facts(now, facts, out);
            }
            Input::DialFailed { address } => self.neighbours.dial_failed(now, &address),
            Input::Candidates { addresses } => self.neighbours.suggest(now, addresses),
            Input::Probe { link, body } => {
                let facts = self.neighbours.on_probe(now, link, &body, out);
                self.facts(now, facts, out);
            }
            Input::Control { link, body } => match self.neighbours.on_control(now, link, body, out) {
                Ok(facts) => self.facts(now, facts, out),
                Err((link, body)) => self.on_control(now, link, body, out),
            },
            Input::Request { connection, id, ask } => self.on_request(now, connection, id, ask, out),
            Input::Attach { connection, request, .. } => {
                let text = "this is a coordinator; agents attach to an edge";
                out.reply(connection, request, RefusedCode::NotHere.because(text));
            }
            Input::Disconnected { connection } => {
                self.watchers.remove(&connection);
                self.peering.disconnected(connection);
            }
            Input::Committed { index, entry } => self.on_committed(index, entry, out),
            Input::Restored { state, .. } => self.on_restored(&state, out),
            Input::Undecided { entry, is_doubtful } => self.on_undecided(&entry, is_doubtful, out),
            Input::Standings(standings) => self.standings = standings,
            Input::Reported(report) => {
                let facts = self.neighbours.on_report(now, report, out);
                self.facts(now, facts, out);
            }
            Input::Stop => {
                self.neighbours
                    .linked()
                    .for_each(|(_, link, _)| out.send(link, ControlBody::Leaving(Leaving {})));
                out.push(Output::Stopped);
            }
            Input::Wake
            | Input::Changes { .. }
            | Input::SystemAcknowledged { .. }
            | Input::State { .. }
            | Input::Unresolved(_)
            | Input::Measured(_) => {}
            Input::Wanted(wanted) => self.neighbours.on_wanted(now, wanted, out),
            Input::Distances(distances) => {
                self.peering.on_distances(now, &distances, &self.neighbours);
            }
        }
        let facts = self.neighbours.wake(now, out);
        self.facts(now, facts, out);
        self.routes.flush(now, &mut self.neighbours, out);
        self.quorum.wake(now, &self.neighbours, Some(&self.global), out);
        self.peering.wake(now, &self.neighbours, out);
    }

    fn deadline(&self) -> Option<Time> {
        let (quorum, peering) = (self.quorum.deadline(), self.peering.deadline());
        [self.neighbours.deadline(), self.routes.deadline(), quorum, peering].into_iter().flatten().min()
    }

    fn check(&self) {
        self.neighbours.check();
        self.peering.check();
        assert!(self.proposed.len() <= PROPOSALS_MAX, "more proposals than allowed");
        const { assert!(limits::CONTROL_BYTES_MAX > UPDATE_BYTES_MAX, "an update fits into a control frame") };
    }
}
