//! Publications that were accepted and are not yet acknowledged, in the order of acceptance.

use std::collections::VecDeque;

use starling_core::wire::agent::Publish;
use tokio::sync::oneshot;

use crate::error::FailureReason;

/// What became of a publication.
pub(crate) type Outcome = Result<(), FailureReason>;

/// A publication that waits for its acknowledgement.
#[derive(Debug)]
pub(crate) struct Slot {
    pub publish: Publish,
    /// Bytes that it takes of the window.
    pub bytes: usize,
    /// Whoever wants to know what became of it; else a failure is listed for the next flush.
    pub done: Option<oneshot::Sender<Outcome>>,
    ordinal: u64,
}

/// The unacknowledged publications of a client. Their numbers on the connection follow from their
/// places: `base` is the number of the first.
#[derive(Debug)]
pub(crate) struct Window {
    slots: VecDeque<Option<Slot>>,
    base: u64,
    accepted: u64,
}

impl Default for Window {
    fn default() -> Window {
        Window { slots: VecDeque::new(), base: 1, accepted: 0 }
    }
}

impl Window {
    pub fn push(&mut self, publish: Publish, bytes: usize, done: Option<oneshot::Sender<Outcome>>) {
        self.accepted += 1;
        self.slots.push_back(Some(Slot { publish, bytes, done, ordinal: self.accepted }));
    }

    /// How many were ever accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether none of the first `accepted` publications waits.
    pub fn is_settled(&self, accepted: u64) -> bool {
        match self.slots.front() {
            Some(Some(first)) => first.ordinal > accepted,
            Some(None) | None => true,
        }
    }

    /// Takes out those numbered `from` to `to`, both included; others are not disturbed.
    pub fn settle(&mut self, from: u64, to: u64, mut each: impl FnMut(Slot)) {
        let first = from.max(self.base);
        let last = to.min((self.base + self.slots.len() as u64).saturating_sub(1));
        for number in first..=last {
            let place = usize::try_from(number - self.base).expect("the place is below a length");
            if let Some(slot) = self.slots.get_mut(place).and_then(Option::take) {
                each(slot);
            }
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// Numbers what is left from 1, for a new connection; takes out what must not be sent again.
    pub fn renumber(&mut self, keep: impl Fn(&Publish) -> bool, mut each: impl FnMut(Slot)) {
        let slots = std::mem::take(&mut self.slots);
        for slot in slots.into_iter().flatten() {
            if keep(&slot.publish) {
                self.slots.push_back(Some(slot));
            } else {
                each(slot);
            }
        }
        self.base = 1;
    }

    /// The publications in order.
    pub fn iter(&self) -> impl Iterator<Item = &Publish> {
        self.slots.iter().flatten().map(|slot| &slot.publish)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use starling_core::wire::bundle::Class;
    use starling_core::wire::entry::Extras;

    use super::*;

    fn window(count: u64) -> Window {
        let mut window = Window::default();
        for sequence in 0..count {
            let publish = Publish {
                agent: 0,
                class: Class::EventBulk,
                directed: false,
                subject: Bytes::from_static(b"a"),
                sequence,
                extras: Extras::default(),
                payload: Bytes::new(),
            };
            window.push(publish, 1, None);
        }
        window
    }

    fn sequences(window: &Window) -> Vec<u64> {
        window.iter().map(|publish| publish.sequence).collect()
    }

    #[test]
    fn ranges_settle_once_in_any_order_and_beyond_the_ends() {
        let mut window = window(6);
        let mut settled = Vec::new();
        for (from, to) in [(3, 4), (3, 3), (0, 1), (9, 5), (6, u64::MAX), (1, 2)] {
            window.settle(from, to, |slot| settled.push(slot.publish.sequence));
        }
        assert_eq!(settled, [2, 3, 0, 5, 1]);
        assert_eq!(sequences(&window), [4]);
        assert!(window.is_settled(4) && !window.is_settled(5));
    }

    #[test]
    fn a_new_connection_numbers_from_one_and_flush_still_counts_from_the_start() {
        let mut window = window(5);
        window.settle(2, 3, |_| {});
        let mut dropped = Vec::new();
        window.renumber(|publish| publish.sequence != 3, |slot| dropped.push(slot.publish.sequence));
        assert_eq!((sequences(&window), dropped), (vec![0, 4], vec![3]));
        window.settle(1, 1, |_| {});
        assert!(window.is_settled(4) && !window.is_settled(5));
        window.settle(2, 2, |_| {});
        assert!(window.is_settled(5));
    }

    #[test]
    fn an_empty_window_is_settled() {
        let mut window = Window::default();
        window.settle(0, u64::MAX, |_| unreachable!("nothing is there"));
        assert!(window.is_settled(0));
    }
}
