//! In how many rounds push-pull brings a write to everybody: the product's exchange beside theory.
//!
//! Each node has the product's [`Replication`]: a replica, the comparison of roots, versions told and
//! missing bundles sent. Here nodes are linked by chance anew each round, each with `fanout` others; what
//! a comparison sends comes at the end of its round, so that a round is one hop and both sides tell what
//! they knew when it began. The product's push, which reaches all it is linked with in one hop, is left
//! out: the write is made before there is a link.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use starling_core::convergence::rounds::{ROUNDS_MAX, rounds_expected};
use starling_core::id::MeshId;
use starling_core::identity::{Admission, Roles, Signature, Signer};
use starling_core::machine::{ConnectionSlot, LinkSlot, Outbox, Output, Peer};
use starling_core::membership::{Identity, Neighbours};
use starling_core::node::nearness::Nearness;
use starling_core::node::replication::Replication;
use starling_core::rng::Rng;
use starling_core::time::{Now, Time};
use starling_core::topology::Strategy;
use starling_core::wire::bundle::Bundle;
use starling_core::wire::message::ControlBody;
use starling_core::wire::request::KeyChange;

use crate::node::Signatures;
use crate::report::Rounds;

/// Sizes of the table.
pub const SIZES: [u32; 10] = [10, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
/// Long enough for all comparisons of a round, which a node spaces by 50 ms, and shorter than what the
/// product takes for being on its way.
const ROUND: Duration = Duration::from_millis(1900);
const WALL_START: u64 = 1_780_000_000_000_000_000;
const KEY: &str = "news";

/// The table, schema `starling.rounds/1`.
#[derive(Clone, Debug, Serialize)]
pub struct RoundsTable {
    /// `starling.rounds/1`.
    pub schema: &'static str,
    /// Seeds of each row.
    pub seeds: u64,
    /// The rows, by fan-out and size.
    pub rows: Vec<RoundsRow>,
}

/// One size with one fan-out.
#[derive(Clone, Debug, Serialize)]
pub struct RoundsRow {
    /// Nodes.
    pub nodes: u32,
    /// Others that each node compares with in a round.
    pub fanout: u32,
    /// Rounds until everybody read what one wrote.
    pub rounds: Rounds,
    /// What theory expects.
    pub expected: u32,
}

/// Runs each size with each fan-out once for each seed from one on.
pub fn rounds_table(
    sizes: &[u32],
    fanouts: &[u32],
    seeds: u64,
    mut said: impl FnMut(&RoundsRow),
) -> RoundsTable {
    let mut table = RoundsTable { schema: "starling.rounds/1", seeds, rows: Vec::new() };
    for (fanout, nodes) in fanouts.iter().flat_map(|fanout| sizes.iter().map(|nodes| (*fanout, *nodes))) {
        let mut taken: Vec<usize> = (1..=seeds).map(|seed| rounds_of(nodes, fanout, seed)).collect();
        taken.sort_unstable();
        let p50 = taken.get((taken.len().max(1) - 1) / 2).copied().unwrap_or_default();
        let rounds = Rounds { p50, max: taken.last().copied().unwrap_or_default() };
        let row = RoundsRow { nodes, fanout, rounds, expected: rounds_expected(nodes, fanout) };
        said(&row);
        table.rows.push(row);
    }
    table
}

fn rounds_of(nodes: u32, fanout: u32, seed: u64) -> usize {
    let mut swarm = Swarm::new(nodes as usize, seed);
    let mut rounds = 0;
    while !swarm.knows_all() && rounds < ROUNDS_MAX as usize {
        swarm.round(fanout as usize);
        rounds += 1;
    }
    rounds
}

struct Member {
    peer: Peer,
    replication: Replication,
    neighbours: Neighbours,
    /// Of nobody: who compares with whom is drawn anew for each round.
    nearness: Nearness,
    knows: bool,
}

struct Swarm {
    members: Vec<Member>,
    now: Time,
    rng: Rng,
    out: Outbox,
    /// Control messages of this round, and who gets them over which link.
    mail: VecDeque<(usize, LinkSlot, ControlBody)>,
    /// Bundles that come when it ends.
    bundles: Vec<(usize, LinkSlot, Arc<Bundle>)>,
}

impl Swarm {
    fn new(count: usize, seed: u64) -> Swarm {
        let authority = Signatures::Keyed.signer(&[1; 32]);
        let mut swarm = Swarm {
            members: (0..count).map(|at| Member::new(at, seed, &authority)).collect(),
            now: Time::ZERO,
            rng: Rng::new(seed),
            out: Outbox::new(),
            mail: VecDeque::new(),
            bundles: Vec::new(),
        };
        let writer = &mut swarm.members[0];
        let change = KeyChange::Put(Bytes::from_static(b"told"));
        let now = now_at(swarm.now);
        let taken = writer.replication.write(now, (ConnectionSlot(1), 1), KEY, &change);
        taken.expect("a node that was never linked has nothing to recover");
        swarm.wake_until(0, Time::ZERO + ROUND);
        swarm.now = Time::ZERO + ROUND;
        swarm.out.drain().for_each(drop);
        swarm.meet_the_writer();
        swarm
    }

    /// Everybody knows who the writer is; nobody else's words are looked at.
    fn meet_the_writer(&mut self) {
        let (now, peer) = (now_at(self.now), self.members[0].peer.clone());
        for member in &mut self.members[1..] {
            let link = LinkSlot(u32::MAX >> 1);
            member.neighbours.link_up(now, link, peer.clone(), &mut self.out);
            member.neighbours.link_down(now, link, false, &mut self.out);
        }
        self.out.drain().for_each(drop);
    }

    fn knows_all(&mut self) -> bool {
        for member in self.members.iter_mut().filter(|member| !member.knows) {
            member.knows = member.replication.read(KEY).is_some();
        }
        self.members.iter().all(|member| member.knows)
    }

    fn round(&mut self, fanout: usize) {
        let (count, now) = (self.members.len(), now_at(self.now));
        let mut links: Vec<(usize, usize)> = Vec::with_capacity(count * fanout);
        for caller in 0..count {
            let called = self.rng.choose_multiple(count - 1, fanout);
            let other = |at: usize| at + usize::from(at >= caller);
            links.extend(called.into_iter().map(|at| (caller.min(other(at)), caller.max(other(at)))));
        }
        links.sort_unstable();
        links.dedup();
        for (one, other) in &links {
            for (at, peer) in [(*one, *other), (*other, *one)] {
                let id = self.members[peer].neighbours.me().short();
                self.members[at].replication.link_up(now, id, LinkSlot(peer as u32));
            }
        }
        self.compare();
        for (one, other) in &links {
            self.members[*one].replication.link_down(LinkSlot(*other as u32));
            self.members[*other].replication.link_down(LinkSlot(*one as u32));
        }
    }

    /// Lets all do what is due until the round ends, in the order of time.
    fn compare(&mut self) {
        let end = self.now + ROUND;
        let mut due = BTreeSet::new();
        let mut armed = vec![None; self.members.len()];
        for at in 0..self.members.len() {
            self.arm(at, &mut due, &mut armed);
        }
        while let Some((time, at)) = due.pop_first() {
            if time > end {
                break;
            }
            self.now = self.now.max(time);
            armed[at] = None;
            let member = &mut self.members[at];
            member.replication.wake(
                now_at(self.now),
                &member.neighbours,
                &mut member.nearness,
                &mut self.out,
            );
            self.post(at);
            self.arm(at, &mut due, &mut armed);
            while let Some((to, link, body)) = self.mail.pop_front() {
                self.on_control(to, link, body);
                self.post(to);
                self.arm(to, &mut due, &mut armed);
            }
        }
        self.now = end;
        for (to, link, bundle) in std::mem::take(&mut self.bundles) {
            let member = &mut self.members[to];
            let bundle = Box::new(Bundle::clone(&bundle));
            let now = now_at(self.now);
            member.replication.on_bundle(now, link, bundle, &member.neighbours, &mut self.out);
            self.out.drain().for_each(drop);
        }
    }

    fn arm(&self, at: usize, due: &mut BTreeSet<(Time, usize)>, armed: &mut [Option<Time>]) {
        let next = self.members[at].replication.deadline().map(|next| next.max(self.now));
        if let Some(before) = std::mem::replace(&mut armed[at], next) {
            due.remove(&(before, at));
        }
        if let Some(next) = next {
            due.insert((next, at));
        }
    }

    fn on_control(&mut self, to: usize, link: LinkSlot, body: ControlBody) {
        let (now, replication) = (now_at(self.now), &mut self.members[to].replication);
        if let ControlBody::Compare(compare) = &body {
            replication.on_compare(now, link, compare, &mut self.out);
        } else if let ControlBody::Versions(told) = &body {
            replication.on_versions(now, link, told, &mut self.out);
        }
    }

    /// Sends what a node put out; a link is named by who is at its other end.
    fn post(&mut self, from: usize) {
        let back = LinkSlot(from as u32);
        for output in self.out.drain() {
            if let Output::Control { link, body } = output {
                self.mail.push_back((link.0 as usize, back, body));
            } else if let Output::State { links, bundle } = output {
                let copies = links.into_iter().map(|link| (link.0 as usize, back, Arc::clone(&bundle)));
                self.bundles.extend(copies);
            }
        }
    }

    fn wake_until(&mut self, at: usize, end: Time) {
        let member = &mut self.members[at];
        while let Some(due) = member.replication.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            member.replication.wake(
                now_at(self.now),
                &member.neighbours,
                &mut member.nearness,
                &mut self.out,
            );
        }
    }
}

impl Member {
    fn new(at: usize, seed: u64, authority: &Signer) -> Member {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
        let signer = Signatures::Keyed.signer(&key);
        let admission = Admission {
            mesh: MeshId(0),
            key: signer.public(),
            roles: Roles::EDGE,
            region: "r0".parse().expect("a name"),
            name: format!("edge-{at}").parse().expect("a name"),
            not_before_seconds: 0,
            not_after_seconds: u64::MAX,
            signature: Signature([0; 64]),
        };
        let identity = Identity {
            mesh: "rounds".into(),
            admission: admission.signed_with(authority),
            incarnation: 1,
            addresses: Vec::new(),
            process: 1,
            version: String::new(),
            authority: Signatures::Keyed.verify_key(authority),
            coordinators: None,
            signer: Arc::new(signer),
        };
        let seed = seed ^ (at as u64) << 32;
        Member {
            peer: identity.peer(),
            replication: Replication::of_writer(&identity, seed),
            nearness: Nearness::new(identity.me().id, identity.me().region, Strategy::default(), seed),
            neighbours: Neighbours::new(identity, Vec::new(), seed),
            knows: false,
        }
    }
}

fn now_at(mono: Time) -> Now {
    Now { mono, wall: Time(WALL_START + mono.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_takes_about_as_many_rounds_as_theory_says() {
        let table = rounds_table(&[10, 64, 256], &[1, 3], 3, |_| {});
        assert_eq!(table.rows.len(), 6);
        for row in &table.rows {
            assert!(row.rounds.p50 >= 1 && row.rounds.p50 <= row.rounds.max, "{row:?}");
            assert!(row.rounds.p50.abs_diff(row.expected as usize) <= 2, "{row:?}");
        }
        let of = |nodes, fanout| {
            let row = table.rows.iter().find(|row| (row.nodes, row.fanout) == (nodes, fanout));
            row.expect("it is in the table").rounds.p50
        };
        assert!(of(256, 1) > of(10, 1) && of(256, 3) < of(256, 1), "{table:?}");
    }
}
