//! What an event of the load test says: enough to know when it was due, and whether it came once.

/// Bytes that every payload begins with.
pub const HEAD_BYTES: u32 = 24;

/// The beginning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// When it was to leave, in nanoseconds since the run's start.
    pub due: u64,
    /// Number of the event in the run: with the publisher it is the publisher's sequence.
    pub event: u32,
    /// Number of the publishing agent.
    pub publisher: u32,
    /// Whether it goes to another region.
    pub is_global: bool,
}

impl Head {
    /// Writes the head into the front of `payload`.
    pub fn write(&self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.due.to_le_bytes());
        payload[8..12].copy_from_slice(&self.event.to_le_bytes());
        payload[12..16].copy_from_slice(&self.publisher.to_le_bytes());
        payload[16] = u8::from(self.is_global);
    }

    /// Reads the head; `None` when the payload is not ours.
    pub fn read(payload: &[u8]) -> Option<Head> {
        let word = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        Some(Head {
            due: u64::from_le_bytes(payload.get(..8)?.try_into().ok()?),
            event: word(8)?,
            publisher: word(12)?,
            is_global: *payload.get(16)? == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_payload() {
        let head = Head { due: 5, event: 6, publisher: 7, is_global: true };
        let mut payload = vec![0; HEAD_BYTES as usize];
        head.write(&mut payload);
        assert_eq!(Head::read(&payload), Some(head));
        assert_eq!(Head::read(&payload[..16]), None);
    }
}
