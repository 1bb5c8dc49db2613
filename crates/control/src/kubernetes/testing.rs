//! An API server that answers what a test tells it, over a real connection: to fail in ways that a real
//! one seldom does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// The server. It takes connections for as long as it is there.
pub(super) struct Server {
    pub(super) url: String,
    watching: Receiver<Exchange>,
    reporting: Receiver<Exchange>,
}

/// A request, and the connection that waits for its answer.
pub(super) struct Exchange {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) token: Option<String>,
    pub(super) body: Value,
    stream: TcpStream,
}

/// A watch that was answered and goes on.
pub(super) struct Changes {
    stream: TcpStream,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (watch, watching) = channel();
        let (report, reporting) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (watch, report) = (watch.clone(), report.clone());
                thread::spawn(move || receive(stream, &watch, &report));
            }
        });
        Self { url, watching, reporting }
    }

    /// The next request for routes.
    pub(super) fn next(&self) -> Exchange {
        self.watching.recv_timeout(PATIENCE).expect("the watch asks for something")
    }

    /// The next list, consistent as all of them must be.
    pub(super) fn list(&self) -> Exchange {
        let exchange = self.next();
        assert!(!exchange.is_watch(), "a watch: {}", exchange.query);
        assert!(
            !exchange.query.contains("resourceVersion"),
            "no consistent read: {}",
            exchange.query
        );
        exchange
    }

    /// The next watch, from a version.
    pub(super) fn watch(&self, version: u64) -> Exchange {
        let exchange = self.next();
        assert!(exchange.is_watch(), "a list: {}", exchange.query);
        let from = format!("resourceVersion={version}");
        assert!(exchange.query.split('&').any(|part| part == from), "{}", exchange.query);
        assert!(exchange.query.contains("allowWatchBookmarks=true"), "{}", exchange.query);
        exchange
    }

    /// That nothing is asked of routes for a while.
    pub(super) fn is_left_alone(&self, time: Duration) {
        match self.watching.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(exchange) => panic!("asked for {}?{}", exchange.path, exchange.query),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next request for Leases or Events.
    pub(super) fn report(&self) -> Exchange {
        self.reporting.recv_timeout(PATIENCE).expect("there is something to report")
    }
}

impl Exchange {
    pub(super) fn is_watch(&self) -> bool {
        self.query.split('&').any(|part| part == "watch=true")
    }

    pub(super) fn answer(mut self, status: u16, body: &Value) {
        let body = body.to_string();
        let _ = write!(
            self.stream,
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
    }

    /// A list of these routes, as of a version.
    pub(super) fn routes(self, version: u64, routes: &[Value]) {
        self.page(version, routes, "");
    }

    /// A page of a list; `more` is where the next one begins.
    pub(super) fn page(self, version: u64, routes: &[Value], more: &str) {
        let metadata = json!({ "resourceVersion": version.to_string(), "continue": more });
        let (api, kind) = ("networking.gke.io/v1", "GKEIPRouteList");
        let list =
            json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "items": routes });
        self.answer(200, &list);
    }

    pub(super) fn refuse(self, status: u16) {
        self.answer(status, &refusal(status));
    }

    /// Begins to answer a watch.
    pub(super) fn begin(mut self) -> Changes {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).expect("the client waits");
        Changes { stream: self.stream }
    }
}

impl Changes {
    pub(super) fn event(&mut self, kind: &str, object: &Value) {
        let line = json!({ "type": kind, "object": object }).to_string();
        self.chunk(&format!("{line}\n"));
    }

    pub(super) fn chunk(&mut self, text: &str) {
        // The client may have gone.
        let _ = write!(self.stream, "{:x}\r\n{text}\r\n", text.len());
    }

    /// The watch ends as the client asked.
    pub(super) fn end(mut self) {
        let _ = self.stream.write_all(b"0\r\n\r\n");
    }

    /// The connection breaks.
    pub(super) fn cut(self) {
        drop(self);
    }
}

/// A refusal as the API server words it.
pub(super) fn refusal(status: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status,
        "reason": "Said", "message": format!("a test says {status}")
    })
}

/// Takes requests of one connection until it is answered. All answers end it.
fn receive(stream: TcpStream, watch: &Sender<Exchange>, report: &Sender<Exchange>) {
    let mut reader = BufReader::new(stream.try_clone().expect("open"));
    let mut first = String::new();
    if reader.read_line(&mut first).is_err() || first.is_empty() {
        return;
    }
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (mut length, mut token) = (0, None);
    for line in reader.by_ref().lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or_default(),
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let (path, query) = (path.to_owned(), query.to_owned());
    let to = if path.ends_with("/gkeiproutes") { watch } else { report };
    // The test may be over.
    let _ = to.send(Exchange { method, path, query, token, body, stream });
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
