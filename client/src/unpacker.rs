//! Takes entries out of deliveries, each once.

use std::sync::Arc;

use starling_core::wire::agent::{Deliver, Receivers};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::{DecodeError, Reader};
use starling_core::wire::entry::take_entry;

use crate::copies::Arrival;
use crate::feed::{Event, Feed, Item, Notice};

/// Takes entries out of what a feed has.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    current: Option<Rest>,
}

/// What is left of a delivery.
#[derive(Debug)]
struct Rest {
    arrival: Arrival,
    deliver: Arc<Deliver>,
    subject_hash: u64,
    at: usize,
    left: u16,
}

impl Unpacker {
    /// The next message or gap; `None` once nothing will come.
    pub async fn next(&mut self, feed: &Feed) -> Option<Notice> {
        loop {
            if let Some(notice) = self.unpack(feed) {
                return Some(notice);
            }
            match feed.next().await? {
                Item::Deliver(arrival, deliver) => {
                    let subject_hash = feed.copies().subject_hash(&deliver);
                    let left = deliver.count;
                    self.current = Some(Rest { arrival, deliver, subject_hash, at: 0, left });
                }
                Item::Gap(reason) => return Some(Notice::Gap { reason }),
                Item::System(_) => {}
            }
        }
    }

    /// The next entry of the current delivery that did not come by an earlier connection.
    fn unpack(&mut self, feed: &Feed) -> Option<Notice> {
        while let Some(mut rest) = self.current.take().filter(|rest| rest.left > 0) {
            let event = match entry_at(&rest.deliver, rest.at) {
                Ok((event, end)) => {
                    (rest.at, rest.left) = (end, rest.left - 1);
                    event
                }
                Err(error) => {
                    return Some(Notice::Gap { reason: format!("the edge sent a malformed entry: {error}") });
                }
            };
            let flow = (event.publisher, rest.subject_hash);
            let is_new = feed.copies().accept(rest.arrival, flow, event.sequence);
            self.current = Some(rest);
            if is_new {
                return Some(Notice::Event(event));
            }
        }
        None
    }
}

fn entry_at(deliver: &Deliver, at: usize) -> Result<(Event, usize), DecodeError> {
    let rest = deliver.body.get(at..).ok_or(DecodeError::Truncated)?;
    let mut reader = Reader::new(rest);
    let entry = take_entry(&mut reader)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Invalid("subject"));
    let reply = entry.extras.reply.as_deref().map(text).transpose()?;
    let is_inbox = matches!(deliver.receivers, Receivers::Inbox(_));
    let event = Event {
        subject: if is_inbox { String::new() } else { text(&deliver.subject)? },
        publisher: deliver.agent(entry.agent).ok_or(DecodeError::Invalid("agent"))?,
        sequence: entry.sequence,
        payload: deliver.body.slice_ref(entry.payload),
        reply,
        trace: entry.extras.trace,
        deadline_ms: entry.extras.deadline,
        signature: entry.extras.signature,
        is_priority: deliver.class == Class::EventPriority,
        clock: deliver.clock,
    };
    Ok((event, at + reader.position()))
}
