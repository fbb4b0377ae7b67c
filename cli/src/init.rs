//! `starling init`: a new mesh in a directory, whole or not at all.
//!
//! Everything is made in a hidden directory beside the one that was asked for and renamed into its
//! place, so that neither a failure nor a crash leaves half a mesh under that name.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use starling_core::identity::{Label, PublicKey, Roles};
use starling_core::time::Time;
use starling_net::trust::ca::CA_KEY_FILE;
use starling_net::trust::public::TRUST_FILE;
use starling_net::trust::{Authority, CERTIFICATE_LIFETIME, NodeCredentials, NodeRequest, TrustError};

use crate::args::InitArgs;
use crate::config::{part_name, single_roles};
use crate::exit::{ExitCode, Failure};
use crate::output::{Output, Render};

mod plan;
mod sample;

pub use plan::{NodePlan, plan};

/// How long a node that was made is admitted: it renews its certificate for as long.
const ADMITTED_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    schema: &'static str,
    mesh: String,
    mesh_id: String,
    directory: String,
    trust: String,
    valid_days: u64,
    nodes: Vec<MadeNode>,
}

/// One node that was made.
#[derive(Debug, Serialize)]
struct MadeNode {
    name: String,
    roles: Vec<String>,
    region: String,
    quic: SocketAddr,
    http: SocketAddr,
    config: String,
}

/// Makes the mesh and says what to do with it.
pub fn run(args: &InitArgs, output: &Output) -> Result<(), Failure> {
    let target = Target::of(&args.dir)?;
    let mesh_name = mesh_name(args, &target)?;
    let nodes = plan(&args.nodes, args.quic_port, args.http_port)?;
    let authority = Authority::create(&mesh_name)?;

    let building = tempfile::Builder::new().prefix(".starling-init-").tempdir_in(&target.parent);
    let building = building.map_err(|error| target.unwritable(&error))?;
    build(building.path(), &authority, &nodes)?;
    target.take(building)?;

    output.print(&made(args, &authority, &nodes))
}

/// Where the mesh goes.
struct Target {
    /// As it was asked for, for messages.
    asked: PathBuf,
    /// The directory it is in, which exists.
    parent: PathBuf,
    /// Itself, without links on the way.
    path: PathBuf,
}

impl Target {
    /// Refuses a directory that could not be replaced whole.
    fn of(dir: &Path) -> Result<Target, Failure> {
        let refused = |what: String, next: &str| Err(Failure::new(ExitCode::Failed, what).with_help(next));
        match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
            Ok(false) => {
                let path = fs::canonicalize(dir)?;
                let Some(parent) = path.parent().filter(|_| !is_here(&path)) else {
                    let what = format!("{} is where you are; init makes the directory itself", dir.display());
                    return refused(what, "name a new directory: starling init my-mesh");
                };
                Ok(Target { asked: dir.to_owned(), parent: parent.to_owned(), path })
            }
            Ok(true) => refused(
                format!("{} is not empty, nothing was changed", dir.display()),
                "name a new directory; init never touches a mesh that is there",
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Target::new_in_parent(dir),
            Err(error) => refused(format!("cannot use {}: {error}", dir.display()), "name a new directory"),
        }
    }

    fn new_in_parent(dir: &Path) -> Result<Target, Failure> {
        let (Some(name), Some(parent)) = (dir.file_name(), dir.parent()) else {
            let what = format!("{} names no directory", dir.display());
            return Err(Failure::new(ExitCode::Usage, what).with_help("for example: starling init my-mesh"));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let parent = fs::canonicalize(parent).map_err(|error| {
            Failure::new(ExitCode::Failed, format!("cannot use {}: {error}", parent.display()))
                .with_help(format!("run: mkdir -p {}", parent.display()))
        })?;
        Ok(Target { asked: dir.to_owned(), path: parent.join(name), parent })
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        let what = format!("cannot make {}: {error}; nothing was changed", self.asked.display());
        Failure::new(ExitCode::Failed, what)
            .with_help(format!("check that {} exists and is writable", self.parent.display()))
    }

    /// Puts what was built into its place. The system refuses when somebody filled the place in the
    /// meantime; what was built is then removed.
    fn take(&self, building: tempfile::TempDir) -> Result<(), Failure> {
        fs::rename(building.path(), &self.path).map_err(|error| self.unwritable(&error))?;
        // Nothing is left under the name that would be removed.
        let _renamed = building.keep();
        File::open(&self.parent).and_then(|parent| parent.sync_all()).map_err(Failure::from)
    }
}

fn is_here(path: &Path) -> bool {
    std::env::current_dir().and_then(fs::canonicalize).is_ok_and(|here| here == path)
}

fn mesh_name(args: &InitArgs, target: &Target) -> Result<String, Failure> {
    let by_directory = || {
        let name = target.path.file_name().and_then(|name| name.to_str());
        name.filter(|name| Label::from_str(name).is_ok()).unwrap_or("mesh").to_owned()
    };
    let name = args.name.clone().unwrap_or_else(by_directory);
    match Label::from_str(&name) {
        Ok(_) => Ok(name),
        Err(error) => Err(Failure::new(ExitCode::Usage, format!("--name {name:?}: {error}"))
            .with_help("for example: --name my-mesh")),
    }
}

fn build(dir: &Path, authority: &Authority, nodes: &[NodePlan]) -> Result<(), Failure> {
    make_private_dir(&dir.join("authority"))?;
    authority.save(&dir.join("authority"))?;
    authority.trust().save(&dir.join(TRUST_FILE))?;
    make_private_dir(&dir.join("nodes"))?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Time::ZERO + since_epoch;
    let mut issued = Vec::new();
    for node in nodes {
        let home = dir.join("nodes").join(node.name.as_str());
        for made in [&home, &home.join("credentials"), &home.join("data")] {
            make_private_dir(made)?;
        }
        issued.extend(issue(authority, node, &home, wall)?);
        let config = home.join(format!("{}.toml", node.name));
        write(&config, &sample::sample(node, nodes))?;
    }
    let are_coordinators = issued.iter().filter(|(_, of)| of.admission.roles.has(Roles::COORDINATOR));
    let members: Vec<PublicKey> = are_coordinators.map(|(_, of)| of.identity.public()).collect();
    let coordinators = if members.is_empty() { Vec::new() } else { vec![authority.appoint(members)?] };
    for (directory, credentials) in issued {
        // Coordinators renew the certificates of all nodes.
        let renews = credentials.admission.roles.has(Roles::COORDINATOR);
        NodeCredentials { coordinators: coordinators.clone(), ..credentials }.save(&directory)?;
        if renews {
            authority.ca().save_key(&directory.join(CA_KEY_FILE))?;
        }
    }
    Ok(())
}

/// Credentials for a node, or for each role of a node that has several, and where they belong.
fn issue(
    authority: &Authority,
    node: &NodePlan,
    home: &Path,
    wall: Time,
) -> Result<Vec<(PathBuf, NodeCredentials)>, Failure> {
    let directory = home.join("credentials");
    let issue = |roles: Roles, name: &str| -> Result<NodeCredentials, TrustError> {
        let request = NodeRequest::new(roles, &node.region, name, CERTIFICATE_LIFETIME)?;
        authority.issue(&request.admitted_for(ADMITTED_FOR), wall)
    };
    let roles = single_roles(node.roles);
    if roles.len() == 1 {
        return Ok(vec![(directory, issue(node.roles, &node.name)?)]);
    }
    let mut issued = Vec::new();
    for role in roles {
        let name = part_name(&node.name, role).expect("the plan checked that these names fit");
        let part = directory.join(role.to_string());
        make_private_dir(&part)?;
        issued.push((part, issue(role, &name)?));
    }
    Ok(issued)
}

fn make_private_dir(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(dir).map_err(|error| {
        Failure::new(ExitCode::Failed, format!("cannot make {}: {error}", dir.display()))
            .with_help("nothing was changed; is the disk full?")
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::write(path, text).and_then(|()| File::open(path)?.sync_all());
    written.map_err(|error| {
        Failure::new(ExitCode::Failed, format!("cannot write {}: {error}", path.display()))
            .with_help("nothing was changed; is the disk full?")
    })
}

fn made(args: &InitArgs, authority: &Authority, nodes: &[NodePlan]) -> Made {
    let node = |node: &NodePlan| MadeNode {
        name: node.name.to_string(),
        roles: single_roles(node.roles).iter().map(Roles::to_string).collect(),
        region: node.region.to_string(),
        quic: loopback(node.quic_port),
        http: loopback(node.http_port),
        config: config_path(&args.dir, &node.name).display().to_string(),
    };
    Made {
        schema: "starling.init/1",
        mesh: authority.trust().mesh_name.to_string(),
        mesh_id: authority.trust().mesh.to_string(),
        directory: args.dir.display().to_string(),
        trust: args.dir.join(TRUST_FILE).display().to_string(),
        valid_days: CERTIFICATE_LIFETIME.as_secs() / (24 * 3_600),
        nodes: nodes.iter().map(node).collect(),
    }
}

fn config_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("nodes").join(name).join(format!("{name}.toml"))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Render for Made {
    fn table(&self) -> String {
        let Made { mesh, mesh_id, directory, trust, valid_days, nodes, .. } = self;
        let mut text = format!(
            "mesh {mesh} ({mesh_id}) in {directory}\n\n  \
             {directory}/authority   the keys of the mesh: keep them secret, off the nodes, and backed up\n  \
             {trust}   what nodes and clients must know: nothing in it is secret\n"
        );
        for node in nodes {
            text.push_str(&format!("  {}   {} in {}\n", node.config, node.roles.join("+"), node.region));
        }
        text.push_str(&format!(
            "\nCertificates are valid for {valid_days} day, and nodes renew them through a coordinator.\n\nNext:\n"
        ));
        if let Some(node) = nodes.first() {
            text.push_str(&format!("  starling config check {}\n", node.config));
        }
        for node in nodes {
            text.push_str(&format!("  starling run --config {} &\n", node.config));
        }
        if let Some(node) = nodes.first() {
            text.push_str(&format!("  starling status --node {} --trust {trust}\n", node.quic));
        }
        text
    }
}
