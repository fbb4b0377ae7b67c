//! The nodes' HTTP on a real mesh: numbers equal what the test did, and what is wrong is said in words.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use starling_client::{Profile, new_key};

use crate::agents::{block_on, connect, within};
use crate::process::{PATIENCE, Process, free_ports, private_directory, run, starling, turn, until};
use crate::running::Mesh;
use crate::web::{Stream, document, get, get_with, send};

/// Agents of the test at edge 0.
pub const AGENTS: usize = 5;
/// Events that the first of them publishes.
pub const EVENTS: u64 = 40;
/// A name that would run, were it taken for markup.
pub const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// Attaches agents, the first of them with a hostile name, and publishes; returns the clients that hold
/// them.
pub async fn populate(mesh: &Mesh) -> (starling_client::Client, Vec<starling_client::Agent>) {
    let client = connect(mesh, 0).await;
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let name = if number == 0 { HOSTILE.to_owned() } else { format!("agent-{number}") };
        let tags = if number < 2 { vec!["e2e".into(), "rare".into()] } else { vec!["e2e".into()] };
        let profile = Profile { name, state: "busy".into(), tags };
        agents.push(within("attach", client.agent(new_key().unwrap(), profile)).await.unwrap());
    }
    let mut heard = within("subscribe", agents[1].subscribe("web.>")).await.unwrap();
    for number in 0..EVENTS {
        within("publish", agents[0].publish("web.test", format!("{number}"))).await.unwrap();
    }
    for _ in 0..EVENTS {
        within("an event", heard.next()).await.expect("the subscription goes on");
    }
    (client, agents)
}

fn look(port: u16, path: &str, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let shown = || document(port, path);
    let found = || {
        let shown = shown();
        is_there(&shown).then_some(shown)
    };
    until(what, PATIENCE, || shown().to_string(), found)
}

#[test]
fn what_a_mesh_does_is_shown_and_what_is_wrong_is_said() {
    let _turn = turn();
    let mut mesh = Mesh::start(0);
    let (coordinator, aggregator) = (mesh.http_coordinator(), mesh.http_aggregator());
    assert!(mesh.dev.stderr().contains(&format!("http://127.0.0.1:{coordinator}/")), "{}", mesh.logs());
    block_on(async {
        let (_client, agents) = populate(&mesh).await;
        let ids: BTreeSet<String> = agents.iter().map(|agent| agent.id().to_string()).collect();
        tokio::task::block_in_place(|| {
            is_healthy(coordinator);
            counts(coordinator);
            lists_agents(coordinator, &ids);
            lists_agents(aggregator, &ids);
            finds(aggregator, ids.first().unwrap());
            measures(aggregator);
            refuses(coordinator);
        });
    });
    says_that_an_edge_is_dead(&mesh);
    assert_eq!(mesh.stop(), 0, "{}", mesh.logs());
}

fn is_healthy(port: u16) {
    assert_eq!(get(port, "/healthz").body, "ok\n");
    until(
        "ready",
        PATIENCE,
        || get(port, "/readyz").body,
        || (get(port, "/readyz").status == 200).then_some(()),
    );
    let words = get(port, "/readyz").body;
    assert!(words.starts_with("ready\n") && words.contains("machine: ok\n"), "{words}");
    look(port, "/api/v1/overview", "all is well", |shown| {
        shown["sentence"] == "Nothing is wrong: 11 nodes in reach." && shown["nodes"]["up"] == 11
    });
}

fn counts(port: u16) {
    let shown = look(port, "/api/v1/overview", "all are counted", |shown| {
        let region = &shown["regions"][0];
        shown["agents"] == AGENTS
            && region["totals"]["Published"] == EVENTS
            && region["totals"]["Delivered"] == EVENTS
    });
    let regions = shown["regions"].as_array().unwrap();
    assert_eq!(
        (regions.len(), &regions[0]["name"], &regions[0]["agents"]),
        (2, &"r0".into(), &AGENTS.into()),
        "{shown}"
    );
    assert_eq!((&regions[0]["tags"]["rare"], &regions[1]["agents"]), (&2.into(), &0.into()), "{shown}");
    let region = document(port, "/api/v1/regions/r0");
    assert_eq!(region["nodes"].as_array().unwrap().len(), 5, "{region}");
    assert_eq!(document(port, "/api/v1/regions")["regions"].as_array().unwrap().len(), 2);
    assert_eq!(get(port, "/api/v1/regions/nowhere").status, 404);
    let members = document(port, "/mesh/members");
    assert_eq!(members["members"].as_array().unwrap().len(), 11, "{members}");
    let edges = document(port, "/api/v1/edges?region=r0&limit=2");
    assert_eq!((&edges["shown"], &edges["of"]), (&2.into(), &3.into()), "{edges}");
    let cursor = edges["cursor"].as_str().unwrap();
    let rest = document(port, &format!("/api/v1/edges?region=r0&limit=2&cursor={cursor}"));
    assert_eq!((&rest["shown"], &rest["cursor"]), (&1.into(), &Value::Null), "{rest}");
    let edge = look(port, "/api/v1/edges/edge-0", "the edge speaks for itself", |edge| {
        edge["said"]["counters"]["published_entries"] == EVENTS
    });
    assert_eq!(
        (&edge["edge"]["agents"], &edge["edge"]["states"]["busy"]),
        (&AGENTS.into(), &AGENTS.into()),
        "{edge}"
    );
    assert!(edge["silent"].is_null(), "{edge}");
    let budget = look(port, "/api/v1/budget", "all nodes answer", |budget| {
        budget["nodes_known"] == 10 && budget["nodes_answered"] == 10
    });
    assert!(budget["resident_bytes_per_agent"].as_u64() > Some(0), "{budget}");
}

fn lists_agents(port: u16, ids: &BTreeSet<String>) {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = document(port, &format!("/api/v1/agents?region=r0&limit=2&cursor={cursor}"));
        assert_eq!(page["of"], AGENTS, "{page}");
        let agents = page["agents"].as_array().unwrap();
        assert!(agents.len() <= 2 && seen.len() <= AGENTS, "{page}");
        seen.extend(agents.iter().map(|agent| agent["id"].as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (AGENTS, ids.clone()));
    let rare = document(port, "/api/v1/agents?region=r0&tag=rare");
    assert_eq!((&rare["shown"], &rare["of"]), (&2.into(), &2.into()), "{rare}");
    let named = document(port, "/api/v1/agents?edge=edge-0&name=agent-3");
    assert_eq!((&named["shown"], &named["agents"][0]["name"]), (&1.into(), &"agent-3".into()), "{named}");
    assert_eq!(document(port, "/api/v1/agents?region=r0&state=idle")["shown"], 0);
    for wrong in
        ["?region=r0&limit=0", "?region=r0&limit=9999", "?region=r0&cursor=x", "?region=r0&colour=red"]
    {
        assert_eq!(get(port, &format!("/api/v1/agents{wrong}")).status, 400, "{wrong}");
    }
}

fn finds(port: u16, id: &str) {
    let agent = document(port, &format!("/api/v1/agents/{id}"));
    assert_eq!((&agent["edge"], &agent["agent"]["id"]), (&"edge-0".into(), &id.into()), "{agent}");
    assert_eq!(document(port, &format!("/api/v1/search?q={id}"))["agent"]["edge"], "edge-0");
    let found = document(port, "/api/v1/search?q=rar");
    assert_eq!(
        (&found["tags"][0]["name"], &found["tags"][0]["agents"]),
        (&"rare".into(), &2.into()),
        "{found}"
    );
    assert_eq!(document(port, "/api/v1/search?q=edge-1")["nodes"][0]["name"], "edge-1");
    let nobody = "0".repeat(32);
    assert_eq!(get(port, &format!("/api/v1/agents/{nobody}")).status, 404);
}

/// Every number that a node gives of itself has a name, and what the mesh does is under it.
fn measures(port: u16) {
    let text = get(port, "/metrics").body;
    let published = format!("starling_mesh_published_entries_total {EVENTS}");
    let links = "# TYPE starling_net_queued_bytes gauge";
    for line in ["starling_mesh_agents 5", &published, links, "starling_membership_nodes{status=\"down\"} 0"]
    {
        assert!(text.lines().any(|of| of == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("edge-0") && !text.contains("busy"), "a label is not of a closed set:\n{text}");
}

fn refuses(port: u16) {
    let elsewhere =
        send(port, "GET /api/v1/overview HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(elsewhere.status, 421, "{elsewhere:?}");
    let post =
        send(port, &format!("POST /healthz HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"));
    assert_eq!(post.status, 405, "{post:?}");
    let body = get_with(port, "/healthz", "Content-Length: 1\r\n");
    assert_eq!(body.status, 413, "{body:?}");
    assert_eq!(get(port, &format!("/?q={}", "x".repeat(3_000))).status, 414);
    assert_eq!(get(port, "/../etc/passwd").status, 404);
    let page = get(port, "/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'self'"), "{page:?}");
    assert_eq!((page.status, page.header("x-frame-options")), (200, Some("DENY")));
    // Who never reads, or never asks, costs its connection and nobody else anything.
    let _idle: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let streams: Vec<(Stream, u16)> = (0..64).map(|_| Stream::open(port, None)).collect();
    assert!(streams.iter().all(|(_, status)| *status == 200));
    assert_eq!(Stream::open(port, None).1, 503);
    assert_eq!(get(port, "/healthz").status, 200);
}

fn says_that_an_edge_is_dead(mesh: &Mesh) {
    let (mut stream, _) = Stream::open(mesh.http_aggregator(), None);
    let (begun, _) = stream.next("hello");
    mesh.kill("edge-0");
    let killed = Instant::now();
    let port = mesh.http_coordinator();
    look(port, "/api/v1/overview", "the dead edge is named", |shown| {
        shown["sentence"].as_str().unwrap().contains("Edge edge-0 of region r0 is down.")
            && shown["agents"] == 0
    });
    println!("the coordinator said so {:?} after the kill", killed.elapsed());
    let is_edge = |told: &Value| told["subject"] == "edge-0";
    let first = loop {
        let (id, told) = stream.next("event");
        if is_edge(&told) {
            break (id, told);
        }
    };
    assert!(first.1["text"].as_str().unwrap().contains("edge-0"), "{first:?}");
    // Who was away since before gets the same again, and who was away too long is told so.
    let (mut again, _) = Stream::open(mesh.http_aggregator(), Some(&begun));
    let same = loop {
        let (id, told) = again.next("event");
        if is_edge(&told) {
            break (id, told);
        }
    };
    assert_eq!(first, same);
    Stream::open(mesh.http_aggregator(), Some("1-1")).0.next("resync");
    let (_, overview) = again.next("overview");
    assert_eq!(overview["schema"], "starling.overview/1");
    let gone = document(port, "/api/v1/edges/edge-0");
    assert!(gone["silent"].as_str().is_some_and(|why| why.contains("does not answer")), "{gone}");
}

#[test]
fn without_the_token_nothing_is_shown() {
    let _turn = turn();
    let directory = private_directory();
    let port = free_ports(1);
    let text = port.to_string();
    let mut init = starling(directory.path());
    init.arg("init").arg(directory.path().join("mesh")).args(["--node", "edge:eu:one"]);
    init.args(["--quic-port", &text, "--http-port", &text]);
    let made = run(init);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let node = directory.path().join("mesh/nodes/one");
    let start = || {
        let mut command = starling(directory.path());
        command.arg("run").arg("--config").arg(node.join("one.toml"));
        command.args(["--set", &format!("listen.http_token_file={}", node.join("token").display())]);
        command
    };
    for wrong in [None, Some("short")] {
        if let Some(text) = wrong {
            fs::write(node.join("token"), text).unwrap();
        }
        let ended = run(start());
        assert!(ended.code == 3 && ended.stderr.contains("http_token_file"), "{}", ended.stderr);
    }
    fs::write(node.join("token"), "0123456789abcdef\n").unwrap();
    let mut process = Process::start(start());
    process.wait_to_say("one shows itself on", Duration::from_secs(20));
    for path in ["/", "/app.js", "/metrics", "/mesh/members", "/api/v1/overview", "/api/v1/stream"] {
        let refused = get(port, path);
        assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true), "{path}");
        assert_eq!(get_with(port, path, "Authorization: Bearer 0123456789abcdeX\r\n").status, 401, "{path}");
    }
    assert_eq!(get(port, "/healthz").status, 200);
    let ready = get(port, "/readyz");
    assert_eq!(
        (ready.status, &*ready.body),
        (200, "ready\n"),
        "alone by its configuration, and no more is said"
    );
    let shown = get_with(port, "/metrics", "Authorization: Bearer 0123456789abcdef\r\n");
    assert_eq!(shown.status, 200, "{shown:?}");
}
