//! The real binary as a mesh of processes: few tests, each of them heavy. They run one at a time, each
//! on ports and in a runtime directory of its own, and leave no process behind however they end.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too: a panic is the failure")]

#[path = "mesh/agents.rs"]
mod agents;
#[path = "mesh/bench.rs"]
mod bench;
#[path = "mesh/browser.rs"]
mod browser;
#[path = "mesh/certificates.rs"]
mod certificates;
#[path = "mesh/chaos.rs"]
mod chaos;
#[path = "mesh/coordinators.rs"]
mod coordinators;
#[path = "mesh/dev.rs"]
mod dev;
#[path = "mesh/discovery.rs"]
mod discovery;
#[path = "mesh/http.rs"]
mod http;
#[path = "mesh/interest.rs"]
mod interest;
#[path = "mesh/keys.rs"]
mod keys;
#[path = "mesh/load.rs"]
mod load;
#[path = "mesh/parity/mod.rs"]
mod parity;
#[path = "mesh/peers.rs"]
mod peers;
#[path = "mesh/pipe.rs"]
mod pipe;
#[path = "mesh/process.rs"]
mod process;
#[path = "mesh/refusals.rs"]
mod refusals;
#[path = "mesh/running.rs"]
mod running;
#[path = "mesh/text.rs"]
mod text;
#[path = "mesh/web.rs"]
mod web;
