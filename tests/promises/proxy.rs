//! A door between job and store that a test holds: each call to the store may be let through, or not.
//!
//! HTTP/1.1, one request a connection: the request goes on as it came but for `Connection: close` (which no signature
//! covers; `Host` must stay), so the end of the answer is the end of the stream.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A call to the store.
#[derive(Clone, Debug)]
pub struct Call {
    /// From 1 since the proxy was started or [`Proxy::watch`] was called.
    pub number: u64,
    pub method: String,
    pub path: String,
}

/// When the proxy asks what is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The store has not heard of it.
    Before,
    /// The store has answered, and the caller does not know.
    After,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Pass,
    /// The connection ends without an answer.
    Cut,
    /// It goes on after this time.
    Delay(Duration),
    /// The answer is 503 (before), which the store never gave.
    Unavailable,
    /// Half of the answer comes, then the connection ends (after).
    Half,
}

type Hook = Arc<Mutex<dyn FnMut(&Call, Moment) -> Fate + Send>>;

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    endpoint: String,
    hook: Arc<Mutex<Hook>>,
    calls: Arc<AtomicU64>,
    _runtime: Runtime,
}

/// More than any head that a client or the store sends.
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Proxy {
    /// Stands before the store at `endpoint`, `http://address`. Everything passes at first.
    pub fn start(endpoint: &str) -> Self {
        let store: SocketAddr = endpoint
            .trim_start_matches("http://")
            .parse()
            .expect("the store's address");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let hook: Arc<Mutex<Hook>> =
            Arc::new(Mutex::new(Arc::new(Mutex::new(|_: &Call, _: Moment| {
                Fate::Pass
            }))));
        let calls = Arc::new(AtomicU64::new(0));
        let (hooks, counter) = (hook.clone(), calls.clone());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (hook, calls) = (hooks.lock().expect("the hook").clone(), counter.clone());
                tokio::spawn(async move {
                    // Whoever hangs up knows why.
                    let _ = relay(client, store, hook, calls).await;
                });
            }
        });
        Proxy {
            endpoint,
            hook,
            calls,
            _runtime: runtime,
        }
    }

    /// Where the job finds it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on `hook` decides over calls, which are counted anew.
    pub fn watch(&self, hook: impl FnMut(&Call, Moment) -> Fate + Send + 'static) {
        *self.hook.lock().expect("the hook") = Arc::new(Mutex::new(hook));
        self.calls.store(0, Relaxed);
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }
}

async fn relay(
    mut client: TcpStream,
    store: SocketAddr,
    hook: Hook,
    calls: Arc<AtomicU64>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some((head, mut body)) = read_head(&mut client).await? else {
        return Ok(());
    };
    let mut line = head.split(' ').map(str::to_owned);
    let call = Call {
        number: calls.fetch_add(1, Relaxed) + 1,
        method: line.next().unwrap_or_default(),
        path: line.next().unwrap_or_default(),
    };
    // A hook may block while it kills: that is what holds the call.
    let ask = |moment| hook.lock().expect("the hook")(&call, moment);
    match ask(Moment::Before) {
        Fate::Pass | Fate::Half => {}
        Fate::Delay(time) => tokio::time::sleep(time).await,
        Fate::Cut => return Ok(()),
        Fate::Unavailable => {
            return client
                .write_all(
                    b"HTTP/1.1 503 Slow Down\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                )
                .await;
        }
    }
    let length = header(&head, "content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    let (first, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut upstream = TcpStream::connect(store).await?;
    upstream
        .write_all(format!("{first}\r\nconnection: close\r\n{headers}\r\n\r\n").as_bytes())
        .await?;
    upstream.write_all(&body).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match ask(Moment::After) {
        Fate::Pass | Fate::Unavailable => {}
        Fate::Delay(time) => tokio::time::sleep(time).await,
        Fate::Cut => return Ok(()),
        Fate::Half => answer.truncate(answer.len() / 2),
    }
    client.write_all(&answer).await
}

/// The head without the empty line that ends it, and what came of the body with it.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            read.truncate(end);
            return Ok(String::from_utf8(read).ok().map(|head| (head, body)));
        }
        if read.len() > HEAD_BYTES_MAX || stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
