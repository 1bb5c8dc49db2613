//! A control plane of real programs: etcd, kube-apiserver, and if asked kube-controller-manager.
//!
//! It stands in the corner of a test ([`mooring_lab::isolated`]), so its addresses and ports are the
//! test's own and it ends with it, however the test ends. Requests are authorized by RBAC; who asks
//! has a certificate (the test itself) or a ServiceAccount's token.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mooring_lab::cache;
use mooring_lab::clock::wait_for;
use mooring_lab::isolation::SCRATCH;
use serde_json::{Value, json};

use self::server::Server;
use crate::api::Api;
use crate::tools::{Tools, here, output, shipped};

/// A running control plane. Dropped before [`Cluster::stop`], it was a failure: its logs are kept.
pub struct Cluster {
    /// Which the API server knows as an administrator.
    pub api: Api,
    folder: PathBuf,
    programs: PathBuf,
    etcd: Server,
    server: Option<Server>,
    controllers: Option<Server>,
    stopped: bool,
}

impl Cluster {
    /// Starts etcd and the API server, and waits until that is ready.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir_in(SCRATCH)?.keep();
        network()?;
        let certificates = folder.join("certificates");
        fs::create_dir(&certificates)?;
        output(
            Command::new("sh")
                .arg(here().join("server/certificates.sh"))
                .arg(&certificates)
                .args(["127.0.0.1", ADDRESS]),
            b"",
        )?;
        let kubeconfig = kubeconfig(&certificates);
        fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
        let etcd = etcd(&folder)?;
        let api = Api::of(&kubeconfig)?;
        let mut cluster =
            Self { api, folder, programs, etcd, server: None, controllers: None, stopped: false };
        cluster.restart_api()?;
        Ok(cluster)
    }

    /// The same with the controllers that make Pods of Deployments and StatefulSets, and that delete
    /// what is nobody's any more.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn with_controllers() -> Result<Self> {
        let mut cluster = Self::start()?;
        let mut command = Command::new(cluster.programs.join("kube-controller-manager"));
        command
            .arg(format!("--kubeconfig={}", cluster.folder.join("kubeconfig").display()))
            .arg(format!("--controllers={CONTROLLERS}"))
            .args(["--leader-elect=false", "--port=0", "--secure-port=0"]);
        let log = cluster.folder.join("controllers.log");
        cluster.controllers = Some(Server::start("kube-controller-manager", &mut command, &log)?);
        Ok(cluster)
    }

    /// Kills the API server, as a machine that fails. etcd runs on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_api(&mut self) -> Result<()> {
        self.server.take().context("the API server does not run")?.kill();
        Ok(())
    }

    /// Starts the API server again, if it does not run, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart_api(&mut self) -> Result<()> {
        if self.server.is_none() {
            let log = self.folder.join("apiserver.log");
            let mut command = api_server(&self.programs, &self.folder.join("certificates"));
            self.server = Some(Server::start("kube-apiserver", &mut command, &log)?);
        }
        let api = &self.api;
        let mut programs = [Some(&mut self.etcd), self.server.as_mut()];
        wait_for("the API server", READY, || {
            for program in programs.iter_mut().flatten() {
                program.ensure_running()?;
            }
            Ok(api.is_ready().then_some(()))
        })
    }

    /// Makes the definition of GKEIPRoute known to the server, without its CEL rules: a server of this
    /// age knows none.
    ///
    /// # Errors
    /// When the definition is not as the server wants it.
    pub fn define_routes(&self, tools: &Tools) -> Result<()> {
        let mut definitions = crate::load(tools, &[shipped("crd/gkeiproutes.yaml")])?;
        definitions.iter_mut().for_each(without_rules);
        self.api.apply(&definitions)?;
        wait_for("the kind GKEIPRoute", READY, || {
            Ok(self.api.get("/apis/networking.gke.io/v1/gkeiproutes").ok().map(drop))
        })
    }

    /// The API server as the bearer of a token sees it.
    ///
    /// # Errors
    /// When the certificates are gone.
    pub fn as_bearer(&self, token: &str) -> Result<Api> {
        let mut kubeconfig = kubeconfig(&self.folder.join("certificates"));
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        Api::of(&kubeconfig)
    }

    /// The certificate of the authority, which clients must know.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("certificates/authority.crt")
    }

    /// etcd's own command for this cluster's etcd.
    #[must_use]
    pub fn etcdctl(&self) -> Command {
        let mut etcdctl = Command::new("etcdctl");
        etcdctl.env("ETCDCTL_API", "3").arg(format!("--endpoints={ETCD}"));
        etcdctl
    }

    /// Forgets all versions of all objects but the newest: who watches from an older one gets 410.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub fn compact(&self) -> Result<()> {
        let status = output(self.etcdctl().args(["endpoint", "status", "--write-out=json"]), b"")?;
        let status: Value = serde_json::from_str(&status)?;
        let revision = status[0]["Status"]["header"]["revision"].to_string();
        output(self.etcdctl().args(["compact", &revision]), b"")?;
        Ok(())
    }

    /// Ends it at the end of a test that was well.
    pub fn stop(mut self) {
        self.stopped = true;
    }

    fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        let Self { etcd, server, controllers, .. } = self;
        controllers.iter_mut().chain(server.iter_mut()).chain([etcd])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = !self.stopped;
        for server in self.servers() {
            server.end();
            if failed {
                server.keep_log();
            }
        }
    }
}

/// The folder of the programs.
fn programs() -> Result<PathBuf> {
    let folder = cache(CACHE);
    if !folder.join(".stamp").is_file() {
        bail!(
            "there is no Kubernetes API server in {}\nhint: `cargo xtask test` builds it",
            folder.display()
        );
    }
    Ok(folder)
}

/// The address of the API server, in the corner's own network namespace.
fn network() -> Result<()> {
    for arguments in
        [&["link", "set", "lo", "up"][..], &["address", "replace", ADDRESS, "dev", "lo"]]
    {
        output(Command::new("ip").args(arguments), b"")?;
    }
    Ok(())
}

fn etcd(folder: &Path) -> Result<Server> {
    let peers = "http://127.0.0.1:2380";
    let mut command = Command::new("etcd");
    command
        .args(["--name=tests", "--unsafe-no-fsync", "--log-level=warn"])
        .arg(format!("--data-dir={}", folder.join("etcd").display()))
        .arg(format!("--listen-client-urls={ETCD}"))
        .arg(format!("--advertise-client-urls={ETCD}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=tests={peers}"));
    Server::start("etcd", &mut command, &folder.join("etcd.log"))
}

fn api_server(programs: &Path, certificates: &Path) -> Command {
    let file =
        |option: &str, name: &str| format!("--{option}={}", certificates.join(name).display());
    let mut command = Command::new(programs.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers={ETCD}"))
        .arg(format!("--secure-port={PORT}"))
        .arg(file("tls-cert-file", "server.crt"))
        .arg(file("tls-private-key-file", "server.key"))
        .arg(file("client-ca-file", "authority.crt"))
        .arg(file("service-account-signing-key-file", "accounts.key"))
        .arg(file("service-account-key-file", "accounts.key"))
        .args([
            "--bind-address=0.0.0.0",
            // Nobody uses the Service `kubernetes`: Pods are told the server's own address.
            "--advertise-address=192.0.2.250",
            "--endpoint-reconciler-type=none",
            "--insecure-port=0",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            // The test kubelet mounts tokens itself.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
        ]);
    command
}

fn kubeconfig(certificates: &Path) -> Value {
    let file = |name: &str| certificates.join(name);
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "us" } }],
        "clusters": [{ "name": "tests", "cluster": {
            "server": format!("https://127.0.0.1:{PORT}"),
            "certificate-authority": file("authority.crt"),
        } }],
        "users": [{ "name": "us", "user": {
            "client-certificate": file("administrator.crt"),
            "client-key": file("administrator.key"),
        } }],
    })
}

/// Takes the rules of CEL out of a schema.
fn without_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}

/// Where Pods find the API server.
pub const ADDRESS: &str = "10.96.0.1";
/// On which port.
pub const PORT: u16 = 6443;

const CACHE: &str = "kube-1.20.2";
const ETCD: &str = "http://127.0.0.1:2379";
/// Those that act on Pods without a kubelet of Kubernetes' own beside them; others would take ours for
/// a node that has died.
const CONTROLLERS: &str = "deployment,replicaset,statefulset,garbagecollector,namespace";
/// Seconds on a quiet machine.
const READY: Duration = Duration::from_secs(120);
