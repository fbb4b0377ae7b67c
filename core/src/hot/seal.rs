//! Packing entries into bundles and signing them.

use bytes::{Bytes, BytesMut};

use super::own::{Publication, Target};
use crate::hash::HashMap;
use crate::id::{AgentId, RegionId, ShortId};
use crate::identity::{Context, Signer};
use crate::limits;
use crate::machine::ConnectionSlot;
use crate::wire::bundle::{
    Bundle, Class, HEADER_FIXED_BYTES, SECTION_FIXED_BYTES, SIGNATURE_BYTES, Section, encode_header,
};
use crate::wire::codec::Reader;
use crate::wire::entry::{entry_bytes, put_entry, take_entry};

use super::view::Me;

/// An entry's publisher, to acknowledge to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// Section of the entry.
    pub section: u16,
    /// Connection that published it.
    pub connection: u32,
    /// Number of the publication on that connection.
    pub number: u64,
    /// How often its receiver was not where it was thought to be.
    pub attempts: u8,
}

#[derive(Debug)]
struct Draft {
    subject: Bytes,
    home: Option<(RegionId, ShortId)>,
    directed: bool,
    count: u16,
    body: BytesMut,
}

/// A bundle in the making.
#[derive(Debug, Default)]
pub struct Open {
    drafts: Vec<Draft>,
    sections: HashMap<(bool, Bytes), u16>,
    agents: Vec<AgentId>,
    speakers: HashMap<AgentId, u16>,
    authors: Vec<Author>,
    bytes: usize,
}

/// A bundle as it left the press.
#[derive(Debug)]
pub struct Sealed {
    /// The bundle, all bodies present.
    pub bundle: Bundle,
    /// Who is to be told when everyone has it, in the order of the entries.
    pub authors: Vec<Author>,
    /// Homes of directed sections, by section.
    pub homes: Vec<Option<(RegionId, ShortId)>>,
}

impl Open {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.authors.is_empty()
    }

    /// Entries in it.
    pub fn entries(&self) -> usize {
        self.authors.len()
    }

    /// Whether it must be sealed before `publication` can go into the next one.
    pub fn is_full_for(&self, publication: &Publication) -> bool {
        let more = entry_bytes(&publication.extras, publication.payload.len())
            + SECTION_FIXED_BYTES
            + publication.subject.len()
            + 16;
        let fixed = HEADER_FIXED_BYTES + 32 + SIGNATURE_BYTES;
        !self.is_empty()
            && (self.entries() >= limits::BUNDLE_ENTRIES_MAX
                || fixed + self.bytes + more > limits::BUNDLE_BYTES_MAX)
    }

    /// Adds an entry.
    pub fn add(&mut self, publication: &Publication) {
        let section = self.section_for(publication);
        let agent = self.speaker(publication.agent);
        let draft = &mut self.drafts[usize::from(section)];
        draft.count += 1;
        let before = draft.body.len();
        put_entry(&mut draft.body, agent, publication.sequence, &publication.extras, &publication.payload);
        self.bytes += draft.body.len() - before;
        let Publication { connection, number, attempts, .. } = publication;
        self.authors.push(Author { section, connection: connection.0, number: *number, attempts: *attempts });
    }

    fn section_for(&mut self, publication: &Publication) -> u16 {
        let (directed, home) = match publication.target {
            Target::Subject => (false, None),
            Target::Agent(home) => (true, home),
        };
        if let Some(last) = self.drafts.last()
            && last.directed == directed
            && last.subject == publication.subject
        {
            return u16::try_from(self.drafts.len() - 1).expect("at most 256 sections");
        }
        let next = u16::try_from(self.drafts.len()).expect("at most 256 sections");
        let section = *self.sections.entry((directed, publication.subject.clone())).or_insert(next);
        if section == next {
            // The subject may point into a chunk of the stream that it came in; it is kept by itself.
            let subject = Bytes::copy_from_slice(&publication.subject);
            self.bytes += SECTION_FIXED_BYTES + subject.len();
            self.drafts.push(Draft { subject, home, directed, count: 0, body: BytesMut::new() });
        }
        section
    }

    fn speaker(&mut self, agent: AgentId) -> u16 {
        if self.agents.last() == Some(&agent) {
            return u16::try_from(self.agents.len() - 1).expect("at most one agent an entry");
        }
        let next = u16::try_from(self.agents.len()).expect("at most one agent an entry");
        let index = *self.speakers.entry(agent).or_insert(next);
        if index == next {
            self.bytes += 16;
            self.agents.push(agent);
        }
        index
    }

    /// Numbers, hashes and signs what is inside; leaves this empty.
    pub fn seal(&mut self, me: &Me, key: &Signer, class: Class, sequence: u64, clock: u64) -> Sealed {
        let mut homes = Vec::with_capacity(self.drafts.len());
        let sections = std::mem::take(&mut self.drafts).into_iter().map(|draft| {
            homes.push(draft.home);
            let body = draft.body.freeze();
            Section {
                tenant: 0,
                key: 0,
                codec: 0,
                directed: draft.directed,
                count: draft.count,
                subject: draft.subject,
                hash: *blake3::hash(&body).as_bytes(),
                length: u32::try_from(body.len()).expect("bodies are bounded by 1 MiB and an entry's head"),
                body: Some(body),
            }
        });
        let mut bundle = Bundle {
            class,
            mesh: me.mesh,
            origin: me.id,
            incarnation: me.incarnation,
            sequence,
            clock,
            previous: None,
            agents: std::mem::take(&mut self.agents),
            sections: sections.collect(),
            header: Bytes::new(),
            hash: [0; 32],
        };
        let mut header = encode_header(&bundle);
        bundle.hash = *blake3::hash(&header).as_bytes();
        header.extend_from_slice(&key.sign(Context::Bundle, &bundle.hash).0);
        bundle.header = header.freeze();
        self.sections.clear();
        self.speakers.clear();
        self.bytes = 0;
        Sealed { bundle, authors: std::mem::take(&mut self.authors), homes }
    }
}

/// The entries of a directed section as publications again.
pub(super) fn unpack<'a>(
    bundle: &Bundle,
    section: u16,
    authors: impl Iterator<Item = &'a Author>,
) -> Vec<Publication> {
    let Some(of) = bundle.sections.get(usize::from(section)).filter(|section| section.directed) else {
        return Vec::new();
    };
    let Some(body) = &of.body else { return Vec::new() };
    let mut reader = Reader::new(body);
    authors
        .map_while(|author| {
            let entry = take_entry(&mut reader).ok()?;
            Some(Publication {
                connection: ConnectionSlot(author.connection),
                number: author.number,
                agent: *bundle.agents.get(usize::from(entry.agent))?,
                sequence: entry.sequence,
                class: bundle.class,
                target: Target::Agent(None),
                subject: of.subject.clone(),
                extras: entry.extras,
                payload: body.slice_ref(entry.payload),
                attempts: author.attempts.saturating_add(1),
            })
        })
        .collect()
}
