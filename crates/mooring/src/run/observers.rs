//! `/metrics`, `/healthz` and `/readyz`: a thread for each address, beside the workers.
//!
//! A worker notices nothing of a probe, and of a scrape a few questions like those of `show`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use mio::Waker;
use mooring_http::{Request, Response, Status};
use mooring_io::rights;
use mooring_observe::health::Health;
use mooring_observe::http_server::HttpServer;
use mooring_observe::metrics::CONTENT_TYPE;
use mooring_policy::Settings;
use rustix::thread::CapabilitySet;

use super::clock::Clock;
use super::desk::Desk;
use crate::exit::Failure;
use crate::failed;

/// The servers; they end when this is dropped.
pub struct Observers {
    health: Arc<Health>,
    desk: Arc<OnceLock<Arc<Desk>>>,
    servers: Vec<(Waker, JoinHandle<()>)>,
}

impl Observers {
    /// Listens where the settings say. Until [`Observers::ready`] the answers say what is missing.
    ///
    /// # Errors
    /// When an address cannot be listened on; the message names its key.
    pub fn start(settings: &Settings, clock: Clock) -> Result<Self, Failure> {
        let (health, desk) = (Arc::new(Health::starting()), Arc::new(OnceLock::new()));
        let mut observers = Self { health, desk, servers: Vec::new() };
        let shared = settings.metrics == settings.health;
        if let Some(address) = settings.metrics {
            let (health, desk) = (Arc::clone(&observers.health), Arc::clone(&observers.desk));
            observers.serve(
                "metrics",
                address,
                move |request| match request.path {
                    "/metrics" => metrics(desk.get()),
                    _ if shared => health.respond(clock.now(), request),
                    _ => Response::bare(Status::NotFound),
                },
                clock,
            )?;
        }
        if let Some(address) = settings.health.filter(|_| !shared) {
            let health = Arc::clone(&observers.health);
            let respond = move |request: Request<'_>| health.respond(clock.now(), request);
            observers.serve("health", address, respond, clock)?;
        }
        Ok(observers)
    }

    /// What probes are told from.
    #[must_use]
    pub const fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// From now on there are workers to ask.
    pub fn ready(&self, desk: &Arc<Desk>) {
        // There is one start.
        let _ = self.desk.set(Arc::clone(desk));
    }

    fn serve(
        &mut self,
        key: &str,
        address: SocketAddr,
        respond: impl Fn(Request<'_>) -> Response + Send + 'static,
        clock: Clock,
    ) -> Result<(), Failure> {
        let refused = |error| {
            let message = format!("cannot listen on `appliance.{key}` = \"{address}\": {error}");
            let hint = format!("set `{key}` under [appliance] to a free address of this machine");
            failed(&message, Some(hint))
        };
        let server = HttpServer::bind(address).map_err(refused)?;
        let stopper = server.stopper().map_err(refused)?;
        let run = move || {
            // It answers strangers, and needs to be allowed nothing for it.
            if rights::keep(CapabilitySet::empty()).is_err() {
                return;
            }
            // It ends by itself only when it can no longer wait; the probe notices that.
            let _ = server.run(|| clock.now(), respond);
        };
        let thread = thread::Builder::new().name(key.to_owned()).spawn(run).map_err(refused)?;
        self.servers.push((stopper, thread));
        Ok(())
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        for (stopper, thread) in self.servers.drain(..) {
            // A server that has ended needs no telling.
            let _ = stopper.wake();
            let _ = thread.join();
        }
    }
}

fn metrics(desk: Option<&Arc<Desk>>) -> Response {
    let Some(desk) = desk else {
        return Response::text(Status::ServiceUnavailable, "the workers do not run yet\n");
    };
    match desk.scrape() {
        Ok(scrape) => Response {
            status: Status::Ok,
            content_type: CONTENT_TYPE,
            body: scrape.into_text().into_bytes().into(),
        },
        Err(_) => Response::text(Status::ServiceUnavailable, "a worker does not answer\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use mooring_policy::Settings;

    use super::Observers;
    use crate::run::clock::Clock;

    fn free_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound")
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    #[test]
    fn an_address_in_use_is_named_by_its_key() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let metrics = Some(holder.local_addr().expect("bound"));
        let settings = Settings { metrics, ..Settings::default() };
        let refused = Observers::start(&settings, Clock::start()).err().expect("it is in use");
        assert!(refused.message.contains("`appliance.metrics` = \"127.0.0.1:"), "{refused:?}");
        assert!(refused.hint.is_some_and(|hint| hint.contains("`metrics` under [appliance]")));
    }

    #[test]
    fn before_the_workers_run_it_says_so() {
        let address = free_address();
        let settings =
            Settings { metrics: Some(address), health: Some(address), ..Settings::default() };
        let observers = Observers::start(&settings, Clock::start()).expect("it is free");
        assert!(get(address, "/metrics").starts_with("HTTP/1.1 503"));
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("not all interfaces are open\nthe workers do not run\n"));
        drop(observers);
        assert!(TcpStream::connect(address).is_err(), "nothing stays");
    }
}
