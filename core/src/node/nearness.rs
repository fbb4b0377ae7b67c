//! How far the peers of a node are, and whose turn it is in what it does with one of them at a time.
//!
//! Candidates are the peers that this node compares state with, over links of their own. The transport
//! says now and then how long their round trips are: that is a round of the
//! [`Manager`], which rebalances every hundredth, and the first time after the
//! tenth. Between two it deals its peers out in hands: as many as are preferred, chosen by the strategy, each
//! once, in an order by chance; so of ten turns eight are of near ones where the strategy is hybrid.

use std::time::Duration;

use crate::event::Event;
use crate::id::{RegionId, ShortId};
use crate::machine::{LinkSlot, Outbox};
use crate::membership::Neighbours;
use crate::rng::Rng;
use crate::time::{Now, Time};
use crate::topology::manager::{Manager, PREFERRED, Rebalanced, Settings, Strategy};
use crate::wire::request::{ClusterView, DistanceView, LagView, TopologyView};

/// The least time between two rounds, whatever the transport says.
const ROUND: Duration = Duration::from_millis(500);
/// A node that has just started rebalances after so many rounds.
const FIRST_ROUNDS: u64 = 10;

/// The peers of a node by distance, and whose turn it is.
#[derive(Debug)]
pub struct Nearness {
    me: ShortId,
    region: RegionId,
    manager: Manager,
    strategy: Strategy,
    rng: Rng,
    /// Whose turn is still to come, the next one last.
    hand: Vec<ShortId>,
    rounds: u64,
    /// When the last round was.
    round_at: Option<Time>,
    /// The last rebalance, and its time on the wall clock.
    last: Option<(Time, Rebalanced)>,
}

impl Nearness {
    /// Without peers.
    pub fn new(me: ShortId, region: RegionId, strategy: Strategy, seed: u64) -> Nearness {
        Nearness {
            me,
            region,
            manager: Manager::new(Settings { me, region, strategy, preferred: PREFERRED }),
            strategy,
            rng: Rng::new(seed ^ 0xD157),
            hand: Vec::new(),
            rounds: 0,
            round_at: None,
            last: None,
        }
    }

    /// Chooses by another strategy from now on.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        let Nearness { me, region, .. } = *self;
        self.manager = Manager::new(Settings { me, region, strategy, preferred: PREFERRED });
        self.strategy = strategy;
    }

    /// A peer may be chosen from now on.
    pub fn add(&mut self, id: ShortId, region: RegionId) {
        // A table that is full holds more peers than a node takes up.
        self.manager.add(id, region);
    }

    /// And no longer.
    pub fn remove(&mut self, id: ShortId) {
        self.manager.remove(id);
        self.hand.retain(|other| *other != id);
    }

    /// The transport says how long round trips over links take: a round.
    pub fn on_distances(
        &mut self,
        now: Now,
        distances: &[(LinkSlot, Duration)],
        neighbours: &Neighbours,
        out: &mut Outbox,
    ) {
        if self.round_at.is_some_and(|at| now.mono.since(at) < ROUND) {
            return;
        }
        self.round_at = Some(now.mono);
        for (link, rtt) in distances {
            if let Some((id, _)) = neighbours.at(*link) {
                self.manager.measure(id, *rtt);
            }
        }
        self.rounds += 1;
        let rebalanced = match self.manager.on_round(&mut self.rng) {
            None if self.rounds == FIRST_ROUNDS => Some(self.manager.rebalance(&mut self.rng)),
            rebalanced => rebalanced,
        };
        let Some(rebalanced) = rebalanced else { return };
        out.event(Event::Rebalanced {
            round: rebalanced.round,
            strategy: rebalanced.strategy,
            measured: rebalanced.measured,
            peers: rebalanced.peers,
            clusters: rebalanced.clusters.len(),
            preferred: rebalanced.preferred.len(),
            joined: rebalanced.joined.len(),
            left: rebalanced.left.len(),
        });
        self.hand.clear();
        self.last = Some((now.wall, rebalanced));
    }

    /// Whose turn it is; nobody's where there are no peers.
    pub fn turn(&mut self) -> Option<ShortId> {
        if self.hand.is_empty() {
            self.hand = self.manager.select(self.strategy, PREFERRED, &mut self.rng);
            self.rng.shuffle(&mut self.hand);
        }
        self.hand.pop()
    }

    /// What is known of distances, for people; `lag_of` says how far a peer's replica is behind.
    pub fn view(&self, neighbours: &Neighbours, lag_of: impl Fn(ShortId) -> Option<LagView>) -> TopologyView {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let clusters = self.manager.clusters().iter().map(|cluster| ClusterView {
            nearest_us: micros(cluster.nearest),
            farthest_us: micros(cluster.farthest),
            peers: number(cluster.peers),
        });
        let far = self.last.as_ref().and_then(|(_, last)| last.far);
        let candidates = neighbours.linked().filter(|(id, ..)| self.manager.has(*id));
        let distances: Vec<DistanceView> = candidates
            .map(|(id, _, known)| DistanceView {
                name: known.admission.name.to_string(),
                region: known.admission.region.to_string(),
                rtt_us: self.manager.rtt(id).map_or(0, |rtt| micros(rtt.average()).max(1)),
                cluster: self.manager.cluster_of(id).map_or(0, |cluster| number(cluster + 1)),
                is_preferred: self.manager.preferred().contains(&id),
                is_far: far == Some(id),
                lag: lag_of(id),
            })
            .collect();
        TopologyView {
            strategy: self.strategy.to_string(),
            round: self.rounds,
            rebalanced_round: self.last.as_ref().map_or(0, |(_, last)| last.round),
            rebalanced_ms: self.last.as_ref().map_or(0, |(at, _)| at.as_millis()),
            measured: number(distances.iter().filter(|distance| distance.rtt_us > 0).count()),
            clusters: clusters.collect(),
            distances,
        }
    }
}

#[cfg(test)]
mod tests;
