//! The file source: a configuration in TOML.

use std::fs;
use std::io;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mooring_policy::{
    Facts, Generation, KernelFacts, KernelHold, MAX_WORKERS, Networks, Problems, load_with,
};
use thiserror::Error;

use crate::DesiredState;
use crate::kubernetes::{Since, Snapshot};

/// A configuration file, read whenever it is asked for, and what others say beside it: the kernel, the
/// Pod's annotations, a control plane.
///
/// A state that it makes is only a proposal. Whoever puts it to work says so by
/// [`FileSource::accepted`]: that counts the generation, and keeps what it was made of.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    generation: Generation,
    /// What the state was made of that was accepted last.
    accepted: Inputs,
    /// What the state was made of that was made last.
    proposed: Inputs,
    /// As they were said last.
    networks: Option<Networks>,
    given: Option<Arc<Snapshot>>,
    /// With which generations the tenures of addresses began.
    since: Since,
    /// What `workers = 0` stands for as long as the process runs.
    cores: NonZeroU8,
}

/// What a state is made of.
#[derive(Clone, Debug, Default)]
struct Inputs {
    text: String,
    kernel: Option<KernelFacts>,
    networks: Option<Networks>,
    given: Option<Arc<Snapshot>>,
    /// What of it is left to the kernel.
    kernel_holds: Vec<KernelHold>,
}

impl FileSource {
    /// The source that reads `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            generation: Generation::default(),
            accepted: Inputs::default(),
            proposed: Inputs::default(),
            networks: None,
            given: None,
            since: Since::default(),
            cores: usable_cores(),
        }
    }

    /// Reads the file and makes the next state of it, without what the kernel says: an interface
    /// with `addresses = "kernel"` has none. Enough to check a file, not to run it.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&mut self) -> Result<DesiredState, LoadError> {
        let text = self.read()?;
        self.compile_now(text, None, &[])
    }

    /// The same with the addresses and routes of the kernel's devices, where the file asks for them, and
    /// without what of a control plane's addresses is left to the kernel.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load_with(
        &mut self,
        kernel: &KernelFacts,
        holds: &[KernelHold],
    ) -> Result<DesiredState, LoadError> {
        let text = self.read()?;
        self.compile_now(text, Some(kernel.clone()), holds)
    }

    /// The accepted state as it would be with what the kernel and all others say now. The file is not
    /// read: what somebody writes into it counts when they ask for it.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn refresh(
        &mut self,
        kernel: &KernelFacts,
        holds: &[KernelHold],
    ) -> Result<DesiredState, LoadError> {
        self.compile_now(self.accepted.text.clone(), Some(kernel.clone()), holds)
    }

    /// The accepted state without the addresses that are not ours any more. Nothing else that was said
    /// meanwhile is in it: what cannot be put to work must not keep us from letting go.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn let_go(&mut self, holds: &[KernelHold]) -> Result<DesiredState, LoadError> {
        let mut inputs = self.accepted.clone();
        inputs.kernel_holds = holds.to_vec();
        if let (Some(now), Some(before)) = (&self.given, &inputs.given) {
            inputs.given = Some(Arc::new(now.left_of(before)));
        }
        self.compile(inputs)
    }

    /// The state that was made last is at work.
    pub fn accepted(&mut self) {
        self.generation = self.next();
        self.accepted = self.proposed.clone();
        if let Some(given) = &self.accepted.given {
            self.since.accepted(given, self.generation);
        }
    }

    /// The Pod's devices are on these networks. It counts for states that are made from now on.
    pub fn set_networks(&mut self, networks: Networks) {
        self.networks = Some(networks);
    }

    /// What a control plane gives counts for states that are made from now on. Says whether the one at
    /// work is another with it.
    pub fn give(&mut self, snapshot: Arc<Snapshot>) -> bool {
        let next = self.next();
        let assigned = |given: &Snapshot| given.assignments(&self.since, next);
        let same = self.accepted.given.as_deref().map(assigned) == Some(assigned(&snapshot));
        if same {
            // What it says beside of that needs no other state.
            self.accepted.given = Some(Arc::clone(&snapshot));
        }
        self.given = Some(snapshot);
        !same
    }

    /// What of it the state at work leaves to the kernel.
    #[must_use]
    pub fn left_to_kernel(&self) -> &[KernelHold] {
        &self.accepted.kernel_holds
    }

    /// What the state at work was made of.
    #[must_use]
    pub fn given(&self) -> Option<&Arc<Snapshot>> {
        self.accepted.given.as_ref()
    }

    /// The file that is read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file says something else than the accepted state was made of.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.read().map_or(true, |text| text != self.accepted.text)
    }

    const fn next(&self) -> Generation {
        Generation(self.generation.0 + 1)
    }

    fn read(&self) -> Result<String, LoadError> {
        fs::read_to_string(&self.path).map_err(|source| LoadError::Unreadable {
            file: self.path.display().to_string(),
            source,
        })
    }

    /// With what is said now.
    fn compile_now(
        &mut self,
        text: String,
        kernel: Option<KernelFacts>,
        holds: &[KernelHold],
    ) -> Result<DesiredState, LoadError> {
        let (networks, given) = (self.networks.clone(), self.given.clone());
        let kernel_holds = holds.to_vec();
        self.compile(Inputs { text, kernel, networks, given, kernel_holds })
    }

    fn compile(&mut self, inputs: Inputs) -> Result<DesiredState, LoadError> {
        let file = self.path.display().to_string();
        let next = self.next();
        let assignments = inputs.given.as_ref().map(|given| given.assignments(&self.since, next));
        let facts = Facts {
            kernel: inputs.kernel.as_ref(),
            cores: Some(self.cores),
            networks: inputs.networks.as_ref(),
            assignments: assignments.as_ref(),
            kernel_holds: &inputs.kernel_holds,
        };
        let loaded = load_with(&inputs.text, &facts)
            .map_err(|problems| LoadError::Refused { file, problems })?;
        self.proposed = inputs;
        Ok(DesiredState {
            generation: next,
            policy: Arc::new(loaded.policy),
            settings: loaded.settings,
            follows_kernel: loaded.follows_kernel,
            warnings: loaded.warnings,
            not_taken: loaded.not_taken.into(),
        })
    }
}

/// How many workers `workers = 0` stands for: one for each core that the process may use, and no more
/// than there can be.
#[must_use]
pub fn usable_cores() -> NonZeroU8 {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS.into());
    NonZeroU8::new(cores as u8).unwrap_or(NonZeroU8::MIN)
}

/// Why a file gives no state.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read `{file}`: {source}")]
    Unreadable {
        /// The file's path.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It can be read, but does not hold.
    #[error("{}", problems.render(file).trim_end())]
    Refused {
        /// The file's path.
        file: String,
        /// All that is wrong with it.
        problems: Problems,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use mooring_policy::{DeviceFacts, Generation, KernelFacts, KernelHold};

    use super::{DesiredState, FileSource, LoadError, Snapshot, usable_cores};
    use crate::kubernetes::Given;
    use crate::kubernetes::ownership::RouteFacts;
    use crate::kubernetes::snapshot::RouteRef;
    use crate::kubernetes::tenure::{Hold, TenureId};

    const GOOD: &str =
        "[[interface]]\nname = \"a\"\ndevice = \"d0\"\naddresses = [\"10.0.0.1/24\"]\n";

    #[test]
    fn a_bad_file_makes_no_state_and_only_accepted_ones_count() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        let mut source = FileSource::new(&path);
        assert!(matches!(source.load(), Err(LoadError::Unreadable { .. })));
        fs::write(&path, GOOD).expect("the folder is writable");
        assert_eq!(source.load().expect("valid").generation, Generation(1));
        source.accepted();
        fs::write(&path, GOOD.replace("device", "devise")).expect("the folder is writable");
        let refused = source.load().expect_err("an unknown key").to_string();
        assert!(refused.contains("mooring.toml:3:1: error: unknown key `devise`"), "{refused}");
        fs::write(&path, GOOD).expect("the folder is writable");
        assert_eq!(source.load().expect("valid").generation, Generation(2));
        assert_eq!(source.load().expect("valid").generation, Generation(2), "nobody took it");
    }

    /// Each worker needs a block, and `run` starts as many workers as are reckoned with here.
    #[test]
    fn one_worker_per_core_is_reckoned_as_the_cores_that_there_are() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        let cores = u32::from(usable_cores().get());
        let with_blocks = |blocks: u32| {
            let more = format!(
                "[appliance]\nworkers = 0\n[[pool]]\nname = \"p\"\naddresses = [\"203.0.113.1\"]\n\
                 ports = \"1024-{}\"\nallocation = {{ kind = \"port-block\", size = 64, max_blocks = 2 }}",
                1_023 + 64 * blocks
            );
            fs::write(&path, format!("{GOOD}{more}\n")).expect("the folder is writable");
            FileSource::new(&path).load()
        };
        assert!(with_blocks(2 * cores).is_ok());
        let refused = with_blocks(2 * cores - 1).expect_err("a worker has one block").to_string();
        assert!(refused.contains("a host cannot have 2 blocks"), "{refused}");
    }

    #[test]
    fn another_word_of_the_kernel_does_not_read_the_file_again() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        fs::write(&path, GOOD.replace("[\"10.0.0.1/24\"]", "\"kernel\"")).expect("writable");
        let device = |address: &str| DeviceFacts {
            device: "d0".to_owned(),
            addresses: vec![address.parse().expect("a prefix")],
            ..DeviceFacts::default()
        };
        let facts = |address| KernelFacts { devices: vec![device(address)] };
        let mut source = FileSource::new(&path);
        let first = source.load_with(&facts("192.0.2.9/32"), &[]).expect("valid");
        assert!(first.follows_kernel);
        source.accepted();
        fs::write(&path, "nonsense").expect("the folder is writable");
        let next =
            source.refresh(&facts("192.0.2.10/32"), &[]).expect("the accepted text is valid");
        assert_eq!(next.generation, Generation(2));
        assert_eq!(
            next.policy.interfaces[0].addresses,
            facts("192.0.2.10/32").devices[0].addresses
        );
    }

    /// An address of a route, ours or not.
    fn given(address: &str, hold: Option<Hold>) -> Arc<Snapshot> {
        let facts =
            RouteFacts { name: "r".to_owned(), network: "wan".to_owned(), ..RouteFacts::default() };
        let route = RouteRef::of(&Arc::new(facts));
        let address = address.parse().expect("an address");
        let given = vec![Given { address, route, hold, reason: None }];
        Arc::new(Snapshot { given, ..Snapshot::default() })
    }

    const BY_ROUTES: &str = r#"
[control]
source = "kubernetes"
[[interface]]
name = "in"
device = "d1"
addresses = ["10.0.0.1/24"]
[[interface]]
name = "out"
device = "d0"
addresses = "kernel"
network = "wan"
[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.1"
interface = "out"
[[pool]]
name = "p"
addresses_from = { routes = "all" }
[[rule]]
name = "r"
kind = "source-nat"
from = "in"
to = "out"
source = ["10.0.0.0/24"]
pool = "p"
"#;

    fn kernel(address: &str) -> KernelFacts {
        let device = |device: &str, addresses| DeviceFacts {
            device: device.to_owned(),
            addresses,
            ..DeviceFacts::default()
        };
        let prefix = address.parse().expect("a prefix");
        KernelFacts { devices: vec![device("d0", vec![prefix]), device("d1", Vec::new())] }
    }

    #[test]
    fn what_cannot_be_put_to_work_keeps_no_address_that_is_not_ours_any_more() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        fs::write(&path, BY_ROUTES).expect("writable");
        let mut source = FileSource::new(&path);
        let held =
            |state: &DesiredState| state.policy.given().any(|given| given.standing.is_held());
        let address = "203.0.113.10";
        assert!(source.give(given(address, Some(Hold::Held(TenureId(1))))));
        let state = source.load_with(&kernel("192.0.2.9/24"), &[]).expect("valid");
        assert!(held(&state), "{:?}", state.not_taken);
        source.accepted();
        // Ours no more; and the kernel says what makes no state.
        assert!(source.give(given(address, None)));
        assert!(source.refresh(&KernelFacts::default(), &[]).is_err());
        let left = source.let_go(&[]).expect("of what has worked before");
        assert!(!held(&left));
        assert_eq!(left.generation, Generation(2));
    }

    /// What waits for the kernel to let go of it waits while that state is at work, whatever else is tried.
    #[test]
    fn what_is_left_to_the_kernel_is_of_the_state_at_work() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        fs::write(&path, BY_ROUTES).expect("writable");
        let mut source = FileSource::new(&path);
        source.give(given("203.0.113.10", Some(Hold::Held(TenureId(1)))));
        let prefix = "203.0.113.10/32".parse().expect("a prefix");
        let holds = [KernelHold { prefix, device: Some("lo".to_owned()) }];
        let state = source.load_with(&kernel("192.0.2.9/24"), &holds).expect("valid");
        assert_eq!((state.not_taken.len(), source.left_to_kernel()), (1, &[][..]), "a proposal");
        source.accepted();
        assert_eq!(source.left_to_kernel(), holds);
        // What becomes of these three is not known, or nothing does.
        source.load_with(&kernel("192.0.2.9/24"), &[]).expect("valid");
        source.refresh(&kernel("192.0.2.9/24"), &[]).expect("valid");
        fs::write(&path, "nonsense").expect("writable");
        assert!(source.load_with(&kernel("192.0.2.9/24"), &[]).is_err());
        assert_eq!(source.left_to_kernel(), holds);
        let state = source.let_go(&holds).expect("of what has worked before");
        assert_eq!(state.not_taken.len(), 1);
        source.accepted();
        assert_eq!(source.left_to_kernel(), holds);
        source.refresh(&kernel("192.0.2.9/24"), &[]).expect("the accepted text is valid");
        source.accepted();
        assert_eq!(source.left_to_kernel(), [], "it has let go");
    }

    #[test]
    fn what_says_nothing_new_of_addresses_needs_no_other_state() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        fs::write(&path, BY_ROUTES).expect("writable");
        let mut source = FileSource::new(&path);
        let (one, other) = (Some(Hold::Held(TenureId(1))), Some(Hold::Held(TenureId(2))));
        assert!(source.give(given("203.0.113.10", one)));
        source.load_with(&kernel("192.0.2.9/24"), &[]).expect("valid");
        source.accepted();
        let again = given("203.0.113.10", one);
        assert!(!source.give(Arc::clone(&again)));
        assert!(source.given().is_some_and(|given| Arc::ptr_eq(given, &again)));
        assert!(source.give(given("203.0.113.10", other)), "somebody else had it meanwhile");
        assert!(source.give(given("203.0.113.10", None)));
    }
}
