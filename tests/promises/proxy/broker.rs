//! Kafka's protocol, as far as a door needs it: frames of an i32 length and as many bytes. A request begins with the API's
//! number (i16), its version (i16) and the request's own number (i32), by which the answer begins; answers come in the order
//! of the requests. All integers are big-endian.
//!
//! The broker tells where it listens, in answers about the cluster; the door puts its own place there, or the job would walk
//! around it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::{Call, Fate, Keeper, Link, Moment};

/// More than any frame that the tests' clients or brokers send.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// The head of a request up to and with its number.
const NUMBERED: usize = 8;
/// The APIs whose answers tell where brokers are.
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;

/// A request that went on to the broker.
struct Asked {
    api: i16,
    number: [u8; 4],
    /// None for a repetition.
    call: Option<Call>,
}

/// Serves one connection, until either side hangs up or a call is cut.
pub(super) async fn relay(link: Link) -> io::Result<()> {
    link.client.set_nodelay(true)?;
    let upstream = TcpStream::connect(link.server).await?;
    upstream.set_nodelay(true)?;
    let (from_client, to_client) = link.client.into_split();
    let (from_broker, to_broker) = upstream.into_split();
    let (asked, answers_due) = mpsc::unbounded_channel();
    let places = (link.server, link.door);
    // Whichever ends first drops the other, and with it both connections.
    tokio::select! {
        ended = requests(from_client, to_broker, asked, &link.keeper) => ended,
        ended = answers(from_broker, to_client, answers_due, &link.keeper, places) => ended,
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut broker: OwnedWriteHalf,
    asked: mpsc::UnboundedSender<Asked>,
    keeper: &Keeper,
) -> io::Result<()> {
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    while let Some(request) = read_frame(&mut client).await? {
        let Some((head, words)) = request.split_at_checked(NUMBERED) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let api = i16::from_be_bytes([head[0], head[1]]);
        let number = [head[4], head[5], head[6], head[7]];
        let anew = known.insert([&head[..4], words].concat());
        let call = anew.then(|| keeper.call(&name(api), ""));
        if let Some(call) = &call {
            match keeper.ask(call, Moment::Before) {
                Fate::Pass | Fate::Half => {}
                Fate::Delay(time) => tokio::time::sleep(time).await,
                Fate::Cut | Fate::Refused(..) => return client.as_ref().set_zero_linger(),
            }
        }
        // Its end is the other side's business.
        let _ = asked.send(Asked { api, number, call });
        write_frame(&mut broker, &request).await?;
    }
    Ok(())
}

async fn answers(
    mut broker: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut due: mpsc::UnboundedReceiver<Asked>,
    keeper: &Keeper,
    (broker_at, door): (SocketAddr, SocketAddr),
) -> io::Result<()> {
    while let Some(mut answer) = read_frame(&mut broker).await? {
        let Some(asked) = due.recv().await else {
            return Ok(());
        };
        assert!(answer.starts_with(&asked.number), "answers are in order");
        if matches!(asked.api, METADATA | FIND_COORDINATOR) {
            lead_back(&mut answer, broker_at, door);
        }
        if let Some(call) = &asked.call {
            match keeper.ask(call, Moment::After) {
                Fate::Pass | Fate::Refused(..) => {}
                Fate::Delay(time) => tokio::time::sleep(time).await,
                Fate::Cut => return client.as_ref().set_zero_linger(),
                Fate::Half => {
                    client
                        .write_all(&framed(&answer)[..answer.len() / 2])
                        .await?;
                    return Ok(());
                }
            }
        }
        write_frame(&mut client, &answer).await?;
    }
    Ok(())
}

/// Puts the door's host and port (i32) in the place of the broker's, whatever encoded the host's length before it: that
/// must stay as it is.
fn lead_back(answer: &mut [u8], broker: SocketAddr, door: SocketAddr) {
    let place = |address: SocketAddr| {
        let host = address.ip().to_string().into_bytes();
        [&host[..], &i32::from(address.port()).to_be_bytes()].concat()
    };
    let (broker, door) = (place(broker), place(door));
    assert_eq!(broker.len(), door.len(), "hosts as long as each other");
    let mut at = 0;
    while let Some(window) = answer.get_mut(at..at + broker.len()) {
        if window == broker {
            window.copy_from_slice(&door);
        }
        at += 1;
    }
}

async fn read_frame(stream: &mut OwnedReadHalf) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    Ok(Some(frame))
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

async fn write_frame(stream: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(bytes)).await
}

/// The names of the APIs that the job's clients use.
fn name(api: i16) -> String {
    let known = match api {
        1 => "Fetch",
        2 => "ListOffsets",
        METADATA => "Metadata",
        8 => "OffsetCommit",
        9 => "OffsetFetch",
        FIND_COORDINATOR => "FindCoordinator",
        18 => "ApiVersions",
        71 => "GetTelemetrySubscriptions",
        other => return format!("API {other}"),
    };
    known.to_owned()
}

#[test]
fn an_answer_leads_back_to_the_door() {
    let place =
        |host: &str, port: i32| [&b"\x00\x09"[..], host.as_bytes(), &port.to_be_bytes()].concat();
    let broker = |port| place("127.0.0.1", port);
    let mut answer = [broker(9092), broker(9093), broker(9092), vec![1]].concat();
    let door = SocketAddr::from(([192, 0, 2, 1], 40_000));
    lead_back(&mut answer, SocketAddr::from(([127, 0, 0, 1], 9092)), door);
    let door = || place("192.0.2.1", 40_000);
    let expected = [door(), broker(9093), door(), vec![1]].concat();
    assert_eq!(answer, expected);
}
