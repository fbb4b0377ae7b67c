//! What has to be there before a rival can be measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

use crate::works::System;

/// Builds a rival's program, by itself, so that none has what only another asks of a package.
///
/// # Errors
/// It cannot be built.
pub fn build(directory: &Path, system: System) -> Result<PathBuf> {
    let program = format!("versus-{}", system.name);
    eprintln!("building {program}");
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--release", "--package", &program, "--manifest-path"]);
    let status = command.arg(directory.join("Cargo.toml")).status().context("cargo cannot be run")?;
    ensure!(status.success(), "{program} cannot be built");
    Ok(directory.join("target/release").join(program))
}

/// The server of NATS: one that is installed, or else Debian's, unpacked below `target`, where nothing
/// starts it but we.
///
/// # Errors
/// It is nowhere to be had; the text says what was tried.
pub fn nats_server(directory: &Path) -> Result<PathBuf> {
    let place = directory.join("target/nats");
    let unpacked = place.join("usr/sbin/nats-server");
    let known = [PathBuf::from("nats-server"), PathBuf::from("/usr/sbin/nats-server"), unpacked.clone()];
    let answers = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok();
    if let Some(found) = known.into_iter().find(answers) {
        return Ok(found);
    }
    std::fs::create_dir_all(&place)?;
    let tried = "no nats-server is installed, and apt-get download nats-server";
    ran(Command::new("apt-get").args(["download", "nats-server"]).current_dir(&place).output(), tried)?;
    let package = std::fs::read_dir(&place)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download nats-server left no package")?;
    ran(Command::new("dpkg").arg("-x").arg(package).arg(&place).output(), "dpkg -x")?;
    ensure!(answers(&unpacked), "Debian's package has no program that runs");
    Ok(unpacked)
}

fn ran(ended: std::io::Result<Output>, what: &str) -> Result<()> {
    match ended {
        Err(error) => bail!("{what}: {error}"),
        Ok(output) if !output.status.success() => {
            bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())
        }
        Ok(_) => Ok(()),
    }
}
