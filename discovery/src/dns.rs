//! The mesh in DNS: what is asked, what is believed of an answer, and the records of a peer.
//!
//! Under `_starling._udp.DOMAIN` there is a TXT record a peer, which also names the node
//! ([`Candidate::to_txt`]), and an SRV record a peer (RFC 2782), whose target has an A or AAAA record. Both
//! are asked at once; SRV targets alone serve where somebody keeps the zone by hand. Answers too large for
//! UDP come over TCP. No answer is believed beyond its first [`CANDIDATES_MAX`] peers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::rdata::{A, AAAA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::{CANDIDATES_MAX, Candidate};

/// The name of the service in front of the domain (RFC 2782).
pub const SERVICE: &str = "_starling._udp";
/// How long one question may take, all its retries included.
const QUESTION_MAX: Duration = Duration::from_secs(4);
/// How long a server may take before it is asked again.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// SRV targets that are looked up for one answer.
const TARGETS_MAX: usize = 16;
/// How long others may keep the records of a peer.
pub const TTL_SECONDS: u32 = 300;

/// Why DNS gave no peers. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The domain is none; the operator is at fault.
    #[error("{domain:?} is no domain: {why}; check discovery.domain")]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        why: String,
    },
    /// The system's resolver configuration is of no use.
    #[error("the system names no DNS server: {0}; set discovery.resolver")]
    System(String),
    /// Nobody answered, or there is nothing under the name.
    #[error("{name} has no peers: {why}")]
    Nothing {
        /// What was asked.
        name: String,
        /// What the server said.
        why: String,
    },
    /// There are records, and none of them is of a peer.
    #[error("{records} records at {name} and none is of a peer: {why}")]
    Useless {
        /// What was asked.
        name: String,
        /// How many came.
        records: usize,
        /// What is wrong with the last.
        why: String,
    },
}

/// Asks DNS for peers of one domain.
#[derive(Clone)]
pub struct Lookup {
    resolver: TokioResolver,
    service: Name,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Lookup {
    /// Of this domain, at this server or those of the system.
    ///
    /// # Errors
    /// [`DnsError::Domain`] and [`DnsError::System`].
    pub fn new(domain: &str, server: Option<SocketAddr>) -> Result<Lookup, DnsError> {
        let service = service_name(domain)?;
        let system = |error: hickory_resolver::net::NetError| DnsError::System(error.to_string());
        let mut builder = match server {
            Some(server) => TokioResolver::builder_with_config(only(server), TokioRuntimeProvider::default()),
            None => TokioResolver::builder_tokio().map_err(system)?,
        };
        let options = builder.options_mut();
        options.timeout = ANSWER_MAX;
        options.attempts = 2;
        // A node asks rarely, and then because it wants to know what is true now.
        options.cache_size = 0;
        Ok(Lookup { resolver: builder.build().map_err(system)?, service })
    }

    /// The peers there.
    ///
    /// # Errors
    /// [`DnsError::Nothing`] and [`DnsError::Useless`].
    pub async fn peers(&self) -> Result<Vec<Candidate>, DnsError> {
        let (texts, services) = tokio::join!(self.ask(RecordType::TXT), self.ask(RecordType::SRV));
        let name = self.service.to_string();
        let (texts, services) = match (texts, services) {
            (Err(why), Err(_)) => return Err(DnsError::Nothing { name, why }),
            (texts, services) => (texts.unwrap_or_default(), services.unwrap_or_default()),
        };
        let records = texts.len() + services.len();
        let mut read: Vec<_> = texts.iter().map(|record| candidate_of(&record.data)).collect();
        if !read.iter().any(Result::is_ok) {
            read.extend(self.targets(services.into_iter().filter_map(srv_of).collect()).await);
        }
        let why = read.iter().find_map(|read| read.as_ref().err().cloned()).unwrap_or_default();
        let unique: BTreeSet<Candidate> = read.into_iter().flatten().collect();
        match unique.is_empty() {
            false => Ok(unique.into_iter().collect()),
            true => Err(DnsError::Useless { name, records, why }),
        }
    }

    async fn ask(&self, kind: RecordType) -> Result<Vec<Record>, String> {
        let asked =
            tokio::time::timeout(QUESTION_MAX, self.resolver.lookup(self.service.clone(), kind)).await;
        let answer = asked.map_err(|_| format!("no answer within {QUESTION_MAX:?}"))?;
        let answer = answer.map_err(|error| error.to_string())?;
        let is_asked = |record: &&Record| record.record_type() == kind;
        Ok(answer.answers().iter().filter(is_asked).take(CANDIDATES_MAX).cloned().collect())
    }

    /// What SRV targets lead to, all looked up at once.
    async fn targets(&self, mut targets: Vec<SRV>) -> Vec<Result<Candidate, String>> {
        // The lowest priority first, as RFC 2782 has it; weights do not matter to who dials all.
        targets.sort_by_key(|target| target.priority);
        let mut asking = tokio::task::JoinSet::new();
        for SRV { port, target, .. } in targets.into_iter().take(TARGETS_MAX) {
            let resolver = self.resolver.clone();
            asking.spawn(async move {
                let looked = tokio::time::timeout(QUESTION_MAX, resolver.lookup_ip(target.clone())).await;
                let looked = looked.map_err(|_| format!("no address of {target} within {QUESTION_MAX:?}"))?;
                let found = looked.map_err(|error| format!("{target}: {error}"))?;
                let ip = found.iter().next().ok_or_else(|| format!("{target} has no address"))?;
                Candidate::at(SocketAddr::new(ip, port), None).map_err(|error| format!("{target}: {error}"))
            });
        }
        asking.join_all().await
    }
}

fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections.into())])
}

/// The name under which the peers of a domain are.
///
/// # Errors
/// [`DnsError::Domain`].
pub fn service_name(domain: &str) -> Result<Name, DnsError> {
    let wrong = |why: String| DnsError::Domain { domain: domain.to_owned(), why };
    let domain_name = zone_name(domain)?;
    let service = Name::from_ascii(SERVICE).map_err(|error| wrong(error.to_string()))?;
    service.append_domain(&domain_name).map_err(|error| wrong(error.to_string()))
}

/// A domain as a name from the root.
///
/// # Errors
/// [`DnsError::Domain`].
pub fn zone_name(domain: &str) -> Result<Name, DnsError> {
    let wrong = |why: String| DnsError::Domain { domain: domain.to_owned(), why };
    let mut name = Name::from_ascii(domain).map_err(|error| wrong(error.to_string()))?;
    if name.num_labels() == 0 {
        return Err(wrong("it is empty".to_owned()));
    }
    name.set_fqdn(true);
    Ok(name)
}

/// What a TXT record says; character strings of one record belong together (RFC 1035, section 3.3.14).
pub(crate) fn candidate_of(data: &RData) -> Result<Candidate, String> {
    text_of(data)
        .and_then(|text| Candidate::from_txt(&text).map_err(|error| error.to_string()))
        .map(|(c, _)| c)
}

/// The bytes of a TXT record.
pub(crate) fn text_of(data: &RData) -> Result<Vec<u8>, String> {
    match data {
        RData::TXT(text) => Ok(text.txt_data.concat()),
        other => Err(format!("a record of type {} among those of TXT", other.record_type())),
    }
}

fn srv_of(record: Record) -> Option<SRV> {
    match record.data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    }
}

/// The name of the host that stands for a peer in a zone: the first 16 digits of its node's name.
pub(crate) fn host_name(candidate: &Candidate, zone: &Name) -> Option<Name> {
    let node = candidate.node()?.to_string();
    Name::from_ascii(&node[..16]).ok()?.append_domain(zone).ok()
}

/// All records of a peer that was seen alive then.
pub(crate) fn records(candidate: &Candidate, seen: u64, zone: &Name) -> Vec<Record> {
    let service = Name::from_ascii(SERVICE).ok().and_then(|name| name.append_domain(zone).ok());
    let (Some(address), Some(host), Some(service)) =
        (candidate.socket(), host_name(candidate, zone), service)
    else {
        return Vec::new();
    };
    let text = TXT::new(vec![candidate.to_txt(seen)]);
    let place = match address.ip() {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    vec![
        Record::from_rdata(service.clone(), TTL_SECONDS, RData::TXT(text)),
        Record::from_rdata(service, TTL_SECONDS, RData::SRV(SRV::new(0, 0, address.port(), host.clone()))),
        Record::from_rdata(host, TTL_SECONDS, place),
    ]
}
