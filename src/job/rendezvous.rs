//! How the processes of a job find each other.
//!
//! Each listens at its own address and calls those before it in the host file, in any order of starting. A meeting has three
//! steps: the caller says who it is, the called one answers the same of itself, the caller confirms. Only then has timely the
//! connection, so that neither a stray caller nor one that has given up meanwhile takes a process's place. Processes of
//! another job, or started for another layout, are told apart; who was called by mistake goes on waiting, who called by
//! mistake ends with a word about it. This is order, not defence: a job's ports belong into a network that is trusted.
//!
//! A peer whose machine or link is gone without a word is noticed within [`SILENCE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};
use socket2::{SockRef, TcpKeepalive};

use super::{Contradiction, Layout};

/// Between two looks for a caller, and before the first second try of a call.
const BREATH: Duration = Duration::from_millis(10);
/// The longest pause between two calls.
const LONGEST_BREATH: Duration = Duration::from_millis(500);
/// How long the other end may take to be reached, and then the whole meeting.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is no news that a process is not there yet.
const NO_NEWS: Duration = Duration::from_secs(5);
/// How long a peer may leave what was sent unacknowledged, or probes unanswered, before it is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Callers that may be met at once; more wait in the listener's queue.
const MEETINGS: usize = 64;
/// The caller's last word.
const CONFIRMED: [u8; 1] = [1];

/// One a process.
type Sockets = Vec<Option<TcpStream>>;

/// Who speaks, and for what it was started.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hello {
    /// Of the job's table.
    job: u64,
    process: u32,
    processes: u32,
    workers: u32,
}

/// A connection to every other process, in the order of the host file, `None` for this one; or nothing when `gives_up`
/// says so first. `job` is what all processes of the job have in common, and no other job. Blocks.
///
/// # Errors
/// An address that is not this machine's, and a [`Contradiction`] with a process that was called and is of another layout.
pub fn rendezvous(
    layout: &Layout,
    job: &str,
    gives_up: impl Fn() -> bool + Sync,
) -> Result<Option<Sockets>> {
    let me = Hello {
        job: digest(job),
        process: layout.process as u32,
        processes: layout.addresses.len() as u32,
        workers: layout.workers as u32,
    };
    let failed = AtomicBool::new(false);
    let gives_up = &|| failed.load(Relaxed) || gives_up();
    let Some(listener) = listen(&layout.addresses[layout.process], me, gives_up)? else {
        return Ok(None);
    };
    let calling = AtomicBool::new(true);
    let accept = || accept(&listener, me, || calling.load(Relaxed), gives_up);
    std::thread::scope(|scope| {
        let callers = scope.spawn(|| tell(&failed, accept()));
        let called = tell(&failed, call_all(layout, me, gives_up));
        calling.store(false, Relaxed);
        let callers = callers.join().map_err(|_| anyhow!("the listener died"))?;
        let (Some(mut sockets), Some(callers)) = (called?, callers?) else {
            return Ok(None);
        };
        sockets.push(None);
        sockets.extend(callers);
        Ok(Some(sockets))
    })
}

/// What fails here, the other thread need not wait for.
fn tell<T>(failed: &AtomicBool, result: Result<T>) -> Result<T> {
    failed.fetch_or(result.is_err(), Relaxed);
    result
}

/// Listens at this process's own address, once its name is known.
fn listen(address: &str, me: Hello, gives_up: &impl Fn() -> bool) -> Result<Option<TcpListener>> {
    let mut waiting = Waiting::new();
    while !gives_up() {
        match address.to_socket_addrs() {
            Ok(addresses) => {
                let addresses: Vec<SocketAddr> = addresses.collect();
                let listener = TcpListener::bind(&addresses[..]);
                let listener = listener
                    .with_context(|| format!("process {} can't listen at {address}", me.process))?;
                listener.set_nonblocking(true)?;
                return Ok(Some(listener));
            }
            // A pod's name is known a moment after the pod begins.
            Err(error) => waiting.tell(me.process, address, &error),
        }
        sleep(LONGEST_BREATH);
    }
    Ok(None)
}

/// Waits for all processes behind this one, and while this one is `calling` others for those that call once more. Callers are met beside
/// each other: a silent one holds nobody up for longer than its [`PATIENCE`].
fn accept(
    listener: &TcpListener,
    me: Hello,
    calling: impl Fn() -> bool,
    gives_up: &impl Fn() -> bool,
) -> Result<Option<Sockets>> {
    let first = me.process + 1;
    let sockets: Mutex<Sockets> = Mutex::new((first..me.processes).map(|_| None).collect());
    let missing = || {
        let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().position(Option::is_none)
    };
    let meetings = AtomicUsize::new(0);
    let mut waiting = Waiting::new();
    std::thread::scope(|scope| {
        loop {
            let missing = missing();
            if gives_up() || (missing.is_none() && !calling()) {
                return;
            }
            let accepted = match meetings.load(Relaxed) < MEETINGS {
                true => listener.accept(),
                false => Err(ErrorKind::WouldBlock.into()),
            };
            let (socket, caller) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(missing) = missing {
                        waiting.tell(first + missing as u32, "for a call", &error);
                    }
                    sleep(BREATH);
                    continue;
                }
            };
            meetings.fetch_add(1, Relaxed);
            let (sockets, meetings) = (&sockets, &meetings);
            scope.spawn(move || {
                match receive(socket, me) {
                    // Who calls again has died and was started again: the old connection leads nowhere.
                    Ok((hello, socket)) => {
                        let place = (hello.process - first) as usize;
                        let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
                        sockets[place] = Some(socket);
                    }
                    Err(error) => tracing::warn!(%caller, %error, "a caller is not taken for a process of the job"),
                }
                meetings.fetch_sub(1, Relaxed);
            });
        }
    });
    let sockets = sockets.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(sockets.iter().all(Option::is_some).then_some(sockets))
}

/// The called one's part of a meeting.
fn receive(socket: TcpStream, me: Hello) -> io::Result<(Hello, TcpStream)> {
    let mut meeting = Meeting::new(socket)?;
    let hello = meeting.hear_hello()?;
    meeting.socket.write_all(&me.to_bytes())?;
    let unlike = |what: String| Err(io::Error::new(ErrorKind::InvalidData, what));
    if hello.job != me.job {
        return unlike("it is of another job".to_owned());
    }
    if let Some(contradiction) = hello.contradicts(me) {
        return unlike(contradiction);
    }
    if !(me.process + 1..me.processes).contains(&hello.process) {
        return unlike(format!("process {} does not call here", hello.process));
    }
    meeting.hear(&mut [0; CONFIRMED.len()])?;
    Ok((hello, meeting.end()?))
}

/// Calls all processes before this one.
fn call_all(layout: &Layout, me: Hello, gives_up: &impl Fn() -> bool) -> Result<Option<Sockets>> {
    let before = layout.addresses.iter().take(layout.process).enumerate();
    before
        .map(|(process, address)| Ok(call(address, process as u32, me, gives_up)?.map(Some)))
        .collect()
}

/// Calls `process` until it answers.
fn call(
    address: &str,
    process: u32,
    me: Hello,
    gives_up: &impl Fn() -> bool,
) -> Result<Option<TcpStream>> {
    let mut waiting = Waiting::new();
    let mut breath = BREATH;
    while !gives_up() {
        match dial(address).and_then(|socket| introduce(socket, me)) {
            // Where nobody listens yet, a call may reach itself.
            Ok((hello, _)) if hello == me => {}
            Ok((hello, _)) if hello.job != me.job => {
                let error = io::Error::new(ErrorKind::AddrInUse, "another job answers there");
                waiting.tell(process, address, &error);
            }
            Ok((hello, mut meeting)) => {
                if let Some(contradiction) = hello.contradicts(me) {
                    return Err(Contradiction(contradiction).into());
                }
                if hello.process != process {
                    return Err(Contradiction(format!(
                        "at {address} is process {}, not {process}: give every process the same host file",
                        hello.process
                    ))
                    .into());
                }
                match meeting
                    .socket
                    .write_all(&CONFIRMED)
                    .and_then(|()| meeting.end())
                {
                    Ok(socket) => return Ok(Some(socket)),
                    Err(error) => waiting.tell(process, address, &error),
                }
            }
            Err(error) => waiting.tell(process, address, &error),
        }
        sleep(breath);
        breath = (breath * 2).min(LONGEST_BREATH);
    }
    Ok(None)
}

/// A name may have several addresses: the first that answers.
fn dial(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The caller's part of a meeting, but for the confirmation.
fn introduce(socket: TcpStream, me: Hello) -> io::Result<(Hello, Meeting)> {
    let mut meeting = Meeting::new(socket)?;
    meeting.socket.write_all(&me.to_bytes())?;
    Ok((meeting.hear_hello()?, meeting))
}

/// A conversation that must end in time, however slowly the other end speaks.
struct Meeting {
    socket: TcpStream,
    end: Instant,
}

impl Meeting {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Meeting {
            socket,
            end: Instant::now() + PATIENCE,
        })
    }

    fn hear(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut heard = 0;
        while heard < bytes.len() {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(&mut bytes[heard..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => heard += more,
            }
        }
        Ok(())
    }

    fn hear_hello(&mut self) -> io::Result<Hello> {
        let mut bytes = [0; Hello::BYTES];
        self.hear(&mut bytes)?;
        Hello::from_bytes(&bytes)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it speaks another language"))
    }

    /// The socket as timely wants it.
    fn end(self) -> io::Result<TcpStream> {
        self.socket.set_read_timeout(None)?;
        self.socket.set_write_timeout(None)?;
        let socket = SockRef::from(&self.socket);
        let probes = TcpKeepalive::new()
            .with_time(SILENCE / 3)
            .with_interval(SILENCE / 6);
        socket.set_tcp_keepalive(&probes)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(SILENCE))?;
        Ok(self.socket)
    }
}

/// Tells once, and not too soon, who is not there.
struct Waiting {
    since: Instant,
    told: bool,
}

impl Waiting {
    fn new() -> Self {
        Waiting {
            since: Instant::now(),
            told: false,
        }
    }

    fn tell(&mut self, process: u32, place: &str, error: &io::Error) {
        if !self.told && self.since.elapsed() > NO_NEWS {
            self.told = true;
            tracing::warn!(%error, "waiting for process {process} of the job ({place})");
        }
    }
}

impl Hello {
    const MAGIC: [u8; 8] = *b"eigenfl1";
    const BYTES: usize = 28;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&Self::MAGIC);
        bytes[8..16].copy_from_slice(&self.job.to_be_bytes());
        let numbers = [self.process, self.processes, self.workers];
        for (place, number) in bytes[16..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (job, numbers) = bytes.strip_prefix(&Self::MAGIC)?.split_first_chunk()?;
        let (numbers, _) = numbers.as_chunks::<4>();
        let [process, processes, workers] = *numbers else {
            return None;
        };
        Some(Hello {
            job: u64::from_be_bytes(*job),
            process: u32::from_be_bytes(process),
            processes: u32::from_be_bytes(processes),
            workers: u32::from_be_bytes(workers),
        })
    }

    /// Timely needs as many processes and workers everywhere.
    fn contradicts(self, me: Hello) -> Option<String> {
        if (self.processes, self.workers) == (me.processes, me.workers) {
            return None;
        }
        let layout = |hello: Hello| format!("-n {} -w {}", hello.processes, hello.workers);
        Some(format!(
            "process {} was started with {}, process {} with {}: start all processes of a job alike",
            me.process,
            layout(me),
            self.process,
            layout(self)
        ))
    }
}

fn digest(job: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(job).into();
    digest[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
