//! The Lease: who we are, that we live, and what we hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::Report;
use crate::kubernetes::pod::Identity;
use crate::kubernetes::tenure::{Hold, TenureId};

/// Since when each address is ours.
#[derive(Debug, Default)]
pub(super) struct Kept {
    since: BTreeMap<IpAddr, (TenureId, Timestamp)>,
}

/// An address in the annotation.
#[derive(Debug, Serialize)]
struct Row<'a> {
    address: IpAddr,
    network: &'a str,
    route: &'a str,
    /// The route's, as we know it.
    generation: i64,
    since: Timestamp,
    state: &'static str,
}

/// The Lease of this time.
pub(super) fn lease(
    identity: &Identity,
    report: &Report,
    kept: &mut Kept,
    now: Timestamp,
) -> Lease {
    let rows = kept.rows(report, now);
    let addresses = serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: identity.name.clone(),
        uid: identity.uid.clone(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(format!("mooring-{}", identity.name)),
            namespace: Some(identity.namespace.clone()),
            annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), addresses)])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.uid.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

impl Kept {
    fn rows<'a>(&mut self, report: &'a Report, now: Timestamp) -> Vec<Row<'a>> {
        let held = report.snapshot.given.iter().filter_map(|given| match given.hold? {
            Hold::Held(id) => Some((given, id)),
            Hold::Kept(_) => None,
        });
        let held = held.filter(|(given, _)| report.takes(given.address));
        let mut since = BTreeMap::new();
        let rows = held.map(|(given, id)| {
            let before = self.since.get(&given.address).filter(|(before, _)| *before == id);
            let began = before.map_or(now, |(_, began)| *began);
            since.insert(given.address, (id, began));
            let facts = given.route.facts();
            let conflict = report.conflicts.contains(&given.address);
            Row {
                address: given.address,
                network: &facts.network,
                route: &facts.name,
                generation: facts.generation,
                since: began,
                state: if conflict { "conflict" } else { "held" },
            }
        });
        let rows = rows.collect();
        self.since = since;
        rows
    }
}

impl Report {
    /// Whether the policy has a use for the address.
    pub(super) fn takes(&self, address: IpAddr) -> bool {
        self.not_taken.iter().all(|not_taken| not_taken.address != address)
    }
}

/// What we hold, as a JSON list.
const ANNOTATION: &str = "mooring.dev/addresses";

/// Three renewals may be lost.
const DURATION_SECONDS: i32 = 15;

#[cfg(test)]
mod tests;
