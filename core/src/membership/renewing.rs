//! How a node's TLS certificate is renewed.
//!
//! The transport makes the key and the request, and says when; here it is signed by the identity key,
//! sent to a coordinator or to an aggregator, which passes it on, and the answer finds its way back. A
//! coordinator has its transport issue the certificate for a node that is admitted. That the certificate
//! is good is the asking node's transport to check: whoever passed it on may have changed it, and then it
//! serves nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::Neighbours;
use crate::id::{MeshId, ShortId};
use crate::identity::{Admission, Context, Roles, Signature, VerifyKey};
use crate::machine::{Granted, LinkSlot, Outbox, Output, Wanted};
use crate::time::{Now, Time};
use crate::wire::codec::Wire;
use crate::wire::message::{CertificateAnswer, CertificateAsk, ControlBody};

/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a certificate.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a refusal.
const REFUSAL_BYTES_MAX: usize = 256;
/// Questions that wait for an answer; more are dropped, and asked again by their nodes.
const WAITING_MAX: usize = 1024;
/// A node is answered once in this time.
const PATIENCE: Duration = Duration::from_millis(500);
/// After this long a question is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Questions on their way, by the node that asks.
#[derive(Debug, Default)]
pub(super) struct Renewing {
    waiting: BTreeMap<ShortId, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// Where the answer goes; `None` for this node's own transport.
    to: Option<LinkSlot>,
    since: Time,
}

impl Renewing {
    /// Remembers a question; false if there is no room, or the node asked just now.
    fn take(&mut self, now: Time, node: ShortId, number: u64, to: Option<LinkSlot>) -> bool {
        let is_early = |waiting: &Waiting| now.since(waiting.since) < PATIENCE;
        if self.waiting.get(&node).is_some_and(is_early) {
            return false;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|_, waiting| now.since(waiting.since) < FORGET_AFTER);
        }
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&node) {
            return false;
        }
        self.waiting.insert(node, Waiting { number, to, since: now });
        true
    }

    /// Where the answer to a question goes, once.
    fn answered(&mut self, node: ShortId, number: u64) -> Option<Option<LinkSlot>> {
        let is_it = self.waiting.get(&node).is_some_and(|waiting| waiting.number == number);
        if is_it { self.waiting.remove(&node).map(|waiting| waiting.to) } else { None }
    }
}

impl Neighbours {
    /// The transport wants a certificate, or has issued one.
    pub fn on_wanted(&mut self, now: Now, wanted: Wanted, out: &mut Outbox) {
        match wanted {
            Wanted::Certificate { number, request } => self.ask_for_certificate(now, number, request, out),
            Wanted::Answer { node, number, result } => {
                let Some(to) = self.renewing.answered(node, number) else { return };
                let Some(link) = to else {
                    return out.push(Output::Granted(Granted::Certificate { number, result }));
                };
                let (certificate, refusal) = match result {
                    Ok(certificate) => (certificate, String::new()),
                    Err(refusal) => (String::new(), refusal),
                };
                let answer = CertificateAnswer { node: node.0, number, certificate, refusal };
                out.send(link, ControlBody::CertificateAnswer(answer));
            }
        }
    }

    fn ask_for_certificate(&mut self, now: Now, number: u64, request: Bytes, out: &mut Outbox) {
        let me = self.me.short();
        if self.me.admission.roles.has(Roles::COORDINATOR) {
            if self.renewing.take(now.mono, me, number, None) {
                let admission = Box::new(self.me.admission.clone());
                out.push(Output::Granted(Granted::Issue { admission, number, request }));
            }
            return;
        }
        let Some(to) = self.who_leads_to_coordinators(number) else {
            let result = Err("no coordinator and no aggregator is linked".to_owned());
            return out.push(Output::Granted(Granted::Certificate { number, result }));
        };
        let signature =
            self.me.signer.sign(Context::Renewal, &spoken(self.me.admission.mesh, number, &request));
        let admission = self.me.admission.to_bytes();
        let signature = Bytes::copy_from_slice(&signature.0);
        out.send(to, ControlBody::CertificateAsk(CertificateAsk { admission, number, request, signature }));
    }

    /// A linked coordinator, else an aggregator; another one with each number, so that one that cannot
    /// help is not asked again and again.
    fn who_leads_to_coordinators(&self, number: u64) -> Option<LinkSlot> {
        let with = |role| -> Vec<LinkSlot> {
            let linked =
                self.linked().filter(|(_, link, known)| !link.is_relayed() && known.roles().has(role));
            linked.map(|(_, link, _)| link).collect()
        };
        let coordinators = with(Roles::COORDINATOR);
        let led = if coordinators.is_empty() { with(Roles::AGGREGATOR) } else { coordinators };
        let at = usize::try_from(number % led.len().max(1) as u64).expect("it is below a length");
        led.get(at).copied()
    }

    /// A node asks, or an aggregator passes a question on.
    pub(super) fn on_certificate_ask(
        &mut self,
        now: Now,
        link: LinkSlot,
        ask: CertificateAsk,
        out: &mut Outbox,
    ) {
        let Some((peer, known)) = self.at(link) else { return };
        let is_ours = known.roles().has(Roles::AGGREGATOR);
        let Ok(admission) = Admission::from_bytes(&ask.admission) else { return };
        let node = admission.node().short();
        if ask.request.len() > REQUEST_BYTES_MAX || node != peer && !is_ours {
            return;
        }
        if self.me.admission.roles.has(Roles::COORDINATOR) {
            if self.may_renew(now, &admission, &ask)
                && self.renewing.take(now.mono, node, ask.number, Some(link))
            {
                let (admission, number, request) = (Box::new(admission), ask.number, ask.request);
                out.push(Output::Granted(Granted::Issue { admission, number, request }));
            }
            return;
        }
        // An aggregator passes on what its own peers ask, and that once.
        if !self.me.admission.roles.has(Roles::AGGREGATOR) || node != peer {
            return;
        }
        let coordinators = self
            .linked()
            .filter(|(_, link, known)| known.roles().has(Roles::COORDINATOR) && !link.is_relayed());
        let coordinators: Vec<LinkSlot> = coordinators.map(|(_, link, _)| link).collect();
        let at =
            usize::try_from(ask.number % coordinators.len().max(1) as u64).expect("it is below a length");
        match coordinators.get(at) {
            Some(to) if self.renewing.take(now.mono, node, ask.number, Some(link)) => {
                out.send(*to, ControlBody::CertificateAsk(ask));
            }
            Some(_) => {}
            None => {
                let refusal = "the aggregator is linked with no coordinator".to_owned();
                let answer =
                    CertificateAnswer { node: node.0, number: ask.number, refusal, ..Default::default() };
                out.send(link, ControlBody::CertificateAnswer(answer));
            }
        }
    }

    /// Whether a question is that of an admitted node that is not banned.
    fn may_renew(&self, now: Now, admission: &Admission, ask: &CertificateAsk) -> bool {
        if self.is_convicted(admission.node().short()) || admission.mesh != self.me.admission.mesh {
            return false;
        }
        let Some(key) = VerifyKey::new(&admission.key) else { return false };
        let Ok(signature) = <[u8; 64]>::try_from(&ask.signature[..]) else { return false };
        let message = spoken(admission.mesh, ask.number, &ask.request);
        admission.verify(&self.me.authority, now.wall).is_ok()
            && key.verify(Context::Renewal, &message, &Signature(signature))
    }

    /// An answer came, for this node or for one that asked over it.
    pub(super) fn on_certificate_answer(
        &mut self,
        link: LinkSlot,
        answer: CertificateAnswer,
        out: &mut Outbox,
    ) {
        let Some((_, known)) = self.at(link) else { return };
        let leads = known.roles().has(Roles::COORDINATOR) || known.roles().has(Roles::AGGREGATOR);
        let is_long =
            answer.certificate.len() > CERTIFICATE_BYTES_MAX || answer.refusal.len() > REFUSAL_BYTES_MAX;
        if !leads || is_long {
            return;
        }
        let (node, number) = (ShortId(answer.node), answer.number);
        if node == self.me.short() {
            let is_refused = answer.certificate.is_empty();
            let result = if is_refused { Err(answer.refusal) } else { Ok(answer.certificate) };
            return out.push(Output::Granted(Granted::Certificate { number, result }));
        }
        if let Some(Some(to)) = self.renewing.answered(node, number) {
            out.send(to, ControlBody::CertificateAnswer(answer));
        }
    }
}

/// What is signed.
fn spoken(mesh: MeshId, number: u64, request: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(16 + request.len());
    out.put_u64_le(mesh.0);
    out.put_u64_le(number);
    out.put_slice(request);
    out
}
