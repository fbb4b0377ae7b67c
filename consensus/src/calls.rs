//! Questions to other coordinators, and the answers that are waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use starling_core::agreement::Ground;
use starling_core::id::ShortId;
use tokio::sync::oneshot;

use crate::wire::{Body, Message};

/// Questions that wait for answers; beyond it a question fails at once.
const WAITING_MAX: usize = 64;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent.
    #[error("there is no link to that coordinator")]
    Unreachable,
    /// Nothing was sent.
    #[error("too many questions wait for answers")]
    Busy,
    /// Whether it arrived is not known.
    #[error("no answer came in time")]
    Late,
    /// It arrived, and could not be answered.
    #[error("that coordinator cannot answer")]
    Failed,
}

/// The questions of one node.
#[derive(Debug)]
pub(crate) struct Calls {
    ground: Arc<dyn Ground>,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<(u64, u64), oneshot::Sender<Body>>>,
    linked: Mutex<BTreeSet<u64>>,
}

/// Takes a question back when its asker waits no longer.
struct Asked<'a> {
    calls: &'a Calls,
    key: (u64, u64),
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.calls.waiting().remove(&self.key);
    }
}

impl Calls {
    pub fn new(ground: Arc<dyn Ground>) -> Calls {
        Calls { ground, next: AtomicU64::new(1), waiting: Mutex::default(), linked: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), oneshot::Sender<Body>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is linked.
    pub fn linked(&self) -> BTreeSet<u64> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A link came or went; what was asked over one that went has no answer.
    pub fn set_linked(&self, peer: u64, is_up: bool) {
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        if is_up {
            linked.insert(peer);
        } else {
            linked.remove(&peer);
            self.waiting().retain(|(asked, _), _| *asked != peer);
        }
    }

    /// Sends without waiting for anything; false without a link.
    pub fn say(&self, peer: u64, number: u64, body: Body) -> bool {
        self.ground.send(ShortId(peer), Message::to_bytes(number, body))
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, peer: u64, body: Body, patience: Duration) -> Result<Body, CallError> {
        let key = (peer, self.next.fetch_add(1, Ordering::Relaxed));
        let (answered, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= WAITING_MAX {
                return Err(CallError::Busy);
            }
            waiting.insert(key, answered);
        }
        let asked = Asked { calls: self, key };
        if !self.say(peer, key.1, body) {
            return Err(CallError::Unreachable);
        }
        let answer = tokio::time::timeout(patience, answer).await;
        drop(asked);
        match answer {
            Ok(Ok(Body::Failed(_))) => Err(CallError::Failed),
            Ok(Ok(body)) => Ok(body),
            // The link went down, or time ran out.
            Ok(Err(_)) | Err(_) => Err(CallError::Late),
        }
    }

    /// An answer came; one that nobody waits for is dropped.
    pub fn answered(&self, peer: u64, number: u64, body: Body) {
        let waiting = self.waiting().remove(&(peer, number));
        if waiting.is_some_and(|waiting| waiting.send(body).is_err()) {
            // Its asker gave up just now.
        }
    }
}
