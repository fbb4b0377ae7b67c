use proptest::prelude::*;

use super::*;
use crate::id::{AgentId, ShortId};
use crate::summary::{Counter, DistributionId, Fold, Summary, VALUE_MAX};

/// An edge with a thousand agents, fifty tags out of two hundred, and two distributions.
fn busy_edge(number: u64) -> Summary {
    let mut summary = Summary::new(1_700_000_000_000 + number);
    for agent in 0..1_000_u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number * 1_000 + agent).to_le_bytes());
        let tag = format!("tag-{}", (number * 7 + agent % 50) % 200);
        summary.agent_joined(AgentId::of_key(&key), ["idle", "busy"][agent as usize % 2], [tag.as_str()]);
        summary.recorded(DistributionId::DELIVERY_MICROS, 50 + agent * agent % 9_973);
        summary.recorded(DistributionId::PAYLOAD_BYTES, 64 + agent % 400);
    }
    summary.counted(Counter::Published, 12_345 + number);
    summary
}

fn busy_fold(edges: u64) -> (Fold, Vec<Summary>) {
    let mut fold = Fold::new();
    let mut summaries: Vec<Summary> = (0..edges).map(busy_edge).collect();
    for (edge, summary) in (0..).zip(&mut summaries) {
        fold.apply(ShortId(edge), summary.whole()).expect("whole");
    }
    (fold, summaries)
}

#[test]
fn a_usual_figure_is_small() {
    let figure = busy_fold(50).0.figure();
    assert_eq!((figure.agents(), figure.parts.counts.tags.len()), (50_000, 200));
    assert!(figure.to_bytes().len() < 10 * 1_024, "{}", figure.to_bytes().len());
}

#[test]
fn a_full_figure_of_fifty_edges_fits_a_control_frame() {
    let mut fold = Fold::new();
    for edge in 0..50 {
        let mut summary = busy_edge(edge);
        for tag in 0..200 {
            summary.tag_counted(&format!("{tag:064}"), (VALUE_MAX >> 6) as i64 / 256);
            summary.tag_counted(&format!("tag-{tag}"), 1);
        }
        (0..200).for_each(|tag| summary.tag_counted(&format!("tag-{tag}"), -1));
        for (id, step) in (0..8).flat_map(|id| (0..512).map(move |step| (id, step))) {
            let mut all = crate::summary::Distribution::default();
            all.record_many((1.0202_f64.powi(step) * 1e7) as u64, 1 << 35);
            let id = DistributionId::new(id).expect("below eight");
            let held = summary.parts().distributions.get(&id).cloned().unwrap_or_default();
            all.merge(&held);
            summary.replace_distribution(id, all);
        }
        fold.apply(ShortId(u64::MAX - edge), summary.whole()).expect("whole");
    }
    let figure = fold.figure();
    assert!(figure.parts.counts.tags.len() >= 200);
    assert!(figure.to_bytes().len() <= 60 * 1_024, "{}", figure.to_bytes().len());
    assert_eq!(Figure::from_bytes(&figure.to_bytes()), Ok(figure));
}

#[test]
fn rates_need_the_same_edges() {
    let (mut fold, mut summaries) = busy_fold(2);
    let older = fold.figure();
    summaries[0].counted(Counter::Published, 50);
    fold.apply(ShortId(0), summaries[0].changed_since(1)).expect("in order");
    let newer = fold.figure();
    let second = Duration::from_secs(1);
    assert_eq!(newer.rates_since(&older, second).map(|rates| rates.get(Counter::Published)), Some(50.0));
    assert_eq!(older.rates_since(&newer, second), None);
    fold.apply(ShortId(2), busy_edge(2).whole()).expect("whole");
    assert_eq!(fold.figure().rates_since(&newer, second), None);
}

#[test]
fn golden_bytes() {
    let mut summary = Summary::new(5);
    summary.state_counted("idle", 300);
    summary.tag_counted("eu", 2);
    summary.counted(Counter::Delivered, 1);
    let mut fold = Fold::new();
    fold.apply(ShortId(0x0102), summary.whole()).expect("whole");
    fold.apply(ShortId(0x0103), Summary::new(6).whole()).expect("whole");
    let bytes = fold.figure().to_bytes();
    let golden = b"\x02\0\x02\x01\0\0\0\0\0\0\x05\x01\x03\x01\0\0\0\0\0\0\x06\x00\
        \x03\x00\x01\0\x04idle\xac\x02\x00\x01\x01\0\x02eu\x02\x00\x03\x00\x01\x00\x00\x00";
    let (front, root) = bytes.split_at(bytes.len() - 32);
    assert_eq!(front, &golden[..]);
    assert_eq!(crate::id::hex(root), "71eb92e19f36150175d3c0c37a574e96c2087b42ae5b60c4252d33e0d8958f9b");
}

#[test]
fn the_greatest_figure_is_below_an_entry() {
    const { assert!(Figure::BYTES_MAX < 720 * 1_024) }
    const { assert!(crate::summary::SummaryUpdate::BYTES_MAX < 210 * 1_024) }
}

proptest! {
    #[test]
    fn decoding_never_panics_and_has_one_form(
        bytes in prop::collection::vec(any::<u8>(), 0..300), flips in prop::collection::vec(any::<(u16, u8)>(), 0..4)
    ) {
        let mut summary = Summary::new(5);
        summary.agent_joined(AgentId::of_key(&[1; 32]), "idle", ["eu", "gpu"]);
        summary.recorded(DistributionId::DELIVERY_MICROS, 77);
        let mut fold = Fold::new();
        fold.apply(ShortId(9), summary.whole()).expect("whole");
        let mut near = fold.figure().to_bytes().to_vec();
        for (at, with) in flips {
            let at = usize::from(at) % near.len();
            near[at] = with;
        }
        for bytes in [bytes, near] {
            if let Ok(figure) = Figure::from_bytes(&bytes) {
                prop_assert_eq!(&figure.to_bytes()[..], &bytes[..]);
            }
        }
    }
}
