use super::*;
use crate::id::AgentId;
use crate::summary::{Fold, Summary};

const REGION: RegionId = RegionId(1);
const SOME: ShortId = ShortId(70);
const OTHER: ShortId = ShortId(71);

/// An edge with so many agents, at the version of that number.
fn edge(incarnation: u64, agents: u8) -> Summary {
    let mut summary = Summary::new(incarnation);
    for number in 0..agents {
        summary.agent_joined(AgentId::of_key(&[number; 32]), "idle", ["eu"]);
        summary.seal();
    }
    summary
}

fn figure(edges: &[(u64, u8)]) -> Arc<Figure> {
    let mut fold = Fold::new();
    for (name, agents) in edges {
        fold.apply(ShortId(*name), edge(1, *agents).whole()).expect("whole");
    }
    Arc::new(fold.figure())
}

fn shown(offers: &[(ShortId, Arc<Figure>)]) -> ShortId {
    let mut global = Global::new();
    for (aggregator, figure) in offers {
        global.offer(REGION, *aggregator, figure.clone(), Time(1)).expect("few");
    }
    global.region(REGION).expect("offered").aggregator
}

#[test]
fn the_dominating_cut_is_shown_and_never_a_sum() {
    let mut global = Global::new();
    global.offer(REGION, SOME, figure(&[(1, 3), (2, 4)]), Time(5)).expect("few");
    global.offer(REGION, OTHER, figure(&[(1, 3), (2, 5)]), Time(4)).expect("few");
    global.offer(RegionId(2), SOME, figure(&[(9, 1)]), Time(6)).expect("few");
    let all = global.figure();
    assert_eq!(all.parts.counts.agents(), 9);
    assert_eq!(all.parts.counts.tags.get("eu"), 9);
    assert_eq!((all.regions[&REGION].aggregator, all.regions[&REGION].as_of), (OTHER, Time(4)));
    assert!(global.remove_aggregator(REGION, OTHER) && !global.remove_aggregator(REGION, OTHER));
    assert_eq!(global.figure().parts.counts.agents(), 8);
    assert!(global.remove_aggregator(RegionId(2), SOME));
    assert_eq!(global.figure().regions.len(), 1);
}

#[test]
fn what_cannot_be_compared_has_a_rule() {
    let (fewer, more) = (figure(&[(1, 9)]), figure(&[(1, 1), (2, 1)]));
    assert_eq!(shown(&[(SOME, fewer.clone()), (OTHER, more.clone())]), OTHER);
    assert_eq!(shown(&[(SOME, more), (OTHER, fewer)]), SOME);
    let (left, right) = (figure(&[(1, 9), (2, 1)]), figure(&[(1, 1), (2, 8)]));
    assert_eq!(shown(&[(SOME, left.clone()), (OTHER, right.clone())]), SOME);
    assert_eq!(shown(&[(SOME, right), (OTHER, left.clone())]), OTHER);
    assert_eq!(shown(&[(OTHER, left.clone()), (SOME, left)]), SOME);
}

#[test]
fn a_figure_that_stays_is_confirmed_by_its_root() {
    let mut global = Global::new();
    let some = figure(&[(1, 3)]);
    global.offer(REGION, SOME, some.clone(), Time(5)).expect("few");
    assert!(global.confirm(REGION, SOME, &some.root, Time(9)));
    assert_eq!(global.region(REGION).map(|region| region.as_of), Some(Time(9)));
    assert!(!global.confirm(REGION, SOME, &[0; 32], Time(10)));
    assert!(!global.confirm(REGION, OTHER, &some.root, Time(10)));
    assert_eq!(global.region(REGION).map(|region| region.as_of), Some(Time(9)));
}

#[test]
fn there_is_a_limit_to_all() {
    let mut global = Global::new();
    let some = figure(&[]);
    for number in 0..AGGREGATORS_MAX as u64 {
        assert_eq!(global.offer(REGION, ShortId(number), some.clone(), Time(1)), Ok(()));
    }
    let refused = global.offer(REGION, SOME, some.clone(), Time(1));
    assert_eq!(refused, Err(GlobalError::TooManyAggregators));
    for number in 1..=REGIONS_MAX as u64 {
        assert_eq!(global.offer(RegionId(number), ShortId(1), some.clone(), Time(1)), Ok(()));
    }
    let refused = global.offer(RegionId(0), SOME, some, Time(1));
    assert_eq!(refused, Err(GlobalError::TooManyRegions));
}
