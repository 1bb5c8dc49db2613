mod rules;

use std::env;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{GKEIPRoute, ReactionMode, definition};

/// Path, type, whether it is required, default, limits.
type Field =
    (&'static str, &'static str, bool, Option<&'static str>, &'static [(&'static str, i64)]);

/// The field table of the published schemas: path, type, whether it is required, default, and what
/// else the schema says.
const FIELDS: &[Field] = &[
    ("spec.parentRefs", "array", false, None, &[("maxItems", 32)]),
    (
        "spec.parentRefs.group",
        "string",
        false,
        Some("gateway.networking.k8s.io"),
        &[("maxLength", 253)],
    ),
    (
        "spec.parentRefs.kind",
        "string",
        false,
        Some("Gateway"),
        &[("minLength", 1), ("maxLength", 63)],
    ),
    ("spec.parentRefs.namespace", "string", false, None, &[("minLength", 1), ("maxLength", 63)]),
    ("spec.parentRefs.name", "string", true, None, &[("minLength", 1), ("maxLength", 253)]),
    ("spec.parentRefs.sectionName", "string", false, None, &[("minLength", 1), ("maxLength", 253)]),
    ("spec.parentRefs.port", "integer", false, None, &[("minimum", 1), ("maximum", 65_535)]),
    ("spec.addresses", "array", true, None, &[("minItems", 1)]),
    (
        "spec.addresses.type",
        "string",
        false,
        Some("IPAddress"),
        &[("minLength", 1), ("maxLength", 253)],
    ),
    ("spec.addresses.value", "string", true, None, &[("minLength", 1), ("maxLength", 253)]),
    ("spec.network", "string", false, Some("default"), &[]),
    ("spec.podSelector", "object", true, None, &[]),
    ("spec.podSelector.matchLabels", "object", false, None, &[]),
    ("spec.podSelector.matchExpressions", "array", false, None, &[]),
    ("spec.podSelector.matchExpressions.key", "string", true, None, &[]),
    ("spec.podSelector.matchExpressions.operator", "string", true, None, &[]),
    ("spec.podSelector.matchExpressions.values", "array", false, None, &[]),
    ("spec.reactionMode", "string", false, Some("ReadyCondition"), &[]),
    ("spec.loadBalancing", "object", false, None, &[]),
    ("spec.loadBalancing.healthCheckName", "string", true, None, &[]),
    ("spec.allowGlobalAccess", "boolean", false, None, &[]),
    ("spec.haPolicy", "boolean", false, None, &[]),
    ("spec.nodeSelector", "object", false, None, &[]),
    ("spec.nodeSelector.matchLabels", "object", false, None, &[]),
    ("spec.nodeSelector.matchExpressions", "array", false, None, &[]),
    ("spec.nodeSelector.matchExpressions.key", "string", true, None, &[]),
    ("spec.nodeSelector.matchExpressions.operator", "string", true, None, &[]),
    ("spec.nodeSelector.matchExpressions.values", "array", false, None, &[]),
    ("status.pods", "array", false, None, &[]),
    ("status.conditions", "array", false, None, &[]),
    ("status.conditions.type", "string", true, None, &[]),
    ("status.conditions.status", "string", true, None, &[]),
    ("status.conditions.observedGeneration", "integer", false, None, &[]),
    ("status.conditions.lastTransitionTime", "string", true, None, &[]),
    ("status.conditions.reason", "string", true, None, &[]),
    ("status.conditions.message", "string", true, None, &[]),
];

/// What cannot be changed, by the documents of the platform.
const IMMUTABLE: &[&str] = &["haPolicy", "network", "parentRefs", "reactionMode"];

fn version() -> Value {
    let definition = serde_json::to_value(definition()).expect("plain data");
    definition["spec"]["versions"][0].clone()
}

/// Every property below `schema`, items of lists as if they were the list's.
fn flatten(path: &str, schema: &Value, found: &mut Vec<(String, Value, bool)>) {
    let schema = schema.get("items").unwrap_or(schema);
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let here = format!("{path}.{name}");
        found.push((here.clone(), property.clone(), required.contains(&json!(name))));
        flatten(&here, property, found);
    }
}

#[test]
fn the_definition_has_the_fields_of_the_published_schemas_and_no_others() {
    let version = version();
    let schema = &version["schema"]["openAPIV3Schema"]["properties"];
    let mut found = Vec::new();
    flatten("spec", &schema["spec"], &mut found);
    flatten("status", &schema["status"], &mut found);
    let mut missing: Vec<&str> = FIELDS.iter().map(|field| field.0).collect();
    for (path, property, required) in &found {
        let field = FIELDS.iter().find(|field| field.0 == path);
        let &(_, kind, must, default, bounds) = field.unwrap_or_else(|| panic!("{path} is ours"));
        assert_eq!(property["type"], kind, "{path}");
        assert_eq!(*required, must, "{path}: required");
        assert_eq!(property.get("default"), default.map(Value::from).as_ref(), "{path}: default");
        for key in ["minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"] {
            let bound = bounds.iter().find(|bound| bound.0 == key).map(|bound| bound.1);
            let have = property.get(key).and_then(|value| value.as_f64());
            assert_eq!(have, bound.map(|bound| bound as f64), "{path}: {key}");
        }
        assert_eq!(property.get("nullable"), None, "{path}");
        missing.retain(|path_of| path_of != path);
    }
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn the_definition_names_the_modes_and_keys_conditions_by_type() {
    let version = version();
    let schema = &version["schema"]["openAPIV3Schema"]["properties"];
    let mode = &schema["spec"]["properties"]["reactionMode"];
    assert_eq!(mode["enum"], json!(["ReadyCondition", "Exists"]));
    let conditions = &schema["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    assert_eq!(version["subresources"], json!({ "status": {} }));
    let columns = version["additionalPrinterColumns"].as_array().expect("columns");
    let names: Vec<&Value> = columns.iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["Network", "Addresses", "Pod", "Accepted", "Ready", "Age"]);
}

#[test]
fn what_the_platform_calls_immutable_has_a_rule() {
    let version = version();
    let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let has_rule = |property: &Value| {
        property["x-kubernetes-validations"]
            .as_array()
            .is_some_and(|rules| rules.iter().any(|rule| rule["rule"] == "self == oldSelf"))
    };
    let properties = spec["properties"].as_object().expect("properties");
    let ruled: Vec<&String> =
        properties.iter().filter_map(|(name, it)| has_rule(it).then_some(name)).collect();
    assert_eq!(ruled, IMMUTABLE);
    // A field's own rule does not see it come or go. Those with a default are always there.
    let rules = spec["x-kubernetes-validations"].to_string();
    for name in IMMUTABLE.iter().filter(|name| properties[**name].get("default").is_none()) {
        let rule = format!("has(self.{name}) == has(oldSelf.{name})");
        assert!(rules.contains(&rule), "{rule}: {rules}");
    }
}

/// `BLESS=1` writes the file anew.
#[test]
fn the_definition_in_configs_is_the_one_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/kubernetes/crd");
    let path = folder.join("gkeiproutes.yaml");
    let yaml = serde_saphyr::to_string(&definition()).expect("plain data");
    let text = format!("{HEAD}{yaml}");
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(&folder).expect("the checkout is writable");
        fs::write(&path, &text).expect("the checkout is writable");
    }
    let written = fs::read_to_string(&path).expect("the file is in the checkout");
    assert!(written == text, "BLESS=1 cargo test -p mooring-control writes it anew");
    let read: Value = serde_saphyr::from_str(&written).expect("it is YAML");
    assert_eq!(read, serde_json::to_value(definition()).expect("plain data"));
}

#[test]
fn a_route_of_the_documents_is_read_with_its_defaults() {
    let route: GKEIPRoute = serde_json::from_value(json!({
        "apiVersion": "networking.gke.io/v1",
        "kind": "GKEIPRoute",
        "metadata": { "name": "edge-nat-a", "namespace": "nat" },
        "spec": {
            "parentRefs": [{ "name": "public-pool", "namespace": "net-admin" }],
            "addresses": [{ "value": "203.0.113.10" }],
            "podSelector": { "matchLabels": { "app": "nat" } }
        },
        "status": { "pods": ["edge-nat-0"], "conditions": [{ "type": "IPROUTEgcpready", "status": "True" }] }
    }))
    .expect("a valid route");
    assert_eq!(route.spec.network, "default");
    assert_eq!(route.spec.addresses[0].kind, "IPAddress");
    assert_eq!(route.spec.reaction_mode, ReactionMode::ReadyCondition);
    let parents = route.spec.parent_refs.as_deref().expect("one is given");
    assert_eq!(
        (parents[0].group.as_str(), parents[0].kind.as_str()),
        ("gateway.networking.k8s.io", "Gateway")
    );
    assert_eq!(route.pods(), ["edge-nat-0"]);
    assert_eq!(route.conditions("GCPReady").count(), 1);
    assert_eq!(route.conditions("Ready").count(), 0, "a prefix of another type is none");
}

#[test]
fn a_mode_that_is_not_known_costs_no_route() {
    let route = json!({ "metadata": {}, "spec": { "addresses": [], "podSelector": {}, "reactionMode": "Eventually" } });
    let route: GKEIPRoute = serde_json::from_value(route).expect("it is read");
    assert_eq!(route.spec.reaction_mode, ReactionMode::Unknown);
}

const HEAD: &str = "\
# GKEIPRoute, for clusters whose platform does not have it: never apply this on GKE.
# Made from crates/control/src/kubernetes/route.rs by `BLESS=1 cargo test -p mooring-control`.
---
";
