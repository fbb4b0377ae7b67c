//! What a node says to a registrar and how it says it: JSON over HTTP/1.1, each request small, signed by the
//! node's identity key, and paid for with a little work.
//!
//! [docs/discovery.md](https://github.com/starling-mesh/starling/blob/main/docs/discovery.md) has the whole
//! protocol. The work is a nonce for which BLAKE3 of what is signed and the nonce begins with so many zero
//! bits; it holds for one address and one window of time, so that none can be saved up or lent.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use starling_core::id::{NodeId, hex, unhex};
use starling_core::identity::{Context, PublicKey, SecretKey, Signature, VerifyKey};
use tokio::net::TcpStream;

use crate::{CANDIDATES_MAX, Candidate, unix_seconds};

/// Seconds of the window that a proof of work holds for; the one before and the one after are taken too.
pub const WINDOW_SECONDS: u64 = 300;
/// Leading zero bits that a registrar asks for by itself: 2^18 hashes, about 50 ms of one core.
pub const DIFFICULTY: u8 = 18;
/// Leading zero bits that a node is willing to find: a registrar that asks for more is not served.
pub const DIFFICULTY_MAX: u8 = 24;
/// Bytes of one request's body.
pub const REQUEST_BYTES_MAX: usize = 2 * 1024;
/// Bytes of one answer's body.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a registrar may take for one answer; it pings the node meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// What a node wants of a registrar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be listed.
    Register,
    /// To be listed no longer.
    Unregister,
}

impl Wish {
    fn word(self) -> &'static str {
        match self {
            Wish::Register => "register",
            Wish::Unregister => "unregister",
        }
    }
}

/// The body of `POST /v1/register` and `POST /v1/unregister`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The IP address and port at which the node listens.
    pub address: SocketAddr,
    /// The node's identity key, 64 hexadecimal digits.
    pub key: String,
    /// Number of the window: seconds since 1970 divided by [`WINDOW_SECONDS`].
    pub window: u64,
    /// The work.
    pub nonce: u64,
    /// Of the node, by its identity key, 128 hexadecimal digits.
    pub signature: String,
}

/// The answer to `GET /v1/work`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Leading zero bits that are asked for.
    pub difficulty: u8,
    /// The window that the registrar is in.
    pub window: u64,
}

/// The answer to `GET /v1/discover` and to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Live peers, as [`Candidate`] writes them.
    pub peers: Vec<String>,
    /// For how long the registration holds; 0 where none was made.
    #[serde(default)]
    pub ttl_seconds: u64,
}

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What happened, and what to do.
    pub error: String,
}

/// Why a registration does not hold. Nothing was changed; whoever sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRegistration {
    /// The window is not now.
    #[error("the window is not the present one; set the clock and ask /v1/work again")]
    Window,
    /// Too few zero bits.
    #[error("the work does not reach the difficulty; ask /v1/work for it")]
    Work,
    /// The key is none.
    #[error("the key is no ed25519 key in 64 hexadecimal digits")]
    Key,
    /// The key did not sign this.
    #[error("the signature is not by the key over this address and window")]
    Signature,
}

impl Registration {
    /// A signed registration with its work done; takes about `2^difficulty` hashes.
    pub fn make(wish: Wish, address: SocketAddr, key: &SecretKey, work: &Work) -> Registration {
        let public = key.public();
        let said = said(wish, address, &public, work.window);
        let signature = hex(&key.sign(Context::Registration, &said).0);
        let enough = (0..=u64::MAX).find(|nonce| zero_bits(&said, *nonce) >= u32::from(work.difficulty));
        let nonce = enough.expect("of 2^64 nonces some have the few bits that are asked for");
        Registration { address, key: public.to_string(), window: work.window, nonce, signature }
    }

    /// Who registers, if this holds now; the cheap checks come first.
    ///
    /// # Errors
    /// See [`BadRegistration`].
    pub fn verify(&self, wish: Wish, difficulty: u8, now: u64) -> Result<Candidate, BadRegistration> {
        if self.window.abs_diff(now / WINDOW_SECONDS) > 1 {
            return Err(BadRegistration::Window);
        }
        let public = PublicKey(unhex(&self.key).ok_or(BadRegistration::Key)?);
        let said = said(wish, self.address, &public, self.window);
        if zero_bits(&said, self.nonce) < u32::from(difficulty) {
            return Err(BadRegistration::Work);
        }
        let key = VerifyKey::new(&public).ok_or(BadRegistration::Key)?;
        let signature = unhex(&self.signature).map(Signature).ok_or(BadRegistration::Signature)?;
        if !key.verify(Context::Registration, &said, &signature) {
            return Err(BadRegistration::Signature);
        }
        let node = NodeId::of_key(&public.0);
        Candidate::at(self.address, Some(node)).map_err(|_| BadRegistration::Signature)
    }
}

/// What is signed and worked on.
fn said(wish: Wish, address: SocketAddr, key: &PublicKey, window: u64) -> Vec<u8> {
    format!("{} {address} {key} {window}", wish.word()).into_bytes()
}

fn zero_bits(said: &[u8], nonce: u64) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(said).update(&nonce.to_le_bytes());
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first).leading_zeros()
}

/// Where a registrar is: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrarUrl {
    place: String,
}

/// Why a registrar gave no peers. Nothing was changed here.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The URL is none; the operator is at fault.
    #[error("{0:?} is not http://HOST:PORT; check discovery.registrar")]
    Url(String),
    /// It cannot be reached, or says something else than HTTP.
    #[error("the registrar at {place} does not answer: {why}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// What went wrong.
        why: String,
    },
    /// It refused.
    #[error("the registrar at {place} refused ({status}): {why}")]
    Refused {
        /// Host and port.
        place: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        why: String,
    },
    /// It asks for more work than a node does.
    #[error("the registrar at {place} asks for {difficulty} bits of work, and {DIFFICULTY_MAX} are the most")]
    TooMuchWork {
        /// Host and port.
        place: String,
        /// What it asks for.
        difficulty: u8,
    },
}

impl std::str::FromStr for RegistrarUrl {
    type Err = RegistrarError;

    fn from_str(text: &str) -> Result<RegistrarUrl, RegistrarError> {
        let place = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let candidate = place.and_then(|place| place.parse::<Candidate>().ok());
        match candidate.filter(|candidate| candidate.node().is_none()) {
            Some(candidate) => Ok(RegistrarUrl { place: candidate.place().to_owned() }),
            None => Err(RegistrarError::Url(text.to_owned())),
        }
    }
}

impl RegistrarUrl {
    /// Live peers, without being listed.
    ///
    /// # Errors
    /// See [`RegistrarError`].
    pub async fn discover(&self) -> Result<Vec<Candidate>, RegistrarError> {
        let peers: Peers = self.ask(Method::GET, "/v1/discover", Bytes::new()).await?;
        Ok(candidates(&peers))
    }

    /// Asks for work, does it, and registers or unregisters; live peers, of which a registration tells.
    ///
    /// # Errors
    /// See [`RegistrarError`].
    pub async fn say(
        &self,
        wish: Wish,
        address: SocketAddr,
        key: &SecretKey,
    ) -> Result<(Vec<Candidate>, Duration), RegistrarError> {
        let work: Work = self.ask(Method::GET, "/v1/work", Bytes::new()).await?;
        if work.difficulty > DIFFICULTY_MAX {
            let place = self.place.clone();
            return Err(RegistrarError::TooMuchWork { place, difficulty: work.difficulty });
        }
        // Its window is not believed beyond what the clocks may differ by.
        let now = unix_seconds() / WINDOW_SECONDS;
        let work = Work { window: work.window.clamp(now.saturating_sub(1), now + 1), ..work };
        let key = key.clone();
        let made = tokio::task::spawn_blocking(move || Registration::make(wish, address, &key, &work)).await;
        let made = made.map_err(|error| self.unreachable(format!("the work was not done: {error}")))?;
        let body = serde_json::to_vec(&made).map_err(|error| self.unreachable(error.to_string()))?;
        let peers: Peers = self.ask(Method::POST, &format!("/v1/{}", wish.word()), body.into()).await?;
        Ok((candidates(&peers), Duration::from_secs(peers.ttl_seconds)))
    }

    fn unreachable(&self, why: String) -> RegistrarError {
        RegistrarError::Unreachable { place: self.place.clone(), why }
    }

    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, RegistrarError> {
        let asked = tokio::time::timeout(ANSWER_MAX, self.exchange(method, path, body)).await;
        let late = |_| self.unreachable(format!("no answer within {ANSWER_MAX:?}"));
        let (status, answer) = asked.map_err(late)?.map_err(|why| self.unreachable(why))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer)
                .map_err(|error| self.unreachable(format!("it says what is not understood: {error}")));
        }
        let why = serde_json::from_slice::<Refusal>(&answer)
            .map_or_else(|_| String::new(), |refusal| refusal.error);
        Err(RegistrarError::Refused { place: self.place.clone(), status: status.as_u16(), why })
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let stream = TcpStream::connect(&self.place).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.place)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        // It moves the bytes while the answer is awaited; how it ended shows in the answer, too.
        let moving = async {
            connection.await.ok();
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            answer = answer => answer,
            never = moving => match never {},
        }
    }
}

/// What a registrar lists, as far as it can be dialled.
fn candidates(peers: &Peers) -> Vec<Candidate> {
    peers.peers.iter().take(CANDIDATES_MAX).filter_map(|peer| peer.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EASY: Work = Work { difficulty: 8, window: 10 };
    const NOW: u64 = 10 * WINDOW_SECONDS + 5;

    fn key() -> SecretKey {
        SecretKey::from_seed([3; 32])
    }

    fn made() -> Registration {
        Registration::make(Wish::Register, "192.0.2.1:7420".parse().unwrap(), &key(), &EASY)
    }

    #[test]
    fn a_registration_holds_for_its_wish_address_and_time_alone() {
        let good = made();
        let node = NodeId::of_key(&key().public().0);
        let who = good.verify(Wish::Register, 8, NOW).unwrap();
        assert_eq!((who.place(), who.node()), ("192.0.2.1:7420", Some(node)));
        for (now, holds) in [(NOW - WINDOW_SECONDS, true), (NOW + WINDOW_SECONDS, true)] {
            assert_eq!(good.verify(Wish::Register, 8, now).is_ok(), holds);
        }
        let late = good.verify(Wish::Register, 8, NOW + 2 * WINDOW_SECONDS);
        assert_eq!(late, Err(BadRegistration::Window));
        assert!(good.verify(Wish::Unregister, 0, NOW).is_err(), "of another wish");
        let other = Registration { address: "192.0.2.2:7420".parse().unwrap(), ..good.clone() };
        assert_eq!(other.verify(Wish::Register, 0, NOW), Err(BadRegistration::Signature));
        let lazy = Registration {
            nonce: (0..).find(|n| zero_bits(b"x", *n) < 64).unwrap() + good.nonce + 1,
            ..good.clone()
        };
        assert!(matches!(lazy.verify(Wish::Register, 60, NOW), Err(BadRegistration::Work)));
        let stolen = Registration { key: SecretKey::from_seed([4; 32]).public().to_string(), ..good.clone() };
        assert_eq!(stolen.verify(Wish::Register, 0, NOW), Err(BadRegistration::Signature));
        for key in ["", "xy", &"0".repeat(64)] {
            let bad = Registration { key: key.to_owned(), ..good.clone() };
            assert!(bad.verify(Wish::Register, 0, NOW).is_err());
        }
    }

    #[test]
    fn a_url_is_http_with_a_port() {
        assert!("http://127.0.0.1:80".parse::<RegistrarUrl>().is_ok());
        assert!("http://registrar.example.org:8053/".parse::<RegistrarUrl>().is_ok());
        for wrong in ["https://a.b:1", "http://a.b", "a.b:1", "http://a.b:1/c", "http://a:1#2", ""] {
            assert!(wrong.parse::<RegistrarUrl>().is_err(), "{wrong}");
        }
    }
}
