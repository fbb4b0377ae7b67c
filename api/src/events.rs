//! Recent events, and who hears of new ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use starling_core::event::Event;
use starling_observe::Level;
use starling_observe::story::story;
use tokio::sync::broadcast;

/// Events that are kept.
pub(crate) const KEPT_MAX: usize = 1_024;
/// What waits for one listener of the stream; one that is slower is told to load anew.
const QUEUE_MAX: usize = 64;

/// An event as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// Grows by one with each event of this start of the node.
    pub number: u64,
    pub at_ms: u64,
    pub level: &'static str,
    pub kind: &'static str,
    pub subject: Option<String>,
    pub text: String,
}

/// What goes to the listeners of the stream.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Event(Arc<Told>),
    /// The overview, as JSON in one line.
    Overview(Arc<str>),
}

/// The ring of events.
#[derive(Debug)]
pub(crate) struct Events {
    /// Tells this start of the node from others.
    pub start_ms: u64,
    ring: Mutex<Ring>,
    news: broadcast::Sender<News>,
}

#[derive(Debug, Default)]
struct Ring {
    told: VecDeque<Arc<Told>>,
    next: u64,
}

/// What a listener missed that was away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// All of it, oldest first.
    These(Vec<Arc<Told>>),
    /// More than is kept, or the node has started again: it has to load anew.
    TooMuch,
}

impl Default for Events {
    fn default() -> Events {
        Events { start_ms: wall_ms(), ring: Mutex::default(), news: broadcast::channel(QUEUE_MAX).0 }
    }
}

impl Events {
    /// Keeps an event and tells who listens, unless it is of a level for tracing alone.
    pub fn record(&self, event: &Event) {
        let story = story(event);
        if story.level > Level::Debug {
            return;
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.next += 1;
        let told = Arc::new(Told {
            number: ring.next,
            at_ms: wall_ms(),
            level: story.level.name(),
            kind: story.kind,
            subject: story.subject,
            text: story.text,
        });
        if ring.told.len() == KEPT_MAX {
            ring.told.pop_front();
        }
        ring.told.push_back(Arc::clone(&told));
        // Within the lock, so that listeners hear them in order; without listeners nobody is told.
        self.news.send(News::Event(told)).ok();
    }

    /// Sends the overview to who listens.
    pub fn show(&self, overview: Arc<str>) {
        self.news.send(News::Overview(overview)).ok();
    }

    /// The newest events that are as loud as `level`, newest first.
    pub fn recent(&self, count: usize, is_wanted: impl Fn(&Told) -> bool) -> Vec<Arc<Told>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.told.iter().rev().filter(|told| is_wanted(told)).take(count).cloned().collect()
    }

    /// Begins to listen: what came after `last`, and what comes from now on. `None` begins with now.
    pub fn listen(&self, last: Option<&str>) -> (Missed, broadcast::Receiver<News>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = self.news.subscribe();
        let Some(last) = last else { return (Missed::These(Vec::new()), heard) };
        let number = last.split_once('-').and_then(|(start, number)| {
            let is_this = start.parse() == Ok(self.start_ms);
            number.parse::<u64>().ok().filter(|number| is_this && *number <= ring.next)
        });
        let first = ring.told.front().map_or(ring.next + 1, |told| told.number);
        let missed = match number {
            Some(number) if number + 1 >= first => {
                Missed::These(ring.told.iter().filter(|told| told.number > number).cloned().collect())
            }
            Some(_) | None => Missed::TooMuch,
        };
        (missed, heard)
    }

    /// The id by which the stream names an event.
    pub fn id_of(&self, told: &Told) -> String {
        format!("{}-{}", self.start_ms, told.number)
    }

    /// The id of the newest event.
    pub fn newest(&self) -> String {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}-{}", self.start_ms, ring.next)
    }
}

/// Milliseconds of the wall clock.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(number: u64) -> Event {
        Event::PeerLeft { name: format!("node-{number}") }
    }

    #[test]
    fn who_was_away_briefly_gets_what_it_missed_and_others_load_anew() {
        let events = Events::default();
        (1..=3).for_each(|number| events.record(&left(number)));
        let id = |number: u64| format!("{}-{number}", events.start_ms);
        let numbers = |missed: Missed| match missed {
            Missed::These(told) => told.iter().map(|told| told.number).collect::<Vec<_>>(),
            Missed::TooMuch => vec![0],
        };
        assert_eq!(numbers(events.listen(None).0), [0_u64; 0]);
        assert_eq!(numbers(events.listen(Some(&id(1))).0), [2, 3]);
        assert_eq!(numbers(events.listen(Some(&id(3))).0), [0_u64; 0]);
        for wrong in ["", "x", "1-2", &id(4), &id(u64::MAX)] {
            assert_eq!(numbers(events.listen(Some(wrong)).0), [0], "{wrong}");
        }
        (0..KEPT_MAX as u64).for_each(|number| events.record(&left(number)));
        assert_eq!(events.recent(usize::MAX, |_| true).len(), KEPT_MAX);
        assert_eq!(numbers(events.listen(Some(&id(1))).0), [0]);
        assert_eq!(numbers(events.listen(Some(&id(KEPT_MAX as u64 + 2))).0), [KEPT_MAX as u64 + 3]);
    }
}
