//!
//! Start at [`subject`] for what a subject and a [`Pattern`] are. [`Trie`] answers "which values
//! want this subject" on the hot path, from a snapshot that costs one reference count to take.
//! [`Declared`] reduces the patterns of a node to the bounded set that its peers are told.
//! Nothing here knows a node, a link or a clock.

mod declare;
pub mod exchange;
mod hamt;
pub mod subject;
mod trie;

pub use declare::{Changes, Declared, TooManySystemPatterns};
pub use subject::{Pattern, SubjectError};
pub use trie::Trie;
