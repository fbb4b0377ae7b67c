//! How nodes get new certificates for TLS.

use bytes::Bytes;

/// A node asks for a certificate; an aggregator passes it on to a coordinator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateAsk {
    /// The asking node's admission.
    #[prost(bytes = "bytes", tag = "1")]
    pub admission: Bytes,
    /// The node's name for this attempt.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// A request for a certificate (PKCS #10), signed by the key that it is for.
    #[prost(bytes = "bytes", tag = "3")]
    pub request: Bytes,
    /// By the node's identity key (64 bytes).
    #[prost(bytes = "bytes", tag = "4")]
    pub signature: Bytes,
}

/// The answer to a [`CertificateAsk`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateAnswer {
    /// Who asked.
    #[prost(fixed64, tag = "1")]
    pub node: u64,
    /// As in the question.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The certificate, PEM; empty if there is none.
    #[prost(string, tag = "3")]
    pub certificate: String,
    /// Why there is none, for people.
    #[prost(string, tag = "4")]
    pub refusal: String,
}
