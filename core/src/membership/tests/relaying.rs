//! Two nodes with a third between them.

use super::judging::proof;
use super::*;

/// Three nodes, of which the first and the last have a link with the second alone.
struct Chain {
    nodes: Vec<Neighbours>,
    outs: Vec<Outbox>,
    now: Now,
}

/// The links: of the first and the second, and of the second and the third.
const LINKS: [LinkSlot; 2] = [LinkSlot(1), LinkSlot(2)];

impl Chain {
    fn new() -> Chain {
        let nodes = [1, 2, 3].map(|seed| node(seed, Roles::EDGE, &[])).into();
        let mut chain = Chain { nodes, outs: vec![Outbox::new(), Outbox::new(), Outbox::new()], now: at(0) };
        for (link, ends) in LINKS.into_iter().zip([[0, 1], [1, 2]]) {
            for [at, other] in [ends, [ends[1], ends[0]]] {
                let peer = peer(other as u8 + 1, Roles::EDGE, "east");
                chain.nodes[at].link_up(chain.now, link, peer, &mut chain.outs[at]);
            }
        }
        for [at, other] in [[0, 2], [2, 0]] {
            let known = vec![record(other + 1, Roles::EDGE, "east")];
            hear(&mut chain.nodes[usize::from(at)], chain.now, known, &mut chain.outs[usize::from(at)]);
        }
        chain
    }

    /// The first cannot dial the third, and asks for a relay.
    fn ask(&mut self) {
        self.now = at(100);
        self.nodes[0].wake(self.now, &mut self.outs[0]);
        // Whoever of the two is to dial has tried by then.
        self.now = at(2_000);
        self.nodes[0].wake(self.now, &mut self.outs[0]);
        self.nodes[0].dial_failed(self.now, "node-3:1");
        self.now = at(4_000);
        self.nodes[0].wake(self.now, &mut self.outs[0]);
    }

    /// Carries what one node has put out to those it is for, after a view was put out.
    fn carry(&mut self, from: usize) {
        self.nodes[from].view_published();
        self.nodes[from].wrap_relayed(&mut self.outs[from]);
        for output in self.outs[from].drain().collect::<Vec<_>>() {
            let Output::Control { link, body } = output else { continue };
            let to = if link == LINKS[0] { 1 - from } else { 3 - from };
            let is_relaying = matches!(
                body,
                ControlBody::RelayOpen(_)
                    | ControlBody::RelayAccepted(_)
                    | ControlBody::RelayClosed(_)
                    | ControlBody::Relayed(_)
            );
            if is_relaying {
                let out = &mut self.outs[to];
                self.nodes[to].on_control(self.now, link, body, out).expect("it is of membership");
                self.nodes[to].wrap_relayed(out);
            }
        }
        self.nodes.iter().for_each(Neighbours::check);
    }

    fn has_relayed_link(&self, at: usize, other: u8) -> bool {
        self.nodes[at].get(id(other)).and_then(|known| known.link).is_some_and(LinkSlot::is_relayed)
    }
}

#[test]
fn two_meet_over_a_third() {
    let mut chain = Chain::new();
    chain.ask();
    [0, 1, 2, 1].into_iter().for_each(|from| chain.carry(from));
    assert!(chain.has_relayed_link(0, 3) && chain.has_relayed_link(2, 1));
}

#[test]
fn who_is_banned_while_it_accepts_gets_no_link() {
    let mut chain = Chain::new();
    chain.ask();
    [0, 1, 2].into_iter().for_each(|from| chain.carry(from));
    assert!(chain.has_relayed_link(2, 1), "it has accepted, and the word of it is on its way");
    chain.nodes[0].judge(chain.now, None, &proof(3), &mut chain.outs[0]);
    chain.carry(1);
    chain.nodes[0].wake(chain.now, &mut chain.outs[0]);
    [0, 1].into_iter().for_each(|from| chain.carry(from));
    assert!(!chain.has_relayed_link(0, 3) && !chain.has_relayed_link(2, 1));
}
