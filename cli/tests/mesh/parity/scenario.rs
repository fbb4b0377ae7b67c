//! What happens: six agents talk, write keys, lose an edge, meet at others, and go home.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_core::wire::request::{Empty, KeyChange};

use super::{Entry, Figures, Ground, Heard, NODES, Outcome, To};

/// Where each agent is at home.
const HOMES: [&str; 6] = ["east-0", "east-1", "east-2", "west-0", "west-1", "west-2"];
/// What each subscribes to. Two patterns of one agent may match one subject.
const PATTERNS: [&[&str]; 6] =
    [&["news.*"], &["news.>", "news.east"], &["logs.>"], &["news.west", "logs.app"], &["*.east"], &[">"]];
/// What each publishes on.
const SUBJECTS: [[&str; 2]; 6] = [
    ["news.east", "logs.app"],
    ["news.east", "news.west"],
    ["logs.app", "news.east"],
    ["news.west", "logs.disk.full"],
    ["news.west", "news.east"],
    ["logs.disk.full", "news.west"],
];
/// The edge that dies, whose agent it is, and where that goes meanwhile.
const KILLED: &str = "east-2";
const ITS_AGENT: usize = 2;
const REFUGE: &str = "east-0";
/// Keys that are written.
const KEYS: [&str; 6] = ["color", "gone", "visits", "highest", "lowest", "never"];
/// So often a mesh may be looked at before it is as it must be.
const LOOKS_MAX: usize = 600;

/// Plays the scenario and says what came of it.
pub fn play(ground: &mut impl Ground) -> Outcome {
    let mut outcome = Outcome::default();
    gather(ground);
    stage(ground, "everybody is there", None, &mut outcome);

    talk(ground, "first", &[0, 1, 2, 3, 4, 5], 20);
    directed(ground, "first");
    keys_before(ground);

    ground.kill(KILLED);
    // Acknowledged once the others know that it is dead.
    talk(ground, "alone", &[0, 1, 3, 4, 5], 10);
    put(ground, 0, "color", "green");
    settle(ground, Some(KILLED));
    stage(ground, "an edge is dead", Some(KILLED), &mut outcome);

    arrive(ground, ITS_AGENT, REFUGE);
    talk(ground, "refuge", &[0, 1, 2, 3, 4, 5], 10);
    directed(ground, "refuge");
    ground.write(ITS_AGENT, "visits", KeyChange::Add(100));

    ground.start(KILLED);
    settle(ground, None);
    ground.leave(ITS_AGENT);
    arrive(ground, ITS_AGENT, KILLED);
    talk(ground, "home", &[0, 1, 2, 3, 4, 5], 20);
    directed(ground, "home");
    ground.write(ITS_AGENT, "visits", KeyChange::Add(1_000));
    put(ground, ITS_AGENT, "color", "white");

    settle(ground, None);
    stage(ground, "everybody is back", None, &mut outcome);
    conclude(ground, &mut outcome);
    outcome
}

fn gather(ground: &mut impl Ground) {
    settle_nodes(ground, None);
    for (agent, home) in HOMES.into_iter().enumerate() {
        arrive(ground, agent, home);
    }
    settle(ground, None);
}

fn arrive(ground: &mut impl Ground, agent: usize, edge: &'static str) {
    ground.attach(agent, edge);
    PATTERNS[agent].iter().for_each(|pattern| ground.subscribe(agent, pattern));
}

/// Each of these agents publishes so many entries on each of its subjects, every fourth before bulk.
fn talk(ground: &mut impl Ground, stage: &str, agents: &[usize], count: usize) {
    let mut entries = Vec::new();
    for number in 0..count {
        for agent in agents.iter().copied() {
            for subject in SUBJECTS[agent] {
                let payload = format!("{stage} {number} of {agent} on {subject}");
                // One class a subject: classes of one subject have no order among them.
                let is_priority = subject == "logs.disk.full";
                entries.push(Entry { agent, to: To::Subject(subject), payload, is_priority });
            }
        }
    }
    ground.publish(entries);
}

/// Each agent sends to the next, so that some cross regions and one goes to who moved.
fn directed(ground: &mut impl Ground, stage: &str) {
    let entry = |agent: usize, number: usize| {
        let to = To::Agent((agent + 1) % HOMES.len());
        Entry { agent, to, payload: format!("{stage} {number} from {agent}"), is_priority: false }
    };
    let agents = 0..HOMES.len();
    ground.publish(agents.flat_map(|agent| (0..3).map(move |number| entry(agent, number))).collect());
}

fn put(ground: &mut impl Ground, agent: usize, key: &str, value: &str) {
    ground.write(agent, key, KeyChange::Put(Bytes::copy_from_slice(value.as_bytes())));
    everywhere(ground, key, Some(value));
}

/// Waits until every edge that lives reads this.
fn everywhere(ground: &mut impl Ground, key: &str, value: Option<&str>) {
    look(ground, &format!("{key} is {value:?}"), |ground| {
        let wrong = HOMES.iter().find(|edge| {
            let is_there = ground.overview(edge).is_some();
            is_there && ground.read(edge, key).as_deref() != value
        });
        wrong.map(|edge| format!("not at {edge}"))
    });
}

fn keys_before(ground: &mut impl Ground) {
    put(ground, 0, "color", "red");
    put(ground, 4, "color", "blue");
    put(ground, 3, "gone", "soon");
    ground.write(1, "gone", KeyChange::Delete(Empty {}));
    everywhere(ground, "gone", None);
    for agent in 0..HOMES.len() {
        let number = i64::try_from(agent).expect("a handful of agents");
        ground.write(agent, "visits", KeyChange::Add(number + 1));
        ground.write(agent, "highest", KeyChange::Max(number * 7 % 5));
        ground.write(agent, "lowest", KeyChange::Min(number * 7 % 5 - 3));
    }
    everywhere(ground, "visits", Some("21"));
}

/// Looks until `find_wrong` finds nothing.
fn look<G: Ground>(ground: &mut G, what: &str, find_wrong: impl Fn(&mut G) -> Option<String>) {
    let mut wrong = None;
    for _ in 0..LOOKS_MAX {
        wrong = find_wrong(ground);
        if wrong.is_none() {
            return;
        }
        ground.pass();
    }
    panic!("{what}: {wrong:?}");
}

/// Waits until every node that lives takes every other for alive, and the dead one for dead.
fn settle_nodes(ground: &mut impl Ground, dead: Option<&str>) {
    look(ground, "everybody knows everybody", |ground| {
        NODES.iter().filter(|(name, ..)| Some(*name) != dead).find_map(|(name, ..)| {
            let Some(overview) = ground.overview(name) else { return Some(format!("{name} is silent")) };
            let wrong = overview.members.iter().find(|member| match member.status.as_str() {
                "up" => dead == Some(member.name.as_str()),
                "known" => false,
                _ => dead != Some(member.name.as_str()) || member.status == "suspect",
            });
            let known = overview.members.len();
            let is_missing = *name == "coordinator" && known < NODES.len();
            let wrong = wrong.map(|member| format!("{name} says {} is {}", member.name, member.status));
            wrong.or_else(|| is_missing.then(|| format!("{name} knows {known} nodes")))
        })
    });
}

/// The same, and until the agents are counted; then everybody has time to hear it.
fn settle(ground: &mut impl Ground, dead: Option<&str>) {
    settle_nodes(ground, dead);
    let agents = if dead.is_some() { HOMES.len() - 1 } else { HOMES.len() } as u64;
    look(ground, "agents are counted", |ground| {
        let count = ground.overview("coordinator").map(|overview| overview.regions)?;
        let count: u64 = count.iter().map(|region| region.agents).sum();
        (count != agents).then(|| format!("{count} of {agents}"))
    });
    ground.rest();
}

/// Notes what every node that lives says.
fn stage(ground: &mut impl Ground, name: &'static str, dead: Option<&str>, outcome: &mut Outcome) {
    let mut figures = Figures::default();
    for (node, ..) in NODES.iter().filter(|(node, ..)| Some(*node) != dead) {
        let overview = ground.overview(node).unwrap_or_else(|| panic!("{node} does not answer"));
        if *node == "coordinator" {
            let regions = overview.regions.iter();
            figures.regions = regions
                .map(|region| (region.name.clone(), (region.edges, region.aggregators, region.agents)))
                .collect();
        }
        let shown = overview
            .members
            .into_iter()
            .map(|member| (member.name, (member.roles, member.region, member.status, member.agents)));
        figures.members.insert(node.to_string(), shown.collect());
    }
    outcome.stages.push((name, figures));
}

fn conclude(ground: &mut impl Ground, outcome: &mut Outcome) {
    for edge in HOMES {
        let values: BTreeMap<String, Option<String>> =
            KEYS.iter().map(|key| (key.to_string(), ground.read(edge, key))).collect();
        outcome.keys.insert(edge.to_owned(), values);
    }
    for heard in ground.heard() {
        match heard {
            Heard::Gap { by } => {
                outcome.gaps.insert(by);
            }
            Heard::Entry { by, publisher, pattern, subject, payload } => {
                let stream = (by, publisher, pattern, subject);
                outcome.received.entry(stream).or_default().push(payload);
            }
        }
    }
    // What cannot differ because it is empty would show nothing.
    assert!(outcome.received.len() > 30, "{} streams", outcome.received.len());
    assert_eq!(outcome.keys["west-2"]["visits"].as_deref(), Some("1121"));
}
