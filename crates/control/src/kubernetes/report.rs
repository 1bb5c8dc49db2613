//! What the cluster is told of us: a Lease with the addresses that we hold, and Events.
//!
//! The Lease is renewed every few seconds and at once when something changes; who moves an address
//! waits until it is not in the old Pod's Lease any more. Only what is at work is reported, never what
//! is only planned. Nothing waits for a report.

mod events;
mod lease;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use mooring_policy::NotTaken;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub(in crate::kubernetes) use self::events::Untold;
use self::events::{Announcer, news};
use self::lease::{Kept, lease};
use super::access::Access;
use super::pod::Identity;
use super::snapshot::Snapshot;

/// What is at work.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the state at work was made of.
    pub snapshot: Arc<Snapshot>,
    /// Addresses that are given to us and that the policy has no use for.
    pub not_taken: Vec<NotTaken>,
    /// Addresses of ours that another host uses.
    pub conflicts: Vec<IpAddr>,
}

/// Tells it.
pub(super) struct Reporter {
    access: Access,
    /// While nothing is wrong with it.
    client: Option<Client>,
    identity: Identity,
    reports: watch::Receiver<Option<Arc<Report>>>,
    kept: Kept,
    untold: Untold,
}

impl Reporter {
    /// Tells what comes by `reports`, and counts what it could not tell.
    pub(super) fn new(
        access: Access,
        identity: Identity,
        reports: watch::Receiver<Option<Arc<Report>>>,
        untold: Untold,
    ) -> Self {
        Self { access, client: None, identity, reports, kept: Kept::default(), untold }
    }

    /// Tells, and renews, until no more reports can come; then that nothing is held.
    pub(super) async fn run(mut self) {
        let announcer =
            Announcer::start(self.access.clone(), self.identity.clone(), self.untold.clone());
        let mut told = Arc::new(Report::default());
        let mut due = None;
        loop {
            let renew = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let more = tokio::select! {
                changed = self.reports.changed() => changed.is_ok(),
                () = renew => true,
            };
            let Some(report) = self.reports.borrow_and_update().clone() else {
                match more {
                    true => continue,
                    // Nothing was at work.
                    false => return,
                }
            };
            let report = if more { report } else { Arc::default() };
            if !Arc::ptr_eq(&report, &told) {
                announcer.tell(news(&told, &report));
                told = Arc::clone(&report);
            }
            let renewed = self.renew(&report).await;
            if !more {
                // That addresses are released is told as well, as far as there is time.
                return announcer.finish().await;
            }
            due = Some(Instant::now() + if renewed { RENEW_EVERY } else { AGAIN_AFTER });
        }
    }

    /// Whether the server has the Lease.
    async fn renew(&mut self, report: &Report) -> bool {
        let lease = lease(&self.identity, report, &mut self.kept, Timestamp::now());
        let client = self.client.take();
        let patched = timeout(PATIENCE, async {
            let client = match client {
                Some(client) => client,
                None => self.access.open().await.ok()?,
            };
            let leases = Api::<Lease>::namespaced(client.clone(), &self.identity.namespace);
            let name = lease.metadata.name.as_deref().unwrap_or_default();
            let parameters = PatchParams::apply(MANAGER).force();
            leases.patch(name, &parameters, &Patch::Apply(&lease)).await.ok()?;
            Some(client)
        });
        self.client = patched.await.unwrap_or_default();
        self.client.is_some()
    }
}

/// Whose fields of the Lease these are.
const MANAGER: &str = "mooring-agent";

/// How often the Lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How soon after a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(2);
