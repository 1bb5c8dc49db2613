//! Dependencies point one way (docs/architecture.md): this table is the rule.

use serde_json::Value;

use super::Finding;

/// Which of our crates each crate may use. Tests (`dev-dependencies`) may use more.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("packet", &[]),
    ("session", &["wire"]),
    ("policy", &["wire"]),
    ("nat", &["policy", "session", "wire"]),
    ("engine", &["nat", "packet", "policy", "session", "wire"]),
    ("io", &["packet", "wire"]),
    ("http", &[]),
    ("endpoint", &["http", "packet", "wire"]),
    ("control", &["policy"]),
    ("observe", &["engine", "http", "policy", "session", "wire"]),
    (
        "mooring",
        &[
            "control", "endpoint", "engine", "http", "io", "nat", "observe", "packet", "policy",
            "session", "wire",
        ],
    ),
    ("route-controller", &["control"]),
    ("pktgen", &["io", "packet", "wire"]),
    ("lab", &[]),
    ("model", &[]),
    ("kube-tests", &["lab"]),
    ("xtask", &["lab"]),
];

/// Crates of others that only some of ours may use.
const CONFINED: &[(&str, &[&str])] = &[
    ("tokio", &["control", "kube-tests", "route-controller"]),
    ("kube", &["control", "kube-tests", "route-controller"]),
    ("smoltcp", &["endpoint"]),
    ("dashmap", &["control", "observe"]),
];

/// Checks `cargo metadata`.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.flat_map(check_package).collect()
}

fn check_package(package: &Value) -> Vec<Finding> {
    let name = short(package["name"].as_str().unwrap_or_default());
    let manifest = format!("Cargo.toml of {name}");
    // Measurements may look at whatever they measure.
    if name.starts_with("bench-") {
        return Vec::new();
    }
    let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
        return vec![Finding::error(&manifest, 0, "not in tidy's table of dependencies")];
    };
    let mut findings = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let to = dependency["name"].as_str().unwrap_or_default();
        let ours = to == "mooring" || to.starts_with("mooring-");
        let confined = CONFINED.iter().find(|(who, _)| *who == to);
        let wrong = ours && !allowed.contains(&short(to))
            || confined.is_some_and(|(_, users)| !users.contains(&name));
        if wrong && dependency["kind"] != "dev" {
            findings.push(Finding::error(&manifest, 0, format!("must not depend on {to}")));
        }
    }
    findings
}

fn short(name: &str) -> &str {
    name.strip_prefix("mooring-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;

    fn metadata(name: &str, dependency: &str, kind: &Value) -> Value {
        let dependency = json!({ "name": dependency, "kind": kind });
        json!({ "packages": [{ "name": name, "dependencies": [dependency] }] })
    }

    #[test]
    fn only_edges_of_the_table_are_allowed() {
        for (name, dependency, findings) in [
            ("mooring-engine", "mooring-nat", 0),
            ("mooring-engine", "mooring-io", 1),
            ("mooring-wire", "zerocopy", 0),
            ("mooring-engine", "tokio", 1),
            ("mooring-unknown", "zerocopy", 1),
            ("mooring-bench-engine", "mooring-nat", 0),
        ] {
            let found = check(&metadata(name, dependency, &Value::Null));
            assert_eq!(found.len(), findings, "{name} -> {dependency}: {found:?}");
        }
    }

    #[test]
    fn tests_may_use_more() {
        assert_eq!(check(&metadata("mooring-engine", "mooring-io", &json!("dev"))), []);
    }
}
