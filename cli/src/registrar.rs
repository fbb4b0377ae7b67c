//! `starling registrar`: lists live nodes in DNS until it is asked to stop.

use starling_discovery::registrar::{Publish, Registrar, RegistrarSettings};

use crate::args::RegistrarArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::Output;
use crate::signals::stop_requested;

/// Runs the registrar.
///
/// # Errors
/// It cannot listen, its zone is none, or its DNS server cannot be read.
pub fn run(args: &RegistrarArgs, output: &Output) -> Result<(), Failure> {
    let publish = match (args.serve, args.update) {
        (Some(address), _) => Publish::Serve(address),
        (None, Some(server)) => Publish::Update(server),
        (None, None) => {
            return Err(Failure::new(
                ExitCode::Usage,
                "neither --serve nor --update says how it comes into DNS",
            )
            .with_help("for example: --serve 0.0.0.0:53"));
        }
    };
    let settings = RegistrarSettings {
        listen: args.listen,
        zone: args.zone.clone(),
        publish,
        difficulty: args.difficulty,
        ttl: args.ttl,
        ping_every: args.ping_every,
        per_place: usize::from(args.per_address),
        any_address: args.any_address,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(settings, output));
    runtime.shutdown_background();
    ended
}

async fn serve(settings: RegistrarSettings, output: &Output) -> Result<(), Failure> {
    let told = output.clone();
    let started = Registrar::start(settings, move |note| told.note(&format!("registrar: {note}"))).await;
    let mut registrar =
        started.map_err(|error| Failure::new(ExitCode::Configuration, format!("not started: {error}")))?;
    if let Some(dns) = registrar.dns() {
        output.note(&format!("registrar serves the zone on {dns}"));
    }
    output.note(&format!("registrar listens on http://{}", registrar.http()));
    tokio::select! {
        () = stop_requested() => Ok(()),
        () = registrar.ended() => Err(Failure::new(ExitCode::Failed, "a task of the registrar ended; this is a defect")),
    }
}
