//! State bundles: changes of a keyspace, sealed and opened (docs/protocol.md#state-bundles).

use bytes::{Bytes, BytesMut};

use crate::hot::view::Me;
use crate::identity::Signer;
use crate::state::crdt::Value;
use crate::state::keyspace::{Change, KEYSPACE_BYTES_MAX, NO_HASH, StateBundle};
use crate::state::merkle::Hash;
use crate::state::version::Version;
use crate::wire::bundle::{Bundle, Class, Section};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// The subject of the section that carries changes of keys.
pub const KEYS_SUBJECT: &str = "keys";
/// A body: a whole keyspace, and removals, which take no room in it.
const BODY_BYTES_MAX: usize = 2 * KEYSPACE_BYTES_MAX;

/// A place in an origin's chain.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The bundle's sequence.
    pub sequence: u64,
    /// The hash of the one before.
    pub previous: Hash,
    /// Whether it has the whole keyspace.
    pub is_checkpoint: bool,
    /// When it was sealed, by the origin's hybrid logical clock.
    pub clock: u64,
}

/// Seals changes of node `me`.
pub fn seal(me: &Me, key: &Signer, place: Place, changes: &[Change]) -> Bundle {
    let mut body = BytesMut::new();
    changes.iter().for_each(|change| change.encode(&mut body));
    let body = body.freeze();
    let section = Section {
        tenant: 0,
        key: 0,
        codec: 0,
        directed: false,
        count: u16::try_from(changes.len()).expect("a keyspace takes fewer entries than 65,536"),
        subject: Bytes::from_static(KEYS_SUBJECT.as_bytes()),
        hash: *blake3::hash(&body).as_bytes(),
        length: u32::try_from(body.len()).expect("a keyspace has at most 64 KiB"),
        body: Some(body),
    };
    let bundle = Bundle {
        class: Class::State,
        mesh: me.mesh,
        origin: me.id,
        incarnation: me.incarnation,
        sequence: place.sequence,
        clock: place.clock,
        previous: (place.previous != NO_HASH).then_some(place.previous),
        is_checkpoint: place.is_checkpoint,
        agents: Vec::new(),
        sections: vec![section],
        header: Bytes::new(),
        hash: [0; 32],
    };
    bundle.signed_by(key)
}

/// The changes in a state bundle.
///
/// # Errors
/// It is not as [`seal`] makes it, or has a register from after its own clock.
pub fn open(bundle: &Bundle) -> Result<Vec<Change>, DecodeError> {
    let [section] = &bundle.sections[..] else { return Err(DecodeError::Invalid("sections of state")) };
    let is_plain = section.tenant == 0 && section.key == 0 && section.codec == 0 && !section.directed;
    if !is_plain || section.subject != KEYS_SUBJECT.as_bytes() {
        return Err(DecodeError::Invalid("section of state"));
    }
    let body = section.body.as_ref().ok_or(DecodeError::Truncated)?;
    if body.len() > BODY_BYTES_MAX {
        return Err(DecodeError::TooLong("changes of state"));
    }
    let mut reader = Reader::new(body);
    let mut changes = Vec::with_capacity(usize::from(section.count).min(body.len() / 4));
    for _ in 0..section.count {
        let change = Change::decode(&mut reader)?;
        if let Some(Value::Register(register)) = &change.value
            && register.time().0 > bundle.clock
        {
            // It would win over everything that anyone writes until then.
            return Err(DecodeError::Invalid("time of a register"));
        }
        changes.push(change);
    }
    reader.finish()?;
    Ok(changes)
}

/// What a keyspace needs to know of the bundle.
pub fn state_bundle<'a>(bundle: &Bundle, changes: &'a [Change]) -> StateBundle<'a> {
    StateBundle {
        version: version(bundle),
        previous_hash: bundle.previous.unwrap_or(NO_HASH),
        hash: bundle.hash,
        is_checkpoint: bundle.is_checkpoint,
        changes,
    }
}

/// Where it is in its origin's chain.
pub fn version(bundle: &Bundle) -> Version {
    Version { incarnation: bundle.incarnation, sequence: bundle.sequence }
}
