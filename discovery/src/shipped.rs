//! The last resort: a list of peers that is shipped with a release, signed and with an end.
//!
//! ```text
//! starling-peers 1
//! mesh 0011223344556677
//! expires 1798761600
//! peer 192.0.2.1:7420#<64 hexadecimal digits>
//! peer edge-1.example.org:7420
//! signature <128 hexadecimal digits>
//! ```
//!
//! Each line ends in one line feed, nothing else is in the file, and peers are in the order of their text,
//! each once: a list has one text only. What is signed is all of it up to the line of the signature, under
//! [`Context::Shipped`]; the key is the mesh's authority or the release key of the configuration.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use starling_core::id::{MeshId, hex, unhex};
use starling_core::identity::{Context, SecretKey, Signature, VerifyKey};

use crate::{CANDIDATES_MAX, Candidate};

/// No list is longer.
const LIST_BYTES_MAX: u64 = 64 * 1024;
const FIRST_LINE: &str = "starling-peers 1";

/// A list whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The mesh that its peers belong to.
    pub mesh: MeshId,
    /// Seconds since 1970 from which on it is not used any more.
    pub expires: u64,
    /// Its peers.
    pub peers: Vec<Candidate>,
}

/// Why a list is not used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ShippedError {
    /// The file could not be read.
    #[error("cannot read {}: {source}; check discovery.shipped", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not in the form of a list; whoever made or changed it is at fault.
    #[error("line {line} of the shipped list is wrong: {why}; take the list of the release again")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Neither of the keys signed it.
    #[error("the shipped list is signed neither by this mesh's authority nor by discovery.release_key")]
    Signature,
    /// It is of another mesh.
    #[error("the shipped list is of the mesh {0}; take the list of this one")]
    OtherMesh(MeshId),
    /// Its time is over.
    #[error("the shipped list ran out at {expires} (seconds since 1970); take that of a newer release")]
    Expired {
        /// When.
        expires: u64,
    },
}

impl Shipped {
    /// The list as it is signed.
    fn signed_text(&self) -> String {
        let mut peers: Vec<String> = self.peers.iter().map(Candidate::to_string).collect();
        peers.sort_unstable();
        peers.dedup();
        let lines: String = peers.iter().map(|peer| format!("peer {peer}\n")).collect();
        format!("{FIRST_LINE}\nmesh {}\nexpires {}\n{lines}", self.mesh, self.expires)
    }

    /// The whole file, signed by `key`.
    pub fn sign(&self, key: &SecretKey) -> String {
        let text = self.signed_text();
        let signature = key.sign(Context::Shipped, text.as_bytes());
        format!("{text}signature {}\n", hex(&signature.0))
    }

    /// Reads and verifies a file: signed by one of `keys`, of this mesh, and not over at `now` (seconds since
    /// 1970).
    ///
    /// # Errors
    /// See [`ShippedError`].
    pub fn load(path: &Path, keys: &[VerifyKey], mesh: MeshId, now: u64) -> Result<Shipped, ShippedError> {
        let unread = |source| ShippedError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(unread)?;
        file.take(LIST_BYTES_MAX + 1).read_to_string(&mut text).map_err(unread)?;
        if text.len() as u64 > LIST_BYTES_MAX {
            let why = format!("the file is longer than {LIST_BYTES_MAX} bytes");
            return Err(ShippedError::Malformed { line: 1, why });
        }
        Shipped::parse(&text, keys, mesh, now)
    }

    /// The same of a text.
    ///
    /// # Errors
    /// See [`ShippedError`].
    pub fn parse(text: &str, keys: &[VerifyKey], mesh: MeshId, now: u64) -> Result<Shipped, ShippedError> {
        // What is not signed is not even looked at.
        let at = text.rfind("signature ").unwrap_or_default();
        let (signed, last) = text.split_at(at);
        let line = signed.lines().count() + 1;
        let digits = last.strip_prefix("signature ").and_then(|rest| rest.strip_suffix('\n'));
        let signature = digits.and_then(unhex).map(Signature);
        let why = || "it does not end in a line with the signature".to_owned();
        let signature = signature.ok_or_else(|| ShippedError::Malformed { line, why: why() })?;
        if !keys.iter().any(|key| key.verify(Context::Shipped, signed.as_bytes(), &signature)) {
            return Err(ShippedError::Signature);
        }
        let shipped = Shipped::lines(signed)?;
        if shipped.signed_text() != signed {
            let why = "peers are not in order, twice there, or lines do not end in one line feed".to_owned();
            return Err(ShippedError::Malformed { line, why });
        }
        if shipped.mesh != mesh {
            return Err(ShippedError::OtherMesh(shipped.mesh));
        }
        if shipped.expires <= now {
            return Err(ShippedError::Expired { expires: shipped.expires });
        }
        Ok(shipped)
    }

    fn lines(text: &str) -> Result<Shipped, ShippedError> {
        let wrong = |line: usize, why: &str| ShippedError::Malformed { line, why: why.to_owned() };
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong(1, "it does not begin with `starling-peers 1`"));
        }
        let mesh = lines.next().and_then(|line| unhex::<8>(line.strip_prefix("mesh ")?));
        let mesh = mesh.ok_or_else(|| wrong(2, "it names no mesh"))?;
        let expires = lines.next().and_then(|line| line.strip_prefix("expires ")?.parse().ok());
        let expires = expires.ok_or_else(|| wrong(3, "it has no end"))?;
        let mut peers = Vec::new();
        for (number, line) in (4..).zip(lines) {
            let peer = line.strip_prefix("peer ").ok_or_else(|| wrong(number, "it is of no peer"))?;
            peers.push(peer.parse().map_err(|why| wrong(number, &format!("{peer:?}: {why}")))?);
            if peers.len() > CANDIDATES_MAX {
                return Err(wrong(number, &format!("there are more than {CANDIDATES_MAX} peers")));
            }
        }
        Ok(Shipped { mesh: MeshId(u64::from_le_bytes(mesh)), expires, peers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESH: MeshId = MeshId(0x0011_2233_4455_6677);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    fn keys() -> Vec<VerifyKey> {
        vec![VerifyKey::new(&key(1).public()).unwrap()]
    }

    fn list() -> Shipped {
        let peers = ["192.0.2.1:7420", "edge.example.org:7"].map(|peer| peer.parse().unwrap());
        Shipped { mesh: MESH, expires: 100, peers: peers.into() }
    }

    #[test]
    fn a_list_is_read_as_it_was_signed() {
        let text = list().sign(&key(1));
        assert_eq!(Shipped::parse(&text, &keys(), MESH, 99).unwrap(), list());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        assert_eq!(Shipped::load(file.path(), &keys(), MESH, 99).unwrap(), list());
    }

    #[test]
    fn whatever_is_changed_it_is_not_used() {
        let text = list().sign(&key(1));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Shipped::parse(&changed, &keys(), MESH, 1).is_err(), "byte {at}");
        }
        let refused = |text: &str, mesh, now| Shipped::parse(text, &keys(), mesh, now).unwrap_err();
        assert!(matches!(refused(&list().sign(&key(2)), MESH, 1), ShippedError::Signature));
        assert!(matches!(refused(&text, MeshId(1), 1), ShippedError::OtherMesh(MESH)));
        assert!(matches!(refused(&text, MESH, 100), ShippedError::Expired { expires: 100 }));
        assert!(matches!(refused("", MESH, 1), ShippedError::Malformed { .. }));
        assert!(matches!(refused(&format!("{text}\n"), MESH, 1), ShippedError::Malformed { .. }));
        assert!(Shipped::load(Path::new("/nowhere/peers"), &keys(), MESH, 1).is_err());
    }

    #[test]
    fn a_signed_list_must_still_be_one() {
        let signed = |body: &str| {
            let signature = key(1).sign(Context::Shipped, body.as_bytes());
            format!("{body}signature {}\n", hex(&signature.0))
        };
        let head = format!("{FIRST_LINE}\nmesh {MESH}\nexpires 100\n");
        let many: String = (1..80).map(|port| format!("peer 192.0.2.1:{port:05}\n")).collect();
        for body in ["peer b:1\npeer a:1\n", "peer a:1\npeer a:1\n", "peer a:1\r\n", "peer a\n", "x\n", &many]
        {
            let refused = Shipped::parse(&signed(&format!("{head}{body}")), &keys(), MESH, 1);
            assert!(matches!(refused, Err(ShippedError::Malformed { .. })), "{body:?}: {refused:?}");
        }
    }
}
