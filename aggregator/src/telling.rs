//! Telling of events that were not kept, or may be lost on the way: to edges that this aggregator had
//! taken for lost, and on behalf of edges to other regions.

use bytes::Bytes;
use starling_core::id::{RegionId, ShortId};
use starling_core::identity::Roles;
use starling_core::machine::{LinkSlot, Outbox};
use starling_core::time::{Now, Time};
use starling_core::wire::message::{self, ControlBody, Missed, Reroute, Superseded};

use super::Aggregator;
use super::directory::Moved;

impl Aggregator {
    /// Edges that are back after this aggregator had taken them for lost hear that it kept nothing.
    pub(super) fn tell_missed(&mut self, out: &mut Outbox) {
        for (region, peer) in self.routes.take_missed() {
            let link = self.neighbours.get(peer).and_then(|known| known.link);
            // What is owed to another region is owed by the edges, which see for themselves.
            match link {
                _ if region != RegionId(0) => {}
                Some(link) => self.carrying.tell_missed(link, out),
                None => self.routes.put_back_missed(region, peer),
            }
        }
    }

    /// What other regions were told is in force was not known to an edge that was out of reach: what it
    /// had for them meanwhile is missing there.
    pub(super) fn edge_back(&mut self, now: Now, id: ShortId, since: Time) {
        let region = self.region();
        if self.neighbours.get(id).is_some_and(|known| known.region() == region) {
            self.missed.extend(now, self.carrying.confirmed_since(since).collect::<Vec<_>>());
        }
    }

    /// Edges send again what is unacknowledged in a region: bundles on the way may be lost.
    pub(super) fn reroute(&self, region: RegionId, out: &mut Outbox) {
        for (_, link, known) in self.neighbours.linked() {
            if known.region() == self.region() && known.roles().has(Roles::EDGE) {
                out.send(link, ControlBody::Reroute(Reroute { region: region.0 }));
            }
        }
    }

    /// Passes on whose subscribers have missed something: 0 are this region's own.
    pub(super) fn spread_missed(&mut self, now: Now, out: &mut Outbox) {
        let mine = self.region();
        for region in self.missed.take(now) {
            let missed = ControlBody::Missed(Missed { region: region.0 });
            if region == RegionId(0) {
                let edges = self.neighbours.iter().filter(|(_, known)| {
                    known.region() == mine && known.roles().has(Roles::EDGE) && !known.is_lost
                });
                for (id, known) in edges {
                    match known.link {
                        Some(link) => out.send(link, missed.clone()),
                        None => {
                            self.untold.insert(id);
                        }
                    }
                }
                continue;
            }
            let is_meant = |roles: Roles, of: RegionId| of == region && roles.has(Roles::AGGREGATOR);
            let linked = self.neighbours.linked();
            let links = linked.filter(|(_, _, known)| is_meant(known.roles(), known.region()));
            let links: Vec<LinkSlot> = links.map(|(_, link, _)| link).collect();
            if links.is_empty() && self.routes.has_way(region) {
                // Its aggregators are away for a moment; once they are lost, whoever lost them tells.
                self.missed.extend(now, [region]);
            }
            out.send_to_all(&links, missed);
        }
    }

    /// Who came to this region may have a home in another one, which must hear that it is the older.
    pub(crate) fn tell_other_regions(&self, change: &message::Directory, out: &mut Outbox) {
        if change.attached.is_empty() {
            return;
        }
        for link in self.one_of_each_region() {
            let (whole, attached) = (false, change.attached.clone());
            let directory = message::Directory { whole, attached, detached: Bytes::new() };
            out.send(link, ControlBody::Directory(directory));
        }
    }

    pub(crate) fn tell_moved(&self, moved: Moved, out: &mut Outbox) {
        let link = self.neighbours.get(moved.edge).and_then(|known| known.link);
        if let Some(link) = link {
            let agent = Bytes::copy_from_slice(&moved.agent.0);
            out.send(link, ControlBody::Superseded(Superseded { agent, session: moved.newest }));
        }
    }
}
