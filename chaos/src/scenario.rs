//! The named scenarios: what goes wrong in each, drawn from a seed.

use std::time::Duration;

use starling_core::rng::Rng;
use starling_net::shaping::Rule;

use crate::faults::{FaultKind, Step, between, from_to};
use crate::roster::{LIAR, Roster};

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What goes wrong and what must hold, in a sentence.
    pub about: &'static str,
    /// Whether nothing at all may be missing, not even where a gap is told.
    pub is_complete: bool,
    /// How long one round takes.
    round: Duration,
    steps: fn(&mut Drawing<'_>),
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// All scenarios, the cheapest first.
const ALL: [Scenario; 10] = [
    Scenario {
        name: "kill-edge",
        about: "an edge is killed and comes back 8 s later; its agents find another, and count is exact",
        is_complete: false,
        round: seconds(12),
        steps: |drawing| drawing.kill_edge(seconds(1), seconds(8)),
    },
    Scenario {
        name: "kill-aggregator",
        about: "an aggregator is killed and comes back, then one of the other region; nothing is missing",
        is_complete: true,
        round: seconds(22),
        steps: |drawing| drawing.kill_aggregators(),
    },
    Scenario {
        name: "kill-coordinator",
        about: "the coordinator is killed and comes back; events flow on, and its count is exact again",
        is_complete: true,
        round: seconds(10),
        steps: |drawing| drawing.down(seconds(1), seconds(5), FaultKind::Kill, "coordinator".into()),
    },
    Scenario {
        name: "pause",
        about: "an edge stands still for 10 s, then an aggregator; nobody else is held for dead",
        is_complete: false,
        round: seconds(32),
        steps: |drawing| drawing.pauses(),
    },
    Scenario {
        name: "one-way",
        about: "an edge does not reach another of its region for 8 s, nor an aggregator one of the other's; nobody is held for dead and nothing is missing",
        is_complete: true,
        round: seconds(22),
        steps: |drawing| drawing.one_ways(),
    },
    Scenario {
        name: "partition",
        about: "a region is cut off from all others for 10 s; its agents go on among themselves, and gaps are told",
        is_complete: false,
        round: seconds(16),
        steps: |drawing| drawing.partition(),
    },
    Scenario {
        name: "slow",
        about: "the ways between regions are late by 50 ms, lose 2 % and pass 1 Mbit/s for 12 s; nothing is missing",
        is_complete: true,
        round: seconds(16),
        steps: |drawing| drawing.slow(),
    },
    Scenario {
        name: "flap",
        about: "a link between edges and one between aggregators fail for a second and hold for a second, six times; nothing is missing",
        is_complete: true,
        round: seconds(16),
        steps: |drawing| drawing.flaps(),
    },
    Scenario {
        name: "badboy",
        about: "an admitted node attacks for 12 s, as --attack says; nothing is missing, and nobody but the liar is banned",
        is_complete: true,
        round: seconds(20),
        steps: |drawing| drawing.attack(seconds(6), seconds(12)),
    },
    Scenario {
        name: "mixed",
        about: "faults of all kinds, one or two at a time, drawn from the seed for the whole duration",
        is_complete: false,
        round: seconds(30),
        steps: |drawing| drawing.mixed(),
    },
];

impl Scenario {
    /// All of them.
    pub fn all() -> &'static [Scenario] {
        &ALL
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Scenario> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Whether a node lies in it.
    pub fn has_liar(&self) -> bool {
        self.name == "badboy"
    }

    /// How long its faults last: whole rounds that fit into `asked`, at least one; `mixed` takes it all.
    pub fn duration(&self, asked: Option<Duration>) -> Duration {
        let asked = asked.unwrap_or(self.round);
        if self.name == "mixed" {
            return asked.max(seconds(5));
        }
        // Who was banned does not come back for another round.
        let asked = if self.has_liar() { self.round } else { asked };
        let rounds = asked.as_secs() / self.round.as_secs();
        self.round * u32::try_from(rounds).unwrap_or(u32::MAX).max(1)
    }

    /// What goes wrong, in order of time.
    pub fn steps(&self, seed: u64, duration: Duration, roster: &Roster) -> Vec<Step> {
        let mut drawing =
            Drawing { rng: Rng::new(seed), roster, begin: Duration::ZERO, duration, steps: Vec::new() };
        match self.name {
            "mixed" => (self.steps)(&mut drawing),
            _ => {
                while drawing.begin + self.round <= duration {
                    (self.steps)(&mut drawing);
                    drawing.begin += self.round;
                }
            }
        }
        drawing.steps.sort_by_key(|step| step.at);
        drawing.steps
    }
}

/// A scenario being drawn.
struct Drawing<'a> {
    rng: Rng,
    roster: &'a Roster,
    begin: Duration,
    duration: Duration,
    steps: Vec<Step>,
}

impl Drawing<'_> {
    fn pick(&mut self, of: &[String]) -> String {
        of[self.rng.below(of.len() as u64) as usize].clone()
    }

    /// Two different ones.
    fn pick_two(&mut self, of: &[String]) -> (String, String) {
        let chosen = self.rng.choose_multiple(of.len(), 2);
        (of[chosen[0]].clone(), of[chosen[1]].clone())
    }

    fn region(&mut self) -> usize {
        self.rng.below(self.roster.regions() as u64) as usize
    }

    /// A process is killed or paused, and goes on after `length`.
    fn down(&mut self, after: Duration, length: Duration, kind: FaultKind, node: String) {
        let end = if kind == FaultKind::Kill { FaultKind::Restart } else { FaultKind::Resume };
        let at = self.begin + after;
        self.steps.push(Step::process(at, kind, &node));
        self.steps.push(Step::process(at + length, end, &node));
    }

    /// Links are bad for `length`.
    fn bad(
        &mut self,
        (after, length): (Duration, Duration),
        kind: FaultKind,
        target: String,
        links: Vec<(String, String)>,
    ) {
        let rule = match kind {
            FaultKind::Slow => SLOW,
            _ => Rule { cut: true, ..Rule::default() },
        };
        let at = self.begin + after;
        let end = Step {
            at: at + length,
            kind: FaultKind::Mend,
            target: target.clone(),
            links: links.clone(),
            rule: Rule::default(),
        };
        self.steps.push(Step { at, kind, target, links, rule });
        self.steps.push(end);
    }

    /// Before it there is time to see how fast entries are without it.
    fn attack(&mut self, after: Duration, length: Duration) {
        let at = self.begin + after;
        self.steps.push(Step::process(at, FaultKind::Attack, LIAR));
        self.steps.push(Step::process(at + length, FaultKind::Relent, LIAR));
    }

    fn kill_edge(&mut self, after: Duration, length: Duration) {
        let region = self.region();
        let edge = self.pick(&self.roster.edges_of(region));
        self.down(after, length, FaultKind::Kill, edge);
    }

    fn kill_aggregators(&mut self) {
        let first = self.region();
        for (number, after) in [(0, seconds(1)), (1, seconds(12))] {
            let region = (first + number) % self.roster.regions();
            let aggregator = self.pick(&self.roster.aggregators_of(region));
            self.down(after, seconds(6), FaultKind::Kill, aggregator);
        }
    }

    fn pauses(&mut self) {
        let region = self.region();
        let edge = self.pick(&self.roster.edges_of(region));
        self.down(seconds(1), seconds(10), FaultKind::Pause, edge);
        let region = self.region();
        let aggregator = self.pick(&self.roster.aggregators_of(region));
        self.down(seconds(17), seconds(10), FaultKind::Pause, aggregator);
    }

    fn one_way(&mut self, when: (Duration, Duration), from: String, to: String) {
        self.bad(when, FaultKind::OneWay, format!("{from} > {to}"), vec![(from, to)]);
    }

    fn cut(&mut self, when: (Duration, Duration), one: String, other: String) {
        let links = between(std::slice::from_ref(&one), std::slice::from_ref(&other));
        self.bad(when, FaultKind::Cut, format!("{one} | {other}"), links);
    }

    /// Two aggregators of different regions.
    fn two_aggregators(&mut self) -> (String, String) {
        let region = self.region();
        let one = self.pick(&self.roster.aggregators_of(region));
        let other = self.pick(&self.roster.aggregators_of((region + 1) % self.roster.regions()));
        (one, other)
    }

    fn one_ways(&mut self) {
        let region = self.region();
        let (from, to) = self.pick_two(&self.roster.edges_of(region));
        self.one_way((seconds(1), seconds(8)), from, to);
        let (from, to) = self.two_aggregators();
        self.one_way((seconds(12), seconds(8)), from, to);
    }

    fn partition(&mut self) {
        let region = self.region();
        let (inside, outside) = self.roster.split(region);
        let target = format!("{} | all others", self.roster.region_name(region));
        self.bad((seconds(1), seconds(10)), FaultKind::Cut, target, between(&inside, &outside));
    }

    fn slow(&mut self) {
        let region = self.region();
        let (inside, outside) = self.roster.split(region);
        let target = format!("{} | all others", self.roster.region_name(region));
        self.bad((seconds(1), seconds(12)), FaultKind::Slow, target, between(&inside, &outside));
    }

    fn flaps(&mut self) {
        let region = self.region();
        let (one, other) = self.pick_two(&self.roster.edges_of(region));
        let (here, there) = self.two_aggregators();
        for time in 0..6 {
            self.cut((seconds(1 + 2 * time), seconds(1)), one.clone(), other.clone());
            let when = (Duration::from_millis(1500 + 2000 * time), seconds(1));
            self.cut(when, here.clone(), there.clone());
        }
    }

    /// Two faults at a time at the most: one of a process, one of links.
    fn mixed(&mut self) {
        let tenths = |tenths: u64| Duration::from_millis(100 * tenths);
        for is_process in [true, false] {
            let mut at = tenths(5 + self.rng.below(20));
            loop {
                let length = tenths(5 + self.rng.below(95));
                if at + length + seconds(1) > self.duration {
                    break;
                }
                match is_process {
                    true => self.any_process((at, length)),
                    false => self.any_link((at, length)),
                }
                at += length + tenths(10 + self.rng.below(40));
            }
        }
    }

    fn any_process(&mut self, (at, length): (Duration, Duration)) {
        let kind = if self.rng.below(2) == 0 { FaultKind::Kill } else { FaultKind::Pause };
        let region = self.region();
        let node = match self.rng.below(7) {
            0 => "coordinator".into(),
            1 | 2 => self.pick(&self.roster.aggregators_of(region)),
            _ => self.pick(&self.roster.edges_of(region)),
        };
        self.down(at, length, kind, node);
    }

    fn any_link(&mut self, when: (Duration, Duration)) {
        let region = self.region();
        let (inside, outside) = self.roster.split(region);
        let name = self.roster.region_name(region);
        let aggregators = self.roster.aggregators_of(region);
        match self.rng.below(6) {
            0 => {
                let (one, other) = self.pick_two(&self.roster.edges_of(region));
                self.cut(when, one, other);
            }
            1 => {
                let (from, to) = self.pick_two(&self.roster.edges_of(region));
                self.one_way(when, from, to);
            }
            2 => {
                let (one, other) = self.two_aggregators();
                self.cut(when, one, other);
            }
            3 => self.bad(when, FaultKind::Cut, format!("{name} | all others"), between(&inside, &outside)),
            4 => self.bad(when, FaultKind::Slow, format!("{name} | all others"), between(&inside, &outside)),
            _ => {
                let (edge, to) = (self.pick(&self.roster.edges_of(region)), self.pick(&aggregators));
                self.bad(when, FaultKind::OneWay, format!("{edge} > {to}"), from_to(&[edge], &[to]));
            }
        }
    }
}

/// A bad way between regions.
const SLOW: Rule = Rule {
    delay: Duration::from_millis(50),
    jitter: Duration::from_millis(10),
    loss: 0.02,
    cut: false,
    bits_per_second: 1_000_000,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_every_step_and_every_fault_ends() {
        let roster = Roster::usual();
        for scenario in Scenario::all() {
            for seed in 0..50 {
                let duration = scenario.duration(None);
                let steps = scenario.steps(seed, duration, &roster);
                assert_eq!(steps, scenario.steps(seed, duration, &roster));
                assert!(!steps.is_empty(), "{} {seed}", scenario.name);
                assert!(steps.is_sorted_by_key(|step| step.at));
                assert!(steps.iter().all(|step| step.at <= duration), "{} {seed}", scenario.name);
                let (ends, begins): (Vec<&Step>, Vec<&Step>) =
                    steps.iter().partition(|step| step.kind.is_end());
                assert_eq!(ends.len(), begins.len(), "{} {seed}", scenario.name);
                let names: Vec<&str> = roster.nodes().iter().map(|node| node.name.as_str()).collect();
                let known = |name: &String| names.contains(&name.as_str()) || name == LIAR;
                assert!(
                    steps.iter().flat_map(|step| &step.links).all(|(a, b)| known(a) && known(b) && a != b)
                );
                assert!(steps.iter().all(|step| !step.links.is_empty() || known(&step.target)));
            }
        }
    }

    #[test]
    fn seeds_differ_and_rounds_repeat() {
        let roster = Roster::usual();
        let scenario = Scenario::named("kill-edge").unwrap();
        let of = |seed| scenario.steps(seed, scenario.duration(None), &roster)[0].target.clone();
        assert!((1..20).any(|seed| of(seed) != of(0)));
        let three = scenario.duration(Some(seconds(40)));
        assert_eq!((three, scenario.steps(1, three, &roster).len()), (seconds(36), 6));
        assert!(Scenario::named("nothing").is_none());
    }
}
