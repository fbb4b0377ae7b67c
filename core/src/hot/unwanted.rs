//! What an origin brings itself and nobody here wants.
//!
//! Interest is declared, so an honest origin sends little of it: what was on its way when somebody
//! unsubscribed, and what wider patterns than the exact ones bring. It is checked like everything else,
//! or nobody would be convicted by it. But who floods with it would have as many checks as are left, and
//! those are worth a core. So each peer has a few of them ([`limits::UNWANTED_CHECKS_PER_SECOND`]); once
//! they are spent it is looked first who wants a bundle, and one that nobody wants is acknowledged as it
//! is: it has come, and whoever wants none of it has all of it.
//!
//! That holds on the **origin's own link** alone, where TLS says who sent it. What a relay brings is always
//! checked: one that changes what passes could make it look unwanted, and it would be lost with an
//! acknowledgement.

use super::acknowledge::Stream;
use super::counters::Counters;
use super::own::Step;
use super::spread::find_owed;
use super::view::Origin;
use crate::id::AgentId;
#[cfg(doc)]
use crate::limits;
use crate::machine::LinkSlot;
use crate::wire::bundle::{Bundle, Passage, Section};

/// Whether a bundle is not worth its check.
pub(super) fn is_put_aside(
    step: &Step<'_>,
    origin: &Origin,
    from: LinkSlot,
    passage: &Passage,
    bundle: &Bundle,
) -> bool {
    let view = step.view;
    let is_own = view.peers.get(&from) == Some(&origin.id);
    // What is on its way elsewhere is wanted there, as far as its origin knows.
    let ends_here = passage.region == step.plane.me.region;
    let brings_unwanted = || view.gates.get(&from).is_some_and(|gate| gate.brings_unwanted(step.now.mono));
    is_own && ends_here && brings_unwanted() && !is_wanted(step, origin, passage, bundle)
}

fn is_wanted(step: &Step<'_>, origin: &Origin, passage: &Passage, bundle: &Bundle) -> bool {
    match origin.region != step.plane.me.region && step.plane.spreads {
        true => !find_owed(step, passage, bundle).is_empty(),
        false => bundle.present().any(|index| has_receiver(step, &bundle.sections[index])),
    }
}

fn has_receiver(step: &Step<'_>, section: &Section) -> bool {
    if section.directed {
        let agent = section.subject.as_ref().try_into().map(AgentId);
        return agent.is_ok_and(|agent| step.plane.host_of(agent).is_some());
    }
    let mut is_wanted = false;
    let subject = std::str::from_utf8(&section.subject).unwrap_or_default();
    step.view.local.for_each_match(subject, |_| is_wanted = true);
    is_wanted
}

/// Acknowledges a bundle as one that nobody wants and whose directed sections found nobody, and forgets it.
pub(super) fn put_aside(step: &mut Step<'_>, from: LinkSlot, bundle: &Bundle) {
    Counters::add(&step.plane.counters.unchecked_bundles, 1);
    step.plane.pay_aside(step.view, step.now, from);
    let directed = bundle.present().filter(|index| bundle.sections[*index].directed);
    let missing: Vec<u16> =
        directed.map(|index| u16::try_from(index).expect("at most 256 sections")).collect();
    let stream = Stream::of(bundle, step.plane.me.region);
    step.touched.acknowledgements.add(from, stream, bundle.sequence, &missing);
}

/// A bundle was checked, and nobody here wants it.
pub(super) fn note(step: &Step<'_>, from: LinkSlot) {
    if let Some(gate) = step.view.gates.get(&from) {
        gate.note_unwanted(step.now.mono);
    }
}
