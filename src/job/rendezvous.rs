//! How the processes of a job find each other.
//!
//! Each listens at its own address and calls those before it in the host file, in any order of starting. Both ends say who
//! they are before timely has the connection: a stray caller is not taken for a process of the job, and processes that
//! were started for different layouts end with a word about it. A peer whose machine or link is gone without a word is
//! noticed within [`SILENCE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use socket2::{SockRef, TcpKeepalive};

use super::{Contradiction, Layout};

/// Between two looks for a caller, and before the first second try of a call.
const BREATH: Duration = Duration::from_millis(10);
/// The longest pause between two calls.
const LONGEST_BREATH: Duration = Duration::from_millis(500);
/// How long the other end may take to be reached, and then to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is no news that a process is not there yet.
const NO_NEWS: Duration = Duration::from_secs(5);
/// How long a peer may leave what was sent unacknowledged, or probes unanswered, before it is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// One a process.
type Sockets = Vec<Option<TcpStream>>;

/// Who speaks, and for what layout it was started.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hello {
    process: u32,
    processes: u32,
    workers: u32,
}

/// A connection to every other process, in the order of the host file, `None` for this one; or nothing when `gives_up`
/// says so first. Blocks.
///
/// # Errors
/// An address that is not this machine's, and a [`Contradiction`] with a process of another layout.
pub fn rendezvous(layout: &Layout, gives_up: impl Fn() -> bool + Sync) -> Result<Option<Sockets>> {
    let me = Hello {
        process: layout.process as u32,
        processes: layout.addresses.len() as u32,
        workers: layout.workers as u32,
    };
    let address = &layout.addresses[layout.process];
    let listener = TcpListener::bind(address)
        .with_context(|| format!("process {} can't listen at {address}", me.process))?;
    listener.set_nonblocking(true)?;
    let failed = AtomicBool::new(false);
    let gives_up = &|| failed.load(Relaxed) || gives_up();
    std::thread::scope(|scope| {
        let callers = scope.spawn(|| tell(&failed, accept(&listener, me, gives_up)));
        let called = tell(&failed, call_all(layout, me, gives_up));
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

/// Waits for all processes behind this one.
fn accept(
    listener: &TcpListener,
    me: Hello,
    gives_up: &impl Fn() -> bool,
) -> Result<Option<Sockets>> {
    let first = me.process + 1;
    let mut sockets: Sockets = (first..me.processes).map(|_| None).collect();
    let mut waiting = Waiting::new();
    while let Some(missing) = sockets.iter().position(Option::is_none) {
        if gives_up() {
            return Ok(None);
        }
        let (mut socket, caller) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                waiting.tell(first + missing as u32, "for a call", &error);
                sleep(BREATH);
                continue;
            }
        };
        match meet(&mut socket, me) {
            Ok(hello) => {
                hello.agrees(me)?;
                let place = hello.process.checked_sub(first).map(|place| place as usize);
                match place.and_then(|place| sockets.get_mut(place)) {
                    // Who calls again has died and was started again: the old connection leads nowhere.
                    Some(place) => *place = Some(socket),
                    None => {
                        tracing::warn!(%caller, process = hello.process, "this process does not call here")
                    }
                }
            }
            Err(error) => tracing::warn!(%caller, %error, "a caller is no process of the job"),
        }
    }
    Ok(Some(sockets))
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
        let met = dial(address).and_then(|mut socket| Ok((meet(&mut socket, me)?, socket)));
        match met {
            // Where nobody listens yet, a call may reach itself.
            Ok((hello, _)) if hello == me => {}
            Ok((hello, socket)) => {
                hello.agrees(me)?;
                if hello.process == process {
                    return Ok(Some(socket));
                }
                return Err(Contradiction(format!(
                    "at {address} is process {}, not {process}: give every process the same host file",
                    hello.process
                ))
                .into());
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

/// Says who this is, and hears who the other is; afterwards the socket is as timely wants it.
fn meet(socket: &mut TcpStream, me: Hello) -> io::Result<Hello> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&me.to_bytes())?;
    let mut bytes = [0; Hello::BYTES];
    socket.read_exact(&mut bytes)?;
    socket.set_read_timeout(None)?;
    let hello = Hello::from_bytes(&bytes)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it speaks another language"))?;
    let socket = SockRef::from(&*socket);
    let probes = TcpKeepalive::new()
        .with_time(SILENCE / 3)
        .with_interval(SILENCE / 6);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(hello)
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

    fn tell(&mut self, process: u32, where_: &str, error: &io::Error) {
        if !self.told && self.since.elapsed() > NO_NEWS {
            self.told = true;
            tracing::warn!(%error, "waiting for process {process} of the job ({where_})");
        }
    }
}

impl Hello {
    const MAGIC: [u8; 8] = *b"eigenfl1";
    const BYTES: usize = 20;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&Self::MAGIC);
        let numbers = [self.process, self.processes, self.workers];
        for (place, number) in bytes[8..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (numbers, _) = bytes.strip_prefix(&Self::MAGIC)?.as_chunks::<4>();
        let [process, processes, workers] = *numbers else {
            return None;
        };
        Some(Hello {
            process: u32::from_be_bytes(process),
            processes: u32::from_be_bytes(processes),
            workers: u32::from_be_bytes(workers),
        })
    }

    /// Timely needs as many processes and workers everywhere.
    fn agrees(self, me: Hello) -> Result<(), Contradiction> {
        if (self.processes, self.workers) == (me.processes, me.workers) {
            return Ok(());
        }
        let layout = |hello: Hello| format!("-n {} -w {}", hello.processes, hello.workers);
        Err(Contradiction(format!(
            "process {} was started with {}, process {} with {}: start all processes of a job alike",
            me.process,
            layout(me),
            self.process,
            layout(self)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(n: usize) -> Vec<String> {
        let listeners: Vec<_> = (0..n)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr());
        addresses
            .map(|a| a.expect("an address").to_string())
            .collect()
    }

    fn layouts(workers: &[usize]) -> Vec<Layout> {
        let addresses = addresses(workers.len());
        let layout = |(process, &workers)| Layout {
            workers,
            process,
            addresses: addresses.clone(),
        };
        workers.iter().enumerate().map(layout).collect()
    }

    /// Every process at its thread; the last begins first.
    fn meet_all(layouts: &[Layout]) -> Vec<Result<Option<Sockets>>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = layouts
                .iter()
                .rev()
                .map(|layout| {
                    let thread = scope.spawn(|| rendezvous(layout, || false));
                    sleep(3 * BREATH);
                    thread
                })
                .collect();
            let met = threads.into_iter().rev().map(|thread| thread.join());
            met.map(|met| met.expect("no panic")).collect()
        })
    }

    #[test]
    fn every_process_reaches_every_other_one_in_spite_of_strangers() {
        let layouts = layouts(&[2; 4]);
        let stranger = layouts[0].addresses[0].clone();
        let strange = std::thread::spawn(move || {
            for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], b""] {
                let called = (0..100).find_map(|_| {
                    sleep(BREATH);
                    TcpStream::connect(&stranger).ok()
                });
                // Late, there is no listener any more.
                let _ = called.map(|mut socket| socket.write_all(words));
            }
        });
        let mut met: Vec<_> = meet_all(&layouts)
            .into_iter()
            .map(|sockets| sockets.expect("a meeting").expect("no end"))
            .collect();
        strange.join().expect("a stranger");
        for (from, to) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
            if from == to {
                assert!(met[from][to].is_none());
                continue;
            }
            let word = [from as u8, to as u8];
            let socket = met[from][to].as_mut().expect("a connection");
            socket.write_all(&word).expect("a word");
            let mut heard = [0; 2];
            let socket = met[to][from].as_mut().expect("a connection");
            socket.read_exact(&mut heard).expect("the word");
            assert_eq!(heard, word);
        }
    }

    #[test]
    fn processes_of_different_layouts_say_so() {
        for met in meet_all(&layouts(&[1, 2])) {
            let error = met.expect_err("a contradiction");
            assert!(error.is::<Contradiction>());
            assert!(error.to_string().contains("-n 2 -w 1"), "{error}");
            assert!(error.to_string().contains("-n 2 -w 2"), "{error}");
        }
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let layouts = layouts(&[1, 1]);
        assert!(
            rendezvous(&layouts[0], || true)
                .expect("no error")
                .is_none()
        );
        assert!(
            rendezvous(&layouts[1], || true)
                .expect("no error")
                .is_none()
        );
    }
}
