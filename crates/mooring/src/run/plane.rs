//! Between the appliance and a control plane: what it is told, and what it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use mooring_control::DesiredState;
use mooring_control::kubernetes::pod::Unidentified;
use mooring_control::kubernetes::{
    Identity, KubernetesSource, Report, Snapshot, StartError, Terms,
};
use mooring_session::Tick;

use super::rights;
use crate::exit::{BAD_INPUT, Failure};
use crate::failed;
use crate::say::say;

/// A control plane at work.
pub struct Plane {
    source: KubernetesSource,
    /// The networks that it knows of, and the retention.
    told: (BTreeSet<String>, Duration),
    /// What the state at work was made of.
    at_work: Arc<Snapshot>,
    /// Addresses of ours that others use, as it was told last.
    conflicts: Vec<IpAddr>,
    /// What has been said of the API server since it answered last.
    troubles: BTreeSet<String>,
}

impl Plane {
    /// Starts the one that the state asks for. It writes into `news` when there are any.
    ///
    /// # Errors
    /// When the environment does not say who this Pod is, or where the API server.
    pub fn start(state: &DesiredState, news: UnixStream) -> Result<Self, Failure> {
        let identity = Identity::from_environment().map_err(|missing| unidentified(&missing))?;
        let told = terms(state);
        let (networks, session_retention) = told.clone();
        let terms = Terms { identity, networks, session_retention };
        let wake = move || {
            // A full pipe wakes as well.
            let _ = (&news).write(&[0]);
        };
        let source = KubernetesSource::start(terms, rights::keep_to_read, wake).map_err(
            |error| match error {
                StartError::Unknown(_) => failed(&error, Some(HINT.to_owned())),
                StartError::System(error) => failed(&error, None),
            },
        )?;
        Ok(Self {
            source,
            told,
            at_work: Arc::default(),
            conflicts: Vec::new(),
            troubles: BTreeSet::new(),
        })
    }

    /// What it says now; `None` until it has said something.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.source.latest()
    }

    /// How many Events were not told since the start.
    #[must_use]
    pub fn untold_events(&self) -> u64 {
        self.source.untold_events()
    }

    /// Says it when the API server does not answer as it should, each reason once, and when it does
    /// again.
    pub fn say_contact(&mut self) {
        match self.source.contact().trouble {
            Some(trouble) if self.troubles.len() < REASONS && !self.troubles.contains(&trouble) => {
                say(&format!("mooring: {trouble}: addresses stay as they are"));
                self.troubles.insert(trouble);
            }
            None if !self.troubles.is_empty() => {
                say("mooring: the API server answers again");
                self.troubles.clear();
            }
            _ => {}
        }
    }

    /// This state is at work, and was made of this snapshot.
    pub fn adopted(&mut self, state: &DesiredState, snapshot: Arc<Snapshot>) {
        let terms = terms(state);
        if terms != self.told {
            self.source.configure(terms.0.clone(), terms.1);
            self.told = terms;
        }
        self.at_work = snapshot;
        self.report(state);
    }

    /// Others use these addresses of ours, and have spoken for those of `signs`. Says whether anything is
    /// in doubt by that which was not: what [`Self::latest`] gives is less then.
    pub fn contradicted(
        &mut self,
        state: &DesiredState,
        conflicts: Vec<IpAddr>,
        signs: &BTreeMap<IpAddr, Tick>,
        now: Tick,
    ) -> bool {
        let since_start = |at: Tick| Duration::from_millis(at.as_millis());
        let signs = signs.iter().map(|(address, since)| (*address, since_start(*since))).collect();
        let is_news = self.source.hear(&signs, since_start(now));
        if conflicts != self.conflicts {
            self.conflicts = conflicts;
            self.report(state);
        }
        is_news
    }

    fn report(&self, state: &DesiredState) {
        self.source.report(Report {
            snapshot: Arc::clone(&self.at_work),
            not_taken: state.not_taken.to_vec(),
            conflicts: self.conflicts.clone(),
        });
    }
}

/// What of a state concerns the control plane.
fn terms(state: &DesiredState) -> (BTreeSet<String>, Duration) {
    let interfaces = state.policy.interfaces.iter();
    let networks = interfaces.filter_map(|interface| interface.network.clone()).collect();
    (networks, Duration::from_secs(state.settings.session_retention.into()))
}

fn unidentified(missing: &Unidentified) -> Failure {
    let message = format!("mooring: error: {missing}");
    Failure { code: BAD_INPUT, message, hint: Some(missing.hint()) }
}

/// Reasons that are said while the API server does not answer.
const REASONS: usize = 8;

const HINT: &str = "in a Pod: a ServiceAccount whose token is mounted \
                    (automountServiceAccountToken); outside of one: KUBECONFIG names a file";
