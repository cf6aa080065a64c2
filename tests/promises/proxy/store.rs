//! HTTP/1.1, one request a connection: the request goes on as it came but for `Connection: close` (which no signature
//! covers; `Host` must stay), so the end of the answer is the end of the stream.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fate, Link, Moment};

/// More than any head that a client or the store sends.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Serves one connection.
pub(super) async fn relay(link: Link) -> io::Result<()> {
    let Link {
        mut client,
        server,
        keeper,
        ..
    } = link;
    client.set_nodelay(true)?;
    let Some((head, mut body)) = read_head(&mut client).await? else {
        return Ok(());
    };
    let mut line = head.split(' ');
    let (method, path) = (line.next(), line.next());
    let call = keeper.call(method.unwrap_or_default(), path.unwrap_or_default());
    match keeper.ask(&call, Moment::Before) {
        Fate::Pass | Fate::Half => {}
        Fate::Delay(time) => tokio::time::sleep(time).await,
        Fate::Cut => return client.set_zero_linger(),
        Fate::Refused(status, code) => {
            let body = match call.method.as_str() {
                "HEAD" => String::new(),
                _ => format!("<Error><Code>{code}</Code></Error>"),
            };
            let head = format!(
                "HTTP/1.1 {status} {code}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            return client.write_all((head + &body).as_bytes()).await;
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
    let mut upstream = TcpStream::connect(server).await?;
    upstream
        .write_all(format!("{first}\r\nconnection: close\r\n{headers}\r\n\r\n").as_bytes())
        .await?;
    upstream.write_all(&body).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match keeper.ask(&call, Moment::After) {
        Fate::Pass | Fate::Refused(..) => {}
        Fate::Delay(time) => tokio::time::sleep(time).await,
        Fate::Cut => return client.set_zero_linger(),
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
