//! Real text of any size, with what breaks naive pipes in it.

use std::fs;
use std::path::{Path, PathBuf};

const LONG_LINE_BYTES: usize = 1_000_000;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The repository's own sources, repeated with their line numbers, at least `bytes` of them: with empty
/// lines, NUL bytes, carriage returns, invalid UTF-8, one very long line, and no newline at the end.
pub fn text(bytes: usize) -> Vec<u8> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src"), &mut files);
    files.sort();
    let lines: Vec<Vec<u8>> = files
        .iter()
        .flat_map(|file| {
            fs::read(file).unwrap().split_inclusive(|byte| *byte == b'\n').map(Vec::from).collect::<Vec<_>>()
        })
        .collect();
    let mut text: Vec<u8> = Vec::with_capacity(bytes + LONG_LINE_BYTES);
    let mut has_long_line = false;
    for (number, line) in lines.iter().cycle().enumerate() {
        if text.len() >= bytes {
            break;
        }
        // Numbers make every line one of its kind, so that no loss or exchange goes unseen.
        if line.len() > 1 {
            text.extend_from_slice(number.to_string().as_bytes());
        }
        text.extend_from_slice(line);
        match number % 1000 {
            1 => text.extend_from_slice(b"\n\n\r\n\n"),
            2 => text.extend_from_slice(b"with\0NUL\0\0\r\n\0\n"),
            3 => text.extend_from_slice(b"\xff\xfe no \xc3\x28 text \x80\n"),
            _ => {}
        }
        if !has_long_line && text.len() >= bytes / 3 {
            has_long_line = true;
            let long: Vec<u8> = lines.concat().into_iter().filter(|byte| *byte != b'\n').collect();
            text.extend(long.iter().cycle().take(LONG_LINE_BYTES - 1));
            text.push(b'\n');
        }
    }
    text.extend_from_slice(b"the last line has no newline");
    text
}

/// Where two texts first differ, for people; `None` when they do not.
pub fn difference(sent: &[u8], received: &[u8]) -> Option<String> {
    if sent == received {
        return None;
    }
    let at = sent.iter().zip(received).take_while(|(a, b)| a == b).count();
    let show = |text: &[u8]| {
        let end = text.len().min(at + 200);
        String::from_utf8_lossy(&text[at.min(end)..end]).into_owned()
    };
    let (sent_bytes, received_bytes) = (sent.len(), received.len());
    Some(format!(
        "{sent_bytes} bytes were sent and {received_bytes} received, different from byte {at} on\n\
         sent: {:?}\nreceived: {:?}",
        show(sent),
        show(received)
    ))
}
