//! One owner at a time, and nobody waits.
//!
//! Whoever brings an item leaves it in a queue and tries to take the turn. Who gets it works off the
//! queue, the others' items included, in the order they were left; who does not get it goes on, for
//! the owner will see the item. `try_lock` is used as a flag that the compiler understands: it is
//! never waited for.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, TryLockError};

use crossbeam::queue::SegQueue;

/// State with a queue of work before it.
#[derive(Debug)]
pub struct Turn<T, S> {
    queue: SegQueue<T>,
    state: Mutex<S>,
}

impl<T, S> Turn<T, S> {
    /// Nothing queued.
    pub fn new(state: S) -> Turn<T, S> {
        Turn { queue: SegQueue::new(), state: Mutex::new(state) }
    }

    /// Queues `item`, and does all queued work if nobody else is at it.
    ///
    /// The queue is bounded by its callers: each holds a place in a bounded lane or window.
    pub fn submit(&self, item: T, work: impl FnMut(&mut S, T)) {
        self.queue.push(item);
        self.run(work, |_| {});
    }

    /// As [`Turn::submit`]; `settle` is called once the queue is empty, before the turn is given up.
    pub fn submit_and_settle(&self, item: T, work: impl FnMut(&mut S, T), settle: impl FnMut(&mut S)) {
        self.queue.push(item);
        self.run(work, settle);
    }

    fn run(&self, mut work: impl FnMut(&mut S, T), mut settle: impl FnMut(&mut S)) {
        loop {
            // Pairs with the fence below: either the owner sees our item, or we see the turn free.
            fence(Ordering::SeqCst);
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => {
                    panic!("an owner of this shard panicked; its order is unknown")
                }
            };
            while let Some(item) = self.queue.pop() {
                work(&mut state, item);
            }
            settle(&mut state);
            drop(state);
            fence(Ordering::SeqCst);
            if self.queue.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_item_is_worked_off_once_and_in_each_senders_order() {
        let turn = Arc::new(Turn::new(Vec::new()));
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let turn = Arc::clone(&turn);
                std::thread::spawn(move || {
                    for item in 0..20_000u64 {
                        turn.submit((thread, item), |seen: &mut Vec<_>, item| seen.push(item));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        turn.run(|_, _| panic!("an item was left behind"), |_| {});
        let seen = turn.state.lock().unwrap();
        assert_eq!(seen.len(), 80_000);
        for thread in 0..4 {
            let of_thread: Vec<u64> = seen.iter().filter(|(t, _)| *t == thread).map(|(_, i)| *i).collect();
            assert!(of_thread.iter().copied().eq(0..20_000));
        }
    }
}
