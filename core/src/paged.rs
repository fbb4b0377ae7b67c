//! A map from small numbers, most of which are in use, to small values.
//!
//! Clients choose the indices of their agents, below [`crate::limits::AGENTS_PER_CONNECTION_MAX`] and
//! mostly in a row: then a value takes little more than its own bytes. A page of 64 values has room up to
//! the last of them, rounded up to a power of two: most connections have one agent. One far index costs a
//! page and 24 bytes for each page before it.

const PAGE: usize = 64;

/// Values by small index.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    pages: Vec<Page<T>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Page<T> {
    /// A bit for each value that is there.
    taken: u64,
    values: Box<[T]>,
}

impl<T> Default for Page<T> {
    fn default() -> Page<T> {
        Page { taken: 0, values: Box::default() }
    }
}

impl<T: Copy + Default> Page<T> {
    fn has(&self, bit: usize) -> bool {
        self.taken >> bit & 1 == 1
    }

    fn make_room_for(&mut self, bit: usize) {
        if bit >= self.values.len() {
            let mut values = vec![T::default(); (bit + 1).next_power_of_two()];
            values[..self.values.len()].copy_from_slice(&self.values);
            self.values = values.into_boxed_slice();
        }
    }
}

impl<T> Default for Paged<T> {
    fn default() -> Paged<T> {
        Paged { pages: Vec::new(), len: 0 }
    }
}

impl<T: Copy + Default> Paged<T> {
    /// How many values are there.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at an index.
    pub fn get(&self, index: u32) -> Option<&T> {
        let (page, bit) = place(index);
        let page = self.pages.get(page)?;
        page.has(bit).then(|| &page.values[bit])
    }

    /// The value at an index, to be changed.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (page, bit) = place(index);
        let page = self.pages.get_mut(page)?;
        page.has(bit).then(|| &mut page.values[bit])
    }

    /// Sets the value at an index; the one that was there. Whoever takes indices from outside bounds
    /// them first.
    pub fn insert(&mut self, index: u32, value: T) -> Option<T> {
        if let Some(present) = self.get_mut(index) {
            return Some(std::mem::replace(present, value));
        }
        let (page, bit) = place(index);
        if self.pages.len() <= page {
            // Most have one page, for which a list's usual first room is four.
            self.pages.reserve_exact(page + 1 - self.pages.len());
            self.pages.resize_with(page + 1, Page::default);
        }
        let page = &mut self.pages[page];
        page.make_room_for(bit);
        page.taken |= 1 << bit;
        page.values[bit] = value;
        self.len += 1;
        None
    }

    /// Takes the value at an index out; an empty page is given back.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (at, bit) = place(index);
        let page = self.pages.get_mut(at)?;
        if !page.has(bit) {
            return None;
        }
        page.taken &= !(1 << bit);
        let value = page.values[bit];
        if page.taken == 0 {
            *page = Page::default();
        }
        self.len -= 1;
        Some(value)
    }

    /// All values with their indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0_u32..).zip(&self.pages).flat_map(|(at, page)| {
            let taken = (0..page.values.len()).filter(|bit| page.has(*bit));
            taken.map(move |bit| (at * PAGE as u32 + bit as u32, &page.values[bit]))
        })
    }
}

fn place(index: u32) -> (usize, usize) {
    (index as usize / PAGE, index as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0_u32..300, any::<u32>(), any::<bool>()), 0..400)) {
            let mut paged = Paged::default();
            let mut model = BTreeMap::new();
            for (index, value, is_added) in steps {
                if is_added {
                    prop_assert_eq!(paged.insert(index, value), model.insert(index, value));
                } else {
                    prop_assert_eq!(paged.remove(index), model.remove(&index));
                }
                prop_assert_eq!(paged.get(index), model.get(&index));
                prop_assert_eq!(paged.get_mut(index), model.get_mut(&index));
                prop_assert_eq!(paged.len(), model.len());
                prop_assert_eq!(paged.is_empty(), model.is_empty());
            }
            let listed: Vec<(u32, u32)> = paged.iter().map(|(index, value)| (index, *value)).collect();
            prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_far_index_is_cheap_and_an_empty_page_is_given_back() {
        let mut paged = Paged::default();
        let room = |paged: &Paged<u32>| paged.pages.iter().map(|page| page.values.len()).sum::<usize>();
        paged.insert(65_535, 1_u32);
        assert_eq!(room(&paged), 64);
        paged.insert(0, 1);
        assert_eq!(room(&paged), 65, "one agent has room for one");
        paged.remove(65_535);
        assert_eq!(room(&paged), 1);
    }
}
