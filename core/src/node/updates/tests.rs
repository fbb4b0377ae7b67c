use super::*;
use crate::machine::Output;
use bytes::Bytes;

const LINK: LinkSlot = LinkSlot(1);

fn update(index: u64, bytes: usize) -> Update {
    Update { index, payload: Bytes::from(vec![0; bytes]), ..Update::default() }
}

fn sent(out: &mut Outbox) -> Vec<u64> {
    let index = |output| match output {
        Output::Control { body: ControlBody::Update(update), .. }
        | Output::ControlToAll { body: ControlBody::Update(update), .. } => Some(update.index),
        _ => None,
    };
    out.drain().filter_map(index).collect()
}

#[test]
fn a_follower_gets_what_it_lacks_and_then_what_is_new() {
    let (mut updates, mut out) = (Updates::default(), Outbox::new());
    for index in 1..=3 {
        assert!(updates.push(update(index, 1), &mut out));
    }
    assert_eq!(sent(&mut out), vec![], "nobody has said how far it is");
    updates.applied(LINK, 1, &mut out);
    assert_eq!(sent(&mut out), vec![2, 3]);
    updates.push(update(4, 1), &mut out);
    updates.applied(LINK, 2, &mut out);
    updates.applied(LINK, 3, &mut out);
    assert_eq!(sent(&mut out), vec![4], "progress brings nothing twice");
    updates.applied(LINK, 3, &mut out);
    assert_eq!(sent(&mut out), vec![4], "no progress does");
    updates.remove(LINK);
    updates.push(update(5, 1), &mut out);
    assert_eq!(sent(&mut out), vec![]);
}

#[test]
fn only_the_next_one_is_taken() {
    let (mut updates, mut out) = (Updates::default(), Outbox::new());
    assert!(!updates.push(update(0, 1), &mut out), "they are counted from 1");
    assert!(updates.push(update(7, 1), &mut out), "the oldest that somebody still has");
    for wrong in [0, 6, 7, 9, u64::MAX] {
        assert!(!updates.push(update(wrong, 1), &mut out));
    }
    assert_eq!(updates.newest(), 7);
    let (mut last, mut out) = (Updates::default(), Outbox::new());
    assert!(last.push(update(u64::MAX, 1), &mut out));
    assert!(!last.push(update(u64::MAX, 1), &mut out));
}

#[test]
fn what_is_kept_is_bounded_in_count_and_bytes() {
    for (bytes, most) in [(1, UPDATES_MAX), (16 * 1024, UPDATES_BYTES_MAX / (16 * 1024))] {
        let (mut updates, mut out) = (Updates::default(), Outbox::new());
        (1..=2000).for_each(|index| assert!(updates.push(update(index, bytes), &mut out)));
        updates.applied(LINK, 0, &mut out);
        let sent = sent(&mut out);
        assert_eq!((sent.len(), sent.last()), (most, Some(&2000)));
    }
}
