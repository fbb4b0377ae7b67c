//! Messages by which coordinators agree, and proposals, on their way through a node.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use starling_core::agreement::{Agreement, Ground};
use starling_core::event::Event;
use starling_core::id::ShortId;
use starling_core::identity::Roles;
use starling_core::machine::{Input, Output};
use starling_core::wire::message::ControlBody;
use starling_net::trust::Authority;

use crate::link_up;
use crate::support::{self, Bench};

/// Decides at once what is proposed, and notes what it hears.
#[derive(Debug, Default)]
struct Echo {
    ground: Mutex<Option<Arc<dyn Ground>>>,
    decided: Mutex<u64>,
    linked: Mutex<Vec<(ShortId, bool)>>,
    heard: Mutex<Vec<(ShortId, Bytes)>>,
}

impl Agreement for Echo {
    fn begin(&self, _: ShortId, _: u64, ground: Arc<dyn Ground>) {
        *self.ground.lock().unwrap() = Some(ground);
    }

    fn propose(&self, entry: Bytes) -> bool {
        if entry.is_empty() {
            return false;
        }
        let ground = self.ground();
        let mut decided = self.decided.lock().unwrap();
        *decided += 1;
        let index = *decided;
        tokio::spawn(async move { ground.tell(Input::Committed { index, entry }).await });
        true
    }

    fn linked(&self, peer: ShortId, is_up: bool) {
        self.linked.lock().unwrap().push((peer, is_up));
    }

    fn heard(&self, peer: ShortId, message: Bytes) {
        self.heard.lock().unwrap().push((peer, message));
    }

    fn end(&self) {}
}

impl Echo {
    fn ground(&self) -> Arc<dyn Ground> {
        Arc::clone(self.ground.lock().unwrap().as_ref().expect("it has begun"))
    }

    async fn until(&self, what: &str, look: impl Fn(&Echo) -> bool) {
        let begun = std::time::Instant::now();
        while !look(self) {
            assert!(begun.elapsed() < support::PATIENCE, "waited in vain for {what}");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

async fn coordinator(authority: &Authority, name: &str) -> (Bench, Arc<Echo>) {
    let (echo, directory) = (Arc::new(Echo::default()), tempfile::tempdir().unwrap());
    let mut settings = support::settings_of(authority, name, Roles::COORDINATOR, directory.path());
    settings.agreement = Some(Arc::clone(&echo) as Arc<dyn Agreement>);
    (Bench::run(settings, directory).await, echo)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_talk_past_the_machine_and_only_while_they_are_linked() {
    let authority = Authority::create("test").unwrap();
    let (a, of_a) = coordinator(&authority, "a").await;
    let (b, of_b) = coordinator(&authority, "b").await;
    let (id_a, id_b) = (a.node.short(), b.node.short());
    let (ground_a, ground_b) = (of_a.ground(), of_b.ground());
    assert!(!ground_a.send(id_b, Bytes::from_static(b"nobody")), "there is no link yet");
    a.act([Output::Dial { address: b.handle.address().to_string() }]).await;
    of_a.until("the link", |echo| *echo.linked.lock().unwrap() == [(id_b, true)]).await;
    of_b.until("the link", |echo| *echo.linked.lock().unwrap() == [(id_a, true)]).await;
    let large = Bytes::from(vec![7; 60 * 1024]);
    assert!(ground_a.send(id_b, large.clone()) && ground_b.send(id_a, Bytes::from_static(b"back")));
    of_b.until("the message", |echo| *echo.heard.lock().unwrap() == [(id_a, large.clone())]).await;
    of_a.until("the answer", |echo| *echo.heard.lock().unwrap() == [(id_b, Bytes::from_static(b"back"))])
        .await;
    assert!(b.collect(|input| matches!(input, Input::Control { .. }).then_some(())).is_empty());
    b.stop().await;
    of_a.until("the end", |echo| *echo.linked.lock().unwrap() == [(id_b, true), (id_b, false)]).await;
    assert!(!ground_a.send(id_b, Bytes::from_static(b"nobody")), "the link is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_coordinator_does_not_agree() {
    let authority = Authority::create("test").unwrap();
    let (a, of_a) = coordinator(&authority, "a").await;
    let edge = Bench::start(&authority, "edge").await;
    let mut events = a.handle.events();
    edge.act([Output::Dial { address: a.handle.address().to_string() }]).await;
    let (link, _) = edge.until("the link", link_up).await;
    edge.act([Output::Control { link, body: ControlBody::Agreement(Bytes::from_static(b"vote")) }]).await;
    edge.until("the end", |input| matches!(input, Input::LinkDown { .. }).then_some(())).await;
    let refused = async {
        loop {
            if let Event::Refused { reason, .. } = events.recv().await.unwrap() {
                return reason;
            }
        }
    };
    let reason = tokio::time::timeout(support::PATIENCE, refused).await.unwrap();
    assert!(reason.contains("coordinators"), "{reason}");
    assert!(of_a.heard.lock().unwrap().is_empty() && of_a.linked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_go_to_who_agrees_and_are_refused_where_nobody_does() {
    let authority = Authority::create("test").unwrap();
    let (a, _) = coordinator(&authority, "a").await;
    a.act([Output::Propose(Bytes::from_static(b"entry"))]).await;
    let committed = |input: &Input| match input {
        Input::Committed { index, entry } => Some((*index, entry.clone())),
        _ => None,
    };
    assert_eq!(a.until("the entry", committed).await, (1, Bytes::from_static(b"entry")));
    let undecided = |input: &Input| match input {
        Input::Undecided { entry, is_doubtful } => Some((entry.clone(), *is_doubtful)),
        _ => None,
    };
    a.act([Output::Propose(Bytes::new())]).await;
    assert_eq!(a.until("the refusal", undecided).await, (Bytes::new(), false));
    assert_eq!(a.handle.refused_proposals(), 1);
    let directory = tempfile::tempdir().unwrap();
    let edge =
        Bench::run(support::settings(&authority, "edge", Path::new(directory.path())), directory).await;
    edge.act([Output::Propose(Bytes::from_static(b"entry"))]).await;
    assert_eq!(edge.until("the refusal", undecided).await, (Bytes::from_static(b"entry"), false));
}
