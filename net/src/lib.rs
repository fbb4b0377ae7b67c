//! The only room with QUIC, TLS, tokio sockets and files of keys; drives any machine, names no role.
//!
//! Start at [`node`] for a running node, at [`trust`] for who may talk to whom and how that is
//! proved, and at [`shaping`] for a socket whose links can be made slow, lossy or dead on purpose.
//!
//! Inside, the machine runs on one task (`driver`), which executes its outputs (`execute`) without
//! ever waiting. Readers (`link`, `agents`) hand messages to the hot path themselves and everything
//! else to the driver; they wait where a queue is full, so pressure reaches the sender through QUIC's
//! flow control. Writers (`lane`) are the only tasks that write to a stream.

mod agents;
mod agreement;
pub mod asking;
mod broadcasts;
pub mod clock;
mod driver;
pub mod endpoint;
mod execute;
mod frugal;
pub mod guest;
mod handshakes;
mod hello;
mod hub;
mod keeper;
mod lane;
mod link;
mod memory;
pub mod node;
mod outlet;
pub mod pace;
pub mod probe;
mod registry;
mod renewal;
pub mod runtime;
mod sealer;
pub mod shaping;
pub mod trial;
pub mod trust;
mod unsettled;
mod wallet;

pub use asking::{Asker, Transport};
pub use endpoint::CloseCode;
pub use guest::Guest;
pub use node::{Node, NodeHandle, NodeSettings, Start, StartError, Udp};
