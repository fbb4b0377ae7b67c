//! What each command takes, as plain data that clap fills in; one file a command. Nothing is done
//! here. Commands that ask a mesh flatten [`ClientOptions`].

pub mod bench;
pub mod cert;
pub mod chaos;
pub mod client;
pub mod completions;
pub mod config;
pub mod dev;
pub mod hostile;
pub mod init;
pub mod inspect;
pub mod key;
pub mod loadtest;
pub mod messages;
pub mod registrar;
pub mod run;
pub mod shipped;
pub mod sim;

pub use bench::{BenchArgs, BenchCommand, BenchPartArgs};
pub use cert::{CaArgs, CertArgs};
pub use chaos::{ChaosArgs, StrikeArg};
pub use client::{ClientOptions, ClientSettings};
pub use completions::CompletionsArgs;
pub use config::{ConfigArgs, ConfigCommand};
pub use dev::DevArgs;
pub use hostile::HostileArgs;
pub use init::InitArgs;
pub use inspect::{AgentsArgs, BudgetArgs, InspectArgs, PeersArgs, PingArgs, TopologyArgs};
pub use key::{KeyArgs, KeyCommand};
pub use loadtest::{LoadProfile, LoadtestArgs};
pub use messages::{PublishArgs, SendArgs, SubscribeArgs};
pub use registrar::RegistrarArgs;
pub use run::RunArgs;
pub use shipped::ShippedArgs;
pub use sim::SimArgs;

#[cfg(test)]
mod tests;
