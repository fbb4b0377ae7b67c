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

/// What an agent says of itself, in one piece of memory: state (4 bytes), number of tags (1), tags
/// (4 each), name.
#[derive(Debug)]
pub struct Said(Box<[u8]>);

const STATE_BYTES: usize = 4;
const HEAD_BYTES: usize = STATE_BYTES + 1;

impl Said {
    /// A name, a state and at most 255 tags.
    pub fn new(name: &str, state: Label, tags: &[Label]) -> Said {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 4 * tags.len() + name.len());
        bytes.extend_from_slice(&state.0.to_le_bytes());
        bytes.push(u8::try_from(tags.len()).expect("an agent has at most 16 tags"));
        tags.iter().for_each(|tag| bytes.extend_from_slice(&tag.0.to_le_bytes()));
        bytes.extend_from_slice(name.as_bytes());
        Said(bytes.into_boxed_slice())
    }

    /// The name.
    pub fn name(&self) -> &str {
        let name = &self.0[HEAD_BYTES + 4 * usize::from(self.0[STATE_BYTES])..];
        std::str::from_utf8(name).expect("it was a text when it was put here")
    }

    /// The state.
    pub fn state(&self) -> Label {
        label(&self.0[..STATE_BYTES])
    }

    /// The tags, in order and each once.
    pub fn tags(&self) -> impl Iterator<Item = Label> {
        let tags = &self.0[HEAD_BYTES..HEAD_BYTES + 4 * usize::from(self.0[STATE_BYTES])];
        tags.chunks_exact(4).map(label)
    }

    /// Says another state.
    pub fn set_state(&mut self, state: Label) {
        self.0[..STATE_BYTES].copy_from_slice(&state.0.to_le_bytes());
    }

    /// The same with other tags.
    pub fn with_tags(&self, tags: &[Label]) -> Said {
        Said::new(self.name(), self.state(), tags)
    }
}

fn label(bytes: &[u8]) -> Label {
    let mut number = [0; 4];
    number.copy_from_slice(bytes);
    Label(u32::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_is_kept_in_one_piece() {
        let mut said = Said::new("ada", Label(7), &[Label(1), Label(900_000)]);
        said.set_state(Label(8));
        assert_eq!((said.name(), said.state()), ("ada", Label(8)));
        assert_eq!(said.tags().collect::<Vec<_>>(), [Label(1), Label(900_000)]);
        let said = said.with_tags(&[]);
        assert_eq!((said.name(), said.state(), said.tags().count()), ("ada", Label(8), 0));
    }
}
