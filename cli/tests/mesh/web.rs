//! The HTTP of a mesh's nodes, read by a client of a few lines: what is sent is what the test says.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        // A space after the colon is usual, and not every server writes one.
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Sends a request as it stands and reads until the other side closes.
pub fn send(port: u16, request: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read(&mut BufReader::new(stream))
}

fn read(stream: &mut impl BufRead) -> Answer {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "no whole head: {head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: String::new() };
    match answer.header("content-length").map(|length| length.parse().unwrap()) {
        Some(length) => {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            answer.body = String::from_utf8(body).unwrap();
        }
        None => {
            stream.read_to_string(&mut answer.body).unwrap();
        }
    }
    answer
}

/// `GET` with more header lines, each with its end.
pub fn get_with(port: u16, path: &str, headers: &str) -> Answer {
    send(
        port,
        &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Connection: close\r\n\r\n"),
    )
}

pub fn get(port: u16, path: &str) -> Answer {
    get_with(port, path, "")
}

/// A document that must be there.
pub fn document(port: u16, path: &str) -> Value {
    let answer = get(port, path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// `POST` of JSON, as WebDriver speaks.
pub fn post(port: u16, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n");
    send(port, &format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
}

/// An open event stream.
pub struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens a stream; `last` is where it was before.
    pub fn open(port: u16, last: Option<&str>) -> (Stream, u16) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
        let head = format!("GET /api/v1/stream HTTP/1.1\r\nHost: localhost:{port}\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "no whole head: {head}");
        }
        (Stream(stream), head.split(' ').nth(1).unwrap().parse().unwrap())
    }

    /// The next event of a kind: its id and data. Chunks' lengths are lines of their own and are passed over.
    pub fn next(&mut self, kind: &str) -> (String, Value) {
        let (mut id, mut event) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(text) = line.strip_prefix("event: ") {
                event = text.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                if event == kind {
                    return (id, serde_json::from_str(data).unwrap());
                }
                id.clear();
            }
        }
    }
}
