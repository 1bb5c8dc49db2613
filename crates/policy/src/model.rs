//! The shape of a configuration: which keys there are and what type each has.
//!
//! Every key is optional and every value is kept with its place in the text, so that validation can
//! report all that is missing or wrong, where it stands. Nothing here knows what a value means:
//! addresses and ports are still text. The whole language is here, also what this version cannot do
//! yet (see `unsupported`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::policy::{Backend, OnFull, UnsolicitedSyn};
use crate::pool::{AddressChoice, Filtering, Mapping, Pooling, Refresh};
use crate::service::ServiceKind;
pub(crate) use crate::settings::Source;

/// A whole configuration.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) version: Option<Spanned<i64>>,
    pub(crate) appliance: Element<Appliance>,
    pub(crate) control: Element<Control>,
    pub(crate) interfaces: Vec<Element<Interface>>,
    pub(crate) routes: Vec<Element<Route>>,
    pub(crate) pools: Vec<Element<Pool>>,
    pub(crate) rules: Vec<Element<Rule>>,
    pub(crate) services: Vec<Element<Service>>,
    pub(crate) timeouts: Element<Timeouts>,
    pub(crate) tcp: Element<Tcp>,
    pub(crate) limits: Element<Limits>,
}

impl Model {
    /// Who says which addresses are held.
    pub(crate) fn source(&self) -> Source {
        self.control.keys.source.unwrap_or_default()
    }

    /// Whether something is left to what the kernel says.
    pub(crate) fn follows_kernel(&self) -> bool {
        let learned =
            |addresses: &Spanned<Addresses>| matches!(addresses.get_ref(), Addresses::Kernel);
        self.interfaces.iter().any(|element| element.keys.addresses.as_ref().is_some_and(learned))
            || self.routes.iter().any(|element| {
                element.keys.via.as_ref().is_some_and(|via| via.get_ref() == "kernel")
            })
    }
}

/// One table of the text.
#[derive(Debug, Default)]
pub(crate) struct Element<T> {
    /// As the reader knows it: `[limits]`, `[[rule]]`.
    pub(crate) section: &'static str,
    /// Where its header stands.
    pub(crate) at: Range<usize>,
    /// What it says.
    pub(crate) keys: T,
    /// Every key that it has and where, also those whose value could not be read.
    pub(crate) written: Vec<(String, Range<usize>)>,
    /// Those of them that the section does not have: likely misspelt.
    pub(crate) unknown: Vec<String>,
}

/// What has a name that others refer to.
pub(crate) trait Named {
    fn name(&self) -> Option<&Spanned<String>>;
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Appliance {
    pub(crate) workers: Option<Spanned<i64>>,
    pub(crate) control_socket: Option<Spanned<String>>,
    pub(crate) metrics: Option<Spanned<String>>,
    pub(crate) health: Option<Spanned<String>>,
    pub(crate) allow_kernel_forwarding: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Control {
    pub(crate) source: Option<Source>,
    pub(crate) session_retention: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Interface {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) device: Option<Spanned<String>>,
    pub(crate) backend: Option<Spanned<Backend>>,
    pub(crate) addresses: Option<Spanned<Addresses>>,
    pub(crate) mtu: Option<Spanned<i64>>,
    pub(crate) vrf: Option<Spanned<String>>,
    pub(crate) gateway_addresses: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) gateway_addresses_from: Option<Spanned<AddressesFrom>>,
    pub(crate) network: Option<Spanned<String>>,
    pub(crate) router_advertisements: Option<Spanned<bool>>,
    pub(crate) tx_coalescing: Option<Spanned<bool>>,
}

/// Which of the addresses that a control plane gives are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AddressesFrom {
    pub(crate) routes: Option<RouteChoice>,
    pub(crate) network: Option<Spanned<String>>,
    pub(crate) family: Option<Family>,
}

/// Some of the routes: all, those of these names, those with all of these labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteChoice {
    All,
    Names(Vec<String>),
    Labels(BTreeMap<String, String>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    #[default]
    Ipv4,
    Ipv6,
}

/// An interface's addresses: listed, or learned from the kernel.
#[derive(Debug)]
pub(crate) enum Addresses {
    Kernel,
    Listed(Vec<Spanned<String>>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) destination: Option<Spanned<String>>,
    pub(crate) via: Option<Spanned<String>>,
    pub(crate) interface: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pool {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) addresses: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) addresses_from: Option<Spanned<AddressesFrom>>,
    pub(crate) ports: Option<Spanned<Word>>,
    pub(crate) mapping: Option<Mapping>,
    pub(crate) filtering: Option<Spanned<Filtering>>,
    pub(crate) hairpin: Option<bool>,
    pub(crate) ping: Option<bool>,
    pub(crate) pooling: Option<Spanned<Pooling>>,
    pub(crate) address_choice: Option<Spanned<AddressChoice>>,
    pub(crate) allocation: Option<Allocation>,
    pub(crate) parity: Option<Spanned<bool>>,
    pub(crate) contiguity: Option<Spanned<bool>>,
    pub(crate) overflow_ports: Option<Spanned<Word>>,
    pub(crate) hold_down: Option<HoldDown>,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) limits: Option<PoolLimits>,
    pub(crate) allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) deny: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Allocation {
    pub(crate) kind: Option<Spanned<AllocationKind>>,
    pub(crate) size: Option<Spanned<i64>>,
    pub(crate) max_blocks: Option<Spanned<i64>>,
    pub(crate) quarantine: Option<Spanned<i64>>,
    pub(crate) source: Option<Spanned<String>>,
    pub(crate) ports_per_host: Option<Spanned<i64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AllocationKind {
    Random,
    Preserve,
    PortBlock,
    Deterministic,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HoldDown {
    pub(crate) seconds: Option<Spanned<i64>>,
    pub(crate) ports: Option<Spanned<i64>>,
    pub(crate) strict: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PoolLimits {
    pub(crate) sessions: Option<Spanned<i64>>,
    pub(crate) mappings: Option<Spanned<i64>>,
    pub(crate) half_open: Option<Spanned<i64>>,
    pub(crate) transitory: Option<Spanned<i64>>,
    pub(crate) session_rate: Option<Spanned<i64>>,
}

/// All keys of all kinds; [`RuleKind::takes`] says which ones belong together.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) kind: Option<Spanned<RuleKind>>,
    pub(crate) drain: Option<bool>,
    pub(crate) from: Option<Spanned<String>>,
    pub(crate) to: Option<Spanned<String>>,
    pub(crate) source: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) destination: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) protocol: Option<Spanned<Word>>,
    pub(crate) source_ports: Option<Spanned<Word>>,
    pub(crate) destination_ports: Option<Spanned<Word>>,
    pub(crate) pool: Option<Spanned<String>>,
    pub(crate) inside: Option<Spanned<String>>,
    pub(crate) outside: Option<Spanned<String>>,
    pub(crate) address: Option<Spanned<String>>,
    pub(crate) port: Option<Spanned<Word>>,
    pub(crate) target: Option<Spanned<String>>,
    pub(crate) targets: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) affinity_seconds: Option<Spanned<i64>>,
    pub(crate) prefix: Option<Spanned<String>>,
    pub(crate) mappings: Option<Spanned<Vec<SiitMapping>>>,
    pub(crate) interface: Option<Spanned<String>>,
    pub(crate) limits: Option<RuleLimits>,
    pub(crate) allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) deny: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RuleLimits {
    pub(crate) sessions: Option<Spanned<i64>>,
    pub(crate) half_open: Option<Spanned<i64>>,
    pub(crate) transitory: Option<Spanned<i64>>,
    pub(crate) session_rate: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SiitMapping {
    pub(crate) v6: Option<Spanned<String>>,
    pub(crate) v4: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RuleKind {
    SourceNat,
    Bypass,
    Drop,
    Static,
    PortForward,
    LoadBalance,
    Nat64,
    Siit,
    Nptv6,
    Deliver,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    pub(crate) udp: Option<Spanned<i64>>,
    pub(crate) tcp_established: Option<Spanned<i64>>,
    pub(crate) tcp_transitory: Option<Spanned<i64>>,
    pub(crate) tcp_half_open: Option<Spanned<i64>>,
    pub(crate) icmp: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tcp {
    pub(crate) window_tracking: Option<bool>,
    pub(crate) unsolicited_syn: Option<UnsolicitedSyn>,
    pub(crate) probe: Option<bool>,
    pub(crate) pick_up: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) sessions: Option<Spanned<i64>>,
    pub(crate) sources: Option<Spanned<i64>>,
    pub(crate) sessions_per_source: Option<Spanned<i64>>,
    pub(crate) mappings_per_source: Option<Spanned<i64>>,
    pub(crate) half_open_per_source: Option<Spanned<i64>>,
    pub(crate) transitory_per_source: Option<Spanned<i64>>,
    pub(crate) session_rate_per_source: Option<Spanned<i64>>,
    pub(crate) source_prefix_v4: Option<Spanned<i64>>,
    pub(crate) source_prefix_v6: Option<Spanned<i64>>,
    pub(crate) fragments: Option<Spanned<i64>>,
    pub(crate) fragments_per_source: Option<Spanned<i64>>,
    pub(crate) icmp_error_rate: Option<Spanned<i64>>,
    pub(crate) echo_reply_rate: Option<Spanned<i64>>,
    pub(crate) on_full: Option<OnFull>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) kind: Option<ServiceKind>,
    pub(crate) address: Option<Spanned<String>>,
    pub(crate) port: Option<Spanned<i64>>,
}

/// A string, or a whole number that stands for itself: `"tcp"`, `47`, `"8000-8099"`, `443`.
#[derive(Debug)]
pub(crate) struct Word(pub(crate) String);

impl<T> Element<T> {
    /// Where the key is written, whatever its value.
    pub(crate) fn place(&self, key: &str) -> Option<Range<usize>> {
        self.written.iter().find(|(written, _)| written == key).map(|(_, at)| at.clone())
    }
}

impl AllocationKind {
    /// As it is written.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Preserve => "preserve",
            Self::PortBlock => "port-block",
            Self::Deterministic => "deterministic",
        }
    }
}

impl RuleKind {
    /// As it is written.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::SourceNat => "source-nat",
            Self::Bypass => "bypass",
            Self::Drop => "drop",
            Self::Static => "static",
            Self::PortForward => "port-forward",
            Self::LoadBalance => "load-balance",
            Self::Nat64 => "nat64",
            Self::Siit => "siit",
            Self::Nptv6 => "nptv6",
            Self::Deliver => "deliver",
        }
    }

    /// Whether rules of this kind have this key.
    pub(crate) fn takes(self, key: &str) -> bool {
        let conditions = self.conditions();
        ["name", "kind", "drain"].contains(&key)
            || self.keys().contains(&key)
            || conditions.contains(&key)
    }

    /// The keys of this kind beside its conditions.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::SourceNat => &["pool"],
            Self::Bypass | Self::Drop => &[],
            Self::Static => &["inside", "outside", "limits", "allow", "deny"],
            Self::Nptv6 => &["inside", "outside"],
            Self::PortForward => &["address", "port", "target", "limits", "allow", "deny"],
            Self::LoadBalance => &["address", "port", "targets", "affinity_seconds"],
            Self::Nat64 => &["prefix", "pool"],
            Self::Siit => &["prefix", "mappings"],
            Self::Deliver => &["address", "interface"],
        }
    }

    /// The conditions that make sense with this kind.
    pub(crate) fn conditions(self) -> &'static [&'static str] {
        match self {
            // Every protocol and port, whoever is at the other end.
            Self::Static | Self::Nptv6 | Self::Siit => &["from", "to"],
            // What it is sent to is told by its own keys.
            Self::PortForward | Self::LoadBalance => {
                &["from", "to", "source", "protocol", "source_ports"]
            }
            // It leaves by the tap that is named.
            Self::Deliver => &["to"],
            Self::SourceNat | Self::Bypass | Self::Drop | Self::Nat64 => &[
                "from",
                "to",
                "source",
                "destination",
                "protocol",
                "source_ports",
                "destination_ports",
            ],
        }
    }

    pub(crate) const ALL: &[Self] = &[
        Self::SourceNat,
        Self::Bypass,
        Self::Drop,
        Self::Static,
        Self::PortForward,
        Self::LoadBalance,
        Self::Nat64,
        Self::Siit,
        Self::Nptv6,
        Self::Deliver,
    ];
}

impl Named for Interface {
    fn name(&self) -> Option<&Spanned<String>> {
        self.name.as_ref()
    }
}

impl Named for Pool {
    fn name(&self) -> Option<&Spanned<String>> {
        self.name.as_ref()
    }
}

impl Named for Rule {
    fn name(&self) -> Option<&Spanned<String>> {
        self.name.as_ref()
    }
}

impl Named for Service {
    fn name(&self) -> Option<&Spanned<String>> {
        self.name.as_ref()
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressesVisitor)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

impl<'de> Deserialize<'de> for RouteChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RouteChoiceVisitor)
    }
}

struct RouteChoiceVisitor;

impl<'de> Visitor<'de> for RouteChoiceVisitor {
    type Value = RouteChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\", a list of names, or a table of labels")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RouteChoice, E> {
        if text == "all" {
            return Ok(RouteChoice::All);
        }
        Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RouteChoice, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(RouteChoice::Names)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RouteChoice, A::Error> {
        BTreeMap::deserialize(MapAccessDeserializer::new(table)).map(RouteChoice::Labels)
    }
}

struct AddressesVisitor;

impl<'de> Visitor<'de> for AddressesVisitor {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of addresses or \"kernel\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Addresses, E> {
        if text == "kernel" {
            return Ok(Addresses::Kernel);
        }
        Err(E::invalid_type(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
        let mut addresses = Vec::new();
        while let Some(address) = list.next_element()? {
            addresses.push(address);
        }
        Ok(Addresses::Listed(addresses))
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a whole number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Word, E> {
        Ok(Word(text.to_owned()))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }
}
