//! NEQ, AUTH: who provably lies is banned by every honest node within ten seconds, and no honest node is
//! ever banned, whatever hostile ones do. That nothing forged is delivered or merged is what `delivered`
//! and `replicated` look for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_core::event::Event;
use starling_core::time::Time;

use super::{Check, Findings, Scene};
use crate::hostile::Attack;
use crate::report::{Banned, Shares};
use crate::world::World;

/// How often links with liars are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// From a lie until all honest nodes have banned the liar.
const LIMIT: Duration = Duration::from_secs(10);

/// Bans, just and unjust.
pub(crate) struct Behaved {
    findings: Findings,
    attack: Option<Attack>,
    /// When an honest node (second) banned a node (first) for the first time.
    bans: BTreeMap<(usize, usize), Time>,
    guilty: BTreeSet<usize>,
    innocent: BTreeSet<usize>,
    times: Vec<Duration>,
    /// Since when an honest node (second) has had a link with a hostile one (first) each time it was looked.
    linked: BTreeMap<(usize, usize), Time>,
    /// Hostile nodes that were looked at when their time was up.
    judged: BTreeSet<usize>,
}

impl Behaved {
    pub fn new(attack: Option<Attack>, world: &World) -> Behaved {
        Behaved {
            findings: Findings::default(),
            attack,
            bans: BTreeMap::new(),
            guilty: BTreeSet::new(),
            innocent: BTreeSet::new(),
            times: Vec::new(),
            linked: BTreeMap::new(),
            judged: (0..world.nodes.len()).filter(|at| !world.is_hostile(*at)).collect(),
        }
    }

    pub fn banned(&self) -> Banned {
        let (guilty, innocent) = (self.guilty.len(), self.innocent.len());
        Banned { guilty, innocent, p99_ms: Shares::of(&self.times).p99 }
    }

    /// Looks whether all honest nodes that must have banned a hostile one have.
    fn judge(&mut self, now: Time, liar: usize, since: Time, scene: &Scene<'_>) {
        let Some(attack) = self.attack else { return };
        let world = &scene.world;
        for node in (0..world.nodes.len()).filter(|at| !world.is_hostile(*at) && world.nodes[*at].is_active())
        {
            let is_banned = self.bans.contains_key(&(liar, node));
            let name = |at: usize| &world.nodes[at].plan.name;
            if attack.is_provable() {
                let wrong = !is_banned;
                let what =
                    || format!("{} has not banned {}, which lied at {since} s", name(node), name(liar));
                self.findings.note(now, wrong.then(what));
            } else if attack.is_grave() {
                // A link that came up since may have brought too little to be hung up for.
                let was_linked = self.linked.get(&(liar, node)).is_some_and(|at| *at <= since + LOOK);
                let wrong = was_linked && self.attack != Some(Attack::Tampering);
                let what = || format!("{} is still linked with {}, which lies to it", name(node), name(liar));
                self.findings.note(now, wrong.then(what));
            }
        }
    }
}

impl Check for Behaved {
    fn name(&self) -> &'static str {
        "behaved"
    }

    fn on_event(&mut self, now: Time, node: usize, event: &Event, scene: &mut Scene<'_>) {
        let Event::PeerBanned { name, reason } = event else { return };
        let Some(banned) = scene.world.index_of(name).filter(|_| !scene.world.is_hostile(node)) else {
            return;
        };
        self.bans.entry((banned, node)).or_insert(now);
        let since = scene.world.hostile.get(&banned).map(|hostile| hostile.since.unwrap_or(now));
        match since {
            Some(since) => {
                self.guilty.insert(banned);
                self.times.push(now.since(since));
                self.findings.note(now, None);
            }
            None => {
                self.innocent.insert(banned);
                let by = &scene.world.nodes[node].plan.name;
                self.findings.note(now, Some(format!("{by} banned {name}, which is honest: {reason}")));
            }
        }
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        for liar in scene.world.hostile.keys() {
            for (node, honest) in scene.world.nodes.iter().enumerate() {
                if honest.linked().contains(liar) {
                    self.linked.entry((*liar, node)).or_insert(now);
                } else {
                    self.linked.remove(&(*liar, node));
                }
            }
        }
        let due = |since: &Time| now.since(*since) >= LIMIT;
        let started = scene.world.hostile.iter().filter_map(|(at, hostile)| Some((*at, hostile.since?)));
        let due: Vec<(usize, Time)> = started.filter(|(_, since)| due(since)).collect();
        for (liar, since) in due {
            if self.judged.insert(liar) {
                self.judge(now, liar, since, scene);
            }
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
