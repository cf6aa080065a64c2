//! Doors between the job and its servers that a test holds: each call may be let through, or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

mod broker;
mod store;

/// A call to the server.
#[derive(Clone, Debug)]
pub struct Call {
    /// From 1 since the proxy was started or [`Proxy::watch`] was called.
    pub number: u64,
    /// Of HTTP, or the name of the Kafka API.
    pub method: String,
    /// What the store is asked for; nothing for Kafka.
    pub path: String,
}

/// When the proxy asks what is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server has not heard of it.
    Before,
    /// The server has answered, and the caller does not know.
    After,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Pass,
    /// The connection is reset without an answer.
    Cut,
    /// It goes on after this time.
    Delay(Duration),
    /// The answer is this status with S3's error code (before), which the store never gave.
    Refused(u16, &'static str),
    /// Half of the answer comes, then the connection ends (after).
    Half,
}

type Hook = Arc<Mutex<dyn FnMut(&Call, Moment) -> Fate + Send>>;

/// Counts calls and asks the test about them.
#[derive(Clone)]
struct Keeper {
    hook: Arc<Mutex<Hook>>,
    calls: Arc<AtomicU64>,
}

impl Keeper {
    fn call(&self, method: &str, path: &str) -> Call {
        Call {
            number: self.calls.fetch_add(1, Relaxed) + 1,
            method: method.to_owned(),
            path: path.to_owned(),
        }
    }

    /// A hook may block while it kills: that is what holds the call.
    fn ask(&self, call: &Call, moment: Moment) -> Fate {
        let hook = self.hook.lock().expect("the hook").clone();
        hook.lock().expect("the hook")(call, moment)
    }
}

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    keeper: Keeper,
    _runtime: Runtime,
}

impl Proxy {
    /// Stands before the store at `endpoint`, `http://address`. Everything passes at first.
    pub fn start(endpoint: &str) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, endpoint)
    }

    /// The same, for callers to whom this machine is `here`.
    pub fn start_at(here: Ipv4Addr, endpoint: &str) -> Self {
        let address = endpoint.trim_start_matches("http://");
        Self::before(here, address, store::relay)
    }

    /// Stands before the only broker, `address:port`, of a cluster. Everything passes at first.
    ///
    /// A request that one of its connection has sent before, byte for byte but for its number, is no call: a client polls
    /// for ever, and what it has learnt it does not ask in the same words.
    pub fn before_broker(broker: &str) -> Self {
        Self::before_broker_at(Ipv4Addr::LOCALHOST, broker)
    }

    /// The same, for callers to whom this machine is `here`: an address of as many characters as `127.0.0.1`.
    pub fn before_broker_at(here: Ipv4Addr, broker: &str) -> Self {
        Self::before(here, broker, broker::relay)
    }

    fn before<R>(here: Ipv4Addr, server: &str, relay: impl Fn(Link) -> R + Send + 'static) -> Self
    where
        R: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let server: SocketAddr = server.parse().expect("the server's address");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind((here, 0)))
            .expect("a port");
        let address = listener.local_addr().expect("its address");
        let pass: Hook = Arc::new(Mutex::new(|_: &Call, _: Moment| Fate::Pass));
        let keeper = Keeper {
            hook: Arc::new(Mutex::new(pass)),
            calls: Arc::default(),
        };
        let keeping = keeper.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = Link {
                    client,
                    server,
                    door: address,
                    keeper: keeping.clone(),
                };
                // Whoever hangs up knows why.
                tokio::spawn(relay(link));
            }
        });
        Proxy {
            address,
            keeper,
            _runtime: runtime,
        }
    }

    /// Where the job finds it, `address:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `hook` decides over calls, which are counted anew.
    pub fn watch(&self, hook: impl FnMut(&Call, Moment) -> Fate + Send + 'static) {
        *self.keeper.hook.lock().expect("the hook") = Arc::new(Mutex::new(hook));
        self.keeper.calls.store(0, Relaxed);
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.keeper.calls.load(Relaxed)
    }
}

/// A connection of the job.
struct Link {
    client: TcpStream,
    /// Where it shall lead.
    server: SocketAddr,
    /// Where the job has found it.
    door: SocketAddr,
    keeper: Keeper,
}
