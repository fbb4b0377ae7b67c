//! What is fuzzed, without a fuzzer: every file of `fuzz/corpus` goes to its target as it is, cut short
//! and with flipped bytes.
//!
//! `STARLING_WRITE_CORPUS=1 cargo test -p starling-sim --test corpus` writes the seeds among them anew.

#![allow(missing_docs, reason = "a test has no users")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod seeds;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

/// Damaged copies of a file, of each kind.
const COPIES_MAX: usize = 120;
/// The same for a machine, which takes a hundred inputs a file.
const MACHINE_COPIES_MAX: usize = 12;
/// Bytes of the whole corpus: it lies in the repository.
const CORPUS_BYTES_MAX: u64 = 64 * 1024;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn files(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(directory(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it is listed").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

/// The bytes cut at, and flipped at, so many places.
fn damaged(bytes: &[u8], copies_max: usize) -> impl Iterator<Item = Vec<u8>> {
    let step = bytes.len().div_ceil(copies_max).max(1);
    (0..bytes.len()).step_by(step).flat_map(move |place| {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1 << (place % 8);
        [bytes[..place].to_vec(), flipped]
    })
}

#[test]
fn every_target_stands_its_corpus_whole_and_damaged() {
    for (name, run) in TARGETS {
        let is_machine = matches!(name, "edge" | "aggregator" | "coordinator");
        let copies_max = if is_machine { MACHINE_COPIES_MAX } else { COPIES_MAX };
        let files = files(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for bytes in files {
            run(&bytes);
            damaged(&bytes, copies_max).for_each(|bytes| run(&bytes));
        }
    }
}

#[test]
fn every_target_is_a_binary_and_every_directory_a_target() {
    let root = directory("..");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("fuzz has a manifest");
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is in no [[bin]]");
        let source = fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).expect("its source");
        assert!(source.contains(&format!("starling_fuzz::{name}(data)")), "{name} runs something else");
    }
    let listed = fs::read_dir(directory("")).expect("there is a corpus");
    let listed = listed.map(|entry| entry.expect("it is listed").file_name().to_string_lossy().into_owned());
    assert_eq!(listed.collect::<BTreeSet<_>>(), names);
}

#[test]
fn the_corpus_is_small() {
    let bytes: usize = TARGETS.iter().flat_map(|(name, _)| files(name)).map(|file| file.len()).sum();
    assert!(bytes as u64 <= CORPUS_BYTES_MAX, "{bytes} bytes");
}

/// The values are good: what a decoder refuses at once reaches little.
#[test]
fn seeds_are_taken() {
    seeds::assert_taken();
}

#[test]
fn the_corpus_has_every_seed_as_it_is_made_today() {
    let writes = std::env::var_os("STARLING_WRITE_CORPUS").is_some();
    for (target, files) in seeds::all() {
        let directory = directory(target);
        for (number, bytes) in files.iter().enumerate() {
            let path = directory.join(format!("seed-{number}"));
            if writes {
                fs::create_dir_all(&directory).expect("a directory can be made");
                fs::write(&path, bytes).expect("a file can be written");
            }
            let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(&kept, bytes, "{}", path.display());
        }
    }
}
