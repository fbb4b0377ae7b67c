//! What an agent's author meets on a real mesh: inboxes, subscriptions, states, updates, moves, crowds.

use std::future::Future;
use std::time::Duration;

use starling_client::{Agent, AgentId, Client, ClientError, Inbox, Notice, Profile, SecretKey, new_key};

use crate::process::{PATIENCE, turn};
use crate::running::Mesh;

const CROWD: usize = 2_000;
const DEMO: u64 = 20;

/// Runs the test's own side, which must not wait for ever either.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await });
    runtime.shutdown_timeout(Duration::from_millis(200));
    done.expect("the scenario ends within a minute")
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE / 2, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {:?}", PATIENCE / 2),
    }
}

pub async fn connect(mesh: &Mesh, edge: u16) -> Client {
    within("connect", Client::connect(mesh.client(&[edge]))).await.unwrap()
}

pub async fn attach(client: &Client, key: SecretKey, state: &str) -> Agent {
    let profile = Profile { name: "test".into(), state: state.into(), tags: vec!["e2e".into()] };
    within("attach", client.agent(key, profile)).await.unwrap()
}

/// Runs a blocking look at the mesh beside the client's tasks.
async fn blocking<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    tokio::task::block_in_place(look)
}

fn payload(notice: Option<Notice>) -> String {
    match notice {
        Some(Notice::Event(event)) => String::from_utf8(event.payload.to_vec()).unwrap(),
        other => panic!("not an event: {other:?}"),
    }
}

#[test]
fn send_finds_an_agent_and_says_when_there_is_none() {
    let _turn = turn();
    let mesh = Mesh::start(20);
    block_on(async {
        let client = connect(&mesh, 1).await;
        let agent = attach(&client, new_key().unwrap(), "idle").await;
        let mut inbox = agent.inbox().unwrap();
        let id = agent.id().to_string();
        send_arrives(&mesh, &id, &mut inbox).await;

        let place = blocking(|| mesh.json(&["agents", &id])).await;
        assert_eq!((&place["region"], &place["edge"]), (&"r1".into(), &"edge-1".into()), "{place}");
        assert_eq!(place["agent"], id.as_str());

        let nobody = AgentId([7; 16]).to_string();
        for arguments in [["send", nobody.as_str(), "hello"].as_slice(), &["agents", &nobody]] {
            let ended = blocking(|| mesh.run(arguments)).await;
            assert_eq!(ended.code, 6, "{arguments:?}: {}", ended.stderr);
            assert!(ended.after < Duration::from_secs(6), "{arguments:?} took {:?}", ended.after);
            assert!(ended.stderr.contains(&nobody), "{}", ended.stderr);
            println!("{} to nobody: {:?}", arguments[0], ended.after);
        }
        client.close().await.unwrap();
        // It left; the mesh must not go on saying where it was.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ended = blocking(|| mesh.run(&["send", &id, "still there?"])).await;
        assert_eq!(ended.code, 6, "{}", ended.stderr);
    });
    pings(&mesh);
}

async fn send_arrives(mesh: &Mesh, id: &str, inbox: &mut Inbox) {
    for (edge, text) in [(0, "from the other region"), (3, "from the same one"), (1, "from its own edge")] {
        let ended = blocking(|| mesh.run(&["send", id, text, "--node", &mesh.edge(edge)])).await;
        assert_eq!(ended.code, 0, "{text}: {}", ended.stderr);
        println!("send {text}: {:?}", ended.after);
        assert_eq!(payload(within(text, inbox.next()).await), text);
    }
}

fn pings(mesh: &Mesh) {
    for (address, name) in [(mesh.edge(3), "edge-3"), (mesh.coordinator(), "coordinator")] {
        let pings = mesh.json(&["ping", &address, "--count", "3"]);
        assert_eq!((&pings["node"], &pings["answered"]), (&name.into(), &3.into()), "{pings}");
        assert!(pings["rtt_us_median"].as_u64().is_some_and(|rtt| rtt > 0 && rtt < 1_000_000), "{pings}");
    }
}

#[test]
fn agents_meet_change_and_move() {
    let _turn = turn();
    let mesh = Mesh::start(DEMO as u32);
    block_on(async {
        let (here, there) = (connect(&mesh, 0).await, connect(&mesh, 1).await);
        let alice = attach(&here, new_key().unwrap(), "idle").await;
        let key = new_key().unwrap();
        let bob = attach(&there, key.clone(), "idle").await;
        events_arrive_in_order(&alice, &bob).await;
        states_are_visible(&mesh, &alice).await;
        updates_reach_both_regions(&here, &alice, &bob).await;
        move_to(&mesh, &alice, bob, key, ("r1", 3)).await;
        here.close().await.unwrap();
        there.close().await.unwrap();
        blocking(|| mesh.wait_for_agents(DEMO)).await;
    });
}

async fn events_arrive_in_order(alice: &Agent, bob: &Agent) {
    let mut heard = within("subscribe", bob.subscribe("talk.*")).await.unwrap();
    for number in 0..500 {
        alice.publish("talk.numbers", number.to_string()).await.unwrap();
    }
    alice.client().flush().await.unwrap();
    for number in 0..500 {
        let Some(Notice::Event(event)) = within("an event", heard.next()).await else { panic!("no event") };
        assert_eq!((event.subject.as_str(), event.publisher), ("talk.numbers", alice.id()));
        assert_eq!(event.payload, number.to_string().as_bytes());
    }
}

async fn states_are_visible(mesh: &Mesh, alice: &Agent) {
    within("set_state", alice.set_state("pondering")).await.unwrap();
    let pondering = || {
        let agents = mesh.json(&["agents"]);
        let regions = agents["regions"].as_array().unwrap().clone();
        let of_r0 = regions.iter().find(|region| region["region"] == "r0").unwrap();
        let states = of_r0["states"].as_array().unwrap();
        states.iter().find(|state| state[0] == "pondering").and_then(|state| state[1].as_u64())
    };
    let begun = std::time::Instant::now();
    while blocking(pondering).await != Some(1) {
        assert!(begun.elapsed() < Duration::from_secs(5), "the state is not visible\n{}", mesh.logs());
    }
    blocking(|| mesh.wait_for_agents(DEMO + 2)).await;
    let overview = within("overview", alice.overview()).await.unwrap();
    assert_eq!((overview.mesh.as_str(), overview.members.len()), ("dev", 11));
    assert_eq!(overview.regions.iter().map(|region| region.agents).sum::<u64>(), DEMO + 2);
}

async fn updates_reach_both_regions(client: &Client, alice: &Agent, bob: &Agent) {
    let (mut of_alice, mut of_bob) = (alice.system_updates().unwrap(), bob.system_updates().unwrap());
    for text in ["first", "second"] {
        let index = within("update", client.update(text)).await.unwrap();
        for updates in [&mut of_alice, &mut of_bob] {
            let update = within("the update", updates.next()).await.unwrap();
            assert_eq!((update.index, update.payload.as_ref()), (index, text.as_bytes()));
        }
    }
}

#[test]
fn an_agent_moves_to_another_region() {
    let _turn = turn();
    let mesh = Mesh::start(DEMO as u32);
    block_on(async {
        let (here, there) = (connect(&mesh, 0).await, connect(&mesh, 1).await);
        let alice = attach(&here, new_key().unwrap(), "idle").await;
        let key = new_key().unwrap();
        let bob = attach(&there, key.clone(), "idle").await;
        move_to(&mesh, &alice, bob, key, ("r0", 2)).await;
    });
}

/// The same key attaches at another edge: the newer session holds, the older one is told.
async fn move_to(mesh: &Mesh, alice: &Agent, bob: Agent, key: SecretKey, (region, edge): (&str, u16)) {
    let mut old_inbox = bob.inbox().unwrap();
    let moved_to = connect(mesh, edge).await;
    let moved = attach(&moved_to, key, "moved").await;
    assert_eq!(moved.id(), bob.id());
    let mut inbox = moved.inbox().unwrap();
    let told = within("the older inbox is told", old_inbox.next()).await;
    assert!(matches!(told, Some(Notice::Gap { .. })), "{told:?}");
    assert!(within("the older inbox ends", old_inbox.next()).await.is_none());
    match within("the older session is closed", bob.set_state("here still")).await {
        Err(ClientError::AgentClosed { agent, .. }) => assert_eq!(agent, bob.id()),
        other => panic!("the older session still works: {other:?}"),
    }
    alice.send(moved.id(), "welcome").await.unwrap();
    within("flush", alice.client().flush()).await.unwrap();
    assert_eq!(payload(within("the newer inbox", inbox.next()).await), "welcome");
    let home = within("locate", alice.locate(moved.id())).await.unwrap().expect("it is somewhere");
    assert_eq!((home.region.as_str(), home.edge), (region, format!("edge-{edge}")));
    blocking(|| mesh.wait_for_agents(DEMO + 2)).await;
    moved_to.close().await.unwrap();
}

#[test]
fn thousands_of_agents_share_a_connection() {
    let _turn = turn();
    let mesh = Mesh::start(0);
    block_on(async {
        let client = connect(&mesh, 1).await;
        let profile = |number: usize| Profile { name: format!("agent-{number}"), ..Profile::default() };
        let list = (0..CROWD).map(|number| (new_key().unwrap(), profile(number))).collect();
        let agents = within("attach", client.agents(list)).await.unwrap();
        blocking(|| mesh.wait_for_agents(CROWD as u64)).await;
        // An aggregator has the summary of each edge in its region.
        let edges = blocking(|| mesh.json(&["members", "--node", &mesh.aggregator()])).await;
        let edge = edges["members"].as_array().unwrap().iter().find(|member| member["name"] == "edge-1");
        assert_eq!(edge.unwrap()["agents"], CROWD, "{edge:?}");

        let elsewhere = connect(&mesh, 0).await;
        let sender = attach(&elsewhere, new_key().unwrap(), "idle").await;
        let mut inboxes: Vec<Inbox> = agents.iter().map(|agent| agent.inbox().unwrap()).collect();
        for (number, agent) in agents.iter().enumerate() {
            sender.send(agent.id(), number.to_string()).await.unwrap();
        }
        within("everybody is found", elsewhere.flush()).await.unwrap();
        for (number, inbox) in inboxes.iter_mut().enumerate() {
            assert_eq!(payload(within("a message", inbox.next()).await), number.to_string());
        }
        client.close().await.unwrap();
        blocking(|| mesh.wait_for_agents(1)).await;
    });
}
