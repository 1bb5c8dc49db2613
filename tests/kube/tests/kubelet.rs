//! The test kubelet by itself: what its Pods see is what their manifests say.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use mooring_kube_tests::{Cluster, Image, Kubelet, Network, Networks, Node, Pod, is_ready};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::{isolated, mooring_binary};
use serde_json::{Value, json};

#[test]
fn a_pod_sees_what_its_manifest_says() {
    isolated("a_pod_sees_what_its_manifest_says", || {
        let (cluster, kubelet) = start(Cluster::start()?)?;
        cluster.api.apply(&[config("greeting = 1")])?;
        let mut pod = shell(
            "tell",
            "echo I am $NAME of $SPACE; cat /etc/podinfo/annotations /etc/lab/text; \
             while read -r line; do echo $line; done < /proc/self/status; \
             echo x > /file || echo cannot write; echo x > /scratch/file && echo can write; \
             cat /proc/sys/net/ipv4/ip_forward; ls /sys/class/net; exec sleep 1000",
        );
        pod["metadata"]["annotations"] = json!({ "networking.gke.io/interfaces": INTERFACES });
        pod["spec"]["securityContext"]["sysctls"] =
            json!([{ "name": "net.ipv4.ip_forward", "value": "0" }]);
        pod["spec"]["containers"][0]["securityContext"] = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["NET_RAW"] },
        });
        cluster.api.apply(&[pod])?;
        let said = says(&kubelet.pod("tell")?, "\nlo\nnet1\n")?;
        for line in [
            "I am tell of lab",
            "networking.gke.io/interfaces=\"[{\\\"interfaceName\\\":\\\"net1\\\",\\\"network\\\":\\\"wan\\\"}]\"",
            "greeting = 1",
            "CapPrm: 0000000000002000",
            "CapEff: 0000000000002000",
            "CapBnd: 0000000000002000",
            "NoNewPrivs: 1",
            "cannot write",
            "can write",
            "0",
            "net1",
        ] {
            assert!(said.lines().any(|own| own == line), "no line {line} in:\n{said}");
        }
        assert_eq!(
            kubelet.pod("tell")?.exec(&["/mooring", "--version"])?.split(' ').next(),
            Some("mooring")
        );
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

/// Another user has no capabilities but those that a file gives it.
#[test]
fn another_user_than_root_has_no_capabilities_of_its_own() {
    isolated("another_user_than_root_has_no_capabilities_of_its_own", || {
        let (cluster, kubelet) = start(Cluster::start()?)?;
        cluster.api.apply(&[config("")])?;
        let mut pod = shell(
            "user",
            "while read -r line; do echo $line; done < /proc/self/status; \
             echo x > /scratch/file && echo can write; cat /etc/lab/text; \
             cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; exec sleep 1000",
        );
        pod["spec"]["securityContext"] =
            json!({ "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532 });
        pod["spec"]["containers"][0]["securityContext"] =
            json!({ "capabilities": { "drop": ["ALL"], "add": ["NET_RAW"] } });
        cluster.api.apply(&[pod])?;
        let said = says(&kubelet.pod("user")?, "lab")?;
        for line in [
            "Uid: 65532 65532 65532 65532",
            "Gid: 65532 65532 65532 65532",
            "CapPrm: 0000000000000000",
            "CapEff: 0000000000000000",
            "CapBnd: 0000000000002000",
            "NoNewPrivs: 0",
            "can write",
        ] {
            assert!(said.lines().any(|own| own == line), "no line {line} in:\n{said}");
        }
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

/// The same program with a filter and without: both times as root with all that the calls need.
#[test]
fn a_filter_of_system_calls_refuses_what_a_runtime_refuses() {
    isolated("a_filter_of_system_calls_refuses_what_a_runtime_refuses", || {
        let (cluster, kubelet) = start(Cluster::start()?)?;
        cluster.api.apply(&[config("the end")])?;
        for (name, profile) in [("free", "Unconfined"), ("kept", "RuntimeDefault")] {
            let mut pod = shell(
                name,
                "unshare --uts cat /dev/null && echo own name; \
                 chroot / /bin/cat /dev/null && echo own root; cat /etc/lab/text; exec sleep 1000",
            );
            pod["spec"]["securityContext"] = json!({ "seccompProfile": { "type": profile } });
            pod["spec"]["containers"][0]["securityContext"] = json!({
                "allowPrivilegeEscalation": false, "capabilities": { "add": ["SYS_ADMIN"] },
            });
            cluster.api.apply(&[pod])?;
            let pod = kubelet.pod(name)?;
            let said = says(&pod, "the end")?;
            let process = pod.process().context("it runs")?;
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let filtered = status.lines().any(|line| line == "Seccomp:\t2");
            assert_eq!(filtered, name == "kept", "{status}");
            for call in ["own name", "own root"] {
                assert_eq!(said.contains(call), name == "free", "{name}: {call}: {said}");
            }
            assert_eq!(said.contains("Operation not permitted"), name == "kept", "{said}");
        }
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

#[test]
fn volumes_follow_what_they_show_and_the_token_opens_the_api() {
    isolated("volumes_follow_what_they_show_and_the_token_opens_the_api", || {
        let (cluster, kubelet) = start(Cluster::start()?)?;
        cluster.api.apply(&[config("first"), shell("follow", "exec sleep 1000")])?;
        let pod = kubelet.pod("follow")?;
        let shows = |file: &str, text: &str| {
            wait_for(&format!("{text} in {file}"), LIMIT, || {
                let read = pod.exec(&["/bin/cat", file]);
                Ok(read.is_ok_and(|read| read.contains(text)).then_some(()))
            })
        };
        shows("/etc/lab/text", "first")?;
        cluster.api.apply(&[config("second")])?;
        shows("/etc/lab/text", "second")?;
        let annotate = json!({ "metadata": { "annotations": { "colour": "green" } } });
        cluster.api.merge(&format!("{PODS}/follow"), &annotate)?;
        shows("/etc/podinfo/annotations", "colour=\"green\"")?;

        let token = format!("{ACCOUNT}/token");
        let before = pod.exec(&["/bin/cat", &token])?;
        assert_eq!(asks(&pod, &before)?, "403", "known, and not allowed");
        assert_eq!(asks(&pod, "nonsense")?, "401");
        kubelet.rotate_token("follow")?;
        let after = wait_for("another token", LIMIT, || {
            let now = pod.exec(&["/bin/cat", &token])?;
            Ok((now != before).then_some(now))
        })?;
        assert_eq!(asks(&pod, &after)?, "403");
        wait_for("the end of the old token", LIMIT, || {
            Ok((asks(&pod, &before)? == "401").then_some(()))
        })?;
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

#[test]
fn probes_make_a_pod_ready_and_unready_and_start_it_again() {
    isolated("probes_make_a_pod_ready_and_unready_and_start_it_again", || {
        let (cluster, kubelet) = start(Cluster::start()?)?;
        let mut pod = shell("probed", "exec sleep 1000");
        let container = &mut pod["spec"]["containers"][0];
        container["ports"] = json!([{ "name": "health", "containerPort": 9465 }]);
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
            container[probe] = json!({
                "httpGet": { "path": path, "port": "health" }, "periodSeconds": 1, "failureThreshold": 2,
            });
        }
        container["startupProbe"] =
            json!({ "tcpSocket": { "port": 9465 }, "periodSeconds": 1, "failureThreshold": 60 });
        cluster.api.apply(&[pod])?;
        let pod = kubelet.pod("probed")?;
        assert!(!is_ready(&cluster.api.get(&format!("{PODS}/probed"))?), "nothing answers yet");
        let health = Health::serve(&pod)?;
        kubelet.wait_ready("probed", true)?;
        health.ready.store(false, Ordering::Relaxed);
        kubelet.wait_ready("probed", false)?;
        health.ready.store(true, Ordering::Relaxed);
        kubelet.wait_ready("probed", true)?;

        let before = pod.process();
        health.live.store(false, Ordering::Relaxed);
        wait_for("another process", LIMIT, || {
            Ok(pod.process().filter(|now| Some(*now) != before))
        })?;
        health.live.store(true, Ordering::Relaxed);
        wait_for("a restart in the status", LIMIT, || {
            let pod = cluster.api.get(&format!("{PODS}/probed"))?;
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
            Ok((restarts >= Some(1)).then_some(()))
        })?;
        kubelet.wait_ready("probed", true)?;
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

#[test]
fn a_pod_is_asked_to_end_before_it_is_killed() {
    isolated("a_pod_is_asked_to_end_before_it_is_killed", || {
        let (cluster, kubelet) = start(Cluster::start()?)?;
        let polite = shell("polite", "trap 'echo going; exit 0' TERM; echo up; sleep 1000 & wait");
        let mut deaf = shell("deaf", "trap '' TERM; echo up; while :; do sleep 1; done");
        deaf["spec"]["terminationGracePeriodSeconds"] = 2.into();
        cluster.api.apply(&[polite, deaf])?;
        for (name, at_least, said) in [("polite", 0, true), ("deaf", 2, false)] {
            let pod = kubelet.pod(name)?;
            says(&pod, "up")?;
            let since = Stopwatch::start();
            cluster.api.delete(&format!("{PODS}/{name}"))?;
            wait_for("the Pod's end", LIMIT, || {
                Ok(cluster
                    .api
                    .get(&format!("{PODS}/{name}"))
                    .err()
                    .filter(|gone| gone.code() == 404))
            })?;
            assert!(since.elapsed().as_secs() >= at_least, "{name}: {:?}", since.elapsed());
            assert_eq!(pod.log().contains("going"), said, "{name}: {}", pod.log());
        }
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

#[test]
fn a_deployment_has_its_pods() {
    isolated("a_deployment_has_its_pods", || {
        let (cluster, kubelet) = start(Cluster::with_controllers()?)?;
        let labels = json!({ "app": "two" });
        cluster.api.apply(&[json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "two", "namespace": "lab" },
            "spec": {
                "replicas": 2, "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels }, "spec": shell("any", "exec sleep 1000")["spec"],
                },
            },
        })])?;
        wait_for("two Pods", LIMIT, || {
            let path = "/apis/apps/v1/namespaces/lab/deployments/two";
            Ok((cluster.api.get(path)?["status"]["readyReplicas"] == 2).then_some(()))
        })?;
        kubelet.stop();
        cluster.stop();
        Ok(())
    });
}

/// A cluster with a namespace, and a kubelet that takes its Pods.
fn start(cluster: Cluster) -> Result<(Cluster, Kubelet)> {
    cluster.api.apply(&[
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "lab" } }),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "nobody", "namespace": "lab" },
        }),
    ])?;
    let wan = Network { name: "wan", v4: [192, 0, 2], v6: None };
    let image = Image::of_programs(&[
        (Path::new("/bin/sh"), "/bin/sh"),
        (Path::new("/bin/cat"), "/bin/cat"),
        (Path::new("/bin/ls"), "/bin/ls"),
        (Path::new("/bin/sleep"), "/bin/sleep"),
        (Path::new("/usr/bin/unshare"), "/bin/unshare"),
        (Path::new("/usr/sbin/chroot"), "/bin/chroot"),
        (Path::new("/usr/bin/curl"), "/bin/curl"),
        (&mooring_binary()?, "/mooring"),
    ])?;
    let node =
        Node { networks: Networks::new(&[wan])?, images: vec![("shell", image)], forwarding: true };
    let kubelet = Kubelet::start(&cluster, "lab", node)?;
    Ok((cluster, kubelet))
}

fn config(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "lab", "namespace": "lab" },
        "data": { "text": format!("{text}\n") },
    })
}

fn shell(name: &str, script: &str) -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "lab" },
        "spec": {
            "serviceAccountName": "nobody",
            "containers": [{
                "name": "shell", "image": "registry.example/shell:1",
                "command": ["sh", "-c", script],
                "env": [field("NAME", "metadata.name"), field("SPACE", "metadata.namespace")],
                "volumeMounts": [
                    { "name": "config", "mountPath": "/etc/lab", "readOnly": true },
                    { "name": "podinfo", "mountPath": "/etc/podinfo", "readOnly": true },
                    { "name": "scratch", "mountPath": "/scratch" },
                ],
            }],
            "volumes": [
                { "name": "config", "configMap": { "name": "lab" } },
                { "name": "podinfo", "downwardAPI": { "items": [
                    { "path": "annotations", "fieldRef": { "fieldPath": "metadata.annotations" } },
                ] } },
                { "name": "scratch", "emptyDir": {} },
            ],
        },
    })
}

/// What a Pod has said when it has said this.
fn says(pod: &Pod, part: &str) -> Result<String> {
    wait_for(&format!("{part} in the log of a Pod"), LIMIT, || {
        Ok(Some(pod.log()).filter(|log| log.contains(part)))
    })
}

/// The code with which the API server answers the bearer of a token, who asks from a Pod.
fn asks(pod: &Pod, token: &str) -> Result<String> {
    pod.exec(&[
        "/bin/sh",
        "-c",
        &format!(
            "curl --silent --cacert {ACCOUNT}/ca.crt --header 'Authorization: Bearer {token}' \
             --output /dev/null --write-out '%{{http_code}}' https://10.96.0.1:6443{PODS}"
        ),
    ])
}

/// Answers probes in the place of a Pod's program.
struct Health {
    ready: Arc<AtomicBool>,
    live: Arc<AtomicBool>,
}

impl Health {
    fn serve(pod: &Pod) -> Result<Self> {
        let any = SocketAddr::from(([0, 0, 0, 0], 9465));
        let listener = pod.namespace.tcp_listener(any)?;
        let health =
            Self { ready: Arc::new(AtomicBool::new(true)), live: Arc::new(AtomicBool::new(true)) };
        let (ready, live) = (Arc::clone(&health.ready), Arc::clone(&health.live));
        thread::spawn(move || while answer(&listener, &ready, &live).is_ok() {});
        Ok(health)
    }
}

fn answer(listener: &TcpListener, ready: &AtomicBool, live: &AtomicBool) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; 256];
    let length = stream.read(&mut request)?;
    let request = str::from_utf8(request.get(..length).context("a length")?)?;
    let asked = if request.starts_with("GET /readyz") { ready } else { live };
    let status = if asked.load(Ordering::Relaxed) { "200 OK" } else { "503 No" };
    // Who only connects does not read.
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    Ok(())
}

const PODS: &str = "/api/v1/namespaces/lab/pods";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const INTERFACES: &str = r#"[{"interfaceName":"net1","network":"wan"}]"#;
