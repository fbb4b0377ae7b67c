//! Directed messages and questions that wait for an agent's home.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use starling_core::hot::own::{Publication, Target};
use starling_core::id::{AgentId, RegionId, ShortId};
use starling_core::identity::Roles;
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Outbox, Output};
use starling_core::membership::Neighbours;
use starling_core::time::{Now, Time};
use starling_core::wire::message::{ControlBody, Locate, Located};
use starling_core::wire::request::{Home, RefusedCode, Say};

/// How long an answer may take before the question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Receivers that moved this often are not looked for again.
pub const ATTEMPTS_MAX: u8 = 8;

#[derive(Debug)]
struct Wanted {
    until: Time,
    ask_at: Time,
    asked: usize,
    publications: Vec<Publication>,
    askers: Vec<(ConnectionSlot, u64)>,
}

impl Wanted {
    fn bytes(&self) -> usize {
        self.publications.iter().map(Publication::window_bytes).sum()
    }
}

/// Everything that waits.
#[derive(Debug, Default)]
pub struct Locating {
    wanted: BTreeMap<AgentId, Wanted>,
    /// Publications and askers that wait.
    count: usize,
    /// What the publications take of their clients' windows.
    bytes: usize,
    /// Not later than anything is due, so that a step in which nothing is costs nothing.
    due: Option<Time>,
}

impl Locating {
    fn entry(&mut self, now: Now, agent: AgentId) -> &mut Wanted {
        let due = &mut self.due;
        self.wanted.entry(agent).or_insert_with(|| {
            *due = Some(now.mono);
            Wanted {
                until: now.mono + limits::LOCATE_TIMEOUT,
                ask_at: now.mono,
                asked: 0,
                publications: Vec::new(),
                askers: Vec::new(),
            }
        })
    }

    /// A publication waits for its receiver; given back when too many wait already.
    pub fn wait(&mut self, now: Now, agent: AgentId, publication: Publication) -> Option<Publication> {
        let bytes = self.bytes + publication.window_bytes();
        if self.count >= limits::UNRESOLVED_MAX || bytes > limits::UNRESOLVED_BYTES_MAX {
            return Some(publication);
        }
        self.count += 1;
        self.bytes = bytes;
        self.entry(now, agent).publications.push(publication);
        None
    }

    /// A client wants to know; false when too many wait already.
    pub fn ask(&mut self, now: Now, agent: AgentId, connection: ConnectionSlot, request: u64) -> bool {
        if self.count >= limits::UNRESOLVED_MAX {
            return false;
        }
        self.count += 1;
        self.entry(now, agent).askers.push((connection, request));
        true
    }

    /// An answer came; an unknown home is asked for again until the time is over.
    pub fn found(&mut self, located: &Located, neighbours: &Neighbours, out: &mut Outbox) {
        let Ok(agent) = <[u8; 16]>::try_from(located.agent.as_ref()).map(AgentId) else { return };
        if located.edge == 0 {
            return;
        }
        let Some(wanted) = self.wanted.remove(&agent) else { return };
        let home = (RegionId(located.region), ShortId(located.edge));
        out.push(Output::Home { agent, home: Some(home) });
        self.resolve(wanted, home, located.session, neighbours, out);
    }

    /// The agent came to this very edge: what waited for it goes before what follows.
    pub fn found_here(&mut self, agent: AgentId, session: u64, neighbours: &Neighbours, out: &mut Outbox) {
        let Some(wanted) = self.wanted.remove(&agent) else { return };
        let home = (neighbours.me().region(), neighbours.me().short());
        self.resolve(wanted, home, session, neighbours, out);
    }

    fn no_longer_waits(&mut self, wanted: &Wanted) {
        self.count -= wanted.publications.len() + wanted.askers.len();
        self.bytes -= wanted.bytes();
    }

    fn resolve(
        &mut self,
        wanted: Wanted,
        home: (RegionId, ShortId),
        session: u64,
        neighbours: &Neighbours,
        out: &mut Outbox,
    ) {
        self.no_longer_waits(&wanted);
        if !wanted.publications.is_empty() {
            let publications = wanted.publications.into_iter();
            let publications =
                publications.map(|p| Publication { target: Target::Agent(Some(home)), ..p }).collect();
            out.push(Output::Admit(publications));
        }
        let (region, edge) = name_of(home, neighbours);
        for (connection, request) in wanted.askers {
            let (region, edge) = (region.clone(), edge.clone());
            let home = Home { region, edge, edge_id: home.1.0, session };
            out.reply(connection, request, Say::Home(home));
        }
    }

    /// Asks what is due, and gives up on what waited too long.
    pub fn wake(&mut self, now: Now, neighbours: &Neighbours, out: &mut Outbox) {
        if self.due.is_none_or(|due| due > now.mono) {
            return;
        }
        let overdue: Vec<AgentId> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.until <= now.mono)
            .map(|(agent, _)| *agent)
            .collect();
        for agent in overdue {
            let Some(wanted) = self.wanted.remove(&agent) else { continue };
            self.no_longer_waits(&wanted);
            if !wanted.publications.is_empty() {
                out.push(Output::Undeliverable(wanted.publications));
            }
            for (connection, request) in wanted.askers {
                let text = format!("no agent {agent} is attached to any edge that can be reached");
                out.reply(connection, request, RefusedCode::NotFound.because(text));
            }
        }
        let due = self.wanted.iter_mut().filter(|(_, wanted)| wanted.ask_at <= now.mono);
        for (agent, wanted) in due {
            wanted.ask_at = now.mono + ASK_AGAIN;
            send_question(*agent, wanted.asked, neighbours, out);
            wanted.asked += 1;
        }
        self.due = self.wanted.values().map(|wanted| wanted.ask_at.min(wanted.until)).min();
    }

    /// When [`Locating::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Asserts that what waits is counted.
    pub fn check(&self) {
        let waiting = self.wanted.values().map(|wanted| wanted.publications.len() + wanted.askers.len());
        assert_eq!(waiting.sum::<usize>(), self.count, "what waits for a home is counted");
        assert!(self.count <= limits::UNRESOLVED_MAX, "more waits for homes than may");
        let bytes = self.wanted.values().map(Wanted::bytes);
        assert_eq!(bytes.sum::<usize>(), self.bytes, "the bytes of what waits are counted");
        assert!(self.bytes <= limits::UNRESOLVED_BYTES_MAX, "larger messages wait for homes than may");
    }
}

/// Names of a home's region and edge, for people.
fn name_of((region, edge): (RegionId, ShortId), neighbours: &Neighbours) -> (String, String) {
    let me = neighbours.me();
    let admission = match neighbours.get(edge) {
        Some(known) => &known.admission,
        None if edge == me.short() => &me.admission,
        None => return (region.to_string(), edge.to_string()),
    };
    (admission.region.to_string(), admission.name.to_string())
}

/// To one aggregator of the region, another one each time; without any, to the region's edges.
fn send_question(agent: AgentId, asked: usize, neighbours: &Neighbours, out: &mut Outbox) {
    let ours = neighbours.linked().filter(|(_, _, known)| known.region() == neighbours.me().region());
    let (aggregators, edges): (Vec<_>, Vec<_>) =
        ours.partition(|(_, _, known)| known.roles().has(Roles::AGGREGATOR));
    let question = |from_region| Locate { agent: Bytes::copy_from_slice(&agent.0), from_region };
    match aggregators.get(asked % aggregators.len().max(1)) {
        Some((_, link, _)) => out.send(*link, ControlBody::Locate(question(false))),
        None => edges.iter().for_each(|(_, link, _)| out.send(*link, ControlBody::Locate(question(true)))),
    }
}
