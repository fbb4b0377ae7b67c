//! A map from small numbers, most of which are in use, to small values.
//!
//! Clients choose the indices of their agents, below [`crate::limits::AGENTS_PER_CONNECTION_MAX`] and
//! mostly in a row: then a value takes little more than its own bytes. One far index costs a page of
//! 64 values and eight bytes for each page before it.

const PAGE: usize = 64;

/// Values by small index.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    pages: Vec<Option<Box<Page<T>>>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Page<T> {
    /// A bit for each value that is there.
    taken: u64,
    values: [T; PAGE],
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
        let page = self.pages.get(page)?.as_deref()?;
        (page.taken >> bit & 1 == 1).then(|| &page.values[bit])
    }

    /// Sets the value at an index; the one that was there. Whoever takes indices from outside bounds
    /// them first.
    pub fn insert(&mut self, index: u32, value: T) -> Option<T> {
        let before = self.remove(index);
        let (page, bit) = place(index);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let empty = || Box::new(Page { taken: 0, values: [T::default(); PAGE] });
        let page = self.pages[page].get_or_insert_with(empty);
        page.taken |= 1 << bit;
        page.values[bit] = value;
        self.len += 1;
        before
    }

    /// Takes the value at an index out; an empty page is given back.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (at, bit) = place(index);
        let page = self.pages.get_mut(at)?.as_deref_mut()?;
        if page.taken >> bit & 1 == 0 {
            return None;
        }
        page.taken &= !(1 << bit);
        let value = page.values[bit];
        if page.taken == 0 {
            self.pages[at] = None;
        }
        self.len -= 1;
        Some(value)
    }

    /// All values with their indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let pages = (0_u32..).zip(&self.pages).filter_map(|(at, page)| Some((at, page.as_deref()?)));
        pages.flat_map(|(at, page)| {
            let taken = (0..PAGE).filter(|bit| page.taken >> bit & 1 == 1);
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
        paged.insert(65_535, 1_u32);
        assert_eq!(paged.pages.iter().flatten().count(), 1);
        paged.remove(65_535);
        assert_eq!(paged.pages.iter().flatten().count(), 0);
    }
}
