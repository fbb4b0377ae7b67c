//! `starling cert` and `starling ca`: the files of certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use starling_core::time::Time;
use starling_net::trust::public::TRUST_FILE;
use starling_net::trust::{
    Authority, CERTIFICATE_LIFETIME_MIN, Life, NodeCredentials, NodeRequest, RENEWED_AT_PERCENT, serial_of,
};

use crate::args::cert::{AuthorityArgs, CaArgs, CaCommand, CertArgs, CertCommand};
use crate::duration::show_duration;
use crate::exit::{ExitCode, Failure};
use crate::output::table::{Side, table};
use crate::output::{Output, Render};

/// How deep directories of credentials are looked for: nodes/NAME/credentials/ROLE.
const DEPTH_MAX: usize = 4;
/// Directories of credentials that are shown.
const SHOWN_MAX: usize = 4_096;

/// One certificate.
#[derive(Debug, Serialize)]
struct Shown {
    node: String,
    id: String,
    directory: String,
    serial: String,
    not_before_seconds: u64,
    not_after_seconds: u64,
    percent_used: u64,
    seconds_left: u64,
    next_renewal_seconds: u64,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Status {
    schema: &'static str,
    certificates: Vec<Shown>,
}

impl Render for Status {
    fn table(&self) -> String {
        let columns = [
            ("node", Side::Left),
            ("serial", Side::Left),
            ("life used", Side::Right),
            ("left", Side::Right),
            ("renewed in", Side::Right),
            ("directory", Side::Left),
        ];
        let spell = |seconds: u64| show_duration(std::time::Duration::from_secs(seconds));
        let now = wall().as_millis() / 1_000;
        let row = |shown: &Shown| {
            let next = shown.next_renewal_seconds.saturating_sub(now);
            vec![
                shown.node.clone(),
                shown.serial.clone(),
                format!("{} %", shown.percent_used),
                if shown.seconds_left == 0 { "expired".to_owned() } else { spell(shown.seconds_left) },
                if next == 0 { "due".to_owned() } else { spell(next) },
                shown.directory.clone(),
            ]
        };
        table(&columns, self.certificates.iter().map(row).collect(), "no certificates")
    }

    fn json_lines(&self) -> serde_json::Result<Vec<String>> {
        self.certificates.iter().map(serde_json::to_string).collect()
    }
}

fn wall() -> Time {
    Time::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `starling cert`.
///
/// # Errors
/// A file cannot be read, written or believed.
pub fn run(args: &CertArgs, output: &Output) -> Result<(), Failure> {
    match &args.command {
        CertCommand::Status { directories } => status(directories, output),
        CertCommand::Renew { authority, lifetime, directory } => {
            if *lifetime < CERTIFICATE_LIFETIME_MIN {
                let what = format!("--lifetime {}: the least is 10s", show_duration(*lifetime));
                return Err(Failure::new(ExitCode::Usage, what));
            }
            let authority = Authority::load(authority)?;
            let old = NodeCredentials::load(directory)?;
            let admission = &old.admission;
            let admitted_until = Time::from_millis(admission.not_after_seconds.saturating_mul(1_000));
            let request = NodeRequest::new(
                admission.roles,
                admission.region.as_str(),
                admission.name.as_str(),
                *lifetime,
            )?;
            let request = request.admitted_for(admitted_until.since(wall()));
            let renewed = authority.renew(&request, old.identity.clone(), wall())?;
            let certificate = old.renewed(renewed.certificate_pem, renewed.tls_key_pem)?;
            certificate.save_certificate(directory)?;
            authority.trust().save(&directory.join(TRUST_FILE))?;
            output.note(&format!("{} has a new certificate", directory.display()));
            Ok(())
        }
    }
}

fn status(directories: &[PathBuf], output: &Output) -> Result<(), Failure> {
    let mut found = Vec::new();
    for directory in directories {
        find(directory, DEPTH_MAX, &mut found)?;
    }
    found.sort();
    if found.is_empty() {
        let what = "no credentials are there".to_owned();
        return Err(Failure::new(ExitCode::NotFound, what)
            .with_help("name a directory with node.pem, or one that starling init made"));
    }
    let certificates = found.iter().map(|directory| show(directory)).collect::<Result<Vec<_>, _>>()?;
    output.print(&Status { schema: "starling.certificates/1", certificates })
}

fn find(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if directory.join("node.pem").is_file() && found.len() < SHOWN_MAX {
        found.push(directory.to_owned());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(directory).map_err(|error| {
        Failure::new(ExitCode::Failed, format!("cannot read {}: {error}", directory.display()))
    })?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

fn show(directory: &Path) -> Result<Shown, Failure> {
    let credentials = NodeCredentials::load(directory)?;
    let certificates = credentials.certificates()?;
    let first = certificates.first().expect("credentials that load have a certificate");
    let life = Life::of_certificate(first)?;
    let now = wall();
    let seconds = |time: Time| time.as_millis() / 1_000;
    Ok(Shown {
        node: credentials.admission.name.to_string(),
        id: credentials.node().to_string(),
        directory: directory.display().to_string(),
        serial: serial_of(first)?,
        not_before_seconds: seconds(life.begins),
        not_after_seconds: seconds(life.ends).saturating_sub(1),
        percent_used: life.percent_used(now),
        seconds_left: life.left(now).as_secs(),
        next_renewal_seconds: seconds(life.at(RENEWED_AT_PERCENT * 10)),
    })
}

/// `starling ca`.
///
/// # Errors
/// A file cannot be read or written, or the step does not follow the last.
pub fn run_ca(args: &CaArgs, output: &Output) -> Result<(), Failure> {
    let next = match &args.command {
        CaCommand::Add(AuthorityArgs { authority }) => {
            Authority::load(authority)?.add_ca(authority)?;
            format!(
                "copy {} to every node and client, then: starling ca use",
                authority.join(TRUST_FILE).display()
            )
        }
        CaCommand::Use(AuthorityArgs { authority }) => {
            Authority::use_ca(authority)?;
            let key = authority.join("ca.key");
            format!("copy {} to the coordinators; a day later: starling ca drop", key.display())
        }
        CaCommand::Drop(AuthorityArgs { authority }) => {
            Authority::load(authority)?.drop_cas(authority)?;
            format!("copy {} to every node and client", authority.join(TRUST_FILE).display())
        }
    };
    output.note(&next);
    Ok(())
}
