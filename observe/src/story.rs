//! Events in words.

use starling_core::event::Event;
use starling_core::topology::Status;

use crate::Level;

/// An event as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// How much it matters.
    pub level: Level,
    /// What kind of event it is, such as `peer-up`; one of [`KINDS`].
    pub kind: &'static str,
    /// Whom it is about, where it is about one node.
    pub subject: Option<String>,
    /// One sentence. It may quote what others say of themselves.
    pub text: String,
}

/// Every kind of event.
pub const KINDS: [&str; 19] = [
    "peer-up",
    "peer-down",
    "peer-lost",
    "peer-suspected",
    "peer-left",
    "peer-banned",
    "falsely-accused",
    "refused",
    "agent-superseded",
    "update-applied",
    "status-changed",
    "rebalanced",
    "interest-widened",
    "link-moved",
    "certificate-replaced",
    "credentials-refused",
    "renewal-failed",
    "not-issued",
    "certificate-ages",
];

/// What an event comes to.
pub fn story(event: &Event) -> Story {
    let told =
        |level, kind, subject: Option<&String>, text| Story { level, kind, subject: subject.cloned(), text };
    match event {
        Event::PeerUp { name, roles, region, .. } => {
            told(Level::Debug, "peer-up", Some(name), format!("link up: {name} ({roles}, {region})"))
        }
        Event::PeerDown { name, timed_out: true, .. } => {
            told(Level::Warn, "peer-down", Some(name), format!("link down: {name} fell silent"))
        }
        Event::PeerDown { name, timed_out: false, .. } => {
            told(Level::Debug, "peer-down", Some(name), format!("link down: {name} closed it"))
        }
        Event::PeerLost { name } => told(Level::Warn, "peer-lost", Some(name), format!("lost: {name}")),
        Event::PeerSuspected { name } => {
            told(Level::Info, "peer-suspected", Some(name), format!("{name} does not answer"))
        }
        Event::PeerLeft { name } => told(Level::Info, "peer-left", Some(name), format!("{name} left")),
        Event::PeerBanned { name, reason } => {
            told(Level::Warn, "peer-banned", Some(name), format!("banned {name}: {reason}"))
        }
        Event::FalselyAccused { by, subject } => {
            told(Level::Debug, "falsely-accused", None, format!("{by} accused {subject}, which lives"))
        }
        Event::Refused { peer, reason } => {
            told(Level::Warn, "refused", None, format!("refused {peer}: {reason}"))
        }
        Event::AgentSuperseded { agent } => {
            told(Level::Debug, "agent-superseded", None, format!("agent {agent} attached elsewhere"))
        }
        Event::UpdateApplied { index } => {
            told(Level::Info, "update-applied", None, format!("system update {index} applied"))
        }
        Event::StatusChanged { status, is_cut_off, reachable, roster } => {
            let side = if *is_cut_off { ", which is too few to agree" } else { "" };
            let level = if *status == Status::Healthy { Level::Info } else { Level::Warn };
            let text = format!("{status}: {reachable} of {roster} nodes in reach{side}");
            told(level, "status-changed", None, text)
        }
        Event::Rebalanced { round, strategy, measured, peers, clusters, preferred, joined, left } => {
            let text = format!(
                "round {round}: {measured} of {peers} peers measured, {clusters} clusters, {preferred} \
                 preferred ({strategy}), {joined} new, {left} no longer"
            );
            told(if joined + left > 0 { Level::Info } else { Level::Debug }, "rebalanced", None, text)
        }
        Event::InterestWidened => {
            let text = "so many patterns that wider ones are declared".to_owned();
            told(Level::Info, "interest-widened", None, text)
        }
        Event::LinkMoved { peer } => {
            told(Level::Debug, "link-moved", None, format!("the link to {peer} moved to a new connection"))
        }
        Event::CertificateReplaced { ends_seconds } => {
            let text = format!("new certificate, valid until {ends_seconds} s after 1970");
            told(Level::Info, "certificate-replaced", None, text)
        }
        Event::CredentialsRefused { reason } => {
            let text = format!("new credentials are not used: {reason}");
            told(Level::Error, "credentials-refused", None, text)
        }
        Event::RenewalFailed { reason } => {
            told(Level::Warn, "renewal-failed", None, format!("the certificate is not renewed: {reason}"))
        }
        Event::NotIssued { node, reason } => {
            let text = format!("no certificate was issued for {node}: {reason}");
            told(Level::Error, "not-issued", None, text)
        }
        Event::CertificateAges { seconds_left: 0, .. } => {
            let next = "where the authority is, run: starling cert renew";
            let text = format!("the certificate has run out, and other nodes refuse it; {next}");
            told(Level::Error, "certificate-ages", None, text)
        }
        Event::CertificateAges { percent, seconds_left } => {
            let level = if *percent >= 90 { Level::Error } else { Level::Warn };
            let text = format!("{percent} % of the certificate's life is over, {seconds_left} s are left");
            told(level, "certificate-ages", None, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fell_silent_is_a_warning_and_names_the_node() {
        let node = starling_core::id::NodeId([7; 32]);
        let told = story(&Event::PeerDown { name: "edge-1".into(), node, timed_out: true });
        assert_eq!((told.level, told.kind), (Level::Warn, "peer-down"));
        assert_eq!((told.subject.as_deref(), told.text.contains("edge-1")), (Some("edge-1"), true));
        let told = story(&Event::PeerDown { name: "edge-1".into(), node, timed_out: false });
        assert_eq!(told.level, Level::Debug);
        assert!(KINDS.contains(&told.kind));
    }
}
