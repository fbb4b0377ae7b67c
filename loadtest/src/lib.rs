//! Agents by the hundred thousand over real QUIC, and an honest report.
//!
//! [`run()`] starts a mesh in processes of its own ([`mesh`]), so that its memory is the mesh's and
//! not the generator's, attaches agents with keys of their own, and drives an open model: what is
//! due leaves on schedule, and latency counts from when it was due. Receivers compute loss and
//! duplication from what they got ([`receipts`]). What was not measured is null in the [`report`].

#![forbid(unsafe_code)]

pub mod agents;
pub mod connection;
pub mod demo;
pub mod distances;
mod homing;
pub mod kill;
pub mod mesh;
pub mod observer;
pub mod payload;
pub mod process;
pub mod receipts;
pub mod report;
pub mod run;
pub mod settings;
pub mod shared;
pub mod traffic;
pub mod watch;

pub use report::Report;
pub use run::run;
pub use settings::{Profile, Settings};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::settings::{Profile, Settings};

    /// Settings of a small run.
    pub fn settings() -> Settings {
        Settings {
            agents: 100,
            edges: 4,
            regions: 2,
            agents_per_connection: 10,
            rate: 100,
            payload: 128,
            duration: Duration::from_secs(1),
            profile: Profile::Steady,
            seed: 1,
            rooms_per_edge: 10_000,
            changes_per_second: 0.01,
            rtt: None,
            kill_edge: 0,
            rehome: true,
            edge_processes: 1,
            thresholds: Vec::new(),
            program: "starling".into(),
        }
    }

    #[test]
    fn settings_that_cannot_be_run_are_refused() {
        assert_eq!(settings().check(), Ok(()));
        let refused = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().is_err()
        };
        assert!(refused(|s| s.agents = 0));
        assert!(refused(|s| s.regions = 5));
        assert!(refused(|s| s.payload = 3));
        assert!(refused(|s| s.kill_edge = 3));
        assert!(refused(|s| (s.agents, s.rooms_per_edge) = (100_000, 10)));
    }
}
