//! Names the agent that has the addresses, as a controller does: one that is Ready and not about to end.
//!
//! The simplest that shows what a failure costs; it writes the next holder at once, without waiting for the last
//! one's word.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use super::give;
use crate::{Change, Cluster, is_ready};

/// A running controller. Dropped, it ends.
pub struct Controller {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    moves: Receiver<(String, Duration)>,
}

impl Controller {
    /// Begins; the routes name `holder`.
    #[must_use]
    pub fn start(cluster: &Cluster, holder: &str) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let (told, moves) = mpsc::channel();
        let (api, mut holder) = (cluster.api.clone(), holder.to_owned());
        let thread = thread::spawn(move || {
            let pods = api.follow("/api/v1/namespaces/mooring/pods");
            let mut known: Vec<Value> = Vec::new();
            while !matches!(ended.try_recv(), Err(mpsc::TryRecvError::Disconnected)) {
                let Some(change) = pods.next(Duration::from_millis(50)) else { continue };
                note(&mut known, change);
                if let Some(next) = next(&known, &holder)
                    && let Ok(at) = give(&api, Some(&next))
                {
                    holder.clone_from(&next);
                    let _ = told.send((next, at));
                }
            }
        });
        Self { end: Some(end), thread: Some(thread), moves }
    }

    /// The next move: who got the addresses, and when the API server had answered that write.
    #[must_use]
    pub fn next_move(&self, limit: Duration) -> Option<(String, Duration)> {
        self.moves.recv_timeout(limit).ok()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn note(known: &mut Vec<Value>, change: Change) {
    let (pod, is_there) = match change {
        Change::Is(pod) => (pod, true),
        Change::Gone(pod) => (pod, false),
    };
    known.retain(|known| known["metadata"]["uid"] != pod["metadata"]["uid"]);
    if is_there {
        known.push(pod);
    }
}

/// Another holder, if the one that is must not be and there is another.
fn next(known: &[Value], holder: &str) -> Option<String> {
    let mut can = known
        .iter()
        .filter(|pod| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["metadata"]["name"].as_str());
    if can.clone().any(|name| name == holder) {
        return None;
    }
    can.next().map(str::to_owned)
}
