//! The overlay of a region: a union of rings, the same at every node that knows the same members.
//!
//! Each of [`RINGS`] rings is a random order of the members, and a member is linked with the one before
//! and the one after it in each. A union of random Hamiltonian cycles is an expander with high
//! probability (Law and Siu, "Distributed Construction of Random Expander Networks", INFOCOM 2003; used
//! for observers by Suresh et al., "Stable and Consistent Membership at Scale with Rapid", ATC 2018).
//! There cycles are built by random walks; here a position is BLAKE3 of the seed and the member's id,
//! so nothing is agreed on, and a join or a death moves only its own links. One hash yields the
//! positions in all rings: four bytes each, equal ones ordered by id.
//!
//! Up to [`FULL_MESH_MAX`] members everyone is linked with everyone and there are no rings.
//!
//! A member takes 8 bytes for its id and 4 for each ring: 56 in all, 112 KB for 2,000 members. An overlay
//! is meant to be shared in an `Arc`; `Arc::make_mut(&mut overlay).join(id)` copies it only where an
//! earlier view still has it.

use crate::hash::grow_by_little;
use crate::id::ShortId;

/// Up to this many members everyone is linked with everyone.
pub const FULL_MESH_MAX: usize = 64;
/// Rings of a larger region. The number does not follow the number of members, or else one more
/// member would change a link of everyone.
pub const RINGS: usize = 12;
/// Links of a member beyond a full mesh, at the most.
pub const DEGREE_MAX: usize = 2 * RINGS;
/// Members at the most; of more the ones with the greatest ids stay out.
pub const MEMBERS_MAX: usize = 16_384;

/// A member's place in the sorted list of members; means something within one overlay only.
pub(super) type Index = u16;

/// The links between the members of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    seed: u64,
    name: u64,
    ids: Vec<ShortId>,
    /// None in a full mesh.
    rings: Vec<Ring>,
}

/// One ring: who is at which place, and at which place each member is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ring {
    order: Vec<Index>,
    places: Vec<Index>,
}

impl Overlay {
    /// The overlay of `members`, in any order, repeated or not.
    pub fn new(seed: u64, members: &[ShortId]) -> Overlay {
        let mut ids = members.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(MEMBERS_MAX);
        ids.shrink_to_fit();
        let mut overlay = Overlay { seed, name: name_of(&ids), ids, rings: Vec::new() };
        overlay.lay_rings();
        overlay
    }

    /// Adds a member: O(rings x log n) hashes, and a shift of the tables. False where it is one already
    /// or there is no room.
    pub fn join(&mut self, id: ShortId) -> bool {
        let Err(index) = self.ids.binary_search(&id) else { return false };
        if self.ids.len() >= MEMBERS_MAX {
            return false;
        }
        grow_by_little(&mut self.ids);
        self.ids.insert(index, id);
        self.name = name_of(&self.ids);
        if self.rings.is_empty() {
            self.lay_rings();
            return true;
        }
        let positions = positions(self.seed, id);
        for (number, ring) in self.rings.iter_mut().enumerate() {
            ring.make_room(index as Index);
            let place = ring.order.partition_point(|other| {
                let other = self.ids[usize::from(*other)];
                (self::positions(self.seed, other)[number], other) < (positions[number], id)
            });
            ring.insert(index as Index, place);
        }
        true
    }

    /// Takes a member out; false where it is none.
    pub fn leave(&mut self, id: ShortId) -> bool {
        let Ok(index) = self.ids.binary_search(&id) else { return false };
        self.ids.remove(index);
        self.name = name_of(&self.ids);
        if self.ids.len() <= FULL_MESH_MAX {
            self.rings = Vec::new();
        }
        for ring in &mut self.rings {
            ring.remove(index as Index);
        }
        true
    }

    /// What orders the rings.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The name of the view: a hash of the sorted members, never zero.
    ///
    /// The seed has no part in it: around a rotation of the seed, two overlays of the same members have
    /// the same name.
    pub fn name(&self) -> u64 {
        self.name
    }

    /// The members, sorted.
    pub fn members(&self) -> &[ShortId] {
        &self.ids
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether `id` is a member.
    pub fn contains(&self, id: ShortId) -> bool {
        self.index(id).is_some()
    }

    /// With whom `id` is linked: sorted, each once; nobody where it is no member.
    pub fn neighbours(&self, id: ShortId) -> Vec<ShortId> {
        let Some(index) = self.index(id) else { return Vec::new() };
        let degree = if self.rings.is_empty() { self.ids.len() } else { DEGREE_MAX };
        let mut neighbours = Vec::with_capacity(degree);
        self.for_neighbours(index, |other| neighbours.push(self.id(other)));
        neighbours.sort_unstable();
        neighbours.dedup();
        neighbours
    }

    /// Who watches whether `id` lives: its neighbours, since a probe to a stranger would cost a handshake.
    pub fn observers(&self, id: ShortId) -> Vec<ShortId> {
        self.neighbours(id)
    }

    /// Whether two members are linked.
    pub fn is_linked(&self, one: ShortId, other: ShortId) -> bool {
        let (Some(one), Some(other)) = (self.index(one), self.index(other)) else { return false };
        let mut is_linked = false;
        self.for_neighbours(one, |neighbour| is_linked |= neighbour == other);
        is_linked
    }

    /// How many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let ring = |ring: &Ring| (ring.order.capacity() + ring.places.capacity()) * size_of::<Index>();
        size_of::<Overlay>()
            + self.ids.capacity() * size_of::<ShortId>()
            + self.rings.capacity() * size_of::<Ring>()
            + self.rings.iter().map(ring).sum::<usize>()
    }

    pub(super) fn index(&self, id: ShortId) -> Option<Index> {
        self.ids.binary_search(&id).ok().map(|index| index as Index)
    }

    pub(super) fn id(&self, index: Index) -> ShortId {
        self.ids[usize::from(index)]
    }

    /// Calls `visit` with each neighbour of `index`, in an order that is the same everywhere; one that is
    /// a neighbour in several rings comes several times.
    pub(super) fn for_neighbours(&self, index: Index, mut visit: impl FnMut(Index)) {
        if self.rings.is_empty() {
            (0..self.ids.len() as Index).filter(|other| *other != index).for_each(visit);
            return;
        }
        for ring in &self.rings {
            let place = usize::from(ring.places[usize::from(index)]);
            let last = ring.order.len() - 1;
            visit(ring.order[if place == 0 { last } else { place - 1 }]);
            visit(ring.order[if place == last { 0 } else { place + 1 }]);
        }
    }

    fn lay_rings(&mut self) {
        if self.ids.len() <= FULL_MESH_MAX {
            return;
        }
        let positions: Vec<[u32; RINGS]> = self.ids.iter().map(|id| positions(self.seed, *id)).collect();
        let mut keys = Vec::with_capacity(self.ids.len());
        self.rings = (0..RINGS)
            .map(|number| {
                keys.clear();
                // Indices are in the order of ids, so they decide between equal positions.
                let key = |(index, at): (usize, &[u32; RINGS])| u64::from(at[number]) << 16 | index as u64;
                keys.extend(positions.iter().enumerate().map(key));
                keys.sort_unstable();
                Ring::of_order(keys.iter().map(|key| *key as Index).collect())
            })
            .collect();
    }
}

impl Ring {
    fn of_order(order: Vec<Index>) -> Ring {
        let mut places = vec![0; order.len()];
        for (place, index) in order.iter().enumerate() {
            places[usize::from(*index)] = place as Index;
        }
        Ring { order, places }
    }

    /// Renames the members from `index` on, so that it is free.
    fn make_room(&mut self, index: Index) {
        for other in &mut self.order {
            *other += Index::from(*other >= index);
        }
    }

    /// Puts the member `index`, for which there is room, at `place`.
    fn insert(&mut self, index: Index, place: usize) {
        for other in &mut self.places {
            *other += Index::from(usize::from(*other) >= place);
        }
        grow_by_little(&mut self.order);
        grow_by_little(&mut self.places);
        self.order.insert(place, index);
        self.places.insert(usize::from(index), place as Index);
    }

    fn remove(&mut self, index: Index) {
        let place = self.places.remove(usize::from(index));
        self.order.remove(usize::from(place));
        for other in &mut self.places {
            *other -= Index::from(*other > place);
        }
        for other in &mut self.order {
            *other -= Index::from(*other > index);
        }
    }
}

/// The name of the view whose sorted members are `ids`; never zero, which on the wire means none.
pub fn name_of(ids: &[ShortId]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let mut block = [0; 1024];
    for some in ids.chunks(block.len() / 8) {
        for (bytes, id) in block.chunks_exact_mut(8).zip(some) {
            bytes.copy_from_slice(&id.0.to_le_bytes());
        }
        hasher.update(&block[..some.len() * 8]);
    }
    let mut name = [0; 8];
    name.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(name).max(1)
}

/// Where `id` is in each ring: words of one block of BLAKE3's output.
fn positions(seed: u64, id: ShortId) -> [u32; RINGS] {
    let mut input = *b"starling ring 01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    input[16..24].copy_from_slice(&seed.to_le_bytes());
    input[24..].copy_from_slice(&id.0.to_le_bytes());
    let mut block = [0; 64];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&input);
    hasher.finalize_xof().fill(&mut block);
    let mut positions = [0; RINGS];
    for (position, bytes) in positions.iter_mut().zip(block.chunks_exact(4)) {
        *position = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    positions
}

#[cfg(test)]
pub(super) mod tests;
