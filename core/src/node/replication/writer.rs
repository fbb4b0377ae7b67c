//! What this node's agents write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::sealing::{self, Place};
use crate::hlc::{Hlc, HlcTime};
use crate::hot::view::Me;
use crate::id::ShortId;
use crate::identity::Signer;
use crate::machine::{ConnectionSlot, Outbox};
use crate::state::crdt::{Counter, Register, Value};
use crate::state::keyspace::{Change, KEY_BYTES_MAX, KEYSPACE_BYTES_MAX, Keyspace, NO_HASH};
use crate::state::replica::Replica;
use crate::state::version::Version;
use crate::time::{Now, Time};
use crate::wire::bundle::Bundle;
use crate::wire::codec::Wire;
use crate::wire::request::{Empty, KeyChange, RefusedCode, Say};

/// The least time between two bundles: what is written meanwhile shares one.
const SEAL_INTERVAL: Duration = Duration::from_millis(10);
/// Writes that may wait for the next bundle.
const WAITING_MAX: usize = 4096;
/// How long a node that has just found peers listens at least for what it wrote before it restarted.
const LISTEN: Duration = Duration::from_secs(1);
/// How long it waits for what somebody says that it wrote.
const RECOVERY: Duration = Duration::from_secs(10);
/// How often it looks whether it has that.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a deleted key is remembered: an older write to it that is still on its way would bring it
/// back. Forgotten with the next checkpoint.
const TOMBSTONE_KEPT: Duration = Duration::from_secs(10 * 60);

/// What an agent's client asks for.
#[derive(Debug)]
pub struct Write {
    /// Whom to answer: connection and request.
    pub from: (ConnectionSlot, u64),
    /// The key.
    pub key: String,
    /// What happens to it.
    pub change: KeyChange,
}

/// Writes this node's keyspace.
#[derive(Debug)]
pub struct Writer {
    me: Me,
    key: Arc<Signer>,
    clock: Hlc,
    pending: BTreeMap<Bytes, Value>,
    pending_bytes: usize,
    waiting: Vec<(ConnectionSlot, u64)>,
    next: Time,
    /// Writes that came before this node knows what it wrote before it restarted.
    held: VecDeque<Write>,
    look_at: Time,
    first_linked: Option<Time>,
    /// Whether some peer has said what it knows.
    has_heard: bool,
    /// The newest version of this node's state that somebody has.
    known: Version,
}

impl Writer {
    /// The writer of node `me`, which signs with `key`.
    pub fn new(me: Me, key: Arc<Signer>) -> Writer {
        Writer {
            me,
            key,
            clock: Hlc::default(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            waiting: Vec::new(),
            next: Time::ZERO,
            held: VecDeque::new(),
            look_at: Time::ZERO,
            first_linked: None,
            has_heard: false,
            known: Version::default(),
        }
    }

    /// A peer is linked.
    pub fn link_up(&mut self, now: Now) {
        self.first_linked.get_or_insert(now.mono);
    }

    /// A peer has the same replica, or has this version of this node's state.
    pub fn heard(&mut self, version: Version) {
        self.has_heard = true;
        self.known = self.known.max(version);
    }

    /// Stamps from now on are above `clock`.
    pub fn observe(&mut self, now: Now, clock: u64) {
        // Bundles from too far ahead were refused before.
        if self.clock.observe(HlcTime(clock), now).is_err() {
            debug_assert!(false, "a clock that was checked is too far ahead");
        }
    }

    /// Whether this node has what it wrote before it restarted, or nobody says so in time. A new
    /// incarnation's first bundle replaces all that the one before has written.
    fn is_recovered(&self, now: Now, replica: &Replica) -> bool {
        let Some(first_linked) = self.first_linked else { return true };
        let listened = now.mono.since(first_linked);
        let has_all = replica.versions().get(self.me.id).unwrap_or_default() >= self.known;
        self.has_heard && has_all && listened >= LISTEN || listened >= RECOVERY
    }

    /// Takes a change; the answer to (connection, request) comes with the bundle that has it.
    pub fn write(&mut self, now: Now, replica: &Replica, write: Write) -> Result<(), Box<Say>> {
        if write.key.is_empty() || write.key.len() > KEY_BYTES_MAX {
            return refuse(RefusedCode::Invalid, format!("a key has 1 to {KEY_BYTES_MAX} bytes"));
        }
        if self.waiting.len() + self.held.len() >= WAITING_MAX {
            return refuse(
                RefusedCode::Unavailable,
                "too many writes wait at this edge; try again".to_owned(),
            );
        }
        if !self.held.is_empty() || !self.is_recovered(now, replica) {
            self.held.push_back(write);
            return Ok(());
        }
        self.change(now, replica, write)
    }

    /// Makes the writes that were held, once it may.
    pub fn release(&mut self, now: Now, replica: &Replica, out: &mut Outbox) {
        if self.held.is_empty() {
            return;
        }
        if !self.is_recovered(now, replica) {
            self.look_at = now.mono + LOOK_AGAIN;
            return;
        }
        for write in std::mem::take(&mut self.held) {
            let (connection, request) = write.from;
            if let Err(say) = self.change(now, replica, write) {
                out.reply(connection, request, *say);
            }
        }
    }

    fn change(&mut self, now: Now, replica: &Replica, write: Write) -> Result<(), Box<Say>> {
        let Write { from, key, change } = write;
        let key = Bytes::from(key);
        let pending = self.pending.get(&key);
        let merged = pending.cloned().or_else(|| replica.get(&key));
        if merged.is_some_and(|value| !fits(&value, &change)) {
            let text = "the key has a value of another type (text, counter, maximum or minimum)";
            return refuse(RefusedCode::Invalid, text.to_owned());
        }
        let own = pending.or_else(|| replica.keyspace(self.me.id)?.get(&key));
        let value = match changed(own, self.me.id, self.clock.tick(now), &change) {
            Ok(value) => value,
            Err(text) => return refuse(RefusedCode::Invalid, text),
        };
        if !self.take(replica, Change { key, value: Some(value) }) {
            let text =
                format!("this edge's keys are full ({KEYSPACE_BYTES_MAX} bytes); write through another edge");
            return refuse(RefusedCode::Limit, text);
        }
        self.waiting.push(from);
        Ok(())
    }

    /// Adds a change to those that wait, unless the keyspace would be too large.
    fn take(&mut self, replica: &Replica, change: Change) -> bool {
        let bytes = change.to_bytes().len();
        let Change { key, value: Some(value) } = change else { return false };
        let keyspace = replica.keyspace(self.me.id);
        let before = self.pending.insert(key.clone(), value);
        // A bound first, since the exact size takes a look at every change.
        let bound = keyspace.map_or(0, Keyspace::encoded_bytes) + self.pending_bytes + bytes;
        if bound > KEYSPACE_BYTES_MAX {
            let changes = changes(&self.pending);
            let fits = match keyspace {
                Some(keyspace) => keyspace.check_changes(&changes),
                None => Keyspace::new(self.me.id).check_changes(&changes),
            };
            if fits.is_err() {
                match before {
                    Some(before) => self.pending.insert(key, before),
                    None => self.pending.remove(&key),
                };
                return false;
            }
        }
        self.pending_bytes += bytes;
        true
    }

    /// Seals what waits, if it is time. `wants_checkpoint` is for the bundles that are kept already.
    pub fn seal(
        &mut self,
        now: Now,
        replica: &Replica,
        wants_checkpoint: bool,
    ) -> Option<(Bundle, Vec<Change>)> {
        if self.pending.is_empty() || now.mono < self.next {
            return None;
        }
        self.next = now.mono + SEAL_INTERVAL;
        let mut changes = changes(&std::mem::take(&mut self.pending));
        self.pending_bytes = 0;
        let keyspace = replica.keyspace(self.me.id);
        let last = keyspace.filter(|keyspace| keyspace.version().incarnation == self.me.incarnation);
        // The first bundle of an incarnation replaces all state of the one before, so it must have it.
        let is_checkpoint = wants_checkpoint || last.is_none();
        if let Some(keyspace) = keyspace.filter(|_| is_checkpoint) {
            changes = whole(now, keyspace, changes);
        }
        let place = Place {
            sequence: last.map_or(0, |last| last.version().sequence) + 1,
            previous: last.map_or(NO_HASH, Keyspace::hash),
            is_checkpoint,
            clock: self.clock.tick(now).0,
        };
        Some((sealing::seal(&self.me, &self.key, place, &changes), changes))
    }

    /// Answers what the last bundle has.
    pub fn answer(&mut self, out: &mut Outbox) {
        for (connection, request) in self.waiting.drain(..) {
            out.reply(connection, request, Say::Done(Empty {}));
        }
    }

    /// When [`Writer::release`] and [`Writer::seal`] are wanted.
    pub fn deadline(&self) -> Option<Time> {
        let release = (!self.held.is_empty()).then_some(self.look_at);
        let seal = (!self.pending.is_empty()).then_some(self.next);
        [release, seal].into_iter().flatten().min()
    }
}

fn refuse(code: RefusedCode, text: String) -> Result<(), Box<Say>> {
    Err(Box::new(code.because(text)))
}

fn changes(pending: &BTreeMap<Bytes, Value>) -> Vec<Change> {
    let change = |(key, value): (&Bytes, &Value)| Change { key: key.clone(), value: Some(value.clone()) };
    pending.iter().map(change).collect()
}

/// The content of `keyspace` with `changes` made to it, without what was deleted long ago.
fn whole(now: Now, keyspace: &Keyspace, changes: Vec<Change>) -> Vec<Change> {
    let forgotten = now.wall.as_millis().saturating_sub(TOMBSTONE_KEPT.as_millis() as u64);
    let is_forgotten = |value: &Value| match value {
        Value::Register(register) => register.content().is_none() && register.time().millis() < forgotten,
        Value::GrowCounter(_) | Value::Counter(_) | Value::Max(_) | Value::Min(_) => false,
    };
    let mut content: BTreeMap<Bytes, Change> =
        keyspace.checkpoint().into_iter().map(|change| (change.key.clone(), change)).collect();
    content.retain(|_, change| !change.value.as_ref().is_some_and(is_forgotten));
    content.extend(changes.into_iter().map(|change| (change.key.clone(), change)));
    content.into_values().collect()
}

/// Whether a key with this value may be changed so.
fn fits(value: &Value, change: &KeyChange) -> bool {
    match change {
        KeyChange::Put(_) | KeyChange::Delete(_) => matches!(value, Value::Register(_)),
        KeyChange::Add(_) => matches!(value, Value::Counter(_)),
        KeyChange::Max(_) => matches!(value, Value::Max(_)),
        KeyChange::Min(_) => matches!(value, Value::Min(_)),
    }
}

/// What `me` says under a key after `change`, where it said `own` before.
fn changed(own: Option<&Value>, me: ShortId, time: HlcTime, change: &KeyChange) -> Result<Value, String> {
    Ok(match change {
        KeyChange::Put(bytes) => {
            let register = Register::new(time, me, bytes.clone());
            Value::Register(register.map_err(|fault| format!("a value is too long: {fault}"))?)
        }
        KeyChange::Delete(_) => Value::Register(Register::tombstone(time, me)),
        KeyChange::Add(amount) => {
            let mut counter = match own {
                Some(Value::Counter(counter)) => counter.clone(),
                _ => Counter::default(),
            };
            counter.add(me, *amount).map_err(|fault| fault.to_string())?;
            Value::Counter(counter)
        }
        KeyChange::Max(number) => match own {
            Some(Value::Max(before)) => Value::Max(*number.max(before)),
            _ => Value::Max(*number),
        },
        KeyChange::Min(number) => match own {
            Some(Value::Min(before)) => Value::Min(*number.min(before)),
            _ => Value::Min(*number),
        },
    })
}
