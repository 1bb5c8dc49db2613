//! Follows the routes of the namespace: a consistent list, then a watch of what changes, for ever.
//!
//! Whatever the server answers, what is known stays until it is known better: refusals, overload,
//! silence and a list that breaks off change nothing.

mod backoff;
mod feed;

use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::backoff::Backoff;
pub(super) use self::feed::{Pace, Place};
use self::feed::{Told, Trouble, feed};
use super::ledger::Ledger;
use super::snapshot::Snapshot;

/// What the watch is told.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// The Pod is on these networks, and sessions outlast a loss for so long.
    Configure(BTreeSet<String>, Duration),
    /// Another host uses an address of ours: the doubt of this number.
    Conflict(IpAddr, u64),
}

/// How it stands with the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// What went wrong last, if nothing went right since.
    pub trouble: Option<String>,
}

/// Follows the routes.
pub(super) struct Watch<W> {
    from: Place,
    pace: Pace,
    ledger: Ledger,
    orders: mpsc::UnboundedReceiver<Order>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    contact: watch::Sender<Contact>,
    /// Wakes who takes the snapshots and hears of the contact.
    wake: W,
    /// What times are counted from.
    start: Instant,
    backoff: Backoff,
    /// Until then nothing is asked of the server.
    resume: Option<Instant>,
    /// A list is asked for, and how many doubts there were before that.
    lists: bool,
    asked_at: u64,
}

/// Where the watch tells what it sees.
pub(super) struct Outlets<W> {
    pub(super) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub(super) contact: watch::Sender<Contact>,
    pub(super) wake: W,
}

type Feed<'a> = Pin<&'a mut dyn Stream<Item = Result<Told, Trouble>>>;

/// What ends the waiting.
enum Met {
    Order(Option<Order>),
    Time,
    Told(Result<Told, Trouble>),
}

impl<W: Fn()> Watch<W> {
    /// Of these routes.
    pub(super) fn new(
        (from, pace): (Place, Pace),
        ledger: Ledger,
        orders: mpsc::UnboundedReceiver<Order>,
        outlets: Outlets<W>,
    ) -> Self {
        let Outlets { snapshots, contact, wake } = outlets;
        Self {
            from,
            pace,
            ledger,
            orders,
            snapshots,
            contact,
            wake,
            start: Instant::now(),
            backoff: Backoff::new(pace.longest_pause),
            resume: None,
            lists: false,
            asked_at: 0,
        }
    }

    /// Follows until nobody gives orders any more.
    pub(super) async fn run(mut self) {
        loop {
            (self.lists, self.asked_at) = (true, self.ledger.doubts());
            let stream = pin!(feed(self.from.clone(), self.pace));
            if self.follow(stream).await.is_none() {
                return;
            }
        }
    }

    /// Follows a stream until another, which begins with a list, is better; `None` is the end.
    async fn follow(&mut self, mut stream: Feed<'_>) -> Option<()> {
        loop {
            let mut list_is_due = false;
            match self.wait(&mut stream).await {
                Met::Order(None) => return None,
                Met::Order(Some(Order::Configure(networks, retention))) => {
                    self.ledger.configure(networks, retention, self.now());
                }
                Met::Order(Some(Order::Conflict(address, number))) => {
                    list_is_due = self.doubt(address, number);
                }
                Met::Time => self.ledger.pass(self.now()),
                Met::Told(Ok(told)) => list_is_due = self.see(told),
                Met::Told(Err(trouble)) => self.note(&trouble),
            }
            self.publish();
            if list_is_due {
                return Some(());
            }
        }
    }

    /// Waits for whatever comes first; what is asked of the server goes on meanwhile.
    async fn wait(&mut self, stream: &mut Feed<'_>) -> Met {
        let resume = self.resume;
        let told = async {
            if let Some(at) = resume {
                sleep_until(at).await;
            }
            match stream.next().await {
                Some(told) => told,
                // It has no end.
                None => pending().await,
            }
        };
        let deadline = self.deadline();
        let time = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            order = self.orders.recv() => Met::Order(order),
            () = time => Met::Time,
            told = told => Met::Told(told),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.ledger.deadline().map(|after| self.start + after)
    }

    /// Says whether a list is due.
    fn see(&mut self, told: Told) -> bool {
        let now = self.now();
        // One whose watches go on and end is to be left alone as well.
        if !matches!(told, Told::Going) {
            self.backoff.reset();
        }
        let mut list_is_due = false;
        match told {
            Told::All(routes) => {
                self.lists = false;
                list_is_due = self.ledger.list(routes, self.asked_at, now);
            }
            Told::Changed(route) => self.ledger.change(*route, now),
            Told::Gone(route) => self.ledger.remove(&route, now),
            Told::Going | Told::Nothing => {}
        }
        self.resume = None;
        self.tell(None);
        list_is_due
    }

    fn note(&mut self, trouble: &Trouble) {
        let pause = self.backoff.pause();
        let pause = trouble
            .retry_after()
            .map_or(pause, |after| after.clamp(pause, self.pace.longest_pause.max(pause)));
        self.resume = Some(Instant::now() + pause);
        self.tell(Some(trouble.to_string()));
        self.ledger.lose_contact(self.now());
        // Whatever is asked for next is asked for later.
        self.asked_at = self.ledger.doubts();
    }

    /// Another host uses the address. Says whether the server is to be asked now whether it is ours: a list
    /// that is under way is not broken off for that. Signs may come faster than a list takes, and none
    /// would settle anything.
    fn doubt(&mut self, address: IpAddr, number: u64) -> bool {
        let in_contact = self.contact.borrow().trouble.is_none();
        let is_ours = self.ledger.doubt(address, number, in_contact, self.now());
        let pauses = self.resume.is_some_and(|at| at > Instant::now());
        is_ours && (!self.lists || pauses)
    }

    fn publish(&self) {
        let Some(snapshot) = self.ledger.snapshot() else { return };
        let published = self.snapshots.send_if_modified(|published| {
            let news = published.as_deref() != Some(&snapshot);
            if news {
                *published = Some(Arc::new(snapshot));
            }
            news
        });
        if published {
            (self.wake)();
        }
    }

    fn tell(&self, trouble: Option<String>) {
        let now = Contact { trouble };
        let told = self.contact.send_if_modified(|contact| {
            let news = *contact != now;
            if news {
                *contact = now;
            }
            news
        });
        if told {
            (self.wake)();
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
