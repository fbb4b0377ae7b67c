//! All mutants, and the small runs that they are planted into.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_core::time::Time;

use super::Mutant;
use super::hot::{AcknowledgeEarly, Deliveries, Every, LosePublished, Reorder, Replay, Wrong};
use super::links::{DropRepair, Equivocate};
use super::machine::{
    AlwaysHealthy, ConfirmEarly, Deaf, ForgetIncarnation, HidePauses, KeepDead, Mute, NoRepair, OldView,
};
use super::silent::LeakSilent;
use crate::settings::{FaultRates, Settings};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Two regions in which nothing goes wrong.
fn calm() -> Settings {
    Settings {
        edges: 6,
        agents: 60,
        agents_per_client: 5,
        rate: 100,
        time: seconds(10),
        settle: seconds(15),
        ..Settings::default()
    }
}

fn with(faults: FaultRates) -> Settings {
    Settings { faults, time: seconds(20), ..calm() }
}

fn crashes() -> Settings {
    with(FaultRates { crash: seconds(4), ..FaultRates::default() })
}

fn closes() -> Settings {
    let mut settings = with(FaultRates { close: Duration::from_millis(300), ..FaultRates::default() });
    (settings.near.latency, settings.rate) = (Duration::from_millis(20), 400);
    settings
}

fn pauses() -> Settings {
    with(FaultRates { pause: seconds(3), ..FaultRates::default() })
}

fn partitions() -> Settings {
    Settings {
        time: seconds(40),
        settle: seconds(20),
        ..with(FaultRates { partition: seconds(10), ..FaultRates::default() })
    }
}

/// Nodes are killed and stay dead.
fn deaths() -> Settings {
    Settings {
        edges: 8,
        settle: seconds(30),
        ..with(FaultRates { death: seconds(5), ..FaultRates::default() })
    }
}

/// Clients that move on, and some that leave for good.
fn leavers() -> Settings {
    Settings { leaving: 0.3, ..calm() }
}

/// Some edges tell nobody where they listen.
fn silent() -> Settings {
    Settings { silent: 0.5, ..calm() }
}

/// All of them.
pub(super) const ALL: &[Mutant] = &[
    Mutant {
        name: "forget-incarnation",
        about: "a node that restarts is the incarnation that it was before",
        breaks: "unequivocal",
        seeds: 1..5,
        settings: crashes,
        bug: || Box::new(ForgetIncarnation),
    },
    Mutant {
        name: "reuse-sequence",
        about: "an honest node signs two bundles for one number",
        breaks: "unequivocal",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Equivocate(Every::new(100))),
    },
    Mutant {
        name: "acknowledge-early",
        about: "an edge acknowledges what it does not have yet, and then loses it",
        breaks: "delivered",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(AcknowledgeEarly(Every::new(100))),
    },
    Mutant {
        name: "deliver-twice",
        about: "a duplicate is applied",
        breaks: "delivered",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Deliveries::new(Wrong::Twice, 200)),
    },
    Mutant {
        name: "lose-delivery",
        about: "one delivery of some is lost, and no gap is told",
        breaks: "delivered",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Deliveries::new(Wrong::Never, 200)),
    },
    Mutant {
        name: "drop-repair",
        about: "a bundle that is sent again over another link is lost",
        breaks: "delivered",
        seeds: 1..9,
        settings: closes,
        bug: || Box::new(DropRepair::default()),
    },
    Mutant {
        name: "skip-verification",
        about: "a section that was changed on its way is accepted",
        breaks: "authentic",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Deliveries::new(Wrong::Changed, 200)),
    },
    Mutant {
        name: "forge-publisher",
        about: "an entry is delivered as another agent's",
        breaks: "authentic",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Deliveries::new(Wrong::OfAnother, 50)),
    },
    Mutant {
        name: "wrong-receiver",
        about: "a delivery goes to a connection that did not subscribe",
        breaks: "authentic",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Deliveries::new(Wrong::ToAnother, 20)),
    },
    Mutant {
        name: "reorder-publisher",
        about: "a publisher's entry passes its former one",
        breaks: "delivered",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Reorder::new(50)),
    },
    Mutant {
        name: "old-incarnation",
        about: "what a node said before its restart is accepted again",
        breaks: "delivered",
        seeds: 1..5,
        settings: crashes,
        bug: || Box::new(Replay::default()),
    },
    Mutant {
        name: "lose-published",
        about: "a publisher is not told that its entries arrived",
        breaks: "delivered",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(LosePublished(Every::new(100))),
    },
    Mutant {
        name: "old-view",
        about: "the hot path routes by the view before the newest",
        breaks: "delivered",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(OldView::default()),
    },
    Mutant {
        name: "confirm-early",
        about: "a subscription is confirmed before publishers know of it",
        breaks: "delivered",
        seeds: 1..9,
        settings: crashes,
        bug: || Box::new(ConfirmEarly),
    },
    Mutant {
        name: "count-twice",
        about: "an edge keeps agents that went elsewhere",
        breaks: "counted",
        seeds: 1..9,
        settings: pauses,
        bug: || Box::new(Deaf::ToMoves),
    },
    Mutant {
        name: "stale-figure",
        about: "an aggregator passes on no figure but its first",
        breaks: "counted",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(Mute::Figures(BTreeMap::new(), 2)),
    },
    Mutant {
        name: "keep-withdrawn",
        about: "an aggregator is not told that an agent left",
        breaks: "located",
        seeds: 1..3,
        settings: leavers,
        bug: || Box::new(Mute::Withdrawals),
    },
    Mutant {
        name: "accuse-while-sick",
        about: "a node that was stopped takes all others for silent, and says so",
        breaks: "detected",
        seeds: 1..9,
        settings: pauses,
        bug: || Box::new(HidePauses),
    },
    Mutant {
        name: "never-refute",
        about: "a node that is accused does not say that it lives",
        breaks: "detected",
        seeds: 1..9,
        settings: pauses,
        bug: || Box::new(Mute::Refutations),
    },
    Mutant {
        name: "never-accuse",
        about: "a node keeps to itself who does not answer",
        breaks: "detected",
        seeds: 1..5,
        settings: deaths,
        bug: || Box::new(Mute::Accusations),
    },
    Mutant {
        name: "serve-without-quorum",
        about: "a side that is cut off takes itself for whole",
        breaks: "readonly",
        seeds: 2..9,
        settings: partitions,
        bug: || Box::new(AlwaysHealthy),
    },
    Mutant {
        name: "withhold-gap",
        about: "a subscriber is not told of a gap",
        breaks: "delivered",
        seeds: 2..17,
        settings: partitions,
        bug: || Box::new(Mute::Gaps),
    },
    Mutant {
        name: "withhold-missed",
        about: "a node is not told that events were not kept for it",
        breaks: "delivered",
        seeds: 2..17,
        settings: partitions,
        bug: || Box::new(Mute::Missed),
    },
    Mutant {
        name: "stale-key",
        about: "a node's replica stays as it once was",
        breaks: "replicated",
        seeds: 1..3,
        settings: calm,
        // Behind the coordinator and two aggregators comes an edge.
        bug: || Box::new(Deaf::ToState(3, Time::from_millis(12_000))),
    },
    Mutant {
        name: "no-repair",
        about: "state that got lost is not sent again",
        breaks: "replicated",
        seeds: 1..3,
        settings: calm,
        bug: || Box::new(NoRepair(Every::new(5))),
    },
    Mutant {
        name: "never-forget",
        about: "what is owed to the dead is owed for ever",
        breaks: "bounded",
        seeds: 1..5,
        settings: deaths,
        bug: || Box::new(Mute::Forgets),
    },
    Mutant {
        name: "keep-dead",
        about: "what the dead wanted is still wanted",
        breaks: "forgotten",
        seeds: 1..5,
        settings: deaths,
        bug: || Box::new(KeepDead::default()),
    },
    Mutant {
        name: "leak-silent",
        about: "a silent node announces itself with its address, as others do",
        breaks: "silent",
        seeds: 1..5,
        settings: silent,
        bug: || Box::new(LeakSilent),
    },
];
