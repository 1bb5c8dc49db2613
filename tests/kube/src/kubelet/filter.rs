//! The seccomp profile `RuntimeDefault`, as far as the labs have it: [`mooring_lab::seccomp`].

use std::slice::from_ref;

use anyhow::{Context, Result};
use mooring_lab::seccomp::{ENOSYS, NEW_NAMESPACES, REFUSED};
use seccompiler::{TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};

/// From now on this thread, and what it becomes, is refused these system calls. No program gives it further rights
/// any more.
pub(super) fn apply() -> Result<()> {
    let refused = REFUSED.iter().map(|name| json!({ "syscall": name }));
    let into_namespaces = NEW_NAMESPACES.iter().map(|flag| {
        let op = json!({ "masked_eq": flag });
        json!({ "syscall": "clone", "args": [{ "index": 0, "type": "qword", "op": op, "val": flag }] })
    });
    let mut rules: Vec<Value> = refused.chain(into_namespaces).collect();
    if std::env::consts::ARCH != "x86_64" {
        // Those that this architecture does not have are unknown here.
        rules.retain(|rule| compile(EPERM, from_ref(rule)).is_ok());
    }
    apply_filter(&compile(EPERM, &rules)?)?;
    Ok(apply_filter(&compile(ENOSYS, &[json!({ "syscall": "clone3" })])?)?)
}

fn compile(error: u32, rules: &[Value]) -> Result<seccompiler::BpfProgram> {
    let filter = json!({
        "mismatch_action": "allow", "match_action": { "errno": error }, "filter": rules,
    });
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let text = json!({ "container": filter }).to_string();
    let mut programs = compile_from_json(text.as_bytes(), architecture)?;
    programs.remove("container").context("the filter")
}

const EPERM: u32 = 1;
