//! The control plane that the other tests stand on, by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use mooring_kube_tests::{Change, Cluster, Refusal, Tools, find, kustomize, shipped};
use mooring_lab::clock::{LIMIT, wait_for};
use mooring_lab::isolated;
use serde_json::{Value, json};

#[test]
fn the_api_server_keeps_objects_over_its_own_death() {
    isolated("the_api_server_keeps_objects_over_its_own_death", || {
        let mut cluster = Cluster::start()?;
        cluster.api.apply(&[namespace("nat"), note("one")])?;
        let followed = cluster.api.follow(NOTES);
        assert!(
            matches!(followed.next(LIMIT), Some(Change::Is(seen)) if seen["data"]["is"] == "one")
        );

        cluster.kill_api()?;
        let refused = cluster.api.get(NOTES).expect_err("it is dead");
        assert!(matches!(refused, Refusal::Silence(_)), "{refused}");
        cluster.restart_api()?;
        cluster.api.apply(&[note("two")])?;
        assert_eq!(cluster.api.get(&format!("{NOTES}/note"))?["data"]["is"], "two");
        wait_for("the change after the server's death", LIMIT, || {
            let change = followed.next(Duration::from_millis(100));
            Ok(matches!(change, Some(Change::Is(seen)) if seen["data"]["is"] == "two")
                .then_some(()))
        })?;
        cluster.stop();
        Ok(())
    });
}

/// Watches from before a compaction end, with the code that clients must know.
#[test]
fn a_version_from_before_a_compaction_is_answered_with_410() {
    isolated("a_version_from_before_a_compaction_is_answered_with_410", || {
        let cluster = Cluster::start()?;
        cluster.api.apply(&[namespace("nat"), note("one")])?;
        let before = cluster.api.get(NOTES)?["metadata"]["resourceVersion"].clone();
        cluster.api.apply(&[note("two")])?;
        cluster.compact()?;
        let path = format!(
            "{NOTES}?resourceVersion={}&resourceVersionMatch=Exact&limit=500",
            before.as_str().context("a version")?
        );
        let refused = cluster.api.get(&path).expect_err("that version is gone");
        assert_eq!(refused.code(), 410, "{refused}");
        cluster.stop();
        Ok(())
    });
}

/// The server's own list of what the agent may do: what the role says, and what every user may.
#[test]
fn the_server_lets_the_agent_do_what_its_role_says_and_no_more() {
    isolated("the_server_lets_the_agent_do_what_its_role_says_and_no_more", || {
        let tools = Tools::find()?;
        let cluster = Cluster::start()?;
        let objects = kustomize(&tools, &shipped("base"))?;
        for kind in ["Namespace", "ServiceAccount", "Role", "RoleBinding"] {
            cluster.api.apply(&[find(&objects, kind)?.clone()])?;
        }
        let bound = cluster.api.create(
            "/api/v1/namespaces/mooring/secrets",
            &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "token" } }),
        )?;
        let agent = cluster.as_bearer(&cluster.api.token("mooring", "mooring", &bound)?)?;

        let mut may = allowed(&agent.create(REVIEWS, &review("mooring"))?)?;
        let everybody = allowed(
            &cluster.as_bearer(&stranger(&cluster)?)?.create(REVIEWS, &review("mooring"))?,
        )?;
        may.retain(|line| !everybody.contains(line));
        assert_eq!(
            may,
            [
                "create events.events.k8s.io",
                "create leases.coordination.k8s.io",
                "get gkeiproutes.networking.gke.io",
                "get leases.coordination.k8s.io",
                "list gkeiproutes.networking.gke.io",
                "patch events.events.k8s.io",
                "patch leases.coordination.k8s.io",
                "watch gkeiproutes.networking.gke.io",
            ]
        );
        let elsewhere = allowed(&agent.create(REVIEWS, &review("default"))?)?;
        assert_eq!(elsewhere, everybody, "only in its own namespace");
        for path in ["/api/v1/namespaces/mooring/pods", "/api/v1/namespaces/mooring/secrets"] {
            assert_eq!(agent.get(path).expect_err("not its business").code(), 403, "{path}");
        }
        cluster.stop();
        Ok(())
    });
}

/// How `as_bearer` and `token` are worth something: no Secret, no token.
#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    isolated("a_token_ends_with_what_it_is_bound_to", || {
        let cluster = Cluster::start()?;
        let token = stranger(&cluster)?;
        let bearer = cluster.as_bearer(&token)?;
        bearer.create(REVIEWS, &review("default"))?;
        cluster.api.delete("/api/v1/namespaces/default/secrets/stranger")?;
        wait_for("the end of the token", LIMIT, || {
            let refused = bearer.create(REVIEWS, &review("default")).err();
            Ok(refused.filter(|refused| refused.code() == 401))
        })?;
        cluster.stop();
        Ok(())
    });
}

/// The token of an account without any role.
fn stranger(cluster: &Cluster) -> Result<String> {
    cluster.api.apply(&[json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "stranger", "namespace": "default" },
    })])?;
    let bound = cluster.api.create(
        "/api/v1/namespaces/default/secrets",
        &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "stranger" } }),
    )?;
    cluster.api.token("default", "stranger", &bound)
}

/// `VERB RESOURCE.GROUP`, sorted, of a review's rules.
fn allowed(review: &Value) -> Result<Vec<String>> {
    assert_eq!(review["status"]["incomplete"], false);
    let mut lines = Vec::new();
    for rule in review["status"]["resourceRules"].as_array().context("rules")? {
        for verb in rule["verbs"].as_array().context("verbs")? {
            for group in rule["apiGroups"].as_array().context("groups")? {
                for resource in rule["resources"].as_array().context("resources")? {
                    let [verb, resource, group] = [verb, resource, group].map(Value::as_str);
                    let line = [verb, Some(" "), resource, Some("."), group];
                    lines.push(line.into_iter().flatten().collect());
                }
            }
        }
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

fn review(namespace: &str) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": namespace },
    })
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

fn note(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "note", "namespace": "nat" },
        "data": { "is": text },
    })
}

const NOTES: &str = "/api/v1/namespaces/nat/configmaps";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
