//! What the house promises of itself: imports go one way only, the core is pure, nothing is unsafe.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the core in layers, each of which may import from those before it, and from the common ones.
const LAYERS: &[&[&str]] = &[
    &["wire"],
    &["time", "error", "event", "stats", "rng"],
    &["congestion"],
    &["config"],
    &["buffer", "rtt", "mtu", "pacer"],
    &["connection"],
    &["endpoint"],
];

/// Crates, and those of ours that each may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("utp-proto", &[]),
    ("utp-driver", &["utp-proto"]),
    ("utp-tokio", &["utp-proto", "utp-driver"]),
    ("utp-async-std", &["utp-proto", "utp-driver"]),
    ("utp-mio", &["utp-proto", "utp-driver"]),
    ("utp-cli", &["utp-proto", "utp-driver", "utp-tokio", "utp-async-std", "utp-mio"]),
    ("tests", &["utp-proto", "utp-driver", "utp-tokio", "utp-async-std", "utp-mio", "utp-cli"]),
];

/// What the core must not name: clocks, sockets, threads, files, randomness of the system.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "thread",
    "Mutex",
    "RandomState",
    "getrandom",
    "OsRng",
    "from_os_rng",
    "std::fs",
    "std::io::Read",
    "std::env",
    "std::process",
    "async fn",
    "tokio",
    "unsafe",
    "println!",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file: no comments, no tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.filter(|line| !line.trim_start().starts_with("#![forbid")).collect::<Vec<_>>().join("\n")
}

/// First segments of the paths that begin with `crate::`, those in braces included.
fn imports(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let (mut depth, mut name, mut known) = (0, String::new(), false);
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth <= 1 => break,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    names.insert(std::mem::take(&mut name));
                    known = false;
                }
                // What follows is within the module named so far.
                ':' if depth == 0 => break,
                ':' if depth == 1 => known = true,
                _ if c.is_alphanumeric() || c == '_' => name.extend((depth <= 1 && !known).then_some(c)),
                _ if depth == 0 => break,
                _ => {}
            }
        }
        names.insert(name);
    }
    names.remove("");
    names
}

/// What `lib.rs` re-exports: name and module.
fn reexports(lib: &str) -> Vec<(String, String)> {
    let uses = lib.match_indices("pub use ").map(|(at, found)| &lib[at + found.len()..]);
    let mut all = Vec::new();
    for rest in uses {
        let statement = rest.split(';').next().unwrap_or_default();
        let (module, names) = statement.split_once("::").expect("a path");
        for name in names.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|name| !name.is_empty())
        {
            all.push((name.to_owned(), module.to_owned()));
        }
    }
    all
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn modules_of_the_core_import_downwards_only() {
    let src = root().join("utp-proto/src");
    let exported = reexports(&code(&src.join("lib.rs")));
    let mut edges = 0;
    for path in sources(&src) {
        let within = path.strip_prefix(&src).expect("below").to_string_lossy().replace('\\', "/");
        if within == "lib.rs" || within.ends_with("tests.rs") {
            continue;
        }
        let module = within.split(['/', '.']).next().expect("a name").to_owned();
        let own = layer(&module).unwrap_or_else(|| panic!("{module} belongs to no layer"));
        for name in imports(&code(&path)) {
            let target = exported
                .iter()
                .find(|(exported, _)| *exported == name)
                .map_or(name.as_str(), |(_, module)| module);
            let Some(target_layer) = layer(target) else {
                panic!("{within} imports crate::{name}, which belongs to no layer")
            };
            assert!(
                target == module || target_layer < own || LAYERS[1].contains(&target),
                "{within} imports {target} ({name}), which is not below {module}"
            );
            edges += 1;
        }
    }
    assert!(edges > 40, "{edges} imports: is the search broken?");
}

#[test]
fn wire_stands_alone() {
    for path in sources(&root().join("utp-proto/src/wire")) {
        if !path.ends_with("tests.rs") {
            assert!(imports(&code(&path)).is_empty(), "{path:?}");
        }
    }
}

#[test]
fn a_connection_knows_nothing_of_the_endpoint() {
    for path in sources(&root().join("utp-proto/src/connection")) {
        let code = code(&path);
        for name in ["ConnectionHandle", "Endpoint", "Transmit", "Verdict", "endpoint::", "super::super"] {
            assert!(!code.contains(name), "{path:?} names {name}");
        }
    }
}

#[test]
fn the_core_names_no_clock_socket_thread_or_randomness_of_the_system() {
    for path in sources(&root().join("utp-proto/src")) {
        if path.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        let code = code(&path);
        for name in IMPURE {
            assert!(!code.contains(name), "{path:?} names {name}");
        }
    }
}

#[test]
fn crates_depend_downwards_only() {
    let members = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    for (name, allowed) in CRATES {
        let Ok(manifest) = fs::read_to_string(root().join(name).join("Cargo.toml")) else {
            assert!(!members.contains(&format!("\"{name}\"")), "{name} is a member without a manifest");
            continue;
        };
        for line in manifest.lines().filter(|line| line.starts_with("utp-")) {
            let dependency = line.split(['.', ' ', '=']).next().expect("a name");
            let ours = CRATES.iter().any(|(name, _)| *name == dependency);
            assert!(!ours || allowed.contains(&dependency), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn core_driver_and_adapters_forbid_unsafe_code() {
    for name in ["utp-proto", "utp-driver", "utp-tokio", "utp-async-std", "utp-mio"] {
        let lib = root().join(name).join("src/lib.rs");
        if root().join(name).exists() {
            let text = fs::read_to_string(lib).expect("its root");
            assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{name}");
        }
    }
}

#[test]
fn the_search_for_imports_finds_them() {
    let code = "use crate::wire::{A, B};\nuse crate::{Config, time::Time, error::{X, Y}};\ncrate::Event> {\nuse crate::rtt;";
    let found: Vec<_> = imports(code).into_iter().collect();
    assert_eq!(found, ["Config", "Event", "error", "rtt", "time", "wire"]);
}
