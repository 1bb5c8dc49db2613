//! The kustomization: what it builds, and what the agent may do with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mooring_kube_tests::{Chart, Tools, compose, find, kustomize, load, problems, shipped};
use serde_json::{Value, json};

#[test]
fn every_shipped_file_is_yaml_and_no_key_is_there_twice() -> Result<()> {
    let tools = Tools::find()?;
    let mut files = Vec::new();
    yaml_files(&shipped(""), &mut files)?;
    assert!(files.len() >= 30, "only {} files", files.len());
    load(&tools, &files)?;

    let scratch = tempfile::tempdir()?;
    let doubled = scratch.path().join("doubled.yaml");
    std::fs::write(&doubled, "spec: {a: 1, b: 2, a: 3}\n")?;
    let refused = load(&tools, &[doubled]).expect_err("a key twice").to_string();
    assert!(refused.contains("the key 'a' is there twice"), "{refused}");
    Ok(())
}

#[test]
fn every_object_fits_the_schemas_of_kubernetes_1_33_to_1_37() -> Result<()> {
    let tools = Tools::find()?;
    let scratch = tempfile::tempdir()?;
    let mut objects = compose(&tools, scratch.path(), &[])?;
    objects.extend(compose(&tools, scratch.path(), ALL)?);
    objects.extend(Chart::default().template(&tools)?);
    for example in EXAMPLES {
        objects.extend(kustomize(&tools, &shipped(example))?);
    }
    objects.extend(load(&tools, &[shipped("crd/gkeiproutes.yaml")])?);
    assert!(objects.len() > 60, "only {} objects", objects.len());
    assert_eq!(problems(&tools, &objects, VERSIONS)?, [""; 0]);
    Ok(())
}

#[test]
fn what_does_not_fit_the_schemas_is_found() -> Result<()> {
    let tools = Tools::find()?;
    let objects = kustomize(&tools, &shipped("base"))?;
    let mut deployment = find(&objects, "Deployment")?.clone();
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 30.into();
    let found = problems(&tools, &[deployment], VERSIONS)?;
    assert_eq!(found.len(), VERSIONS.len(), "{found:?}");
    assert!(found[0].contains("'terminationGracePeriod' was unexpected"), "{found:?}");

    let routes = load(&tools, &[shipped("examples/gke/deployment/route.yaml")])?;
    let mut route = routes[0].clone();
    route["spec"]["address"] = "203.0.113.10".into();
    let found = problems(&tools, &[route], VERSIONS)?;
    assert!(found[0].contains("'address' was unexpected"), "{found:?}");

    let unknown = json!({ "apiVersion": "v1", "kind": "Pot", "metadata": { "name": "tea" } });
    assert_eq!(problems(&tools, &[unknown], &["1.37"])?.len(), 1);
    Ok(())
}

/// The role has these verbs on these resources and no others, and nothing gives the agent another role.
#[test]
fn the_agent_may_do_this_and_no_more() -> Result<()> {
    let tools = Tools::find()?;
    for objects in [kustomize(&tools, &shipped("base"))?, Chart::default().template(&tools)?] {
        let mut may = BTreeSet::new();
        for rule in list(&find(&objects, "Role")?["rules"]) {
            for field in rule.as_object().context("a rule")?.keys() {
                assert!(["apiGroups", "resources", "verbs"].contains(&field.as_str()), "{field}");
            }
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    for verb in list(&rule["verbs"]) {
                        may.insert(format!("{} {}.{}", text(verb), text(resource), text(group)));
                    }
                }
            }
        }
        let expected = [
            "create events.events.k8s.io",
            "create leases.coordination.k8s.io",
            "get gkeiproutes.networking.gke.io",
            "get leases.coordination.k8s.io",
            "list gkeiproutes.networking.gke.io",
            "patch events.events.k8s.io",
            "patch leases.coordination.k8s.io",
            "watch gkeiproutes.networking.gke.io",
        ];
        assert_eq!(may.iter().map(String::as_str).collect::<Vec<_>>(), expected);

        let binding = find(&objects, "RoleBinding")?;
        let account = find(&objects, "ServiceAccount")?["metadata"]["name"].clone();
        let subject = json!({ "kind": "ServiceAccount", "name": account, "namespace": "mooring" });
        assert_eq!(binding["subjects"], json!([subject]));
        assert_eq!(binding["roleRef"]["name"], find(&objects, "Role")?["metadata"]["name"]);
        assert_eq!(workload(&objects)?["spec"]["template"]["spec"]["serviceAccountName"], account);
        assert!(objects.iter().all(|object| !text(&object["kind"]).starts_with("Cluster")));
    }
    Ok(())
}

#[test]
fn a_container_has_the_rights_of_its_profile_and_no_more() -> Result<()> {
    let tools = Tools::find()?;
    let scratch = tempfile::tempdir()?;
    for (components, user, escalation, capabilities) in [
        (&[][..], 0, false, &["NET_RAW"][..]),
        (&["net-admin"], 0, false, &["NET_RAW", "NET_ADMIN"]),
        (&["file-capabilities"], 65532, true, &["NET_RAW"]),
        (&["file-capabilities", "net-admin"], 65532, true, &["NET_RAW", "NET_ADMIN"]),
    ] {
        let objects = compose(&tools, scratch.path(), components)?;
        let pod = &workload(&objects)?["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsUser"], user, "{components:?}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["securityContext"].get("sysctls"), None, "{components:?}");
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({
                "allowPrivilegeEscalation": escalation,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"], "add": capabilities },
            }),
            "{components:?}"
        );
        for shared in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(pod.get(shared), None);
        }
        assert_eq!(list(&pod["containers"]).len(), 1);
        assert_eq!(pod.get("initContainers"), None);
    }
    Ok(())
}

/// The "baseline" level lets nobody add NET_RAW.
#[test]
fn the_namespace_has_the_level_that_its_pods_need() -> Result<()> {
    let tools = Tools::find()?;
    let objects = kustomize(&tools, &shipped("base"))?;
    let labels = &find(&objects, "Namespace")?["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "privileged");
    Ok(())
}

#[test]
fn a_pod_tells_the_agent_who_it_is_and_gives_it_its_folders() -> Result<()> {
    let tools = Tools::find()?;
    let objects = kustomize(&tools, &shipped("base"))?;
    let pod = &workload(&objects)?["spec"]["template"]["spec"];
    let agent = &pod["containers"][0];
    let env: Vec<_> = list(&agent["env"])
        .iter()
        .map(|e| (text(&e["name"]), text(&e["valueFrom"]["fieldRef"]["fieldPath"])))
        .collect();
    assert_eq!(
        env,
        [
            ("POD_NAME", "metadata.name"),
            ("POD_NAMESPACE", "metadata.namespace"),
            ("POD_UID", "metadata.uid"),
        ]
    );
    let mounted = |path: &str| {
        let mount = list(&agent["volumeMounts"]).iter().find(|m| m["mountPath"] == path);
        let name = &mount.with_context(|| format!("nothing at {path}"))?["name"];
        list(&pod["volumes"]).iter().find(|v| v["name"] == *name).context("no such volume")
    };
    assert_eq!(mounted("/etc/mooring")?["configMap"]["name"], "mooring");
    let file = &mounted("/etc/podinfo")?["downwardAPI"]["items"][0];
    assert_eq!(file["path"], "annotations");
    assert_eq!(file["fieldRef"]["fieldPath"], "metadata.annotations");
    assert!(mounted("/run/mooring")?.get("emptyDir").is_some());
    assert_eq!(agent["command"], json!(["/mooring", "run", "-c", "/etc/mooring/mooring.toml"]));
    // A mounted file does not follow its ConfigMap, a mounted folder does.
    assert!(list(&agent["volumeMounts"]).iter().all(|mount| mount.get("subPath").is_none()));
    assert!(find(&objects, "ConfigMap")?["data"].get("mooring.toml").is_some());
    Ok(())
}

#[test]
fn probes_ask_where_the_configuration_answers() -> Result<()> {
    let tools = Tools::find()?;
    let objects = kustomize(&tools, &shipped("base"))?;
    let configuration: toml::Table =
        text(&find(&objects, "ConfigMap")?["data"]["mooring.toml"]).parse()?;
    let agent = agent(&objects)?;
    for (port, key) in [("health", "health"), ("metrics", "metrics")] {
        let listed = list(&agent["ports"]).iter().find(|p| p["name"] == port).context("no port")?;
        let served = configuration["appliance"][key].as_str().context("an address")?;
        let (_, number) = served.rsplit_once(':').context("a port")?;
        assert_eq!(listed["containerPort"].to_string(), number, "{key}");
    }
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(agent[probe]["httpGet"], json!({ "path": path, "port": "health" }), "{probe}");
    }
    Ok(())
}

#[test]
fn a_pod_has_the_time_to_give_its_addresses_back() -> Result<()> {
    let tools = Tools::find()?;
    let objects = kustomize(&tools, &shipped("base"))?;
    let pod = &workload(&objects)?["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().context("a number")?;
    assert!((25..=60).contains(&grace), "the agent may take 20 s: {grace}");
    Ok(())
}

#[test]
fn an_update_takes_no_pod_away_before_another_is_ready() -> Result<()> {
    let tools = Tools::find()?;
    let scratch = tempfile::tempdir()?;
    let objects = compose(&tools, scratch.path(), &[])?;
    let spec = &find(&objects, "Deployment")?["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(
        spec["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } })
    );
    let objects = compose(&tools, scratch.path(), &["statefulset"])?;
    assert!(find(&objects, "Deployment").is_err());
    let spec = &find(&objects, "StatefulSet")?["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["serviceName"], find(&objects, "Service")?["metadata"]["name"]);
    assert_eq!(spec.get("strategy"), None);
    Ok(())
}

#[test]
fn every_selector_selects_the_agents_and_all_is_in_one_namespace() -> Result<()> {
    let tools = Tools::find()?;
    let scratch = tempfile::tempdir()?;
    let objects = compose(&tools, scratch.path(), &["statefulset"])?;
    let pods = &workload(&objects)?["spec"]["template"]["metadata"]["labels"];
    for (kind, pointer) in [
        ("StatefulSet", "/spec/selector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("Service", "/spec/selector"),
    ] {
        let selector = find(&objects, kind)?.pointer(pointer).context(kind)?;
        let selector = selector.as_object().context("labels")?;
        assert_eq!(selector.len(), 2, "{kind}");
        assert!(selector.iter().all(|(key, value)| pods[key] == *value), "{kind}");
    }
    for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
        assert_eq!(object["metadata"]["namespace"], "mooring", "{}", object["kind"]);
    }
    Ok(())
}

#[test]
fn manifests_and_chart_are_of_the_version_that_they_are_shipped_with() -> Result<()> {
    let tools = Tools::find()?;
    let version = env!("CARGO_PKG_VERSION");
    let chart = load(&tools, &[shipped("chart/Chart.yaml")])?;
    assert_eq!(chart[0]["appVersion"], version);
    let mut built = vec![kustomize(&tools, &shipped("base"))?];
    for example in EXAMPLES.iter().filter(|example| !example.ends_with("platform")) {
        built.push(kustomize(&tools, &shipped(example))?);
    }
    for objects in built {
        let workload = workload(&objects)?;
        assert_eq!(workload["metadata"]["labels"]["app.kubernetes.io/version"], version);
        let image = text(&agent(&objects)?["image"]);
        assert!(image.ends_with(&format!("mooring:{version}")), "{image}");
    }
    // The two tags that `cargo xtask image` makes.
    let scratch = tempfile::tempdir()?;
    let objects = compose(&tools, scratch.path(), &["file-capabilities"])?;
    assert_eq!(agent(&objects)?["image"], format!("mooring:{version}-file-capabilities"));
    Ok(())
}

fn agent(objects: &[Value]) -> Result<&Value> {
    Ok(&workload(objects)?["spec"]["template"]["spec"]["containers"][0])
}

/// The Deployment or the StatefulSet.
fn workload(objects: &[Value]) -> Result<&Value> {
    find(objects, "Deployment").or_else(|_| find(objects, "StatefulSet"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// All but the chart's templates, which are no YAML before helm has read them.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("templates") {
            yaml_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(())
}

const ALL: &[&str] = &[
    "statefulset",
    "file-capabilities",
    "net-admin",
    "forwarding-sysctl",
    "forwarding-init",
    "tun",
];
const EXAMPLES: &[&str] = &[
    "examples/gke/platform",
    "examples/gke/deployment",
    "examples/gke/statefulset",
    "examples/gke/several-addresses",
    "examples/gke/several-networks",
    "examples/on-premises",
];
const VERSIONS: &[&str] = &["1.33", "1.34", "1.35", "1.36", "1.37"];
