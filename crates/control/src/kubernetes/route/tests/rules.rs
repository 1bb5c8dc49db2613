//! The rules of the definition, evaluated: by an implementation of CEL that is not the API server's, over the path by
//! which that goes (a rule about `oldSelf` counts where there is a value before and after).

use cel::{Context, Program};
use serde_json::{Value, json};

use super::{IMMUTABLE, version};

/// The messages of all rules that a change breaks.
fn broken(before: &Value, after: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let schema = &version()["schema"]["openAPIV3Schema"];
    judge(schema, &json!({ "spec": before }), &json!({ "spec": after }), &mut broken);
    broken
}

fn judge(schema: &Value, before: &Value, after: &Value, broken: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().expect("a rule");
        let mut context = Context::default();
        context.add_variable("self", after).expect("plain data");
        context.add_variable("oldSelf", before).expect("plain data");
        let program = Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match program.execute(&context) {
            Ok(cel::Value::Bool(true)) => {}
            Ok(cel::Value::Bool(false)) => {
                broken.push(rule["message"].as_str().expect("a message").to_owned());
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let (Some(before), Some(after)) = (before.get(name), after.get(name)) {
            judge(schema, before, after, broken);
        }
    }
}

/// As the API server has it: with the defaults.
fn spec() -> Value {
    json!({
        "parentRefs": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge" }],
        "addresses": [{ "type": "gke.networking.io/cidr", "value": "203.0.113.10/32" }],
        "network": "default", "podSelector": { "matchLabels": { "app": "nat" } },
        "reactionMode": "ReadyCondition", "haPolicy": false,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut changed = spec();
    changed[name] = value;
    changed
}

fn without(name: &str) -> Value {
    let mut changed = spec();
    changed.as_object_mut().expect("an object").remove(name);
    changed
}

#[test]
fn the_rules_of_the_definition_let_through_what_may_change() {
    for (name, value) in [
        ("addresses", json!([{ "type": "IPAddress", "value": "203.0.113.11" }])),
        ("podSelector", json!({ "matchLabels": { "app": "other" } })),
        ("allowGlobalAccess", json!(true)),
        ("loadBalancing", json!({ "healthCheckName": "check" })),
        ("nodeSelector", json!({ "matchLabels": { "pool": "edge" } })),
    ] {
        assert!(!IMMUTABLE.contains(&name));
        assert_eq!(broken(&spec(), &with(name, value)), [""; 0], "{name}");
    }
    assert_eq!(broken(&spec(), &spec()), [""; 0]);
    let bare = json!({ "addresses": [{ "value": "203.0.113.10" }], "podSelector": {} });
    assert_eq!(broken(&bare, &bare), [""; 0], "what is not there is no error");
}

#[test]
fn the_rules_of_the_definition_refuse_what_must_not_change() {
    let mut tried = Vec::new();
    for (name, value) in [
        ("parentRefs", json!([{ "kind": "Gateway", "name": "other" }])),
        ("network", json!("wan")),
        ("reactionMode", json!("Exists")),
        ("haPolicy", json!(true)),
    ] {
        tried.push(name);
        assert_eq!(broken(&spec(), &with(name, value)), [format!("{name} cannot be changed")]);
    }
    tried.sort_unstable();
    let mut immutable = IMMUTABLE.to_vec();
    immutable.sort_unstable();
    assert_eq!(tried, immutable, "all of them");
    // The others have a default: the API server never sees them missing.
    for name in ["parentRefs", "haPolicy"] {
        let message = format!("{name} cannot be added or taken away");
        assert_eq!(broken(&spec(), &without(name)), [message.as_str()]);
        assert_eq!(broken(&without(name), &spec()), [message.as_str()]);
    }
}
