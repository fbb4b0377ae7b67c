//! When a node works: not while it is paused, and on a slow processor one thing after another.
//!
//! Without a cost a node handles at once whatever comes. With one ([`Processors`]) each input takes that
//! long on a node at full speed and a multiple of it on a slow one; what comes meanwhile waits its turn,
//! also the node's own timers, so that a node that cannot keep up answers late and knows the time late.
//!
//! Each lane of each link has its turn, and so have the node's own timers and clients, as tasks of their
//! own serve them in the product: who is sent more than it can work off over one link hears the others
//! still, and what is said over the control lane does not wait behind that link's bundles.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use starling_core::hot::Lane;
use starling_core::machine::LinkSlot;
use starling_core::rng::Rng;

use crate::link::{Frame, happens};
use crate::trace::Mark;
use crate::world::{Transit, World, end_of};

/// Things of one link's control lane that wait before datagrams are lost, as from a full socket; streams
/// wait.
const WAITING_MAX: usize = 4096;

/// How long nodes take for what they do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Processors {
    /// What one input costs at full speed; zero for nothing, on every node. A machine and hot path of the
    /// product take 5 to 50 us.
    pub step: Duration,
    /// Share of nodes that are slow, 0.0 to 1.0, drawn for each.
    pub slow_share: f64,
    /// How many times longer those take, 1 or more.
    pub slow_times: u32,
}

impl Default for Processors {
    fn default() -> Processors {
        Processors { step: Duration::ZERO, slow_share: 0.0, slow_times: 5 }
    }
}

impl Processors {
    /// What one input costs on the next node.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Duration {
        if happens(self.slow_share, rng) { self.step * self.slow_times.max(1) } else { self.step }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// The node's own timers, and what is no link's.
    Own,
    /// A lane of a link; datagrams and the link's end are with its control lane.
    Lane(u64, u8),
}

impl Source {
    fn of(transit: &Transit) -> Source {
        match transit {
            Transit::Frame { pair, sent, .. } => Source::Lane(*pair, sent.lane as u8),
            Transit::Read { pair, .. } => Source::Lane(*pair, Lane::Bulk as u8),
            Transit::Down { pair, .. } => Source::Lane(*pair, Lane::Control as u8),
            Transit::Dial { .. }
            | Transit::DialAgain { .. }
            | Transit::Input { .. }
            | Transit::Silence { .. }
            | Transit::Wake { .. }
            | Transit::Worked { .. }
            | Transit::Measured => Source::Own,
        }
    }
}

/// What waits for a processor.
#[derive(Debug, Default)]
struct Waiting {
    /// Never an empty one.
    lines: BTreeMap<Source, VecDeque<Transit>>,
    /// Everybody with a line, in the order of their turns.
    turns: VecDeque<Source>,
}

impl Waiting {
    fn push(&mut self, transit: Transit) {
        let source = Source::of(&transit);
        let line = self.lines.entry(source).or_default();
        if line.is_empty() {
            self.turns.push_back(source);
        }
        line.push_back(transit);
    }

    fn pop(&mut self) -> Option<Transit> {
        let source = self.turns.pop_front()?;
        let line = self.lines.get_mut(&source)?;
        let first = line.pop_front();
        match line.is_empty() {
            true => {
                self.lines.remove(&source);
            }
            false => self.turns.push_back(source),
        }
        first
    }

    /// How many wait where `transit` would.
    fn before(&self, transit: &Transit) -> usize {
        self.lines.get(&Source::of(transit)).map_or(0, VecDeque::len)
    }
}

/// A node's processor.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    /// What an input costs.
    pub cost: Duration,
    waiting: Waiting,
    /// Whether the end of the first one's turn is in the world's queue.
    is_busy: bool,
}

impl Processor {
    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.waiting = Waiting::default();
        self.is_busy = false;
    }
}

impl World {
    /// Lets a node handle nothing until [`World::resume`], as a stopped process does.
    pub fn pause(&mut self, index: usize) {
        if !self.nodes[index].is_active() {
            return;
        }
        self.trace.note(self.now, index, Mark::Fault, 1);
        self.nodes[index].backlog = Some(VecDeque::new());
        let links: Vec<LinkSlot> = self.nodes[index].links.keys().copied().collect();
        links.into_iter().map(end_of).for_each(|(pair, side)| self.hush(pair, side));
    }

    /// Lets a paused node go on with what came meanwhile.
    pub fn resume(&mut self, index: usize) {
        let Some(backlog) = self.nodes[index].backlog.take() else { return };
        self.trace.note(self.now, index, Mark::Fault, 2);
        let links: Vec<LinkSlot> = self.nodes[index].links.keys().copied().collect();
        links.into_iter().map(end_of).for_each(|(pair, side)| self.speak_again(pair, side));
        self.work_on(index);
        backlog.into_iter().for_each(|transit| self.happen(transit));
        self.wake_if_due(index);
    }

    /// A node takes something up, or puts it behind what waits for its processor.
    pub(crate) fn take_up(&mut self, index: usize, transit: Transit) {
        let processor = &mut self.nodes[index].processor;
        if processor.cost.is_zero() {
            return self.take_place(transit);
        }
        let is_datagram =
            matches!(&transit, Transit::Frame { sent, .. } if matches!(sent.frame, Frame::Probe(_)));
        if is_datagram && processor.waiting.before(&transit) >= WAITING_MAX {
            return;
        }
        processor.waiting.push(transit);
        self.work_on(index);
    }

    /// Begins with what waits first.
    fn work_on(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.processor.is_busy && !node.processor.waiting.turns.is_empty() && node.is_active() {
            node.processor.is_busy = true;
            let (cost, incarnation) = (node.processor.cost, node.incarnation);
            self.later(cost, Transit::Worked { node: index, incarnation });
        }
    }

    /// The processor of a node is done with what waited first.
    pub(crate) fn worked(&mut self, index: usize, incarnation: u64) {
        let node = &mut self.nodes[index];
        if !node.is_running() || node.incarnation != incarnation {
            return;
        }
        node.processor.is_busy = false;
        if node.is_active() {
            if let Some(transit) = node.processor.waiting.pop() {
                self.take_place(transit);
            }
            self.work_on(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::link::Sent;

    #[test]
    fn every_lane_has_its_turn_and_keeps_its_order() {
        let frame = |pair, lane, number: u64| {
            let sent = Sent { lane, frame: Frame::Bundle(Bytes::new()), bytes: 0, content: number };
            Transit::Frame { pair, side: 0, sent: Box::new(sent) }
        };
        let mut waiting = Waiting::default();
        (0..100).for_each(|number| waiting.push(frame(1, Lane::Bulk, number)));
        waiting.push(frame(1, Lane::Control, 1_000));
        (0..2).for_each(|number| waiting.push(frame(2, Lane::Bulk, 2_000 + number)));
        assert_eq!(waiting.before(&frame(1, Lane::Bulk, 0)), 100);
        let mut popped = Vec::new();
        while let Some(transit) = waiting.pop() {
            if let Transit::Frame { sent, .. } = transit {
                popped.push(sent.content);
            }
        }
        assert_eq!(popped[..6], [0, 1_000, 2_000, 1, 2_001, 2]);
        assert!(popped[6..].iter().copied().eq(3..100));
        assert!(waiting.lines.is_empty() && waiting.turns.is_empty());
    }
}
