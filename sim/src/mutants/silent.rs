//! A bug of what a silent node says.

use bytes::Bytes;
use starling_core::identity::Context;
use starling_core::machine::Output;
use starling_core::registry::exchange::{Authored, Flood, PeerBody, PeerMessage, RECORD_TTL, Said, SaidKind};
use starling_core::wire::message::ControlBody;

use super::{At, Bug};

/// A silent node announces itself as everybody does, with where it listens.
#[derive(Debug)]
pub(super) struct LeakSilent;

impl Bug for LeakSilent {
    fn output(&mut self, at: &At<'_>, output: Output) -> Option<Output> {
        Some(match output {
            Output::Control { link, body } => Output::Control { link, body: leaked(at, body) },
            Output::ControlToAll { links, body } => Output::ControlToAll { links, body: leaked(at, body) },
            other => other,
        })
    }
}

fn leaked(at: &At<'_>, body: ControlBody) -> ControlBody {
    let ControlBody::PeerMessage(bytes) = &body else { return body };
    match at.node.is_silent.then(|| exposed(at, bytes)).flatten() {
        Some(bytes) => ControlBody::PeerMessage(bytes),
        None => body,
    }
}

/// The same record, which broadcasts and has an address, under the node's own signature.
fn exposed(at: &At<'_>, bytes: &Bytes) -> Option<Bytes> {
    let Some(PeerBody::Flood(flood)) = PeerMessage::read(bytes.clone())?.body else { return None };
    let mut said = Said::from_bytes(flood.authored?.said)?;
    if said.author != at.node.signer().public().0[..] {
        return None;
    }
    match said.kind.as_mut()? {
        SaidKind::Announcement(record) | SaidKind::Update(record) => {
            record.broadcast = true;
            record.addresses = vec![at.node.listed().to_string()];
        }
        SaidKind::Heartbeat(_) | SaidKind::Request(_) => return None,
    }
    let said = said.to_bytes();
    let signature = at.node.signer().sign(Context::Peer, &said);
    let authored = Authored { said, signature: Bytes::copy_from_slice(&signature.0) };
    Some(PeerMessage::bytes_of(PeerBody::Flood(Flood { authored: Some(authored), ttl: RECORD_TTL })))
}
