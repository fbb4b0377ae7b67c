//! Edges killed by signal 9: how soon their agents are at home again, and the mesh's count right.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::mesh::LocalMesh;
use crate::observer::{Observer, count_agents};
use crate::report::{Kill, times};
use crate::run::{Generator, Say, edge_name};

impl Generator {
    /// Kills edges and sees how soon the count is right again.
    pub(crate) async fn kill(
        &self,
        mesh: &mut LocalMesh,
        coordinator: &Observer,
        say: Say<'_>,
    ) -> Result<Option<Kill>> {
        let settings = self.settings();
        if settings.kill_edge == 0 {
            return Ok(None);
        }
        let lost: u64 = (0..settings.kill_edge).map(|edge| u64::from(settings.agents_on(edge))).sum();
        let all = u64::from(settings.agents);
        let expected = if settings.rehome { all } else { all - lost };
        let begun = Instant::now();
        self.shared.killed.store(self.shared.now().max(1), Ordering::Relaxed);
        for edge in 0..settings.kill_edge {
            mesh.kill(&edge_name(edge))?;
        }
        say(&format!("killed {} edges with {lost} agents", settings.kill_edge));
        let rehoming = settings.rehome.then(|| self.rehome());
        let mut kill = Kill { edges: settings.kill_edge, agents_expected: expected, ..Kill::default() };
        let mut has_dipped = false;
        while begun.elapsed() < Duration::from_secs(20) {
            kill.agents_counted = count_agents(&coordinator.overview().await?);
            has_dipped |= kill.agents_counted != all;
            if kill.agents_counted != expected || !has_dipped {
                kill.seconds = None;
            } else if kill.seconds.is_none() {
                kill.seconds = Some(begun.elapsed().as_secs_f64());
            } else if kill.seconds.is_some_and(|at| begun.elapsed().as_secs_f64() > at + 3.0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(mut tasks) = rehoming {
            while let Some(done) = tasks.try_join_next() {
                done??;
            }
        }
        if settings.rehome {
            kill.rehomed_ms = times(&self.shared.rehomed(lost), 1e6);
        }
        let when =
            kill.seconds.map_or_else(|| "and no more".to_string(), |seconds| format!("after {seconds:.1} s"));
        say(&format!("counted {} of {expected} agents {when}", kill.agents_counted));
        Ok(Some(kill))
    }

    /// Agents of killed edges notice by their own connections and go to another edge of their region.
    fn rehome(&self) -> JoinSet<Result<()>> {
        let settings = self.settings();
        let mut tasks = JoinSet::new();
        let homeless = self.connections.iter().filter(|c| c.placement.edge < settings.kill_edge);
        for connection in homeless {
            let region = settings.region_of(connection.placement.edge);
            let alive = settings.kill_edge..settings.edges;
            let alive: Vec<u32> = alive.filter(|edge| settings.region_of(*edge) == region).collect();
            if !alive.is_empty() {
                tasks.spawn(self.homing(connection, &alive).come_home());
            }
        }
        tasks
    }
}
