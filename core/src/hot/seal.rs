//! Packing entries into bundles and signing them.

use bytes::{Bytes, BytesMut};

use super::own::{Publication, Target};
use crate::hash::HashMap;
use crate::id::{AgentId, RegionId, ShortId};
use crate::identity::Signer;
use crate::limits;
use crate::machine::ConnectionSlot;
use crate::wire::bundle::{Bundle, Class, HEADER_FIXED_BYTES, SECTION_FIXED_BYTES, SIGNATURE_BYTES, Section};
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
    /// What the publication takes of its client's window.
    pub bytes: u32,
    /// How often its receiver was not where it was thought to be.
    pub attempts: u8,
}

/// A section in the making.
#[derive(Debug)]
pub struct Draft {
    /// As in [`Section`].
    pub subject: Bytes,
    /// As in [`Section`].
    pub directed: bool,
    /// Where the receiver of a directed section lives.
    pub home: Option<(RegionId, ShortId)>,
    count: u16,
    body: BytesMut,
}

impl Draft {
    /// What it adds to a header, at most: each entry by an agent of its own.
    pub fn header_bytes(&self) -> usize {
        SECTION_FIXED_BYTES + self.subject.len() + 16 * usize::from(self.count)
    }
}

/// What a bundle is to say.
#[derive(Debug, Default)]
pub struct Drafts {
    /// Its sections, at most 256.
    pub sections: Vec<Draft>,
    agents: Vec<AgentId>,
    authors: Vec<Author>,
}

/// A bundle in the making.
#[derive(Debug, Default)]
pub struct Open {
    drafts: Drafts,
    sections: HashMap<(bool, Bytes), u16>,
    speakers: HashMap<AgentId, u16>,
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
        self.drafts.authors.is_empty()
    }

    /// Entries in it.
    pub fn entries(&self) -> usize {
        self.drafts.authors.len()
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
        let draft = &mut self.drafts.sections[usize::from(section)];
        draft.count += 1;
        let before = draft.body.len();
        put_entry(&mut draft.body, agent, publication.sequence, &publication.extras, &publication.payload);
        self.bytes += draft.body.len() - before;
        let Publication { connection, number, attempts, .. } = publication;
        let bytes = u32::try_from(publication.window_bytes()).expect("payloads are bounded by 1 MiB");
        let (connection, number, attempts) = (connection.0, *number, *attempts);
        self.drafts.authors.push(Author { section, connection, number, bytes, attempts });
    }

    fn section_for(&mut self, publication: &Publication) -> u16 {
        let (directed, home) = match publication.target {
            Target::Subject => (false, None),
            Target::Agent(home) => (true, home),
        };
        let drafts = &mut self.drafts.sections;
        if let Some(last) = drafts.last()
            && last.directed == directed
            && last.subject == publication.subject
        {
            return u16::try_from(drafts.len() - 1).expect("at most 256 sections");
        }
        let next = u16::try_from(drafts.len()).expect("at most 256 sections");
        let section = *self.sections.entry((directed, publication.subject.clone())).or_insert(next);
        if section == next {
            // The subject may point into a chunk of the stream that it came in; it is kept by itself.
            let subject = Bytes::copy_from_slice(&publication.subject);
            self.bytes += SECTION_FIXED_BYTES + subject.len();
            drafts.push(Draft { subject, home, directed, count: 0, body: BytesMut::new() });
        }
        section
    }

    fn speaker(&mut self, agent: AgentId) -> u16 {
        let agents = &mut self.drafts.agents;
        if agents.last() == Some(&agent) {
            return u16::try_from(agents.len() - 1).expect("at most one agent an entry");
        }
        let next = u16::try_from(agents.len()).expect("at most one agent an entry");
        let index = *self.speakers.entry(agent).or_insert(next);
        if index == next {
            self.bytes += 16;
            agents.push(agent);
        }
        index
    }

    /// Takes out what is inside.
    pub fn take(&mut self) -> Drafts {
        self.sections.clear();
        self.speakers.clear();
        self.bytes = 0;
        std::mem::take(&mut self.drafts)
    }
}

impl Drafts {
    /// How many entries are inside.
    pub fn entries(&self) -> u64 {
        self.authors.len() as u64
    }

    /// One for each part, each section in the part that `part_of` names; keeps the order of sections
    /// within a part and of entries within a section.
    pub fn split(self, part_of: &[u16], parts: usize) -> Vec<Drafts> {
        let mut split: Vec<Drafts> = (0..parts).map(|_| Drafts::default()).collect();
        let mut place_of = Vec::with_capacity(self.sections.len());
        let mut speakers: Vec<HashMap<u16, u16>> = (0..parts).map(|_| HashMap::default()).collect();
        for (mut draft, part) in self.sections.into_iter().zip(part_of) {
            let part = usize::from(*part);
            let body = std::mem::take(&mut draft.body).freeze();
            let mut reader = Reader::new(&body);
            for _ in 0..draft.count {
                let entry = take_entry(&mut reader).expect("entries were put here by ourselves");
                let agents = &mut split[part].agents;
                let next = u16::try_from(agents.len()).expect("at most one agent an entry");
                let agent = *speakers[part].entry(entry.agent).or_insert(next);
                if agent == next {
                    agents.push(self.agents[usize::from(entry.agent)]);
                }
                put_entry(&mut draft.body, agent, entry.sequence, &entry.extras, entry.payload);
            }
            place_of.push(u16::try_from(split[part].sections.len()).expect("at most 256 sections"));
            split[part].sections.push(draft);
        }
        for author in self.authors {
            let section = usize::from(author.section);
            let part = usize::from(part_of[section]);
            split[part].authors.push(Author { section: place_of[section], ..author });
        }
        split
    }

    /// Numbers, hashes and signs what is inside.
    pub fn seal(self, me: &Me, key: &Signer, class: Class, sequence: u64, clock: u64) -> Sealed {
        let mut homes = Vec::with_capacity(self.sections.len());
        let sections = self.sections.into_iter().map(|draft| {
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
        let bundle = Bundle {
            class,
            mesh: me.mesh,
            origin: me.id,
            incarnation: me.incarnation,
            sequence,
            clock,
            previous: None,
            is_checkpoint: false,
            agents: self.agents,
            sections: sections.collect(),
            header: Bytes::new(),
            hash: [0; 32],
        };
        Sealed { bundle: bundle.signed_by(key), authors: self.authors, homes }
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
