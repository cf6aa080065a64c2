//! Connections, bounded: how many there are, and how long one may hold its place without being answered.
//!
//! Two clocks are enough for slow requests, silent callers and readers that don't read. Who asks has a few seconds to say it
//! all, from the first byte on, or from the start of the connection. From then on a connection is closed on which nothing could
//! be written for a while: every answer begins sooner, and streams say something every second. What a request may have, hyper
//! bounds: its head must fit a buffer, and none of ours has a body.
//!
//! Nobody can tell a probe before it has asked, so no place is kept for probes by name. Instead places come free: streams, which
//! last, may have half of them ([`Room::streams_max`]), and where few are left an answer ends its connection
//! ([`close_if_full`]).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Callers at once; more wait for their turn.
const CONNECTIONS_MAX: usize = 128;
/// How long a request may take to be asked.
const ASKING: Duration = Duration::from_secs(5);
/// How long a connection may be silent. Answers are given up sooner.
const SILENCE: Duration = Duration::from_secs(30);

/// The places for callers.
#[derive(Clone, Debug)]
pub struct Room {
    places: usize,
    free: Arc<Semaphore>,
}

impl Room {
    /// For [`CONNECTIONS_MAX`], and at most a quarter of the files that the process may open: the rest is the job's.
    pub fn new() -> Self {
        let places = files_max().map_or(CONNECTIONS_MAX, |files| {
            (files / 4).clamp(2, CONNECTIONS_MAX as u64) as usize
        });
        let free = Arc::new(Semaphore::new(places));
        Room { places, free }
    }

    /// Streams that there may be at once.
    pub fn streams_max(&self) -> usize {
        self.places / 2
    }

    fn is_scarce(&self) -> bool {
        self.free.available_permits() < self.places / 4
    }
}

/// The soft limit of open files, if it is known.
#[allow(unsafe_code, reason = "the limit of open files is the system's")]
fn files_max() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the system writes into the structure that it is given.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    known.then_some(limit.rlim_cur)
}

/// Where few places are left, each answer gives its own back.
pub async fn close_if_full(State(room): State<Room>, mut answer: Response) -> Response {
    if room.is_scarce() {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

/// A listener with some [`Room`].
pub struct Bounded {
    listener: TcpListener,
    room: Room,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    asking: Duration,
    silence: Duration,
}

impl Bounded {
    pub fn new(listener: TcpListener, room: Room) -> Self {
        Bounded {
            listener,
            room,
            limits: Limits {
                asking: ASKING,
                silence: SILENCE,
            },
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let Ok(place) = self.room.free.clone().acquire_owned().await else {
            unreachable!("the room is never closed")
        };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            limits: self.limits,
            phase: Phase::Asking(Head::default()),
            patience: Box::pin(sleep(self.limits.asking)),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A caller.
pub struct Connection {
    stream: TcpStream,
    limits: Limits,
    phase: Phase,
    patience: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// Where the talk is.
enum Phase {
    /// The caller has to say what it wants.
    Asking(Head),
    /// It has said so.
    Asked,
    /// Something was written since. What is read next is another request.
    Answered,
}

/// Looks for the empty line that ends a request's head.
#[derive(Default)]
struct Head {
    /// Of the line that is being read; before the head begins there is none.
    line_is_empty: Option<bool>,
}

impl Head {
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| match byte {
            b'\r' => false,
            b'\n' => match &mut self.line_is_empty {
                Some(is_empty) => std::mem::replace(is_empty, true),
                None => false,
            },
            _ => {
                self.line_is_empty = Some(false);
                false
            }
        })
    }
}

impl Connection {
    /// What became of waiting: nothing yet, or its end.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.patience
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn wait_anew(&mut self, limit: Duration) {
        self.patience.as_mut().reset(Instant::now() + limit);
    }

    fn read(&mut self, bytes: &[u8]) {
        if let Phase::Answered = self.phase {
            self.phase = Phase::Asking(Head::default());
            self.wait_anew(self.limits.asking);
        }
        if let Phase::Asking(head) = &mut self.phase
            && head.ends_in(bytes)
        {
            self.phase = Phase::Asked;
            self.wait_anew(self.limits.silence);
        }
    }

    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if poll.is_pending() {
            return self.wait(context);
        }
        self.phase = Phase::Answered;
        self.wait_anew(self.limits.silence);
        poll
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            ready => {
                let bytes = &buffer.filled()[before..];
                if !bytes.is_empty() {
                    self.read(bytes);
                }
                ready
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
