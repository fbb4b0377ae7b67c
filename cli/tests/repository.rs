//! The repository's own rules: arrows between crates, anchors of the protocol's document, the size
//! of files, opening comments, and what the pure crates must not use. Each checker is itself tested
//! with planted faults.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may use of the others. A crate that is not here is refused.
const ARROWS: [(&str, &[&str]); 16] = [
    ("starling-core", &[]),
    ("starling-edge", &["starling-core"]),
    ("starling-aggregator", &["starling-core"]),
    ("starling-coordinator", &["starling-core"]),
    ("starling-consensus", &["starling-core"]),
    ("starling-hostile", &["starling-core"]),
    (
        "starling-sim",
        &[
            "starling-core",
            "starling-edge",
            "starling-aggregator",
            "starling-coordinator",
            "starling-hostile",
        ],
    ),
    ("starling-net", &["starling-core"]),
    ("starling-observe", &["starling-core"]),
    ("starling-api", &["starling-core", "starling-observe"]),
    ("starling-client", &["starling-core", "starling-net"]),
    ("starling-loadtest", &["starling-core", "starling-net", "starling-client"]),
    ("starling-bench", &["starling-core", "starling-net", "starling-client", "starling-loadtest"]),
    (
        "starling-chaos",
        &["starling-core", "starling-hostile", "starling-net", "starling-client", "starling-loadtest"],
    ),
    ("starling-discovery", &["starling-core"]),
    (
        "starling",
        &[
            "starling-core",
            "starling-edge",
            "starling-aggregator",
            "starling-coordinator",
            "starling-discovery",
            "starling-consensus",
            "starling-hostile",
            "starling-net",
            "starling-observe",
            "starling-api",
            "starling-client",
            "starling-loadtest",
            "starling-bench",
            "starling-chaos",
            "starling-sim",
        ],
    ),
];

/// Crates without clock, entropy and I/O, and what would bring them in.
const PURE: [&str; 4] = ["starling-core", "starling-edge", "starling-aggregator", "starling-coordinator"];
const IMPURE: [&str; 5] = ["tokio", "quinn", "rustls", "rand", "getrandom"];

const LINES_MAX: usize = 500;
const TEST_LINES_MAX: usize = 800;

/// Files that may be longer, how long, and why. Each is to be split when it is next worked on.
const LONGER: [(&str, usize, &str); 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli lies in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Directories of the workspace's members.
fn members() -> Vec<String> {
    let manifest = read(&root().join("Cargo.toml"));
    let (_, list) = manifest.split_once("members = [").expect("a workspace lists its members");
    let (list, _) = list.split_once(']').expect("the list of members ends");
    let members = list.split(',').map(unquote);
    members.filter(|member| !member.is_empty()).collect()
}

fn manifests() -> Vec<String> {
    members().iter().map(|member| read(&root().join(member).join("Cargo.toml"))).collect()
}

/// Every Rust file of the members, by path from the root.
fn rust_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for member in members() {
        collect(&root().join(member), &mut files);
    }
    assert!(files.len() > 50, "only {} Rust files were found", files.len());
    files
}

fn collect(directory: &Path, files: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a directory can be listed").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).expect("it was found below the root");
            files.push((relative.to_string_lossy().replace('\\', "/"), read(&path)));
        }
    }
}

/// A dependency as a manifest names it.
#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    name: String,
    is_dev: bool,
}

/// Name and dependencies of a manifest. A renamed package counts under its own name too.
fn parse_manifest(manifest: &str) -> (String, Vec<Dependency>) {
    let (mut section, mut package, mut dependencies) = (String::new(), String::new(), Vec::new());
    for line in manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let mut add = |section: &str, name: &str| {
            let is_dev = section.contains("dev-dependencies");
            dependencies.push(Dependency { name: unquote(name), is_dev });
        };
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            if let Some((_, name)) = section.split_once("dependencies.") {
                add(&section, name);
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if section == "package" && key.trim() == "name" {
            package = unquote(value);
        }
        if section.ends_with("dependencies") {
            add(&section, key.split('.').next().unwrap_or_default());
        }
        if let Some(renamed) = package_key(line).filter(|_| section.contains("dependencies")) {
            add(&section, renamed);
        }
    }
    (package, dependencies)
}

/// The value of a `package` key in a line of a dependency.
fn package_key(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("package")?;
    rest.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()
}

fn unquote(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

/// Arrows of a manifest that are not allowed.
fn wrong_arrows(manifest: &str) -> Vec<String> {
    let (package, dependencies) = parse_manifest(manifest);
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package} is not in the list of arrows")];
    };
    let ours = |name: &str| name == "starling" || name.starts_with("starling-");
    let wrong = dependencies.iter().filter(|dependency| {
        let may_use_all = package == "starling" && dependency.is_dev;
        ours(&dependency.name) && !may_use_all && !allowed.contains(&dependency.name.as_str())
    });
    wrong.map(|dependency| format!("{package} uses {}", dependency.name)).collect()
}

/// What a pure crate's manifest names and must not.
fn impurities(manifest: &str) -> Vec<String> {
    let (package, dependencies) = parse_manifest(manifest);
    if !PURE.contains(&package.as_str()) {
        return Vec::new();
    }
    let impure = dependencies.iter().filter(|dependency| IMPURE.contains(&dependency.name.as_str()));
    impure.map(|dependency| format!("{package} uses {}", dependency.name)).collect()
}

/// Anchors of a Markdown text's headings, outside of code blocks.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let is_new = anchors.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
            assert!(is_new, "two headings are called {heading:?}, so neither has a stable anchor");
        }
    }
    anchors
}

/// What stands in `text` behind each `before`, as far as an anchor goes.
fn cited(text: &str, before: &str) -> Vec<String> {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(before).skip(1).map(|rest| rest.chars().take_while(is_part).collect()).collect()
}

/// How a file is too long, if it is.
fn over_length(path: &str, text: &str) -> Option<String> {
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    let usual = if is_test { TEST_LINES_MAX } else { LINES_MAX };
    let max = LONGER.iter().find(|(longer, _, _)| *longer == path).map_or(usual, |(_, max, _)| *max);
    let lines = text.lines().count();
    (lines > max).then(|| format!("{path} has {lines} lines, the limit is {max}: split it"))
}

/// Whether a file that must open with `//!` does not.
fn lacks_opening(path: &str, text: &str) -> bool {
    let must = path.ends_with("/lib.rs") || path.ends_with("/mod.rs");
    must && !text.starts_with("//!")
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_use_one_another_along_the_arrows_only() {
    let faults: Vec<String> = manifests().iter().flat_map(|manifest| wrong_arrows(manifest)).collect();
    assert_none(&faults);
}

#[test]
fn pure_crates_stay_pure() {
    let manifests = manifests();
    let names: Vec<String> = manifests.iter().map(|manifest| parse_manifest(manifest).0).collect();
    assert!(PURE.iter().all(|pure| names.iter().any(|name| name == pure)), "a pure crate is missing");
    let faults: Vec<String> = manifests.iter().flat_map(|manifest| impurities(manifest)).collect();
    assert_none(&faults);
}

#[test]
fn cited_anchors_of_the_protocol_exist() {
    let anchors = anchors(&read(&root().join("docs/protocol.md")));
    let (mut count, mut faults) = (0, Vec::new());
    for (path, text) in rust_files() {
        // In two pieces, or this file would cite an anchor without a name.
        for anchor in cited(&text, concat!("docs/protocol", ".md#")) {
            count += 1;
            if !anchors.contains(&anchor) {
                faults.push(format!("{path} cites #{anchor}, which is no heading of docs/protocol.md"));
            }
        }
    }
    assert!(count > 0, "nobody cites the protocol");
    assert_none(&faults);
}

#[test]
fn links_inside_the_protocol_lead_somewhere() {
    let text = read(&root().join("docs/protocol.md"));
    let anchors = anchors(&text);
    let wrong = cited(&text, "](#").into_iter().filter(|anchor| !anchors.contains(anchor));
    assert_none(&wrong.collect::<Vec<_>>());
}

#[test]
fn files_are_short_and_modules_say_what_they_are() {
    let files = rust_files();
    let mut faults: Vec<String> = files.iter().filter_map(|(path, text)| over_length(path, text)).collect();
    let silent = files.iter().filter(|(path, text)| lacks_opening(path, text));
    faults.extend(silent.map(|(path, _)| format!("{path} does not open with //!")));
    assert_none(&faults);
}

/// Pages that a list of decisions lacks, or has out of order.
fn unlisted(list: &str, pages: &[String]) -> Vec<String> {
    let listed =
        list.lines().filter_map(|line| line.strip_prefix("| [")?.split_once("](")?.1.split_once(')'));
    let listed: Vec<&str> = listed.map(|(page, _)| page).collect();
    let mut faults: Vec<String> =
        pages.iter().filter(|page| !listed.contains(&page.as_str())).cloned().collect();
    faults.extend(listed.windows(2).filter(|pair| pair[0] >= pair[1]).map(|pair| pair[1].to_string()));
    faults
}

#[test]
fn every_decision_is_listed_in_order() {
    let directory = root().join("docs/decisions");
    let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let pages: Vec<String> = names.filter(|name| name != "README.md").collect();
    assert_none(&unlisted(&read(&directory.join("README.md")), &pages));
    let list = "| [0002](0002-b.md) | b |\n| [0001](0001-a.md) | a |\n";
    let pages = ["0001-a.md", "0002-b.md", "0003-c.md"].map(String::from);
    assert_eq!(unlisted(list, &pages), ["0003-c.md", "0001-a.md"]);
}

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\n\n{rest}\n")
}

#[test]
fn a_planted_arrow_is_found_however_it_is_written() {
    for rest in [
        "[dependencies]\nstarling-edge.workspace = true",
        "[dependencies]\nstarling-edge = { path = \"../edge\" }",
        "[dependencies.starling-edge]\nworkspace = true",
        "[dev-dependencies]\nstarling-edge.workspace = true",
        "[dev-dependencies.starling-edge]\nworkspace = true",
        "[build-dependencies]\nstarling-edge.workspace = true",
        "[target.'cfg(unix)'.dependencies]\nstarling-edge.workspace = true",
        "[dependencies]\nedge = { package = \"starling-edge\", path = \"../edge\" }",
        "[dependencies.edge]\npackage = \"starling-edge\"",
    ] {
        assert_eq!(
            wrong_arrows(&manifest("starling-net", rest)),
            ["starling-net uses starling-edge"],
            "{rest}"
        );
    }
    let faults = |name: &str, rest: &str| wrong_arrows(&manifest(name, rest)).len();
    assert_eq!(faults("starling-net", "[dependencies]\nstarling-core.workspace = true"), 0);
    assert_eq!(faults("starling", "[dev-dependencies]\nstarling-sim.workspace = true"), 0);
    assert_eq!(faults("starling-sim", "[dependencies]\nstarling-net.workspace = true"), 1);
    assert_eq!(faults("starling-new", ""), 1);
}

#[test]
fn a_planted_impurity_is_found_in_pure_crates_alone() {
    assert_eq!(impurities(&manifest("starling-core", "[dev-dependencies]\ntokio = \"1\"")).len(), 1);
    assert_eq!(impurities(&manifest("starling-edge", "[dependencies]\nrand.workspace = true")).len(), 1);
    assert_eq!(impurities(&manifest("starling-net", "[dependencies]\ntokio = \"1\"")).len(), 0);
}

#[test]
fn planted_faults_in_texts_are_found() {
    let found = anchors("# A\n## Control messages\n```\n# no heading\n```\n### It's `x`-y");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "control-messages", "its-x-y"]);
    assert_eq!(cited("see d.md#one, d.md#two-b).", "d.md#"), ["one", "two-b"]);
    let lines = |count: usize| "//\n".repeat(count);
    assert!(over_length("core/src/a.rs", &lines(LINES_MAX)).is_none());
    assert!(over_length("core/src/a.rs", &lines(LINES_MAX + 1)).is_some());
    assert!(over_length("core/src/a/tests.rs", &lines(LINES_MAX + 1)).is_none());
    assert!(over_length("net/tests/a.rs", &lines(TEST_LINES_MAX + 1)).is_some());
    assert!(lacks_opening("core/src/a/mod.rs", "use b;\n"));
    assert!(!lacks_opening("core/src/lib.rs", "//! What it is.\n"));
    assert!(!lacks_opening("core/src/a.rs", "use b;\n"));
}
