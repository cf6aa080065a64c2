//! Asking a running process over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Process, wait_until};

const TIMEOUT: Duration = Duration::from_secs(180);

/// An answer: its status, its head, its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// A GET with these header lines; nothing while nobody answers.
pub fn get(address: &str, path: &str, headers: &str) -> Option<Answer> {
    let mut socket = open(address, path, headers)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head,
        body: answer[end + 4..].to_vec(),
    })
}

/// A request whose answer is yet to be read.
pub fn open(address: &str, path: &str, headers: &str) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(TIMEOUT)).ok()?;
    let host = match headers.contains("host:") {
        true => String::new(),
        false => format!("host: {address}\r\n"),
    };
    let request = format!("GET {path} HTTP/1.1\r\n{host}{headers}connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    Some(socket)
}

/// A process that answers.
pub struct Listening {
    pub process: Process,
    pub address: String,
}

impl Listening {
    /// Starts a process with `--listen`; its log says where it answers.
    pub fn start(mut command: Command) -> Self {
        let mut process = Process::start(command.args(["--listen", "127.0.0.1:0"]));
        let mut address = None;
        wait_until("a log that says where it answers", TIMEOUT, || {
            assert!(!process.has_ended(), "{}", process.log());
            let log = process.log();
            let said = log.split_once("http://").map(|(_, rest)| rest);
            address = said.and_then(|rest| Some(rest.split_once('/')?.0.to_owned()));
            address.is_some()
        });
        Listening {
            process,
            address: address.expect("an address"),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        get(&self.address, path, "").unwrap_or_else(|| panic!("no answer: {}", self.log()))
    }

    /// Asks until the answer satisfies `what`.
    pub fn until(&self, path: &str, what: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answer = self.get(path);
            if what(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path}: {}", answer.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
