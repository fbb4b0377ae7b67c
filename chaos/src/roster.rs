//! The mesh that is run: which nodes, and of which region each is.

use starling_core::identity::Roles;

/// Regions of the usual mesh.
const REGIONS: usize = 2;
/// Aggregators of each.
const AGGREGATORS: usize = 2;
/// Edges of each.
const EDGES: usize = 3;

/// The node that lies where one does. It is no part of the roster: nothing is promised to it.
pub const LIAR: &str = "r0-liar";
/// Its region.
pub const LIAR_REGION: &str = "r0";

/// A node to be run.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Its role.
    pub roles: Roles,
    /// Its region's name.
    pub region: String,
}

/// The nodes of a mesh.
#[derive(Clone, Debug)]
pub struct Roster {
    nodes: Vec<Seat>,
    regions: usize,
}

impl Roster {
    /// A coordinator, and two regions with two aggregators and three edges each.
    pub fn usual() -> Roster {
        let mut nodes = Vec::new();
        let mut add = |name: String, roles, region: String| nodes.push(Seat { name, roles, region });
        add("coordinator".into(), Roles::COORDINATOR, "global".into());
        for region in 0..REGIONS {
            for number in 0..AGGREGATORS {
                add(format!("r{region}-aggregator-{number}"), Roles::AGGREGATOR, format!("r{region}"));
            }
            for number in 0..EDGES {
                add(format!("r{region}-edge-{number}"), Roles::EDGE, format!("r{region}"));
            }
        }
        Roster { nodes, regions: REGIONS }
    }

    /// All nodes, the coordinator first.
    pub fn nodes(&self) -> &[Seat] {
        &self.nodes
    }

    /// How many regions there are.
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// The name of a region by its number.
    pub fn region_name(&self, region: usize) -> String {
        format!("r{region}")
    }

    fn of(&self, role: Roles, region: usize) -> Vec<String> {
        let name = self.region_name(region);
        let nodes = self.nodes.iter().filter(|node| node.roles.has(role) && node.region == name);
        nodes.map(|node| node.name.clone()).collect()
    }

    /// The edges of a region.
    pub fn edges_of(&self, region: usize) -> Vec<String> {
        self.of(Roles::EDGE, region)
    }

    /// The aggregators of a region.
    pub fn aggregators_of(&self, region: usize) -> Vec<String> {
        self.of(Roles::AGGREGATOR, region)
    }

    /// The nodes of a region, and all others.
    pub fn split(&self, region: usize) -> (Vec<String>, Vec<String>) {
        let name = self.region_name(region);
        let (inside, outside): (Vec<&Seat>, Vec<&Seat>) =
            self.nodes.iter().partition(|node| node.region == name);
        let names = |nodes: Vec<&Seat>| nodes.into_iter().map(|node| node.name.clone()).collect();
        (names(inside), names(outside))
    }
}
