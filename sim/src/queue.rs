//! What is yet to happen, in the order of time; of several things at one time, the first that was
//! put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use starling_core::time::Time;

/// A queue by time. Keys and values are kept apart, so that large values are not moved when the
/// order of keys is kept up.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    keys: BinaryHeap<Reverse<(Time, u64, u32)>>,
    values: Vec<Option<T>>,
    free: Vec<u32>,
    next: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { keys: BinaryHeap::new(), values: Vec::new(), free: Vec::new(), next: 0 }
    }
}

impl<T> Queue<T> {
    /// Puts in what happens at `at`.
    pub fn push(&mut self, at: Time, value: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            u32::try_from(self.values.len() - 1).expect("memory ends before four billion things to come")
        });
        self.values[place as usize] = Some(value);
        self.next += 1;
        self.keys.push(Reverse((at, self.next, place)));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.keys.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next thing out.
    pub fn pop(&mut self) -> Option<(Time, T)> {
        let Reverse((at, _, place)) = self.keys.pop()?;
        self.free.push(place);
        let value = self.values[place as usize].take().expect("a key stands for one value");
        Some((at, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_by_time_and_then_as_they_were_put_in() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(Time::from_millis(at), what);
        }
        let mut seen = String::new();
        assert_eq!(queue.next_at(), Some(Time::from_millis(1)));
        while let Some((_, what)) = queue.pop() {
            seen.push(what);
            if what == 'b' {
                queue.push(Time::from_millis(5), 'e');
            }
        }
        assert_eq!(seen, "abcde");
        assert_eq!(queue.next_at(), None);
    }
}
