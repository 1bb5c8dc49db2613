//! What is made for a Pod before its first program runs, and taken away after its last.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use mooring_lab::Namespace;
use mooring_lab::isolation::SCRATCH;
use serde_json::{Value, json};

use super::super::container::Container;
use super::super::rights::Rights;
use super::super::volumes::{Volumes, field};
use super::super::{Image, Node};
use super::RESTART;
use super::program::{Program, Shared};
use crate::api::Api;
use crate::cluster::{ADDRESS, PORT};
use crate::tools::output;

/// Namespace, folders and volumes of a Pod.
pub(super) struct Sandbox {
    pub(super) address: Ipv4Addr,
    pub(super) volumes: Volumes,
    pub(super) shared: Arc<Shared>,
    node: Arc<Node>,
    pod: Value,
    namespace: Namespace,
    folder: PathBuf,
}

impl Sandbox {
    pub(super) fn make(
        api: &Api,
        node: &Arc<Node>,
        authority: &Path,
        maps: &[Value],
        pod: &Value,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir_in(SCRATCH)?.keep();
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let namespace = Namespace::create("pod")?;
        namespace.enable_ipv6()?;
        namespace.sysctl("net/ipv4/ip_forward", if node.forwarding { "1" } else { "0" })?;
        let context = &pod["spec"]["securityContext"];
        for setting in context["sysctls"].as_array().into_iter().flatten() {
            let name = setting["name"].as_str().context("a sysctl's name")?.replace('.', "/");
            namespace.sysctl(&name, setting["value"].as_str().context("a sysctl's value")?)?;
        }
        let address = node.networks.equip(&namespace, &devices(pod)?)?;
        let mut pod = pod.clone();
        pod["status"] = json!({ "podIP": address });
        let volumes = Volumes::make(api, &folder.join("volumes"), authority, maps, &pod)?;
        Ok(Self { address, volumes, shared, node: Arc::clone(node), pod, namespace, folder })
    }

    /// The only container.
    pub(super) fn container(&self) -> Result<&Value> {
        let containers = self.pod["spec"]["containers"].as_array().context("containers")?;
        ensure!(containers.len() == 1, "the test kubelet starts one container in a Pod");
        Ok(&containers[0])
    }

    /// Runs one after the other, each until it has succeeded.
    pub(super) fn run_init_containers(&self) -> Result<()> {
        let containers = self.pod["spec"]["initContainers"].as_array().into_iter().flatten();
        for (number, container) in containers.enumerate() {
            let description = self.describe(container, &format!("init-{number}"))?;
            while !Program::start(&description, &self.log())?.wait()?.success() {
                thread::sleep(RESTART);
            }
        }
        Ok(())
    }

    pub(super) fn start_program(&self) -> Result<Program> {
        let description = self.describe(self.container()?, "container")?;
        let program = Program::start(&description, &self.log())?;
        self.shared.set_outer(program.outer());
        self.shared.set_place(&self.namespace, &self.log());
        Ok(program)
    }

    /// Takes all of it away. The log stays.
    pub(super) fn remove(&self) -> Result<()> {
        output(Command::new("ip").args(["netns", "delete", self.namespace.name()]), b"")?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Writes what a container is into a file.
    fn describe(&self, container: &Value, name: &str) -> Result<PathBuf> {
        let image = self.image(container)?;
        let root = self.folder.join(name);
        let described = Container {
            root: if root.exists() { root } else { image.root(&root)? },
            network: Path::new("/run/netns").join(self.namespace.name()),
            mounts: self.volumes.mounts(container)?,
            rights: Rights::of(&self.pod["spec"], container),
            environment: self.environment(container)?,
            command: match command(container) {
                none if none.is_empty() => image.command().to_vec(),
                command => command,
            },
        };
        let file = self.folder.join(format!("{name}.json"));
        fs::write(&file, serde_json::to_vec(&described)?)?;
        Ok(file)
    }

    fn image(&self, container: &Value) -> Result<&Image> {
        let full = container["image"].as_str().context("an image")?;
        let last = full.rsplit('/').next().unwrap_or(full);
        let name = last.split([':', '@']).next().unwrap_or(last);
        let found = self.node.images.iter().find(|(own, _)| *own == name);
        Ok(&found.with_context(|| format!("this node has no image {full}"))?.1)
    }

    fn environment(&self, container: &Value) -> Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::from([
            (
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ),
            ("KUBERNETES_SERVICE_HOST".to_owned(), ADDRESS.to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), PORT.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), PORT.to_string()),
        ]);
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().context("a variable's name")?;
            let value = match variable["value"].as_str() {
                Some(value) => value.to_owned(),
                None => field(&variable["valueFrom"]["fieldRef"], &self.pod)?,
            };
            all.insert(name.to_owned(), value);
        }
        Ok(all)
    }
}

/// Devices and their networks, of the Pod's annotations; a device on the cluster's network in any case.
fn devices(pod: &Value) -> Result<Vec<(String, String)>> {
    let mut devices = vec![("eth0".to_owned(), "default".to_owned())];
    if let Some(text) = pod["metadata"]["annotations"]["networking.gke.io/interfaces"].as_str() {
        let given: Vec<Value> =
            serde_json::from_str(text).context("networking.gke.io/interfaces")?;
        for interface in given {
            let text =
                |name: &str| interface[name].as_str().map(str::to_owned).context(name.to_owned());
            let device = (text("interfaceName")?, text("network")?);
            if device.1 != "default" {
                devices.push(device);
            }
        }
    }
    Ok(devices)
}

fn command(container: &Value) -> Vec<String> {
    let words = |name: &str| container[name].as_array().into_iter().flatten();
    let all = words("command").chain(words("args"));
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}
