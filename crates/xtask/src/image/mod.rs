//! `cargo xtask image`: the appliance as an OCI image for both architectures, made from scratch by ourselves: no
//! registry, no daemon, no base image. In `target/image`: the layout as the folder `mooring`, and as the archive
//! `mooring.oci.tar` for `skopeo`, `oras`, `podman`, `ctr` and others.
//!
//! The same commit and compiler give the same digest (docs/decisions/0006): names in order, the commit's time.

mod content;
mod describe;
mod layer;
mod layout;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::content::Content;
use self::describe::{Describe, Profile};
use self::layer::Layer;
use self::layout::{Layout, Written};
use crate::cross::{self, Arch};
use crate::stages::Stages;
use crate::workspace;

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Image {
    /// Only this architecture (may be repeated); all of them by default
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// The profile of Cargo that the binary is built with
    #[arg(long, default_value = "release")]
    profile: String,
    /// The folder for the layout and the archive; `target/image` by default
    #[arg(long)]
    output: Option<PathBuf>,
    /// Build a second time from nothing, and compare
    #[arg(long)]
    twice: bool,
}

impl Image {
    /// Builds the image and writes it.
    ///
    /// # Errors
    /// When an architecture cannot be built; when two builds differ.
    pub(crate) fn run(&self) -> Result<()> {
        let mut stages = Stages::new();
        let folder = match &self.output {
            Some(folder) => folder.clone(),
            None => workspace::target()?.join("image"),
        };
        let (sizes, files) = self.make(&mut stages, "target", &folder)?;
        if self.twice {
            let place = cross::fresh("target-again")?;
            let (_, again) = self.make(&mut stages, place, &folder.join("again"))?;
            ensure!(
                (&files.digest, workspace::sum(&files.archive)?)
                    == (&again.digest, workspace::sum(&again.archive)?),
                "two builds differ: sha256:{} and sha256:{}",
                files.digest,
                again.digest
            );
        }
        stages.print_times();
        println!("\n{}", sizes.join("\n"));
        let twice = if self.twice { ", built twice" } else { "" };
        println!("sha256:{}  {}{twice}", files.digest, files.archive.display());
        Ok(())
    }

    /// One whole build, in `place` of `target/dist`; gives lines for people, and what was written into `folder`.
    fn make(
        &self,
        stages: &mut Stages,
        place: &str,
        folder: &Path,
    ) -> Result<(Vec<String>, Written)> {
        let binaries = self.binaries(stages, place)?;
        let describe = Describe::of_commit()?;
        let mut layout = Layout::new();
        let sizes = stages.run("pack", || pack(&describe, &binaries, &mut layout))?;
        let files = stages.run("write", || layout.write(folder, "mooring", describe.time))?;
        Ok((sizes, files))
    }

    /// The binary for each architecture. One that cannot be built ends it before any is: an index without it
    /// would be released as if it were whole.
    fn binaries(&self, stages: &mut Stages, place: &str) -> Result<Vec<(Arch, PathBuf)>> {
        let all = if self.arch.is_empty() { &Arch::ALL[..] } else { &self.arch[..] };
        for arch in all {
            let others = "`--arch` makes an image of what can be built here";
            arch.prepare().with_context(|| format!("no image for {}; {others}", arch.name()))?;
        }
        let mut binaries = Vec::new();
        for arch in all {
            let build = || arch.build(place, &self.profile);
            binaries.push((*arch, stages.run(arch.stage(), build)?));
        }
        Ok(binaries)
    }
}

/// Puts both profiles of all architectures into `layout`; gives lines for people.
fn pack(
    describe: &Describe,
    binaries: &[(Arch, PathBuf)],
    layout: &mut Layout,
) -> Result<Vec<String>> {
    let mut sizes = Vec::new();
    let contents: Result<Vec<_>> =
        binaries.iter().map(|(arch, binary)| packed(describe, *arch, binary)).collect();
    let contents = contents?;
    for profile in Profile::ALL {
        let mut manifests = Vec::new();
        let mut attached = Vec::new();
        for (content, common) in &contents {
            let own = Layer::pack(&content.of_profile(profile), describe.time)?;
            sizes.extend(lines(describe, profile, content.arch, [common, &own]));
            let manifest = layout.image(describe, profile, content.arch, &[common, &own]);
            attached.push(layout.attach(describe, &manifest, &content.sbom));
            manifests.push(manifest);
        }
        layout.tag(describe, profile, &manifests);
        attached.into_iter().for_each(|artifact| layout.list(artifact));
    }
    Ok(sizes)
}

/// What an architecture has, and the layer of it that both profiles share.
fn packed(describe: &Describe, arch: Arch, binary: &Path) -> Result<(Content, Layer)> {
    let binary = fs::read(binary).with_context(|| binary.display().to_string())?;
    let content = Content::new(describe, arch, binary)?;
    let common = Layer::pack(&content.common(), describe.time)?;
    Ok((content, common))
}

/// The size of each layer, and the sum.
fn lines(describe: &Describe, profile: Profile, arch: Arch, layers: [&Layer; 2]) -> Vec<String> {
    let line = |what: &str, packed: usize, unpacked: usize| {
        format!("  {what:<28} {:>8.2} MB, unpacked {:>6.2} MB", mb(packed), mb(unpacked))
    };
    let sum = |size: fn(&Layer) -> usize| layers.iter().map(|layer| size(layer)).sum();
    vec![
        format!("mooring:{} linux/{}", describe.tag(profile), arch.of_images()),
        line("licences, SBOM, users", layers[0].bytes.len(), layers[0].unpacked),
        line("binary", layers[1].bytes.len(), layers[1].unpacked),
        line("sum", sum(|layer| layer.bytes.len()), sum(|layer| layer.unpacked)),
    ]
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests;
