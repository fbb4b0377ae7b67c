//! One run from beginning to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use starling_client::session::{Endpoint, EndpointSettings};
use starling_core::wire::request::Member;
use starling_hostile::Attack;
use starling_loadtest::mesh::{LocalMesh, Plan, PlannedNode, free_addresses};
use starling_loadtest::observer::count_agents;
use starling_net::trust::install_crypto;

use crate::agents::{Crowd, CrowdSettings};
use crate::history::{Asked, NodeLine, SCHEMA, What, Writer};
use crate::inject::{Injector, sign_beside};
use crate::roster::{LIAR, LIAR_REGION, Roster};
use crate::scenario::Scenario;
use crate::watch::{Logs, ask, not_up};

/// How long the mesh may take to form, and to become whole after the faults.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// How long entries flow before the first fault, and after everything is whole.
const CALM: Duration = Duration::from_secs(2);
/// How long entries may wait for their outcomes in the end.
const OUTCOMES_WITHIN: Duration = Duration::from_secs(30);
/// Nothing comes any more when nothing came for so long.
const SILENCE: Duration = Duration::from_millis(500);
/// How long deliveries of acknowledged entries may take.
const SILENT_WITHIN: Duration = Duration::from_secs(10);
/// How often logs and processes are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Called with a line about what goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// What is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What goes wrong.
    pub scenario: &'static Scenario,
    /// What the liar does in a scenario that has one.
    pub attack: Option<Attack>,
    /// Where chance begins.
    pub seed: u64,
    /// How long faults happen; the scenario's own time if it is not given.
    pub duration: Option<Duration>,
    /// Agents, 1 to 1,000: each has a connection of its own.
    pub agents: u32,
    /// Entries published a second, all agents together, 1 to 10,000.
    pub rate: u32,
    /// The program that runs nodes, called as `PROGRAM run --config FILE…`.
    pub program: PathBuf,
    /// Where the history goes.
    pub history: PathBuf,
}

/// Runs a mesh in `directory`, which must exist and be empty, and writes its history.
///
/// # Errors
/// The mesh did not form, a process ended by itself, or a file cannot be written.
pub async fn run(settings: &Settings, directory: &Path, say: Say<'_>) -> Result<()> {
    install_crypto();
    let roster = Roster::usual();
    let writer = Arc::new(Writer::create(&settings.history)?);
    writer.note(begun(settings, &roster));
    let mut scene = Scene::launch(settings, &roster, directory, Arc::clone(&writer))?;
    say(&format!("{} nodes run, each a process of its own", roster.nodes().len()));
    scene.form(0).await?;
    if let Some(attack) = settings.attack {
        scene.corrupt(attack).await?;
        say(&format!("{LIAR} joined; it will try {}", attack.name()));
    }
    let crowd_settings = CrowdSettings {
        agents: settings.agents,
        rate: settings.rate,
        seed: settings.seed,
        trust: scene.mesh.trust().clone(),
        addresses: scene.addresses.clone(),
    };
    let crowd = Crowd::start(&crowd_settings, &roster, &writer).await?;
    scene.form(settings.agents).await?;
    say(&format!("{} agents are attached and subscribed", settings.agents));
    crowd.set_publishing(true);
    scene.wait(CALM).await?;
    scene.faults(settings, &roster, say).await?;
    writer.note(What::Ceased);
    say("the faults are over");
    let begun = Instant::now();
    match scene.wait_until_whole(settings.agents).await? {
        None => {
            writer.note(What::Healed);
            say(&format!("whole again after {:.1} s", begun.elapsed().as_secs_f64()));
        }
        Some(wrong) => say(&format!("not whole again after {} s: {wrong}", WHOLE_WITHIN.as_secs())),
    }
    scene.wait(CALM).await?;
    crowd.set_publishing(false);
    if !crowd.wait_for_outcomes(OUTCOMES_WITHIN).await {
        say("some entries have no outcome");
    }
    crowd.wait_for_silence(SILENCE, SILENT_WITHIN).await;
    scene.wait(LOOK).await?;
    crowd.settle().await;
    scene.conclude().await;
    writer.note(What::Ended);
    writer.finish()?;
    crowd.leave().await;
    if settings.attack.is_some() {
        // How a liar ends is no matter of the mesh's: its lanes may be full of what nobody reads.
        scene.mesh.kill(LIAR)?;
    }
    scene.mesh.stop(Duration::from_secs(10))
}

fn begun(settings: &Settings, roster: &Roster) -> What {
    let nodes = roster.nodes().iter();
    What::Begun {
        schema: SCHEMA.into(),
        scenario: settings.scenario.name.into(),
        seed: settings.seed,
        settings: Asked {
            agents: settings.agents,
            rate: settings.rate,
            duration_seconds: settings.scenario.duration(settings.duration).as_secs(),
            attack: settings.attack.map(|attack| attack.name().to_owned()),
        },
        nodes: nodes.map(|node| NodeLine { name: node.name.clone(), region: node.region.clone() }).collect(),
    }
}

/// The mesh and everything that looks at it.
struct Scene {
    mesh: LocalMesh,
    addresses: BTreeMap<String, SocketAddr>,
    injector: Injector,
    logs: Logs,
    endpoint: Endpoint,
    writer: Arc<Writer>,
    /// The file of bad links.
    links: PathBuf,
}

impl Scene {
    fn launch(settings: &Settings, roster: &Roster, directory: &Path, writer: Arc<Writer>) -> Result<Scene> {
        let addresses = free_addresses(roster.nodes().len())?;
        let nodes = roster.nodes().iter().zip(&addresses).enumerate();
        let nodes: Vec<PlannedNode> = nodes
            .map(|(process, (node, address))| PlannedNode {
                name: node.name.clone(),
                roles: node.roles,
                region: node.region.clone(),
                address: *address,
                http: None,
                process,
            })
            .collect();
        let addresses: BTreeMap<String, SocketAddr> =
            nodes.iter().map(|node| (node.name.clone(), node.address)).collect();
        let links = directory.join("links");
        let injector = Injector::new(&links, addresses.clone())?;
        let mesh = LocalMesh::launch(Plan {
            mesh: "chaos".into(),
            directory: directory.to_owned(),
            program: settings.program.clone(),
            arguments: vec!["--links".into(), links.display().to_string()],
            nodes,
        })?;
        let names = roster.nodes().iter().map(|node| node.name.clone()).chain([LIAR.to_owned()]).collect();
        let logs = Logs::new((0..roster.nodes().len()).map(|process| mesh.log_of(process)), names);
        let endpoint = Endpoint::new(mesh.trust(), &EndpointSettings::default())?;
        Ok(Scene { mesh, addresses, injector, logs, endpoint, writer, links })
    }

    /// Lets a liar join, and waits until somebody takes it for alive.
    async fn corrupt(&mut self, attack: Attack) -> Result<()> {
        let address = free_addresses(1)?[0];
        let node = PlannedNode {
            name: LIAR.into(),
            roles: attack.role(),
            region: LIAR_REGION.into(),
            address,
            http: None,
            process: 0,
        };
        let sign = sign_beside(&self.links).display().to_string();
        self.mesh.join(node, &["hostile", "--attack", attack.name(), "--sign", &sign])?;
        let until = Instant::now() + WHOLE_WITHIN;
        let somebody = self.addresses[&format!("{LIAR_REGION}-edge-0")];
        let is_liar = |member: &Member| member.name == LIAR && member.status == "up";
        while !ask(&self.endpoint, somebody).await.is_some_and(|said| said.members.iter().any(is_liar)) {
            if Instant::now() >= until {
                bail!("{LIAR} was not taken up within {} s", WHOLE_WITHIN.as_secs());
            }
            self.wait(4 * LOOK).await?;
        }
        Ok(())
    }

    /// Reads what nodes said, and fails if one is gone that nobody killed.
    fn look(&mut self) -> Result<()> {
        self.logs.look(&self.writer)?;
        match self.mesh.find_ended() {
            Some(ended) => bail!("a process ended by itself: {ended}"),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, time: Duration) -> Result<()> {
        let until = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < until {
            self.look()?;
            tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK)).await;
        }
        self.look()
    }

    /// Waits until the mesh is whole for the first time.
    async fn form(&mut self, agents: u32) -> Result<()> {
        match self.wait_until_whole(agents).await? {
            None => Ok(()),
            Some(wrong) => bail!("the mesh did not form within {} s: {wrong}", WHOLE_WITHIN.as_secs()),
        }
    }

    /// Waits until every node takes every other for alive and the coordinator counts `agents`; what is
    /// wrong still if that takes too long.
    async fn wait_until_whole(&mut self, agents: u32) -> Result<Option<String>> {
        let until = Instant::now() + WHOLE_WITHIN;
        loop {
            self.look()?;
            let wrong = self.find_wrong(agents).await;
            if wrong.is_none() || Instant::now() >= until {
                return Ok(wrong);
            }
            self.wait(4 * LOOK).await?;
        }
    }

    /// The first thing that is not as it should be.
    async fn find_wrong(&self, agents: u32) -> Option<String> {
        for (node, address) in &self.addresses {
            let Some(overview) = ask(&self.endpoint, *address).await else {
                return Some(format!("{node} does not answer"));
            };
            if let Some((of, is)) = not_up(&overview).first() {
                return Some(format!("{node} says that {of} is {is}"));
            }
            if node == "coordinator" {
                let count = count_agents(&overview);
                let honest = overview.members.iter().filter(|member| member.name != LIAR);
                let known = honest.filter(|member| member.status == "up").count();
                if known != self.addresses.len() || count != u64::from(agents) {
                    let all = self.addresses.len();
                    return Some(format!(
                        "the coordinator knows {known} of {all} nodes and {count} of {agents} agents"
                    ));
                }
            }
        }
        None
    }

    async fn faults(&mut self, settings: &Settings, roster: &Roster, say: Say<'_>) -> Result<()> {
        let duration = settings.scenario.duration(settings.duration);
        let begun = Instant::now();
        for step in settings.scenario.steps(settings.seed, duration, roster) {
            self.wait(step.at.saturating_sub(begun.elapsed())).await?;
            let (kind, target) = (step.kind, step.target.clone());
            say(&format!("{:8} {target} at {:.1} s", kind.name(), begun.elapsed().as_secs_f64()));
            // What begins is noted before and what ends afterwards, so that its time is never too short.
            let fault = What::Fault { kind, target, links: step.links.clone() };
            if !kind.is_end() {
                self.writer.note(fault.clone());
            }
            self.injector.apply(&step, &mut self.mesh)?;
            if kind.is_end() {
                self.writer.note(fault);
            }
        }
        self.wait(duration.saturating_sub(begun.elapsed())).await
    }

    /// Notes what every node says in the end.
    async fn conclude(&self) {
        for (node, address) in &self.addresses {
            let overview = ask(&self.endpoint, *address).await;
            if node == "coordinator" {
                self.writer.note(What::Counted { agents: overview.as_ref().map(count_agents) });
            }
            let not_up = overview.as_ref().map(not_up);
            self.writer.note(What::Members { node: node.clone(), not_up });
        }
    }
}
