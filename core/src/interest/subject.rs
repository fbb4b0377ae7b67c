//! Subjects and patterns: what they may look like, and when one matches the other.
//!
//! A subject is 1 to 16 tokens separated by `.`, at most 256 bytes of UTF-8. A pattern may also
//! hold `*`, which stands for exactly one token, and as its last token `>`, which stands for one
//! token or more. A subject whose first token starts with `$` belongs to the system: no leading
//! `*` or `>` matches it, so whoever asks for everything does not get the mesh's own traffic.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes that a subject or a pattern may have.
pub const SUBJECT_BYTES_MAX: usize = 256;

/// The most tokens that a subject or a pattern may have.
pub const TOKENS_MAX: usize = 16;

/// The token that stands for exactly one token.
pub(super) const ANY_ONE: &str = "*";

/// The last token that stands for one token or more.
pub(super) const ANY_REST: &str = ">";

/// Why a text is no subject or no pattern. Nothing was changed; whoever wrote the text is at fault.
///
/// Tokens are counted from 1, as a user counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// There is no text at all.
    #[error("the subject is empty")]
    Empty,
    /// More than [`SUBJECT_BYTES_MAX`] bytes.
    #[error("the subject has {bytes} bytes, the limit is {SUBJECT_BYTES_MAX}")]
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// More than [`TOKENS_MAX`] tokens.
    #[error("the subject has {tokens} tokens, the limit is {TOKENS_MAX}")]
    TooManyTokens {
        /// How many tokens it has.
        tokens: usize,
    },
    /// Nothing between two dots, before the first or after the last.
    #[error("token {token} is empty")]
    EmptyToken {
        /// Which token.
        token: usize,
    },
    /// White space or a control character.
    #[error("token {token} contains {character:?}, which no subject may contain")]
    Forbidden {
        /// Which token.
        token: usize,
        /// The first such character in it.
        character: char,
    },
    /// A wildcard in a subject: only patterns have them.
    #[error("token {token} contains the wildcard '{wildcard}', which only a pattern may contain")]
    WildcardInSubject {
        /// Which token.
        token: usize,
        /// `*` or `>`.
        wildcard: char,
    },
    /// A wildcard with something beside it.
    #[error("token {token} contains '{wildcard}' beside other characters; a wildcard is a whole token")]
    PartOfToken {
        /// Which token.
        token: usize,
        /// `*` or `>`.
        wildcard: char,
    },
    /// `>` with tokens after it.
    #[error("token {token} is '>', which may only be the last token")]
    RestNotLast {
        /// Which token.
        token: usize,
    },
    /// The bytes are no text.
    #[error("the subject is not valid UTF-8 from byte {byte} on")]
    NotUtf8 {
        /// How many bytes before it are valid.
        byte: usize,
    },
}

/// Refuses what is no subject. Wildcards are refused too.
pub fn check_subject(text: &str) -> Result<(), SubjectError> {
    check(text, |position, token, _| {
        let wildcard = token.chars().find(|character| is_wildcard(*character));
        match wildcard {
            Some(wildcard) => Err(SubjectError::WildcardInSubject { token: position, wildcard }),
            None => Ok(()),
        }
    })
}

/// The subject that `bytes` from outside spell.
pub fn subject_from_bytes(bytes: &[u8]) -> Result<&str, SubjectError> {
    let text = text_from_bytes(bytes)?;
    check_subject(text)?;
    Ok(text)
}

/// Whether a subject or pattern names system subjects: its first token starts with `$`.
pub fn is_system(text: &str) -> bool {
    text.starts_with('$')
}

/// A valid pattern. A clone is one reference count. The order is that of the text's bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The pattern that `text` spells.
    pub fn parse(text: &str) -> Result<Pattern, SubjectError> {
        check(text, check_pattern_token)?;
        Ok(Pattern(Arc::from(text)))
    }

    /// The pattern that `bytes` from outside spell.
    pub fn from_bytes(bytes: &[u8]) -> Result<Pattern, SubjectError> {
        Pattern::parse(text_from_bytes(bytes)?)
    }

    /// The pattern as text, 1 to 256 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens in order, 1 to 16 of them.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether the pattern has no wildcard, so that it matches only the subject it spells.
    pub fn is_literal(&self) -> bool {
        // A wildcard is always a whole token, so the character alone tells.
        !self.0.contains(is_wildcard)
    }

    /// Whether the pattern names system subjects.
    pub fn is_system(&self) -> bool {
        is_system(&self.0)
    }

    /// Whether `subject`, which [`check_subject`] accepts, is one that this pattern asks for.
    pub fn matches(&self, subject: &str) -> bool {
        let mut wanted = self.tokens();
        let mut given = subject.split('.');
        let mut hidden = is_system(subject);
        loop {
            match (wanted.next(), given.next()) {
                (Some(ANY_ONE | ANY_REST), Some(_)) if hidden => return false,
                (Some(ANY_REST), Some(_)) => return true,
                (Some(ANY_ONE), Some(_)) => {}
                (Some(token), Some(same)) if token == same => {}
                (None, None) => return true,
                (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
            }
            hidden = false;
        }
    }

    /// Whether every subject that `other` matches is matched by this pattern too.
    pub fn covers(&self, other: &Pattern) -> bool {
        let mut wide = self.tokens();
        let mut narrow = other.tokens();
        for position in 1.. {
            let hidden = position == 1 && other.is_system();
            match (wide.next(), narrow.next()) {
                (Some(ANY_ONE | ANY_REST), Some(_)) if hidden => return false,
                (Some(ANY_REST), Some(_)) => return true,
                // Where no further token fits into a subject, both stand for exactly one.
                (Some(ANY_ONE), Some(ANY_REST)) => return position == TOKENS_MAX,
                (Some(ANY_ONE), Some(_)) => {}
                (Some(token), Some(same)) if token == same => {}
                (None, None) => return true,
                (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
            }
        }
        false
    }
}

impl FromStr for Pattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Pattern, SubjectError> {
        Pattern::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn is_wildcard(character: char) -> bool {
    matches!(character, '*' | '>')
}

fn text_from_bytes(bytes: &[u8]) -> Result<&str, SubjectError> {
    // The length goes first: a hostile megabyte is not worth scanning.
    if bytes.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong { bytes: bytes.len() });
    }
    std::str::from_utf8(bytes).map_err(|error| SubjectError::NotUtf8 { byte: error.valid_up_to() })
}

/// What subjects and patterns have in common; `check_special` sees the tokens that are more than
/// plain printable ASCII, with their position from 1 and whether they are the last.
fn check(
    text: &str,
    check_special: fn(usize, &str, bool) -> Result<(), SubjectError>,
) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong { bytes: text.len() });
    }
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    if dots >= TOKENS_MAX {
        return Err(SubjectError::TooManyTokens { tokens: dots + 1 });
    }
    for (index, token) in text.split('.').enumerate() {
        let position = index + 1;
        if token.is_empty() {
            return Err(SubjectError::EmptyToken { token: position });
        }
        if token.bytes().all(is_plain) {
            continue;
        }
        if let Some(character) = token.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(SubjectError::Forbidden { token: position, character });
        }
        check_special(position, token, index == dots)?;
    }
    Ok(())
}

/// The bytes that are fine in any token; the test that nearly every token ends with.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'*' && byte != b'>'
}

fn check_pattern_token(position: usize, token: &str, is_last: bool) -> Result<(), SubjectError> {
    match (token, token.chars().find(|character| is_wildcard(*character))) {
        (ANY_REST, _) if !is_last => Err(SubjectError::RestNotLast { token: position }),
        (ANY_ONE | ANY_REST, _) | (_, None) => Ok(()),
        (_, Some(wildcard)) => Err(SubjectError::PartOfToken { token: position, wildcard }),
    }
}

#[cfg(test)]
mod tests;
