//! What nodes say to those outside of the mesh: modelled clients, people, and who looks on.

use bytes::Bytes;
use starling_core::event::Event;
use starling_core::machine::ConnectionSlot;
use starling_core::membership::detector::Statement;
use starling_core::wire::request::Say;

use crate::meter::Passing;

/// Connections from here on are those of modelled clients: what is said to them is mail.
pub(crate) const CLIENTS: u32 = 1 << 24;

/// What a node said to the world outside of the mesh.
#[derive(Debug)]
pub(crate) enum Mail {
    /// An answer or a notice to a client.
    Reply(ConnectionSlot, u64, Box<Say>),
    /// A frame of the hot path to a client.
    Frame(ConnectionSlot, Bytes),
    /// Something that people may want to know.
    Event(Event),
    /// A bundle went onto a link.
    Sent(Passing),
    /// The node says something of itself or of another, or says it again.
    Said(Statement),
}
