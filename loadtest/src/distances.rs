//! Round-trip times between regions, from a file such as those of cloudping.co:
//! `{"data": {"FROM": {"TO": MILLISECONDS}}}`. The first regions of the file are the mesh's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::mesh::PlannedNode;

#[derive(Deserialize)]
struct File {
    data: BTreeMap<String, BTreeMap<String, f64>>,
}

/// Round-trip times in milliseconds between regions by number.
#[derive(Clone, Debug)]
pub struct Distances {
    /// Names of the regions in the file.
    pub names: Vec<String>,
    milliseconds: Vec<Vec<f64>>,
}

impl Distances {
    /// Reads the first `regions` regions of a file, in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read, is of another form, or has too few regions.
    pub fn read(path: &Path, regions: u32) -> Result<Distances> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File = serde_json::from_str(&text).with_context(|| {
            format!("{} is not of the form {{\"data\": {{FROM: {{TO: ms}}}}}}", path.display())
        })?;
        let names: Vec<String> = file.data.keys().take(regions as usize).cloned().collect();
        ensure!(
            names.len() == regions as usize,
            "{} has {} regions, the mesh wants {regions}",
            path.display(),
            file.data.len()
        );
        let between = |from: &String, to: &String| {
            let time = file.data[from].get(to).copied().unwrap_or(0.0);
            ensure!(
                time.is_finite() && (0.0..60_000.0).contains(&time),
                "{from} to {to}: {time} ms is no distance"
            );
            Ok(time)
        };
        let rows: Result<Vec<Vec<f64>>> =
            names.iter().map(|from| names.iter().map(|to| between(from, to)).collect()).collect();
        Ok(Distances { milliseconds: rows?, names })
    }

    /// Lines of `FROM TO MILLISECONDS` (one way) for nodes whose region is `rN` or, for the
    /// coordinator, the first.
    pub fn delays(&self, nodes: &[PlannedNode]) -> String {
        let region =
            |node: &PlannedNode| node.region.strip_prefix('r').and_then(|n| n.parse().ok()).unwrap_or(0usize);
        let mut text = String::new();
        for from in nodes {
            for to in nodes.iter().filter(|to| to.address != from.address) {
                let way = self.milliseconds[region(from)][region(to)] / 2.0;
                if way > 0.0 {
                    writeln!(text, "{} {} {way}", from.address, to.address)
                        .expect("writing to a string succeeds");
                }
            }
        }
        text
    }
}
