//! The simulator's model of the agreed log, and the one of real coordinators: one script, one outcome.

use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_client::session::{Endpoint, EndpointSettings};
use starling_core::identity::Roles;
use starling_core::wire::request::{Ask, Say, UpdatesView};
use starling_loadtest::mesh::{LocalMesh, Plan, PlannedNode, free_addresses};
use starling_loadtest::observer::Observer;
use starling_net::trust::install_crypto;
use starling_sim::World;

use crate::process::{private_directory, turn};

const COORDINATORS: usize = 3;
/// Far longer than anything takes on a machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A step of the script, at a coordinator.
#[derive(Clone, Copy, Debug)]
enum Step {
    Issue(usize, &'static str),
    Kill(usize),
    Restart(usize),
}

const SCRIPT: [Step; 12] = [
    Step::Issue(0, "first"),
    Step::Issue(1, "second"),
    Step::Issue(2, "third"),
    Step::Issue(1, "second"),
    Step::Kill(1),
    Step::Issue(2, "while one is down"),
    Step::Issue(0, ""),
    Step::Restart(1),
    Step::Issue(1, "by who is back"),
    Step::Kill(0),
    Step::Issue(2, "while another is down"),
    Step::Restart(0),
];

/// What came of it: the place of each update in the order of the script, and what each coordinator says
/// was decided in the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    places: Vec<u64>,
    logs: Vec<Vec<(u64, Bytes)>>,
}

fn log_of(view: &UpdatesView) -> Vec<(u64, Bytes)> {
    view.updates.iter().map(|update| (update.index, update.payload.clone())).collect()
}

fn simulated() -> Outcome {
    let mut world = World::new(Duration::from_millis(1));
    world.appoint(0..COORDINATORS);
    for number in 0..COORDINATORS {
        world.add(starling_sim::Plan {
            roles: Roles::COORDINATOR,
            region: "global".to_owned(),
            name: format!("coordinator-{number}"),
            seeds: if number == 0 { Vec::new() } else { vec!["coordinator-0".to_owned()] },
        });
    }
    world.run(Duration::from_secs(5));
    let mut outcome = Outcome::default();
    for (id, step) in (1..).zip(SCRIPT) {
        match step {
            Step::Issue(at, payload) => {
                world.ask(at, 1, id, Ask::Update(Bytes::from_static(payload.as_bytes())));
                world.run(Duration::from_secs(1));
                match world.nodes[at].reply(1, id) {
                    Some(Say::Decided(index)) => outcome.places.push(*index),
                    other => panic!("{step:?}: {other:?}"),
                }
            }
            Step::Kill(at) => world.kill(at),
            Step::Restart(at) => world.start(at),
        }
        world.run(Duration::from_secs(5));
    }
    for at in 0..COORDINATORS {
        world.ask(at, 1, 1000, Ask::Updates(0));
        match world.nodes[at].reply(1, 1000) {
            Some(Say::Updates(view)) => outcome.logs.push(log_of(view)),
            other => panic!("coordinator {at} says {other:?}"),
        }
    }
    outcome
}

/// Asks a coordinator until it answers.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn real() -> Outcome {
    install_crypto();
    let directory = private_directory();
    let addresses = free_addresses(COORDINATORS).unwrap();
    let nodes = addresses.iter().enumerate().map(|(process, address)| PlannedNode {
        name: format!("coordinator-{process}"),
        roles: Roles::COORDINATOR,
        region: "global".to_owned(),
        address: *address,
        http: None,
        process,
    });
    let mut mesh = LocalMesh::launch(Plan {
        mesh: "model".to_owned(),
        directory: directory.path().to_owned(),
        program: env!("CARGO_BIN_EXE_starling").into(),
        arguments: Vec::new(),
        nodes: nodes.collect(),
    })
    .unwrap();
    let endpoint = Endpoint::new(mesh.trust(), &EndpointSettings::default()).unwrap();
    let reach = async |at: usize| {
        let connecting = Observer::connect(&endpoint, addresses[at], None);
        tokio::time::timeout(Duration::from_secs(3), connecting).await.ok()?.ok()
    };
    let mut outcome = Outcome::default();
    for step in SCRIPT {
        let name = |at: usize| format!("coordinator-{at}");
        match step {
            Step::Issue(at, payload) => {
                let payload = Bytes::from_static(payload.as_bytes());
                let issued = async || reach(at).await?.try_update(payload.clone()).await.ok()?.ok();
                outcome.places.push(until("a decision", issued).await);
            }
            Step::Kill(at) => mesh.kill(&name(at)).unwrap(),
            Step::Restart(at) => mesh.restart(&name(at)).unwrap(),
        }
    }
    let count = outcome.places.len();
    for at in 0..COORDINATORS {
        let log = async || reach(at).await?.updates_after(0).await.ok().filter(|log| log.len() == count);
        let updates = until("the whole log", log).await;
        outcome.logs.push(log_of(&UpdatesView { updates }));
    }
    mesh.stop(Duration::from_secs(10)).unwrap();
    outcome
}

#[test]
fn the_model_of_the_log_and_the_real_one_agree() {
    let _turn = turn();
    let modelled = simulated();
    assert_eq!(modelled.places, [1, 2, 3, 4, 5, 6, 7, 8]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    assert_eq!(runtime.block_on(real()), modelled);
}
