use proptest::prelude::*;

use super::*;
use crate::id::AgentId;
use crate::summary::{Counter, Distinct, Distribution, DistributionId, Summary};

fn agent(number: u8) -> AgentId {
    AgentId::of_key(&[number; 32])
}

fn some_summary() -> Summary {
    let mut summary = Summary::new(7);
    summary.agent_joined(agent(1), "idle", ["gpu", "eu"]);
    summary.agent_joined(agent(2), "busy", ["eu"]);
    summary.counted(Counter::Published, 3);
    summary.recorded(DistributionId::PAYLOAD_BYTES, 128);
    summary
}

#[test]
fn an_update_has_only_what_changed() {
    let mut summary = some_summary();
    let whole = summary.whole();
    assert_eq!((whole.since, whole.version, whole.parts.len()), (0, 1, 5));
    assert_eq!(summary.changed_since(1).parts, []);
    summary.state_changed("idle", "busy");
    summary.state_changed("busy", "busy");
    let update = summary.changed_since(1);
    assert_eq!((update.since, update.version), (1, 2));
    assert_eq!(update.parts, [summary.parts().part(PartId::STATES)]);
    // A version that this incarnation never had is answered with the whole.
    assert!(summary.changed_since(9).is_whole());
}

#[test]
fn updates_lead_from_version_to_version() {
    let mut summary = some_summary();
    let mut held = HeldSummary::of_whole(summary.whole()).expect("whole");
    summary.tag_removed("gpu");
    let first = summary.changed_since(1);
    summary.recorded(DistributionId::DELIVERY_MICROS, 90);
    let second = summary.changed_since(2);
    let both = summary.changed_since(1);

    let before = held.clone();
    assert_eq!(held.apply(second.clone()), Err(NeedWhole));
    assert_eq!(held, before, "a refusal changes nothing");
    let mut other = held.clone();
    assert_eq!(held.apply(first.clone()), Ok(Applied::Advanced));
    assert_eq!(held.apply(first.clone()), Ok(Applied::Ignored));
    assert_eq!(held.apply(both.clone()), Ok(Applied::Advanced));
    assert_eq!(other.apply(both), Ok(Applied::Advanced));
    assert_eq!(held.apply(second), Ok(Applied::Ignored));
    assert_eq!(held, other);
    assert_eq!(held.parts(), summary.parts());
}

#[test]
fn a_new_incarnation_comes_whole_and_an_old_one_not_at_all() {
    let mut old = some_summary();
    let mut held = HeldSummary::of_whole(old.whole()).expect("whole");
    let mut new = Summary::new(8);
    let empty = new.whole();
    new.agent_joined(agent(3), "idle", []);
    new.seal();
    new.tag_added("eu");
    assert_eq!(held.apply(new.changed_since(1)), Err(NeedWhole));
    assert_eq!(held.apply(new.whole()), Ok(Applied::Advanced));
    assert_eq!(held.parts(), new.parts(), "nothing of the old one is left");
    old.tag_added("eu");
    assert_eq!(held.apply(old.whole()), Ok(Applied::Ignored));
    assert_eq!(held.apply(empty), Ok(Applied::Ignored));
    assert_eq!(HeldSummary::of_whole(new.changed_since(1)), Err(NeedWhole));
}

#[test]
fn what_was_emptied_arrives_empty() {
    let mut summary = some_summary();
    let mut held = HeldSummary::of_whole(summary.whole()).expect("whole");
    summary.agent_left("idle", ["gpu", "eu"]);
    summary.agent_left("busy", ["eu"]);
    summary.replace_distinct(Distinct::default());
    summary.replace_distribution(DistributionId::PAYLOAD_BYTES, Distribution::default());
    let update = SummaryUpdate::from_bytes(&summary.changed_since(1).to_bytes()).expect("our own");
    assert_eq!(held.apply(update), Ok(Applied::Advanced));
    assert_eq!(held.parts(), summary.parts());
    assert_eq!(held.parts().digest(), summary.parts().digest());
}

#[test]
fn golden_bytes() {
    let mut summary = some_summary();
    summary.replace_distinct(Distinct::default());
    let bytes = summary.whole().to_bytes();
    let golden = b"\x07\0\0\0\0\0\0\0\x00\x01\x05\
        \x00\x02\0\x04busy\x01\x04idle\x01\x00\
        \x01\x02\0\x02eu\x02\x03gpu\x01\x00\
        \x02\0\0\
        \x03\x03\0\0\0\0\
        \x05\x00\x01\0\xf3\x01\x01\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\x01\x80\x01";
    assert_eq!(&bytes[..], &golden[..]);
}

#[test]
fn parts_are_in_order_and_known() {
    let head = b"\x07\0\0\0\0\0\0\0\x00\x01";
    let twice = [&head[..], b"\x02\x02\0\0\x02\0\0"].concat();
    assert_eq!(SummaryUpdate::from_bytes(&twice), Err(DecodeError::Invalid("order of parts")));
    let unknown = [&head[..], b"\x01\x0c"].concat();
    assert_eq!(SummaryUpdate::from_bytes(&unknown), Err(DecodeError::Invalid("part")));
    let backwards = b"\x07\0\0\0\0\0\0\0\x02\x01\x00";
    assert_eq!(SummaryUpdate::from_bytes(backwards), Err(DecodeError::Invalid("version")));
}

proptest! {
    #[test]
    fn decoding_never_panics_and_has_one_form(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec(any::<(u16, u8)>(), 0..4)
    ) {
        let mut near = some_summary().whole().to_bytes().to_vec();
        for (at, with) in flips {
            let at = usize::from(at) % near.len();
            near[at] = with;
        }
        for bytes in [&mut bytes, &mut near] {
            if let Ok(update) = SummaryUpdate::from_bytes(bytes) {
                prop_assert_eq!(&update.to_bytes()[..], &bytes[..]);
            }
        }
    }
}
