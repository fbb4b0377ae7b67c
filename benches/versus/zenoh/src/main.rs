//! Zenoh: direct and through a router, over QUIC and over TCP in clear; and a question through a router.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use versus_common::{
    LAST, MEASURED, Receipts, Role, Settings, WARM_UP, end_after, end_with_parent, free_address,
    new_histogram, times, wall_nanos, write_head,
};
use zenoh::qos::CongestionControl;
use zenoh::query::ConsolidationMode;
use zenoh::{Config, Session, Wait};

/// What entries and questions are published on.
const EVENTS: &str = "versus/events";
const QUESTIONS: &str = "versus/questions";
/// Entries between two looks at the clock, as an agent of `starling bench` has it.
const BATCH: usize = 64;
/// How long sessions may take to find one another, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody is there.
const LOOK: Duration = Duration::from_millis(10);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["node", what, place @ ..] => {
            end_with_parent();
            node(what, &Place::parse(place)?)
        }
        [work, transport, rest @ ..] => {
            let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
            let settings = Settings::parse(&rest)?;
            end_after(settings.duration + settings.warm_up + 4 * PATIENCE);
            let stage = Stage::set(transport, *work == "throughput")?;
            let report = match *work {
                "throughput" | "routed" => stage.publish(settings)?,
                "latency" => stage.ask(settings)?,
                _ => bail!("{work} is no work of this program"),
            };
            println!("{report}");
            Ok(())
        }
        _ => bail!("write a work (throughput, routed or latency) and a transport (quic or tcp)"),
    }
}

/// Their error as ours.
fn ours(error: zenoh::Error) -> anyhow::Error {
    anyhow!(error)
}

/// Where and how a session takes part.
struct Place {
    mode: String,
    listens: bool,
    endpoint: String,
    directory: PathBuf,
}

impl Place {
    fn parse(words: &[&str]) -> Result<Place> {
        let [mode, listens, endpoint, directory] = words else { bail!("a place has four words") };
        let (mode, endpoint) = (mode.to_string(), endpoint.to_string());
        Ok(Place { mode, listens: *listens == "listen", endpoint, directory: PathBuf::from(directory) })
    }

    fn words(&self) -> Result<[String; 4]> {
        let verb = if self.listens { "listen" } else { "connect" };
        let directory = self.directory.to_str().context("a temporary directory has a name in UTF-8")?;
        Ok([self.mode.clone(), verb.into(), self.endpoint.clone(), directory.into()])
    }

    /// All as it comes, but for who is found how: nobody but those who are named. QUIC with mutual TLS.
    fn open(&self) -> Result<Session> {
        let mut config = Config::default();
        let mut set = |key: &str, value: Value| config.insert_json5(key, &value.to_string()).map_err(ours);
        set("mode", json!(self.mode))?;
        set("scouting/multicast/enabled", json!(false))?;
        set("scouting/gossip/enabled", json!(false))?;
        let none: [&str; 0] = [];
        set("listen/endpoints", if self.listens { json!([self.endpoint]) } else { json!(none) })?;
        set("connect/endpoints", if self.listens { json!(none) } else { json!([self.endpoint]) })?;
        if self.endpoint.starts_with("quic") {
            let (certificate, key) = (self.directory.join("certificate.pem"), self.directory.join("key.pem"));
            set("transport/link/tls/enable_mtls", json!(true))?;
            set("transport/link/tls/root_ca_certificate", json!(certificate))?;
            for side in ["listen", "connect"] {
                set(&format!("transport/link/tls/{side}_certificate"), json!(certificate))?;
                set(&format!("transport/link/tls/{side}_private_key"), json!(key))?;
            }
        }
        zenoh::open(config).wait().map_err(ours)
    }
}

/// A process that does not publish and does not ask; it says a line when it is ready.
fn node(what: &str, place: &Place) -> Result<()> {
    let session = place.open()?;
    match what {
        "router" => {
            println!("ready");
            park()
        }
        "subscriber" => receive(&session),
        "answerer" => {
            let _queryable = session
                .declare_queryable(QUESTIONS)
                .complete(true)
                .callback(|query| {
                    let payload = query.payload().cloned().unwrap_or_default();
                    if let Err(error) = query.reply(query.key_expr().clone(), payload).express(true).wait() {
                        eprintln!("{error}");
                    }
                })
                .wait()
                .map_err(ours)?;
            println!("ready");
            park()
        }
        _ => bail!("{what} is no node of this program"),
    }
}

/// Stays until this process is ended.
fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// Receives until the last entry came, and says what it got.
fn receive(session: &Session) -> Result<()> {
    let (done, is_done) = mpsc::sync_channel(1);
    let (mut receipts, mut taken, mut now) = (Receipts::default(), 0_usize, 0);
    let subscriber = session.declare_subscriber(EVENTS).callback_mut(move |sample| {
        // Entries come here one by one, also where they came in one batch.
        if taken.is_multiple_of(BATCH / 4) {
            now = wall_nanos();
        }
        taken += 1;
        let was_over = receipts.is_over;
        receipts.take(&sample.payload().to_bytes(), now);
        if receipts.is_over && !was_over {
            // Somebody waits for the first report; there is no second.
            done.try_send(receipts.report()).unwrap_or_default();
        }
    });
    let _subscriber = subscriber.wait().map_err(ours)?;
    println!("ready");
    println!("{}", is_done.recv()?);
    park()
}

/// Everything that runs beside this process, and where it is found.
struct Stage {
    place: Place,
    router: Option<Role>,
    transport: String,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Left behind it would be a directory too many, and nothing worse.
        std::fs::remove_dir_all(&self.place.directory).ok();
    }
}

/// Starts a node and waits until it is ready.
fn start(what: &str, place: &Place) -> Result<Role> {
    let words: Vec<String> =
        ["node".to_string(), what.to_string()].into_iter().chain(place.words()?).collect();
    let role = Role::start(&words)?;
    ensure!(role.line()? == "ready", "a node says that it is ready");
    Ok(role)
}

impl Stage {
    /// With a router between, unless it is direct.
    fn set(transport: &str, is_direct: bool) -> Result<Stage> {
        ensure!(["quic", "tcp"].contains(&transport), "a transport is quic or tcp");
        let directory = std::env::temp_dir().join(format!("versus-zenoh-{}", std::process::id()));
        std::fs::create_dir(&directory)?;
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let made = rcgen::generate_simple_self_signed(names)?;
        std::fs::write(directory.join("certificate.pem"), made.cert.pem())?;
        std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())?;
        let mode = if is_direct { "peer" } else { "client" };
        let endpoint = format!("{transport}/{}", free_address()?);
        let place = Place { mode: mode.into(), listens: false, endpoint, directory };
        let mut stage = Stage { place, router: None, transport: transport.to_string() };
        if !is_direct {
            stage.router = Some(start("router", &stage.at("router", true))?);
        }
        Ok(stage)
    }

    fn at(&self, mode: &str, listens: bool) -> Place {
        let (endpoint, directory) = (self.place.endpoint.clone(), self.place.directory.clone());
        Place { mode: mode.into(), listens, endpoint, directory }
    }

    /// Publishes as fast as the other side takes it.
    fn publish(&self, settings: Settings) -> Result<Value> {
        let listens = self.router.is_none();
        let subscriber = start("subscriber", &self.at(&self.place.mode, listens))?;
        let session = self.place.open()?;
        let publisher = session
            .declare_publisher(EVENTS)
            .congestion_control(CongestionControl::Block)
            .wait()
            .map_err(ours)?;
        wait_until(|| Ok(publisher.matching_status().wait().map_err(ours)?.matching()))?;
        let (warm, over) = settings.schedule();
        let (mut number, mut payload) = (0, vec![0; settings.payload]);
        let mut put = |sent, phase| {
            write_head(&mut payload, number, sent, phase);
            number += 1;
            publisher.put(&payload[..]).wait().map_err(ours)
        };
        loop {
            let now = Instant::now();
            if now >= over {
                break;
            }
            let (sent, phase) = (wall_nanos(), if now < warm { WARM_UP } else { MEASURED });
            for _ in 0..BATCH {
                put(sent, phase)?;
            }
        }
        put(wall_nanos(), LAST)?;
        let mut report: Value = serde_json::from_str(&subscriber.line()?)?;
        (report["sent"], report["settings"]) =
            (json!(number), json!(self.described("blocks when congested")));
        Ok(report)
    }

    /// One question after the other.
    fn ask(&self, settings: Settings) -> Result<Value> {
        let _answerer = start("answerer", &self.at(&self.place.mode, false))?;
        let session = self.place.open()?;
        let querier = session
            .declare_querier(QUESTIONS)
            .consolidation(ConsolidationMode::None)
            .express(true)
            .wait()
            .map_err(ours)?;
        wait_until(|| Ok(querier.matching_status().wait().map_err(ours)?.matching()))?;
        let (warm, over) = settings.schedule();
        let (mut histogram, mut number, mut payload) = (new_histogram(), 0, vec![0; settings.payload]);
        loop {
            let begun = Instant::now();
            if begun >= over {
                break;
            }
            write_head(&mut payload, number, wall_nanos(), MEASURED);
            number += 1;
            let answers = querier.get().payload(&payload[..]).wait().map_err(ours)?;
            let answer = answers.recv_timeout(PATIENCE).map_err(ours)?.context("no answer came")?;
            let took = begun.elapsed();
            let sample = answer.result().map_err(|error| anyhow!("an answer is an error: {error}"))?;
            ensure!(*sample.payload().to_bytes() == payload[..], "an answer belongs to another question");
            // The end of the answers has to come too, and is not timed.
            ensure!(answers.recv().is_err(), "a question has two answers");
            if begun >= warm {
                histogram.saturating_record(u64::try_from(took.as_nanos())?);
            }
        }
        let per_second = histogram.len() as f64 / settings.duration.as_secs_f64();
        let settings = self.described("a complete queryable, express, not consolidated");
        Ok(json!({"per_second": per_second, "latency_us": times(&histogram), "settings": settings}))
    }

    fn described(&self, more: &str) -> String {
        let transport = if self.transport == "quic" { "QUIC, mutual TLS" } else { "TCP in clear" };
        let way = if self.router.is_some() { "through one router" } else { "direct" };
        format!("{transport}, {way}, batching and queues as they come; {more}")
    }
}

fn wait_until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < until, "nobody was found in time");
        std::thread::sleep(LOOK);
    }
    Ok(())
}
