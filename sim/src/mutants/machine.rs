//! Bugs of what a machine is told, and of what it says.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_core::event::Event;
use starling_core::hot::view::View;
use starling_core::machine::{Input, Output};
use starling_core::membership::detector::{Kind, Statement};
use starling_core::time::Time;
use starling_core::wire::codec::{Reader, Wire};
use starling_core::wire::message::{ControlBody, Directory};
use starling_core::wire::request::{Ask, Say};

use super::hot::Every;
use super::{Aside, At, Bug};

/// A node that restarts forgets that it had lived before.
#[derive(Debug)]
pub(super) struct ForgetIncarnation;

impl Bug for ForgetIncarnation {
    fn incarnation(&mut self, _life: u64) -> u64 {
        1
    }
}

/// A machine does not notice that it was stopped, and takes everybody else for silent.
#[derive(Debug)]
pub(super) struct HidePauses;

impl Bug for HidePauses {
    fn hides_pauses(&self) -> bool {
        true
    }
}

/// The hot path routes by the view before the newest.
#[derive(Debug, Default)]
pub(super) struct OldView {
    newest: BTreeMap<(usize, u64), Box<View>>,
}

impl Bug for OldView {
    fn output(&mut self, at: &At<'_>, output: Output) -> Option<Output> {
        match output {
            Output::View(view) => {
                let before = self.newest.insert((at.index, at.node.incarnation), view.clone());
                Some(Output::View(before.unwrap_or(view)))
            }
            _ => Some(output),
        }
    }
}

/// A subscription is confirmed before anybody knows of it.
#[derive(Debug)]
pub(super) struct ConfirmEarly;

impl Bug for ConfirmEarly {
    fn input(&mut self, _at: &At<'_>, input: Input, aside: &mut Aside) -> Option<Input> {
        if let Input::Request { connection, id, ask: Ask::Subscribe(_) } = &input {
            let say = Say::Done(Default::default());
            aside.outputs.push(Output::Reply { connection: *connection, id: *id, say });
        }
        Some(input)
    }
}

/// A machine that is cut off does not know it: whatever it reaches, its status stays as it was.
#[derive(Debug)]
pub(super) struct AlwaysHealthy;

impl Bug for AlwaysHealthy {
    fn output(&mut self, _at: &At<'_>, output: Output) -> Option<Output> {
        let is_status = matches!(output, Output::Event(Event::StatusChanged { .. }));
        (!is_status).then_some(output)
    }
}

/// What machines are not told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deaf {
    /// That agents went elsewhere.
    ToMoves,
    /// New state, from a time on, at the node of this index.
    ToState(usize, Time),
}

impl Bug for Deaf {
    fn input(&mut self, at: &At<'_>, input: Input, _aside: &mut Aside) -> Option<Input> {
        let is_lost = match (&self, &input) {
            (Deaf::ToMoves, Input::Control { body: ControlBody::Superseded(_), .. })
            | (Deaf::ToMoves, Input::Disconnected { .. }) => true,
            (Deaf::ToState(index, from), Input::State { .. }) => at.index == *index && at.now.mono >= *from,
            (Deaf::ToMoves | Deaf::ToState(..), _) => false,
        };
        (!is_lost).then_some(input)
    }
}

/// State that gets lost is not repaired.
#[derive(Debug)]
pub(super) struct NoRepair(pub Every);

impl Bug for NoRepair {
    fn input(&mut self, _at: &At<'_>, input: Input, _aside: &mut Aside) -> Option<Input> {
        let is_lost = match &input {
            Input::Control { body: ControlBody::Compare(_) | ControlBody::Versions(_), .. } => true,
            Input::State { .. } => self.0.is_now(),
            _ => false,
        };
        (!is_lost).then_some(input)
    }
}

/// What machines do not say.
#[derive(Debug)]
pub(super) enum Mute {
    /// That they live, when they are accused.
    Refutations,
    /// That somebody does not answer.
    Accusations,
    /// That events were not kept for a subscriber.
    Gaps,
    /// The same to one another.
    Missed,
    /// That nothing is owed to the dead any more.
    Forgets,
    /// All figures of a region but the first so many of each aggregator.
    Figures(BTreeMap<usize, u32>, u32),
    /// That an agent left.
    Withdrawals,
}

impl Bug for Mute {
    fn output(&mut self, at: &At<'_>, output: Output) -> Option<Output> {
        match (&mut *self, output) {
            (Mute::Gaps, Output::Reply { say: Say::Gap(_), .. }) | (Mute::Forgets, Output::Forget(_)) => None,
            (_, Output::Control { link, body }) => {
                let body = self.allowed(at, body)?;
                Some(Output::Control { link, body })
            }
            (_, Output::ControlToAll { links, body }) => {
                let body = self.allowed(at, body)?;
                Some(Output::ControlToAll { links, body })
            }
            (_, output) => Some(output),
        }
    }
}

impl Mute {
    fn allowed(&mut self, at: &At<'_>, body: ControlBody) -> Option<ControlBody> {
        let me = at.node.id();
        match (self, body) {
            (Mute::Refutations, body) => without(body, |said| said.speaker == me && said.kind == Kind::Alive),
            (Mute::Accusations, body) => without(body, |said| said.kind.is_accusation()),
            (Mute::Missed, ControlBody::Missed(_)) => None,
            (Mute::Figures(sent, most), ControlBody::Figure(figure)) => {
                let sent = sent.entry(at.index).or_default();
                *sent += 1;
                (sent <= most).then_some(ControlBody::Figure(figure))
            }
            (Mute::Withdrawals, ControlBody::Directory(said)) => {
                Some(ControlBody::Directory(Directory { detached: Bytes::new(), ..said }))
            }
            (_, body) => Some(body),
        }
    }
}

/// Statements without those that `is_hushed` names; nothing where none is left.
fn without(body: ControlBody, is_hushed: impl Fn(&Statement) -> bool) -> Option<ControlBody> {
    let ControlBody::Statements(mut said) = body else { return Some(body) };
    let read = |signed: &Bytes| Statement::decode(&mut Reader::new(signed)).ok();
    said.signed.retain(|signed| read(signed).is_none_or(|said| !is_hushed(&said)));
    (!said.signed.is_empty()).then_some(ControlBody::Statements(said))
}

/// Nothing is unlearned of who is dead: what it wanted is still wanted.
#[derive(Debug, Default)]
pub(super) struct KeepDead {
    wanted: BTreeMap<(usize, u64), Box<View>>,
}

impl Bug for KeepDead {
    fn input(&mut self, at: &At<'_>, input: Input, _aside: &mut Aside) -> Option<Input> {
        if let (Input::LinkDown { .. }, Some(view)) = (&input, at.node.record.view.as_ref()) {
            self.wanted.entry((at.index, at.node.incarnation)).or_insert_with(|| view.clone());
        }
        Some(input)
    }

    fn output(&mut self, at: &At<'_>, output: Output) -> Option<Output> {
        match (output, self.wanted.get(&(at.index, at.node.incarnation))) {
            (Output::View(view), Some(before)) => {
                let (remote, destinations) = (before.remote.clone(), before.destinations.clone());
                Some(Output::View(Box::new(View { remote, destinations, ..*view })))
            }
            (output, _) => Some(output),
        }
    }
}
