//! The run: three processes, who issues, who reads, and who strikes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use starling_client::session::{Endpoint, EndpointSettings};
use starling_core::identity::Roles;
use starling_core::wire::request::{Overview, RefusedCode};
use starling_loadtest::mesh::{LocalMesh, Plan, PlannedNode, free_addresses};
use starling_loadtest::observer::Observer;
use starling_net::trust::install_crypto;
use tokio::task::JoinSet;

use super::{LeaderFault, Record, SCHEMA, What};
use crate::run::Say;
use crate::watch::ask;

/// Coordinators: one may be gone.
const COORDINATORS: usize = 3;
/// How long they may take to agree at first, and to be the same again.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// The pause of each issuer between two updates.
const ISSUE_EVERY: Duration = Duration::from_millis(20);
/// How long an answer to an update may take: longer than a coordinator itself waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// How often decided updates are read.
const READ_EVERY: Duration = Duration::from_millis(200);
/// How long a connection, or an answer to a reader, may take.
const REACH_WITHIN: Duration = Duration::from_secs(3);
/// How often states are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long updates flow before a fault.
const CALM: Duration = Duration::from_millis(700);
/// How long a leader is gone or paused: longer than another needs to take its place.
const STRUCK_FOR: Duration = Duration::from_millis(2500);

/// What is run.
#[derive(Clone, Debug)]
pub struct CoordinatorsSettings {
    /// What is done to the leader.
    pub fault: LeaderFault,
    /// How often.
    pub faults: u32,
    /// The program that runs nodes, called as `PROGRAM run --config FILE…`.
    pub program: PathBuf,
    /// Where the history goes.
    pub history: PathBuf,
}

/// Writes lines in the order in which they are noted.
#[derive(Debug)]
struct Notes {
    begun: Instant,
    file: Mutex<(BufWriter<File>, Option<std::io::Error>)>,
}

impl Notes {
    fn note(&self, what: What) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let line = serde_json::to_string(&Record { at_us, what }).expect("lines have no maps with odd keys");
        if let Err(error) = writeln!(file.0, "{line}") {
            file.1.get_or_insert(error);
        }
    }

    fn finish(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.0.flush().context("cannot write the history")?;
        file.1.take().map_or(Ok(()), |error| Err(error).context("cannot write the history"))
    }
}

/// What issuers and readers share.
#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    notes: Notes,
    next: AtomicU64,
    is_issuing: AtomicBool,
}

/// Runs coordinators in `directory`, which must exist and be empty, and writes the history.
///
/// # Errors
/// They do not agree at first or in the end, a process ended by itself, or a file cannot be written.
pub async fn run(settings: &CoordinatorsSettings, directory: &Path, say: Say<'_>) -> Result<()> {
    install_crypto();
    let file = File::create(&settings.history)
        .with_context(|| format!("cannot write {}", settings.history.display()))?;
    let (mesh, nodes) = launch(settings, directory)?;
    let shared = Arc::new(Shared {
        endpoint: Endpoint::new(mesh.trust(), &EndpointSettings::default())?,
        notes: Notes { begun: Instant::now(), file: Mutex::new((BufWriter::new(file), None)) },
        next: AtomicU64::new(1),
        is_issuing: AtomicBool::new(true),
    });
    shared.notes.note(What::Begun {
        schema: SCHEMA.to_owned(),
        fault: settings.fault,
        faults: settings.faults,
        nodes: nodes.iter().map(|(name, _)| name.clone()).collect(),
    });
    let mut scene = Scene { mesh, nodes, shared };
    scene.leader().await?;
    say(&format!("{COORDINATORS} coordinators agree, each a process of its own"));
    let (mut issuers, mut readers) = (JoinSet::new(), JoinSet::new());
    for (name, address) in &scene.nodes {
        issuers.spawn(issue(Arc::clone(&scene.shared), name.clone(), *address));
        readers.spawn(read(Arc::clone(&scene.shared), name.clone(), *address));
    }
    for round in 1..=settings.faults {
        let leader = scene.strike(settings.fault).await?;
        say(&format!("{round} of {}: {leader} led", settings.faults));
    }
    scene.wait(CALM).await?;
    scene.shared.is_issuing.store(false, Ordering::Relaxed);
    while let Some(ended) = issuers.join_next().await {
        ended.context("an issuer panicked")?;
    }
    let index = scene.settled().await?;
    // Whoever reads has time for a last look.
    scene.wait(10 * READ_EVERY).await?;
    readers.shutdown().await;
    scene.shared.notes.note(What::Settled { index });
    scene.shared.notes.finish()?;
    scene.mesh.stop(Duration::from_secs(10))
}

fn launch(
    settings: &CoordinatorsSettings,
    directory: &Path,
) -> Result<(LocalMesh, Vec<(String, SocketAddr)>)> {
    let addresses = free_addresses(COORDINATORS)?;
    let planned = addresses.into_iter().enumerate().map(|(process, address)| PlannedNode {
        name: format!("coordinator-{process}"),
        roles: Roles::COORDINATOR,
        region: "global".to_owned(),
        address,
        http: None,
        process,
    });
    let planned: Vec<PlannedNode> = planned.collect();
    let nodes = planned.iter().map(|node| (node.name.clone(), node.address)).collect();
    let mesh = LocalMesh::launch(Plan {
        mesh: "chaos".to_owned(),
        directory: directory.to_owned(),
        program: settings.program.clone(),
        arguments: Vec::new(),
        nodes: planned,
    })?;
    Ok((mesh, nodes))
}

/// Issues updates at one coordinator, whenever it can be reached.
async fn issue(shared: Arc<Shared>, node: String, address: SocketAddr) {
    while shared.is_issuing.load(Ordering::Relaxed) {
        let connecting = Observer::connect(&shared.endpoint, address, None);
        if let Ok(Ok(observer)) = tokio::time::timeout(REACH_WITHIN, connecting).await {
            while shared.is_issuing.load(Ordering::Relaxed)
                && issue_one(&shared, &observer, node.clone()).await
            {
                tokio::time::sleep(ISSUE_EVERY).await;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// False when the connection is of no use any more.
async fn issue_one(shared: &Shared, observer: &Observer, node: String) -> bool {
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    shared.notes.note(What::Issued { node, number });
    let payload = Bytes::copy_from_slice(&number.to_le_bytes());
    let answer = tokio::time::timeout(ANSWER_WITHIN, observer.try_update(payload)).await;
    let (what, goes_on) = match answer {
        Ok(Ok(Ok(index))) => (What::Acknowledged { number, index }, true),
        Ok(Ok(Err(refused))) if refused.code == RefusedCode::Doubtful as u32 => {
            (What::Doubtful { number }, true)
        }
        Ok(Ok(Err(refused))) => (What::Refused { number, text: refused.text }, true),
        Ok(Err(_)) | Err(_) => (What::Doubtful { number }, false),
    };
    shared.notes.note(what);
    goes_on
}

/// Notes what one coordinator says was decided, from the first on.
async fn read(shared: Arc<Shared>, node: String, address: SocketAddr) {
    let mut last = 0;
    loop {
        let connecting = Observer::connect(&shared.endpoint, address, None);
        if let Ok(Ok(observer)) = tokio::time::timeout(REACH_WITHIN, connecting).await {
            while let Ok(Ok(updates)) = tokio::time::timeout(REACH_WITHIN, observer.updates_after(last)).await
            {
                let number = |payload: &[u8]| <[u8; 8]>::try_from(payload).map_or(0, u64::from_le_bytes);
                let updates: Vec<(u64, u64)> =
                    updates.iter().map(|update| (update.index, number(&update.payload))).collect();
                if let Some((index, _)) = updates.last() {
                    last = *index;
                    shared.notes.note(What::Told { node: node.clone(), updates });
                }
                tokio::time::sleep(READ_EVERY).await;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The processes and everything that looks at them.
struct Scene {
    mesh: LocalMesh,
    nodes: Vec<(String, SocketAddr)>,
    shared: Arc<Shared>,
}

impl Scene {
    fn look(&mut self) -> Result<()> {
        match self.mesh.find_ended() {
            Some(ended) => bail!("a process ended by itself: {ended}"),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look()?;
            tokio::time::sleep(LOOK).await;
        }
        self.look()
    }

    async fn overviews(&self) -> Vec<Option<Overview>> {
        let mut overviews = Vec::new();
        for (_, address) in &self.nodes {
            overviews.push(ask(&self.shared.endpoint, *address).await);
        }
        overviews
    }

    /// Waits until all answer and name the same leader; its name.
    async fn leader(&mut self) -> Result<String> {
        let until = Instant::now() + WHOLE_WITHIN;
        loop {
            self.look()?;
            let led_by = |overview: &Option<Overview>| {
                let coordinators = &overview.as_ref()?.coordinators;
                let are_all = coordinators.iter().filter(|one| one.is_heard).count() == COORDINATORS;
                coordinators.iter().find(|one| one.role == "leader" && are_all).map(|one| one.name.clone())
            };
            let leaders: Vec<Option<String>> = self.overviews().await.iter().map(led_by).collect();
            if let Some(Some(leader)) = leaders.first()
                && leaders.iter().all(|other| other.as_ref() == Some(leader))
            {
                return Ok(leader.clone());
            }
            if Instant::now() >= until {
                bail!(
                    "the coordinators did not agree on a leader within {} s: {leaders:?}",
                    WHOLE_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Strikes the leader and lets it come back.
    async fn strike(&mut self, fault: LeaderFault) -> Result<String> {
        let leader = self.leader().await?;
        self.wait(CALM).await?;
        self.shared.notes.note(What::Struck { node: leader.clone() });
        match fault {
            LeaderFault::Kill => self.mesh.kill(&leader)?,
            LeaderFault::Pause => self.mesh.pause(&leader)?,
        }
        self.wait(STRUCK_FOR).await?;
        match fault {
            LeaderFault::Kill => self.mesh.restart(&leader)?,
            LeaderFault::Pause => self.mesh.resume(&leader)?,
        }
        self.shared.notes.note(What::Back { node: leader.clone() });
        Ok(leader)
    }

    /// Waits until all coordinators applied as much; how much.
    async fn settled(&mut self) -> Result<u64> {
        let until = Instant::now() + WHOLE_WITHIN;
        loop {
            self.look()?;
            let newest: Vec<Option<u64>> = self
                .overviews()
                .await
                .iter()
                .map(|overview| overview.as_ref().map(|overview| overview.update_index))
                .collect();
            if let Some(Some(index)) = newest.first()
                && newest.iter().all(|other| other == &Some(*index))
            {
                return Ok(*index);
            }
            if Instant::now() >= until {
                bail!(
                    "the coordinators did not come to the same place within {} s: {newest:?}",
                    WHOLE_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(4 * LOOK).await;
        }
    }
}
