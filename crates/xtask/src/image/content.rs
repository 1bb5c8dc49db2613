//! What is in the image: the binary, the licences, the software bill of materials, two users.

use std::fs;

use anyhow::{Context, Result};

use super::describe::{Describe, FOLDER, Profile, USER};
use super::layer::Entry;
use super::sbom;
use crate::cross::Arch;
use crate::licences;
use crate::linked::Linked;
use crate::workspace::root;

/// The content of one architecture's images.
#[derive(Debug)]
pub(super) struct Content {
    /// Whose.
    pub(super) arch: Arch,
    /// The software bill of materials: SPDX 2.3 as JSON.
    pub(super) sbom: Vec<u8>,
    binary: Vec<u8>,
    common: Vec<Entry>,
}

impl Content {
    /// With this binary.
    ///
    /// # Errors
    /// When Cargo does not say what is in it, or a licence has no text.
    pub(super) fn new(describe: &Describe, arch: Arch, binary: Vec<u8>) -> Result<Self> {
        let linked = Linked::of(arch.triple())?;
        let sbom = sbom::write(describe, arch, &linked)?;
        let licence =
            |name: &str| fs::read(root().join(name)).with_context(|| format!("cannot read {name}"));
        let common = vec![
            Entry::folder("etc"),
            Entry::file("etc/group", format!("root:x:0:\nmooring:x:{USER}:\n")),
            // Where a ConfigMap and the downward API go.
            Entry::folder("etc/mooring"),
            Entry::file(
                "etc/passwd",
                format!("root:x:0:0:root:/:/nologin\nmooring:x:{USER}:{USER}:Mooring:/:/nologin\n"),
            ),
            Entry::folder("etc/podinfo"),
            Entry::folder("licenses"),
            Entry::file("licenses/LICENSE-APACHE", licence("LICENSE-APACHE")?),
            Entry::file("licenses/LICENSE-MIT", licence("LICENSE-MIT")?),
            Entry::file("licenses/THIRD-PARTY-LICENSES", licences::collect(arch.triple())?),
            Entry::file("sbom.spdx.json", sbom.clone()),
        ];
        Ok(Self { arch, sbom, binary, common })
    }

    /// What does not differ between profiles.
    pub(super) fn common(&self) -> Vec<Entry> {
        self.common.clone()
    }

    /// What does: the binary's capabilities, and whose the folder of the control socket is. Root without its
    /// capabilities may write to no folder of others, and others to none of root's.
    pub(super) fn of_profile(&self, profile: Profile) -> Vec<Entry> {
        let mut binary = Entry::file("mooring", self.binary.clone());
        binary.mode = 0o755;
        binary.permitted = profile.permitted();
        let mut folder = Entry::folder(FOLDER);
        folder.owner = profile.user();
        vec![binary, Entry::folder("run"), folder]
    }
}
