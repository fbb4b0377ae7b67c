use std::time::{Duration, Instant};

use super::*;

const END: Duration = Duration::from_secs(3);

/// A vigil and an edge that answers what it is asked after a while, in steps of a millisecond.
struct Bench {
    vigil: Vigil,
    now: Instant,
    begun: Instant,
    heard: u64,
    sent: u64,
    /// When to look next, and which answers are due when and to a question of when.
    look: Instant,
    due: Vec<(Instant, Instant)>,
    asked: u64,
    worst: Standing,
}

impl Bench {
    fn new(first_answer: Duration) -> Bench {
        let now = Instant::now();
        let vigil = Vigil::new(now, first_answer, limits::ASK_REST, END);
        let (due, worst) = (Vec::new(), Standing::Answering);
        Bench { vigil, now, begun: now, heard: 0, sent: 0, look: now, due, asked: 0, worst }
    }

    /// Runs for so long; `answer` says how long a question asked now takes, if it is answered.
    fn run(&mut self, time: Duration, rest: Duration, answer: impl Fn(Duration) -> Option<Duration>) {
        self.worst = Standing::Answering;
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(1);
            let (now, mut answered) = (self.now, Vec::new());
            self.due.retain(|(due, asked)| {
                if *due <= now {
                    answered.push(now - *asked);
                }
                *due > now
            });
            for took in answered {
                self.heard += 1;
                self.vigil.answered(took, rest);
            }
            if now >= self.look {
                let turn = self.vigil.look(now, self.heard, self.sent);
                self.look = now + turn.next;
                self.worst = self.worst.max(turn.standing);
                if turn.asks {
                    self.sent += 1;
                    self.asked += 1;
                    self.due.extend(answer(now - self.begun).map(|takes| (now + takes, now)));
                }
            }
        }
    }

    /// How long until the edge, which answers nothing from now on, is thought of so.
    fn until(&mut self, standing: Standing) -> Duration {
        let begun = self.now;
        while self.vigil.standing() < standing {
            self.run(Duration::from_millis(1), limits::ASK_REST, |_| None);
            assert!(self.now - begun < Duration::from_secs(60), "never {standing:?}");
        }
        self.now - begun
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_near_edge_that_falls_silent_is_doubtful_then_silent_then_given_up() {
    let mut bench = Bench::new(millis(1));
    bench.run(Duration::from_secs(10), limits::ASK_REST, |_| Some(millis(1)));
    assert_eq!(bench.worst, Standing::Answering);
    bench.due.clear();
    let (doubtful, silent) = (bench.until(Standing::Doubtful), bench.until(Standing::Silent));
    assert!(doubtful >= DOUBT && doubtful <= DOUBT + limits::ASK_REST + millis(100), "{doubtful:?}");
    let silent = doubtful + silent;
    assert!(silent >= LEAVE && silent <= LEAVE + limits::ASK_REST + millis(100), "{silent:?}");
    let ended = silent + bench.until(Standing::Ended);
    assert!(ended >= END && ended <= END + limits::ASK_REST + millis(100), "{ended:?}");
}

#[test]
fn what_is_sent_is_waited_for_without_a_question() {
    let mut bench = Bench::new(millis(1));
    let rest = limits::ASK_REST_MAX;
    bench.run(Duration::from_secs(1), rest, |_| Some(millis(1)));
    let asked = bench.asked;
    bench.sent += 1;
    let doubtful = bench.until(Standing::Doubtful);
    assert!(bench.asked > asked, "what has no answer is asked after, whatever rest the edge wants");
    let silent = doubtful + bench.until(Standing::Silent);
    assert!(silent <= LEAVE + limits::ASK_REST + millis(100), "{silent:?}");
}

#[test]
fn a_far_edge_is_never_doubtful_and_takes_longer_to_be_left() {
    let mut bench = Bench::new(millis(400));
    bench.run(Duration::from_secs(60), limits::ASK_REST, |_| Some(millis(400)));
    assert_eq!(bench.worst, Standing::Answering);
    bench.due.clear();
    // The last answer may have been on its way already, for as long as it takes.
    assert!(bench.until(Standing::Silent) > LEAVE + millis(400));
}

#[test]
fn a_busy_edge_is_left_once_at_most_and_not_again_for_the_like() {
    let mut bench = Bench::new(millis(1));
    // Once in two seconds it answers nothing for so long that who does not know it would leave.
    let stalls = |at: Duration| {
        let phase = u64::try_from(at.as_millis() % 2000).unwrap();
        Some(millis(700_u64.saturating_sub(phase).max(5)))
    };
    bench.run(Duration::from_secs(4), limits::ASK_REST, stalls);
    bench.run(Duration::from_secs(60), limits::ASK_REST, stalls);
    assert_eq!(bench.worst, Standing::Answering);
    bench.run(Duration::from_secs(300), limits::ASK_REST, |_| Some(millis(5)));
    bench.due.clear();
    let silent = bench.until(Standing::Silent);
    assert!(silent < LEAVE + limits::ASK_REST + millis(200), "it is forgotten: {silent:?}");
}

#[test]
fn what_we_overslept_is_not_the_edges_silence() {
    let mut bench = Bench::new(millis(1));
    bench.run(Duration::from_secs(1), limits::ASK_REST, |_| Some(millis(1)));
    bench.sent += 1;
    bench.vigil.look(bench.now, bench.heard, bench.sent);
    let turn = bench.vigil.look(bench.now + Duration::from_secs(60), bench.heard, bench.sent);
    assert_eq!(turn.standing, Standing::Answering);
}

#[test]
fn an_edge_is_asked_as_often_as_it_wants_and_seldom_while_it_is_heard() {
    let mut bench = Bench::new(millis(1));
    let rest = Duration::from_secs(2);
    bench.run(Duration::from_secs(60), rest, |_| Some(millis(1)));
    assert!((28..=31).contains(&bench.asked), "{} questions", bench.asked);
    bench.asked = 0;
    for _ in 0..600 {
        bench.heard += 1;
        bench.run(millis(100), rest, |_| Some(millis(1)));
    }
    assert!((2..=5).contains(&bench.asked), "{} questions", bench.asked);
}
