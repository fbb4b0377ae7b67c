//! The dashboards in a real browser, by the WebDriver protocol (W3C) that chromedriver speaks. Without
//! chromedriver the test says so and does nothing; `scripts/browser` brings it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agents::block_on;
use crate::http::{AGENTS, HOSTILE, populate};
use crate::process::{turn, until};
use crate::running::Mesh;
use crate::web::{get, post};

/// How long a page may take to show something.
const PATIENCE: Duration = Duration::from_secs(60);
/// The key of an element's reference (WebDriver, section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser without a window, gone when this is.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// None where there is no chromedriver.
    fn open() -> Option<Browser> {
        let is_there = |path: &&str| Path::new(path).exists();
        let driver = ["/usr/bin/chromedriver", "/usr/local/bin/chromedriver"].into_iter().find(is_there)?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser { driver: command.spawn().unwrap(), port, session: String::new(), profile };
        until("chromedriver listens", PATIENCE, String::new, || {
            TcpStream::connect(("127.0.0.1", port)).ok().map(|_| ())
        });
        let profile = format!("--user-data-dir={}", browser.profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--window-size=1280,1000",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = post(port, "/session", &wanted);
        assert_eq!(made.status, 200, "{made:?}");
        browser.session = format!("/session/{}", made.json()["value"]["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = post(self.port, &format!("{}{path}", self.session), body);
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        answer.json()["value"].take()
    }

    fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// The text of the first element that a selector finds; empty where there is none.
    fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
        self.run(script, &[selector]).as_str().unwrap().to_owned()
    }

    fn wait(&self, selector: &str, is_shown: impl Fn(&str) -> bool) -> String {
        let told = || format!("{selector}: {:?} in {}", self.text(selector), self.text("main"));
        until(selector, PATIENCE, told, || Some(self.text(selector)).filter(|text| is_shown(text)))
    }

    /// The element itself; it may be drawn anew between being found and being used, then once more.
    fn on(&self, selector: &str, action: &str, body: &Value) {
        let find = json!({"using": "css selector", "value": selector});
        until(
            selector,
            PATIENCE,
            || self.text("main"),
            || {
                let found = post(self.port, &format!("{}/element", self.session), &find);
                let element = found.json()["value"][ELEMENT].as_str()?.to_owned();
                let done = post(self.port, &format!("{}/element/{element}/{action}", self.session), body);
                (done.status == 200).then_some(())
            },
        );
    }

    fn click(&self, selector: &str) {
        self.on(selector, "click", &json!({}));
    }

    fn keys(&self, selector: &str, text: &str) {
        self.on(selector, "value", &json!({"text": text}));
    }

    fn query(&self) -> String {
        self.run("return location.search", &[]).as_str().unwrap().to_owned()
    }

    fn picture(&self, name: &str) {
        let answer = get(self.port, &format!("{}/screenshot", self.session)).json();
        let directory = pictures();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.png")), from_base64(answer["value"].as_str().unwrap()))
            .unwrap();
    }

    /// What the console complained about; failed loads are what the test kills nodes for.
    fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        let severe = log.as_array().unwrap().iter().filter(|line| line["level"] == "SEVERE");
        severe.map(Value::to_string).filter(|line| !line.contains("\"source\":\"network\"")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when it is asked to; killed, it would leave it behind.
        let request =
            format!("DELETE {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", self.session);
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            stream.set_read_timeout(Some(PATIENCE)).ok();
            let asked = stream.write_all(request.as_bytes());
            asked.and_then(|()| stream.read_to_end(&mut Vec::new())).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/screenshots")
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        held = (held << 6 | digit as u32) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

#[test]
fn a_browser_is_shown_true_numbers_and_the_dead_edge_in_words() {
    let Some(browser) = Browser::open() else {
        eprintln!("skipped: there is no chromedriver here; `scripts/browser` installs it");
        return;
    };
    let _turn = turn();
    let mut mesh = Mesh::start(0);
    let page = format!("http://127.0.0.1:{}/", mesh.http_coordinator());
    block_on(async {
        let (_client, agents) = populate(&mesh).await;
        let id = agents[0].id().to_string();
        tokio::task::block_in_place(|| {
            overview(&browser, &page);
            drill_down(&browser, &id);
            search_and_filter(&browser, &page, &id);
            small_screen(&browser, &page);
            let region = format!("http://127.0.0.1:{}/", mesh.http_aggregator());
            aggregator(&browser, &region);
        });
    });
    browser.go(&page);
    browser.wait("#sentence", |text| text.starts_with("Nothing is wrong"));
    mesh.kill("edge-0");
    let killed = Instant::now();
    browser.wait("#sentence", |text| text.contains("Edge edge-0 of region r0 is down."));
    println!("the page said so {:?} after the kill", killed.elapsed());
    browser.picture("edge-killed");
    browser.click("#panel-verdict a[href*='edge-0'], #panel-regions a[href='/?region=r0']");
    browser.wait("#panel-edges, #panel-edge", |text| text.contains("down"));
    browser.picture("edge-killed-region");
    assert_eq!(browser.complaints(), [""; 0]);
    drop(browser);
    assert_eq!(mesh.stop(), 0, "{}", mesh.logs());
}

fn overview(browser: &Browser, page: &str) {
    browser.go(page);
    browser.wait("#sentence", |text| text == "Nothing is wrong: 11 nodes in reach.");
    browser.wait("#agents", |text| text == AGENTS.to_string());
    browser.wait("#joined", |text| text == "11");
    browser.wait("#live", |text| text == "live");
    browser.wait("#panel-budget", |text| text.contains("10 of 10 nodes answered"));
    browser.picture("mesh");
}

/// Region, edge, agent by clicks; and the way back by the browser's own.
fn drill_down(browser: &Browser, id: &str) {
    browser.click("#panel-regions a[href='/?region=r0']");
    browser.wait("#panel-edges", |text| text.contains("3 of 3 edges") && text.contains("edge-0"));
    browser.picture("region");
    browser.click("#panel-edges table a[href='/?region=r0&edge=edge-0']");
    browser.wait("#edge-agents", |text| text == AGENTS.to_string());
    browser.wait("#shown", |text| text == format!("{AGENTS} shown of {AGENTS}."));
    browser.picture("edge");
    browser.click(&format!("a[href='/?agent={id}']"));
    let name = browser.wait("#agent-name", |text| !text.is_empty());
    assert_eq!(name, HOSTILE, "a name is text");
    assert_eq!(browser.run("return document.querySelectorAll('main img').length", &[]), 0);
    browser.post("/back", &json!({}));
    browser.wait("#edge-agents", |text| text == AGENTS.to_string());
    browser.post("/back", &json!({}));
    browser.wait("#panel-edges", |text| text.contains("3 of 3 edges"));
    assert_eq!(browser.query(), "?region=r0");
}

fn search_and_filter(browser: &Browser, page: &str, id: &str) {
    browser.keys("#q", "rare\u{E007}");
    browser.wait("#panel-found", |text| text.contains("2 agents in r0"));
    browser.click("#panel-found a[href='/?region=r0&tag=rare']");
    browser.wait("#shown", |text| text == "2 shown of 2.");
    browser.keys("input[name='name']", "agent-1\u{E007}");
    browser.wait("#shown", |text| text.starts_with("1 shown of"));
    assert!(browser.query().contains("tag=rare") && browser.query().contains("name=agent-1"));
    browser.go(&format!("{page}?q={id}"));
    browser.wait("#panel-found", |text| text.contains("at edge-0 in r0"));
    browser.go(&format!("{page}?view=events&level=debug"));
    browser.wait("#panel-events", |text| text.contains("link up"));
}

/// Nothing is wider than a phone, and its figures are the same.
fn small_screen(browser: &Browser, page: &str) {
    browser.post("/window/rect", &json!({"width": 500, "height": 900}));
    browser.go(page);
    browser.wait("#agents", |text| text == AGENTS.to_string());
    browser.wait("#panel-budget", |text| text.contains("nodes answered"));
    let wider = browser.run("return document.documentElement.scrollWidth - innerWidth", &[]);
    assert!(wider.as_i64() <= Some(0), "the page is {wider} pixels wider than the window");
    browser.picture("phone");
    browser.post("/window/rect", &json!({"width": 1280, "height": 1000}));
}

fn aggregator(browser: &Browser, page: &str) {
    browser.go(page);
    browser.wait("#where", |text| text == "r0-aggregator-0, aggregator of r0");
    browser.wait("#agents", |text| text == AGENTS.to_string());
    browser.wait("#panel-edges", |text| text.contains("3 of 3 edges"));
    browser.wait("#panel-topology", |text| text.contains("edge-"));
    browser.picture("aggregator");
}
