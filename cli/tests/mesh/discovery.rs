//! How real processes find one another: by each tier alone, with the others out of reach, and by what a node
//! remembers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{PATIENCE, Process, free_ports, private_directory, run, starling, turn, until};

const NODES: [&str; 4] = ["aggregator:eu:hub", "edge:eu:one", "edge:eu:two", "edge:eu:quiet"];
/// How long finding a mesh and linking with it may take on a machine that does much else.
const FOUND: Duration = Duration::from_secs(40);
/// Nobody listens there: port 9 of UDP and TCP is discard's, and no test takes ports below 12,000.
const NOBODY: &str = "127.0.0.1:9";

struct Mesh {
    runtime: TempDir,
    first_port: u16,
}

impl Mesh {
    fn new() -> Mesh {
        let runtime = private_directory();
        let first_port = free_ports(NODES.len() as u16);
        let mut init = starling(runtime.path());
        init.arg("init").arg(runtime.path().join("mesh")).args(["--quic-port", &first_port.to_string()]);
        NODES.iter().for_each(|node| {
            init.args(["--node", node]);
        });
        let made = run(init);
        assert_eq!(made.code, 0, "{}", made.stderr);
        Mesh { runtime, first_port }
    }

    fn directory(&self) -> &Path {
        self.runtime.path()
    }

    /// The address of the node of this number.
    fn address(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.first_port + number)
    }

    /// A node without seeds, with these settings instead; it listens when this returns.
    fn node(&self, name: &str, settings: &[&str]) -> Process {
        let mut command = starling(self.directory());
        command.arg("run").arg("--config");
        command.arg(self.directory().join(format!("mesh/nodes/{name}/{name}.toml")));
        let always = ["mesh.seeds=", "listen.http=", "log.level=debug"];
        for setting in always.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        let mut process = Process::start(command);
        process.wait_to_say(&format!("{name} listens on"), PATIENCE);
        process
    }

    /// A registrar that serves its zone, where its HTTP is, and where its DNS.
    fn registrar(&self, more: &[&str]) -> (Process, String, String) {
        let mut command = starling(self.directory());
        command.args(["registrar", "--zone", "mesh.test", "--listen", "127.0.0.1:0"]);
        command.args(["--serve", "127.0.0.1:0", "--difficulty", "10"]).args(more);
        let mut process = Process::start(command);
        process.wait_to_say("registrar listens on http://", PATIENCE);
        let said = process.stderr();
        let behind = |begin: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(begin));
            line.expect("it says where it listens").to_owned()
        };
        let (http, dns) = (behind("registrar listens on "), behind("registrar serves the zone on "));
        (process, http, dns)
    }

    /// The full name of a node, as its certificate has it.
    fn name_of(&self, name: &str) -> String {
        let dir = self.directory().join(format!("mesh/nodes/{name}/credentials"));
        starling_net::trust::install_crypto();
        starling_net::trust::NodeCredentials::load(&dir).unwrap().node().to_string()
    }
}

fn link_up(process: &mut Process, from: &str, to: &str) {
    process.wait_to_say(&format!("{from}: link up: {to}"), FOUND);
}

/// What the registrar answers to a GET.
fn get(http: &str, path: &str) -> Value {
    let place = http.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(place).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {place}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn listed(http: &str) -> Vec<String> {
    let answer = get(http, "/v1/discover");
    answer["peers"].as_array().unwrap().iter().map(|peer| peer.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_node_joins_by_dns_alone_by_the_registrar_alone_and_silent_ones_are_never_listed() {
    let _turn = turn();
    let mesh = Mesh::new();
    let (registrar, http, dns) = mesh.registrar(&["--ping-every", "4s"]);
    let at_registrar = format!("discovery.registrar={http}");
    let mut hub = mesh.node("hub", &[&at_registrar]);
    hub.wait_to_say("hub: registered for 3600 s", FOUND);
    let hub_entry = format!("{}#{}", mesh.address(0), mesh.name_of("hub"));
    assert_eq!(listed(&http), std::slice::from_ref(&hub_entry));

    let resolver = format!("discovery.resolver={dns}");
    let mut one = mesh.node("one", &["discovery.domain=mesh.test", &resolver]);
    link_up(&mut one, "one", "hub");
    assert!(one.stderr().contains("one: 1 peers to dial from DNS"), "{}", one.stderr());

    let mut quiet = mesh.node("quiet", &["node.silent=true", &at_registrar]);
    link_up(&mut quiet, "quiet", "hub");
    let mut two = mesh.node("two", &[&at_registrar]);
    link_up(&mut two, "two", "hub");
    two.wait_to_say("two: registered for 3600 s", FOUND);
    let list = listed(&http);
    let quiet_address = mesh.address(3);
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(list.iter().all(|entry| !entry.starts_with(&quiet_address)), "{list:?}");
    assert!(!registrar.stderr().contains(&quiet_address), "{}", registrar.stderr());

    // Who stops in order is off the list at once, and who dies when it does not answer.
    two.signal("TERM");
    let logs = || registrar.stderr();
    // Asked slowly: the registrar holds back who asks too often.
    let slowly = || {
        std::thread::sleep(Duration::from_secs(3));
        listed(&http)
    };
    until("the stopped one goes", FOUND, logs, || (slowly() == [hub_entry.clone()]).then_some(()));
    hub.signal("KILL");
    until("the dead one goes", FOUND, logs, || slowly().is_empty().then_some(()));
}

#[test]
fn a_node_joins_by_one_address_and_refuses_who_is_not_the_node_it_was_given() {
    let _turn = turn();
    let mesh = Mesh::new();
    let mut hub = mesh.node("hub", &[]);
    let place = mesh.address(0);
    let right = format!("mesh.seeds={place}#{}", mesh.name_of("hub"));
    let mut one = mesh.node("one", &[&right]);
    link_up(&mut one, "one", "hub");
    link_up(&mut hub, "hub", "one");

    let wrong = format!("mesh.seeds={place}#{}", mesh.name_of("quiet"));
    let mut two = mesh.node("two", &[&wrong]);
    two.wait_to_say("two: refused ", FOUND);
    assert!(two.stderr().contains("another node was expected"), "{}", two.stderr());
    two.wait_to_say("two: alone: no link for", FOUND);
    assert!(!two.stderr().contains("link up"), "{}", two.stderr());
    // It accepts links all the same.
    let seed = format!("mesh.seeds={}", mesh.address(2));
    let mut quiet = mesh.node("quiet", &[&seed]);
    link_up(&mut quiet, "quiet", "two");
}

#[test]
fn a_node_joins_by_the_shipped_list_while_all_else_is_out_of_reach_and_returns_by_memory_alone() {
    let _turn = turn();
    let mesh = Mesh::new();
    let _hub = mesh.node("hub", &[]);
    let mut sign = starling(mesh.directory());
    sign.args(["shipped", "--authority"]).arg(mesh.directory().join("mesh/authority"));
    sign.arg(mesh.address(0));
    let signed = run(sign);
    assert_eq!(signed.code, 0, "{}", signed.stderr);
    let list = mesh.directory().join("peers.list");
    fs::write(&list, &signed.stdout).unwrap();
    let changed = mesh.directory().join("changed.list");
    let text = String::from_utf8(signed.stdout).unwrap().replace(&mesh.address(0), &mesh.address(1));
    fs::write(&changed, text).unwrap();

    let unreachable = [
        "discovery.domain=mesh.test",
        &format!("discovery.resolver={NOBODY}"),
        &format!("discovery.registrar=http://{NOBODY}"),
        &format!("mesh.seeds={NOBODY}"),
    ];
    let with = |file: &Path| format!("discovery.shipped={}", file.display());
    let mut two = mesh.node("two", &[&unreachable[..], &[&with(&changed)]].concat());
    two.wait_to_say("two: no peers from the shipped list: the shipped list is signed neither", FOUND);
    assert!(!two.stderr().contains("link up"), "{}", two.stderr());

    let mut one = mesh.node("one", &[&unreachable[..], &[&with(&list)]].concat());
    link_up(&mut one, "one", "hub");
    one.wait_to_say("one: no peers from DNS", FOUND);
    one.wait_to_say("one: no peers from the registrar", FOUND);

    // What it knows is on disk within a moment, also when it dies.
    let remembered = mesh.directory().join("mesh/nodes/one/data/peers");
    let entry = format!("{}#{}", mesh.address(0), mesh.name_of("hub"));
    let is_written = || fs::read_to_string(&remembered).unwrap_or_default().contains(&entry).then_some(());
    until("the peer is remembered", PATIENCE, || one.stderr(), is_written);
    one.signal("KILL");
    until("it is dead", PATIENCE, String::new, || one.code());
    let mut again = mesh.node("one", &[]);
    link_up(&mut again, "one", "hub");
    assert!(again.stderr().contains("1 peers to dial from the peers it knew"), "{}", again.stderr());
}
