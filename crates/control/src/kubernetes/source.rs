//! The control plane as the rest of the process sees it: a thread that gives complete snapshots and
//! takes reports. No type of kube or tokio is seen here, and nothing here waits for the server.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::access::Access;
use super::doubts::{Doubts, Signs};
use super::ledger::Ledger;
use super::ownership::Context;
use super::pod::Identity;
use super::report::{Report, Reporter, Untold};
use super::snapshot::Snapshot;
use super::watch::{Contact, Order, Outlets, Pace, Place, Watch};

/// What the control plane is told at its start.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who we are.
    pub identity: Identity,
    /// The networks that we are on.
    pub networks: BTreeSet<String>,
    /// How long sessions outlast the loss of their address.
    pub session_retention: Duration,
}

/// The control plane, at work. Dropped, it ends within [`FAREWELL`].
pub struct KubernetesSource {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    contact: watch::Receiver<Contact>,
    // Dropping it ends the watch, and with it the thread.
    orders: Option<mpsc::UnboundedSender<Order>>,
    doubts: Doubts,
    reports: Option<watch::Sender<Option<Arc<Report>>>>,
    untold: Untold,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no control plane.
#[derive(Debug, Error)]
pub enum StartError {
    /// It is not known where the API server is, or who we are to it.
    #[error("cannot find the Kubernetes API: {0}")]
    Unknown(String),
    /// The system has no thread or descriptor left.
    #[error("cannot start the control plane: {0}")]
    System(#[from] io::Error),
}

impl KubernetesSource {
    /// Begins to follow the routes of our namespace. `begin` is what the control plane's thread does first,
    /// to give up rights; without that it does nothing. `wake` is called, from that thread,
    /// whenever there is another snapshot, and when the contact is lost or comes back.
    ///
    /// # Errors
    /// `begin`'s; when the Pod has no ServiceAccount token (`automountServiceAccountToken: false`), or the
    /// kubeconfig that `KUBECONFIG` names cannot be used.
    /// That the server does not answer is no error: it is asked again and again.
    pub fn start(
        terms: Terms,
        begin: impl FnOnce() -> io::Result<()> + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, StartError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Self::start_with((Access::Environment, Pace::default()), runtime, terms, (begin, wake))
    }

    pub(super) fn start_with(
        (access, pace): (Access, Pace),
        runtime: Runtime,
        terms: Terms,
        (begin, wake): (
            impl FnOnce() -> io::Result<()> + Send + 'static,
            impl Fn() + Send + 'static,
        ),
    ) -> Result<Self, StartError> {
        // What is wrong with the Pod is said at once, and not after it has been tried again and again.
        runtime.block_on(access.open())?;
        let (snapshots, latest) = watch::channel(None);
        let (contact, in_contact) = watch::channel(Contact::default());
        let (orders, ordered) = mpsc::unbounded_channel();
        let (reports, reported) = watch::channel(None);
        let Terms { identity, networks, session_retention } = terms;
        let context = Context { pod: identity.name.clone(), networks };
        let ledger = Ledger::new(context, session_retention);
        let from = Place { access: access.clone(), namespace: identity.namespace.clone() };
        let outlets = Outlets { snapshots, contact, wake };
        // The reports have connections of their own: the watch never waits for one.
        let untold = Untold::default();
        let reporter = Reporter::new(access, identity, reported, untold.clone());
        let (sender, begun) = sync_channel(1);
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            let begun = begin();
            let failed = begun.is_err();
            if sender.send(begun).is_err() || failed {
                return;
            }
            runtime.block_on(async {
                let reporting = tokio::spawn(reporter.run());
                Watch::new((from, pace), ledger, ordered, outlets).run().await;
                // The last report says that nothing is held any more; nobody waits for long for it.
                let _ = timeout(FAREWELL, reporting).await;
            });
            // Requests that are under way are given up.
            runtime.shutdown_background();
        })?;
        begun.recv().map_err(io::Error::other)??;
        Ok(Self {
            snapshots: latest,
            contact: in_contact,
            orders: Some(orders),
            doubts: Doubts::default(),
            reports: Some(reports),
            untold,
            thread: Some(thread),
        })
    }

    /// What the routes say now, without what is in doubt; `None` until they were listed once.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        let latest = self.snapshots.borrow().clone()?;
        Some(self.doubts.apply(latest))
    }

    /// How it stands with the API server.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.contact.borrow().clone()
    }

    /// The Pod is on these networks from now on, and sessions outlast a loss for so long.
    pub fn configure(&self, networks: BTreeSet<String>, session_retention: Duration) {
        self.order(Order::Configure(networks, session_retention));
    }

    /// Other hosts have spoken for addresses of ours. From now on those are not held, until the API
    /// server says that they are ours; if that does not come soon, they are left to the others until the
    /// routes have been read anew. Says whether anything is in doubt by that which was not. Whoever
    /// hears says it again and again while there is anything: not all of it may be heeded at once.
    pub fn hear(&mut self, signs: &Signs, now: Duration) -> bool {
        let raised = self.doubts.hear(signs, self.snapshots.borrow().as_deref(), now);
        for (address, number) in &raised {
            self.order(Order::Conflict(*address, *number));
        }
        !raised.is_empty()
    }

    /// This is what is at work now: it is told to the cluster.
    pub fn report(&self, report: Report) {
        if let Some(reports) = &self.reports {
            reports.send_replace(Some(Arc::new(report)));
        }
    }

    /// How many Events were not told since the start, because there were too many or the server took
    /// them not.
    #[must_use]
    pub fn untold_events(&self) -> u64 {
        self.untold.count()
    }

    fn order(&self, order: Order) {
        // A thread that has ended needs no orders.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for KubernetesSource {
    fn drop(&mut self) {
        // In this order: the reporter knows that its last report is the last.
        self.reports = None;
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // What it panicked of was told when it did.
            let _ = thread.join();
        }
    }
}

/// How long the last report may take.
pub const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
