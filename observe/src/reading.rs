//! What a node is read to do at one time: the numbers that signals are made of.

use std::collections::BTreeMap;

use starling_core::wire::request::Overview;

/// Numbers of a node by the names that those who count them give: `starling_core`'s counters as in an
/// [`Overview`], and others that a node's surroundings count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    numbers: BTreeMap<String, u64>,
}

impl Reading {
    /// What an overview says of the node that gave it, and of the mesh as it knows it.
    pub fn of(overview: &Overview) -> Reading {
        let mut reading = Reading::default();
        for counter in &overview.counters {
            reading.set(&counter.name, counter.value);
        }
        for status in STATUSES {
            let members = overview.members.iter().filter(|member| member.status == status);
            reading.set(&format!("members.{status}"), members.count() as u64);
        }
        let sum = |of: fn(&starling_core::wire::request::RegionView) -> u64| {
            overview.regions.iter().fold(0_u64, |sum, region| sum.saturating_add(of(region)))
        };
        reading.set("mesh.agents", sum(|region| region.agents));
        reading.set("mesh.regions", overview.regions.len() as u64);
        reading.set("mesh.edges", sum(|region| u64::from(region.edges)));
        reading.set("mesh.update_index", overview.update_index);
        for region in &overview.regions {
            for total in &region.totals {
                reading.add(&format!("mesh.{}", total.name), total.value);
            }
            let age = reading.get("mesh.age_max_ms").unwrap_or(0).max(region.age_ms);
            reading.set("mesh.age_max_ms", age);
        }
        if let Some(quorum) = &overview.quorum {
            reading.set("quorum.reachable", u64::from(quorum.reachable));
            reading.set("quorum.roster", u64::from(quorum.roster));
            reading.set("quorum.is_cut_off", u64::from(quorum.is_cut_off));
        }
        reading
    }

    /// Sets a number.
    pub fn set(&mut self, name: &str, value: u64) {
        self.numbers.insert(name.to_owned(), value);
    }

    /// Adds to a number.
    pub fn add(&mut self, name: &str, value: u64) {
        let number = self.numbers.entry(name.to_owned()).or_default();
        *number = number.saturating_add(value);
    }

    /// A number, if it is known.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.numbers.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// What a member's status may be.
pub const STATUSES: [&str; 7] = ["up", "relayed", "suspect", "down", "left", "banned", "known"];
