//! A text through the mesh, from region to region, as it is and while processes are killed.

use std::fs;
use std::time::Duration;

use crate::process::{Process, turn, until};
use crate::running::Mesh;
use crate::text::{difference, text};

const TEXT_BYTES: usize = 6_000_000;
/// The publisher's edge is in r0, the subscriber's in r1.
const PUBLISHER: u16 = 0;
const SUBSCRIBER: u16 = 1;

struct Pipe {
    mesh: Mesh,
    text: Vec<u8>,
    subscriber: Process,
    publisher: Process,
}

impl Pipe {
    fn start() -> Pipe {
        let mesh = Mesh::start(100);
        let text = text(TEXT_BYTES);
        let file = mesh.runtime().join("text");
        fs::write(&file, &text).unwrap();
        // Killing needs the processes' ids, which take a while to ask for.
        mesh.pid("edge-0");
        let mut subscriber =
            Process::start(mesh.command(&["subscribe", "logs.>", "--raw", "--node", &mesh.edge(SUBSCRIBER)]));
        subscriber.wait_to_say("ready", Duration::from_secs(15));
        let mut command = mesh.command(&["publish", "logs.app", "--lines", "--node", &mesh.edge(PUBLISHER)]);
        command.stdin(fs::File::open(&file).unwrap());
        let publisher = Process::start(command);
        Pipe { mesh, text, subscriber, publisher }
    }

    /// Kills nodes when half of the text has passed; it must not be all of it.
    fn kill_at_half(&mut self, nodes: &[&str]) {
        let half = self.text.len() as u64 / 2;
        let told = || format!("{}\n{}", self.publisher.stderr(), self.subscriber.stderr());
        until("half of the text", Duration::from_secs(30), told, || {
            (self.subscriber.stdout_bytes() >= half).then_some(())
        });
        nodes.iter().for_each(|node| self.mesh.kill(node));
        let is_publishing = self.publisher.code().is_none();
        assert!(is_publishing, "all was published before the kill: nothing would be tested");
    }

    /// The publisher succeeds and the subscriber has every byte once and in order.
    fn assert_whole(self) {
        let published = self.publisher.wait(Duration::from_secs(60));
        assert_eq!(published.code, 0, "{}", published.stderr);
        let subscriber = self.subscriber;
        let whole = self.text.len() as u64;
        // What is acknowledged is at the subscriber's edge, not yet in its file.
        for _ in 0..500 {
            if subscriber.stdout_bytes() >= whole {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        subscriber.signal("INT");
        let subscribed = subscriber.wait(Duration::from_secs(10));
        if let Some(difference) = difference(&self.text, &subscribed.stdout) {
            panic!("{difference}\nsubscriber: {}\npublisher: {}", subscribed.stderr, published.stderr);
        }
        assert_eq!((subscribed.code, subscribed.stderr.as_str()), (130, "ready\n"));
        println!("{whole} bytes in {:?}", published.after);
        drop(self.mesh);
    }
}

#[test]
fn a_text_passes_unchanged() {
    let _turn = turn();
    Pipe::start().assert_whole();
}

#[test]
fn a_text_survives_an_aggregator_of_each_region() {
    let _turn = turn();
    let mut pipe = Pipe::start();
    pipe.kill_at_half(&["r0-aggregator-0", "r1-aggregator-0"]);
    pipe.assert_whole();
}

#[test]
fn a_text_survives_the_edge_of_its_publisher() {
    let _turn = turn();
    let mut pipe = Pipe::start();
    pipe.kill_at_half(&["edge-0"]);
    pipe.assert_whole();
}

#[test]
fn a_subscriber_whose_edge_dies_says_gap_and_fails() {
    let _turn = turn();
    let mut pipe = Pipe::start();
    pipe.kill_at_half(&["edge-1"]);
    let subscribed = pipe.subscriber.wait(Duration::from_secs(20));
    assert_eq!(subscribed.code, 1, "{}", subscribed.stderr);
    assert!(subscribed.stderr.lines().any(|line| line.starts_with("gap: ")), "{}", subscribed.stderr);
    // What it wrote before the gap is the stream's beginning, in order and once.
    let written = subscribed.stdout.len();
    assert!(written >= pipe.text.len() / 2);
    assert_eq!(difference(&pipe.text[..written], &subscribed.stdout), None);
    // The publisher is not to blame and nobody subscribes any more: it succeeds.
    let published = pipe.publisher.wait(Duration::from_secs(60));
    assert_eq!(published.code, 0, "{}", published.stderr);
}
