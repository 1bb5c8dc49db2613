//! What a container may do, of the security contexts of its Pod and its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// User, groups, capabilities and what else keeps a program in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Whether it may do all that we may.
    pub privileged: bool,
    /// The user's number.
    pub user: u32,
    /// The first group's.
    pub group: u32,
    /// The other groups'.
    pub groups: Vec<u32>,
    /// Without `CAP_`: what root has, and the most that the capabilities of a file can give.
    pub capabilities: BTreeSet<String>,
    /// Whether neither set-user-ID nor the capabilities of files count.
    pub no_new_privileges: bool,
    /// Whether `/` cannot be written.
    pub read_only_root: bool,
    /// Whether system calls are refused as the profile `RuntimeDefault` does. Not for what may gain privileges: the
    /// kernel asks for more than we give up then.
    pub filtered: bool,
}

impl Rights {
    /// Those of a container of a Pod: its own words first, then the Pod's, then what runtimes do.
    #[must_use]
    pub fn of(pod: &Value, container: &Value) -> Self {
        let (pod, own) = (&pod["securityContext"], &container["securityContext"]);
        let number = |name: &str| {
            let given = own[name].as_u64().or_else(|| pod[name].as_u64());
            given.and_then(|number| u32::try_from(number).ok())
        };
        let names = |verb: &str| {
            let list = own["capabilities"][verb].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let (drop, add) = (names("drop"), names("add"));
        let mut capabilities: BTreeSet<_> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
        capabilities.retain(|name| !drop.contains(name) && !drop.contains("ALL"));
        capabilities.extend(add);
        let profile = [own, pod].map(|context| &context["seccompProfile"]["type"]);
        let profile = profile.into_iter().find(|profile| !profile.is_null());
        let (privileged, kept_in) =
            (own["privileged"] == true, own["allowPrivilegeEscalation"] == false);
        let group = pod["fsGroup"].as_u64().and_then(|number| u32::try_from(number).ok());
        Self {
            privileged,
            user: number("runAsUser").unwrap_or(0),
            group: number("runAsGroup").unwrap_or(0),
            groups: group.into_iter().collect(),
            capabilities,
            no_new_privileges: kept_in,
            read_only_root: own["readOnlyRootFilesystem"] == true,
            filtered: kept_in && !privileged && profile.is_some_and(|it| *it == "RuntimeDefault"),
        }
    }
}

/// What containerd and CRI-O's ancestors give without a word.
const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{DEFAULT, Rights};

    #[test]
    fn a_container_has_its_own_words_before_those_of_its_pod() {
        let pod = json!({ "securityContext": {
            "runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "seccompProfile": { "type": "RuntimeDefault" },
        } });
        let none = Rights::of(&pod, &json!({}));
        assert_eq!((none.user, none.group, &none.groups[..]), (1, 2, &[3][..]));
        assert_eq!(none.capabilities.len(), DEFAULT.len());
        assert!(!none.no_new_privileges && !none.read_only_root && !none.privileged);
        assert!(!none.filtered);

        let own = Rights::of(
            &pod,
            &json!({ "securityContext": {
                "runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"], "add": ["NET_RAW"] },
            } }),
        );
        assert_eq!((own.user, own.group), (0, 2));
        assert_eq!(own.capabilities.into_iter().collect::<Vec<_>>(), ["NET_RAW"]);
        assert!(own.no_new_privileges && own.read_only_root && own.filtered);
    }
}
