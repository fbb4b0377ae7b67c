//! Demo agents on a mesh of this machine: a little traffic for as long as somebody watches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::{JoinHandle, JoinSet};

use crate::agents::make_keys;
use crate::connection::Connection;
use crate::mesh::LocalMesh;
use crate::observer::Observer;
use crate::run::{Generator, wait_for_mesh};
use crate::settings::Settings;
use crate::traffic::{Progress, Routes, drive};

/// How long one schedule runs before the next begins.
const ROUND: Duration = Duration::from_secs(600);

/// Demo agents at work.
pub struct Demo {
    generator: Arc<Generator>,
    coordinator: Observer,
    traffic: JoinHandle<()>,
    /// Connections that come home when their edge is lost; they stop when this is dropped.
    homing: JoinSet<()>,
    seen: Seen,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    published: u64,
    delivered: u64,
}

/// What happened since the last look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Agents that the coordinator counts, by region.
    pub agents: Vec<(String, u64)>,
    /// Events published a second.
    pub published: f64,
    /// Deliveries a second.
    pub delivered: f64,
    /// Median and 99th percentile from publisher to receiver within a region, microseconds.
    pub region_us: Option<(f64, f64)>,
    /// The same between regions.
    pub global_us: Option<(f64, f64)>,
}

impl Look {
    /// One line for people.
    pub fn line(&self) -> String {
        let agents: u64 = self.agents.iter().map(|(_, count)| count).sum();
        let regions: Vec<String> =
            self.agents.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let times = |times: Option<(f64, f64)>| match times {
            Some((p50, p99)) => format!("p50 {:.1} p99 {:.1} ms", p50 / 1e3, p99 / 1e3),
            None => "no events".to_string(),
        };
        format!(
            "{agents} agents ({}) | {:.0} events/s published, {:.0}/s delivered | in a region {} | between regions {}",
            regions.join(", "),
            self.published,
            self.delivered,
            times(self.region_us),
            times(self.global_us),
        )
    }
}

/// Where agents of a connection go when their edge is lost: to others of its region, or else anywhere.
fn other_homes(settings: &Settings, connection: &Connection) -> Vec<u32> {
    let (edge, all) = (connection.placement.edge, 0..settings.edges);
    let is_near = |other: &u32| settings.region_of(*other) == settings.region_of(edge);
    let near: Vec<u32> = all.clone().filter(|other| *other != edge && is_near(other)).collect();
    if near.is_empty() { all.collect() } else { near }
}

fn times(histogram: &Histogram<u64>) -> Option<(f64, f64)> {
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / 1e3;
    (!histogram.is_empty()).then(|| (at(0.5), at(0.99)))
}

impl Demo {
    /// Waits for the mesh, attaches the agents of `settings` and lets them talk.
    ///
    /// # Errors
    /// The mesh did not come up, or an edge refused agents.
    pub async fn start(mesh: &mut LocalMesh, settings: &Settings, say: crate::run::Say<'_>) -> Result<Demo> {
        let settings = Settings { duration: ROUND, ..settings.clone() };
        let generator = Arc::new(Generator::new(&settings, mesh, Arc::new(make_keys(&settings)))?);
        let coordinator = generator.observe(mesh, "coordinator", false).await?;
        wait_for_mesh(&coordinator, &settings, mesh).await?;
        generator.attach(say).await?;
        let mut homing = JoinSet::new();
        for connection in &generator.connections {
            homing.spawn(generator.homing(connection, &other_homes(&settings, connection)).stay_home());
        }
        let talking = Arc::clone(&generator);
        let traffic = tokio::spawn(async move {
            let routes = Routes::new(talking.connections.clone());
            // A mesh without demo agents has nobody to speak.
            if talking.shared.settings.agents == 0 {
                return;
            }
            loop {
                drive(&talking.shared, &routes, ROUND, &Progress::default()).await;
            }
        });
        let seen = Seen { at: Instant::now(), published: 0, delivered: 0 };
        Ok(Demo { generator, coordinator, traffic, homing, seen })
    }

    /// What happened since the last call.
    ///
    /// # Errors
    /// The coordinator does not answer.
    pub async fn look(&mut self) -> Result<Look> {
        let overview = self.coordinator.overview().await?;
        let shared = &self.generator.shared;
        let (region, global) = (shared.region.take(), shared.global.take());
        let now = Seen {
            at: Instant::now(),
            published: shared.published.load(Ordering::Relaxed),
            delivered: self.seen.delivered + region.len() + global.len(),
        };
        let passed = (now.at - self.seen.at).as_secs_f64().max(0.001);
        let look = Look {
            agents: overview.regions.iter().map(|region| (region.name.clone(), region.agents)).collect(),
            published: (now.published - self.seen.published) as f64 / passed,
            delivered: (now.delivered - self.seen.delivered) as f64 / passed,
            region_us: times(&region),
            global_us: times(&global),
        };
        self.seen = now;
        Ok(look)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.traffic.abort();
        self.homing.abort_all();
        self.generator.connections.iter().for_each(|connection| connection.close());
    }
}
