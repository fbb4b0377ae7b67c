//! The network between nodes: who is linked, what is cut, and when an end notices that.

use std::time::Duration;

use starling_core::limits;
use starling_core::machine::{Input, LinkSlot};

use crate::link::{Conditions, Frame, Pair, Sent, Way};
use crate::world::{Transit, World, end_of};

/// How long a dial to nobody takes to fail, as over QUIC.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// When the first packet of a dial that nobody answered is sent again.
pub(crate) const DIAL_AGAIN: Duration = Duration::from_secs(1);
/// One-way trips that a handshake takes, with the hellos.
const HANDSHAKE_TRIPS: u32 = 3;

impl World {
    /// Closes the link between two nodes, if there is one; both ends notice at once.
    pub fn close(&mut self, left: usize, right: usize) {
        if let Some(id) = self.pair_between(left, right) {
            for side in 0..2 {
                self.later(Duration::ZERO, Transit::Down { pair: id, side, timed_out: false });
            }
        }
    }

    /// Holds back everything between two nodes; a link between them dies if that lasts.
    pub fn cut(&mut self, left: usize, right: usize) {
        self.cut_one_way(left, right);
        self.cut_one_way(right, left);
    }

    /// Holds back everything from one node to another.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
        if let Some(id) = self.pair_between(from, to) {
            let side = self.pairs[&id].side_of(from);
            self.hush(id, side);
        }
    }

    /// Ends a cut in both directions; what was held back arrives.
    pub fn heal(&mut self, left: usize, right: usize) {
        for (from, to) in [(left, right), (right, left)] {
            if self.cuts.remove(&(from, to))
                && let Some(id) = self.pair_between(from, to)
            {
                let side = self.pairs[&id].side_of(from);
                self.speak_again(id, side);
            }
        }
    }

    fn conditions_between(&self, left: usize, right: usize) -> Conditions {
        let (left, right) = (self.nodes[left].zone, self.nodes[right].zone);
        if left == right {
            return self.conditions;
        }
        Conditions { latency: self.matrix.between(left, right) / 2, ..self.conditions }
    }

    /// Round trips of a node's links, as QUIC would have measured them.
    pub(crate) fn distances(&self, node: usize) -> Vec<(LinkSlot, Duration)> {
        let links = self.nodes[node].links.keys();
        let rtt = |link: &LinkSlot| {
            let conditions = self.pairs.get(&end_of(*link).0)?.conditions;
            Some((*link, conditions.latency * 2 + conditions.jitter))
        };
        links.filter_map(rtt).collect()
    }

    pub(crate) fn pair_between(&self, left: usize, right: usize) -> Option<u64> {
        let found = self.nodes[left].peers.get(&right).or_else(|| self.nodes[right].peers.get(&left));
        found.map(|link| end_of(*link).0)
    }

    /// Nothing comes from the end of index `side` any more.
    pub(crate) fn hush(&mut self, id: u64, side: usize) {
        let now = self.now;
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        if pair.ways[side].silent.is_none() {
            pair.ways[side].silent = Some(now);
            self.later(limits::LINK_TIMEOUT, Transit::Silence { pair: id, side: 1 - side });
        }
    }

    /// The end of index `side` is heard again, unless there is another reason why it is not.
    pub(crate) fn speak_again(&mut self, id: u64, side: usize) {
        let Some(pair) = self.pairs.get(&id) else { return };
        let (from, to) = (pair.ends[side].0, pair.ends[1 - side].0);
        let is_cut = self.cuts.contains(&(from, to));
        if is_cut || !self.nodes[from].is_active() || !pair.is_up[side] {
            return;
        }
        let pair = self.pairs.get_mut(&id).expect("it was found above");
        pair.ways[side].silent = None;
        let held = std::mem::take(&mut pair.ways[side].held);
        // Packets to an end that is gone are answered by a reset.
        if !pair.is_up[1 - side] {
            let trip = pair.conditions.latency * 2;
            self.later(trip, Transit::Down { pair: id, side, timed_out: false });
        }
        held.into_iter().for_each(|sent| self.transmit(id, side, sent));
    }

    pub(crate) fn dial(&mut self, from: usize, address: String) {
        let incarnation = self.nodes[from].incarnation;
        if !self.shake_hands(from, &address) {
            self.later(DIAL_AGAIN, Transit::DialAgain { from, incarnation, address });
        }
    }

    /// Begins a handshake with who listens at `address`, if somebody does.
    pub(crate) fn shake_hands(&mut self, from: usize, address: &str) -> bool {
        let to = self.names.get(address).copied();
        let Some(to) = to.filter(|to| *to != from && self.can_reach(from, *to)) else { return false };
        let takes = self.conditions_between(from, to).latency * HANDSHAKE_TRIPS;
        self.later(takes, Transit::Dial { from, to, address: address.to_string() });
        true
    }

    pub(crate) fn can_reach(&self, left: usize, right: usize) -> bool {
        let is_cut = self.cuts.contains(&(left, right)) || self.cuts.contains(&(right, left));
        self.nodes[left].is_active() && self.nodes[right].is_active() && !is_cut
    }

    /// One link a pair: a second one fails, unless one end restarted and knows nothing of the first.
    pub(crate) fn link(&mut self, from: usize, to: usize, address: String) {
        let here = self.nodes[from].peers.get(&to).copied();
        let there = self.nodes[to].peers.get(&from).copied();
        let is_linked = here.zip(there).is_some_and(|(here, there)| end_of(here).0 == end_of(there).0);
        if is_linked || !self.can_reach(from, to) {
            return self.input(from, Input::DialFailed { address });
        }
        for stale in [here, there].into_iter().flatten() {
            let (pair, side) = end_of(stale);
            self.down(pair, side, false);
        }
        self.next_pair += 1;
        let id = self.next_pair;
        let slots = [LinkSlot(id as u32 * 2), LinkSlot(id as u32 * 2 + 1)];
        let ways = [Way::default(), Way::default()];
        let ends = [(from, slots[0]), (to, slots[1])];
        let pair = Pair {
            ends,
            is_up: [true; 2],
            ways,
            unread: [0; 2],
            waiting: Default::default(),
            is_waiting: [false; 2],
            conditions: self.conditions_between(from, to),
        };
        self.pairs.insert(id, pair);
        *self.links_made.entry(ordered(from, to)).or_default() += 1;
        for (side, (at, link)) in ends.into_iter().enumerate() {
            let other = ends[1 - side].0;
            self.nodes[at].links.insert(link, other);
            self.nodes[at].peers.insert(other, link);
        }
        let (dialler, acceptor) = (Box::new(self.nodes[from].peer()), Box::new(self.nodes[to].peer()));
        self.input(to, Input::LinkUp { link: slots[1], peer: dialler });
        self.input(from, Input::LinkUp { link: slots[0], peer: acceptor });
    }

    pub(crate) fn hang_up(&mut self, link: LinkSlot) {
        let (id, side) = end_of(link);
        let Some(pair) = self.pairs.get(&id) else { return };
        let trip = pair.conditions.latency;
        self.later(Duration::ZERO, Transit::Down { pair: id, side, timed_out: false });
        if pair_carries(&self.pairs[&id], side) {
            self.later(trip, Transit::Down { pair: id, side: 1 - side, timed_out: false });
        }
    }

    /// The end of index `side` loses its link.
    pub(crate) fn down(&mut self, id: u64, side: usize, timed_out: bool) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        if !std::mem::replace(&mut pair.is_up[side], false) {
            return;
        }
        let ((at, link), other) = (pair.ends[side], pair.ends[1 - side].0);
        let is_over = !pair.is_up[1 - side];
        let carries = pair_carries(pair, side) && pair_carries(pair, 1 - side);
        let trip = pair.conditions.latency * 2;
        if is_over {
            self.pairs.remove(&id);
        } else if carries {
            // What the other end sends next is answered by a reset.
            self.later(trip, Transit::Down { pair: id, side: 1 - side, timed_out: false });
        } else {
            self.hush(id, side);
        }
        let node = &mut self.nodes[at];
        if node.peers.get(&other) == Some(&link) {
            node.peers.remove(&other);
        }
        if node.links.remove(&link).is_some() {
            self.input(at, Input::LinkDown { link, timed_out });
        }
    }

    /// Puts a frame on its way from the end of index `side`.
    pub(crate) fn transmit(&mut self, id: u64, side: usize, sent: Sent) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let conditions = pair.conditions;
        let way = &mut pair.ways[side];
        if let Frame::Probe(_) = sent.frame {
            if way.silent.is_none() {
                let copies = way.datagram(self.now, &conditions, &mut self.rng);
                for arrival in copies.into_iter().flatten() {
                    let sent = Box::new(sent.clone());
                    self.at(arrival, Transit::Frame { pair: id, side: 1 - side, sent });
                }
            }
            return;
        }
        if let Frame::Bundle(body) | Frame::Copies(body) = &sent.frame {
            pair.unread[side] += body.len();
        }
        if way.silent.is_some() {
            return way.held.push(sent);
        }
        let arrival = way.arrival(self.now, &sent, &conditions, &mut self.rng);
        self.at(arrival, Transit::Frame { pair: id, side: 1 - side, sent: Box::new(sent) });
    }

    /// How many links came up between two nodes so far.
    pub fn links_made(&self, left: usize, right: usize) -> u64 {
        self.links_made.get(&ordered(left, right)).copied().unwrap_or(0)
    }
}

fn pair_carries(pair: &Pair, side: usize) -> bool {
    pair.ways[side].silent.is_none()
}

fn ordered(left: usize, right: usize) -> (usize, usize) {
    (left.min(right), left.max(right))
}
