//! Short strings that many agents share, kept once.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Different labels at an edge; what comes above is counted as [`OTHER`].
pub const LABELS_MAX: usize = 65_536;
/// The label under which labels beyond the limit are counted.
pub const OTHER: &str = "other";

/// A label of this edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(u32);

/// All labels of an edge.
#[derive(Debug)]
pub struct Labels {
    names: Vec<Arc<str>>,
    index: BTreeMap<Arc<str>, u32>,
}

impl Default for Labels {
    fn default() -> Labels {
        let other: Arc<str> = Arc::from(OTHER);
        Labels { names: vec![Arc::clone(&other)], index: BTreeMap::from([(other, 0)]) }
    }
}

impl Labels {
    /// The label called `name`.
    pub fn intern(&mut self, name: &str) -> Label {
        if let Some(slot) = self.index.get(name) {
            return Label(*slot);
        }
        if self.names.len() >= LABELS_MAX {
            return Label(0);
        }
        let slot = u32::try_from(self.names.len()).expect("at most 65,536 labels");
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        self.index.insert(name, slot);
        Label(slot)
    }

    /// What a label is called.
    pub fn name(&self, label: Label) -> &str {
        &self.names[label.0 as usize]
    }
}
