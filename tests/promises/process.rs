//! A process that a test started. What it writes is read all the while, so a full pipe never stops it; it is waited for with
//! a limit; and it ends with the test that started it.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than any process of a test takes, on a slow machine, too.
pub const LIMIT: Duration = Duration::from_secs(300);
const GLANCE: Duration = Duration::from_millis(5);

/// A started process. Dropping it kills it.
pub struct Process {
    child: Child,
    stdout: Said,
    stderr: Said,
}

/// What came out of a pipe so far.
struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn by(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let said = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut part) {
                said.lock().expect("a log").extend(&part[..length]);
            }
        });
        Said { bytes, reader }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().expect("a log").clone()
    }
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child =
            spawned.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Process {
            stdout: Said::by(child.stdout.take().expect("a pipe")),
            stderr: Said::by(child.stderr.take().expect("a pipe")),
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, `libc::SIGTERM` for one.
    pub fn signal(&self, signal: i32) {
        signal_to(self.id(), signal);
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Whether it has ended, and who inherited its pipes has, too.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
            && self.stdout.reader.is_finished()
            && self.stderr.reader.is_finished()
    }

    /// Waits for its end.
    pub fn wait(self) -> Output {
        self.wait_within(LIMIT)
    }

    /// Waits for its end, which must come within `limit`.
    pub fn wait_within(mut self, limit: Duration) -> Output {
        let begun = Instant::now();
        while !self.has_ended() {
            assert!(
                begun.elapsed() < limit,
                "no end within {limit:?}:\n{}",
                self.log()
            );
            std::thread::sleep(GLANCE);
        }
        Output {
            status: self.child.wait().expect("its end"),
            stdout: self.stdout.so_far(),
            stderr: self.stderr.so_far(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process, which may have ended.
pub fn signal_to(id: u32, signal: i32) {
    // SAFETY: a system call without memory.
    unsafe { libc::kill(id.cast_signed(), signal) };
}

/// Runs a command to its end.
pub fn outcome(command: &mut Command) -> Output {
    Process::start(command).wait()
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = outcome(command);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{log}", output.status);
    output
}

/// Whether a program can be started by its name.
pub fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Asks until it is so.
pub fn wait_until(what: &str, limit: Duration, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_does_not_end_is_killed_and_its_log_is_told() {
    let mut command = Command::new("sh");
    let process = Process::start(command.args(["-c", "echo so far >&2; exec sleep 1000"]));
    let id = process.id();
    let waited = std::thread::spawn(move || process.wait_within(Duration::from_millis(500))).join();
    let failure = waited.expect_err("it sleeps");
    let failure = failure.downcast_ref::<String>().expect("a message");
    assert!(failure.contains("so far"), "{failure}");
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_log_longer_than_a_pipe_stops_nobody() {
    let mut command = Command::new("sh");
    let process = Process::start(command.args(["-c", "yes | head -c 1000000 >&2"]));
    assert_eq!(process.wait().stderr.len(), 1_000_000);
}
