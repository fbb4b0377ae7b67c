//! Scenarios: what a run is like, by name or from a file.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::hostile::Attack;
use crate::link::Conditions;
use crate::processor::Processors;
use crate::settings::{FaultRates, Settings};

const NODES_MAX: u64 = 10_000;
const REGIONS_MAX: u64 = 64;
const AGENTS_MAX: u64 = 1_000_000;
const SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

/// A scenario as a file says it (TOML); what is left out is as in `quiet`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Whether the seed draws everything else.
    pub drawn: bool,
    /// Edges over all regions, 10,000 at the most.
    #[serde(deserialize_with = "at_most::<_, _, NODES_MAX>")]
    pub nodes: Option<usize>,
    /// Regions, 64 at the most.
    #[serde(deserialize_with = "at_most::<_, _, REGIONS_MAX>")]
    pub regions: Option<usize>,
    /// Agents, a million at the most.
    #[serde(deserialize_with = "at_most::<_, _, AGENTS_MAX>")]
    pub agents: Option<u64>,
    /// Share of clients that leave for good, 0.0 to 1.0.
    pub leaving: f64,
    /// Entries a second.
    pub rate: Option<u64>,
    /// Seconds with work and faults, a year at the most.
    #[serde(deserialize_with = "at_most::<_, _, SECONDS_MAX>")]
    pub time_s: Option<u64>,
    /// Seconds to heal and rest, a year at the most.
    #[serde(deserialize_with = "at_most::<_, _, SECONDS_MAX>")]
    pub settle_s: Option<u64>,
    /// Seconds that wall clocks are off at the most, either way.
    pub clock_skew_s: f64,
    /// Share of edges that tell nobody where they listen, 0.0 to 1.0.
    pub silent: f64,
    /// How long nodes take for what they do.
    pub processors: Costs,
    /// The network within a region.
    pub network: Network,
    /// Mean seconds between two faults of a kind, over the whole mesh.
    pub faults: Faults,
    /// Nodes that lie.
    pub attackers: Attackers,
}

/// Nodes that lie.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Attackers {
    /// What they do: a name of `starling sim --list`; others are refused.
    #[serde(deserialize_with = "attack")]
    pub attack: Option<Attack>,
    /// How many; held to under a third of each region's nodes, at least one.
    pub count: usize,
}

/// A number that is no more than can be simulated.
fn at_most<'de, D: Deserializer<'de>, T: TryFrom<u64>, const MAX: u64>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let number = u64::deserialize(from)?;
    let too_many = || D::Error::custom(format!("{number} is more than {MAX}, which is the most"));
    T::try_from(number).ok().filter(|_| number <= MAX).map(Some).ok_or_else(too_many)
}

fn attack<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Attack>, D::Error> {
    let name = String::deserialize(from)?;
    let unknown = || D::Error::custom(format!("`{name}` is no attack; see starling sim --list"));
    Attack::named(&name).filter(|attack| attack.is_simulated()).map(Some).ok_or_else(unknown)
}

/// What ways within a region are like.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// One way, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Added evenly, in milliseconds.
    pub jitter_ms: f64,
    /// Share of packets that are lost, 0.0 to 1.0.
    pub loss: f64,
    /// Share of datagrams that come twice.
    pub duplication: f64,
    /// Share of datagrams that are overtaken.
    pub reordering: f64,
    /// Bytes a second that a link carries in each direction; zero for any number.
    pub bandwidth_bytes_s: u64,
}

/// How long nodes take for what they do.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Microseconds that one input takes at full speed; zero for no time.
    pub step_us: u64,
    /// Share of nodes that are slow, 0.0 to 1.0.
    pub slow_share: f64,
    /// How many times longer those take; 5 where it is left out.
    pub slow_times: Option<u32>,
}

/// Mean seconds between two faults of a kind; zero for never.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A node is killed and started again.
    pub crash_s: u64,
    /// A node is paused.
    pub pause_s: u64,
    /// Two nodes cannot reach each other.
    pub cut_s: u64,
    /// One cannot reach another.
    pub one_way_s: u64,
    /// A link is closed.
    pub close_s: u64,
    /// Part of a region is cut off.
    pub partition_s: u64,
    /// An edge is killed for good.
    pub death_s: u64,
}

/// A wall clock is off by so much at the most.
const SKEW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const NAMED: [(&str, &str); 7] = [
    ("drawn", "mesh, network, work and faults as the seed draws them"),
    ("quiet", "nothing goes wrong"),
    ("crashes", "nodes are killed and started again, every 5 s on average"),
    ("pauses", "nodes stop for seconds and go on"),
    ("cuts", "ways between two nodes carry nothing, or only one way"),
    ("partitions", "part of a region is cut off from the rest"),
    (
        "rings",
        "a region too large for links of all with all: crashes, deaths, pauses, cuts, closed links, partitions",
    ),
];

impl Scenario {
    /// The names of scenarios and what they are.
    pub fn all() -> &'static [(&'static str, &'static str)] {
        &NAMED
    }

    /// The scenario of this name.
    pub fn named(name: &str) -> Option<Scenario> {
        let faults = |faults| Scenario { faults, ..Scenario::default() };
        Some(match name {
            "drawn" => Scenario { drawn: true, ..Scenario::default() },
            "quiet" => Scenario::default(),
            "crashes" => faults(Faults { crash_s: 5, ..Faults::default() }),
            "pauses" => faults(Faults { pause_s: 5, ..Faults::default() }),
            "cuts" => faults(Faults { cut_s: 4, one_way_s: 8, ..Faults::default() }),
            "partitions" => faults(Faults { partition_s: 15, ..Faults::default() }),
            "rings" => Scenario {
                nodes: Some(72),
                regions: Some(1),
                network: Network { jitter_ms: 1.0, loss: 0.02, ..Network::default() },
                ..faults(Faults {
                    crash_s: 4,
                    pause_s: 6,
                    cut_s: 4,
                    one_way_s: 6,
                    close_s: 3,
                    death_s: 15,
                    partition_s: 20,
                })
            },
            _ => return None,
        })
    }

    /// What to simulate for `seed`.
    pub fn settings(&self, seed: u64) -> Settings {
        if self.drawn {
            return Settings::drawn(seed);
        }
        let mut settings = Settings { seed, ..Settings::default() };
        if let Some(regions) = self.regions {
            settings.set_regions(regions.max(1));
        }
        settings.edges = self.nodes.unwrap_or(settings.edges).max(settings.regions);
        settings.agents = self.agents.unwrap_or(settings.agents);
        settings.leaving = self.leaving.clamp(0.0, 1.0);
        settings.rate = self.rate.unwrap_or(settings.rate);
        settings.time = self.time_s.map_or(settings.time, Duration::from_secs);
        settings.settle = self.settle_s.map_or(settings.settle, Duration::from_secs);
        let network = &self.network;
        let milliseconds = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
        settings.near = Conditions {
            latency: network.latency_ms.map_or(settings.near.latency, milliseconds),
            jitter: milliseconds(network.jitter_ms),
            loss: network.loss.clamp(0.0, 1.0),
            duplication: network.duplication.clamp(0.0, 1.0),
            reordering: network.reordering.clamp(0.0, 1.0),
            bandwidth: NonZeroU64::new(network.bandwidth_bytes_s),
        };
        settings.clock_skew =
            Duration::try_from_secs_f64(self.clock_skew_s).unwrap_or_default().min(SKEW_MAX);
        settings.silent = self.silent.clamp(0.0, 1.0);
        let like_others = Processors::default();
        settings.processors = Processors {
            step: Duration::from_micros(self.processors.step_us),
            slow_share: self.processors.slow_share.clamp(0.0, 1.0),
            slow_times: self.processors.slow_times.unwrap_or(like_others.slow_times).max(1),
        };
        let faults = &self.faults;
        settings.faults = FaultRates {
            crash: Duration::from_secs(faults.crash_s),
            pause: Duration::from_secs(faults.pause_s),
            cut: Duration::from_secs(faults.cut_s),
            one_way: Duration::from_secs(faults.one_way_s),
            close: Duration::from_secs(faults.close_s),
            partition: Duration::from_secs(faults.partition_s),
            death: Duration::from_secs(faults.death_s),
        };
        if let Some(attack) = self.attackers.attack {
            settings.set_attack(attack, self.attackers.count);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_list_is_a_scenario() {
        for (name, _) in Scenario::all() {
            assert!(Scenario::named(name).is_some(), "{name}");
        }
        assert_eq!(Scenario::named("nonsense"), None);
    }
}
