//! `/api/stream`: what happens, as server-sent events. Everything is put into words once, however many listen.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use futures::{StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

use super::{Site, state, unavailable};

/// How often the state is told.
const INTERVAL: Duration = Duration::from_secs(1);
/// News that a listener may be behind before it has to begin anew.
const BACKLOG: usize = 64;

/// What there is to tell.
#[derive(Clone, Debug)]
pub enum News {
    /// How the job is.
    State(Arc<str>),
    /// What a commit changed on the map.
    Points(Arc<str>),
    /// The map is another one.
    Reload,
    /// The job has ended.
    End(Arc<str>),
}

impl News {
    /// The job has ended, and why.
    pub fn end(reason: &str) -> Self {
        News::End(serde_json::json!({ "reason": reason }).to_string().into())
    }

    fn event(&self) -> Event {
        let (name, data) = match self {
            News::State(json) => ("state", &**json),
            News::Points(json) => ("points", &**json),
            News::Reload => ("reload", "{}"),
            News::End(json) => ("end", &**json),
        };
        Event::default().event(name).data(data)
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

    /// `None` if there are as many listeners as there may be.
    fn listen(&self) -> Option<Receiver<News>> {
        // Two that come at once may both be let in.
        (self.news.receiver_count() < self.listeners_max).then(|| self.news.subscribe())
    }

    fn is_heard(&self) -> bool {
        self.news.receiver_count() > 0
    }
}

/// Tells how the job is once a second, while anybody listens.
pub async fn tell_each_second(site: Arc<Site>) {
    let mut seconds = tokio::time::interval(INTERVAL);
    loop {
        seconds.tick().await;
        if site.teller.is_heard()
            && let Ok(state) = state::now(&site)
        {
            site.teller.tell(News::State(state.into()));
        }
    }
}

/// The stream: the state at once, then what happens, until the job's end.
pub async fn answer(State(site): State<Arc<Site>>) -> Response {
    let Some(listener) = site.teller.listen() else {
        return unavailable("too many watch: close a page that is no longer looked at");
    };
    let state = match state::now(&site) {
        Ok(state) => News::State(state.into()),
        Err(refusal) => return refusal.into_response(),
    };
    let later = stream::unfold(Some(listener), async |listener| {
        let mut listener = listener?;
        match listener.recv().await {
            Ok(news) => {
                let last = matches!(news, News::End(_));
                Some((news, (!last).then_some(listener)))
            }
            // What was missed may have been points.
            Err(RecvError::Lagged(_)) => Some((News::Reload, Some(listener))),
            Err(RecvError::Closed) => None,
        }
    });
    let news = stream::once(std::future::ready(state)).chain(later);
    Sse::new(news.map(|news| Ok::<_, Infallible>(news.event())))
        .keep_alive(KeepAlive::default())
        .into_response()
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
}
