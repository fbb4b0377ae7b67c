//! Questions to nodes, and their answers for a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use starling_core::wire::request::{Ask, Refused, Request, Say};
use tokio::sync::{Mutex as Turn, mpsc, oneshot};

use crate::counts::Counts;

/// How long the own node's answer serves: so its machine is asked one thing four times a second.
const OWN_SERVES: Duration = Duration::from_millis(250);
/// How long another node's answer serves.
const OTHERS_SERVE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers that are kept; the oldest goes first.
const KEPT_MAX: usize = 1_024;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// The node that this serves.
    Own,
    /// The node that listens at this address, `host:port`.
    Node(String),
}

/// Something that a node shall answer.
#[derive(Debug)]
pub struct Question {
    /// Who.
    pub whom: Whom,
    /// What.
    pub ask: Ask,
    /// Where the answer goes: a refusal is one; without any, why there is none, for people.
    pub answer: oneshot::Sender<Result<Say, String>>,
}

/// An answer and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    came: Instant,
    pub said: Result<Arc<Say>, Unanswered>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unanswered {
    /// The node refused.
    Refused(Refused),
    /// It could not be asked, or did not answer in time.
    Silent(String),
}

type Place = Arc<Turn<Option<Answer>>>;
/// Answers by who was asked what, each with when.
type Kept = BTreeMap<(Whom, Vec<u8>), (Instant, Place)>;

/// Puts questions, one of a kind at a time.
#[derive(Debug)]
pub(crate) struct Asking {
    questions: mpsc::Sender<Question>,
    kept: Mutex<Kept>,
    counts: Arc<Counts>,
}

impl Asking {
    pub fn new(questions: mpsc::Sender<Question>, counts: Arc<Counts>) -> Asking {
        Asking { questions, kept: Mutex::default(), counts }
    }

    /// The answer to a question, up to a moment old. Who asks the same meanwhile waits for the same.
    pub async fn ask(&self, whom: &Whom, ask: Ask) -> Result<Arc<Say>, Unanswered> {
        let serves = match whom {
            Whom::Own => OWN_SERVES,
            Whom::Node(_) => OTHERS_SERVE,
        };
        let place = self.place(whom, &ask);
        let mut kept = place.lock().await;
        if let Some(answer) = kept.as_ref().filter(|answer| answer.came.elapsed() < serves) {
            return answer.said.clone();
        }
        let said = self.put(whom.clone(), ask).await;
        *kept = Some(Answer { came: Instant::now(), said: said.clone() });
        said
    }

    fn place(&self, whom: &Whom, ask: &Ask) -> Place {
        let bytes = Request { id: 0, ask: Some(ask.clone()) }.to_frame().to_vec();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (whom.clone(), bytes);
        if !kept.contains_key(&key) && kept.len() >= KEPT_MAX {
            let oldest = kept.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        let (used, place) = kept.entry(key).or_insert_with(|| (Instant::now(), Place::default()));
        *used = Instant::now();
        Arc::clone(place)
    }

    async fn put(&self, whom: Whom, ask: Ask) -> Result<Arc<Say>, Unanswered> {
        Counts::add(&self.counts.questions);
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.try_send(Question { whom, ask, answer });
        let said = match asked {
            Ok(()) => tokio::time::timeout(PATIENCE, answered).await,
            Err(_) => Ok(Ok(Err("too many questions wait, or the node has ended".to_owned()))),
        };
        let silent = match said {
            Ok(Ok(Ok(Say::Refused(refused)))) => return Err(Unanswered::Refused(refused)),
            Ok(Ok(Ok(say))) => return Ok(Arc::new(say)),
            Ok(Ok(Err(why))) => why,
            Ok(Err(_)) => "the node has ended".to_owned(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Counts::add(&self.counts.unanswered);
        Err(Unanswered::Silent(silent))
    }
}

#[cfg(test)]
mod tests {
    use starling_core::wire::request::{Empty, RefusedCode};

    use super::*;

    #[tokio::test]
    async fn many_who_ask_the_same_cost_one_question() {
        let (questions, mut asked) = mpsc::channel::<Question>(8);
        let asking = Arc::new(Asking::new(questions, Arc::default()));
        let node = tokio::spawn(async move {
            let mut count = 0;
            while let Some(question) = asked.recv().await {
                count += 1;
                let say = if question.whom == Whom::Own {
                    Say::Decided(count)
                } else {
                    RefusedCode::NotHere.because("no")
                };
                question.answer.send(Ok(say)).unwrap();
            }
            count
        });
        let all = (0..50).map(|_| {
            let asking = Arc::clone(&asking);
            tokio::spawn(async move { asking.ask(&Whom::Own, Ask::Overview(Empty {})).await })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(*one.await.unwrap().unwrap(), Say::Decided(1));
        }
        let refused = asking.ask(&Whom::Node("a:1".into()), Ask::Overview(Empty {})).await;
        assert!(matches!(refused, Err(Unanswered::Refused(refused)) if refused.text == "no"));
        drop(asking);
        assert_eq!(node.await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_answer_is_waited_for_briefly() {
        let (questions, _asked) = mpsc::channel::<Question>(1);
        let asking = Asking::new(questions, Arc::default());
        let silent = asking.ask(&Whom::Own, Ask::Overview(Empty {})).await;
        assert!(matches!(silent, Err(Unanswered::Silent(why)) if why.contains("5 s")));
    }
}
