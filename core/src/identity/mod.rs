//! Who signs what: keys, signatures under a context, admissions of nodes and attachments of agents.
//!
//! Start at [`keys`] for signing and verifying; [`admission`] is what lets any node check the
//! identity key of any other without a link to it; [`attach`] is what an agent signs to delegate to
//! its edge; [`agree`] is what two nodes share; [`set`] is whom a mesh's decisions are believed from. May
//! depend on [`crate::id`], [`crate::time`] and [`crate::wire`] alone; no entropy, so seeds are handed in and
//! every signature is a function of its input.

pub mod admission;
pub mod agree;
pub mod attach;
pub mod keys;
pub mod set;
mod simulated;

pub use admission::{Admission, AdmissionError, BadLabel, BadRoles, Label, Roles};
pub use agree::Shared;
pub use attach::{AttachClaim, AttachTerms};
pub use keys::{Context, PublicKey, SecretKey, Signature, Signer, VerifyKey};
pub use set::{CoordinatorSet, Coordinators, Doubt, Endorsed, SetError};
