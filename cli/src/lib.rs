//! Everything behind the one binary `starling`: its command line, its configuration, its output.
//!
//! Start at [`commands`] for what can be asked, at [`config`] for what a node is told, at
//! [`output`] for how answers look and at [`exit`] for how a command ends. `main.rs` only parses,
//! dispatches and turns a [`exit::Failure`] into an exit code; a new command is a module here, a
//! variant in [`commands::Command`] and an arm there. Holds no protocol: that is for the rooms.

#![forbid(unsafe_code)]

pub mod args;
pub mod bench;
pub mod cert;
pub mod chaos;
pub mod commands;
pub mod completions;
pub mod config;
pub mod config_command;
pub mod dev;
mod discovery;
pub mod duration;
pub mod exit;
pub mod finding;
pub mod hostile;
pub mod init;
pub mod inspect;
pub mod key;
pub mod loadtest;
pub mod messages;
pub mod output;
pub mod registrar;
pub mod run;
mod serving;
pub mod shipped;
pub mod signals;
pub mod sim;
pub mod suggest;
pub mod version;
