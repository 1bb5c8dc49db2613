//! Volumes as a kubelet writes them: files of a ConfigMap, of the downward API and of a token change
//! all at once, by a symbolic link.

mod atomic;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use self::atomic::AtomicFolder;
use super::container::Mount;
use super::rights::Rights;
use crate::api::Api;

/// The volumes of one Pod.
#[derive(Debug)]
pub(super) struct Volumes {
    /// By name.
    all: BTreeMap<String, Volume>,
    token: Option<Token>,
}

#[derive(Debug)]
enum Volume {
    ConfigMap {
        name: String,
        folder: AtomicFolder,
    },
    Downward {
        volume: Value,
        folder: AtomicFolder,
    },
    /// A folder or a device of the node, or a folder of the Pod's.
    Plain(PathBuf),
}

/// The token of the Pod's ServiceAccount.
#[derive(Debug)]
struct Token {
    folder: AtomicFolder,
    files: BTreeMap<String, Vec<u8>>,
    namespace: String,
    account: String,
    /// The Secret that it lives as long as.
    bound: Option<Value>,
}

impl Volumes {
    /// Makes all that a Pod's spec names, and its ServiceAccount's.
    pub(super) fn make(
        api: &Api,
        folder: &Path,
        authority: &Path,
        maps: &[Value],
        pod: &Value,
    ) -> Result<Self> {
        let spec = &pod["spec"];
        let group = spec["securityContext"]["fsGroup"].as_u64();
        let group = group.and_then(|group| u32::try_from(group).ok());
        let mut all = BTreeMap::new();
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            let name = volume["name"].as_str().context("a volume's name")?;
            let made = Volume::make(volume, folder.join(name), group)
                .with_context(|| format!("the volume {name}"))?;
            all.insert(name.to_owned(), made);
        }
        let mut volumes = Self { all, token: None };
        volumes.follow_pod(pod)?;
        maps.iter().try_for_each(|map| volumes.follow_map(map))?;
        if spec["automountServiceAccountToken"] != false && spec["serviceAccountName"].is_string() {
            volumes.token = Some(Token::new(folder.join("token"), authority, pod)?);
            volumes.rotate_token(api)?;
        }
        Ok(volumes)
    }

    /// What a container mounts.
    pub(super) fn mounts(&self, container: &Value) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let name = mount["name"].as_str().context("a volume's name")?;
            let volume = self.all.get(name).with_context(|| format!("no volume {name}"))?;
            ensure!(mount["subPath"].is_null(), "the test kubelet knows no subPath");
            mounts.push(Mount {
                source: volume.source(),
                target: mount["mountPath"].as_str().context("a path")?.into(),
                read_only: mount["readOnly"] == true,
            });
        }
        if let Some(token) = &self.token {
            let source = token.folder.path();
            mounts.push(Mount { source, target: ACCOUNT.into(), read_only: true });
        }
        Ok(mounts)
    }

    /// Writes what the downward API tells of the Pod as it is now.
    pub(super) fn follow_pod(&mut self, pod: &Value) -> Result<()> {
        for volume in self.all.values_mut() {
            if let Volume::Downward { volume, folder } = volume {
                folder.write(downward(volume, pod)?)?;
            }
        }
        Ok(())
    }

    /// Writes a ConfigMap's files as they are now.
    pub(super) fn follow_map(&mut self, map: &Value) -> Result<()> {
        for volume in self.all.values_mut() {
            if let Volume::ConfigMap { name, folder } = volume
                && map["metadata"]["name"] == **name
            {
                folder.write(config_map(map))?;
            }
        }
        Ok(())
    }

    /// Writes a new token, and ends the one before it.
    pub(super) fn rotate_token(&mut self, api: &Api) -> Result<()> {
        let Some(token) = &mut self.token else { return Ok(()) };
        let secrets = format!("/api/v1/namespaces/{}/secrets", token.namespace);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "generateName": "token-" },
        });
        let bound = api.create(&secrets, &secret)?;
        let text = api.token(&token.namespace, &token.account, &bound)?;
        token.files.insert("token".to_owned(), text.into_bytes());
        token.folder.write(token.files.clone())?;
        if let Some(before) = token.bound.replace(bound) {
            let name = before["metadata"]["name"].as_str().unwrap_or_default();
            api.delete(&format!("{secrets}/{name}"))?;
        }
        Ok(())
    }
}

impl Volume {
    fn make(volume: &Value, folder: PathBuf, group: Option<u32>) -> Result<Self> {
        let root = (0, group.unwrap_or(0));
        if let Some(name) = volume["configMap"]["name"].as_str() {
            let folder = AtomicFolder::new(folder, root, 0o644)?;
            return Ok(Self::ConfigMap { name: name.to_owned(), folder });
        }
        if volume["downwardAPI"].is_object() {
            let folder = AtomicFolder::new(folder, root, 0o644)?;
            return Ok(Self::Downward { volume: volume["downwardAPI"].clone(), folder });
        }
        if volume["emptyDir"].is_object() {
            fs::create_dir_all(&folder)?;
            // Before the mode: a change of the group takes set-group-ID away.
            chown(&folder, Some(root.0), Some(root.1))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o2777))?;
            return Ok(Self::Plain(folder));
        }
        let path = volume["hostPath"]["path"].as_str();
        Ok(Self::Plain(path.context("the test kubelet does not know its kind")?.into()))
    }

    fn source(&self) -> PathBuf {
        match self {
            Self::ConfigMap { folder, .. } | Self::Downward { folder, .. } => folder.path(),
            Self::Plain(path) => path.clone(),
        }
    }
}

impl Token {
    fn new(folder: PathBuf, authority: &Path, pod: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a name");
        let user = Rights::of(&pod["spec"], &pod["spec"]["containers"][0]).user;
        let namespace = text(&pod["metadata"]["namespace"])?;
        let files = BTreeMap::from([
            ("ca.crt".to_owned(), fs::read(authority)?),
            ("namespace".to_owned(), namespace.clone().into_bytes()),
        ]);
        Ok(Self {
            folder: AtomicFolder::new(folder, (user, 0), 0o600)?,
            files,
            namespace,
            account: text(&pod["spec"]["serviceAccountName"])?,
            bound: None,
        })
    }
}

/// The files of a ConfigMap.
fn config_map(map: &Value) -> BTreeMap<String, Vec<u8>> {
    let data = map["data"].as_object().into_iter().flatten();
    data.map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().into())).collect()
}

/// The files of a downward API volume.
fn downward(volume: &Value, pod: &Value) -> Result<BTreeMap<String, Vec<u8>>> {
    let items = volume["items"].as_array().into_iter().flatten();
    let file = |item: &Value| {
        let path = item["path"].as_str().context("a path")?;
        Ok((path.to_owned(), field(&item["fieldRef"], pod)?.into_bytes()))
    };
    items.map(file).collect()
}

/// What a `fieldRef` names of a Pod.
pub(super) fn field(reference: &Value, pod: &Value) -> Result<String> {
    let path = reference["fieldPath"].as_str().context("a fieldPath")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context(path.to_owned());
    match path {
        "metadata.name" => text(&pod["metadata"]["name"]),
        "metadata.namespace" => text(&pod["metadata"]["namespace"]),
        "metadata.uid" => text(&pod["metadata"]["uid"]),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "status.podIP" => text(&pod["status"]["podIP"]),
        "metadata.annotations" => Ok(pairs(&pod["metadata"]["annotations"])),
        "metadata.labels" => Ok(pairs(&pod["metadata"]["labels"])),
        other => bail!("the test kubelet does not know the field {other}"),
    }
}

/// Lines of `key="value"`, sorted; quoted as Go quotes.
fn pairs(map: &Value) -> String {
    let map: BTreeMap<_, _> = map.as_object().into_iter().flatten().collect();
    let line = |(key, value): (_, &Value)| format!("{key}={:?}\n", value.as_str().unwrap_or(""));
    map.into_iter().map(line).collect()
}

/// Where every ServiceAccount's token is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::field;

    #[test]
    fn annotations_are_lines_with_quotes() -> anyhow::Result<()> {
        let pod = json!({ "metadata": { "annotations": { "b": "[\"x\"]", "a": "1" } } });
        let text = field(&json!({ "fieldPath": "metadata.annotations" }), &pod)?;
        assert_eq!(text, "a=\"1\"\nb=\"[\\\"x\\\"]\"\n");
        Ok(())
    }
}
