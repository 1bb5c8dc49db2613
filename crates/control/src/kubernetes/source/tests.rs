use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kube::Config;
use serde_json::{Value, json};
use tokio::runtime;
use tokio::time::Instant;

use super::{Access, KubernetesSource, Pace, Terms};
use crate::kubernetes::doubts::Signs;
use crate::kubernetes::pod::Identity;
use crate::kubernetes::report::Report;
use crate::kubernetes::tenure::{Hold, TenureId};
use crate::kubernetes::testing::{Changes, Server, refusal};

/// A control plane of the Pod `a`, and the server that it talks to.
struct Bench {
    server: Server,
    source: KubernetesSource,
    woken: Receiver<()>,
}

impl Bench {
    fn start() -> Self {
        Self::start_with(PATIENT, |_| {})
    }

    fn start_with(pace: Pace, change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::start();
        let mut config = Config::new(server.url.parse().expect("a URL"));
        change(&mut config);
        let (wake, woken) = channel();
        let access = Access::Given(Box::new(config));
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let wake = move || {
            let _ = wake.send(());
        };
        let runtime = runtime.expect("the system has descriptors");
        let doings = (|| Ok(()), wake);
        let source = KubernetesSource::start_with((access, pace), runtime, terms(), doings);
        Self { server, source: source.expect("the configuration is whole"), woken }
    }

    /// A control plane that has listed a route of ours, and watches.
    fn watching() -> (Self, Changes) {
        Self::watching_at(PATIENT)
    }

    fn watching_at(pace: Pace) -> (Self, Changes) {
        let bench = Self::start_with(pace, |_| {});
        bench.server.list().routes(10, &[route(&["a"], 10)]);
        bench.expect("held 1");
        let changes = bench.server.watch(10).begin();
        (bench, changes)
    }

    /// What is said of the one address.
    fn told(&self) -> String {
        let Some(snapshot) = self.source.latest() else { return "unknown".to_owned() };
        match snapshot.given.first().map(|given| given.hold) {
            None => "nothing".to_owned(),
            Some(None) => "claimed".to_owned(),
            Some(Some(Hold::Held(TenureId(id)))) => format!("held {id}"),
            Some(Some(Hold::Kept(TenureId(id)))) => format!("kept {id}"),
        }
    }

    /// Waits until this is said of the address.
    fn expect(&self, told: &str) {
        while self.told() != told {
            let woken = self.woken.recv_timeout(Duration::from_secs(20));
            assert!(woken.is_ok(), "{} and not {told}", self.told());
        }
    }

    /// That there are none.
    fn expect_nothing(&self) {
        let before = self.told();
        while self.woken.recv_timeout(Duration::from_millis(50)).is_ok() {
            assert_eq!(self.told(), before);
        }
    }

    fn out_of_contact(&self) -> Option<String> {
        self.source.contact().trouble
    }
}

/// For tests that fail again and again, but do not wait.
const PATIENT: Pace = Pace {
    answer: Duration::from_secs(10),
    watch_for: Duration::from_secs(20),
    margin: Duration::from_secs(5),
    longest_pause: Duration::from_secs(1),
};

/// For tests that wait for the end of patience.
const HASTY: Pace = Pace {
    answer: Duration::from_secs(2),
    watch_for: Duration::from_secs(1),
    margin: Duration::from_secs(1),
    longest_pause: Duration::from_secs(1),
};

fn route(pods: &[&str], version: u64) -> Value {
    json!({
        "apiVersion": "networking.gke.io/v1", "kind": "GKEIPRoute",
        "metadata": {
            "name": "r", "namespace": "nat", "uid": "r", "generation": 1,
            "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"
        },
        "spec": {
            "addresses": [{ "type": "gke.networking.io/cidr", "value": "203.0.113.10/32" }],
            "podSelector": {}
        },
        "status": { "pods": pods, "conditions": [{ "type": "Accepted", "status": "True" }] }
    })
}

fn bookmark(version: u64) -> Value {
    let metadata = json!({ "resourceVersion": version.to_string() });
    json!({ "apiVersion": "networking.gke.io/v1", "kind": "GKEIPRoute", "metadata": metadata })
}

fn address() -> IpAddr {
    "203.0.113.10".parse().expect("an address")
}

#[test]
fn changes_are_taken_as_they_come_and_a_watch_goes_on_where_the_last_one_was() {
    let (bench, mut changes) = Bench::watching();
    changes.event("MODIFIED", &route(&[], 11));
    bench.expect("kept 1");
    changes.event("MODIFIED", &route(&["a"], 12));
    bench.expect("held 1");
    changes.event("BOOKMARK", &bookmark(40));
    changes.end();
    let mut changes = bench.server.watch(40).begin();
    changes.event("DELETED", &route(&["a"], 41));
    bench.expect("kept 1");
    changes.cut();
    let mut changes = bench.server.watch(41).begin();
    changes.event("ADDED", &route(&["b"], 42));
    bench.expect("claimed");
    assert_eq!(bench.out_of_contact(), None);
}

#[test]
fn refusals_overload_and_failures_of_a_watch_change_nothing() {
    let (bench, changes) = Bench::watching();
    changes.end();
    for status in [401, 403, 404, 429, 500, 503] {
        bench.server.watch(10).refuse(status);
        // Asked again after a pause, from where it was.
        bench.server.watch(10).begin().event("ERROR", &refusal(status));
        assert!(bench.out_of_contact().is_some());
    }
    bench.expect_nothing();
    assert_eq!(bench.told(), "held 1");
}

#[test]
fn a_list_that_is_refused_or_breaks_off_changes_nothing() {
    let (bench, mut changes) = Bench::watching();
    changes.event("ERROR", &refusal(410));
    for status in [401, 403, 404, 410, 429, 500, 503] {
        bench.server.list().refuse(status);
    }
    bench.server.list().page(20, &[], "more");
    let second = bench.server.list();
    assert!(second.query.contains("continue=more"), "{}", second.query);
    second.refuse(410);
    let whole = bench.server.list();
    assert!(!whole.query.contains("continue"), "from the beginning: {}", whole.query);
    whole.page(21, &[], "more");
    bench.server.list().answer(200, &json!("no list"));
    bench.expect_nothing();
    assert_eq!(bench.told(), "held 1");
    assert!(bench.out_of_contact().is_some());
    bench.server.list().page(22, &[], "more");
    bench.server.list().routes(22, &[route(&["b"], 15)]);
    bench.expect("claimed");
    assert_eq!(bench.out_of_contact(), None);
}

#[test]
fn what_the_server_has_forgotten_is_listed_anew_by_whichever_way_it_says_so() {
    let (bench, mut changes) = Bench::watching();
    changes.event("ERROR", &refusal(410));
    bench.server.list().routes(20, &[route(&["a"], 10)]);
    bench.server.watch(20).refuse(410);
    bench.server.list().routes(30, &[route(&["a"], 10)]);
    bench.server.watch(30);
    bench.expect_nothing();
    assert_eq!(bench.told(), "held 1", "its route is as it was");
}

#[test]
fn after_a_gap_in_which_a_route_changed_another_tenure_begins() {
    let (bench, mut changes) = Bench::watching();
    changes.event("ERROR", &refusal(410));
    bench.server.list().routes(20, &[route(&["a"], 13)]);
    bench.expect("held 2");
}

#[test]
fn who_waits_is_woken_when_the_contact_is_lost_and_when_it_is_back() {
    let bench = Bench::start();
    bench.server.list().refuse(403);
    bench.woken.recv_timeout(Duration::from_secs(20)).expect("it is lost");
    let trouble = bench.out_of_contact().expect("it is lost");
    assert_eq!(trouble, "the API server answers 403 to a list: a test says 403");
    bench.server.list().routes(10, &[]);
    bench.woken.recv_timeout(Duration::from_secs(20)).expect("it is back");
    assert_eq!(bench.out_of_contact(), None);
}

#[test]
fn half_an_event_is_none_and_comes_again() {
    let (bench, mut changes) = Bench::watching();
    let line = json!({ "type": "MODIFIED", "object": route(&["b"], 11) }).to_string();
    changes.chunk(&line[..line.len() / 2]);
    bench.expect_nothing();
    changes.cut();
    bench.server.watch(10).begin().event("MODIFIED", &route(&["b"], 11));
    bench.expect("claimed");
}

#[test]
fn an_event_that_cannot_be_read_is_found_by_a_list() {
    let (bench, mut changes) = Bench::watching();
    changes.event("SURPRISED", &route(&["b"], 11));
    bench.server.list().routes(12, &[route(&["b"], 11)]);
    bench.expect("claimed");
}

#[test]
fn a_connection_over_which_nothing_comes_is_noticed() {
    let (bench, _silent) = Bench::watching_at(HASTY);
    // Neither an event nor the end that was asked for; then not even the beginning of an answer.
    let _silent = bench.server.watch(10);
    let next = bench.server.watch(10);
    assert!(bench.out_of_contact().is_some_and(|trouble| trouble.contains("says nothing")));
    let _changes = next.begin();
    bench.expect_nothing();
    assert_eq!(bench.told(), "held 1");
}

#[test]
fn a_server_that_ends_every_watch_at_once_is_not_asked_all_the_time() {
    let (bench, changes) = Bench::watching();
    changes.end();
    let start = Instant::now();
    for _ in 0..6 {
        bench.server.watch(10).begin().end();
    }
    assert!(start.elapsed() >= Duration::from_millis(50 + 100 + 200 + 400), "{start:?}");
    assert_eq!(bench.told(), "held 1");
}

#[test]
fn a_slow_watch_is_only_slow() {
    let (bench, mut changes) = Bench::watching();
    let line = json!({ "type": "MODIFIED", "object": route(&["b"], 11) }).to_string() + "\n";
    let (first, second) = line.split_at(line.len() / 2);
    changes.chunk(first);
    std::thread::sleep(Duration::from_millis(300));
    changes.chunk(second);
    bench.expect("claimed");
}

#[test]
fn a_server_that_asks_for_time_is_given_it() {
    let bench = Bench::start();
    let mut overload = refusal(429);
    overload["details"] = json!({ "retryAfterSeconds": 1 });
    bench.server.list().answer(429, &overload);
    bench.server.is_left_alone(Duration::from_millis(800));
    bench.server.list().routes(1, &[]);
    bench.expect("nothing");
}

#[test]
fn a_token_that_was_replaced_is_read_again_at_once() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("token");
    fs::write(&file, "first").expect("the folder is writable");
    let bench = Bench::start_with(PATIENT, |config| {
        config.auth_info.token_file = Some(file.display().to_string());
    });
    let list = bench.server.list();
    assert_eq!(list.token.as_deref(), Some("first"));
    list.routes(10, &[route(&["a"], 10)]);
    bench.expect("held 1");
    fs::write(&file, "second").expect("the folder is writable");
    let watch = bench.server.watch(10);
    assert_eq!(watch.token.as_deref(), Some("first"), "it was read a moment ago");
    watch.refuse(401);
    let watch = bench.server.watch(10);
    assert_eq!(watch.token.as_deref(), Some("second"));
    let _changes = watch.begin();
    bench.expect_nothing();
    assert_eq!(bench.told(), "held 1");
}

#[test]
fn what_others_use_is_kept_where_the_server_says_that_it_is_ours() {
    let (mut bench, _changes) = Bench::watching();
    assert!(bench.source.hear(&Signs::from([(address(), Duration::ZERO)]), Duration::ZERO));
    assert_eq!(bench.told(), "kept 1", "until the server has said it");
    bench.server.list().routes(20, &[route(&["a"], 10)]);
    bench.expect("held 1");
    bench.server.watch(20);
    bench.expect_nothing();
}

/// Signs may come faster than the server answers: each gets an answer all the same.
#[test]
fn a_list_that_is_under_way_goes_on_when_more_is_in_doubt() {
    let (mut bench, _changes) = Bench::watching();
    let mut hear = |now: Duration| bench.source.hear(&Signs::from([(address(), now)]), now);
    assert!(hear(Duration::ZERO));
    let first = bench.server.list();
    for millis in 1..5 {
        assert!(hear(Duration::from_millis(millis)));
    }
    bench.server.is_left_alone(Duration::from_millis(100));
    first.routes(20, &[route(&["a"], 10)]);
    // It was asked for before the others spoke.
    let second = bench.server.list();
    assert_eq!(bench.told(), "kept 1");
    second.routes(21, &[route(&["a"], 10)]);
    bench.expect("held 1");
    bench.server.watch(21);
    bench.expect_nothing();
}

#[test]
fn what_others_use_is_left_to_them_where_the_server_says_nothing() {
    let (mut bench, _changes) = Bench::watching_at(HASTY);
    assert!(bench.source.hear(&Signs::from([(address(), Duration::ZERO)]), Duration::ZERO));
    let _silent = bench.server.list();
    bench.expect("nothing");
    let refused = &bench.source.latest().expect("listed").refused;
    assert!(refused[0].reason.contains("another host uses the address"), "{refused:?}");
    // It is asked again, and what it says then counts.
    bench.server.list().routes(20, &[route(&["a"], 10)]);
    bench.expect("held 2");
}

#[test]
fn out_of_contact_what_others_use_is_left_to_them_at_once() {
    let (mut bench, changes) = Bench::watching();
    changes.cut();
    bench.server.watch(10).refuse(500);
    // It is asked again within 100 ms: held back, it says nothing.
    let _silent = bench.server.watch(10);
    assert!(bench.source.hear(&Signs::from([(address(), Duration::ZERO)]), Duration::ZERO));
    bench.expect("nothing");
}

#[test]
fn other_networks_of_the_pod_count_at_once() {
    let (bench, _changes) = Bench::watching();
    bench.source.configure(BTreeSet::from(["wan".to_owned()]), Duration::ZERO);
    bench.expect("nothing");
    bench.source.configure(BTreeSet::from(["default".to_owned()]), Duration::ZERO);
    bench.expect("held 2");
}

/// What is at work as the source says it now.
fn report(bench: &Bench) -> Report {
    let snapshot = bench.source.latest().unwrap_or_default();
    Report { snapshot, ..Report::default() }
}

#[test]
fn what_is_at_work_is_reported_and_slowness_of_that_delays_no_change() {
    let (bench, mut changes) = Bench::watching();
    bench.source.report(report(&bench));
    // Lease and Event have connections of their own, in any order.
    let exchanges = [bench.server.report(), bench.server.report()];
    let of = |kind: &str| exchanges.iter().find(|exchange| exchange.path.contains(kind));
    let lease = of("/leases/mooring-a").expect("a Lease");
    assert_eq!(lease.method, "PATCH");
    assert!(lease.path.ends_with("/namespaces/nat/leases/mooring-a"), "{}", lease.path);
    assert!(lease.query.contains("fieldManager=mooring-agent"), "{}", lease.query);
    let written = lease.body["metadata"]["annotations"]["mooring.dev/addresses"].to_string();
    assert!(written.contains("203.0.113.10") && written.contains("held"), "{written}");
    let event = of("/events").expect("an Event");
    assert_eq!((event.method.as_str(), &event.body["reason"]), ("POST", &json!("AddressTakenUp")));
    assert_eq!(event.body["note"], "a: 203.0.113.10");
    assert_eq!(event.body["regarding"]["name"], "r");
    // Neither is answered yet.
    changes.event("MODIFIED", &route(&["b"], 11));
    bench.expect("claimed");
}

#[test]
fn a_lease_is_renewed_after_a_failure_and_says_at_the_end_that_nothing_is_held() {
    let (bench, _changes) = Bench::watching();
    bench.source.report(report(&bench));
    let of_leases = |server: &Server| loop {
        let exchange = server.report();
        if exchange.path.contains("/leases/") {
            return exchange;
        }
    };
    let first = of_leases(&bench.server);
    let written = first.body.clone();
    first.refuse(500);
    let again = of_leases(&bench.server);
    assert_eq!(again.body["metadata"], written["metadata"]);
    again.answer(200, &written);
    let Bench { server, source, .. } = bench;
    let ended = std::thread::spawn(move || drop(source));
    let last = of_leases(&server);
    assert_eq!(last.body["metadata"]["annotations"]["mooring.dev/addresses"], "[]");
    last.answer(200, &written);
    ended.join().expect("it ends");
}

/// One Lease and five Events, within the time that an end has.
#[test]
fn at_the_end_each_address_is_told_to_be_released() {
    let bench = Bench::start();
    let addresses: Vec<_> = (1..=5).map(|last| format!("203.0.113.{last}")).collect();
    let mut route = route(&["a"], 10);
    let written = addresses
        .iter()
        .map(|address| json!({ "type": "gke.networking.io/cidr", "value": address }));
    route["spec"]["addresses"] = written.collect();
    bench.server.list().routes(10, &[route]);
    bench.expect("held 1");
    let _changes = bench.server.watch(10).begin();
    bench.source.report(report(&bench));
    let events = |server: &Server, reason: &str| {
        let (mut notes, mut leases) = (Vec::new(), 0);
        while notes.len() < addresses.len() {
            let exchange = server.report();
            let body = exchange.body.clone();
            match exchange.path.contains("/leases/") {
                true => leases += 1,
                false => {
                    assert_eq!(body["reason"], reason);
                    notes.push(body["note"].as_str().unwrap_or_default().to_owned());
                }
            }
            exchange.answer(201, &body);
        }
        (notes, leases)
    };
    let expected: Vec<_> = addresses.iter().map(|address| format!("a: {address}")).collect();
    assert_eq!(events(&bench.server, "AddressTakenUp").0, expected);
    assert_eq!(bench.source.untold_events(), 0);
    let Bench { server, source, .. } = bench;
    let ended = std::thread::spawn(move || drop(source));
    assert_eq!(events(&server, "AddressReleased").0, expected);
    ended.join().expect("it ends");
}

/// Five seconds, with time to spare for a busy machine.
#[test]
fn a_lease_is_renewed_every_five_seconds_while_nothing_changes() {
    let (bench, _changes) = Bench::watching();
    bench.source.report(report(&bench));
    let renewal = || loop {
        let exchange = bench.server.report();
        let (at, body) = (Instant::now(), exchange.body.clone());
        let is_lease = exchange.path.contains("/leases/");
        exchange.answer(200, &body);
        if is_lease {
            return (at, body);
        }
    };
    let (mut last, mut before) = renewal();
    for _ in 0..2 {
        let (at, body) = renewal();
        let apart = at - last;
        assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&apart), "{apart:?}");
        assert_ne!(body["spec"]["renewTime"], before["spec"]["renewTime"]);
        assert_eq!(body["metadata"], before["metadata"]);
        (last, before) = (at, body);
    }
}

#[test]
fn events_that_the_server_does_not_take_are_counted() {
    let (bench, _changes) = Bench::watching();
    bench.source.report(report(&bench));
    let refused = loop {
        let exchange = bench.server.report();
        match exchange.path.contains("/leases/") {
            true => {
                let body = exchange.body.clone();
                exchange.answer(200, &body);
            }
            false => break exchange,
        }
    };
    refused.refuse(403);
    let start = Instant::now();
    while bench.source.untold_events() != 1 {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_end_waits_for_no_server() {
    let (bench, _changes) = Bench::watching();
    bench.source.report(report(&bench));
    let Bench { server, source, .. } = bench;
    let (done, ended) = channel();
    std::thread::spawn(move || {
        drop(source);
        let _ = done.send(());
    });
    ended.recv_timeout(Duration::from_secs(10)).expect("nobody is waited for");
    drop(server);
}

/// The thread gives up its rights before anything else, or does nothing.
#[test]
fn a_thread_that_cannot_begin_asks_no_server() {
    let server = TcpListener::bind("127.0.0.1:0").expect("loopback");
    server.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}", server.local_addr().expect("bound"));
    let config = Config::new(url.parse().expect("a URL"));
    let access = Access::Given(Box::new(config));
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let begin = || {
        assert_eq!(std::thread::current().name(), Some("control"));
        Err(io::Error::other("no right to have none"))
    };
    let (place, runtime) = ((access, PATIENT), runtime.expect("the system has descriptors"));
    let refused = KubernetesSource::start_with(place, runtime, terms(), (begin, || ()));
    let error = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("no right to have none"), "{error}");
    assert!(server.accept().is_err(), "nobody asks");
}

fn terms() -> Terms {
    let [name, namespace, uid] = ["a", "nat", "uid-of-a"].map(str::to_owned);
    Terms {
        identity: Identity { name, namespace, uid },
        networks: BTreeSet::from(["default".to_owned()]),
        session_retention: Duration::from_secs(30),
    }
}

#[test]
fn snapshots_are_shared_and_not_copied() {
    let (bench, _changes) = Bench::watching();
    let (one, other) = (bench.source.latest(), bench.source.latest());
    assert!(Arc::ptr_eq(&one.expect("listed"), &other.expect("listed")));
}
