//! A model of what coordinators agree on: who they are, and a log that never fails.

use bytes::Bytes;
use starling_core::agreement::{Part, Standing};
use starling_core::id::NodeId;
use starling_core::identity::{CoordinatorSet, PublicKey, Roles};
use starling_core::machine::Input;

use crate::World;
use crate::node::Node;

impl World {
    /// Says which nodes will be the mesh's coordinators: what every node that is added from now on knows
    /// by its credentials.
    ///
    /// # Panics
    /// They are none, or more than a set takes.
    pub fn appoint(&mut self, nodes: impl IntoIterator<Item = usize>) {
        let key_of = |node| self.signatures.signer(&Node::seed_of(node)).public();
        let members = nodes.into_iter().map(key_of).collect();
        let set = CoordinatorSet::first(&self.authority, members).expect("some coordinators, not too many");
        let root = self.signatures.verify_key(&self.authority);
        self.coordinators = Some(set.verify_first(&root).expect("it was just signed"));
    }

    /// The log takes what is proposed and tells every coordinator that runs, in one order.
    pub(crate) fn commit(&mut self, entry: Bytes) {
        self.decided.push(entry.clone());
        let index = self.decided.len() as u64;
        for to in 0..self.nodes.len() {
            let is_coordinator = self.nodes[to].plan.roles.has(Roles::COORDINATOR);
            if is_coordinator {
                let input = Input::Committed { index, entry: entry.clone() };
                self.input_later(self.conditions.latency, to, input);
            }
        }
    }

    /// A coordinator that starts is told what its log holds, as its driver would.
    pub(crate) fn replay_log(&mut self, node: usize) {
        if self.nodes[node].plan.roles.has(Roles::COORDINATOR) {
            let standings = self.standings();
            if standings.len() > 1 {
                self.input(node, Input::Standings(standings));
            }
            for (index, entry) in (1..).zip(self.decided.clone()) {
                self.input(node, Input::Committed { index, entry });
            }
        }
    }

    /// The coordinators as the model has them: one leads, and all are always where the log is.
    fn standings(&self) -> Vec<Standing> {
        let members = self.coordinators.iter().flat_map(|coordinators| coordinators.set().members());
        let standing = |(place, key): (usize, &PublicKey)| Standing {
            id: NodeId::of_key(&key.0).short(),
            part: if place == 0 { Part::Leader } else { Part::Follower },
            term: 1,
            applied: self.decided.len() as u64,
            is_heard: true,
        };
        members.enumerate().map(standing).collect()
    }
}
