//! The list in the zone of a real DNS server, by dynamic updates (RFC 2136) over TCP: one update replaces
//! the peers whole, so that the zone never shows half of a change.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::update_message::UpdateMessage;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::rotation::Listed;
use crate::Candidate;
use crate::dns::{SERVICE, host_name, records, text_of};

/// How long an exchange with the server may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);

/// Why the zone could not be read or changed. An update is taken whole or not at all.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It could not be reached, or did not answer.
    #[error("the DNS server {server} does not answer: {source}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It refused.
    #[error("the DNS server {server} refused: {code}; does it allow updates of this zone from here?")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Its response code.
        code: ResponseCode,
    },
    /// What it said, or what was to be said, is no DNS message.
    #[error("the exchange with the DNS server {server} failed: {why}")]
    Protocol {
        /// The server.
        server: SocketAddr,
        /// What is wrong.
        why: String,
    },
}

/// Sends one message by TCP and gives the answer to it.
async fn exchange(server: SocketAddr, message: &Message) -> Result<Message, UpdateError> {
    let protocol = |why: String| UpdateError::Protocol { server, why };
    let bytes = message.to_vec().map_err(|error| protocol(error.to_string()))?;
    let length = u16::try_from(bytes.len()).map_err(|_| protocol("too long for a message".to_owned()))?;
    let talk = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {EXCHANGE_MAX:?}"));
    let answer = timeout(EXCHANGE_MAX, talk).await.unwrap_or_else(|_| Err(late()));
    let answer = answer.map_err(|source| UpdateError::Unreachable { server, source })?;
    let answer = Message::from_vec(&answer).map_err(|error| protocol(error.to_string()))?;
    if answer.metadata.id != message.metadata.id {
        return Err(protocol("the answer is to another question".to_owned()));
    }
    Ok(answer)
}

async fn service_records(
    server: SocketAddr,
    zone: &Name,
    kind: RecordType,
) -> Result<Vec<Record>, UpdateError> {
    let mut question = Message::query();
    question.metadata.recursion_desired = false;
    question.add_query(Query::query(service(server, zone)?, kind));
    let answer = exchange(server, &question).await?;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer.answers),
        code => Err(UpdateError::Refused { server, code }),
    }
}

fn service(server: SocketAddr, zone: &Name) -> Result<Name, UpdateError> {
    let name = Name::from_ascii(SERVICE).and_then(|name| name.append_domain(zone));
    name.map_err(|error| UpdateError::Protocol { server, why: error.to_string() })
}

/// The peers in the zone, with when each registered; records of something else are not looked at.
pub(super) async fn read_back(
    server: SocketAddr,
    zone: &Name,
) -> Result<Vec<(Candidate, Option<u64>)>, UpdateError> {
    let texts = service_records(server, zone, RecordType::TXT).await?;
    let read = |record: &Record| Candidate::from_txt(&text_of(&record.data).ok()?).ok();
    Ok(texts.iter().filter_map(read).collect())
}

/// From now on these peers are in the zone, and no others.
pub(super) async fn update(server: SocketAddr, zone: &Name, listed: &[Listed]) -> Result<(), UpdateError> {
    // What the zone has is asked of the zone: who else changed it, or a registrar before this one, may have
    // left hosts there.
    let before = read_back(server, zone).await?;
    let hosts: BTreeSet<Name> =
        before.iter().filter_map(|(candidate, _)| host_name(candidate, zone)).collect();
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    let mut origin = Query::query(zone.clone(), RecordType::SOA);
    origin.set_query_class(DNSClass::IN);
    message.add_zone(origin);
    let service = service(server, zone)?;
    for kind in [RecordType::TXT, RecordType::SRV] {
        message.add_update(deletion(service.clone(), kind));
    }
    for host in hosts {
        message.add_update(deletion(host.clone(), RecordType::A));
        message.add_update(deletion(host, RecordType::AAAA));
    }
    for record in listed.iter().flat_map(|listed| records(&listed.candidate, listed.seen, zone)) {
        message.add_update(record);
    }
    match exchange(server, &message).await?.metadata.response_code {
        ResponseCode::NoError => Ok(()),
        code => Err(UpdateError::Refused { server, code }),
    }
}

/// Deletes all records of this kind at a name (RFC 2136, section 2.5.2).
fn deletion(name: Name, kind: RecordType) -> Record {
    let mut record = Record::update0(name, 0, kind);
    record.dns_class = DNSClass::ANY;
    record
}
