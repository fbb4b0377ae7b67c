//! How a node comes by new certificates: it asks its machine, issues for others, and reads its files.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use starling_core::event::Event;
use starling_core::identity::{Roles, SecretKey};
use starling_core::machine::{Granted, Input, Output, Wanted};
use starling_core::time::Time;
use starling_net::NodeSettings;
use starling_net::trust::ca::CA_KEY_FILE;
use starling_net::trust::{Authority, Ca, CertificateRequest, Life, NodeCredentials, NodeRequest, Trust};

use super::support::{Bench, settings, wall_ms};

const HOUR: Duration = Duration::from_secs(3_600);

fn wall() -> Time {
    Time::from_millis(wall_ms())
}

/// Credentials for an hour's admission in `directory`, whose certificate is valid for so long.
fn put(authority: &Authority, directory: &Path, life: Duration) -> NodeCredentials {
    let request = NodeRequest::new(Roles::COORDINATOR, "eu", "a", life).unwrap().admitted_for(HOUR);
    let credentials = authority.renew(&request, SecretKey::from_seed([7; 32]), wall()).unwrap();
    credentials.save(directory).unwrap();
    credentials
}

/// A node whose credentials are in `directory`.
async fn start(authority: &Authority, directory: &Path, life: Duration) -> Bench {
    let credentials = put(authority, directory, life);
    let data = tempfile::tempdir().unwrap();
    let settings = NodeSettings {
        credentials,
        credentials_directory: Some(directory.to_owned()),
        certificate_lifetime: Duration::from_secs(1_000),
        ..settings(authority, "a", data.path())
    };
    Bench::run(settings, data).await
}

/// The end of the certificate that the node's directory has.
fn ends(directory: &Path) -> Time {
    let credentials = NodeCredentials::load(directory).unwrap();
    Life::of_certificate(credentials.certificates().unwrap().first().unwrap()).unwrap().ends
}

/// The first event that is like this.
async fn event(
    events: &mut tokio::sync::broadcast::Receiver<Event>,
    is_it: impl Fn(&Event) -> bool,
) -> Event {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if is_it(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("the event comes")
}

fn asked(input: &Input, after: u64) -> Option<(u64, Bytes)> {
    match input {
        Input::Wanted(Wanted::Certificate { number, request }) if *number > after => {
            Some((*number, request.clone()))
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_renews_at_half_of_a_life_and_takes_no_bad_certificate() {
    let authority = Authority::create("test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let node = start(&authority, directory.path(), Duration::from_secs(6)).await;
    let mut events = node.handle.events();
    let before = ends(directory.path());
    let first = node.until("a question", |input| asked(input, 0)).await;

    // A certificate for another key is refused, and the old one stays.
    let other = CertificateRequest::new().unwrap();
    let admission = NodeCredentials::load(directory.path()).unwrap().admission;
    let issue = |der: &[u8]| authority.ca().answer(&admission, der, wall(), HOUR).unwrap();
    let grant = |number, result| Output::Granted(Granted::Certificate { number, result });
    node.act([grant(first.0, Ok(issue(&other.der)))]).await;
    let failed = event(&mut events, |event| matches!(event, Event::RenewalFailed { .. })).await;
    assert!(format!("{failed:?}").contains("another key"), "{failed:?}");
    assert_eq!(ends(directory.path()), before);

    // It asks again, with another key; of what is granted, the answer to that counts.
    let second = node.until("another question", |input| asked(input, first.0)).await;
    assert_ne!(second.1, first.1);
    node.act([grant(first.0, Ok(issue(&first.1))), grant(second.0, Ok(issue(&second.1)))]).await;
    let replaced = event(&mut events, |event| matches!(event, Event::CertificateReplaced { .. })).await;
    let now = ends(directory.path());
    assert!(now > before + Duration::from_secs(1_000));
    assert_eq!(replaced, Event::CertificateReplaced { ends_seconds: now.as_millis() / 1_000 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_key_of_the_ca_issues_and_who_has_not_says_so() {
    let authority = Authority::create("test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let node = start(&authority, directory.path(), HOUR).await;
    let mut events = node.handle.events();
    let admission = NodeCredentials::load(directory.path()).unwrap().admission;
    let request = CertificateRequest::new().unwrap();
    let issue = |number, request: &[u8]| {
        let (admission, request) = (Box::new(admission.clone()), Bytes::copy_from_slice(request));
        Output::Granted(Granted::Issue { admission, number, request })
    };
    let answer = |to: u64| {
        move |input: &Input| match input {
            Input::Wanted(Wanted::Answer { number, result, .. }) if *number == to => Some(result.clone()),
            _ => None,
        }
    };
    node.act([issue(1, &request.der)]).await;
    assert!(node.until("a refusal", answer(1)).await.is_err());
    let reason = event(&mut events, |event| matches!(event, Event::NotIssued { .. })).await;
    assert!(format!("{reason:?}").contains(CA_KEY_FILE), "{reason:?}");

    authority.ca().save_key(&directory.path().join(CA_KEY_FILE)).unwrap();
    node.act([issue(2, &request.der), issue(3, b"nonsense")]).await;
    let pem = node.until("a certificate", answer(2)).await.unwrap();
    assert!(node.until("a refusal", answer(3)).await.is_err());
    let credentials = NodeCredentials::load(directory.path()).unwrap();
    let credentials = credentials.renewed(pem, request.key_pem()).unwrap();
    let life = Life::of_certificate(credentials.certificates().unwrap().first().unwrap()).unwrap();
    assert!(life.left(wall()) <= Duration::from_secs(1_001), "as long as the configuration says");
    starling_net::trust::check_chain(&credentials, authority.trust(), wall()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_into_the_directory_is_taken_up_and_what_is_broken_is_told() {
    let authority = Authority::create("test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let node = start(&authority, directory.path(), HOUR).await;
    let mut events = node.handle.events();
    let replaced = |event: &Event| matches!(event, Event::CertificateReplaced { .. });
    let refused = |event: &Event| matches!(event, Event::CredentialsRefused { .. });
    put(&authority, directory.path(), 2 * HOUR);
    event(&mut events, replaced).await;

    std::fs::write(directory.path().join("node.pem"), "half of a certif").unwrap();
    let told = event(&mut events, refused).await;
    assert!(format!("{told:?}").contains("node.pem"), "{told:?}");

    // A CA that the node does not trust issues nothing for it; once it does, the certificate is taken.
    let old = put(&authority, directory.path(), 3 * HOUR);
    event(&mut events, replaced).await;
    let (ca, pem) = Ca::create(&authority.trust().mesh_name).unwrap();
    let request = CertificateRequest::new().unwrap();
    let foreign = ca.answer(&old.admission, &request.der, wall(), HOUR).unwrap();
    old.renewed(foreign, request.key_pem()).unwrap().save_certificate(directory.path()).unwrap();
    event(&mut events, refused).await;
    let both = Trust { ca_pem: format!("{}{pem}", authority.trust().ca_pem), ..authority.trust().clone() };
    both.save(&directory.path().join("mesh.trust")).unwrap();
    event(&mut events, replaced).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_renews_raises_alarms_until_it_ends() {
    let authority = Authority::create("test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let node = start(&authority, directory.path(), Duration::from_secs(5)).await;
    let mut events = node.handle.events();
    let mut last = 0;
    for expected in [50, 75, 90] {
        let alarm = event(&mut events, |event| matches!(event, Event::CertificateAges { .. })).await;
        let Event::CertificateAges { percent, .. } = alarm else { panic!("{alarm:?}") };
        // A busy machine may pass over one.
        assert!(percent >= expected && percent > last, "{percent} after {last}");
        last = percent;
        if last == 90 {
            break;
        }
    }
}

#[test]
fn a_renewal_that_was_cut_leaves_a_whole_pair() {
    let authority = Authority::create("test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let old = put(&authority, directory.path(), HOUR / 4);
    let request = CertificateRequest::new().unwrap();
    let pem = authority.ca().answer(&old.admission, &request.der, wall(), HOUR).unwrap();
    let new = old.renewed(pem, request.key_pem()).unwrap();
    let aside = tempfile::tempdir().unwrap();
    new.save(aside.path()).unwrap();
    let copy =
        |from: &str, to: &str| std::fs::copy(aside.path().join(from), directory.path().join(to)).unwrap();
    // The key is there and the certificate is not yet: the old pair holds.
    copy("node.key", "node.next.key");
    assert!(ends(directory.path()) < wall() + HOUR / 2);
    // The certificate is there too: the new pair holds, and goes on to.
    copy("node.pem", "node.pem");
    for _ in 0..2 {
        assert!(ends(directory.path()) > wall() + HOUR / 2);
    }
    assert!(!directory.path().join("node.next.key").exists());
}

#[test]
fn a_ca_is_replaced_in_three_steps() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create("test").unwrap();
    authority.save(directory.path()).unwrap();
    let load = || Authority::load(directory.path()).unwrap();
    let old = authority.issue(&NodeRequest::new(Roles::EDGE, "eu", "a", HOUR).unwrap(), wall()).unwrap();
    let is_believed = |credentials: &NodeCredentials| {
        starling_net::trust::check_chain(credentials, load().trust(), wall()).is_ok()
    };
    let issued = || load().issue(&NodeRequest::new(Roles::EDGE, "eu", "a", HOUR).unwrap(), wall()).unwrap();

    load().add_ca(directory.path()).unwrap();
    assert!(load().add_ca(directory.path()).is_err(), "one at a time");
    assert!(load().drop_cas(directory.path()).is_err(), "not while one waits");
    assert_eq!(load().trust().cas().unwrap().len(), 2);
    assert!(is_believed(&old) && is_believed(&issued()));
    Authority::use_ca(directory.path()).unwrap();
    assert!(Authority::use_ca(directory.path()).is_err(), "there is no other");
    let new = issued();
    assert!(is_believed(&old) && is_believed(&new));
    assert!(
        starling_net::trust::check_chain(&new, authority.trust(), wall()).is_err(),
        "it is of the new CA"
    );
    load().drop_cas(directory.path()).unwrap();
    assert_eq!(load().trust().cas().unwrap().len(), 1);
    assert!(!is_believed(&old) && is_believed(&new));
}
