//! Links that somebody makes bad from outside while nodes run: a file that each node reads again and
//! again.
//!
//! A line is `FROM TO WORD…`: what the node that listens on FROM sends to the one that listens on TO.
//! The words are `cut`, `delay_ms=N`, `jitter_ms=N`, `loss=SHARE` and `bits_per_second=N`. A link
//! without a line is as good as ever, and so is each when the file is empty. Whoever writes the file
//! puts a new one in its place in one step (rename), so that nobody reads half of it.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Rule, Shaper};

/// How often a node looks whether the file changed.
pub const POLL: Duration = Duration::from_millis(50);

/// One line: what `from` sends to `to` is under `rule`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadLink {
    /// Where the sender listens.
    pub from: SocketAddr,
    /// Where the receiver listens.
    pub to: SocketAddr,
    /// What happens on the way.
    pub rule: Rule,
}

/// A line that cannot be read; who wrote it is at fault, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {text:?} is not FROM TO and any of cut, delay_ms=N, jitter_ms=N, loss=SHARE, bits_per_second=N"
)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl fmt::Display for BadLink {
    /// The line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { delay, jitter, loss, cut, bits_per_second } = self.rule;
        write!(f, "{} {}", self.from, self.to)?;
        if cut {
            write!(f, " cut")?;
        }
        if !delay.is_zero() {
            write!(f, " delay_ms={}", delay.as_millis())?;
        }
        if !jitter.is_zero() {
            write!(f, " jitter_ms={}", jitter.as_millis())?;
        }
        if loss > 0.0 {
            write!(f, " loss={loss}")?;
        }
        if bits_per_second > 0 {
            write!(f, " bits_per_second={bits_per_second}")?;
        }
        Ok(())
    }
}

/// Reads the lines of a file.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<BadLink>, BadLine> {
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| parse_line(line).ok_or_else(|| BadLine { line: at + 1, text: line.to_owned() }))
        .collect()
}

fn parse_line(line: &str) -> Option<BadLink> {
    let mut words = line.split_whitespace();
    let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let mut rule = Rule::default();
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("cut", "") => rule.cut = true,
            ("delay_ms", number) => rule.delay = Duration::from_millis(number.parse().ok()?),
            ("jitter_ms", number) => rule.jitter = Duration::from_millis(number.parse().ok()?),
            ("loss", share) => rule.loss = share.parse().ok().filter(|share| (0.0..=1.0).contains(share))?,
            ("bits_per_second", number) => rule.bits_per_second = number.parse().ok()?,
            _ => return None,
        }
    }
    Some(BadLink { from, to, rule })
}

/// What a node of `me` knows of the file.
#[derive(Debug)]
struct Followed {
    shaper: Shaper,
    me: SocketAddr,
    path: PathBuf,
    text: Option<String>,
    ruled: Vec<SocketAddr>,
}

impl Followed {
    /// Does what the file says, if it says something new.
    fn look(&mut self) -> io::Result<()> {
        let text = fs::read_to_string(&self.path)?;
        if self.text.as_deref() == Some(&text) {
            return Ok(());
        }
        let links = parse(&text).map_err(io::Error::other)?;
        let mine: Vec<BadLink> = links.into_iter().filter(|link| link.from == self.me).collect();
        for peer in self.ruled.drain(..).filter(|peer| !mine.iter().any(|link| link.to == *peer)) {
            self.shaper.clear(peer);
        }
        for link in &mine {
            self.shaper.set(link.to, link.rule);
        }
        self.ruled = mine.iter().map(|link| link.to).collect();
        self.text = Some(text);
        Ok(())
    }
}

/// From now on what the socket of `me` sends obeys the file at `path`, as it is when this returns and
/// whenever it changes. A file that cannot be read later leaves the rules as they are. Needs a tokio
/// runtime; ends with it.
///
/// # Errors
/// The file cannot be read or says something else now.
pub fn follow(shaper: &Shaper, me: SocketAddr, path: &Path) -> io::Result<()> {
    let mut followed =
        Followed { shaper: shaper.clone(), me, path: path.to_owned(), text: None, ruled: Vec::new() };
    followed.look()?;
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if followed.look().is_err() {
                // What it said last goes on to hold.
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        let rules = [
            Rule { cut: true, ..Rule::default() },
            Rule { delay: Duration::from_millis(50), jitter: Duration::from_millis(5), ..Rule::default() },
            Rule { loss: 0.25, bits_per_second: 1_000_000, ..Rule::default() },
        ];
        let links = rules.map(|rule| BadLink { from: address(1), to: address(2), rule });
        let text: String = links.iter().map(|link| format!("{link}\n")).collect();
        assert_eq!(parse(&text).unwrap(), links);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let good = "127.0.0.1:1 127.0.0.1:2 cut\n";
        for bad in ["x", "127.0.0.1:1", "127.0.0.1:1 127.0.0.1:2 loss=2", "127.0.0.1:1 127.0.0.1:2 slow"] {
            let error = parse(&format!("{good}{bad}")).unwrap_err();
            assert_eq!((error.line, error.text.as_str()), (2, bad));
        }
    }

    #[test]
    fn a_node_obeys_its_own_lines_until_they_are_gone() {
        let path = std::env::temp_dir().join(format!("starling-links-{}", std::process::id()));
        let shaper = Shaper::new(1);
        let (me, peer, other) = (address(1), address(2), address(3));
        let mut followed =
            Followed { shaper: shaper.clone(), me, path: path.clone(), text: None, ruled: Vec::new() };
        fs::write(&path, format!("{me} {peer} cut\n{other} {me} cut\n{me} {other} delay_ms=9\n")).unwrap();
        followed.look().unwrap();
        assert!(shaper.rule_for(peer).cut);
        assert_eq!(shaper.rule_for(other).delay, Duration::from_millis(9));
        fs::write(&path, format!("{me} {other} cut\n")).unwrap();
        followed.look().unwrap();
        assert!(shaper.rule_for(peer).is_neutral() && shaper.rule_for(other).cut);
        fs::write(&path, "nonsense").unwrap();
        assert!(followed.look().is_err() && shaper.rule_for(other).cut, "what was said last holds");
        fs::remove_file(&path).unwrap();
    }
}
