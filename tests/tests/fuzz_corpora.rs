//! Replays what is checked in for the fuzz targets: the seeds, and `fuzz/found/`, where an input goes that
//! once made a target fail, or that reaches what the seeds do not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use utp_tests::fuzz::{TARGETS, seeds};

fn directory(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind)
}

/// The inputs of a target, by name.
fn inputs(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory(kind).join(target)) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_input_passes() {
    // What the fuzzer has gathered, for the coverage of that: not in git.
    let corpus = std::env::var_os("FUZZ_CORPUS").is_some_and(|value| !value.is_empty());
    let kinds = ["seeds", "found", "corpus"];
    for (target, body) in TARGETS {
        let all: Vec<_> =
            kinds[..if corpus { 3 } else { 2 }].iter().flat_map(|kind| inputs(kind, target)).collect();
        assert!(all.iter().any(|(path, _)| path.starts_with(directory("seeds"))), "no seeds for {target}");
        for (path, input) in all {
            println!("{}", path.display()); // shown only if it fails
            body(&input);
        }
    }
}

#[test]
fn every_truncation_of_every_seed_passes() {
    for (target, name, bytes) in seeds::all() {
        let (_, body) = TARGETS.iter().find(|(t, _)| *t == target).expect("a target");
        println!("{target}/{name}");
        for len in 0..bytes.len() {
            body(&bytes[..len]);
        }
    }
}

#[test]
fn the_seeds_are_those_that_the_generator_writes() {
    for (target, name, bytes) in seeds::all() {
        let file = directory("seeds").join(target).join(name);
        assert_eq!(fs::read(&file).ok(), Some(bytes), "{}: run the bin fuzz-seeds", file.display());
    }
}

#[test]
fn every_target_has_a_shim_and_every_shim_a_target() {
    let bodies: BTreeSet<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    let shims: BTreeSet<_> = fs::read_dir(directory("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(bodies, shims);
    let manifest = fs::read_to_string(directory("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
        let shim = fs::read_to_string(directory("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(shim.contains(&format!("utp_tests::fuzz::{name}(")), "{name}");
    }
}
