//! One peer as a node knows it, and how it is told to others.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::telling::Given;
use crate::conduct::Verdict;
use crate::hot::view::Origin;
use crate::id::{NodeId, RegionId};
use crate::identity::{Admission, Roles, Signature, VerifyKey};
use crate::limits;
use crate::machine::{LinkSlot, Outbox};
use crate::time::Time;
use crate::wire::codec::Wire;
use crate::wire::message::{ControlBody, PeerRecord, Peers};
use crate::wire::request::Member;

/// Records in one message.
pub(super) const RECORDS_MAX: usize = 64;
/// Bytes of records in one message: half of what a control frame takes.
const RECORD_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX / 2;

/// When an address is dialled, and how that went so far.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    pub attempts: u32,
    pub next: Option<Time>,
    pub under_way: bool,
}

/// A peer as this node knows it.
#[derive(Debug)]
pub struct Known {
    /// Its admission.
    pub admission: Admission,
    /// Its id.
    pub node: NodeId,
    /// Its incarnation, the highest heard of.
    pub incarnation: u64,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its process id.
    pub process: u32,
    /// Its software.
    pub version: String,
    /// Its word for all of that, to be passed on.
    pub(super) signature: Signature,
    /// The link to it.
    pub link: Option<LinkSlot>,
    /// Whether it was linked once and is not now.
    pub is_lost: bool,
    /// Whether it said good-bye, and has not come back.
    pub has_left: bool,
    /// The incarnation that was lost and when, until a link comes up.
    pub(super) lost_as: Option<(u64, Time)>,
    /// The incarnation that was linked last.
    pub(super) met: Option<u64>,
    pub(super) away_since: Option<Time>,
    /// When it was last said that it is out of reach.
    pub(super) apart_said: Time,
    pub(super) heard: Time,
    /// When its present or last link came up.
    pub(super) linked_at: Time,
    /// When its link, which is not wanted, may be closed.
    pub(super) close_at: Option<Time>,
    /// When it was last told what it lacks of nodes.
    pub(super) told_at: Option<Time>,
    /// Records that it asked for and got.
    pub(super) given: Given,
    /// Until when no link with it is taken or dialled.
    pub(super) banned_until: Option<Time>,
    pub(super) dialling: Dialling,
    pub(super) origin: Arc<Origin>,
}

impl Known {
    pub(super) fn record(&self) -> PeerRecord {
        PeerRecord {
            admission: self.admission.to_bytes(),
            addresses: self.addresses.clone(),
            incarnation: self.incarnation,
            process: self.process,
            version: self.version.clone(),
            is_gone: self.is_lost || self.has_left,
            has_left: self.has_left,
            signature: Bytes::copy_from_slice(&self.signature.0),
        }
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.origin.region
    }

    /// Its identity key.
    pub fn key(&self) -> &VerifyKey {
        &self.origin.key
    }

    /// Whether no link with it is taken.
    pub fn is_banned(&self) -> bool {
        self.banned_until.is_some()
    }

    /// The roles.
    pub fn roles(&self) -> Roles {
        self.admission.roles
    }

    /// When it is to be said, or said again, that it is out of reach.
    pub(super) fn apart_at(&self) -> Option<Time> {
        let since = self.away_since.filter(|_| self.link.is_none() && !self.is_lost)?;
        Some(since.max(self.apart_said) + limits::LINK_TIMEOUT)
    }

    /// Whether there is a link to it that does not lead over others.
    pub(super) fn has_own_link(&self) -> bool {
        self.link.is_some_and(|link| !link.is_relayed())
    }

    /// When it is to be dialled; never as long as it has a link of its own or nobody knows where it listens.
    pub(super) fn dial_at(&self) -> Option<Time> {
        let next = self.dialling.next.filter(|_| !self.has_own_link() && !self.addresses.is_empty())?;
        match self.banned_until {
            None => Some(next),
            Some(until) => (until < Verdict::FOREVER).then(|| next.max(until)),
        }
    }
}

/// Tells of peers in messages of which each fits a control frame.
pub(super) fn send_records(links: &[LinkSlot], records: &[PeerRecord], out: &mut Outbox) {
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(RECORDS_MAX).take_while(|record| {
            bytes += record.encoded_len() + 8;
            bytes <= RECORD_BYTES_MAX
        });
        // One record alone always fits: all that a peer may say in it is bounded.
        let (part, behind) = rest.split_at(fits.count().max(1));
        let peers = Peers { records: part.to_vec(), more: !behind.is_empty() };
        out.send_to_all(links, ControlBody::Peers(peers));
        rest = behind;
    }
}

/// A peer for people.
pub(super) fn member(known: &Known, status: &str) -> Member {
    Member {
        id: Bytes::copy_from_slice(&known.node.0),
        name: known.admission.name.to_string(),
        roles: known.admission.roles.to_string(),
        region: known.admission.region.to_string(),
        address: known.addresses.first().cloned().unwrap_or_default(),
        status: status.to_string(),
        process: known.process,
        incarnation: known.incarnation,
        version: known.version.clone(),
        agents: 0,
    }
}
