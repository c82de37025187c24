//! The command as a child process. Whatever a test waits for, it waits for an event, and not for ever.
#![allow(dead_code, reason = "each test file uses its part of this")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A command line, not started yet. Stdin is empty.
pub(crate) fn utp<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_utp"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts the command.
pub(crate) fn start<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Running {
    Running::new(utp(args))
}

/// Starts the command with a stdin to write to.
pub(crate) fn start_fed<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Running {
    let mut command = utp(args);
    command.stdin(Stdio::piped());
    Running::new(command)
}

/// Starts the command and leaves its stdout alone until [`Running::hold`] takes it.
pub(crate) fn start_held<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Running {
    Running::start(utp(args), false)
}

/// Runs the command to its end.
pub(crate) fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Finished {
    start(args).finish()
}

/// A child process, killed if a test leaves it behind.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Gather>,
    stderr: Option<Gather>,
}

impl Running {
    pub(crate) fn new(command: Command) -> Self {
        Self::start(command, true)
    }

    fn start(mut command: Command, read_stdout: bool) -> Self {
        let mut child = command.spawn().expect("the command starts");
        let stdin = child.stdin.take();
        let stdout = if read_stdout { child.stdout.take().map(Gather::new) } else { None };
        let stderr = child.stderr.take().map(Gather::new);
        Self { child, stdin, stdout, stderr }
    }

    /// Where it says that it listens: `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.stderr().wait("the address", |bytes, ended| {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().find(|line| line.contains("listening on"));
            match line {
                Some(line) if text.ends_with('\n') => {
                    Some(line.rsplit_once("://").expect("an address").1.to_owned())
                }
                _ => {
                    assert!(!ended, "it ended: {text}");
                    None
                }
            }
        })
    }

    /// Writes to its stdin, which blocks if it takes nothing.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        self.stdin.as_mut().expect("stdin is open").write_all(data).expect("stdin takes data");
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.stdin.take().expect("stdin is open"));
    }

    /// Writes to its stdin and closes it, from a thread.
    pub(crate) fn feed_all(&mut self, data: Vec<u8>) {
        let mut stdin = self.stdin.take().expect("stdin is open");
        // It may end before it has read everything.
        thread::spawn(move || drop(stdin.write_all(&data)));
    }

    /// Waits until stdout is exactly this much.
    pub(crate) fn stdout_is(&self, expected: &[u8]) {
        let stdout = self.stdout.as_ref().expect("stdout is read");
        stdout.wait("stdout", |bytes, ended| {
            let so_far = bytes.len().min(expected.len());
            assert!(bytes[..so_far] == expected[..so_far], "stdout is not what was expected");
            assert!(!ended || bytes.len() >= expected.len(), "stdout ended early, at {}", bytes.len());
            (bytes.len() >= expected.len()).then(|| assert_eq!(bytes.len(), expected.len()))
        });
    }

    /// Waits until stderr contains this.
    pub(crate) fn stderr_has(&self, expected: &str) {
        self.stderr().wait(expected, |bytes, ended| {
            let text = String::from_utf8_lossy(bytes);
            let found = text.contains(expected);
            assert!(found || !ended, "it ended: {text}");
            found.then_some(())
        });
    }

    /// Its stdout, of a command started with [`start_held`].
    pub(crate) fn hold(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("stdout is held")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL or the like: it cannot say goodbye.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// Waits for its end. A stdin that was not closed before stays open.
    pub(crate) fn finish(mut self) -> Finished {
        let stderr = self.stderr.take().map(|stderr| stderr.all("the end")).unwrap_or_default();
        let stdout = self.stdout.take().map(|stdout| stdout.all("the end")).unwrap_or_default();
        // It has closed both, so it is about to end.
        let status = self.child.wait().expect("it ends");
        Finished { code: status.code(), stdout, stderr: String::from_utf8(stderr).expect("UTF-8") }
    }

    fn stderr(&self) -> &Gather {
        self.stderr.as_ref().expect("stderr is read")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    /// It succeeded, and had nothing to complain about.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(self.messages(), [""; 0]);
        self
    }

    /// It failed, and said why in one line, which is given.
    #[track_caller]
    pub(crate) fn failed(&self) -> &str {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        let messages = self.messages();
        assert_eq!(messages.len(), 1, "one line is expected: {:?}", self.stderr);
        messages[0].strip_prefix("utp: ").expect("the command's name")
    }

    /// What `--stats` printed: the last line.
    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        let last = self.stderr.lines().last().expect("a line");
        serde_json::from_str(last).expect("JSON")
    }

    /// Lines of stderr other than the address and the statistics.
    fn messages(&self) -> Vec<&str> {
        let expected = |line: &&str| !line.contains("listening on") && !line.starts_with('{');
        self.stderr.lines().filter(expected).collect()
    }
}

/// Reads a pipe to its end, in a thread.
pub(crate) struct Gather(Arc<Shared>);

#[derive(Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    changed: Condvar,
}

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    ended: bool,
}

impl Gather {
    pub(crate) fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let gather = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                // A terminal whose last user has gone gives an error.
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut gathered = shared.gathered.lock().unwrap_or_else(PoisonError::into_inner);
                gathered.bytes.extend_from_slice(&buffer[..read]);
                gathered.ended = read == 0;
                shared.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        gather
    }

    /// Waits until `check`, given what has come and whether that was all, gives something.
    pub(crate) fn wait<T>(&self, what: &str, mut check: impl FnMut(&[u8], bool) -> Option<T>) -> T {
        let Shared { gathered, changed } = &*self.0;
        let deadline = Instant::now() + LIMIT;
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = check(&gathered.bytes, gathered.ended) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited too long for {what}: {}",
                String::from_utf8_lossy(&gathered.bytes)
            );
            gathered = changed.wait_timeout(gathered, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything, once the pipe has ended.
    pub(crate) fn all(&self, what: &str) -> Vec<u8> {
        self.wait(what, |bytes, ended| ended.then(|| bytes.to_vec()))
    }
}

/// Looks again and again, for what gives no notice.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that do not repeat, other ones for each `seed` (SplitMix64).
pub(crate) fn data(len: usize, seed: u64) -> Vec<u8> {
    let word = |i: u64| {
        let mut x = seed.wrapping_add(1).wrapping_mul(0xA076_1D64_78BD_642F);
        x = x.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8) as u64).flat_map(|i| word(i).to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// Names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// For anything that a test waits for: more than it takes on the busiest of machines.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
