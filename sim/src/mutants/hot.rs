//! Bugs of what the hot path hands to clients.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use starling_core::id::AgentId;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot};
use starling_core::wire::agent::Deliver;
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType, Parcel};

use super::{Aside, At, Bug};
use crate::carry::flat;
use crate::link::Frame;
use crate::outlet::Effect;

/// True once in so many calls.
#[derive(Debug)]
pub(super) struct Every {
    period: u64,
    calls: u64,
}

impl Every {
    pub fn new(period: u64) -> Every {
        Every { period, calls: 0 }
    }

    pub fn is_now(&mut self) -> bool {
        self.calls += 1;
        self.calls.is_multiple_of(self.period)
    }
}

/// What is done wrong with one delivery of some.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wrong {
    /// It is queued twice.
    Twice,
    /// It is not queued.
    Never,
    /// A byte of it changes after its bundle was verified.
    Changed,
    /// It names another publisher.
    OfAnother,
    /// It goes to another connection as well.
    ToAnother,
}

/// One delivery of so many is wrong.
#[derive(Debug)]
pub(super) struct Deliveries {
    wrong: Wrong,
    every: Every,
    last: BTreeMap<usize, (ConnectionSlot, AgentId)>,
}

impl Deliveries {
    pub fn new(wrong: Wrong, period: u64) -> Deliveries {
        Deliveries { wrong, every: Every::new(period), last: BTreeMap::new() }
    }
}

impl Bug for Deliveries {
    fn effect(&mut self, at: &At<'_>, effect: Effect, aside: &mut Aside) -> Option<Effect> {
        let Effect::Deliver { connection, parcel } = effect else { return Some(effect) };
        let frame = flat(parcel);
        let mut deliver = decoded(&frame);
        let before = self.last.insert(at.index, (connection, deliver.agents[0].1));
        let same = |frame: Bytes| Effect::Deliver { connection, parcel: frame.into() };
        if !self.every.is_now() {
            return Some(same(frame));
        }
        match (self.wrong, before) {
            (Wrong::Twice, _) => aside.effects.push(same(frame.clone())),
            (Wrong::Never, _) => return None,
            (Wrong::Changed, _) => {
                let mut bytes = BytesMut::from(&frame[..]);
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                return Some(same(bytes.freeze()));
            }
            (Wrong::OfAnother, Some((_, agent))) => {
                deliver.agents[0].1 = agent;
                let mut bytes = BytesMut::new();
                deliver.put_front(&mut bytes);
                bytes.extend_from_slice(&deliver.body);
                return Some(same(bytes.freeze()));
            }
            (Wrong::ToAnother, Some((other, _))) if other != connection => {
                aside.effects.push(Effect::Deliver { connection: other, parcel: frame.clone().into() });
            }
            (Wrong::OfAnother | Wrong::ToAnother, _) => {}
        }
        Some(same(frame))
    }
}

/// One delivery of so many waits until the same publisher's next has passed it.
#[derive(Debug)]
pub(super) struct Reorder {
    every: Every,
    held: BTreeMap<usize, (ConnectionSlot, Bytes)>,
}

impl Reorder {
    pub fn new(period: u64) -> Reorder {
        Reorder { every: Every::new(period), held: BTreeMap::new() }
    }
}

impl Bug for Reorder {
    fn effect(&mut self, at: &At<'_>, effect: Effect, aside: &mut Aside) -> Option<Effect> {
        let Effect::Deliver { connection, parcel } = effect else { return Some(effect) };
        let frame = flat(parcel);
        let deliver = decoded(&frame);
        if let Some((of, held)) = self.held.get(&at.index) {
            let first = decoded(held);
            let is_next = first.subject == deliver.subject
                && first.agents.iter().any(|(_, agent)| deliver.agents.iter().any(|(_, of)| of == agent));
            if *of == connection && is_next {
                aside.effects.push(Effect::Deliver { connection, parcel: frame.into() });
                let parcel: Parcel = held.clone().into();
                self.held.remove(&at.index);
                return Some(Effect::Deliver { connection, parcel });
            }
        } else if self.every.is_now() {
            self.held.insert(at.index, (connection, frame));
            return None;
        }
        Some(Effect::Deliver { connection, parcel: frame.into() })
    }
}

/// A publisher is not told of one acknowledgement of so many.
#[derive(Debug)]
pub(super) struct LosePublished(pub Every);

impl Bug for LosePublished {
    fn effect(&mut self, _at: &At<'_>, effect: Effect, _aside: &mut Aside) -> Option<Effect> {
        let is_published = |parcel: &Parcel| {
            parcel.front.get(4).copied().and_then(FrameType::from_number) == Some(FrameType::Published)
        };
        match &effect {
            Effect::Tell { parcel, .. } if is_published(parcel) && self.0.is_now() => None,
            _ => Some(effect),
        }
    }
}

/// What an origin said in an earlier incarnation is taken for news when it is back.
#[derive(Debug, Default)]
pub(super) struct Replay {
    newest: BTreeMap<(usize, u64), Vec<(ConnectionSlot, Bytes)>>,
}

/// Deliveries of an origin that are kept for a replay.
const REPLAYED: usize = 8;

impl Bug for Replay {
    fn effect(&mut self, at: &At<'_>, effect: Effect, _aside: &mut Aside) -> Option<Effect> {
        let Effect::Deliver { connection, parcel } = effect else { return Some(effect) };
        let frame = flat(parcel);
        let kept = self.newest.entry((at.index, decoded(&frame).origin.0)).or_default();
        kept.push((connection, frame.clone()));
        if kept.len() > REPLAYED {
            kept.remove(0);
        }
        Some(Effect::Deliver { connection, parcel: frame.into() })
    }

    fn input(&mut self, at: &At<'_>, input: Input, aside: &mut Aside) -> Option<Input> {
        if let Input::LinkUp { peer, .. } = &input
            && peer.incarnation > 1
        {
            let kept = self.newest.remove(&(at.index, peer.admission.node().short().0)).unwrap_or_default();
            let again =
                |(connection, frame): (_, Bytes)| Effect::Deliver { connection, parcel: frame.into() };
            aside.effects.extend(kept.into_iter().map(again));
        }
        Some(input)
    }
}

/// A receiver acknowledges each bundle before it has it, and loses one of so many.
#[derive(Debug)]
pub(super) struct AcknowledgeEarly(pub Every);

impl Bug for AcknowledgeEarly {
    fn arrives(&mut self, at: &At<'_>, link: LinkSlot, frame: Frame, aside: &mut Aside) -> Option<Frame> {
        if let Frame::Bundle(body) = &frame
            && let Some(parcel) = super::links::acknowledgement_of(at, body)
            && self.0.is_now()
        {
            aside.effects.push(Effect::Control { link, parcel });
            return None;
        }
        Some(frame)
    }
}

fn decoded(frame: &Bytes) -> Deliver {
    Deliver::decode(&frame.slice(FRAME_HEADER_BYTES..)).expect("the hot path made it")
}
