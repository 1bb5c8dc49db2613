//! Events: what became of each address, on the route that gives it. Told once per change, in a task of
//! its own, and no more than a cluster can bear: they are for people, and the Lease has what counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Report;
use crate::kubernetes::access::Access;
use crate::kubernetes::ownership::RouteFacts;
use crate::kubernetes::pod::Identity;
use crate::kubernetes::snapshot::RouteRef;
use crate::kubernetes::tenure::Hold;

/// Something to tell of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    route: RouteRef,
    kind: Kind,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    TakenUp,
    Released,
    Refused,
}

/// Takes what is to be told; what finds no room is not told, but counted.
pub(super) struct Announcer {
    queue: mpsc::Sender<News>,
    untold: Untold,
    /// Told when no more will come: what waits is told without a pause.
    hurry: Arc<Notify>,
    crier: JoinHandle<()>,
}

/// How many Events were not told: they found no room, or the server did not take them.
#[derive(Clone, Debug, Default)]
pub(in crate::kubernetes) struct Untold(Arc<AtomicU64>);

impl Untold {
    /// As many as that since the start.
    pub(in crate::kubernetes) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of addresses between two reports.
pub(super) fn news(before: &Report, now: &Report) -> Vec<News> {
    let (had, have) = (held(before), held(now));
    let (refused, refuse) = (refusals(before), refusals(now));
    let new = |rows: &[(RouteRef, String)], (route, note): &(RouteRef, String)| {
        !rows.iter().any(|(of, it)| of.facts().uid == route.facts().uid && it == note)
    };
    let tell = |kind, rows: &[(RouteRef, String)], known: &[(RouteRef, String)]| -> Vec<News> {
        let rows = rows.iter().filter(|row| new(known, row));
        let news = |(route, note): &(RouteRef, String)| News {
            route: route.clone(),
            kind,
            note: note.clone(),
        };
        rows.map(news).collect()
    };
    let mut all = tell(Kind::Released, &had, &have);
    all.extend(tell(Kind::TakenUp, &have, &had));
    all.extend(tell(Kind::Refused, &refuse, &refused));
    all
}

/// What is ours and taken up, with its route.
fn held(report: &Report) -> Vec<(RouteRef, String)> {
    let held =
        report.snapshot.given.iter().filter(|given| {
            matches!(given.hold, Some(Hold::Held(_))) && report.takes(given.address)
        });
    held.map(|given| (given.route.clone(), given.address.to_string())).collect()
}

/// What is not, and why. That a Pod does not get what another has is no refusal.
fn refusals(report: &Report) -> Vec<(RouteRef, String)> {
    let refused = report.snapshot.refused.iter().map(|refused| {
        let note = match refused.written.as_str() {
            "" => refused.reason.clone(),
            written => format!("{written}: {}", refused.reason),
        };
        (refused.route.clone(), note)
    });
    let given = |not_taken: &mooring_policy::NotTaken| {
        let mut all = report.snapshot.given.iter();
        all.find(|given| given.address == not_taken.address)
            .filter(|given| matches!(given.hold, Some(Hold::Held(_))))
            .map(|given| {
                (given.route.clone(), format!("{}: {}", not_taken.address, not_taken.reason))
            })
    };
    refused.chain(report.not_taken.iter().filter_map(given)).collect()
}

impl Announcer {
    /// Tells as `identity`.
    pub(super) fn start(access: Access, identity: Identity, untold: Untold) -> Self {
        let (queue, queued) = mpsc::channel(ROOM);
        let hurry = Arc::new(Notify::new());
        let (client, told) = (None, HashMap::new());
        let (missed, in_hurry) = (untold.clone(), Arc::clone(&hurry));
        let crier = Crier { access, client, identity, told, untold: missed, hurry: in_hurry };
        let crier = tokio::spawn(crier.run(queued));
        Self { queue, untold, hurry, crier }
    }

    pub(super) fn tell(&self, news: Vec<News>) {
        for news in news {
            // Full: the server has been slow for long, and there is too much to tell.
            if self.queue.try_send(news).is_err() {
                self.untold.one_more();
            }
        }
    }

    /// Tells what waits, all of it, and then no more. Whoever waits for this has a limit of his own.
    pub(super) async fn finish(self) {
        drop(self.queue);
        self.hurry.notify_one();
        // It has panicked, and that was told.
        let _ = self.crier.await;
    }
}

/// Tells the server.
struct Crier {
    access: Access,
    /// While nothing is wrong with it.
    client: Option<Client>,
    identity: Identity,
    /// What was told lately: the Event's name, how often, and when last.
    told: HashMap<(String, Kind, String), (String, i32, Instant)>,
    untold: Untold,
    hurry: Arc<Notify>,
}

impl Crier {
    async fn run(mut self, mut queued: mpsc::Receiver<News>) {
        let mut allowance = Allowance { left: BURST, since: Instant::now() };
        while let Some(news) = queued.recv().await {
            if !queued.is_closed()
                && let Some(wait) = allowance.take(Instant::now())
            {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.hurry.notified() => {}
                }
            }
            // One that could not be told is not told again: what it said may not be so any more.
            let client = self.client.take();
            let told = timeout(PATIENCE, async {
                let client = match client {
                    Some(client) => client,
                    None => self.access.open().await.ok()?,
                };
                let events = Api::namespaced(client.clone(), &self.identity.namespace);
                self.tell(&events, &news).await.ok()?;
                Some(client)
            });
            self.client = told.await.unwrap_or_default();
            if self.client.is_none() {
                self.untold.one_more();
            }
        }
    }

    async fn tell(&mut self, events: &Api<Event>, news: &News) -> kube::Result<()> {
        let now = Instant::now();
        self.told.retain(|_, (_, _, last)| now - *last < ONE_SERIES);
        let key = (news.route.facts().uid.clone(), news.kind, news.note.clone());
        if let Some((name, count, last)) = self.told.get_mut(&key) {
            (*count, *last) = (*count + 1, now);
            let last_observed_time = MicroTime(Timestamp::now());
            let series = EventSeries { count: *count, last_observed_time };
            let patch = json!({ "series": series });
            events.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            return Ok(());
        }
        let event = self.event(news, Timestamp::now());
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        self.told.insert(key, (name, 1, now));
        Ok(())
    }

    fn event(&self, news: &News, now: Timestamp) -> Event {
        let Identity { name, namespace, uid } = &self.identity;
        let RouteFacts { name: route, uid: route_uid, .. } = news.route.facts();
        let reference = |version: &str, kind: &str, name: &str, uid: &str| ObjectReference {
            api_version: Some(version.to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let (kind, severity) = match news.kind {
            Kind::TakenUp => ("AddressTakenUp", "Normal"),
            Kind::Released => ("AddressReleased", "Normal"),
            Kind::Refused => ("AddressRefused", "Warning"),
        };
        Event {
            metadata: ObjectMeta {
                name: Some(name_of(route, now)),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(kind.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(shortened(&format!("{name}: {}", news.note))),
            reason: Some(kind.to_owned()),
            regarding: Some(reference("networking.gke.io/v1", "GKEIPRoute", route, route_uid)),
            related: Some(reference("v1", "Pod", name, uid)),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(name.clone()),
            type_: Some(severity.to_owned()),
            ..Event::default()
        }
    }
}

/// Events that may be told at once.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// Takes one; says how long to wait for it.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let come =
            (now.saturating_duration_since(self.since).as_secs() / ONE_EVERY.as_secs()) as u32;
        if come > 0 {
            self.left = self.left.saturating_add(come).min(BURST);
            self.since += ONE_EVERY * come;
        }
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        self.since += ONE_EVERY;
        Some(self.since.saturating_duration_since(now))
    }
}

/// The name of an Event: its route's, cut where that is too long, and a time that no other has.
fn name_of(route: &str, now: Timestamp) -> String {
    let suffix = format!(".{:x}", now.as_nanosecond());
    let end = route.floor_char_boundary(LONGEST_NAME.saturating_sub(suffix.len()));
    // Each part between dots begins and ends with a letter or a digit (RFC 1123 as the API reads it).
    let route = route[..end].trim_end_matches(['.', '-']);
    format!("{route}{suffix}")
}

/// No longer than the API takes a note.
fn shortened(note: &str) -> String {
    let end = note.floor_char_boundary(LONGEST);
    note[..end].to_owned()
}

const CONTROLLER: &str = "mooring.dev/agent";

/// Bytes of a note.
const LONGEST: usize = 1_000;

/// Bytes of an object's name.
const LONGEST_NAME: usize = 253;

/// What waits to be told, at most.
const ROOM: usize = 64;

/// Events that may be told without a pause.
const BURST: u32 = 25;

/// Afterwards.
const ONE_EVERY: Duration = Duration::from_secs(5);

/// How long the same counts as a series.
const ONE_SERIES: Duration = Duration::from_secs(360);

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
