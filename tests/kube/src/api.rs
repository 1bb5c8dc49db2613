//! The API server, asked by its paths: objects are JSON, answers come before the next line runs.
//!
//! One thread drives all connections, so that what is open stays open whoever asks next.

use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Client, Config};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::runtime::{self, Handle};
use tokio::task::AbortHandle;

/// The API server, as one user.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

/// Why there is no answer, or which.
#[derive(Debug, Error)]
pub enum Refusal {
    /// What the server answered.
    #[error("{code} {reason}: {message}")]
    Answer {
        /// Of HTTP.
        code: u16,
        /// The same in a word.
        reason: String,
        /// For people.
        message: String,
    },
    /// The server could not be asked.
    #[error("no answer: {0}")]
    Silence(String),
}

/// What became of an object.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is like this now.
    Is(Value),
    /// It is no more; this was its last state.
    Gone(Value),
}

/// The changes of a kind of object, from its first list on. Dropped, it ends.
#[derive(Debug)]
pub struct Follower {
    changes: Receiver<Change>,
    _following: Following,
}

/// That somebody is told of changes. Dropped, it ends.
#[derive(Debug)]
pub struct Following(AbortHandle);

impl Api {
    /// The user of a kubeconfig.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(kubeconfig: &Value) -> Result<Self> {
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig.clone())?;
        let client = RUNTIME.block_on(async {
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            config.connect_timeout = Some(ANSWER);
            config.default_retry = false;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        Ok(Self { client })
    }

    /// What stands at a path.
    ///
    /// # Errors
    /// When the server does not say.
    pub fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask(Method::GET, path, None, "")
    }

    /// Whether the server takes requests, and has made all that it makes itself: it calls itself ready
    /// a moment before the first namespace is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.text(request(Method::GET, "/readyz", None, "")).is_ok()
            && self.get("/api/v1/namespaces/default").is_ok()
    }

    /// Creates an object in the collection at this path.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn create(&self, collection: &str, object: &Value) -> Result<Value, Refusal> {
        self.ask(Method::POST, collection, Some(object), "application/json")
    }

    /// Writes an object anew.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn replace(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.ask(Method::PUT, path, Some(object), "application/json")
    }

    /// Changes what stands at a path (RFC 7386).
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn merge(&self, path: &str, patch: &Value) -> Result<Value, Refusal> {
        self.ask(Method::PATCH, path, Some(patch), "application/merge-patch+json")
    }

    /// Deletes what stands at a path; Pods have the time that they ask for to end.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn delete(&self, path: &str) -> Result<Value, Refusal> {
        self.ask(Method::DELETE, path, None, "")
    }

    /// Deletes it at once, if it is still the one with this uid.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn delete_now(&self, path: &str, uid: &Value) -> Result<Value, Refusal> {
        let now = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": { "uid": uid },
        });
        self.ask(Method::DELETE, path, Some(&now), "application/json")
    }

    /// Creates objects, or makes those that are there like these.
    ///
    /// # Errors
    /// The first that the server refuses, or whose kind we do not know.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let collection = collection(object)?;
            let name = object["metadata"]["name"].as_str().context("an object without a name")?;
            match self.create(&collection, object) {
                Err(Refusal::Answer { code: 409, .. }) => {
                    self.merge(&format!("{collection}/{name}"), object)
                }
                answer => answer,
            }
            .with_context(|| format!("{} {name}", object["kind"]))?;
        }
        Ok(())
    }

    /// Follows the objects of a collection, through every loss of contact.
    #[must_use]
    pub fn follow(&self, collection: &str) -> Follower {
        let (sender, changes) = mpsc::channel();
        // Who has dropped the other end is about to end this.
        let tell = move |change| drop(sender.send(change));
        Follower { changes, _following: self.follow_with(collection, tell) }
    }

    /// The same, told at once; `tell` must not wait.
    #[must_use]
    pub fn follow_with(
        &self,
        collection: &str,
        tell: impl Fn(Change) + Send + Sync + 'static,
    ) -> Following {
        let follow = follow(self.client.clone(), collection.to_owned(), tell);
        Following(RUNTIME.spawn(follow).abort_handle())
    }

    /// A token of a ServiceAccount, which is good for as long as the Secret `bound` exists.
    ///
    /// # Errors
    /// When there is no such account, or no such Secret.
    pub fn token(&self, namespace: &str, account: &str, bound: &Value) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let wanted = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "expirationSeconds": 3600,
                "boundObjectRef": {
                    "apiVersion": "v1", "kind": "Secret",
                    "name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"],
                },
            },
        });
        let given = self.create(&path, &wanted)?;
        Ok(given["status"]["token"].as_str().context("a token")?.to_owned())
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        media: &str,
    ) -> Result<Value, Refusal> {
        let text = self.text(request(method, path, body, media))?;
        serde_json::from_str(&text).map_err(|error| Refusal::Silence(error.to_string()))
    }

    fn text(&self, request: Request<Vec<u8>>) -> Result<String, Refusal> {
        RUNTIME.block_on(async {
            let answer = tokio::time::timeout(ANSWER, self.client.request_text(request));
            let late = |_| Refusal::Silence(format!("not within {} s", ANSWER.as_secs()));
            Ok(answer.await.map_err(late)??)
        })
    }
}

impl Follower {
    /// The next change, if there is one in this time.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<Change> {
        self.changes.recv_timeout(limit).ok()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Answer { code: status.code, reason: status.reason, message: status.message }
            }
            other => Self::Silence(format!("{other:?}")),
        }
    }
}

impl Refusal {
    /// The code that the server answered, 0 if it did not.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Answer { code, .. } => *code,
            Self::Silence(_) => 0,
        }
    }
}

/// Lists, tells of all that is there and of what is no more, watches; begins anew when that ends.
async fn follow(client: Client, collection: String, tell: impl Fn(Change)) {
    let mut known: Vec<Value> = Vec::new();
    loop {
        let listed = client.request::<Value>(request(Method::GET, &collection, None, "")).await;
        if let Ok(mut list) = listed {
            let items = match list["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            for gone in known.iter().filter(|known| !items.iter().any(|item| same(item, known))) {
                tell(Change::Gone(gone.clone()));
            }
            for item in &items {
                tell(Change::Is(item.clone()));
            }
            known = items;
            let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let path = format!("{collection}?watch=true&resourceVersion={version}");
            let _ = watch(&client, &path, &mut known, &tell).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn watch(
    client: &Client,
    path: &str,
    known: &mut Vec<Value>,
    tell: &impl Fn(Change),
) -> Result<()> {
    let events = client.request_events::<Value>(request(Method::GET, path, None, "")).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                known.retain(|known| !same(known, &object));
                known.push(object.clone());
                tell(Change::Is(object));
            }
            WatchEvent::Deleted(object) => {
                known.retain(|known| !same(known, &object));
                tell(Change::Gone(object));
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => anyhow::bail!("{status}"),
        }
    }
    Ok(())
}

fn same(one: &Value, other: &Value) -> bool {
    one["metadata"]["uid"] == other["metadata"]["uid"]
}

fn request(method: Method, path: &str, body: Option<&Value>, media: &str) -> Request<Vec<u8>> {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let mut request = Request::builder().method(method).uri(path);
    if !media.is_empty() {
        request = request.header("Content-Type", media);
    }
    request.body(body).expect("paths of Kubernetes are URIs")
}

/// The path of all objects of this one's kind, in its namespace.
///
/// # Errors
/// When we do not know the kind.
pub fn collection(object: &Value) -> Result<String> {
    let version = object["apiVersion"].as_str().context("no apiVersion")?;
    let kind = object["kind"].as_str().context("no kind")?;
    let plural = match kind {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        _ => format!("{}s", kind.to_lowercase()),
    };
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let namespace = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/namespaces/{namespace}"),
        None => String::new(),
    };
    Ok(format!("{root}/{version}{namespace}/{plural}"))
}

/// Driven by a thread of its own: connections live on between two questions.
static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a thread and a few descriptors");
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

const ANSWER: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::collection;

    #[test]
    fn objects_are_found_by_their_kind_and_namespace() {
        let path = |version: &str, kind: &str, namespace: Option<&str>| {
            let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": {} });
            if let Some(namespace) = namespace {
                object["metadata"]["namespace"] = namespace.into();
            }
            collection(&object).expect("a kind")
        };
        assert_eq!(path("v1", "Pod", Some("nat")), "/api/v1/namespaces/nat/pods");
        assert_eq!(path("v1", "Namespace", None), "/api/v1/namespaces");
        assert_eq!(
            path("networking.k8s.io/v1", "NetworkPolicy", Some("nat")),
            "/apis/networking.k8s.io/v1/namespaces/nat/networkpolicies"
        );
        assert_eq!(
            path("networking.gke.io/v1", "GKEIPRoute", Some("nat")),
            "/apis/networking.gke.io/v1/namespaces/nat/gkeiproutes"
        );
    }
}
