//! Groups of coordinators, each with a store of its own.

#![allow(missing_docs, reason = "a test has no users")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use starling_consensus::MembershipError;
use starling_core::agreement::Agreement as _;
use starling_core::id::ShortId;
use support::*;

fn entries(numbers: impl IntoIterator<Item = u64>) -> Vec<Bytes> {
    numbers.into_iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_alone_decides_and_tells_again_after_a_restart() {
    let mut group = Group::new(1);
    (1..=100).for_each(|number| group.propose(0, entry(number)));
    until("all entries", || (group.entries(0).len() == 100).then_some(())).await;
    assert_eq!(group.entries(0), entries(1..=100));
    group.stop(0).await;
    group.start(0);
    group.propose(0, entry(101));
    until("one more", || (group.entries(0).len() == 101).then_some(())).await;
    assert_eq!(group.entries(0), entries(1..=101));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_of_three_proposes_is_decided_by_all_in_one_order() {
    let group = Group::new(3);
    for number in 1..=90 {
        group.propose((number % 3) as usize, entry(number));
    }
    for at in 0..3 {
        until("all entries", || (group.entries(at).len() == 90).then_some(())).await;
    }
    assert_eq!(group.entries(0), group.entries(1));
    assert_eq!(group.entries(0), group.entries(2));
    let mut sorted = group.entries(0);
    sorted.sort();
    assert_eq!(sorted, entries(1..=90));
    for proposer in 0..3 {
        let own = group
            .entries(0)
            .into_iter()
            .filter(|one| std::str::from_utf8(one).unwrap().parse::<u64>().unwrap() % 3 == proposer);
        assert!(own.is_sorted(), "a proposer's proposals keep their order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_is_replaced_and_comes_back_with_what_it_lacks() {
    let mut group = Group::new(3);
    let (first, term) = group.leader(&[0, 1, 2]).await;
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    group.propose(others[0], entry(1));
    until("the first entry", || (group.entries(others[1]).len() == 1).then_some(())).await;
    group.stop(first).await;
    group.propose(others[0], entry(2));
    group.propose(others[1], entry(3));
    until("both entries", || (group.entries(others[0]).len() == 3).then_some(())).await;
    let (second, later) = group.leader(&others).await;
    assert!(second != first && later > term);
    group.start(first);
    until("what it lacks", || (group.entries(first).len() == 3).then_some(())).await;
    assert_eq!(group.entries(first), group.entries(others[0]));
    let (still, same) = group.leader(&[0, 1, 2]).await;
    assert_eq!((still, same), (second, later), "who comes back does not disturb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_cut_off_does_not_depose_the_leader_when_it_is_back() {
    let group = Group::new(3);
    let (leader, term) = group.leader(&[0, 1, 2]).await;
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    group.cut(others[0], true);
    // Long enough to stand for election several times.
    tokio::time::sleep(Duration::from_secs(4)).await;
    group.propose(leader, entry(1));
    group.cut(others[0], false);
    until("what it lacks", || (group.entries(others[0]).len() == 1).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(group.leader(&[0, 1, 2]).await, (leader, term));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_decides_nothing_and_says_so_and_what_is_in_doubt_is_decided_once() {
    let group = Group::new(3);
    let (leader, _) = group.leader(&[0, 1, 2]).await;
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    group.cut(leader, true);
    // The first is put into a log that only a minority has; the last finds no majority at all.
    group.propose(leader, entry(1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    group.propose(leader, entry(2));
    group.propose(others[0], entry(3));
    until("the majority's entry", || (group.entries(others[1]).len() == 1).then_some(())).await;
    let undecided = || {
        let told = group.nodes[leader].told.lock().unwrap();
        (told.undecided.len() == 2).then(|| told.undecided.clone())
    };
    assert_eq!(until("the refusals", undecided).await, [(entry(1), true), (entry(2), false)]);
    assert!(group.entries(leader).is_empty());
    group.cut(leader, false);
    until("all entries", || (0..3).all(|at| group.entries(at).len() == 2).then_some(())).await;
    group.propose(leader, entry(4));
    until("one more", || (0..3).all(|at| group.entries(at).len() == 3).then_some(())).await;
    assert_eq!(group.entries(leader), entries([3, 1, 4]), "the doubtful one once, the refused one never");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_bound_the_log_and_serve_who_was_away() {
    let mut group = Group::new(3);
    let (leader, _) = group.leader(&[0, 1, 2]).await;
    let away = (leader + 1) % 3;
    group.stop(away).await;
    let count = 2500;
    for number in 1..=count {
        while !group.nodes[leader].running.as_ref().unwrap().propose(entry(number)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    until("all entries", || (group.entries(leader).len() == count as usize).then_some(())).await;
    group.start(away);
    until("what it lacks", || (group.entries(away).len() == count as usize).then_some(())).await;
    assert_eq!(group.entries(away), entries(1..=count));
    assert!(group.nodes[away].told.lock().unwrap().restored > 0, "by a snapshot");
    group.stop(leader).await;
    group.start(leader);
    until("its own entries", || (group.entries(leader).len() == count as usize).then_some(())).await;
    assert!(group.nodes[leader].told.lock().unwrap().restored > 0, "from its own snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_come_and_go_while_the_group_decides() {
    let mut group = Group::new(3);
    let (leader, _) = group.leader(&[0, 1, 2]).await;
    group.propose(leader, entry(1));
    group.add(4);
    let running = |group: &Group, at: usize| group.nodes[at].running.clone().expect("it runs");
    let (leading, following) = (running(&group, leader), running(&group, (leader + 1) % 3));
    let error = following.admit(ShortId(4)).await.unwrap_err();
    assert_eq!(error, MembershipError::NotLeader { leader: Some(ShortId(group.nodes[leader].me)) });
    leading.admit(ShortId(4)).await.unwrap();
    leading.admit(ShortId(4)).await.unwrap();
    until("the first entry", || (group.entries(3) == entries([1])).then_some(())).await;
    group.propose(3, entry(2));
    until("the newcomer's entry", || (0..4).all(|at| group.entries(at).len() == 2).then_some(())).await;
    leading.dismiss(ShortId(group.nodes[leader].me)).await.unwrap();
    drop((leading, following));
    group.stop(leader).await;
    let left: Vec<usize> = (0..4).filter(|at| *at != leader).collect();
    group.leader(&left).await;
    group.propose(left[0], entry(3));
    until("one more", || left.iter().all(|at| group.entries(*at).len() == 3).then_some(())).await;
}
