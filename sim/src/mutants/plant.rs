//! Where the world lets a planted bug in: between it and the machine and the hot path of every node.

use starling_core::machine::{Input, LinkSlot, Output};

use crate::link::Frame;
use crate::node::Node;
use crate::outlet::Effect;
use crate::world::World;
use starling_core::time::Now;

/// Where a bug is at work just now.
pub(crate) struct At<'a> {
    /// The node's index.
    pub index: usize,
    /// The node.
    pub node: &'a Node,
    /// The time, by its clocks.
    pub now: Now,
}

/// What a bug does besides: it happens before what it was asked about.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// As if the machine had put it out.
    pub outputs: Vec<Output>,
    /// As if the hot path had.
    pub effects: Vec<Effect>,
}

/// A wrong machine or hot path: what it does not say otherwise passes unchanged, and `None` is lost.
pub(crate) trait Bug {
    /// The incarnation that a node gives itself in its life of this number, from 1.
    fn incarnation(&mut self, life: u64) -> u64 {
        life
    }
    /// Whether machines are not to notice that they were stopped: timers run as if they had been in time.
    fn hides_pauses(&self) -> bool {
        false
    }
    /// The machine is told something.
    fn input(&mut self, _at: &At<'_>, input: Input, _aside: &mut Aside) -> Option<Input> {
        Some(input)
    }
    /// The machine puts something out.
    fn output(&mut self, _at: &At<'_>, output: Output) -> Option<Output> {
        Some(output)
    }
    /// The hot path puts something out.
    fn effect(&mut self, _at: &At<'_>, effect: Effect, _aside: &mut Aside) -> Option<Effect> {
        Some(effect)
    }
    /// A frame arrives.
    fn arrives(&mut self, _at: &At<'_>, _link: LinkSlot, frame: Frame, _aside: &mut Aside) -> Option<Frame> {
        Some(frame)
    }
}

impl World {
    /// The incarnation that a node gives itself when it starts.
    pub(crate) fn bugged_incarnation(&mut self, index: usize) -> u64 {
        let life = self.nodes[index].incarnation + 1;
        self.bug.as_mut().map_or(life, |bug| bug.incarnation(life))
    }

    pub(crate) fn bugged_input(&mut self, index: usize, input: Input) -> Option<Input> {
        let now = self.now_at(index);
        let Some(bug) = self.bug.as_mut() else { return Some(input) };
        let mut aside = Aside::default();
        let input = bug.input(&At { index, node: &self.nodes[index], now }, input, &mut aside);
        self.carry_out_aside(index, aside);
        input
    }

    pub(crate) fn bugged_output(&mut self, index: usize, output: Output) -> Option<Output> {
        let now = self.now_at(index);
        let Some(bug) = self.bug.as_mut() else { return Some(output) };
        bug.output(&At { index, node: &self.nodes[index], now }, output)
    }

    pub(crate) fn bugged_effect(&mut self, index: usize, effect: Effect) -> Option<Effect> {
        let now = self.now_at(index);
        let Some(bug) = self.bug.as_mut() else { return Some(effect) };
        let mut aside = Aside::default();
        let effect = bug.effect(&At { index, node: &self.nodes[index], now }, effect, &mut aside);
        self.carry_out_aside(index, aside);
        effect
    }

    pub(crate) fn bugged_frame(&mut self, index: usize, link: LinkSlot, frame: Frame) -> Option<Frame> {
        let now = self.now_at(index);
        let Some(bug) = self.bug.as_mut() else { return Some(frame) };
        let mut aside = Aside::default();
        let frame = bug.arrives(&At { index, node: &self.nodes[index], now }, link, frame, &mut aside);
        self.carry_out_aside(index, aside);
        frame
    }

    /// Wakes a machine for everything that it missed, at the time at which that was due, if a bug hides
    /// from it that it was stopped.
    pub(crate) fn hide_pause(&mut self, index: usize) {
        if !self.bug.as_ref().is_some_and(|bug| bug.hides_pauses()) {
            return;
        }
        let now = self.now_at(index);
        let mut out = std::mem::take(&mut self.outbox);
        if let Some(machine) = self.nodes[index].machine.as_mut() {
            while let Some(due) = machine.deadline().filter(|due| *due < now.mono) {
                let late = now.mono.since(due).as_nanos() as u64;
                let then =
                    Now { mono: due, wall: starling_core::time::Time(now.wall.0.saturating_sub(late)) };
                machine.handle(then, Input::Wake, &mut out);
            }
        }
        let outputs: Vec<Output> = out.drain().collect();
        self.outbox = out;
        outputs.into_iter().for_each(|output| self.carry_out(index, output));
    }

    fn carry_out_aside(&mut self, index: usize, aside: Aside) {
        aside.outputs.into_iter().for_each(|output| self.carry_out_as_it_is(index, output));
        for effect in aside.effects {
            let told = self.carry_out_effect_as_it_is(index, effect);
            assert!(told.is_none(), "a bug does not speak to the machine by way of the hot path");
        }
    }
}
