//! A place to dial: host and port, and the node that must answer there if it is known.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use starling_core::id::{NodeId, hex, unhex};

/// What a TXT record of a candidate begins with.
const TXT_MARK: &str = "v=starling1";
/// No TXT record of a candidate is longer: one character string (RFC 1035, section 3.3).
const TXT_BYTES_MAX: usize = 255;
/// The longest name of a host (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// A place where a node may listen. Written `HOST:PORT` or `HOST:PORT#NODE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// Socket address, or name of a host and port.
    place: String,
    /// The node that must answer there.
    node: Option<NodeId>,
}

/// Why a text names no place to dial. Nothing was changed; whoever wrote the text is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCandidate {
    /// There is no port, or it is 0.
    #[error("it does not end in a colon and a port from 1 to 65535")]
    Port,
    /// The host is neither an address nor a name.
    #[error("its host is neither a name nor an IP address (IPv6 goes in brackets)")]
    Host,
    /// The address is one that nobody listens at.
    #[error("nobody can be dialled at an unspecified, multicast or broadcast address")]
    Nowhere,
    /// What follows the `#` is no name of a node.
    #[error("behind the # there are not 64 hexadecimal digits")]
    Node,
    /// A TXT record is of something else.
    #[error("it is no record of a peer: {TXT_MARK} a=ADDRESS:PORT id=NODE is")]
    Record,
}

impl Candidate {
    /// A socket address, and who is there.
    ///
    /// # Errors
    /// Nobody can listen there.
    pub fn at(address: SocketAddr, node: Option<NodeId>) -> Result<Candidate, BadCandidate> {
        let is_somewhere = match address.ip() {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        match (is_somewhere, address.port()) {
            (false, _) => Err(BadCandidate::Nowhere),
            (true, 0) => Err(BadCandidate::Port),
            (true, _) => Ok(Candidate { place: address.to_string(), node }),
        }
    }

    /// Host and port.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The socket address, unless the host is a name.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.place.parse().ok()
    }

    /// The node that must answer there.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// What a TXT record says of it: `v=starling1 a=ADDRESS:PORT id=NODE t=SECONDS`, the last being when it
    /// was seen alive.
    pub fn to_txt(&self, seen_seconds: u64) -> String {
        let node = self.node.map(|node| format!(" id={}", hex(&node.0))).unwrap_or_default();
        format!("{TXT_MARK} a={}{node} t={seen_seconds}", self.place)
    }

    /// What a TXT record says, and when it was seen alive if it says that. Words that are not known are
    /// skipped, so that later versions may say more.
    ///
    /// # Errors
    /// It is of something else, or says what cannot be.
    pub fn from_txt(text: &[u8]) -> Result<(Candidate, Option<u64>), BadCandidate> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= TXT_BYTES_MAX);
        let text = text.and_then(|text| text.strip_prefix(TXT_MARK)).ok_or(BadCandidate::Record)?;
        let (mut address, mut node, mut seen) = (None, None, None);
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word.split_once('=').ok_or(BadCandidate::Record)? {
                ("a", value) => address = Some(value.parse::<SocketAddr>().map_err(|_| BadCandidate::Host)?),
                ("id", value) => node = Some(NodeId(unhex(value).ok_or(BadCandidate::Node)?)),
                ("t", value) => seen = Some(value.parse().map_err(|_| BadCandidate::Record)?),
                _ => {}
            }
        }
        Ok((Candidate::at(address.ok_or(BadCandidate::Record)?, node)?, seen))
    }
}

impl FromStr for Candidate {
    type Err = BadCandidate;

    fn from_str(text: &str) -> Result<Candidate, BadCandidate> {
        let (place, node) = match text.split_once('#') {
            Some((place, node)) => (place, Some(NodeId(unhex(node).ok_or(BadCandidate::Node)?))),
            None => (text, None),
        };
        if let Ok(address) = place.parse::<SocketAddr>() {
            return Candidate::at(address, node);
        }
        let (host, port) = place.rsplit_once(':').ok_or(BadCandidate::Port)?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().unwrap_or(0) > 0;
        if !is_port {
            return Err(BadCandidate::Port);
        }
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let is_host = (1..=HOST_BYTES_MAX).contains(&host.len())
            && host.chars().all(in_name)
            && host.chars().any(|c| c.is_ascii_alphabetic())
            && !host.starts_with(['-', '.']);
        if is_host { Ok(Candidate { place: place.to_owned(), node }) } else { Err(BadCandidate::Host) }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        match self.node {
            Some(node) => write!(f, "#{}", hex(&node.0)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: NodeId = NodeId([7; 32]);

    #[test]
    fn what_can_be_dialled_is_written_and_read_alike() {
        for text in ["192.0.2.1:7420", "[2001:db8::1]:1", "edge-1.example.org:65535"] {
            for text in [text.to_owned(), format!("{text}#{}", hex(&NODE.0))] {
                assert_eq!(text.parse::<Candidate>().unwrap().to_string(), text);
            }
        }
        let candidate = Candidate::at("192.0.2.1:7420".parse().unwrap(), Some(NODE)).unwrap();
        let text = candidate.to_txt(17);
        assert_eq!(text, format!("v=starling1 a=192.0.2.1:7420 id={} t=17", hex(&NODE.0)));
        assert_eq!(Candidate::from_txt(text.as_bytes()), Ok((candidate, Some(17))));
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_for_its_reason() {
        let why = |text: &str| text.parse::<Candidate>().unwrap_err();
        assert_eq!(why("192.0.2.1"), BadCandidate::Port);
        assert_eq!(why("host:0"), BadCandidate::Port);
        assert_eq!(why("host:+7"), BadCandidate::Port);
        assert_eq!(why("0.0.0.0:1"), BadCandidate::Nowhere);
        assert_eq!(why("[ff02::1]:1"), BadCandidate::Nowhere);
        assert_eq!(why("1.2.3:1"), BadCandidate::Host);
        assert_eq!(why("ho st:1"), BadCandidate::Host);
        assert_eq!(why("host:1#12"), BadCandidate::Node);
        let txt = |text: &str| Candidate::from_txt(text.as_bytes()).unwrap_err();
        assert_eq!(txt("v=spf1 -all"), BadCandidate::Record);
        assert_eq!(txt("v=starling1"), BadCandidate::Record);
        assert_eq!(txt("v=starling1 a=localhost:1"), BadCandidate::Host);
        assert_eq!(txt("v=starling1 a=224.0.0.1:1"), BadCandidate::Nowhere);
        assert_eq!(txt("v=starling1 a=192.0.2.1:1 id=xyz"), BadCandidate::Node);
        assert_eq!(txt(&format!("v=starling1 a=192.0.2.1:1 {}", "x=y ".repeat(80))), BadCandidate::Record);
    }

    proptest! {
        #[test]
        fn no_record_does_harm(bytes: Vec<u8>, text in "(v=starling1)?( (a|id|t|x)=[0-9a-f:.]{0,70}){0,4}") {
            for said in [&bytes[..], text.as_bytes()] {
                if let Ok((candidate, _)) = Candidate::from_txt(said) {
                    prop_assert_eq!(candidate.to_string().parse::<Candidate>(), Ok(candidate));
                }
            }
        }
    }
}
