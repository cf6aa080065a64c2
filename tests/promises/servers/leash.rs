//! Servers as processes that no test leaves behind.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::shared::loud;

/// Apache Kafka's version in `fetch.sh`.
pub const KAFKA: &str = "4.1.1";
/// SeaweedFS in the folder of `fetch.sh`.
pub const WEED: &str = "seaweedfs/bin/weed";
const STARTING: Duration = Duration::from_secs(90);

/// The folder of what `fetch.sh` brought; or a loud word that the test does nothing.
pub fn brought() -> Option<PathBuf> {
    let cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        std::env::var_os("XDG_CACHE_HOME")
            .map_or_else(home, PathBuf::from)
            .join("eigenflow/servers")
    };
    let folder = std::env::var_os("EIGENFLOW_SERVERS").map_or_else(cache, PathBuf::from);
    let kafka = folder.join(format!("kafka/kafka-tools-{KAFKA}.jar"));
    if kafka.exists() && folder.join(WEED).exists() {
        return Some(folder);
    }
    loud(&format!(
        "SKIPPED: no servers in {}; tests/promises/servers/fetch.sh brings them, EIGENFLOW_SERVERS names another folder",
        folder.display()
    ));
    None
}

/// A process that ends when this one ends or drops it, with its folder: its shell waits for the end of a pipe from here.
pub struct Leash {
    shell: Child,
    folder: PathBuf,
}

/// `$1` is the folder; what comes over the pipe before its end is the wish to keep it. A signal to the whole group must
/// not end the shell before it has done this.
const LEASH: &str = r#"
folder=$1; shift
"$@" & trap '' HUP INT TERM
read -r keep
kill -9 $!; wait
[ "$keep" ] || rm -rf "$folder"
"#;

impl Leash {
    /// Starts a command that works in `folder` and is logged there.
    pub fn start(folder: PathBuf, command: &[String], environment: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(folder.join("log")).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let shell = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .arg(&folder)
            .args(command)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("a shell");
        Leash { shell, folder }
    }

    /// Kills the process and keeps its folder.
    pub fn kill(mut self) {
        let mut pipe = self.shell.stdin.take().expect("a pipe");
        pipe.write_all(b"keep\n").expect("the shell");
    }

    /// Asks until the server answers; its log, if it never does.
    pub fn wait_for(&self, mut answers: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !answers() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < STARTING, "no server:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Ports that nobody listens on now.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
