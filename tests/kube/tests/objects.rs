//! Every object that is shipped, given to a real API server.

use std::collections::BTreeSet;

use anyhow::Context;
use mooring_kube_tests::{Chart, Cluster, Tools, collection, compose, kustomize, shipped};
use mooring_lab::isolated;
use serde_json::json;

/// All but those of the printed list, whose reasons are the server's age and that it is no GKE.
#[test]
fn the_server_takes_every_shipped_object_that_it_knows() {
    isolated("the_server_takes_every_shipped_object_that_it_knows", || {
        let tools = Tools::find()?;
        let cluster = Cluster::start()?;
        cluster.define_routes(&tools)?;
        let scratch = tempfile::tempdir()?;
        let mut objects = Chart::default().template(&tools)?;
        objects.extend(compose(&tools, scratch.path(), &[])?);
        objects.extend(compose(&tools, scratch.path(), COMPONENTS)?);
        for example in EXAMPLES {
            objects.extend(kustomize(&tools, &shipped(example))?);
        }
        let (mut taken, mut unknown) = (0, BTreeSet::new());
        for object in &objects {
            let name = object["metadata"]["name"].as_str().context("a name")?;
            let kind = format!("{} {}", object["apiVersion"], object["kind"]).replace('"', "");
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                cluster.api.apply(&[
                    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
                ])?;
            }
            let path = collection(object)?;
            match cluster.api.create(&format!("{path}?dryRun=All"), object) {
                Ok(_) => taken += 1,
                Err(refused) if refused.code() == 409 => taken += 1,
                Err(refused) if refused.code() == 404 => {
                    unknown.insert(kind);
                }
                Err(refused) => panic!("{kind} {name}: {refused}"),
            }
        }
        for (kind, reason) in UNKNOWN {
            println!("not tried: {kind}: {reason}");
        }
        let expected: BTreeSet<_> = UNKNOWN.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        assert_eq!(unknown, expected);
        assert!(taken > 40, "only {taken} objects");
        cluster.stop();
        Ok(())
    });
}

const COMPONENTS: &[&str] =
    &["statefulset", "file-capabilities", "net-admin", "forwarding-init", "tun"];
const EXAMPLES: &[&str] = &[
    "examples/gke/platform",
    "examples/gke/deployment",
    "examples/gke/statefulset",
    "examples/gke/several-addresses",
    "examples/gke/several-networks",
    "examples/on-premises",
];
const UNKNOWN: &[(&str, &str)] = &[
    ("gateway.networking.k8s.io/v1 Gateway", "the Gateway API is not installed"),
    ("k8s.cni.cncf.io/v1 NetworkAttachmentDefinition", "Multus is not installed"),
    ("networking.gke.io/v1 GKENetworkParamSet", "GKE's own"),
    ("networking.gke.io/v1 Network", "GKE's own"),
    ("policy/v1 PodDisruptionBudget", "of Kubernetes 1.21"),
];
