//! `/api/stream`: what happens, as server-sent events. Everything is put into words once, however many listen.
//!
//! A listener is told all at first. Then the state comes once a second, and lists that seldom change when they have.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, Sender};

use super::{Site, state, unavailable};

/// How often the state is told.
const INTERVAL: Duration = Duration::from_secs(1);
/// News that a listener may be behind before it has to begin anew.
const BACKLOG: usize = 64;

/// Something to tell, as it goes over the wire.
#[derive(Clone, Debug)]
pub struct News {
    frame: Bytes,
    /// Nothing comes after it.
    last: bool,
}

impl News {
    /// An event. JSON has no line breaks, so that it is one line.
    pub fn new(name: &str, data: &impl Serialize) -> serde_json::Result<Self> {
        let data = serde_json::to_string(data)?;
        let frame = Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
        let last = false;
        Ok(News { frame, last })
    }

    /// The map is another one.
    pub fn reload() -> Self {
        let frame = Bytes::from_static(b"event: reload\ndata: {}\n\n");
        News { frame, last: false }
    }

    /// The job has ended, and why.
    fn end(reason: &str) -> serde_json::Result<Self> {
        let news = Self::new("end", &serde_json::json!({ "reason": reason }))?;
        Ok(News { last: true, ..news })
    }
}

/// Tells all who listen.
pub struct Teller {
    news: Sender<News>,
    listeners_max: usize,
}

impl Teller {
    pub fn new(listeners_max: usize) -> Self {
        Teller {
            news: Sender::new(BACKLOG),
            listeners_max,
        }
    }

    pub fn tell(&self, news: News) {
        // An error says that nobody listens.
        let _ = self.news.send(news);
    }

    /// Tells the job's end, and why.
    pub fn end(&self, reason: &str) {
        // A text is there to be said in JSON.
        if let Ok(end) = News::end(reason) {
            self.tell(end);
        }
    }

    pub fn is_heard(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// `None` if there are as many listeners as there may be.
    fn listen(&self) -> Option<Receiver<News>> {
        // Two that come at once may both be let in.
        (self.news.receiver_count() < self.listeners_max).then(|| self.news.subscribe())
    }
}

/// Tells how the job is once a second, while anybody listens.
pub async fn tell_each_second(site: Arc<Site>) {
    let Ok((job, board)) = site.job() else { return };
    let mut seconds = tokio::time::interval(INTERVAL);
    let mut told = board.look();
    loop {
        seconds.tick().await;
        let heard = board.look();
        site.beats.take(&heard);
        if site.teller.is_heard() {
            let lists = state::lists(&heard, Some(&told));
            let state = News::new("state", &state::state(job, board, &heard, &site.health));
            for news in lists.into_iter().chain([state]).flatten() {
                site.teller.tell(news);
            }
        }
        told = heard;
    }
}

/// The stream: all that is known at once, then what happens, until the job's end.
pub async fn answer(State(site): State<Arc<Site>>) -> Response {
    let (job, board) = match site.job() {
        Ok(known) => known,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(listener) = site.teller.listen() else {
        return unavailable("too many watch: close a page that is no longer looked at");
    };
    let heard = board.look();
    let state = News::new("state", &state::state(job, board, &heard, &site.health));
    let beats = News::new("beats", &site.beats.list());
    let all = [state, beats].into_iter().chain(state::lists(&heard, None));
    let first: Vec<News> = all.flatten().collect();
    let later = stream::unfold(Some(listener), async |listener| {
        let mut listener = listener?;
        match listener.recv().await {
            Ok(news) => {
                let last = news.last;
                Some((news, (!last).then_some(listener)))
            }
            // What was missed may have been points, or a list: the page begins anew.
            Err(_) => None,
        }
    });
    let frames = stream::iter(first).chain(later).map(|news| news.frame);
    let body = Body::from_stream(frames.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_the_listeners_is_free_when_one_has_gone() {
        let teller = Teller::new(2);
        let listeners = (teller.listen(), teller.listen());
        assert!(listeners.0.is_some() && listeners.1.is_some() && teller.listen().is_none());
        drop(listeners.0);
        assert!(teller.listen().is_some());
    }

    #[test]
    fn an_event_is_two_lines_and_an_empty_one() {
        let news = News::new("said", &"one\ntwo").unwrap();
        assert_eq!(&news.frame[..], b"event: said\ndata: \"one\\ntwo\"\n\n");
    }
}
