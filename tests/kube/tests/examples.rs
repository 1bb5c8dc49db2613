//! The examples hang together: routes, pools, networks and `mooring.toml` name each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use mooring_kube_tests::{Tools, kustomize, shipped};
use mooring_policy::{Assignment, Assignments, Facts, Generation, Networks, Standing};
use serde_json::Value;

#[test]
fn the_routes_of_an_example_ask_for_addresses_of_its_pools() -> Result<()> {
    let tools = Tools::find()?;
    let platform = kustomize(&tools, &shipped("examples/gke/platform"))?;
    for example in GKE {
        let mut objects = kustomize(&tools, &shipped(&format!("examples/gke/{example}")))?;
        objects.extend(platform.clone());
        let mut taken = BTreeSet::new();
        for route in of_kind(&objects, "GKEIPRoute") {
            let parent = &route["spec"]["parentRefs"][0];
            let pool = of_kind(&objects, "Gateway")
                .find(|gateway| gateway["metadata"]["name"] == parent["name"])
                .with_context(|| format!("{example}: no Gateway {}", parent["name"]))?;
            ensure!(
                pool["metadata"]["namespace"] == route["metadata"]["namespace"],
                "{example}: its listener lets in its own namespace"
            );
            ensure!(
                list(&pool["spec"]["listeners"])
                    .iter()
                    .any(|listener| listener["name"] == parent["sectionName"]),
                "{example}: no such listener"
            );
            for address in list(&route["spec"]["addresses"]) {
                // As GKE documents it; the schema lets more pass.
                ensure!(address["type"] == "gke.networking.io/cidr", "{example}: {address}");
                ensure!(text(&address["value"]).ends_with("/32"), "{example}: {address}");
                ensure!(list(&pool["spec"]["addresses"]).contains(address), "{example}: {address}");
                ensure!(taken.insert(address.to_string()), "{example}: {address} is there twice");
            }
        }
        ensure!(!taken.is_empty(), "{example} has no route");
    }
    Ok(())
}

#[test]
fn the_pods_of_an_example_are_on_the_networks_that_its_routes_and_its_configuration_name()
-> Result<()> {
    let tools = Tools::find()?;
    let platform = kustomize(&tools, &shipped("examples/gke/platform"))?;
    for example in examples() {
        let mut objects = kustomize(&tools, &shipped(&example))?;
        objects.extend(platform.clone());
        let there: BTreeSet<_> = ["Network", "NetworkAttachmentDefinition"]
            .into_iter()
            .flat_map(|kind| of_kind(&objects, kind))
            .map(|network| text(&network["metadata"]["name"]).to_owned())
            .collect();
        let on = pod_networks(workload(&objects)?)?;
        ensure!(on.iter().all(|(network, _)| there.contains(network)), "{example}: {on:?}");

        for route in of_kind(&objects, "GKEIPRoute") {
            let network = text(&route["spec"]["network"]);
            ensure!(on.iter().any(|(name, _)| name == network), "{example}: {network}");
        }
        let configuration: toml::Table = configuration(&objects)?.parse()?;
        let interfaces = configuration["interface"].as_array().context("interfaces")?;
        ensure!(interfaces.len() == on.len(), "{example}: {interfaces:?}");
        for interface in interfaces {
            let network = interface["network"].as_str().context("a network")?;
            let device = interface["device"].as_str().context("a device")?;
            let (_, given) = on.iter().find(|(name, _)| name == network).context("not on it")?;
            ensure!(
                device == given || device == format!("network:{network}"),
                "{example}: {network} is not on {device}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_routes_of_an_example_select_its_pods() -> Result<()> {
    let tools = Tools::find()?;
    for example in examples() {
        let objects = kustomize(&tools, &shipped(&example))?;
        let workload = workload(&objects)?;
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        let name = text(&workload["metadata"]["name"]);
        let replicas = workload["spec"]["replicas"].as_u64().context("replicas")?;
        let pods: Vec<_> = (0..replicas).map(|number| format!("{name}-{number}")).collect();
        for route in of_kind(&objects, "GKEIPRoute") {
            let selector = route["spec"]["podSelector"]["matchLabels"].as_object();
            for (key, value) in selector.context("a selector")? {
                let named = key == "statefulset.kubernetes.io/pod-name"
                    && workload["kind"] == "StatefulSet"
                    && pods.iter().any(|pod| pod == text(value));
                ensure!(named || labels[key] == *value, "{example}: {key}: {value}");
            }
            // An address that waits for one Pod need not wait for it to be Ready.
            let pinned = workload["kind"] == "StatefulSet";
            let mode = if pinned { "Exists" } else { "ReadyCondition" };
            ensure!(route["spec"]["reactionMode"] == mode, "{example}: {}", route["metadata"]);
        }
    }
    Ok(())
}

#[test]
fn attachments_are_lists_of_plugins_that_deliver_by_mac_and_set_no_gateway() -> Result<()> {
    let tools = Tools::find()?;
    let objects = kustomize(&tools, &shipped("examples/on-premises"))?;
    let mut seen = 0;
    for attachment in of_kind(&objects, "NetworkAttachmentDefinition") {
        let configuration: Value = serde_json::from_str(text(&attachment["spec"]["config"]))?;
        assert_eq!(configuration["name"], attachment["metadata"]["name"]);
        assert_eq!(configuration["cniVersion"], "1.0.0");
        let plugin = &configuration["plugins"][0];
        assert_eq!(plugin["type"], "macvlan");
        // A gateway here would take the Pod's default route, and with it the API server.
        assert_eq!(plugin["ipam"].get("gateway"), None);
        assert_eq!(plugin["ipam"].get("routes"), None);
        seen += 1;
    }
    assert_eq!(seen, 2);
    Ok(())
}

/// As `mooring check` reads it, then with the Pod's networks, and with every route of the example held.
#[test]
fn the_configuration_of_an_example_takes_every_address_of_its_routes() -> Result<()> {
    let tools = Tools::find()?;
    for example in examples() {
        let objects = kustomize(&tools, &shipped(&example))?;
        let text = configuration(&objects)?;
        let networks = Networks { devices: pod_networks(workload(&objects)?)? };
        let assignments = assignments(&objects)?;
        ensure!(!assignments.addresses.is_empty(), "{example} has no address");
        let mut not_taken = Vec::new();
        for facts in [
            Facts::default(),
            Facts {
                networks: Some(&networks),
                assignments: Some(&assignments),
                ..Facts::default()
            },
        ] {
            let loaded = mooring_policy::load_with(text, &facts);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(&example)));
            assert!(loaded.warnings.is_empty(), "{example}: {:?}", loaded.warnings);
            not_taken = loaded.not_taken;
        }
        assert_eq!(not_taken, [], "{example}");
    }
    Ok(())
}

#[test]
fn the_configuration_of_the_base_can_be_loaded() -> Result<()> {
    let text = std::fs::read_to_string(shipped("base/mooring.toml"))?;
    let loaded = mooring_policy::load(&text).unwrap_or_else(|p| panic!("{}", p.render("base")));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(text, std::fs::read_to_string(shipped("chart/files/mooring.toml"))?);
    Ok(())
}

/// All that the routes give, as if the Pod had it.
fn assignments(objects: &[Value]) -> Result<Assignments> {
    let mut addresses = Vec::new();
    for route in of_kind(objects, "GKEIPRoute") {
        let labels = route["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.clone(), text(value).to_owned())).collect();
        for address in list(&route["spec"]["addresses"]) {
            let (address, _) = text(&address["value"]).split_once('/').context("a prefix")?;
            addresses.push(Assignment {
                address: address.parse()?,
                route: text(&route["metadata"]["name"]).to_owned(),
                labels: BTreeMap::clone(&labels),
                network: text(&route["spec"]["network"]).to_owned(),
                standing: Standing::Held { since: Generation(1) },
            });
        }
    }
    Ok(Assignments { addresses })
}

fn examples() -> Vec<String> {
    let gke = GKE.iter().map(|name| format!("examples/gke/{name}"));
    gke.chain(["examples/on-premises".to_owned()]).collect()
}

/// What the document tells people to apply is there.
#[test]
fn every_path_of_the_document_is_in_the_checkout() -> Result<()> {
    let document = std::fs::read_to_string(shipped("../../docs/kubernetes.md"))?;
    let words = document.split(|c: char| c.is_whitespace() || "`()[]'\"".contains(c));
    let paths: BTreeSet<_> = words.filter(|word| word.starts_with("configs/kubernetes/")).collect();
    ensure!(paths.len() >= 5, "only {paths:?}");
    for path in paths {
        ensure!(shipped("../..").join(path).exists(), "{path}");
    }
    Ok(())
}

/// Networks beside the cluster's own, and the device of each, by the Pod's annotations.
fn pod_networks(workload: &Value) -> Result<Vec<(String, String)>> {
    let annotations = &workload["spec"]["template"]["metadata"]["annotations"];
    if let Some(given) = annotations["networking.gke.io/interfaces"].as_str() {
        let given: Vec<Value> = serde_json::from_str(given)?;
        ensure!(annotations["networking.gke.io/default-interface"] == given[0]["interfaceName"]);
        ensure!(given[0]["network"] == "default");
        let pair = |one: &Value| {
            (text(&one["network"]).to_owned(), text(&one["interfaceName"]).to_owned())
        };
        return Ok(given[1..].iter().map(pair).collect());
    }
    let multus = text(&annotations["k8s.v1.cni.cncf.io/networks"]);
    let pairs = multus.split(", ").filter_map(|one| one.split_once('@'));
    Ok(pairs.map(|(network, device)| (network.to_owned(), device.to_owned())).collect())
}

fn configuration(objects: &[Value]) -> Result<&str> {
    let map = of_kind(objects, "ConfigMap").next().context("a ConfigMap")?;
    map["data"]["mooring.toml"].as_str().context("no mooring.toml")
}

fn workload(objects: &[Value]) -> Result<&Value> {
    let mut both = of_kind(objects, "Deployment").chain(of_kind(objects, "StatefulSet"));
    both.next().context("a workload")
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

const GKE: &[&str] = &["deployment", "statefulset", "several-addresses", "several-networks"];
