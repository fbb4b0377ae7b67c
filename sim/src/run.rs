//! One run: a mesh is built, works while faults happen, then heals, and is looked at.

use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_core::identity::Roles;
use starling_core::interest::Pattern;
use starling_core::rng::Rng;
use starling_core::time::Time;
use starling_core::wire::request::{KeyChange, SetKey};

use crate::check::{Behaved, Check, Checks, Scene};
use crate::clients::Clients;
use crate::faults::{self, Fault};
use crate::hostile::{Attack, STRIKES};
use crate::journal::Journal;
use crate::link::happens;
use crate::mail::Mail;
use crate::meter::Meter;
use crate::mutants::Bug;
use crate::node::{Plan, Signatures};
use crate::queue::Queue;
use crate::report::{Report, Rounds, Shares};
use crate::settings::{FaultRates, Settings};
use crate::world::World;

/// How long nodes have to find one another before agents come and faults begin.
const START: Duration = Duration::from_secs(5);
/// How long agents have to attach and subscribe before faults begin.
const ATTACH: Duration = Duration::from_secs(5);
/// How often a client looks after its connection.
const LOOK: Duration = Duration::from_millis(100);
/// How often somebody writes a key.
const WRITE: Duration = Duration::from_millis(200);
/// Keys that are written.
const KEYS: u64 = 8;
/// Topics of a region.
const TOPICS: u64 = 4;
/// Up to so many edges a node's invariants are checked after each of its steps. A check looks at all whom
/// the node knows: in a larger mesh there is one every so many steps as an eighth of the edges are.
const CHECKED_EACH_STEP: usize = 32;

/// Something that the run does.
#[derive(Debug)]
enum Action {
    Look(usize),
    Leave(usize),
    Publish,
    Write,
    Second,
    Rest,
    Fault(Fault),
    Strike(usize),
}

/// A run in progress.
struct Run {
    settings: Settings,
    world: World,
    clients: Clients,
    journal: Journal,
    actions: Queue<Action>,
    rng: Rng,
    faults: Vec<(Time, Fault)>,
    checks: Checks,
    edges: Vec<usize>,
    /// Until when work is done.
    work_until: Time,
    /// From when on nobody does anything, and how many bytes had been sent by then.
    idle_from: Time,
    idle_bytes: u64,
}

/// Simulates what `settings` say.
pub fn run(settings: &Settings) -> Report {
    run_with(settings, None)
}

/// The same with a bug in every node.
pub(crate) fn run_with(settings: &Settings, bug: Option<Box<dyn Bug>>) -> Report {
    let begun = Instant::now();
    let mut run = Run::new(settings.clone(), bug);
    run.go();
    run.report(begun.elapsed())
}

impl Run {
    fn new(settings: Settings, bug: Option<Box<dyn Bug>>) -> Run {
        let signatures = if settings.ed25519 { Signatures::Ed25519 } else { Signatures::Keyed };
        let mut world = World::with(settings.near, signatures, settings.seed);
        world.wire = settings.wire;
        world.keeps_events = false;
        if settings.edges > CHECKED_EACH_STEP {
            // A check looks at every peer: spaced so that a step pays for one of them.
            world.check_every = settings.edges as u64;
        }
        (world.clock_skew, world.processors) = (settings.clock_skew, settings.processors);
        world.silent = settings.silent;
        world.story = settings.story.then(Vec::new);
        world.matrix = settings.matrix.clone();
        (world.meter, world.bug) = (Some(Meter::default()), bug);
        let edges = build(&mut world, &settings);
        let mut rng = Rng::new(settings.seed ^ 0xC11E);
        let (clients, subjects) = make_clients(&settings, &world, &edges, &mut rng);
        let journal = Journal::new(clients.all.len(), subjects);
        let work_until = Time::ZERO + START + ATTACH + settings.time;
        let is_idle = settings.agents == 0 && settings.faults == FaultRates::default();
        let idle_from = if is_idle { Time::ZERO + START + ATTACH } else { work_until + settings.settle / 2 };
        let keys = (0..KEYS).map(|number| format!("key-{number}")).collect();
        let checks = Checks::new(keys, Behaved::new(settings.attack, &world));
        Run {
            world,
            clients,
            journal,
            actions: Queue::default(),
            rng,
            faults: Vec::new(),
            checks,
            edges,
            work_until,
            idle_from,
            idle_bytes: 0,
            settings,
        }
    }

    fn go(&mut self) {
        let faults_at = Time::ZERO + START + ATTACH;
        self.faults = faults::draw(&self.settings, &self.world, faults_at, &mut self.rng);
        for (at, fault) in self.faults.clone() {
            self.actions.push(at, Action::Fault(fault));
        }
        for (at, node) in (1..).zip(self.world.hostile.keys().copied()) {
            self.actions.push(faults_at + Duration::from_millis(at), Action::Strike(node));
        }
        for client in 0..self.clients.all.len() {
            let at = Time::ZERO + START + Duration::from_nanos(self.rng.below(LOOK.as_nanos() as u64));
            self.actions.push(at, Action::Look(client));
        }
        self.plan_leaving();
        self.actions.push(Time::ZERO + Duration::from_secs(1), Action::Second);
        self.actions.push(self.idle_from, Action::Rest);
        if self.settings.agents > 0 {
            self.actions.push(Time::ZERO + START + ATTACH / 2, Action::Publish);
            self.actions.push(Time::ZERO + START + ATTACH, Action::Write);
        }
        let until = self.work_until + self.settings.settle;
        loop {
            let acts = self.actions.next_at();
            let moves = self.world.next_at();
            let next = [acts, moves].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            if acts == Some(next) {
                self.world.now = next;
                if let Some((_, action)) = self.actions.pop() {
                    self.act(action);
                }
            } else {
                self.world.step(next);
            }
            self.read_mail();
        }
        self.world.now = until;
        self.each_check(|check, now, scene| check.at_end(now, scene));
    }

    fn plan_leaving(&mut self) {
        let mut rng = Rng::new(self.settings.seed ^ 0x1EA7E);
        for client in 0..self.clients.all.len() {
            if happens(self.settings.leaving, &mut rng) {
                let after = Duration::from_nanos(rng.below(self.settings.time.as_nanos() as u64 + 1));
                self.actions.push(Time::ZERO + START + ATTACH + after, Action::Leave(client));
            }
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.world.now;
        match action {
            Action::Look(client) => {
                self.clients.look_after(client, &mut self.world, &mut self.journal);
                self.actions.push(now + LOOK, Action::Look(client));
            }
            Action::Leave(client) => self.clients.leave(client, &mut self.world, &mut self.journal),
            Action::Publish if now >= self.work_until => {}
            Action::Publish => {
                self.publish();
                let mean = Duration::from_nanos(1_000_000_000 / self.settings.rate.max(1));
                let next = now + faults::exponential(mean, &mut self.rng);
                self.actions.push(next, Action::Publish);
            }
            Action::Write if now >= self.work_until => {}
            Action::Write => {
                self.write();
                self.actions.push(now + WRITE, Action::Write);
            }
            Action::Rest => self.idle_bytes = self.world.bytes(),
            Action::Second => {
                let World { nodes, meter, .. } = &mut self.world;
                if let Some(meter) = meter {
                    meter.without(now, |node| nodes[node].is_running());
                }
                self.each_check(|check, now, scene| check.each_second(now, scene));
                self.actions.push(now + Duration::from_secs(1), Action::Second);
            }
            Action::Strike(node) if now >= self.work_until => self.world.relent(node),
            Action::Strike(node) => {
                self.world.strike(node);
                self.actions.push(now + STRIKES, Action::Strike(node));
            }
            Action::Fault(fault) => {
                self.each_check(|check, now, scene| check.on_fault(now, &fault, scene));
                self.world.tell(|_| format!("{fault:?}"));
                fault.apply(&mut self.world);
            }
        }
    }

    fn publish(&mut self) {
        let client = self.rng.below(self.clients.all.len() as u64) as usize;
        let agents = self.clients.all[client].agents.clone();
        let agent = agents.start + self.rng.below(agents.end - agents.start);
        self.clients.publish(client, agent, &mut self.world, &mut self.journal);
    }

    fn write(&mut self) {
        let edge = self.edges[self.rng.below(self.edges.len() as u64) as usize];
        let key = format!("key-{}", self.rng.below(KEYS));
        let value = Bytes::copy_from_slice(&self.rng.next_u64().to_le_bytes());
        if self.settings.keys {
            self.clients.write(edge, SetKey { key, change: Some(KeyChange::Put(value)) }, &mut self.world);
        }
    }

    fn read_mail(&mut self) {
        while !self.world.mail.is_empty() {
            for (node, mail) in std::mem::take(&mut self.world.mail) {
                match mail {
                    Mail::Sent(sent) => {
                        self.each_check(|check, now, scene| check.on_sent(now, node, &sent, scene));
                    }
                    Mail::Said(statement) => {
                        self.each_check(|check, now, scene| check.on_said(now, node, &statement, scene));
                    }
                    Mail::Event(event) => {
                        self.world.tell(|world| format!("{}: {event:?}", world.nodes[node].plan.name));
                        self.each_check(|check, now, scene| check.on_event(now, node, &event, scene));
                    }
                    Mail::Reply(..) | Mail::Frame(..) => {
                        self.clients.hear(mail, &mut self.world, &mut self.journal);
                    }
                }
            }
        }
    }

    fn each_check(&mut self, mut with: impl FnMut(&mut dyn Check, Time, &mut Scene<'_>)) {
        let now = self.world.now;
        let mut scene = Scene { world: &mut self.world, clients: &self.clients, journal: &mut self.journal };
        self.checks.each().into_iter().for_each(|check| with(check, now, &mut scene));
    }

    fn report(mut self, wall: Duration) -> Report {
        let mut report = Report::new(&self.settings, &mut self.checks.each());
        report.trace_hash = starling_core::id::hex(&self.world.trace_hash());
        report.steps = self.world.steps();
        report.simulated_seconds = self.world.now.as_millis() as f64 / 1000.0;
        report.wall_seconds = wall.as_secs_f64();
        report.detection_ms = Shares::of(&self.checks.detected.times);
        report.crashes = self.checks.detected.crashes;
        report.false_deaths = self.checks.detected.false_deaths;
        report.cut_off_ms = Shares::of(&self.checks.readonly.said);
        report.rejoined_ms = Shares::of(&self.checks.readonly.over);
        report.rehomed_ms = Shares::of(&self.clients.away);
        report.faults = self.faults.len() as u64;
        report.banned = self.checks.behaved.banned();
        report.delivery_ms = Shares::of(&self.journal.delays);
        report.events.published = self.journal.entries();
        report.events.delivered = self.journal.delivered;
        report.events.gaps = self.journal.gaps;
        report.story = self.world.story.take().unwrap_or_default();
        let nodes = self.world.nodes.len().max(1) as f64;
        report.bytes_per_node_per_second = self.world.bytes() as f64 / nodes / report.simulated_seconds;
        let idle = self.world.now.since(self.idle_from).as_secs_f64();
        if idle > 0.0 {
            report.idle_bytes_per_node_per_second =
                (self.world.bytes() - self.idle_bytes) as f64 / nodes / idle;
        }
        if let Some(meter) = &mut self.world.meter {
            let (p50, max) = meter.hops();
            report.rounds = Rounds { p50, max };
            report.convergence_ms = Shares::of(&meter.converged);
            report.payload_copies = meter.copied as f64 / meter.first.max(1) as f64;
            report.payload_carried = meter.copied as f64 / meter.needed.max(1) as f64;
        }
        report
    }
}

/// Adds the nodes; returns the edges.
fn build(world: &mut World, settings: &Settings) -> Vec<usize> {
    let mut seeds = Vec::new();
    if settings.coordinators > 0 {
        world.appoint(0..settings.coordinators);
    }
    for number in 0..settings.coordinators {
        let name = format!("coordinator-{number}");
        let (roles, region) = (Roles::COORDINATOR, "global".to_string());
        world.add(Plan { roles, region, name: name.clone(), seeds: seeds.clone() });
        seeds.push(name);
    }
    let zones = settings.matrix.names.len().max(1);
    let mut edges = Vec::new();
    for region in 0..settings.regions {
        let mut near = seeds.clone();
        let mut add = |world: &mut World, roles: Roles, name: String, number: usize| {
            // One region may span all zones; several have one each.
            let zone = if settings.regions == 1 { number % zones } else { region };
            let plan = Plan { roles, region: format!("r{region}"), name: name.clone(), seeds: near.clone() };
            if near.len() < seeds.len() + 3 {
                near.push(name);
            }
            world.add_in(zone, plan)
        };
        for number in 0..settings.aggregators {
            add(world, Roles::AGGREGATOR, format!("aggregator-{region}-{number}"), number);
        }
        for number in (0..settings.edges).filter(|edge| edge % settings.regions == region) {
            edges.push(add(world, Roles::EDGE, format!("edge-{number}"), number));
        }
    }
    if let Some(attack) = settings.attack {
        corrupt(world, attack, settings);
        edges.retain(|edge| !world.is_hostile(*edge));
    }
    edges
}

/// Makes nodes of the attack's role hostile, evenly over the regions, the last of each first.
fn corrupt(world: &mut World, attack: Attack, settings: &Settings) {
    for number in 0..settings.attackers {
        let region = format!("r{}", number % settings.regions);
        let fits = |at: &usize| {
            let plan = &world.nodes[*at].plan;
            plan.roles == attack.role() && plan.region == region && !world.is_hostile(*at)
        };
        if let Some(node) = (0..world.nodes.len()).rev().find(fits) {
            world.make_hostile(node, attack);
        }
    }
}

/// Makes the clients, spread over the edges; returns each agent's subject too.
fn make_clients(settings: &Settings, world: &World, edges: &[usize], rng: &mut Rng) -> (Clients, Vec<Bytes>) {
    let mut clients = Clients::default();
    let mut subjects = Vec::new();
    let per_client = settings.agents_per_client.max(1);
    let mut first = 0;
    while first < settings.agents {
        let agents = first..(first + per_client).min(settings.agents);
        let edge = edges[clients.all.len() % edges.len()];
        let region = world.nodes[edge].plan.region.clone();
        let near: Vec<usize> =
            edges.iter().copied().filter(|at| world.nodes[*at].plan.region == region).collect();
        let turn = near.iter().position(|at| *at == edge).unwrap_or(0);
        for agent in agents.clone() {
            subjects.push(Bytes::from(format!("work.{region}.{}", agent % TOPICS)));
        }
        let pattern = match rng.below(4) {
            0 => Some(format!("work.*.{}", rng.below(TOPICS))),
            1 => Some(format!("work.{region}.>")),
            2 => Some(format!("work.r{}.{}", rng.below(settings.regions as u64), rng.below(TOPICS))),
            _ => None,
        };
        let pattern = pattern.map(|text| Pattern::parse(&text).expect("made of good tokens"));
        clients.add(near, turn, agents.clone(), pattern);
        first = agents.end;
    }
    (clients, subjects)
}
