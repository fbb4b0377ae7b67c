//! Bugs of what nodes put on links.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_core::hot::acknowledge::{Acknowledge, Stream};
use starling_core::identity::Roles;
use starling_core::wire::bundle::{Bundle, Class, Passage, SectionSet};
use starling_core::wire::codec::Wire;
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType, Parcel, frame};

use super::hot::Every;
use super::{Aside, At, Bug};
use crate::carry::flat;
use crate::outlet::Effect;

/// Bundles of which is kept where they went.
const KEPT_MAX: usize = 100_000;

/// The frame by which an edge of its region acknowledges an event bundle for itself.
pub(super) fn acknowledgement_of(at: &At<'_>, body: &Bytes) -> Option<Parcel> {
    let (passage, bundle) = Bundle::decode(body).ok()?;
    let is_event = bundle.class >= Class::EventPriority;
    if !is_event || at.node.plan.roles != Roles::EDGE || passage.region != at.node.region() {
        return None;
    }
    let stream = Stream {
        origin: bundle.origin,
        incarnation: bundle.incarnation,
        class: bundle.class,
        region: passage.region,
    };
    let acknowledge = Acknowledge { stream, sequences: vec![bundle.sequence], missing: Vec::new() };
    Some(frame(FrameType::Acknowledge, &acknowledge.to_bytes()).into())
}

fn bundle_of(parcel: &Parcel) -> Option<(Passage, Bundle)> {
    Bundle::decode(&flat(parcel.clone()).slice(FRAME_HEADER_BYTES..)).ok()
}

/// A node signs two bundles for one number.
#[derive(Debug)]
pub(super) struct Equivocate(pub Every);

impl Bug for Equivocate {
    fn effect(&mut self, at: &At<'_>, effect: Effect, aside: &mut Aside) -> Option<Effect> {
        if let Effect::Bundle { link, priority, parcel } = &effect
            && let Some((passage, bundle)) = bundle_of(parcel)
            && bundle.origin == at.node.id()
            && self.0.is_now()
        {
            let kept = SectionSet::present_in(&bundle);
            let clock = bundle.clock + 1;
            let other = Bundle { clock, ..bundle }.signed_by(&at.node.signer());
            let parcel = other.to_parcel(&passage, &kept);
            aside.effects.push(Effect::Bundle { link: *link, priority: *priority, parcel });
        }
        Some(effect)
    }
}

/// What goes to a node for the second time is lost.
#[derive(Debug, Default)]
pub(super) struct DropRepair {
    sent: BTreeMap<(usize, u64, u8, u64, usize), u32>,
}

impl Bug for DropRepair {
    fn effect(&mut self, at: &At<'_>, effect: Effect, _aside: &mut Aside) -> Option<Effect> {
        if let Effect::Bundle { link, parcel, .. } = &effect
            && let Some((_, bundle)) = bundle_of(parcel)
            && bundle.origin == at.node.id()
            && let Some(to) = at.node.links.get(link)
        {
            let name = (at.index, bundle.incarnation, bundle.class as u8, bundle.sequence, *to);
            if self.sent.insert(name, link.0).is_some_and(|before| before != link.0) {
                return None;
            }
            if self.sent.len() > KEPT_MAX {
                self.sent.pop_first();
            }
        }
        Some(effect)
    }
}
