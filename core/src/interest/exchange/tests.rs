use super::*;
use crate::machine::Output;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("a pattern")
}

/// What was sent over a link, in order.
fn sent(out: &mut Outbox, link: LinkSlot) -> Vec<Interest> {
    let of = |output| match output {
        Output::Control { link: to, body: ControlBody::Interest(interest) } if to == link => Some(interest),
        Output::ControlToAll { links, body: ControlBody::Interest(interest) } if links.contains(&link) => {
            Some(interest)
        }
        _ => None,
    };
    out.drain().filter_map(of).collect()
}

fn long(number: usize) -> String {
    format!("{}.{number}", "x".repeat(100))
}

#[test]
fn a_version_is_in_force_when_every_peer_confirmed_it() {
    let (mut offer, mut out) = (Offer::new(RegionId(0), 7), Outbox::new());
    let (left, right) = (LinkSlot(1), LinkSlot(2));
    offer.add_peer(left, &mut out);
    offer.add_peer(right, &mut out);
    assert!(offer.add(&pattern("a")));
    assert_eq!(offer.flush(&mut out), 1);
    assert_eq!(offer.flush(&mut out), 1, "nothing changed since");
    assert_eq!(offer.in_force(), 0);
    offer.confirm(left, 1);
    assert_eq!(offer.in_force(), 0);
    offer.confirm(right, 99);
    assert_eq!(offer.in_force(), 1, "what was never declared cannot be confirmed");
    assert!(offer.add(&pattern("b")));
    offer.flush(&mut out);
    offer.confirm(left, 2);
    assert_eq!(offer.in_force(), 1);
    offer.confirm(left, 1);
    offer.confirm(LinkSlot(7), 0);
    offer.remove_peer(right);
    assert_eq!(offer.in_force(), 2, "nobody waits for who is gone, and confirmations do not go back");
    offer.add_peer(right, &mut out);
    assert_eq!(offer.in_force(), 0, "a newcomer has nothing yet");
    offer.remove_peer(right);
    offer.remove_peer(left);
    assert_eq!(offer.in_force(), 2);
}

#[test]
fn who_confirms_nothing_for_too_long_is_named_and_nobody_else_is() {
    let (mut offer, mut out) = (Offer::new(RegionId(0), 7), Outbox::new());
    let (prompt, silent, slow) = (LinkSlot(1), LinkSlot(2), LinkSlot(3));
    [prompt, silent, slow].into_iter().for_each(|link| offer.add_peer(link, &mut out));
    let at = |second: u64| Time::ZERO + Duration::from_secs(second);
    let within = |_| Duration::from_secs(30);
    assert_eq!(offer.deadline(), None, "nothing is declared, nobody owes anything");
    for second in 1..=30 {
        offer.add(&pattern(&format!("a.{second}")));
        let version = offer.flush(&mut out);
        offer.confirm(prompt, version);
        // Far behind, and all the same it goes on.
        offer.confirm(slow, version / 10);
        assert!(offer.deadline().is_some_and(|look| look <= at(second)));
        assert_eq!(offer.overdue(at(second), within), []);
    }
    assert_eq!(offer.overdue(at(31), within), [silent]);
    assert_eq!(offer.overdue(at(31), within), [], "it is looked once a second");
    offer.confirm(silent, 1);
    assert_eq!(offer.overdue(at(32), within), [], "it goes on");
    offer.remove_peer(silent);
    offer.confirm(slow, 30);
    assert_eq!((offer.in_force(), offer.deadline()), (30, None));
}

#[test]
fn a_peer_added_twice_or_late_gets_everything() {
    let (mut offer, mut out) = (Offer::new(RegionId(0), 7), Outbox::new());
    let link = LinkSlot(1);
    offer.add(&pattern("a"));
    offer.flush(&mut out);
    offer.add(&pattern("b"));
    for _ in 0..2 {
        offer.add_peer(link, &mut out);
        let mut wishes = Wishes::default();
        for interest in sent(&mut out, link) {
            wishes.apply(&interest);
        }
        assert_eq!(wishes.patterns().cloned().collect::<Vec<_>>(), vec![pattern("a"), pattern("b")]);
    }
    offer.flush(&mut out);
    offer.confirm(link, 2);
    assert_eq!(offer.in_force(), 2);
}

#[test]
fn a_declaration_anew_in_many_messages_never_lacks_what_stays() {
    let (mut offer, mut out) = (Offer::new(RegionId(0), 7), Outbox::new());
    let link = LinkSlot(1);
    (0..2000).for_each(|number| {
        offer.add(&pattern(&long(number)));
    });
    offer.add_peer(link, &mut out);
    let mut wishes = Wishes::default();
    for interest in sent(&mut out, link) {
        wishes.apply(&interest);
    }
    assert_eq!(wishes.patterns().count(), 2000);
    offer.remove(&pattern(&long(0)));
    offer.add(&pattern("new"));
    offer.flush(&mut out);
    sent(&mut out, link);
    offer.add_peer(link, &mut out);
    let messages = sent(&mut out, link);
    assert!(messages.len() > 3, "{} messages", messages.len());
    assert!(messages.iter().rev().skip(1).all(|message| message.more) && !messages.last().unwrap().more);
    let mut change = Change::default();
    for interest in messages {
        let part = wishes.apply(&interest);
        change.added.extend(part.added);
        change.removed.extend(part.removed);
        assert!((1..2000).all(|number| wishes.has(&pattern(&long(number)))), "in between");
    }
    assert_eq!((change.added, change.removed), (vec![pattern("new")], vec![pattern(&long(0))]));
}

#[test]
fn a_peer_harms_itself_alone_with_too_many_or_malformed_patterns() {
    let mut wishes = Wishes::default();
    for round in 0..10_usize {
        let added =
            (0..2000).map(|number| format!("p{}", round * 2000 + number)).chain(["..".into()]).collect();
        let interest =
            Interest { version: round as u64, whole: round == 0, more: true, added, ..Interest::default() };
        wishes.apply(&interest);
    }
    assert_eq!(wishes.patterns().count(), limits::DECLARED_PATTERNS_MAX * 2);
    assert_eq!(wishes.version(), 9);
}

proptest! {
    /// Whatever is added, removed, flushed and declared anew, the other side ends with what is
    /// declared here, and its changes add up to what it has.
    #[test]
    fn both_sides_agree(steps in proptest::collection::vec((0..5_u8, 0..12_usize), 1..60)) {
        let (mut offer, mut out) = (Offer::new(RegionId(0), 7), Outbox::new());
        let (mut wishes, mut held) = (Wishes::default(), BTreeSet::new());
        let link = LinkSlot(1);
        offer.add_peer(link, &mut out);
        for (what, number) in steps {
            let pattern = pattern(&long(number));
            match what {
                0 | 1 => prop_assert!(offer.add(&pattern)),
                2 => offer.remove(&pattern),
                3 => offer.add_peer(link, &mut out),
                _ => { offer.flush(&mut out); }
            }
        }
        offer.flush(&mut out);
        for interest in sent(&mut out, link) {
            let change = wishes.apply(&interest);
            for pattern in change.removed {
                prop_assert!(held.remove(&pattern));
            }
            for pattern in change.added {
                prop_assert!(held.insert(pattern));
            }
        }
        let declared: BTreeSet<Pattern> = offer.declared.declared().cloned().collect();
        prop_assert_eq!(&held, &declared);
        prop_assert_eq!(wishes.patterns().cloned().collect::<BTreeSet<_>>(), declared);
    }
}

#[test]
fn what_is_in_force_is_what_the_slowest_peer_confirmed() {
    let (mut offer, mut out) = (Offer::new(RegionId(0), 1), Outbox::new());
    assert_eq!(offer.in_force(), offer.version());
    let links = [LinkSlot(1), LinkSlot(2), LinkSlot(3)];
    links.iter().for_each(|link| offer.add_peer(*link, &mut out));
    for subject in ["a", "b"] {
        offer.add(&Pattern::parse(subject).expect("a pattern"));
        offer.flush(&mut out);
    }
    for (link, version, slowest) in [(1, 2, 0), (2, 1, 0), (3, 9, 1), (2, 2, 2), (2, 1, 2)] {
        offer.confirm(LinkSlot(link), version);
        assert_eq!(offer.in_force(), slowest, "after {link} confirmed {version}");
    }
    offer.add_peer(LinkSlot(1), &mut out);
    assert_eq!(offer.in_force(), 0, "who begins anew has confirmed nothing");
    offer.remove_peer(LinkSlot(1));
    assert_eq!(offer.in_force(), 2);
    links.iter().for_each(|link| offer.remove_peer(*link));
    assert_eq!(offer.in_force(), offer.version());
}
