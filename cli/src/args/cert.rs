//! What `starling cert` and `starling ca` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const CERT_EXAMPLE: &str = "\
Examples:
  starling cert status my-mesh
  starling cert status /etc/starling/credentials -o json
  starling cert renew --authority my-mesh/authority /etc/starling/credentials

Nodes renew their certificates by themselves, at half of their life, through a coordinator that has ca.key
in its directory of credentials. `cert renew` is for a node that was off for longer than that. A running
node takes up what is put into its directory within seconds.";

/// Arguments of `starling cert`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = CERT_EXAMPLE)]
pub struct CertArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CertCommand,
}

/// What to do with certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CertCommand {
    /// Show how old certificates are and when they are renewed.
    #[command(after_long_help = CERT_EXAMPLE)]
    Status {
        /// Directories of credentials, or above some.
        #[arg(required = true, value_name = "DIR")]
        directories: Vec<PathBuf>,
    },
    /// Issue a new certificate for a node, with the authority's keys.
    #[command(after_long_help = CERT_EXAMPLE)]
    Renew {
        /// The directory of the authority.
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// How long the certificate is valid, from 10 s.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = crate::duration::parse_duration)]
        lifetime: std::time::Duration,
        /// The node's directory of credentials.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

const CA_EXAMPLE: &str = "\
Example, in three steps while the mesh runs:
  starling ca add my-mesh/authority      mesh.trust has both CAs: copy it to every node and client
  starling ca use my-mesh/authority      copy ca.key to the coordinators: they issue with the new CA
  starling ca drop my-mesh/authority     a day later, when no old certificate is left: copy mesh.trust again

Nodes take up mesh.trust and ca.key within seconds after they are put into their directories.";

/// Arguments of `starling ca`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = CA_EXAMPLE)]
pub struct CaArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CaCommand,
}

/// A step in replacing the CA.
#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Make a new CA that is believed beside the old one.
    #[command(after_long_help = CA_EXAMPLE)]
    Add(AuthorityArgs),
    /// Issue with the new CA from now on.
    #[command(after_long_help = CA_EXAMPLE)]
    Use(AuthorityArgs),
    /// Believe no other CA any more.
    #[command(after_long_help = CA_EXAMPLE)]
    Drop(AuthorityArgs),
}

/// Where the authority is.
#[derive(Args, Clone, Debug)]
pub struct AuthorityArgs {
    /// The directory of the authority.
    #[arg(value_name = "DIR")]
    pub authority: PathBuf,
}
