//! All tiers at once: the first that says something is used although another never answers, who is linked is
//! remembered, and who is alone says so.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too: a panic is the failure")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use starling_core::event::Event;
use starling_core::id::{MeshId, NodeId};
use starling_core::identity::{SecretKey, VerifyKey};
use starling_core::machine::Input;
use starling_discovery::dns::Lookup;
use starling_discovery::finder::{Finder, FinderSettings, Note, ShippedList, Tier};
use starling_discovery::shipped::Shipped;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

const MESH: MeshId = MeshId(7);
const ME: NodeId = NodeId([9; 32]);
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    finder: Finder,
    inputs: mpsc::Receiver<Input>,
    events: broadcast::Sender<Event>,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl Bench {
    fn start(settings: FinderSettings) -> Bench {
        let (sender, inputs) = mpsc::channel(16);
        let (events, heard) = broadcast::channel(16);
        let notes = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&notes);
        let finder = Finder::start(settings, sender, heard, move |note| said.lock().unwrap().push(note));
        Bench { finder, inputs, events, notes }
    }

    async fn candidates(&mut self) -> Vec<String> {
        match timeout(PATIENCE, self.inputs.recv()).await.expect("candidates come") {
            Some(Input::Candidates { addresses }) => addresses,
            other => panic!("{other:?}"),
        }
    }
}

fn settings(data: &Path) -> FinderSettings {
    FinderSettings {
        dns: None,
        registrar: None,
        shipped: None,
        data: data.to_owned(),
        registered: None,
        me: ME,
    }
}

fn list(directory: &Path) -> ShippedList {
    let key = SecretKey::from_seed([1; 32]);
    let peers = vec!["192.0.2.1:7420".parse().unwrap(), format!("192.0.2.2:7420#{ME}").parse().unwrap()];
    let path = directory.join("peers.list");
    std::fs::write(&path, Shipped { mesh: MESH, expires: u64::MAX, peers }.sign(&key)).unwrap();
    ShippedList { path, keys: vec![VerifyKey::new(&key.public()).unwrap()], mesh: MESH }
}

#[tokio::test]
async fn a_tier_that_never_answers_keeps_no_other_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns = Some(Lookup::new("mesh.test", Some(silent.local_addr().unwrap())).unwrap());
    let shipped = Some(list(directory.path()));
    let mut bench = Bench::start(FinderSettings { dns, shipped, ..settings(directory.path()) });
    assert_eq!(bench.candidates().await, ["192.0.2.1:7420"], "and the node itself is not dialled");
    let is_of_dns = |note: &Note| matches!(note, Note::Failed { tier: Tier::Dns, .. });
    assert!(!bench.notes.lock().unwrap().iter().any(is_of_dns), "it is still waited for");
    timeout(PATIENCE, async {
        while !bench.notes.lock().unwrap().iter().any(is_of_dns) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("and given up in the end");
}

#[tokio::test]
async fn who_was_linked_is_dialled_at_once_after_a_restart_and_silent_peers_are_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(settings(directory.path()));
    let up = |seed: u8, addresses: &[&str]| Event::PeerUp {
        node: NodeId([seed; 32]),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        name: "peer".to_owned(),
        roles: "edge".to_owned(),
        region: "eu".to_owned(),
    };
    bench.events.send(up(1, &["192.0.2.1:7420", "bad address"])).unwrap();
    bench.events.send(up(2, &[])).unwrap();
    let file = directory.path().join("peers");
    timeout(PATIENCE, async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("peers are written soon after they are linked");
    bench.finder.stop().await;
    let mut again = Bench::start(settings(directory.path()));
    assert_eq!(again.candidates().await, [format!("192.0.2.1:7420#{}", NodeId([1; 32]))]);
    let notes = again.notes.lock().unwrap().clone();
    assert_eq!(notes, [Note::Found { tier: Tier::Known, count: 1 }]);
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_says_so_again_and_again_until_it_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(settings(directory.path()));
    let said = || {
        let notes = bench.notes.lock().unwrap();
        notes.iter().filter(|note| matches!(note, Note::Alone { .. })).count()
    };
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(said(), 0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(said(), 2, "after 10 and 30 s");
    let peer = NodeId([1; 32]);
    let up = Event::PeerUp {
        node: peer,
        addresses: Vec::new(),
        name: "peer".to_owned(),
        roles: "edge".to_owned(),
        region: "eu".to_owned(),
    };
    bench.events.send(up).unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(said(), 2);
    bench.events.send(Event::PeerDown { node: peer, name: "peer".to_owned(), timed_out: true }).unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(said(), 3);
}
