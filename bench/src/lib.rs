//! How fast the mesh is: each work by itself, in real processes over loopback QUIC, and a report.
//!
//! [`run()`] starts the processes of one work ([`works`]), waits until it is done, and adds up what
//! they say ([`report`]). What a process does is a [`part`]: nodes, agents inside of them ([`guests`]),
//! agents that attach to them ([`agents`], [`crowd`]), or the hot path
//! and nothing around it ([`path`]). Every receiver checks that all entries come
//! once and in order ([`receipts`]); whoever starts the nodes of a part hands them in, for this crate
//! names no role's machine. docs/performance.md says what is measured and what it has to be.

#![forbid(unsafe_code)]

pub mod agents;
pub mod crowd;
pub mod guests;
pub mod part;
pub mod path;
pub mod receipts;
pub mod region;
pub mod report;
pub mod run;
pub mod samples;
pub mod settings;
pub mod works;

pub use part::Part;
pub use report::Report;
pub use run::run;
pub use settings::{Settings, Work};
