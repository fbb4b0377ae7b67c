//! The HTTP of a node: health, metrics, answers as JSON, a stream of events, and the dashboard's files.
//!
//! Start at [`serve`]. A node is known here by the [`Question`]s that it answers and by the events that
//! it is told of: nothing here names QUIC, a machine or a configuration. Reading only: whatever is not
//! GET or HEAD is refused.
//!
//! - `server` accepts connections and bounds them; `patience` gives up who does not read; `guard` checks
//!   host, method and credential before anything else is looked at.
//! - `asking` puts questions and keeps answers for a moment, so that many browsers cost one question.
//! - `events` is the ring of recent events, `stream` who listens, `history` the last hour.
//! - `verdict` says what is wrong, in sentences; `views` are the shapes of answers.
//! - `routes` are the answers by address; `pages` the files.

#![forbid(unsafe_code)]

mod asking;
mod counts;
mod events;
mod guard;
mod history;
mod pages;
mod patience;
mod routes;
mod server;
mod state;
mod stream;
mod verdict;
mod views;

pub use asking::{Question, Whom};
pub use server::{Served, serve};
pub use state::{Gauges, Settings};
