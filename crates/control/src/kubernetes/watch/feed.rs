//! Asks the server: for a whole list, then for what changes.
//!
//! The list names no version, which makes it a consistent read (the server asks a majority of its
//! stores, and not its memory); its pages are of one moment, and count only together. A watch goes on
//! where the last one was, unless the server has forgotten that (410).

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::Api;
use kube::api::{ListParams, WatchParams};
use kube::core::{Resource, Status, WatchEvent};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::kubernetes::access::{Access, causes};
use crate::kubernetes::ownership::Listed;

/// What the server says.
#[derive(Debug)]
pub(super) enum Told {
    /// All routes that there are.
    All(Vec<Listed>),
    /// A route is new, or has changed.
    Changed(Box<Listed>),
    /// A route is gone.
    Gone(Box<Listed>),
    /// A watch goes on.
    Going,
    /// Nothing has happened up to now.
    Nothing,
}

/// Why the server says nothing.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// It refuses or fails.
    #[error("the API server answers {} to a {verb}: {}", .status.code, .status.message)]
    Refused {
        /// What it was asked for.
        verb: &'static str,
        /// Its answer.
        status: Box<Status>,
    },
    /// It cannot be reached, or not understood.
    #[error("{verb}: {}", causes(.error))]
    Failed {
        /// What it was asked for.
        verb: &'static str,
        /// What happened.
        error: Box<kube::Error>,
    },
    /// It takes too long.
    #[error("the API server says nothing to a {verb} for {} s", .after.as_secs())]
    Silent {
        /// What it was asked for.
        verb: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// It ends a watch that it has only just begun.
    #[error("the API server ends a watch at once")]
    Ended,
    /// It is not known where it is, or who we are to it.
    #[error("{0}")]
    NoAccess(String),
    /// It does not say of which version its list is.
    #[error("the API server's list has no version")]
    NoVersion,
}

/// How long is waited for the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long it may take to begin an answer, or to give a page.
    pub(crate) answer: Duration,
    /// How long a watch lasts, in whole seconds.
    pub(crate) watch_for: Duration,
    /// How much later its end may come.
    pub(crate) margin: Duration,
    /// The longest pause between two failures: a server that is down is asked so often at least.
    pub(crate) longest_pause: Duration,
}

/// What the server says, without an end; whoever takes it pauses after trouble.
pub(super) fn feed(from: Place, pace: Pace) -> impl Stream<Item = Result<Told, Trouble>> {
    stream::unfold(Feed { from, routes: None, pace, state: State::Unknown }, |mut feed| async {
        let told = feed.next().await;
        Some((told, feed))
    })
}

/// Whose routes, and how to reach them.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) access: Access,
    pub(crate) namespace: String,
}

struct Feed {
    from: Place,
    /// While nothing is wrong with them.
    routes: Option<Api<Listed>>,
    pace: Pace,
    state: State,
}

enum State {
    /// A list comes next.
    Unknown,
    /// All is known up to this version.
    Known(String),
    /// And what comes after it is coming.
    Watching(String, Watching),
}

/// A watch. It may be nothing but a refusal: that comes as the first thing it says.
struct Watching {
    changes: Changes,
    began: Instant,
    /// It has said something, or has not ended for a while.
    is_going: bool,
}

type Changes = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Listed>>>>>;

impl Feed {
    async fn next(&mut self) -> Result<Told, Trouble> {
        let routes = self.open().await?;
        let told = self.ask(&routes).await;
        self.routes = match &told {
            Err(trouble) if trouble.is_of_access() => None,
            _ => Some(routes),
        };
        told
    }

    async fn open(&mut self) -> Result<Api<Listed>, Trouble> {
        if let Some(routes) = self.routes.take() {
            return Ok(routes);
        }
        let Place { access, namespace } = &self.from;
        let client = access.open().await.map_err(|error| Trouble::NoAccess(error.to_string()))?;
        Ok(Api::namespaced(client, namespace))
    }

    async fn ask(&mut self, routes: &Api<Listed>) -> Result<Told, Trouble> {
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Unknown => {
                let (version, routes) = self.list(routes).await?;
                self.state = State::Known(version);
                Ok(Told::All(routes))
            }
            State::Known(version) => match self.watch(routes, &version).await {
                Ok(watching) => self.change(version, watching).await,
                Err(trouble) => self.again(version, Err(trouble)),
            },
            State::Watching(version, watching) => self.change(version, watching).await,
        }
    }

    async fn list(&self, routes: &Api<Listed>) -> Result<(String, Vec<Listed>), Trouble> {
        let mut parameters = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self.within("list", routes.list(&parameters)).await?;
            all.extend(page.items);
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                return Ok((version.ok_or(Trouble::NoVersion)?, all));
            }
        }
    }

    async fn watch(&self, routes: &Api<Listed>, version: &str) -> Result<Watching, Trouble> {
        let parameters = WatchParams::default().timeout(self.pace.watch_for.as_secs() as u32);
        let changes = self.within("watch", routes.watch(&parameters, version)).await?;
        Ok(Watching { changes: Box::pin(changes), began: Instant::now(), is_going: false })
    }

    async fn change(&mut self, version: String, mut watching: Watching) -> Result<Told, Trouble> {
        // The server ends a watch after the time that it was asked for; with one that is silent for
        // longer the connection is dead.
        let patience = self.pace.watch_for + self.pace.margin;
        let patience = if watching.is_going { patience } else { SHORTEST };
        let (told, version) = match timeout(patience, watching.changes.next()).await {
            Err(_) if !watching.is_going => (Told::Going, version),
            Err(_) => return self.again(version, Err(Trouble::silent("watch", patience))),
            Ok(None) if watching.began.elapsed() < SHORTEST => {
                return self.again(version, Err(Trouble::Ended));
            }
            Ok(None) => return self.again(version, Ok(Told::Nothing)),
            Ok(Some(Ok(WatchEvent::Added(route) | WatchEvent::Modified(route)))) => {
                let version = version_of(&route).unwrap_or(version);
                (Told::Changed(Box::new(route)), version)
            }
            Ok(Some(Ok(WatchEvent::Deleted(route)))) => {
                let version = version_of(&route).unwrap_or(version);
                (Told::Gone(Box::new(route)), version)
            }
            Ok(Some(Ok(WatchEvent::Bookmark(mark)))) => {
                (Told::Nothing, mark.metadata.resource_version)
            }
            Ok(Some(Ok(WatchEvent::Error(status)))) => {
                return self.again(version, Err(Trouble::Refused { verb: "watch", status }));
            }
            Ok(Some(Err(error))) => {
                let trouble = Trouble::of("watch", error);
                // What cannot be read would come again: a list shows what it comes to.
                return if trouble.is_read() {
                    self.again(version, Err(trouble))
                } else {
                    Err(trouble)
                };
            }
        };
        watching.is_going = true;
        self.state = State::Watching(version, watching);
        Ok(told)
    }

    /// The next watch begins after this version, unless the server has forgotten that.
    fn again(&mut self, version: String, told: Result<Told, Trouble>) -> Result<Told, Trouble> {
        if !told.as_ref().is_err_and(Trouble::is_gone) {
            self.state = State::Known(version);
        }
        told
    }

    /// The answer, if it comes in time.
    async fn within<T>(
        &self,
        verb: &'static str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Trouble> {
        let after = self.pace.answer;
        match timeout(after, answer).await {
            Ok(answer) => answer.map_err(|error| Trouble::of(verb, error)),
            Err(_) => Err(Trouble::silent(verb, after)),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        let [answer, watch_for, margin, longest_pause] = [10, 20, 5, 10].map(Duration::from_secs);
        Self { answer, watch_for, margin, longest_pause }
    }
}

impl Trouble {
    fn of(verb: &'static str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { verb, status },
            error => Self::Failed { verb, error: Box::new(error) },
        }
    }

    const fn silent(verb: &'static str, after: Duration) -> Self {
        Self::Silent { verb, after }
    }

    /// How long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let Self::Refused { status, .. } = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// It is a refusal or a broken connection, and nothing that was said and not understood.
    fn is_read(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.code != 0,
            Self::Failed { error, .. } => matches!(**error, kube::Error::ReadEvents(_)),
            _ => true,
        }
    }

    /// Another connection may do better: our token or the server's certificate may have changed.
    fn is_of_access(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.code == 401,
            Self::Failed { error, .. } => !matches!(**error, kube::Error::SerdeError(_)),
            Self::Silent { .. } => true,
            Self::Ended | Self::NoAccess(_) | Self::NoVersion => false,
        }
    }

    /// The server has forgotten what came after the last version that we know.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code == 410)
    }
}

fn version_of(route: &Listed) -> Option<String> {
    route.meta().resource_version.clone().filter(|version| !version.is_empty())
}

/// A watch that lasts less than this has failed: the next one waits a little.
const SHORTEST: Duration = Duration::from_secs(1);

/// Routes in a page.
const PAGE: u32 = 500;
