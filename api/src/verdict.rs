//! What is wrong, in sentences, the worst first.

use serde::Serialize;
use starling_core::wire::request::{Member, Overview};

use crate::history::named;

/// A figure that is older than this is stale: edges report ten times a second.
const STALE_MS: u64 = 5_000;
/// A replica that lacks versions for longer is said to be behind.
const BEHIND_MS: u64 = 10_000;
/// So many sentences of one kind; more are summed up.
const SENTENCES_MAX: usize = 5;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// A part of the mesh does not do its work.
    Error,
    /// Less than there should be, or late.
    Warn,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub severity: Severity,
    /// What kind of thing, such as `node-down`.
    pub kind: &'static str,
    /// One sentence.
    pub text: String,
    pub region: Option<String>,
    pub node: Option<String>,
}

impl Finding {
    fn new(severity: Severity, kind: &'static str, text: String) -> Finding {
        Finding { severity, kind, text, region: None, node: None }
    }

    fn of_region(self, region: &str) -> Finding {
        Finding { region: Some(region.to_owned()), ..self }
    }

    fn of_node(self, node: &Member) -> Finding {
        Finding { node: Some(node.name.clone()), region: Some(node.region.clone()), ..self }
    }
}

/// All that is wrong by what a node knows; `rates` has what a region counts per second.
pub(crate) fn findings(overview: &Overview, dropped: impl Fn(&str) -> Option<f64>) -> Vec<Finding> {
    let mut found = Vec::new();
    quorum(overview, &mut found);
    members(overview, &mut found);
    regions(overview, dropped, &mut found);
    if let Some(behind_ms) = named(&overview.counters, "convergence.age_max_ms").filter(|ms| *ms > BEHIND_MS)
    {
        let text =
            format!("The replicas of keys do not agree: a peer has been behind for {} s.", behind_ms / 1_000);
        found.push(Finding::new(Severity::Warn, "replica-behind", text));
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

fn quorum(overview: &Overview, found: &mut Vec<Finding>) {
    let Some(quorum) = overview.quorum.as_deref().filter(|quorum| quorum.status != "HEALTHY") else { return };
    let severity = if quorum.is_cut_off { Severity::Error } else { Severity::Warn };
    let side = if quorum.is_cut_off { ", which is too few to agree" } else { "" };
    let text = format!(
        "The {} is {}: {} of {} nodes are in reach{side}.",
        quorum.scope, quorum.status, quorum.reachable, quorum.roster
    );
    found.push(Finding::new(severity, "quorum", text));
}

fn members(overview: &Overview, found: &mut Vec<Finding>) {
    let kinds = [
        ("down", Severity::Error, "node-down", "is down"),
        ("banned", Severity::Error, "node-banned", "is banned for misbehaviour"),
        ("suspect", Severity::Warn, "node-suspect", "does not answer"),
    ];
    for (status, severity, kind, does) in kinds {
        let those: Vec<&Member> = overview.members.iter().filter(|member| member.status == status).collect();
        for member in those.iter().take(SENTENCES_MAX) {
            let Member { roles, name, region, .. } = member;
            let role = capital(roles);
            let text = format!("{role} {name} of region {region} {does}.");
            found.push(Finding::new(severity, kind, text).of_node(member));
        }
        if those.len() > SENTENCES_MAX {
            let text = format!("{} more nodes are {status}.", those.len() - SENTENCES_MAX);
            found.push(Finding::new(severity, kind, text));
        }
    }
}

fn capital(roles: &str) -> String {
    let mut letters = roles.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn regions(overview: &Overview, dropped: impl Fn(&str) -> Option<f64>, found: &mut Vec<Finding>) {
    let is_coordinator = overview.node.as_ref().is_some_and(|node| node.roles.contains("coordinator"));
    for region in &overview.regions {
        let name = &region.name;
        if region.age_ms > STALE_MS {
            let text = format!("Region {name} was last heard of {} s ago.", region.age_ms / 1_000);
            found.push(Finding::new(Severity::Warn, "figure-stale", text).of_region(name));
        }
        if is_coordinator && region.aggregators == 0 {
            let text = format!("Region {name} has no aggregator in reach.");
            found.push(Finding::new(Severity::Error, "no-aggregator", text).of_region(name));
        }
        if let Some(rate) = dropped(name).filter(|rate| *rate > 0.0) {
            let text =
                format!("Region {name} drops {rate:.1} entries a second before agents that are too slow.");
            found.push(Finding::new(Severity::Warn, "drops", text).of_region(name));
        }
    }
}

/// The state of things in one sentence.
pub(crate) fn sentence(overview: &Overview, found: &[Finding]) -> String {
    let nodes = overview.members.len();
    let plural = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    match found {
        [] => format!("Nothing is wrong: {} in reach.", plural(nodes, "node")),
        [only] => only.text.clone(),
        [worst, others @ ..] => format!("{} And {} more.", worst.text, plural(others.len(), "finding")),
    }
}

#[cfg(test)]
mod tests {
    use starling_core::wire::request::{QuorumView, RegionView};

    use super::*;

    fn member(name: &str, status: &str) -> Member {
        let (name, status) = (name.to_owned(), status.to_owned());
        Member { name, status, roles: "edge".into(), region: "r0".into(), ..Member::default() }
    }

    #[test]
    fn a_dead_edge_is_named_first_and_health_is_said_in_words() {
        let well = Overview { members: vec![member("a", "up"), member("b", "left")], ..Overview::default() };
        assert_eq!(findings(&well, |_| None), []);
        assert_eq!(sentence(&well, &[]), "Nothing is wrong: 2 nodes in reach.");

        let quorum = QuorumView {
            status: "DEGRADED".into(),
            scope: "mesh".into(),
            reachable: 1,
            roster: 2,
            ..QuorumView::default()
        };
        let region = RegionView { name: "r0".into(), age_ms: 9_000, ..RegionView::default() };
        let sick = Overview {
            members: vec![member("a", "up"), member("b", "suspect"), member("edge-1", "down")],
            quorum: Some(Box::new(quorum)),
            regions: vec![region],
            ..Overview::default()
        };
        let found = findings(&sick, |_| Some(2.5));
        let kinds: Vec<&str> = found.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, ["node-down", "quorum", "node-suspect", "figure-stale", "drops"]);
        assert_eq!(found[0].text, "Edge edge-1 of region r0 is down.");
        assert_eq!(sentence(&sick, &found), "Edge edge-1 of region r0 is down. And 4 findings more.");
    }

    #[test]
    fn a_hundred_dead_nodes_are_few_sentences() {
        let members = (0..100).map(|number| member(&format!("edge-{number}"), "down")).collect();
        let found = findings(&Overview { members, ..Overview::default() }, |_| None);
        assert_eq!(found.len(), SENTENCES_MAX + 1);
        assert_eq!(found[SENTENCES_MAX].text, "95 more nodes are down.");
    }
}
