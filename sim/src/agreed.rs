//! A model of what coordinators agree on: who they are, and a log that never fails.

use bytes::Bytes;
use starling_core::identity::{CoordinatorSet, Roles};
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
            for (index, entry) in (1..).zip(self.decided.clone()) {
                self.input(node, Input::Committed { index, entry });
            }
        }
    }
}
