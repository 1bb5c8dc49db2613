//! Several agents on one link, and an API server that each of them hears late, or not at all: at most
//! one sends for an address.
//!
//! Simulated time, and no thread or socket. What decides is what decides in a Pod: the ledger with the
//! function of ownership and its tenures, doubts, the file source that compiles, the engine that adopts,
//! announces and hears contradiction. What stands between them (the watch's connections, the main
//! thread) is modelled here by its delays.

mod agent;
mod feed;
mod server;
mod stage;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::feed::Contact;
use self::stage::Stage;

const PODS: [&str; 3] = ["a", "b", "c"];
const ADDRESSES: [&str; 2] = ["203.0.113.10", "203.0.113.11"];

/// What happens to the agents and around them.
#[derive(Clone, Debug)]
enum Event {
    Name(&'static str, Vec<&'static str>),
    Judge(&'static str, bool),
    Specify(&'static str, Option<&'static str>),
    Create(&'static str, &'static str),
    Delete(&'static str),
    Start(usize),
    /// Asks it to end, as the deletion of its Pod does.
    Stop(usize),
    Kill(usize),
    Contact(usize, Contact),
    /// Changes reach it so much later.
    Delay(usize, u64),
    /// The server has forgotten where its watch was.
    Forget(usize),
    /// A stranger on the link says that an address is its own.
    Contradict(&'static str),
}

/// What may be wrong with an agent, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It does not care who contradicts.
    Deaf,
    /// It takes its time.
    Slow,
}

/// Random numbers of a sequence.
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// From 0 to this.
    const fn upto(&mut self, most: u64) -> u64 {
        // xorshift64: nothing here has to be unpredictable.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % (most + 1)
    }
}

/// How many agents, what their delays are rolled with, and what happens after which pauses.
type Sequence = (usize, u64, Vec<(u64, Event)>);

fn sequences() -> impl Strategy<Value = Sequence> {
    let pause =
        prop_oneof![4 => 0_u64..50, 4 => 50_u64..400, 2 => 400_u64..3_000, 1 => 3_000_u64..30_000];
    (2_usize..=3, any::<u64>(), vec((pause, events()), 1..24))
}

fn events() -> impl Strategy<Value = Event> {
    let route = || prop_oneof![4 => Just("x"), 1 => Just("y"), 1 => Just("x2")];
    let pods = prop_oneof![
        1 => Just(vec![]),
        6 => (0_usize..3).prop_map(|at| vec![PODS[at]]),
        1 => Just(vec!["a", "b"]),
    ];
    let agent = || 0_usize..3;
    let contact = prop_oneof![Just(Contact::Good), Just(Contact::Refused), Just(Contact::Silent)];
    let address = |route: &'static str| ADDRESSES[usize::from(route == "y")];
    prop_oneof![
        8 => (route(), pods).prop_map(|(route, pods)| Event::Name(route, pods)),
        1 => (route(), any::<bool>()).prop_map(|(route, accepts)| Event::Judge(route, accepts)),
        1 => (route(), any::<bool>()).prop_map(move |(route, has)| {
            Event::Specify(route, has.then(|| address(route)))
        }),
        1 => route().prop_map(move |route| Event::Create(route, address(route))),
        1 => route().prop_map(Event::Delete),
        2 => agent().prop_map(Event::Start),
        1 => agent().prop_map(Event::Stop),
        1 => agent().prop_map(Event::Kill),
        3 => (agent(), contact).prop_map(|(at, contact)| Event::Contact(at, contact)),
        2 => (agent(), 1_u64..3_000).prop_map(|(at, delay)| Event::Delay(at, delay)),
        1 => agent().prop_map(Event::Forget),
        1 => prop_oneof![Just(ADDRESSES[0]), Just(ADDRESSES[1])].prop_map(Event::Contradict),
    ]
}

/// Runs a sequence, and says what was wrong in it.
fn run((agents, seed, events): &Sequence, fault: Fault) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut stage = Stage::new(folder.path(), fault, *agents, *seed);
    for (pause, event) in events {
        stage.pass(*pause)?;
        stage.happen(event);
    }
    stage.settle()
}

fn find(cases: u32, fault: Fault) -> Result<(), String> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // What is found is found again.
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let checked = TestRunner::new_with_rng(config, random)
        .run(&sequences(), |sequence| run(&sequence, fault).map_err(TestCaseError::fail));
    checked.map_err(|found| found.to_string())
}

/// `MOORING_SEQUENCES` says how many: the long run has more.
#[test]
fn at_most_one_agent_sends_for_an_address_whatever_happens_to_them() {
    let told = std::env::var("MOORING_SEQUENCES").ok();
    let cases = told.map_or(300, |told| told.parse().expect("a number of sequences"));
    find(cases, Fault::None).unwrap_or_else(|found| panic!("{found}"));
}

/// Everybody on the link can say that an address is his, as often as he likes: the server is asked a
/// few times, and the address is used meanwhile. Its answers take up to 200 ms here.
#[test]
fn a_stranger_who_speaks_again_and_again_keeps_no_address_out_of_use() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut stage = Stage::new(folder.path(), Fault::None, 1, 1);
    stage.happen(&Event::Name("x", vec!["a"]));
    stage.happen(&Event::Delay(0, 100));
    stage.pass(3_000).expect("one agent alone does nothing wrong");
    let mut used = 0;
    for _ in 0..6_000 {
        stage.happen(&Event::Contradict(ADDRESSES[0]));
        stage.pass(10).expect("one agent alone does nothing wrong");
        used += u32::from(stage.is_used(ADDRESSES[0]));
    }
    assert!((5_400..6_000).contains(&used), "used at {used} of 6,000 times in a minute");
}

#[test]
fn agents_that_do_not_hear_each_other_or_are_slow_are_found() {
    for fault in [Fault::Deaf, Fault::Slow] {
        let found = find(200, fault).expect_err("an agent with a fault");
        assert!(found.contains("send: more than one"), "{fault:?}: {found}");
    }
}
