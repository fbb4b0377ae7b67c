//! The convergence detector: how far every known peer is behind, in versions and in time.
//!
//! A matrix of peers by origins would be exact and far too large. Instead each version has a place
//! on one **scale**: the versions of all origins, counted together. `best` on that scale is the sum
//! of the largest version known of each origin; a peer's place is the sum of what it said last.
//! As nobody has more of an origin than the largest known, the difference of the two sums is the
//! sum of the differences: one number a peer says how many versions it lacks.
//!
//! Since when a peer is behind needs nothing a peer either: a bounded log says when `best` passed
//! each place of the scale, and a peer is behind since `best` passed its own.
//!
//! What is exact, and what is not:
//! - versions: exact as of the peer's last report, where that named every origin; a lower count is
//!   never shown than what it said it lacks;
//! - an origin that began a new incarnation after a peer's report: that peer is charged with what
//!   it lacked of the old one as well, until it reports again;
//! - a report of a count alone ([`Detector::report_count`]) is an estimate, as the two sides may
//!   count different origins; equal roots are exact;
//! - time: exact while the log has room; later the age may be overstated, never understated, by
//!   the span of two merged entries.
//!
//! Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (PODC 1987) measure
//! residue and delay from outside; this estimates both from within. [`rounds`] is theory.
//!
//! May depend on names and time. Start at [`Detector`].

mod detector;
pub mod rounds;

pub use detector::{Detector, Lag, ORIGINS_MAX, PASSED_MAX, PEERS_MAX, Summary};
