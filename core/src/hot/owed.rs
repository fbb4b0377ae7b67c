//! Who is owed which sections, and which of them belong into one bundle.

use super::own::Step;
use super::seal::Drafts;
use crate::id::ShortId;
use crate::machine::{Destination, LinkSlot};
use crate::wire::bundle::{Bundle, Passage, SectionSet};

/// A signature costs about as much as so many bytes that are packed, hashed, encrypted, copied and
/// taken apart again.
const SIGNATURE_COST_BYTES: usize = 1024;

/// What one destination gets of a bundle.
#[derive(Debug)]
pub struct Owed {
    /// Who.
    pub to: Destination,
    /// The sections it wants.
    pub keep: SectionSet,
    /// For another region: the edges where the receivers of directed sections live.
    pub routes: Vec<(u16, ShortId)>,
}

/// Destinations by the interest in force, each with its sections; then directed sections whose home
/// is no more.
pub fn find_owed(step: &Step<'_>, drafts: &Drafts) -> (Vec<Owed>, Vec<u16>) {
    let mut owed: Vec<Owed> = Vec::new();
    let mut missing = Vec::new();
    let me = step.plane.me;
    let mut add = |to: Destination, section: usize, route: Option<ShortId>| {
        let place = owed.iter().position(|owed| owed.to == to).unwrap_or_else(|| {
            owed.push(Owed { to, keep: SectionSet::default(), routes: Vec::new() });
            owed.len() - 1
        });
        owed[place].keep.insert(section);
        if let Some(edge) = route {
            owed[place].routes.push((number(section), edge));
        }
    };
    for (index, section) in drafts.sections.iter().enumerate() {
        if section.directed {
            match section.home {
                Some((region, edge)) if region != me.region => {
                    add(Destination::Region(region), index, Some(edge))
                }
                Some((_, edge)) if edge == me.id => {}
                Some((region, edge)) if step.view.is_neighbour(edge, region) => {
                    add(Destination::Node(edge), index, None);
                }
                Some(_) | None => missing.push(number(index)),
            }
            continue;
        }
        let subject = std::str::from_utf8(&section.subject).unwrap_or_default();
        step.view.remote.for_each_match(subject, |destination| {
            if let Some(to) = step.view.destinations.get(destination as usize) {
                add(*to, index, None);
            }
        });
    }
    (owed, missing)
}

/// How a bundle goes to a destination; where a run begins matters to those alone who pass it on to another
/// region.
pub fn passage(step: &Step<'_>, owed: &Owed, is_first: bool) -> Passage {
    let (region, is_first, detour) = match owed.to {
        Destination::Region(region) => (region, is_first, step.view.detour(region).1),
        Destination::Node(_) | Destination::Local => (step.plane.me.region, false, 0),
    };
    Passage { is_first, detour, region, routes: owed.routes.clone(), ..Passage::default() }
}

/// Sends a bundle to one destination over a link.
pub fn send(step: &mut Step<'_>, link: LinkSlot, bundle: &Bundle, owed: &Owed, is_first: bool) {
    let parcel = bundle.to_parcel(&passage(step, owed, is_first), &owed.keep);
    step.plane.send_bundle(link, bundle.class, parcel, step.touched);
}

/// Which sections to seal together.
///
/// A copy of a bundle has the whole header, also of sections that its receiver does not want. When
/// many sections go to as many receivers, that is most of what is sent. Sections are put into
/// separate bundles so that no destination gets two of them: receivers check as many signatures as
/// before, and only the origin makes more.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// The part of each section.
    pub part_of: Vec<u16>,
    /// How many parts there are.
    pub count: usize,
}

impl Parts {
    /// `None` if one bundle is best.
    pub fn of(drafts: &Drafts, owed: &[Owed]) -> Option<Parts> {
        if owed.len() < 2 || drafts.sections.len() < 2 {
            return None;
        }
        let parts = Parts::apart(drafts.sections.len(), owed);
        let mut bytes = vec![0; parts.count];
        for (draft, part) in drafts.sections.iter().zip(&parts.part_of) {
            bytes[usize::from(*part)] += draft.header_bytes();
        }
        let whole: usize = bytes.iter().sum();
        let saved: usize =
            owed.iter().filter_map(|owed| parts.of_owed(owed)).map(|part| whole - bytes[part]).sum();
        (saved > SIGNATURE_COST_BYTES * (parts.count - 1)).then_some(parts)
    }

    /// As many parts as possible: sections that one destination wants are together, and so are those
    /// that nobody elsewhere wants.
    fn apart(sections: usize, owed: &[Owed]) -> Parts {
        // Each section points to an earlier one of its part, or to itself; `sections` stands for
        // what nobody wants.
        let mut leader: Vec<usize> = vec![sections; sections + 1];
        fn find(leader: &[usize], mut section: usize) -> usize {
            while leader[section] != section {
                section = leader[section];
            }
            section
        }
        for owed in owed {
            let mut first = None;
            for section in (0..sections).filter(|section| owed.keep.has(*section)) {
                if leader[section] == sections {
                    leader[section] = section;
                }
                let own = find(&leader, section);
                let of_first = *first.get_or_insert(own);
                let (low, high) = (own.min(of_first), own.max(of_first));
                leader[high] = low;
                first = Some(low);
            }
        }
        let mut numbers = vec![None; sections + 1];
        let mut count = 0;
        let part_of = (0..sections)
            .map(|section| {
                *numbers[find(&leader, section)].get_or_insert_with(|| {
                    count += 1;
                    number(count - 1)
                })
            })
            .collect();
        Parts { part_of, count }
    }

    fn of_owed(&self, owed: &Owed) -> Option<usize> {
        let first = (0..self.part_of.len()).find(|section| owed.keep.has(*section))?;
        Some(usize::from(self.part_of[first]))
    }

    /// The place of each section within its part.
    fn places(&self) -> Vec<u16> {
        let mut lengths = vec![0; self.count];
        let place = |part: &u16| {
            let length: &mut u16 = &mut lengths[usize::from(*part)];
            *length += 1;
            *length - 1
        };
        self.part_of.iter().map(place).collect()
    }

    /// Gives each part what is owed of it.
    pub fn split_owed(&self, owed: Vec<Owed>) -> Vec<Vec<Owed>> {
        let places = self.places();
        let mut split: Vec<Vec<Owed>> = (0..self.count).map(|_| Vec::new()).collect();
        for owed in owed {
            let Some(part) = self.of_owed(&owed) else { continue };
            let mut keep = SectionSet::default();
            let kept = (0..places.len()).filter(|section| owed.keep.has(*section));
            kept.for_each(|section| keep.insert(usize::from(places[section])));
            let routes = owed.routes.iter().map(|(section, edge)| (places[usize::from(*section)], *edge));
            split[part].push(Owed { to: owed.to, keep, routes: routes.collect() });
        }
        split
    }

    /// Gives each part its sections that found nobody.
    pub fn split_missing(&self, missing: &[u16]) -> Vec<Vec<u16>> {
        let places = self.places();
        let mut split = vec![Vec::new(); self.count];
        for section in missing.iter().map(|section| usize::from(*section)) {
            split[usize::from(self.part_of[section])].push(places[section]);
        }
        split
    }
}

fn number(section: usize) -> u16 {
    u16::try_from(section).expect("at most 256 sections")
}

#[cfg(test)]
mod tests;
