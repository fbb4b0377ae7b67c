//! What passes a node on its way to another region.

use super::counters::Counters;
use super::own::Step;
use crate::hash::HashMap;
use crate::id::RegionId;
use crate::machine::LinkSlot;
use crate::wire::bundle::{Bundle, Class, Passage, SectionSet};
use crate::wire::message::{ControlBody, Reroute};

/// The run of an origin to another region, as who passes it on sees it.
#[derive(Debug, Default)]
struct Run {
    /// Over which link it comes and over which it goes. What still comes over the origin's link of
    /// before is of an earlier run.
    way: Option<(LinkSlot, LinkSlot)>,
    /// Where its beginning was asked for.
    asked: Option<LinkSlot>,
}

/// An origin's runs to other regions that pass here.
#[derive(Debug, Default)]
pub(super) struct Runs(HashMap<(RegionId, Class), Run>);

impl Runs {
    /// Toward another region; nothing is kept, the origin sends again when this way fails.
    pub fn pass_on(
        &mut self,
        step: &mut Step<'_>,
        from: LinkSlot,
        passage: &Passage,
        bundle: &Bundle,
    ) -> bool {
        let Some(link) = step.view.way(bundle.origin, passage.region, passage.detour) else {
            // As below.
            self.0.remove(&(passage.region, bundle.class));
            Counters::add(&step.plane.counters.unroutable_bundles, 1);
            return false;
        };
        let run = self.0.entry((passage.region, bundle.class)).or_default();
        if run.way != Some((from, link)) && !passage.is_first {
            Counters::add(&step.plane.counters.unroutable_bundles, 1);
            // The run has a hole, also when the old way comes back; what is late over the link of an
            // earlier run makes none in this one.
            if run.way.is_some_and(|(over, _)| over == from) {
                run.way = None;
            }
            if run.asked.replace(from) != Some(from) {
                let reroute = ControlBody::Reroute(Reroute { region: passage.region.0 });
                let (link, parcel) = step.view.leave_by(from, reroute.to_frame().into());
                step.plane.outlet().control(link, parcel);
            }
            return false;
        }
        *run = Run { way: Some((from, link)), asked: None };
        let passage = Passage { hops: passage.hops + 1, ..passage.clone() };
        let parcel = bundle.to_parcel(&passage, &SectionSet::present_in(bundle));
        Counters::add(&step.plane.counters.relayed_bundles, 1);
        step.plane.send_bundle(link, bundle.class, parcel, step.touched);
        true
    }
}
