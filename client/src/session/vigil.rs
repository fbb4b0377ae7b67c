//! Whether the edge of a session still answers: asks where it is quiet, and says when it is doubtful.
//!
//! A session owes its edge no patience by the clock alone. What counts is how long something that
//! wants an answer has had none, in time during which this process ran, against how long answers
//! take here: their smoothed time and variation (RFC 6298), and the slowest of late, which fades
//! over half a minute. So a busy machine and a far edge are waited for, and a dead edge is not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::Connection;
use starling_core::limits;
use starling_core::rtt::SmoothedRtt;
use starling_net::probe::Probe;
use tokio::sync::watch;

use super::tasks::{CLOSE_LEAVING, Shared};

/// How long an answer may be late before its edge is doubtful, beyond what answers take.
const DOUBT: Duration = Duration::from_millis(200);
/// How long it may be late before its edge is held for silent, beyond twice what answers take.
const LEAVE: Duration = Duration::from_millis(450);
/// How often an answer that is missing is looked for.
const LOOK: Duration = Duration::from_millis(25);
/// How often a question that has no answer is repeated, or as soon as answers usually come.
const REPEAT: Duration = Duration::from_millis(100);
/// A session that hears its edge anyway asks for each so many rests, to know how long answers take.
const RESTS_HEARD: u32 = 8;
/// Over how long the slowest answer is forgotten.
const FADES: Duration = Duration::from_secs(30);

/// What is to be thought of a session's edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers, or is not asked.
    Answering,
    /// An answer is late: time to have another edge ready.
    Doubtful,
    /// An answer is so late that who has another edge goes there. It may still come.
    Silent,
    /// It answered nothing for as long as the settings say; the session is closed.
    Ended,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    standing: Standing,
    /// Whether to ask now.
    asks: bool,
    /// When to look again.
    next: Duration,
}

/// What a session knows of its edge's answers. Time is an argument.
#[derive(Debug)]
struct Vigil {
    /// How often to ask, at least; and after how long without an answer it ends.
    rest_min: Duration,
    end: Duration,
    rest: Duration,
    answers: SmoothedRtt,
    slowest: Duration,
    /// When the last look was, and how long after it the next was to be.
    looked: Instant,
    planned: Duration,
    /// Datagrams heard and frames sent that want an answer, by the last look.
    heard: u64,
    sent: u64,
    /// How long nothing was heard, and how long nothing was asked.
    quiet: Duration,
    unasked: Duration,
    /// How long something that was sent after the last word from the edge has had no answer.
    unanswered: Option<Duration>,
}

impl Vigil {
    fn new(now: Instant, first_answer: Duration, rest_min: Duration, end: Duration) -> Vigil {
        Vigil {
            rest_min,
            end,
            rest: rest_min,
            answers: SmoothedRtt::first(first_answer),
            slowest: first_answer,
            looked: now,
            planned: Duration::ZERO,
            heard: 0,
            sent: 0,
            quiet: Duration::ZERO,
            // Asks at once: the edge says with its answer how often it wants to be asked.
            unasked: Duration::MAX,
            unanswered: None,
        }
    }

    /// An answer took so long, and the edge wants to rest for so long until the next.
    fn answered(&mut self, took: Duration, rest: Duration) {
        self.answers = self.answers.next(took);
        self.slowest = self.slowest.max(took).min(self.end);
        self.rest = rest.clamp(self.rest_min, limits::ASK_REST_MAX.max(self.rest_min));
    }

    /// What answers take here, at worst.
    fn usual(&self) -> Duration {
        self.answers.timeout().max(self.slowest)
    }

    /// Looks at what was heard and sent in all.
    fn look(&mut self, now: Instant, heard: u64, sent: u64) -> Turn {
        // What this process overslept is not the edge's silence: what came meanwhile waits unread.
        let passed = now.saturating_duration_since(self.looked).min(self.planned * 2);
        self.looked = now;
        self.slowest -= self.slowest.min(self.slowest.mul_f64(passed.as_secs_f64() / FADES.as_secs_f64()));
        self.unasked = self.unasked.saturating_add(passed);
        if heard != self.heard {
            if let Some(waited) = self.unanswered.take() {
                self.slowest = self.slowest.max(waited).min(self.end);
            }
            (self.heard, self.sent, self.quiet) = (heard, sent, Duration::ZERO);
        } else {
            self.quiet += passed;
            self.unanswered = match self.unanswered {
                Some(waited) => Some(waited + passed),
                None if sent != self.sent => Some(Duration::ZERO),
                None => None,
            };
        }
        let asks = match self.unanswered {
            // A question may get lost, and QUIC is in less of a hurry to repeat it.
            Some(_) => self.unasked >= self.usual().max(REPEAT),
            None if self.quiet >= self.rest => self.unasked >= self.rest,
            None => self.unasked >= self.rest * RESTS_HEARD,
        };
        if asks {
            self.unasked = Duration::ZERO;
        }
        let is_waiting = asks || self.unanswered.is_some();
        // What is sent meanwhile is looked after as soon as where the edge is asked often.
        let rest = self.rest.saturating_sub(self.quiet).min(self.rest_min);
        self.planned = if is_waiting { LOOK } else { rest.max(LOOK) };
        Turn { standing: self.standing(), asks, next: self.planned }
    }

    fn standing(&self) -> Standing {
        let usual = self.usual();
        match self.unanswered {
            Some(waited) if waited >= self.end => Standing::Ended,
            Some(waited) if waited >= LEAVE + usual * 2 => Standing::Silent,
            Some(waited) if waited >= DOUBT + usual => Standing::Doubtful,
            Some(_) | None => Standing::Answering,
        }
    }
}

/// A session's vigil, as its task, whoever reads its datagrams and its owner see it.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    vigil: Mutex<Vigil>,
    standing: watch::Sender<Standing>,
}

impl Watch {
    /// Begins once a session is open.
    pub fn new(connection: &Connection, rest_min: Duration, end: Duration) -> Watch {
        let begun = Instant::now();
        let vigil = Vigil::new(begun, connection.rtt(), rest_min, end);
        Watch { begun, vigil: Mutex::new(vigil), standing: watch::Sender::new(Standing::Answering) }
    }

    /// What is to be thought of the edge, now and later.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether the edge was given up.
    pub fn has_ended(&self) -> bool {
        *self.standing.borrow() == Standing::Ended
    }

    /// The edge answered the question that was asked at `asked` nanoseconds.
    pub fn answered(&self, asked: u64, rest_ms: u32) {
        let took = self.begun.elapsed().saturating_sub(Duration::from_nanos(asked));
        let mut vigil = self.vigil.lock().unwrap_or_else(PoisonError::into_inner);
        vigil.answered(took, Duration::from_millis(u64::from(rest_ms)));
    }

    fn look(&self, connection: &Connection) -> Turn {
        let stats = connection.stats();
        let sent = stats.frame_tx.stream + stats.frame_tx.datagram + stats.frame_tx.ping;
        let mut vigil = self.vigil.lock().unwrap_or_else(PoisonError::into_inner);
        vigil.look(Instant::now(), stats.udp_rx.datagrams, sent)
    }

    fn ask(&self, connection: &Connection) {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if connection.send_datagram(Probe::Ask(now).to_bytes()).is_err() {
            // The edge takes no datagrams, or the session has ended: the silence will tell.
        }
    }
}

/// Asks and looks until the session ends, which it does where an edge answers nothing for too long.
pub(super) async fn keep(connection: &Connection, shared: &Shared) {
    let watch = &shared.watch;
    loop {
        let turn = watch.look(connection);
        watch.standing.send_if_modified(|standing| {
            let has_changed = *standing != turn.standing;
            *standing = turn.standing;
            has_changed
        });
        if turn.standing == Standing::Ended {
            return connection.close(CLOSE_LEAVING, b"no answer");
        }
        if turn.asks {
            watch.ask(connection);
        }
        tokio::time::sleep(turn.next).await;
    }
}

#[cfg(test)]
mod tests;
