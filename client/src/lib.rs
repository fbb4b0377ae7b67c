//! What the author of an agent imports: attach, publish, subscribe, send, replicated keys.
//!
//! Start at [`Client::connect`] and [`Client::agent`]; `examples/hello.rs` is the shortest program.
//! A [`Client`] keeps one connection for any number of agents and finds another edge when its own
//! dies. Below it, [`session`] is one connection without memory, for who wants to decide all that
//! for themselves, such as a load generator.
//!
//! May use tokio and QUIC, and of the mesh's rooms only the protocol (core) and its transport (net).

#![forbid(unsafe_code)]

mod agent;
mod backoff;
mod client;
mod copies;
mod error;
mod feed;
mod finding;
mod inner;
mod link;
pub mod session;
mod settings;
mod state;
mod supervisor;
mod unpacker;
mod window;

pub use agent::{Agent, ChangeReceipt, Publication, PublishId};
pub use client::Client;
pub use error::{ClientError, Failure, FailureReason};
pub use feed::{Event, Inbox, Notice, Subscription, SystemUpdate, SystemUpdates};
pub use session::ConnectError;
pub use settings::{ClientSettings, dev_context_path, new_key};
pub use starling_core::id::AgentId;
pub use starling_core::identity::SecretKey;
pub use starling_core::state::crdt::Value;
pub use starling_core::wire::agent::Profile;
pub use starling_core::wire::request::{Home, Overview};
pub use starling_net::trust::Trust;
