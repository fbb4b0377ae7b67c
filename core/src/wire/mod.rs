//! What crosses a link, byte by byte. docs/protocol.md is the normative text.

pub mod agent;
pub mod bundle;
pub mod codec;
pub mod entry;
pub mod frame;
pub mod message;
pub mod request;
