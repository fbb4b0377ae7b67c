//! To whom an aggregator spreads what came from another region, and how it goes there.

use super::counters::Counters;
use super::own::Step;
use crate::id::ShortId;
use crate::machine::{Destination, LinkSlot};
use crate::wire::bundle::{Bundle, Passage, SectionSet};

/// How what came from another region goes to nodes of this one.
pub(super) fn spreading(step: &Step<'_>) -> Passage {
    Passage { hops: 1, region: step.plane.me.region, ..Passage::default() }
}

/// To one node of this region.
pub(super) fn forward(step: &mut Step<'_>, link: LinkSlot, bundle: &Bundle, keep: &SectionSet) {
    Counters::add(&step.plane.counters.relayed_bundles, 1);
    step.plane.send_bundle(link, bundle.class, bundle.to_parcel(&spreading(step), keep), step.touched);
}

/// Nodes of this region that want sections of a bundle from another one.
pub(super) fn find_owed(step: &Step<'_>, passage: &Passage, bundle: &Bundle) -> Vec<(ShortId, SectionSet)> {
    let mut owed: Vec<(ShortId, SectionSet)> = Vec::new();
    let mut add = |node: ShortId, section: usize| {
        let place = owed.iter().position(|(known, _)| *known == node).unwrap_or_else(|| {
            owed.push((node, SectionSet::default()));
            owed.len() - 1
        });
        owed[place].1.insert(section);
    };
    for index in bundle.present() {
        let section = &bundle.sections[index];
        if section.directed {
            let routes = passage.routes.iter().filter(|(of, _)| usize::from(*of) == index);
            let known = routes.filter(|(_, edge)| step.view.is_neighbour(*edge, step.plane.me.region));
            known.for_each(|(_, edge)| add(*edge, index));
            continue;
        }
        let subject = std::str::from_utf8(&section.subject).unwrap_or_default();
        step.view.remote.for_each_match(subject, |destination| {
            if let Some(Destination::Node(node)) = step.view.destinations.get(destination as usize) {
                add(*node, index);
            }
        });
    }
    owed
}
