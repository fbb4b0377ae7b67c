//! What hostile nodes make up.

use bytes::{BufMut, Bytes, BytesMut};
use starling_core::id::{AgentId, MeshId, ShortId};
use starling_core::identity::{Admission, Context, SecretKey, Signer};
use starling_core::limits;
use starling_core::membership::detector::{Kind, Life, Statement};
use starling_core::membership::record::signed;
use starling_core::time::Time;
use starling_core::wire::bundle::{Bundle, Class, Section};
use starling_core::wire::codec::Wire;
use starling_core::wire::entry::{Extras, put_entry};
use starling_core::wire::frame::FrameType;
use starling_core::wire::message::{ControlBody, Interest, PeerRecord, Peers, Statements};

use crate::Attack;

/// A version of interest that no honest node reaches.
pub const LATE_VERSION: u64 = 1 << 40;
/// Records in one message of made-up peers.
const RECORDS_MAX: usize = 32;
/// A subject that nobody wants.
const VOID: &str = "void";

/// An admitted node with a key that lies.
#[derive(Debug)]
pub struct Liar {
    /// Its mesh.
    pub mesh: MeshId,
    /// Its name.
    pub id: ShortId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its key.
    pub signer: Signer,
    /// The time by its wall clock.
    pub wall: Time,
}

impl Liar {
    /// An event of `origin` on `subject` with what else it has to have, signed by the liar.
    pub fn made_up(&self, origin: ShortId, subject: &str, sequence: u64, payload: &[u8]) -> Bundle {
        let mut body = BytesMut::new();
        put_entry(&mut body, 0, sequence, &Extras::default(), payload);
        let body = body.freeze();
        let section = Section {
            tenant: 0,
            key: 0,
            codec: 0,
            directed: false,
            count: 1,
            subject: Bytes::copy_from_slice(subject.as_bytes()),
            hash: *blake3::hash(&body).as_bytes(),
            length: u32::try_from(body.len()).expect("a short text"),
            body: Some(body),
        };
        let plain = Bundle {
            class: Class::EventBulk,
            mesh: self.mesh,
            origin,
            incarnation: self.incarnation,
            sequence,
            clock: self.wall.as_millis() << 16,
            previous: None,
            is_checkpoint: false,
            agents: vec![AgentId([0xBA; 16])],
            sections: vec![section],
            header: Bytes::new(),
            hash: [0; 32],
        };
        plain.signed_by(&self.signer)
    }

    /// What somebody wants to hear: of even sequences in the name of `victim`, of odd ones in its own
    /// without its signature.
    pub fn forged(&self, victim: ShortId, subject: &str, sequence: u64) -> Bundle {
        let origin = if sequence.is_multiple_of(2) { victim } else { self.id };
        let mut bundle = self.made_up(origin, subject, LATE_VERSION | sequence, b"forged");
        // Nobody wrongs the liar by its own signature.
        if origin == self.id {
            let mut header = bundle.header.to_vec();
            if let Some(last) = header.last_mut() {
                *last ^= 1;
            }
            bundle.header = header.into();
        }
        bundle
    }

    /// Two bundles under one sequence.
    pub fn pair(&self, sequence: u64) -> [Bundle; 2] {
        [b"one", b"two"].map(|payload| self.made_up(self.id, VOID, sequence, payload))
    }

    /// One of many that nobody wants and everybody has to check.
    pub fn useless(&self, sequence: u64) -> Bundle {
        self.made_up(self.id, VOID, sequence, b"flood")
    }

    /// Suspicions and confirmed deaths of nodes that live, by name and incarnation.
    pub fn accusations(&self, victims: impl IntoIterator<Item = (ShortId, u64)>) -> Statements {
        let mut signed = Vec::new();
        for (subject, incarnation) in victims {
            for kind in [Kind::Suspect, Kind::Confirm] {
                let said = self.wall.as_millis();
                let statement =
                    Statement { speaker: self.id, kind, subject, life: Life::first(incarnation), said };
                let message = statement.message();
                let mut bytes = BytesMut::new();
                bytes.put_slice(&message);
                bytes.put_slice(&self.signer.sign(Context::Membership, &message).0);
                signed.push(bytes.freeze());
            }
        }
        Statements { signed }
    }
}

/// Interest in everything, to have something to repeat.
pub fn wants_everything() -> Interest {
    let added = vec![">".to_string()];
    Interest { version: LATE_VERSION, whole: true, added, ..Interest::default() }
}

/// The body of a frame that is over the limit.
pub fn giant_body() -> Bytes {
    Bytes::from(vec![0xFF; limits::FRAME_BYTES_MAX + 1])
}

/// Nodes that were never admitted, and these honest ones at addresses where they are not.
pub fn poisoned(honest: impl IntoIterator<Item = (Admission, u64)>) -> Vec<Peers> {
    let mut records = Vec::new();
    for (mut admission, incarnation) in honest {
        let record = PeerRecord {
            admission: admission.to_bytes(),
            addresses: vec!["nowhere".to_string()],
            incarnation: incarnation + 1_000,
            ..PeerRecord::default()
        };
        admission.key.0[0] ^= 1;
        let stranger = PeerRecord { admission: admission.to_bytes(), ..record.clone() };
        records.extend([record, stranger]);
    }
    records.chunks(RECORDS_MAX).map(|part| Peers { records: part.to_vec(), more: false }).collect()
}

/// Records of nodes that nobody admitted, `count` of them from number `first` on: each says of itself what
/// the mesh's authority would have to say. The rest is as in `like`.
pub fn strangers(like: &Admission, first: u64, count: u64) -> Peers {
    let record = |number: u64| {
        let mut seed = [0x5B; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let key = SecretKey::from_seed(seed);
        let name = format!("sybil-{number}").parse().expect("short and of good characters");
        let admission = Admission { key: key.public(), name, ..like.clone() }.signed_by(&key);
        let record = PeerRecord {
            admission: admission.to_bytes(),
            addresses: vec!["nowhere:1".to_string()],
            incarnation: 1,
            ..PeerRecord::default()
        };
        signed(record, like.mesh, &key.signer())
    };
    Peers { records: (first..first + count.min(RECORDS_MAX as u64)).map(record).collect(), more: false }
}

/// What becomes of a frame that a liar's machine or hot path sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes as it is.
    Sent,
    /// This body goes instead.
    Changed(Bytes),
    /// It does not go.
    Lost,
}

/// What `me`, which attacks so, does to a frame that it is to send.
pub fn fate(attack: Attack, me: ShortId, kind: FrameType, body: &Bytes) -> Fate {
    let (is_bundle, is_acknowledgement) = (kind == FrameType::Bundle, kind == FrameType::Acknowledge);
    if attack == Attack::Tampering && is_bundle {
        return spoiled(body, me).map_or(Fate::Sent, Fate::Changed);
    }
    let holds_bundles = attack == Attack::WithheldBundles && is_bundle && !is_of(body, me);
    let holds_acknowledgements = attack == Attack::WithheldAcknowledgements && is_acknowledgement;
    if holds_bundles || holds_acknowledgements { Fate::Lost } else { Fate::Sent }
}

/// Whether a node that attacks so sends this control message of its machine.
pub fn is_said(attack: Attack, body: &ControlBody) -> bool {
    attack != Attack::WithheldConfirmations || !matches!(body, ControlBody::InterestConfirmed(_))
}

fn is_of(body: &Bytes, me: ShortId) -> bool {
    Bundle::decode(body).is_ok_and(|(_, bundle)| bundle.origin == me)
}

/// The body of a bundle's frame with another last byte of its last entry; nothing if `me` sealed it.
fn spoiled(body: &Bytes, me: ShortId) -> Option<Bytes> {
    if is_of(body, me) {
        return None;
    }
    let mut bytes = body.to_vec();
    *bytes.last_mut()? ^= 1;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use starling_core::conduct::{Opening, Proof};
    use starling_core::id::NodeId;
    use starling_core::identity::VerifyKey;

    use super::*;

    fn liar() -> (Liar, VerifyKey) {
        let key = SecretKey::from_seed([3; 32]);
        let id = NodeId::of_key(&key.public().0).short();
        let wall = Time::from_millis(1_780_000_000_000);
        let liar = Liar { mesh: MeshId(1), id, incarnation: 5, signer: key.signer(), wall };
        (liar, VerifyKey::new(&key.public()).expect("a good key"))
    }

    /// An attack that shows nothing wrong would prove nothing.
    #[test]
    fn a_pair_convicts_and_forgeries_do_not_hold() {
        let (liar, key) = liar();
        let [one, two] = liar.pair(7).map(|bundle| Opening::of(&bundle.header).expect("a whole header"));
        assert!(one.is_signed_by(&key) && two.is_signed_by(&key));
        let proof = Proof::of_pair(one, two).expect("two headers under one sequence");
        assert_eq!(proof.verify(&key, MeshId(1)).expect("it convicts").node(), liar.id);

        let victim = ShortId(9);
        let opened = |sequence| Opening::of(&liar.forged(victim, "a.b", sequence).header).expect("whole");
        assert_eq!(opened(2).front().origin, victim);
        let own = opened(3);
        assert!(own.front().origin == liar.id && !own.is_signed_by(&key));
        // Also where it knows of no victim.
        let alone = Opening::of(&liar.forged(liar.id, "a.b", 4).header).expect("whole");
        assert!(!alone.is_signed_by(&key));
    }

    #[test]
    fn a_giant_is_over_the_limit() {
        assert!(giant_body().len() > limits::FRAME_BYTES_MAX);
    }
}
