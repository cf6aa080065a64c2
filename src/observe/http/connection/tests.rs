use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(50);

/// A caller, and its connection with these limits.
async fn connected(asking: Duration, silence: Duration) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bounded = Bounded::new(listener, Room::new());
    bounded.limits = Limits { asking, silence };
    let address = bounded.local_addr().unwrap();
    let caller = TcpStream::connect(address).await.unwrap();
    (caller, bounded.accept().await.0)
}

/// Reads until the connection ends.
async fn end(connection: &mut Connection) -> io::ErrorKind {
    let mut read = Vec::new();
    connection.read_to_end(&mut read).await.unwrap_err().kind()
}

#[tokio::test]
async fn a_caller_that_does_not_say_what_it_wants_is_let_go_however_it_dribbles() {
    let (mut caller, mut connection) = connected(SOON, NEVER).await;
    let dribbling = async {
        loop {
            let _ = caller.write_all(b"x\r\n").await;
            sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::select! {
        ended = end(&mut connection) => ended,
        () = dribbling => unreachable!("it never ends"),
    };
    assert_eq!(ended, io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_request_that_is_not_answered_is_let_go_in_the_end() {
    let (mut caller, mut connection) = connected(NEVER, SOON).await;
    caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(end(&mut connection).await, io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_request_has_its_whole_time_however_long_the_caller_was_silent_before() {
    let (mut caller, mut connection) = connected(NEVER, NEVER).await;
    let mut request = [0; 18];
    let mut deadline = connection.patience.deadline();
    for _ in 0..3 {
        sleep(Duration::from_millis(2)).await;
        caller
            .write_all(b"GET / HTTP/1.1\r\n\r\nmore")
            .await
            .unwrap();
        connection.read_exact(&mut request).await.unwrap();
        let asked = connection.patience.deadline();
        assert!(asked > deadline);
        // What comes before the answer wins no time.
        sleep(Duration::from_millis(2)).await;
        connection.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(connection.patience.deadline(), asked);
        connection.write_all(b"answer").await.unwrap();
        deadline = connection.patience.deadline();
        assert!(deadline > asked);
    }
}

#[test]
fn a_head_ends_with_its_first_empty_line() {
    for (head, ends) in [
        (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], true),
        (b"GET / HTTP/1.1\nhost: a\n\n", true),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", false),
        (b"GET / HTTP/1.1\r\nhost: a\r\n", false),
        (b"", false),
    ] {
        assert_eq!(Head::default().ends_in(head), ends);
        let mut dribbled = Head::default();
        let mut bytes = head.chunks(1);
        assert_eq!(bytes.any(|byte| dribbled.ends_in(byte)), ends);
    }
}

#[tokio::test]
async fn places_are_few_and_an_answer_gives_its_own_back_when_they_are_taken() {
    let room = Room::new();
    assert!(room.places <= CONNECTIONS_MAX && room.streams_max() < room.places);
    let closes = async || {
        let answer = close_if_full(State(room.clone()), Response::default()).await;
        answer.headers().contains_key(header::CONNECTION)
    };
    assert!(!closes().await);
    let all = room.free.acquire_many(room.places as u32).await.unwrap();
    assert!(closes().await);
    drop(all);
}
