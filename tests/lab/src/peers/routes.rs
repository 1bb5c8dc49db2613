//! A stand-in for the Kubernetes API: one GKEIPRoute, whose status a test writes, and the Leases and
//! Events that are reported to it. It answers as the real one does where an agent asks; what it
//! does not do is covered by tests against the real one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::clock::{LIMIT, Stopwatch};
use crate::namespace::Namespace;

/// A running server; it answers to the end of the lab.
#[derive(Debug)]
pub struct Routes {
    messages: Sender<Message>,
    reports: Receiver<Report>,
}

/// What an agent has reported.
#[derive(Debug)]
enum Report {
    Lease(Value),
    Event(Value),
}

enum Message {
    Asked(Request, TcpStream),
    Write(Vec<String>),
    Fall,
    Rise,
}

struct Request {
    path: String,
    query: String,
    body: Value,
}

/// What the server knows. It is one thread's.
struct Server {
    addresses: Vec<String>,
    pods: Vec<String>,
    version: u64,
    watchers: Vec<TcpStream>,
    is_down: bool,
    /// As they were created: what is told again is only counted by a patch.
    events: Vec<Value>,
    reports: Sender<Report>,
}

impl Routes {
    /// Serves a route of network `wan` with these addresses, which names nobody yet.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(namespace: &Namespace, at: SocketAddr, addresses: &[&str]) -> Result<Self> {
        let listener = namespace.tcp_listener(at)?;
        let (messages, inbox) = mpsc::channel();
        let (sender, reports) = mpsc::channel();
        let asked = messages.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                let asked = asked.clone();
                thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        let _ = asked.send(Message::Asked(request, stream));
                    }
                });
            }
        });
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut server = Server {
            addresses,
            pods: Vec::new(),
            version: 1,
            watchers: Vec::new(),
            is_down: false,
            events: Vec::new(),
            reports: sender,
        };
        thread::spawn(move || inbox.iter().for_each(|message| server.take(message)));
        Ok(Self { messages, reports })
    }

    /// The route names these Pods from now on.
    pub fn name(&self, pods: &[&str]) {
        self.tell(Message::Write(pods.iter().map(|pod| (*pod).to_owned()).collect()));
    }

    /// All connections break, and every request is refused.
    pub fn fall(&self) {
        self.tell(Message::Fall);
    }

    /// It answers again.
    pub fn rise(&self) {
        self.tell(Message::Rise);
    }

    /// Waits for a Lease whose addresses are these, each with its state.
    ///
    /// # Errors
    /// When none comes within the limit.
    pub fn wait_for_lease(&self, addresses: &[(&str, &str)]) -> Result<Value> {
        self.wait(&format!("a Lease of {addresses:?}"), |report| {
            let Report::Lease(lease) = report else { return None };
            let written = lease["metadata"]["annotations"]["mooring.dev/addresses"].as_str()?;
            let rows: Value = serde_json::from_str(written).ok()?;
            let have = rows.as_array()?.iter().map(|row| {
                (row["address"].as_str().unwrap_or(""), row["state"].as_str().unwrap_or(""))
            });
            have.eq(addresses.iter().copied()).then(|| lease.clone())
        })
    }

    /// Waits for an Event with this reason and these words in its note.
    ///
    /// # Errors
    /// When none comes within the limit.
    pub fn wait_for_event(&self, reason: &str, words: &str) -> Result<Value> {
        self.wait(&format!("an Event {reason}: {words}"), |report| {
            let Report::Event(event) = report else { return None };
            let told = event["note"].as_str()?.contains(words) && event["reason"] == reason;
            told.then(|| event.clone())
        })
    }

    /// The Leases that were reported and not waited for, as far as there are any now.
    pub fn other_leases(&self) -> Vec<Value> {
        let lease = |report| match report {
            Report::Lease(lease) => Some(lease),
            Report::Event(_) => None,
        };
        self.reports.try_iter().filter_map(lease).collect()
    }

    /// Waits until `take` has what it wants of the reports. What comes before that is gone.
    ///
    /// # Errors
    /// When it has not within the limit, however much is reported: the message has all of that.
    fn wait<T>(&self, what: &str, take: impl Fn(&Report) -> Option<T>) -> Result<T> {
        let waiting = Stopwatch::start();
        let mut seen = Vec::new();
        loop {
            let left = LIMIT.saturating_sub(waiting.elapsed());
            let Ok(report) = self.reports.recv_timeout(left) else {
                bail!("waited {} s in vain for {what}; reported: {seen:#?}", LIMIT.as_secs());
            };
            if let Some(taken) = take(&report) {
                return Ok(taken);
            }
            seen.push(report);
        }
    }

    fn tell(&self, message: Message) {
        // It lives as long as the lab.
        let _ = self.messages.send(message);
    }
}

impl Server {
    fn take(&mut self, message: Message) {
        match message {
            Message::Asked(request, stream) if self.is_down => {
                drop(request);
                answer(stream, 503, &json!({ "kind": "Status", "code": 503, "message": "down" }));
            }
            Message::Asked(request, stream) => self.answer(request, stream),
            Message::Write(pods) => {
                (self.pods, self.version) = (pods, self.version + 1);
                let change = self.change();
                self.watchers.retain_mut(|watcher| chunk(watcher, &change).is_ok());
            }
            Message::Fall => {
                self.is_down = true;
                self.watchers.clear();
            }
            Message::Rise => self.is_down = false,
        }
    }

    fn answer(&mut self, request: Request, mut stream: TcpStream) {
        let Request { path, query, body } = request;
        if path.contains("/leases/") {
            answer(stream, 200, &body);
            let _ = self.reports.send(Report::Lease(body));
        } else if path.ends_with("/events") {
            answer(stream, 201, &body);
            self.events.push(body.clone());
            let _ = self.reports.send(Report::Event(body));
        } else if let Some((_, name)) = path.split_once("/events/") {
            let told = self.events.iter_mut().find(|event| event["metadata"]["name"] == name);
            let Some(event) = told else {
                return answer(stream, 404, &json!({ "kind": "Status", "code": 404 }));
            };
            event["series"] = body["series"].clone();
            answer(stream, 200, event);
            let _ = self.reports.send(Report::Event(event.clone()));
        } else if query.contains("watch=true") {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            let is_old = !query.contains(&format!("resourceVersion={}", self.version));
            let begun = stream.write_all(head.as_bytes());
            let told = if is_old { chunk(&mut stream, &self.change()) } else { Ok(()) };
            if begun.and(told).is_ok() {
                self.watchers.push(stream);
            }
        } else {
            let metadata = json!({ "resourceVersion": self.version.to_string() });
            let (api, kind) = ("networking.gke.io/v1", "GKEIPRouteList");
            let list = json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "items": [self.route()] });
            answer(stream, 200, &list);
        }
    }

    fn change(&self) -> Value {
        json!({ "type": "MODIFIED", "object": self.route() })
    }

    fn route(&self) -> Value {
        let written =
            |address: &String| json!({ "type": "gke.networking.io/cidr", "value": address });
        let addresses: Vec<Value> = self.addresses.iter().map(written).collect();
        json!({
            "apiVersion": "networking.gke.io/v1",
            "kind": "GKEIPRoute",
            "metadata": {
                "name": "edge", "namespace": "nat", "uid": "uid-of-edge", "generation": 1,
                "resourceVersion": self.version.to_string(),
                "creationTimestamp": "2026-01-01T00:00:00Z"
            },
            "spec": { "addresses": addresses, "network": "wan", "podSelector": {} },
            "status": {
                "pods": self.pods,
                "conditions": [{ "type": "Accepted", "status": "True", "observedGeneration": 1 }]
            }
        })
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let target = first.split_whitespace().nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut length = 0;
    for line in reader.by_ref().lines().map_while(std::result::Result::ok) {
        if line.is_empty() {
            break;
        }
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Request { path: path.to_owned(), query: query.to_owned(), body })
}

fn answer(mut stream: TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    // Whoever asked may have gone.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
}

fn chunk(stream: &mut TcpStream, event: &Value) -> std::io::Result<()> {
    let line = format!("{event}\n");
    write!(stream, "{:x}\r\n{line}\r\n", line.len())
}
