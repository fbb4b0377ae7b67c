//! DNS and the registrar over real sockets of loopback: what is found, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too: a panic is the failure")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use starling_core::identity::SecretKey;
use starling_discovery::dns::{DnsError, Lookup, service_name};
use starling_discovery::registrar::{Publish, Registrar, RegistrarNote, RegistrarSettings};
use starling_discovery::registration::{RegistrarError, RegistrarUrl, Registration, Wish, Work};
use starling_discovery::{CANDIDATES_MAX, Candidate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const ZONE: &str = "mesh.test";

fn settings() -> RegistrarSettings {
    RegistrarSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        zone: ZONE.to_owned(),
        publish: Publish::Serve("127.0.0.1:0".parse().unwrap()),
        difficulty: 6,
        ttl: Duration::from_secs(3_600),
        ping_every: Duration::from_secs(300),
        per_place: 64,
        any_address: false,
    }
}

fn url(registrar: &Registrar) -> RegistrarUrl {
    format!("http://{}", registrar.http()).parse().unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Answers a packet of an unknown version as QUIC does, for as long as the test runs.
async fn endpoint() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            if length < 1200 {
                continue;
            }
            let (to, own) = (&bytes[6..14], &bytes[15..23]);
            let answer = [&[0x80, 0, 0, 0, 0, 8][..], own, &[8], to, &[0, 0, 0, 1]].concat();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    at
}

/// A DNS server that answers every question by the records of `answer`, on UDP and TCP.
async fn dns_server(answer: impl Fn(&Name, RecordType) -> Vec<Record> + Send + Sync + 'static) -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(at).await.unwrap();
    let answer = Arc::new(answer);
    let respond = move |question: &[u8], is_udp: bool| {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let mut response = Message::response(question.metadata.id, question.metadata.op_code);
        response.metadata.authoritative = true;
        response.add_query(query.clone());
        response.add_answers(answer(query.name(), query.query_type()));
        if response.answers.is_empty() {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        if is_udp && response.to_vec().unwrap().len() > 1232 {
            response.answers.clear();
            response.metadata.truncation = true;
        }
        response.to_vec().unwrap()
    };
    let by_udp = respond.clone();
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
            udp.send_to(&by_udp(&bytes[..length], true), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let respond = respond.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; usize::from(length)];
                    stream.read_exact(&mut bytes).await.unwrap();
                    let answer = respond(&bytes, false);
                    let length = u16::try_from(answer.len()).unwrap();
                    stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await.unwrap();
                }
            });
        }
    });
    at
}

fn text(words: &str) -> RData {
    RData::TXT(TXT::new(vec![words.to_owned()]))
}

fn at_service(data: RData) -> Record {
    Record::from_rdata(service_name(ZONE).unwrap(), 60, data)
}

#[tokio::test]
async fn who_registers_is_found_by_http_and_dns_until_it_goes() {
    let registrar = Registrar::start(settings(), |_| {}).await.unwrap();
    let lookup = Lookup::new(ZONE, registrar.dns()).unwrap();
    assert!(matches!(lookup.peers().await, Err(DnsError::Nothing { .. })));
    // Each takes two requests, and so does the one that goes: twenty are served at once.
    let mut all = Vec::new();
    for seed in 0..9 {
        let at = endpoint().await;
        let (peers, lasts) =
            url(&registrar).say(Wish::Register, at, &key(seed)).await.unwrap_or_else(|error| {
                panic!("registration {seed}: {error}");
            });
        all.push(at.to_string());
        assert_eq!((peers.len(), lasts), (all.len(), Duration::from_secs(3_600)));
    }
    let found = loop {
        let found = lookup.peers().await.unwrap();
        if found.len() == all.len() {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut places: Vec<String> = found.iter().map(|candidate| candidate.place().to_owned()).collect();
    places.sort();
    all.sort();
    assert_eq!(places, all);
    assert!(found.iter().all(|candidate| candidate.node().is_some()));
    let gone = found[0].clone();
    let seed =
        (0..9).find(|seed| gone.node() == Some(starling_core::id::NodeId::of_key(&key(*seed).public().0)));
    url(&registrar).say(Wish::Unregister, gone.socket().unwrap(), &key(seed.unwrap())).await.unwrap();
    while lookup.peers().await.unwrap().contains(&gone) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_registrar_refuses_who_does_not_answer_lies_or_floods() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notes);
    let registrar = Registrar::start(settings(), move |note| heard.lock().unwrap().push(note)).await.unwrap();
    let url = url(&registrar);
    let refused = |result: Result<_, RegistrarError>| match result {
        Err(RegistrarError::Refused { status, why, .. }) => (status, why),
        other => panic!("{other:?}"),
    };
    // Nobody at its address; another address; the wrong family.
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    assert_eq!(refused(url.say(Wish::Register, nobody, &key(1)).await).0, 409);
    for other in ["127.0.0.2:7420", "[::1]:7420"] {
        let (status, why) = refused(url.say(Wish::Register, other.parse().unwrap(), &key(1)).await);
        assert!(status == 403 && why.contains("register from there"), "{status} {why}");
    }
    // Bodies that are none, and one that is too long.
    let work = Work { difficulty: 6, window: 1 };
    let old = Registration::make(Wish::Register, nobody, &key(1), &work);
    let bodies = [
        ("{".to_owned(), "400"),
        (serde_json::to_string(&old).unwrap(), "403"),
        (format!("{{\"address\":\"{}\"}}", "x".repeat(4_000)), "413"),
        (
            "{\"address\":\"nowhere\",\"key\":\"\",\"window\":0,\"nonce\":0,\"signature\":\"\"}".to_owned(),
            "422",
        ),
    ];
    for (body, status) in bodies {
        let answer = post(registrar.http(), "/v1/register", &body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
        assert!(answer.contains("\"error\""), "{answer}");
    }
    // A flood is answered by 429, and the registrar lives on.
    let mut refused_by_rate = 0;
    for _ in 0..60 {
        let answer = post(registrar.http(), "/v1/register", "{}").await;
        refused_by_rate += usize::from(answer.starts_with("HTTP/1.1 429"));
    }
    assert!(refused_by_rate >= 30, "only {refused_by_rate} of 60 were held back");
    assert!(notes.lock().unwrap().iter().all(|note| !matches!(note, RegistrarNote::Listed { .. })));
}

async fn post(http: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn hostile_answers_of_dns_are_bounded_and_cost_nothing_but_themselves() {
    let good = "v=starling1 a=192.0.2.7:7420";
    let server = dns_server(move |_, kind| match kind {
        RecordType::TXT => {
            let bad = ["", "v=spf1 -all", "v=starling1 a=0.0.0.0:1", "v=starling1 a=host:1", "v=starling1 a"];
            let bad = bad.iter().map(|words| at_service(text(words)));
            bad.chain([at_service(text(good)), at_service(text(good))]).collect()
        }
        _ => Vec::new(),
    })
    .await;
    let found = Lookup::new(ZONE, Some(server)).unwrap().peers().await.unwrap();
    assert_eq!(found, ["192.0.2.7:7420".parse::<Candidate>().unwrap()]);

    // Far more than one tier may say, which needs TCP.
    let many = dns_server(|_, kind| match kind {
        RecordType::TXT => {
            (1..=400_u32).map(|port| at_service(text(&format!("v=starling1 a=192.0.2.7:{port}")))).collect()
        }
        _ => Vec::new(),
    })
    .await;
    let found = Lookup::new(ZONE, Some(many)).unwrap().peers().await.unwrap();
    assert_eq!(found.len(), CANDIDATES_MAX);

    // Nothing but nonsense, and nobody at all.
    let useless = dns_server(|_, kind| match kind {
        RecordType::TXT => vec![at_service(text("hello"))],
        _ => Vec::new(),
    })
    .await;
    let error = Lookup::new(ZONE, Some(useless)).unwrap().peers().await.unwrap_err();
    assert!(matches!(error, DnsError::Useless { records: 1, .. }), "{error}");
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let begun = std::time::Instant::now();
    let error = Lookup::new(ZONE, Some(silent.local_addr().unwrap())).unwrap().peers().await.unwrap_err();
    assert!(matches!(error, DnsError::Nothing { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "bounded, and so is this");
}

#[tokio::test]
async fn a_zone_that_is_kept_by_hand_needs_only_srv_records() {
    let host = Name::from_ascii("hub.mesh.test.").unwrap();
    let target = host.clone();
    let server = dns_server(move |name, kind| match kind {
        RecordType::SRV => vec![at_service(RData::SRV(SRV::new(0, 0, 7420, target.clone())))],
        RecordType::A if *name == target => {
            vec![Record::from_rdata(target.clone(), 60, RData::A(A([192, 0, 2, 9].into())))]
        }
        _ => Vec::new(),
    })
    .await;
    let found = Lookup::new("mesh.test.", Some(server)).unwrap().peers().await.unwrap();
    assert_eq!(found, ["192.0.2.9:7420".parse::<Candidate>().unwrap()]);
    assert!(matches!(Lookup::new("..", None), Err(DnsError::Domain { .. })));
    assert!(matches!(Lookup::new("", None), Err(DnsError::Domain { .. })));
}

#[tokio::test]
async fn a_registrar_that_asks_for_too_much_work_is_not_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: RegistrarUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        for body in ["{\"difficulty\":60,\"window\":1}".to_owned(), "x".repeat(100_000), "no".to_owned()] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            // It may hang up before it has read all that it does not want.
            stream.write_all(format!("{head}{body}").as_bytes()).await.ok();
        }
    });
    let error = url.say(Wish::Register, "127.0.0.1:1".parse().unwrap(), &key(1)).await.unwrap_err();
    assert!(matches!(error, RegistrarError::TooMuchWork { difficulty: 60, .. }), "{error}");
    for _ in 0..2 {
        let error = url.discover().await.unwrap_err();
        assert!(matches!(error, RegistrarError::Unreachable { .. }), "{error}");
    }
}
