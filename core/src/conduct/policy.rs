//! What a node does with events that are valid: its own rules, nobody else's concern.
//!
//! A rule names what must hold of an event (origin, region, subject, reputation of the origin) and what
//! then happens; the first rule that matches decides, and where none does the default. A rule without
//! any condition matches everything. Rules are few and conditions cheap, so they are tried in order;
//! nothing is allocated.

use super::offence::Reputation;
use crate::id::{NodeId, RegionId, ShortId};
use crate::interest::{Pattern, SubjectError};

/// Rules of a policy at the most.
pub const RULES_MAX: usize = 256;

/// What happens to an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It is delivered.
    #[default]
    Accept,
    /// It is kept aside until somebody decides; see [`super::quarantine`].
    Quarantine,
    /// It is not delivered, and counted.
    Ignore,
}

/// A rule as it is configured; conditions that are not given hold always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleConfig {
    /// The origin's whole id in hexadecimal.
    pub origin: Option<String>,
    /// The name of the origin's region.
    pub region: Option<String>,
    /// A pattern that the subject matches. A directed entry has no subject and matches none.
    pub subject: Option<String>,
    /// The origin's reputation is below this, 0.0 to 1.0.
    pub reputation_below: Option<f64>,
    /// What happens.
    pub action: Action,
}

/// Why a policy is refused. Nothing was changed; whoever configured it is at fault. Rules count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// More than [`RULES_MAX`].
    #[error("the policy has {0} rules, the limit is {RULES_MAX}")]
    TooMany(usize),
    /// An origin that is no id.
    #[error("rule {0}: origin must be a node's id, 64 hexadecimal digits")]
    Origin(usize),
    /// A region without a name.
    #[error("rule {0}: region must not be empty")]
    Region(usize),
    /// A pattern that is none.
    #[error("rule {0}: subject: {1}")]
    Subject(usize, SubjectError),
    /// A reputation that nobody can have.
    #[error("rule {0}: reputation_below must lie between 0.0 and 1.0")]
    Reputation(usize),
}

/// What a rule may ask of an event.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The node that sealed it.
    pub origin: ShortId,
    /// The region of that node.
    pub region: RegionId,
    /// The valid subject; none where it is for one agent.
    pub subject: Option<&'a str>,
    /// The reputation of the origin here.
    pub reputation: Reputation,
}

/// What a policy says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What happens.
    pub action: Action,
    /// The rule that decided, counted from 1; none where the default did.
    pub rule: Option<u16>,
}

/// Rules in order. A clone shares the patterns.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    default: Action,
}

#[derive(Clone, Debug)]
struct Rule {
    origin: Option<ShortId>,
    region: Option<RegionId>,
    subject: Option<Pattern>,
    reputation_below: Option<Reputation>,
    action: Action,
}

impl Policy {
    /// The policy of a configuration; [`Policy::default`] accepts everything.
    pub fn new(rules: &[RuleConfig], default: Action) -> Result<Policy, PolicyError> {
        if rules.len() > RULES_MAX {
            return Err(PolicyError::TooMany(rules.len()));
        }
        let rules = rules.iter().enumerate().map(|(index, rule)| Rule::new(index + 1, rule));
        Ok(Policy { rules: rules.collect::<Result<Vec<_>, _>>()?, default })
    }

    /// What happens to an event.
    pub fn judge(&self, facts: &Facts<'_>) -> Judgement {
        let mut numbered = (1..).zip(&self.rules);
        match numbered.find(|(_, rule)| rule.matches(facts)) {
            Some((number, rule)) => Judgement { action: rule.action, rule: Some(number) },
            None => Judgement { action: self.default, rule: None },
        }
    }

    /// Whether it accepts everything, so that nobody need be asked.
    pub fn accepts_all(&self) -> bool {
        let mut actions = self.rules.iter().map(|rule| rule.action);
        self.default == Action::Accept && actions.all(|action| action == Action::Accept)
    }
}

impl Rule {
    fn new(number: usize, config: &RuleConfig) -> Result<Rule, PolicyError> {
        let origin = match &config.origin {
            Some(text) => {
                let node: NodeId = text.parse().map_err(|_| PolicyError::Origin(number))?;
                Some(node.short())
            }
            None => None,
        };
        if config.region.as_ref().is_some_and(String::is_empty) {
            return Err(PolicyError::Region(number));
        }
        let subject = config.subject.as_deref().map(Pattern::parse).transpose();
        let reputation_below = match config.reputation_below {
            Some(below) if (0.0..=1.0).contains(&below) => {
                Some(Reputation::from_millionths((below * 1_000_000.0).round() as u32))
            }
            Some(_) => return Err(PolicyError::Reputation(number)),
            None => None,
        };
        Ok(Rule {
            origin,
            region: config.region.as_deref().map(RegionId::of_name),
            subject: subject.map_err(|error| PolicyError::Subject(number, error))?,
            reputation_below,
            action: config.action,
        })
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        // The subject goes last: it alone costs more than a comparison.
        self.origin.is_none_or(|origin| origin == facts.origin)
            && self.region.is_none_or(|region| region == facts.region)
            && self.reputation_below.is_none_or(|below| facts.reputation < below)
            && self
                .subject
                .as_ref()
                .is_none_or(|pattern| facts.subject.is_some_and(|subject| pattern.matches(subject)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::hex;

    fn facts<'a>(subject: &'a str) -> Facts<'a> {
        Facts {
            origin: NodeId([1; 32]).short(),
            region: RegionId::of_name("eu"),
            subject: Some(subject),
            reputation: Reputation::FULL,
        }
    }

    fn action(action: Action) -> RuleConfig {
        RuleConfig { action, ..RuleConfig::default() }
    }

    fn subject(pattern: &str, action: Action) -> RuleConfig {
        RuleConfig { subject: Some(pattern.to_owned()), action, ..RuleConfig::default() }
    }

    fn judged(rules: &[RuleConfig], facts: &Facts<'_>) -> (Action, Option<u16>) {
        let judgement = Policy::new(rules, Action::Accept).unwrap().judge(facts);
        (judgement.action, judgement.rule)
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = [
            subject("alerts.fire", Action::Accept),
            subject("alerts.>", Action::Quarantine),
            subject("*.noise", Action::Ignore),
        ];
        assert_eq!(judged(&rules, &facts("alerts.fire")), (Action::Accept, Some(1)));
        assert_eq!(judged(&rules, &facts("alerts.noise")), (Action::Quarantine, Some(2)));
        assert_eq!(judged(&rules, &facts("x.noise")), (Action::Ignore, Some(3)));
        assert_eq!(judged(&rules, &facts("x.y")), (Action::Accept, None));
        assert_eq!(Policy::new(&rules, Action::Ignore).unwrap().judge(&facts("x.y")).action, Action::Ignore);
        let directed = Facts { subject: None, ..facts("") };
        assert_eq!(judged(&[subject(">", Action::Ignore)], &directed), (Action::Accept, None));
        assert_eq!(judged(&[action(Action::Ignore)], &directed), (Action::Ignore, Some(1)));
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold() {
        let rule = RuleConfig {
            origin: Some(hex(&[1; 32])),
            region: Some("eu".to_owned()),
            subject: Some("a.*".to_owned()),
            reputation_below: Some(0.8),
            action: Action::Ignore,
        };
        let low = Facts { reputation: Reputation::from_millionths(799_999), ..facts("a.b") };
        let misses = |facts: Facts<'_>| judged(std::slice::from_ref(&rule), &facts).1.is_none();
        assert!(!misses(low));
        assert!(misses(Facts { reputation: Reputation::from_millionths(800_000), ..low }));
        assert!(misses(Facts { origin: ShortId(1), ..low }));
        assert!(misses(Facts { region: RegionId::of_name("us"), ..low }));
        assert!(misses(Facts { subject: Some("a.b.c"), ..low }));
    }

    #[test]
    fn a_wrong_rule_is_named() {
        let refused = |rule: RuleConfig| {
            Policy::new(&[action(Action::Accept), rule], Action::Accept).unwrap_err().to_string()
        };
        let origin = RuleConfig { origin: Some("zz".to_owned()), ..RuleConfig::default() };
        assert_eq!(refused(origin), "rule 2: origin must be a node's id, 64 hexadecimal digits");
        let region = RuleConfig { region: Some(String::new()), ..RuleConfig::default() };
        assert_eq!(refused(region), "rule 2: region must not be empty");
        assert_eq!(
            refused(subject(">.a", Action::Ignore)),
            "rule 2: subject: token 1 is '>', which may only be the last token"
        );
        for below in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let rule = RuleConfig { reputation_below: Some(below), ..RuleConfig::default() };
            assert_eq!(refused(rule), "rule 2: reputation_below must lie between 0.0 and 1.0");
        }
        let many = vec![action(Action::Accept); RULES_MAX + 1];
        assert_eq!(Policy::new(&many, Action::Accept).unwrap_err(), PolicyError::TooMany(257));
    }

    #[test]
    fn who_accepts_all_says_so() {
        assert!(Policy::default().accepts_all());
        assert!(Policy::new(&[subject("a", Action::Accept)], Action::Accept).unwrap().accepts_all());
        assert!(!Policy::new(&[subject("a", Action::Ignore)], Action::Accept).unwrap().accepts_all());
        assert!(!Policy::new(&[], Action::Quarantine).unwrap().accepts_all());
    }
}
