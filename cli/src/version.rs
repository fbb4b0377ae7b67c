//! `starling version`.

use serde::Serialize;

use crate::exit::Failure;
use crate::output::{Output, Render};

/// What this binary is.
#[derive(Debug, Serialize)]
pub struct Version {
    schema: &'static str,
    version: &'static str,
    protocol: String,
    system: &'static str,
    architecture: &'static str,
}

impl Version {
    /// This binary's.
    pub fn current() -> Version {
        Version {
            schema: "starling.version/1",
            version: env!("CARGO_PKG_VERSION"),
            protocol: String::from_utf8_lossy(starling_net::trust::tls::ALPN).into_owned(),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
        }
    }
}

impl Render for Version {
    fn table(&self) -> String {
        let Version { version, protocol, system, architecture, .. } = self;
        format!("starling {version} (protocol {protocol}, {system} {architecture})\n")
    }
}

/// Prints the version.
pub fn run(output: &Output) -> Result<(), Failure> {
    output.print(&Version::current())
}
