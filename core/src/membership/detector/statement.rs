//! What nodes say of each other and of themselves, and how it is written.
//!
//! ```text
//!  0        1                 9                17                25          29               37
//!  +--------+-----------------+----------------+-----------------+-----------+----------------+
//!  | kind   | speaker         | subject        | incarnation     | refutation| said           |
//!  +--------+-----------------+----------------+-----------------+-----------+----------------+
//! ```
//! Little-endian. The kinds are Serf's. A statement is rare, is signed by its speaker (these very
//! bytes are what the signature covers, under a context of their own) and is flooded.

use bytes::{BufMut, BytesMut};

use crate::id::ShortId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Bytes of a statement.
pub const STATEMENT_BYTES: usize = 37;

/// Which life of a node is meant: a restart raises the incarnation, a refutation the refutation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// Raised by the node at every start.
    pub incarnation: u64,
    /// Raised by the node when it hears that it is accused.
    pub refutation: u32,
}

impl Life {
    /// The first life of an incarnation.
    pub fn first(incarnation: u64) -> Life {
        Life { incarnation, refutation: 0 }
    }
}

/// What a node is held for. Of two of one life the greater stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Nothing speaks against it.
    #[default]
    Alive,
    /// At least one observer accuses it. It is to be treated as alive.
    Suspect,
    /// Enough observers accused it and it did not refute them in time.
    Dead,
    /// It said that it leaves.
    Left,
}

/// What a statement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The speaker came into the region.
    Join,
    /// The speaker lives: a refutation.
    Alive,
    /// The speaker observes the subject and cannot reach it.
    Suspect,
    /// The same, by one that holds the subject for dead by now: no more than one accuser's word.
    Confirm,
    /// The speaker goes, and is not to be looked for.
    Leave,
}

impl Kind {
    /// Whether it speaks against another node.
    pub fn is_accusation(self) -> bool {
        match self {
            Kind::Suspect | Kind::Confirm => true,
            Kind::Join | Kind::Alive | Kind::Leave => false,
        }
    }
}

/// A statement, which counts only with its speaker's signature over [`Statement::message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// Who says it.
    pub speaker: ShortId,
    /// What it says.
    pub kind: Kind,
    /// Of whom: the speaker itself unless it is an accusation.
    pub subject: ShortId,
    /// Of which life.
    pub life: Life,
    /// When an accusation was made, in milliseconds of the speaker's wall clock; zero in others,
    /// whose order is that of the lives.
    pub said: u64,
}

impl Statement {
    /// The bytes that the speaker signs.
    pub fn message(&self) -> [u8; STATEMENT_BYTES] {
        let mut message = [0; STATEMENT_BYTES];
        message[0] = match self.kind {
            Kind::Join => 1,
            Kind::Alive => 2,
            Kind::Suspect => 3,
            Kind::Confirm => 4,
            Kind::Leave => 5,
        };
        message[1..9].copy_from_slice(&self.speaker.0.to_le_bytes());
        message[9..17].copy_from_slice(&self.subject.0.to_le_bytes());
        message[17..25].copy_from_slice(&self.life.incarnation.to_le_bytes());
        message[25..29].copy_from_slice(&self.life.refutation.to_le_bytes());
        message[29..37].copy_from_slice(&self.said.to_le_bytes());
        message
    }

    /// Whether such a statement can be meant: an accusation is of another, all else of oneself.
    pub fn is_proper(&self) -> bool {
        let is_accusation = self.kind.is_accusation();
        is_accusation == (self.speaker != self.subject) && (is_accusation || self.said == 0)
    }
}

impl Wire for Life {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.incarnation);
        out.put_u32_le(self.refutation);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Life, DecodeError> {
        Ok(Life { incarnation: reader.u64()?, refutation: reader.u32()? })
    }
}

impl Wire for Statement {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.message());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Statement, DecodeError> {
        let kind = match reader.u8()? {
            1 => Kind::Join,
            2 => Kind::Alive,
            3 => Kind::Suspect,
            4 => Kind::Confirm,
            5 => Kind::Leave,
            _ => return Err(DecodeError::Invalid("kind of statement")),
        };
        let (speaker, subject) = (ShortId(reader.u64()?), ShortId(reader.u64()?));
        let statement =
            Statement { speaker, kind, subject, life: Life::decode(reader)?, said: reader.u64()? };
        if statement.is_proper() {
            Ok(statement)
        } else {
            Err(DecodeError::Invalid("speaker of a statement"))
        }
    }
}
