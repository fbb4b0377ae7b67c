//! What a hostile node does and says: the attacks by name, and what liars make up.
//!
//! Depends on core alone. The simulator and `starling chaos badboy` share it: an [`Attack`] is the same
//! in virtual time and over QUIC, and a [`Liar`] signs with the key of an admitted node.

#![forbid(unsafe_code)]

mod attack;
mod liar;

pub use attack::Attack;
pub use liar::{Fate, LATE_VERSION, Liar, fate, giant_body, is_said, poisoned, strangers, wants_everything};
