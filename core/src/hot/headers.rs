//! The last signed headers of an origin: what convicts it should it sign another under the same number.
//!
//! The window knows of 4,096 sequences whether another header is a second one; the header itself is at
//! hand of the last few. They lie one after the other in one piece of memory, which grows as far as it
//! is used.

use std::collections::VecDeque;

use crate::conduct::opening::{Opening, PIECE_BYTES};
use crate::limits::{HEADERS_KEPT_BYTES_MAX, HEADERS_KEPT_MAX};
use crate::wire::bundle::{Bundle, Class, SIGNATURE_BYTES};
use crate::wire::codec::Wire;

/// One header in the common memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: u64,
    class: Class,
    /// Whether it is kept as an opening, since it is longer than one.
    is_opened: bool,
    length: u16,
}

/// Headers of one origin and incarnation, oldest first.
#[derive(Debug, Default)]
pub struct Headers {
    places: VecDeque<Place>,
    bytes: VecDeque<u8>,
}

impl Headers {
    /// Keeps the header of a bundle that was verified.
    pub fn keep(&mut self, bundle: &Bundle) {
        let is_opened = bundle.header.len() > PIECE_BYTES + SIGNATURE_BYTES;
        if is_opened {
            // As rare as bundles with twenty sections; its hashes are a tenth of the signature check.
            if let Ok(opening) = Opening::of(&bundle.header) {
                self.push(bundle, true, &opening.to_bytes());
            }
        } else {
            self.push(bundle, false, &bundle.header);
        }
    }

    fn push(&mut self, bundle: &Bundle, is_opened: bool, bytes: &[u8]) {
        while self.places.len() >= HEADERS_KEPT_MAX || self.bytes.len() + bytes.len() > HEADERS_KEPT_BYTES_MAX
        {
            let Some(oldest) = self.places.pop_front() else { break };
            self.bytes.drain(..usize::from(oldest.length));
        }
        let length = u16::try_from(bytes.len()).expect("an opening has under 2 KiB");
        let (class, sequence) = (bundle.class, bundle.sequence);
        self.places.push_back(Place { sequence, class, is_opened, length });
        self.bytes.extend(bytes);
    }

    /// The header of this number, if it is one of the last.
    pub fn find(&self, class: Class, sequence: u64) -> Option<Opening> {
        let mut at = 0;
        for place in &self.places {
            let length = usize::from(place.length);
            if (place.class, place.sequence) == (class, sequence) {
                let bytes: Vec<u8> = self.bytes.range(at..at + length).copied().collect();
                return match place.is_opened {
                    true => Opening::from_bytes(&bytes).ok(),
                    false => Opening::of(&bytes).ok(),
                };
            }
            at += length;
        }
        None
    }
}
