//! Honest aggregators and edges are never accused, and who changes a number is convicted by its own signature.

use proptest::prelude::*;

use super::*;
use crate::identity::SecretKey;
use crate::summary::{AttachLeaf, AttachTree, Fold, Summary};

const MESH: MeshId = MeshId(5);
const REGION: RegionId = RegionId(6);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn verify(seed: u8) -> VerifyKey {
    VerifyKey::new(&key(seed).public()).expect("a good key")
}

fn edge(seed: u8) -> ShortId {
    NodeId::of_key(&key(seed).public().0).short()
}

/// A fold over edges 10, 11 and so on.
fn fold(edges: u8) -> Fold {
    let mut fold = Fold::new();
    for seed in 10..10 + edges {
        let mut summary = Summary::new(1);
        summary.seal();
        fold.apply(edge(seed), summary.changed_since(0)).expect("it is whole");
    }
    fold
}

fn signed(leaf: Leaf, seed: u8) -> SignedSummary {
    SignedSummary::sign(MESH, leaf, [0; 32], &key(seed).signer())
}

proptest! {
    #[test]
    fn an_honest_figure_accuses_nobody_and_a_changed_word_only_who_signed(edges in 1..12_u8, at in any::<u8>()) {
        let mut fold = fold(edges);
        let figure = fold.figure();
        let of = 10 + at % edges;
        let opening = fold.open(edge(of)).expect("it is in there");
        let figure = SignedFigure::sign(MESH, REGION, figure.commitment(), &key(1).signer());
        let honest = signed(opening.leaf, of);
        prop_assert!(honest.is_by(MESH, &verify(of)) && !honest.is_by(MESH, &verify(1)));
        prop_assert!(!honest.is_by(MeshId(9), &verify(of)));
        prop_assert_eq!(compare(&figure, &opening, &honest), Compared::Same);
        // Of another version it shows nothing.
        let version = EdgeVersion { version: opening.leaf.version.version + 1, ..opening.leaf.version };
        let later = signed(Leaf { version, ..opening.leaf }, of);
        prop_assert_eq!(compare(&figure, &opening, &later), Compared::Nothing);

        // The figure counts more than the edge says.
        let less = signed(Leaf { agents: opening.leaf.agents + 1, ..opening.leaf }, of);
        let Compared::Forged(forgery) = compare(&figure, &opening, &less) else {
            return Err(TestCaseError::fail("two numbers of one version"));
        };
        let forgery = Forgery::from_bytes(&forgery.to_bytes()).expect("it is whole");
        prop_assert!(forgery.holds(MESH, &verify(1), &verify(of)));
        prop_assert!(!forgery.holds(MESH, &verify(2), &verify(of)), "nobody else is convicted");
        let foreign = Forgery { summary: signed(less.leaf, 3), ..forgery.clone() };
        prop_assert!(!foreign.holds(MESH, &verify(1), &verify(of)), "nor by a word that is not the edge's");
        let same = Forgery { summary: honest, ..forgery };
        prop_assert!(!same.holds(MESH, &verify(1), &verify(of)));
    }

    #[test]
    fn any_bytes_are_harmless(bytes: Vec<u8>) {
        if let Ok(forgery) = Forgery::from_bytes(&bytes) {
            prop_assert!(!forgery.holds(MESH, &verify(1), &verify(10)));
        }
    }
}

#[test]
fn an_opened_agent_must_have_signed_for_this_edge_in_this_life() {
    let node = NodeId::of_key(&key(10).public().0);
    let terms = AttachTerms { edge: node, edge_incarnation: 1, binding: [3; 32] };
    let claims: Vec<AttachClaim> = (20..60).map(|seed| terms.sign(&key(seed), 7, 1_000)).collect();
    let leaf = |claim: &AttachClaim| AttachLeaf {
        agent: claim.agent(),
        session: claim.session,
        digest: claim_digest(claim, &terms),
    };
    let tree = AttachTree::of(claims.iter().map(leaf).collect()).expect("all differ");
    let version = EdgeVersion { incarnation: 1, version: 4 };
    let said = Leaf { edge: edge(10), version, agents: 40, digest: [0; 32] };
    let summary = SignedSummary::sign(MESH, said, tree.commitment().root, &key(10).signer());
    for index in 0..40 {
        let opening = tree.open(index).expect("it is there");
        let claim = claims.iter().find(|claim| claim.agent() == opening.leaf.agent).expect("it is of one");
        assert!(is_attached(&summary, &opening, claim, &terms));
        let other = claims.iter().find(|other| *other != claim).expect("there are forty");
        assert!(!is_attached(&summary, &opening, other, &terms));
        let elsewhere = AttachTerms { edge_incarnation: 2, ..terms };
        assert!(!is_attached(&summary, &opening, claim, &elsewhere));
        let forged = AttachClaim { expires_ms: 1_001, ..*claim };
        assert!(!is_attached(&summary, &opening, &forged, &terms));
    }
    let more = SignedSummary { leaf: Leaf { agents: 41, ..said }, ..summary };
    let opening = tree.open(0).expect("it is there");
    let claim = claims.iter().find(|claim| claim.agent() == opening.leaf.agent).expect("it is of one");
    assert!(!is_attached(&more, &opening, claim, &terms), "one more than there are");
}
