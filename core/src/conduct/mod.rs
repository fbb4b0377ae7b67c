//! Who behaves and who does not: proofs, reputation, rates, shares, and what a node lets in.
//!
//! Start at [`ledger`]: what this node saw a party do, and what follows. [`proof`] is evidence that
//! convinces everybody, over headers opened by [`opening`]; [`bucket`] bounds one party, [`budget`]
//! all of them together, and [`gate`] is where a link meets both; [`diversity`] keeps a few owners or networks from filling a peer table;
//! [`policy`] judges valid events and [`quarantine`] keeps those that wait for somebody to look.
//!
//! May depend on [`crate::id`], [`crate::time`], [`crate::limits`]; `proof` and `opening` on
//! [`crate::identity`] and [`crate::wire`] too, and `policy` on patterns of [`crate::interest`].
//! Nothing here has a deadline: everything is worked out from the time of the question, so an idle
//! node pays nothing.
//!
//! **Invariant:** what somebody else claims moves no reputation. Soft evidence is what this node saw
//! on a link whose TLS identity is the offender; anything else must be a proof.

pub mod bucket;
pub mod budget;
pub mod diversity;
pub mod gate;
pub mod ledger;
pub mod offence;
pub mod opening;
pub mod policy;
pub mod proof;
pub mod quarantine;

pub use bucket::{AtomicBucket, Bucket, Rate};
pub use budget::{Budget, Share, Spent};
pub use gate::Gate;
pub use ledger::{Ledger, Party};
pub use offence::{Offence, Reputation, Verdict};
pub use opening::Opening;
pub use policy::{Action, Policy};
pub use proof::{Culprit, Proof, ProofError};
pub use quarantine::Quarantine;
