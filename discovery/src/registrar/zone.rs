//! The zone as the registrar serves it by itself: authoritative for its peers, and for nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::{Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::rotation::Listed;
use crate::dns::{TTL_SECONDS, records};

/// How long a TCP connection may be silent.
pub(super) const TCP_IDLE: Duration = Duration::from_secs(5);
/// Answers that wait for one TCP connection.
pub(super) const TCP_ANSWERS_MAX: usize = 4;
/// Bytes of an answer by UDP, so that it is not cut in pieces on its way; a longer one comes by TCP.
const UDP_BYTES_MAX: u16 = 1232;

/// What is served; clones share it.
#[derive(Clone)]
pub(super) struct Zone {
    origin: Name,
    content: Arc<RwLock<Content>>,
}

#[derive(Default)]
struct Content {
    serial: u32,
    by_name: BTreeMap<LowerName, Vec<Record>>,
}

impl Zone {
    /// A zone with nobody in it.
    pub fn new(origin: Name) -> Zone {
        let zone = Zone { origin, content: Arc::default() };
        zone.set(&[]);
        zone
    }

    /// From now on these are in it.
    pub fn set(&self, listed: &[Listed]) {
        let mut by_name: BTreeMap<LowerName, Vec<Record>> = BTreeMap::new();
        let all = listed.iter().flat_map(|listed| records(&listed.candidate, listed.seen, &self.origin));
        let server = RData::NS(NS(self.origin.clone()));
        let server = Record::from_rdata(self.origin.clone(), TTL_SECONDS, server);
        for record in all.chain([server]) {
            by_name.entry(LowerName::from(&record.name)).or_default().push(record);
        }
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        let serial = content.serial.wrapping_add(1);
        *content = Content { serial, by_name };
    }

    fn soa(&self, serial: u32) -> Record {
        let (refresh, retry, expire) = (3_600, 600, 86_400);
        let soa = SOA::new(self.origin.clone(), self.origin.clone(), serial, refresh, retry, expire, 60);
        Record::from_rdata(self.origin.clone(), TTL_SECONDS, RData::SOA(soa))
    }

    /// Answers, the zone's SOA for an answer without records, and the response code.
    fn look_up(&self, name: &LowerName, kind: RecordType) -> (Vec<Record>, Vec<Record>, ResponseCode) {
        if !LowerName::from(&self.origin).zone_of(name) {
            return (Vec::new(), Vec::new(), ResponseCode::Refused);
        }
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let soa = self.soa(content.serial);
        let is_apex = *name == LowerName::from(&self.origin);
        if is_apex && kind == RecordType::SOA {
            return (vec![soa], Vec::new(), ResponseCode::NoError);
        }
        let at_name = content.by_name.get(name);
        let of_kind = |record: &&Record| kind == RecordType::ANY || record.record_type() == kind;
        let found: Vec<Record> = at_name.into_iter().flatten().filter(of_kind).cloned().collect();
        // A name between the zone's and the service's exists, without records (RFC 8020).
        let has_more = || content.by_name.keys().any(|other| name.zone_of(other));
        let code = match at_name.is_some() || has_more() {
            true => ResponseCode::NoError,
            false => ResponseCode::NXDomain,
        };
        let soa = if found.is_empty() { vec![soa] } else { Vec::new() };
        (found, soa, code)
    }
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut to: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let (mut answers, mut soa) = (Vec::new(), Vec::new());
        metadata.response_code = match (request.metadata.op_code, request.request_info()) {
            (OpCode::Query, Ok(info)) => {
                let code;
                (answers, soa, code) = self.look_up(info.query.name(), info.query.query_type());
                metadata.authoritative = code != ResponseCode::Refused;
                code
            }
            (OpCode::Query, Err(_)) => ResponseCode::FormErr,
            _ => ResponseCode::NotImp,
        };
        let mut builder = MessageResponseBuilder::from_message_request(request);
        let edns = request.edns.clone().map(|mut edns| {
            edns.set_max_payload(edns.max_payload().clamp(512, UDP_BYTES_MAX));
            edns
        });
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let none: [Record; 0] = [];
        let response = builder.build(metadata, &answers, &none, &soa, &none);
        match to.send_response(response).await {
            Ok(info) => info,
            // Who asked is gone; what is returned here is for statistics alone.
            Err(_) => ResponseInfo::from(hickory_proto::op::Header {
                metadata,
                counts: hickory_proto::op::HeaderCounts::default(),
            }),
        }
    }
}
