//! Peers and inputs for tests of one machine.

use std::time::Duration;

use starling_core::id::MeshId;
use starling_core::identity::{
    Admission, CoordinatorSet, Coordinators, Roles, SecretKey, Signature, VerifyKey,
};
use starling_core::machine::{Input, LinkSlot, Machine, Outbox, Output};
use starling_core::membership::Identity;
use starling_core::membership::detector::Probe;
use starling_core::membership::record;
use starling_core::time::{Now, Time};
use starling_core::wire::codec::Wire;
use starling_core::wire::message::{ControlBody, PeerRecord};

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

pub fn admission(seed: u8, roles: Roles, region: &str) -> Admission {
    let admission = Admission {
        mesh: MeshId(0),
        key: key(seed).public(),
        roles,
        region: region.parse().expect("a name"),
        name: format!("node-{seed}").parse().expect("a name"),
        not_before_seconds: 0,
        not_after_seconds: u64::MAX,
        signature: Signature([0; 64]),
    };
    admission.signed_by(&key(200))
}

pub fn identity(roles: Roles) -> Identity {
    let authority = VerifyKey::new(&key(200).public()).expect("a good key");
    let (addresses, version) = (vec!["me:1".to_string()], String::new());
    Identity {
        mesh: "test".into(),
        admission: admission(1, roles, "east"),
        incarnation: 1,
        addresses,
        process: 1,
        version,
        authority,
        coordinators: Some(coordinators(&[1])),
        signer: std::sync::Arc::new(key(1).signer()),
    }
}

/// The nodes with these keys, as the mesh's coordinators.
pub fn coordinators(seeds: &[u8]) -> Coordinators {
    let members = seeds.iter().map(|seed| key(*seed).public()).collect();
    let set = CoordinatorSet::first(&key(200).signer(), members).expect("a set");
    set.verify_first(&VerifyKey::new(&key(200).public()).expect("a good key")).expect("it is signed")
}

/// A machine, its time, and what it put out since it was last asked.
pub struct Bench<M> {
    pub machine: M,
    pub now: Now,
}

impl<M: Machine> Bench<M> {
    pub fn new(machine: M) -> Bench<M> {
        Bench { machine, now: Now { mono: Time::ZERO, wall: Time::from_millis(1_780_000_000_000) } }
    }

    pub fn input(&mut self, input: Input) -> Vec<Output> {
        let mut out = Outbox::new();
        self.machine.handle(self.now, input, &mut out);
        self.machine.check();
        out.drain().collect()
    }

    pub fn pass(&mut self, millis: u64) -> Vec<Output> {
        let until = self.now.mono + Duration::from_millis(millis);
        let mut outputs = Vec::new();
        while let Some(due) = self.machine.deadline().filter(|due| *due <= until) {
            self.now.mono = self.now.mono.max(due);
            let step = self.input(Input::Wake);
            self.answer(&step);
            outputs.extend(step);
        }
        self.now.mono = until;
        outputs
    }

    /// Peers live: they answer probes.
    fn answer(&mut self, outputs: &[Output]) {
        for output in outputs {
            let (Output::Probe { link, body } | Output::Control { link, body: ControlBody::Probe(body) }) =
                output
            else {
                continue;
            };
            if let Ok(Probe::Ping { number, .. }) = Probe::from_bytes(body) {
                self.input(Input::Probe { link: *link, body: Probe::Ack { number }.to_bytes() });
            }
        }
    }

    pub fn link(&mut self, link: u32, seed: u8, roles: Roles, region: &str) -> Vec<Output> {
        let admission = admission(seed, roles, region);
        let addresses = vec![format!("node-{seed}:1")];
        let record = PeerRecord { incarnation: 1, addresses, process: 1, ..PeerRecord::default() };
        let record = record::signed(record, admission.mesh, &key(seed).signer());
        let peer = record::peer(admission, record).expect("it is signed");
        self.input(Input::LinkUp { link: LinkSlot(link), peer: Box::new(peer) })
    }

    pub fn control(&mut self, link: u32, body: ControlBody) -> Vec<Output> {
        self.input(Input::Control { link: LinkSlot(link), body })
    }
}

/// Control messages sent over a link.
pub fn sent(outputs: &[Output], link: u32) -> Vec<&ControlBody> {
    let over = |output| match output {
        &Output::Control { link: LinkSlot(to), ref body } if to == link => Some(body),
        Output::ControlToAll { links, body } if links.contains(&LinkSlot(link)) => Some(body),
        _ => None,
    };
    outputs.iter().filter_map(over).collect()
}
