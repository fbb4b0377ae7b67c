//! The first frame of every connection: what is said in it and what is believed of it.

use bytes::Bytes;
use quinn::RecvStream;
use starling_core::identity::{Admission, VerifyKey};
use starling_core::limits;
use starling_core::machine::Peer;
use starling_core::membership::record;
use starling_core::time::Time;
use starling_core::wire::codec::Wire;
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::{Hello, PeerRecord};

use crate::endpoint::CloseCode;
use crate::trust::PeerName;

/// The one version of the protocol that is spoken.
const VERSION: u32 = 1;

/// Why the other side is not talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: CloseCode,
    pub reason: &'static str,
}

impl Refusal {
    pub const fn protocol(reason: &'static str) -> Refusal {
        Refusal { code: CloseCode::Protocol, reason }
    }

    pub fn refused(reason: &'static str) -> Refusal {
        Refusal { code: CloseCode::Refused, reason }
    }
}

/// The frame by which a node introduces itself, on a connection that replaces this one, if any.
pub(crate) fn hello_frame(record: PeerRecord, replaces: Bytes) -> Bytes {
    let node = Some(record);
    Hello { version_low: VERSION, version_high: VERSION, features: 0, node, replaces }.to_frame()
}

/// Reads the first frame, which must be a hello in a version that we speak. What came behind it
/// stays in `decoder`.
pub(crate) async fn read_hello(
    stream: &mut RecvStream,
    decoder: &mut FrameDecoder,
) -> Result<Hello, Refusal> {
    loop {
        match decoder.next_frame() {
            Ok(Some((FrameType::Hello, body))) => {
                let hello = Hello::decode_body(body).map_err(|_| Refusal::protocol("malformed hello"))?;
                if hello.version_low > VERSION || hello.version_high < VERSION {
                    return Err(Refusal {
                        code: CloseCode::Version,
                        reason: "this node speaks version 1 only",
                    });
                }
                return Ok(hello);
            }
            Ok(Some(_)) => return Err(Refusal::protocol("the first frame is no hello")),
            Err(_) => return Err(Refusal::protocol("malformed frame")),
            Ok(None) => {}
        }
        let chunk = stream.read_chunk(limits::CONTROL_BYTES_MAX, true).await;
        let Ok(Some(chunk)) = chunk else { return Err(Refusal::protocol("no hello came")) };
        decoder.push(chunk.bytes);
    }
}

/// The peer of a link, if its hello proves what its certificate says.
pub(crate) fn verify_peer(
    hello: Hello,
    name: &PeerName,
    authority: &VerifyKey,
    wall: Time,
) -> Result<Peer, Refusal> {
    let record = hello.node.ok_or(Refusal::refused("the hello of a node names no node"))?;
    let admission = Admission::from_bytes(&record.admission)
        .map_err(|_| Refusal::refused("the hello's admission is malformed"))?;
    if admission.verify(authority, wall).is_err() {
        return Err(Refusal::refused("the hello's admission does not hold in this mesh"));
    }
    if admission.node() != name.node || admission.roles != name.roles || admission.region != name.region {
        return Err(Refusal::refused("the hello's admission is not that of the certificate"));
    }
    if !record::is_bounded(&record) {
        return Err(Refusal::refused("a text in the hello is too long"));
    }
    record::peer(admission, record).ok_or(Refusal::refused("the hello is not signed by its node"))
}
