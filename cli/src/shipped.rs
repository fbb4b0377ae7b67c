//! `starling shipped`: signs a list of peers by the mesh's authority.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use starling_discovery::CANDIDATES_MAX;
use starling_discovery::shipped::Shipped;
use starling_net::trust::Authority;

use crate::args::ShippedArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::{Output, Render};

#[derive(Debug, Serialize)]
struct Signed {
    schema: &'static str,
    list: String,
}

impl Render for Signed {
    fn table(&self) -> String {
        self.list.clone()
    }
}

/// Prints the list.
///
/// # Errors
/// The authority's keys cannot be read, or there are too many peers.
pub fn run(args: &ShippedArgs, output: &Output) -> Result<(), Failure> {
    if args.peers.len() > CANDIDATES_MAX {
        let what = format!("{} peers are given, and a list holds {CANDIDATES_MAX}", args.peers.len());
        return Err(Failure::new(ExitCode::Usage, what).with_help("name fewer; nodes learn of the others"));
    }
    let authority = Authority::load(&args.authority)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires = now + u64::from(args.days) * 24 * 3_600;
    let shipped = Shipped { mesh: authority.trust().mesh, expires, peers: args.peers.clone() };
    output.print(&Signed { schema: "starling.shipped/1", list: shipped.sign(authority.root()) })
}
