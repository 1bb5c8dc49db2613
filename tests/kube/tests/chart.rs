//! The chart: a real helm accepts it, and what it makes is what the kustomization makes.

use anyhow::Result;
use mooring_kube_tests::{Chart, Tools, compose, kustomize, shipped};
use serde_json::Value;

#[test]
fn helm_finds_nothing_in_the_chart() -> Result<()> {
    let tools = Tools::find()?;
    for variant in VARIANTS {
        let said = variant.chart().lint(&tools)?;
        assert!(said.contains("0 chart(s) failed"), "{variant:?}: {said}");
        assert!(!said.contains("[WARNING]"), "{variant:?}: {said}");
    }
    Ok(())
}

#[test]
fn the_chart_and_the_kustomization_make_the_same_objects() -> Result<()> {
    let tools = Tools::find()?;
    for variant in VARIANTS {
        let scratch = tempfile::tempdir()?;
        let built = compose(&tools, scratch.path(), variant.components)?;
        assert_same(&built, &variant.chart().template(&tools)?, &format!("{variant:?}"));
    }
    Ok(())
}

/// The examples that have values for the chart beside their kustomization.
#[test]
fn the_values_of_an_example_make_the_objects_of_its_kustomization() -> Result<()> {
    let tools = Tools::find()?;
    for example in ["examples/gke/deployment", "examples/gke/statefulset", "examples/on-premises"] {
        let folder = shipped(example);
        let chart = Chart {
            values: Some(folder.join("values.yaml")),
            config: Some(folder.join("mooring.toml")),
            ..Chart::default()
        };
        let mut built = kustomize(&tools, &folder)?;
        built.retain(|object| {
            let group = object["apiVersion"].as_str().unwrap_or_default();
            OWN_GROUPS.iter().all(|of_others| !group.starts_with(of_others))
        });
        assert_same(&built, &chart.template(&tools)?, example);
    }
    Ok(())
}

#[test]
fn values_that_cannot_be_are_refused_by_their_name() -> Result<()> {
    let tools = Tools::find()?;
    for (set, named) in [
        ("kind=DaemonSet", "/kind"),
        ("replicas=two", "/replicas"),
        ("securityProfile=privileged", "/securityProfile"),
        ("forwarding=yes", "/forwarding"),
        ("replicaCount=3", "replicaCount"),
        ("image.repo=x", "repo"),
        ("podDisruptionBudget.maxUnavailable=some", "/podDisruptionBudget/maxUnavailable"),
        // A TAP device without the right to make one.
        ("tun=true", "/netAdmin"),
    ] {
        let chart = Chart { set: vec![set.to_owned()], ..Chart::default() };
        let refused = chart.template(&tools).expect_err(set).to_string();
        assert!(refused.contains(named), "{set}: {refused}");
    }
    Ok(())
}

#[test]
fn every_value_of_the_chart_is_in_its_schema() -> Result<()> {
    let tools = Tools::find()?;
    let values = mooring_kube_tests::load(&tools, &[shipped("chart/values.yaml")])?;
    let schema: Value =
        serde_json::from_slice(&std::fs::read(shipped("chart/values.schema.json"))?)?;
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> =
            value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
        names.retain(|name| name != "global");
        names.sort();
        names
    };
    assert_eq!(names(&values[0]), names(&schema["properties"]));
    Ok(())
}

/// Without a namespace (helm makes none) and without helm's two labels the objects are equal.
fn assert_same(kustomized: &[Value], rendered: &[Value], what: &str) {
    let mut left: Vec<_> =
        kustomized.iter().filter(|o| o["kind"] != "Namespace").cloned().collect();
    let mut right = rendered.to_vec();
    for object in &mut right {
        let labels = object["metadata"]["labels"].as_object_mut().expect("labels");
        assert_eq!(labels.remove("app.kubernetes.io/managed-by"), Some("Helm".into()), "{what}");
        assert!(labels.remove("helm.sh/chart").is_some(), "{what}");
    }
    for list in [&mut left, &mut right] {
        list.sort_by_key(|object| {
            (object["kind"].to_string(), object["metadata"]["name"].to_string())
        });
    }
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(sorted(left), sorted(right), "{what}");
    }
    assert_eq!(left.len(), right.len(), "{what}");
}

/// With the keys in one order, so that a difference can be read.
fn sorted(value: &Value) -> String {
    fn sort(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.sort_keys();
                map.values_mut().for_each(sort);
            }
            Value::Array(list) => list.iter_mut().for_each(sort),
            _ => {}
        }
    }
    let mut value = value.clone();
    sort(&mut value);
    format!("{value:#}")
}

/// The same choice as components of the kustomization and as values of the chart.
#[derive(Debug)]
struct Variant {
    components: &'static [&'static str],
    values: &'static [&'static str],
}

impl Variant {
    fn chart(&self) -> Chart {
        Chart { set: self.values.iter().map(ToString::to_string).collect(), ..Chart::default() }
    }
}

const VARIANTS: &[Variant] = &[
    Variant { components: &[], values: &[] },
    Variant { components: &["statefulset"], values: &["kind=StatefulSet"] },
    Variant { components: &["file-capabilities"], values: &["securityProfile=file-capabilities"] },
    Variant { components: &["net-admin"], values: &["netAdmin=true"] },
    Variant { components: &["net-admin", "tun"], values: &["netAdmin=true", "tun=true"] },
    Variant { components: &["forwarding-sysctl"], values: &["forwarding=sysctl"] },
    Variant { components: &["forwarding-init"], values: &["forwarding=init-container"] },
    Variant {
        components: &["statefulset", "file-capabilities", "net-admin", "forwarding-init", "tun"],
        values: &[
            "kind=StatefulSet",
            "securityProfile=file-capabilities",
            "netAdmin=true",
            "forwarding=init-container",
            "tun=true",
        ],
    },
];

/// API groups of what stands beside the agent and is not the chart's.
const OWN_GROUPS: &[&str] =
    &["networking.gke.io/", "gateway.networking.k8s.io/", "k8s.cni.cncf.io/"];
