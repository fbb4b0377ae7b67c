//! Machines that are fed what happens to them, and whose invariants are checked after each input.
//! The property tests beside it and `fuzz` share this.

use std::sync::LazyLock;
use std::time::Duration;

use starling_aggregator::Aggregator;
use starling_coordinator::Coordinator;
use starling_core::id::MeshId;
use starling_core::identity::{
    Admission, CoordinatorSet, Coordinators, Roles, SecretKey, Signature, VerifyKey,
};
use starling_core::machine::{Input, Machine, Outbox, Output};
use starling_core::membership::{Identity, record};
use starling_core::time::{Now, Time};
use starling_core::wire::message::PeerRecord;
use starling_edge::Edge;

use super::made::Op;

/// Admissions of nine nodes, by one authority; the last one is of another mesh.
pub struct Cast {
    pub keys: Vec<SecretKey>,
    pub admissions: Vec<Admission>,
    pub authority: VerifyKey,
    /// Nodes 2 and 5, of which neither is a majority.
    pub coordinators: Coordinators,
}

impl Cast {
    /// A record in the word of its node, if there is such a node.
    pub fn spoken(&self, node: usize, record: PeerRecord) -> PeerRecord {
        match self.keys.get(node) {
            Some(key) => record::signed(record, self.admissions[0].mesh, &key.signer()),
            None => record,
        }
    }
}

pub static CAST: LazyLock<Cast> = LazyLock::new(|| {
    let authority = SecretKey::from_seed([1; 32]);
    let other = SecretKey::from_seed([2; 32]);
    let roles = [Roles::EDGE, Roles::AGGREGATOR, Roles::COORDINATOR];
    let keys: Vec<SecretKey> = (10..19).map(|seed| SecretKey::from_seed([seed; 32])).collect();
    let admission = |(at, key): (usize, &SecretKey)| {
        let admission = Admission {
            mesh: MeshId(0),
            key: key.public(),
            roles: roles[at % 3],
            region: if at < 6 { "east" } else { "west" }.parse().expect("a name"),
            name: format!("node-{at}").parse().expect("a name"),
            not_before_seconds: 0,
            not_after_seconds: u64::MAX,
            signature: Signature([0; 64]),
        };
        admission.signed_by(if at == 8 { &other } else { &authority })
    };
    let admissions = keys.iter().enumerate().map(admission).collect();
    let members = [2, 5].map(|at: usize| keys[at].public()).to_vec();
    let set = CoordinatorSet::first(&authority.signer(), members).expect("two members");
    let authority = VerifyKey::new(&authority.public()).expect("a good key");
    let coordinators = set.verify_first(&authority).expect("it is signed");
    Cast { keys, admissions, authority, coordinators }
});

/// Nodes 0, 1 and 2 are the machines under test: one of each role.
fn machine(role: usize, now: Now) -> Box<dyn Machine> {
    let me = Identity {
        mesh: "test".into(),
        admission: CAST.admissions[role].clone(),
        incarnation: 5,
        addresses: vec![address(role)],
        process: 1,
        version: "test".to_string(),
        authority: CAST.authority,
        coordinators: Some(CAST.coordinators.clone()),
        signer: std::sync::Arc::new(CAST.keys[role].signer()),
    };
    let seeds = vec![address(4), address(role), "nowhere".to_string()];
    match role {
        0 => Box::new(Edge::new(me, seeds, 3, now)),
        1 => Box::new(Aggregator::new(me, seeds, 3)),
        _ => Box::new(Coordinator::new(me, seeds, 3)),
    }
}

/// Where a node listens.
pub fn address(node: usize) -> String {
    format!("address-{node}")
}

/// Feeds the machine of a role, which is that node's, and returns everything that it put out, as text.
pub fn run(role: usize, ops: &[Op]) -> String {
    let mut now = Now { mono: Time::ZERO, wall: Time::from_millis(1_780_000_000_000) };
    let mut machine = machine(role, now);
    let mut out = Outbox::new();
    let step = |now: Now, input: Input, machine: &mut Box<dyn Machine>, out: &mut Outbox| {
        machine.handle(now, input, out);
        machine.check();
        if machine.deadline().is_some_and(|due| due <= now.mono) {
            machine.handle(now, Input::Wake, out);
            machine.check();
        }
        let due = machine.deadline();
        assert!(due.is_none_or(|due| due > now.mono), "to be woken at {due:?}, woken at {:?}", now.mono);
    };
    let pass = |now: &mut Now, time: Duration| {
        now.mono = now.mono + time;
        now.wall = now.wall + time;
    };
    for op in ops {
        match op {
            Op::Pass(time) => pass(&mut now, *time),
            Op::WakeWhenDue => {
                let due = machine.deadline().unwrap_or(now.mono).since(now.mono);
                pass(&mut now, due);
            }
            _ => {}
        }
        let proposed = |output: &Output| match output {
            Output::Propose(entry) => Some(entry.clone()),
            _ => None,
        };
        let input = match op {
            Op::CommitProposed(index) => {
                let entry = out.outputs().iter().rev().find_map(proposed).unwrap_or_default();
                Input::Committed { index: *index, entry }
            }
            _ => op.clone().input(),
        };
        step(now, input, &mut machine, &mut out);
    }
    // Left alone it is woken again and again, each time later than before.
    for _ in 0..50 {
        let Some(due) = machine.deadline() else { break };
        let due = due.since(now.mono);
        pass(&mut now, due);
        step(now, Input::Wake, &mut machine, &mut out);
    }
    format!("{:?}", out.outputs())
}
