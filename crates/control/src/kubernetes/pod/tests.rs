use std::fs;
use std::path::Path;

use super::annotations::annotations;
use super::{Identity, PodNetworks, networks, read_networks};

fn devices(found: &PodNetworks) -> Vec<(&str, &str)> {
    found.networks.devices.iter().map(|(net, device)| (net.as_str(), device.as_str())).collect()
}

#[test]
fn a_variable_that_is_missing_is_named_with_its_field_in_the_manifest() {
    let all = [("POD_NAME", "nat-0"), ("POD_NAMESPACE", "nat"), ("POD_UID", "u")];
    let identity = |without: &str| {
        Identity::from_variables(|name| {
            let (_, value) = all.iter().find(|(variable, _)| *variable == name)?;
            Some(if name == without { String::new() } else { (*value).to_owned() })
        })
    };
    let whole = identity("").expect("all are there");
    assert_eq!(
        (whole.name.as_str(), whole.namespace.as_str(), whole.uid.as_str()),
        ("nat-0", "nat", "u")
    );
    for (variable, field) in [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_UID", "metadata.uid"),
    ] {
        let missing = identity(variable).expect_err("one is empty");
        assert!(missing.to_string().starts_with(&format!("{variable} is not set")), "{missing}");
        let hint = missing.hint();
        assert!(
            hint.contains(variable) && hint.contains(&format!("fieldPath: {field}}}")),
            "{hint}"
        );
    }
}

#[test]
fn annotations_are_read_as_go_writes_them() {
    let read = annotations(
        "a=\"plain\"\n\nb.example/c=\"say \\\"hi\\\"\\n\\ttab \\\\ \\u00e9 \\U0001f600 \\xc3\\xa9 = é\"\n",
    )
    .expect("whole");
    assert_eq!(read["a"], "plain");
    assert_eq!(read["b.example/c"], "say \"hi\"\n\ttab \\ é \u{1f600} é = é");
    for bad in
        ["a", "a=b", "a=\"b", "a=\"\\q\"", "a=\"\\u12\"", "a=\"\\ud800\"", "a=\"\"\"", "a=\"\\\""]
    {
        let problem = annotations(&format!("ok=\"1\"\n{bad}\n")).expect_err(bad);
        assert!(problem.starts_with("line 2 "), "{problem}");
    }
}

#[test]
fn networks_are_those_of_the_interfaces_annotation() {
    let found = networks(
        r#"networking.gke.io/interfaces="[{\"interfaceName\":\"eth0\",\"network\":\"pod-network\"},{\"interfaceName\":\"eth1\",\"network\":\"wan\"},{\"interfaceName\":\"eth2\",\"interface\":\"by-object\"}]""#,
    );
    assert_eq!(devices(&found), [("default", "eth0"), ("wan", "eth1")]);
    assert_eq!(found.problems, [""; 0]);
}

#[test]
fn networks_of_multus_are_the_names_of_their_attachments() {
    let text = r#"k8s.v1.cni.cncf.io/network-status="[{\"name\":\"cbr0\",\"ips\":[\"10.0.0.1\"],\"default\":true},{\"name\":\"nat/wan\",\"interface\":\"net1\"},{\"name\":\"lan\",\"interface\":\"net2\",\"mac\":\"02:00:00:00:00:01\"},{\"name\":\"nat/no-device\"}]""#;
    let found = networks(text);
    assert_eq!(devices(&found), [("default", "eth0"), ("wan", "net1"), ("lan", "net2")]);
    let old = text.replace("network-status", "networks-status");
    assert_eq!(networks(&old), found);
}

#[test]
fn the_interfaces_annotation_beats_multus_for_a_device_and_for_a_network() {
    let found = networks(concat!(
        r#"k8s.v1.cni.cncf.io/network-status="[{\"name\":\"wan\",\"interface\":\"net1\"},{\"name\":\"lan\",\"interface\":\"eth1\"},{\"name\":\"dmz\",\"interface\":\"net2\"}]""#,
        "\n",
        r#"networking.gke.io/interfaces="[{\"interfaceName\":\"eth1\",\"network\":\"wan\"}]""#,
        "\n",
    ));
    assert_eq!(devices(&found), [("wan", "eth1"), ("dmz", "net2")]);
}

#[test]
fn what_cannot_be_read_is_told_and_costs_nothing_else() {
    let found = networks(concat!(
        "networking.gke.io/interfaces=\"[{]\"\n",
        r#"k8s.v1.cni.cncf.io/network-status="[{\"name\":\"wan\",\"interface\":\"net1\"}]""#,
    ));
    assert_eq!(devices(&found), [("wan", "net1")]);
    assert_eq!(found.problems.len(), 1);
    assert!(found.problems[0].contains("networking.gke.io/interfaces cannot be read"), "{found:?}");
    assert_eq!(networks("nonsense").problems.len(), 1);
}

#[test]
fn a_pod_without_the_file_has_no_networks_and_no_problem() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("annotations");
    assert_eq!(read_networks(&file), PodNetworks::default());
    fs::write(&file, "networking.gke.io/interfaces=\"[]\"\n").expect("the folder is writable");
    assert_eq!(read_networks(&file), PodNetworks::default());
    assert_eq!(read_networks(Path::new("/dev")).problems.len(), 1, "a folder is no file");
}
