//! A hash over everything that happened: two runs of one seed agree in it, two seeds do not.
//!
//! It takes the time, the node, and every input and output. Messages are taken by the bytes that
//! cross the wire.

use starling_core::time::Time;

/// Bytes that are collected before they are hashed in one pass.
const PIECE_BYTES: usize = 64 * 1024;

/// The hash so far.
#[derive(Debug)]
pub(crate) struct Trace {
    piece: Vec<u8>,
    hasher: blake3::Hasher,
    steps: u64,
}

/// What kind of thing is noted.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Mark {
    Input = 1,
    Sent = 2,
    Came = 3,
    Output = 4,
    Client = 5,
    Fault = 6,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { piece: Vec::with_capacity(PIECE_BYTES + 64), hasher: blake3::Hasher::new(), steps: 0 }
    }
}

impl Trace {
    /// Notes that something happened at `node`, whose content has the hash `content`.
    pub fn note(&mut self, at: Time, node: usize, mark: Mark, content: u64) {
        self.piece.extend_from_slice(&at.0.to_le_bytes());
        self.piece.extend_from_slice(&(node as u32).to_le_bytes());
        self.piece.push(mark as u8);
        self.piece.extend_from_slice(&content.to_le_bytes());
        if self.piece.len() >= PIECE_BYTES {
            self.close_piece();
        }
    }

    /// One more input was handled.
    pub fn step(&mut self) {
        self.steps += 1;
    }

    /// How many inputs were handled.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn close_piece(&mut self) {
        self.hasher.update(&self.piece);
        self.piece.clear();
    }

    /// The hash so far.
    pub fn hash(&mut self) -> [u8; 32] {
        self.close_piece();
        *self.hasher.finalize().as_bytes()
    }
}
