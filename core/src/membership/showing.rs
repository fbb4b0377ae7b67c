//! A node's peers for people, and those it has lost for its hot path.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Neighbours;
use super::detector::Standing;
use super::known::{Dialling, Known, member};
use super::telling::Given;
use crate::hash::HashMap;
use crate::hot::view::Origin;
use crate::id::ShortId;
use crate::identity::Signature;
use crate::machine::LinkSlot;
use crate::time::Time;
use crate::wire::request::Member;

impl Neighbours {
    /// Peers for the hot path: who may speak, and links both ways.
    #[allow(clippy::type_complexity, reason = "three tables of one view, used in one place")]
    pub fn tables(
        &self,
    ) -> (HashMap<ShortId, Arc<Origin>>, HashMap<ShortId, LinkSlot>, HashMap<LinkSlot, ShortId>) {
        let heard = self.known.iter().filter(|(id, _)| !self.is_convicted(**id));
        let origins = heard.map(|(id, known)| (*id, Arc::clone(&known.origin))).collect();
        let links = self.linked().map(|(id, link, _)| (id, link)).collect();
        let peers = self.by_link.iter().map(|(link, id)| (*link, *id)).collect();
        (origins, links, peers)
    }

    /// Peers that are held for dead, or left.
    pub fn lost(&self) -> BTreeSet<ShortId> {
        self.known.iter().filter(|(_, known)| known.is_lost).map(|(id, _)| *id).collect()
    }

    /// This node and its peers for people.
    pub fn members(&self) -> Vec<Member> {
        let mine = Known {
            admission: self.me.admission.clone(),
            node: self.me.admission.node(),
            incarnation: self.me.incarnation,
            addresses: self.me.addresses.clone(),
            process: self.me.process,
            version: self.me.version.clone(),
            link: None,
            is_lost: false,
            has_left: false,
            lost_as: None,
            met: None,
            away_since: None,
            apart_said: Time::ZERO,
            heard: Time::ZERO,
            linked_at: Time::ZERO,
            close_at: None,
            told_at: None,
            given: Given::default(),
            // This row is for people: nobody verifies it.
            signature: Signature([0; 64]),
            banned_until: None,
            dialling: Dialling::default(),
            origin: Arc::new(Origin::new(self.own.id, self.me.region(), self.me.authority, false)),
        };
        let others = self.known.values().map(|known| {
            let status = self.status(known);
            member(known, status)
        });
        std::iter::once(member(&mine, "up")).chain(others).collect()
    }

    /// Whether a peer lives, as far as this node knows; of one that it was never linked with it has heard.
    pub fn standing_of(&self, known: &Known) -> Standing {
        match self.watching.detector.standing(known.node.short()) {
            Some(standing) if standing > Standing::Alive => standing,
            _ if known.has_left => Standing::Left,
            _ if known.link.is_some() => Standing::Alive,
            _ if known.is_lost => Standing::Dead,
            _ if known.away_since.is_some() => Standing::Suspect,
            _ => Standing::Alive,
        }
    }

    /// A peer's state in a word.
    fn status(&self, known: &Known) -> &'static str {
        if known.banned_until.is_some() {
            return "banned";
        }
        match self.watching.detector.standing(known.node.short()) {
            Some(Standing::Left) => "left",
            Some(Standing::Suspect) => "suspect",
            _ if known.has_left => "left",
            _ if known.link.is_some_and(LinkSlot::is_relayed) => "relayed",
            _ if known.link.is_some() => "up",
            _ if known.is_lost || known.away_since.is_some() => "down",
            _ => "known",
        }
    }
}
