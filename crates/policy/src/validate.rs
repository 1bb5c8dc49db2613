//! From [`Model`] to [`Policy`]: values, names and what fits together.
//!
//! Every check reports and goes on. An element with a mistake still takes its place, with whatever
//! of it could be read, so that ids keep counting in the order of the text and others that refer to
//! it by name get no error of their own. Nothing is compiled if anything was reported as an error.

mod access;
mod allocation;
mod assigned;
mod claims;
mod fit;
mod gateways;
mod interfaces;
mod learned;
mod pools;
mod routes;
mod rules;
mod services;
mod settings;
mod tables;
mod useless;
mod values;
mod words;

use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;

use self::claims::Surroundings;

use crate::Facts;
use crate::holding::NotTaken;
use crate::lines::Lines;
use crate::model::{Element, Model, Named};
use crate::policy::{Parts, Policy};
use crate::report::{Report, did_you_mean};
use crate::settings::{Settings, Source};

/// `None` if there is an error, found here or before.
pub(crate) fn validate(
    model: &Model,
    facts: &Facts<'_>,
    report: &mut Report<'_>,
) -> Option<(Policy, Settings, Vec<NotTaken>)> {
    settings::version(model.version.as_ref(), report);
    let mut settings = settings::appliance(&model.appliance, report);
    settings::control(&model.control, &mut settings, report);
    let crew = settings::crew(&model.appliance, settings.workers, facts.cores, report);
    let mut links = interfaces::validate(&model.interfaces, facts, report);
    let routes = routes::validate(model, &links, facts.kernel, report);
    learned::check(&links, &routes.learned, report);
    let (mut pools, prefixes) = pools::validate(&model.pools, &links, &routes.listed, crew, report);
    let (rules, delivered) = rules::validate(model, &links, &pools, report);
    let services = services::validate(model, &links, &pools, &rules, report);
    let around = Surroundings { links: &links, routes: &routes.listed, pools: &prefixes };
    claims::check(model, &rules, &services, &around, report);
    let (timeouts, limits) =
        (settings::timeouts(&model.timeouts, report), settings::limits(&model.limits, report));
    tables::check(model, &limits, &timeouts, &pools, report);
    assigned::check(model, &pools, report);
    if !report.has_errors() {
        useless::warn(&rules, &pools, model, report);
    }
    let given = (settings.source == Source::Kubernetes).then(|| facts.assignments.cloned());
    let mut given = given.map(Option::unwrap_or_default);
    let mut not_taken = given.as_mut().map_or_else(Vec::new, |given| {
        let mut not_taken = assigned::leave_to_kernel(given, facts.kernel_holds);
        let around = (routes.listed.as_slice(), rules.as_slice());
        not_taken
            .extend(assigned::distribute(model, given, &mut pools, &mut links, around, report));
        not_taken
    });
    let services = services.into_iter().map(|(_, service)| service).collect();
    let (interfaces, routes) = (links.interfaces, routes.compiled());
    let tcp = settings::tcp(&model.tcp);
    let tcp_lines = Lines::new(&model.tcp, &["pick_up", "unsolicited_syn"], report);
    let parts = Parts {
        interfaces,
        routes,
        pools,
        rules,
        services,
        delivered,
        timeouts,
        tcp,
        tcp_lines,
        limits,
    };
    (!report.has_errors()).then(|| {
        let mut policy = Policy::compile(parts);
        if let Some(given) = &given {
            policy.hold(given, &mut not_taken);
        }
        (policy, settings, not_taken)
    })
}

/// The value of a key that must be there; `example` shows how it is written.
fn required<'m, T, V>(
    element: &Element<T>,
    value: Option<&'m V>,
    key: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<&'m V> {
    // A value that could not be read was reported already, a misspelt key as well.
    let misspelt = |key: &str| {
        element.unknown.iter().any(|unknown| strsim::damerau_levenshtein(unknown, key) <= 2)
    };
    if value.is_none() && element.place(key).is_none() && !misspelt(key) {
        let message = format!("this {} has no `{key}`", element.section);
        report.error(element.at.clone(), message, format!("add {key} = {example}"));
    }
    value
}

/// The element's name; without one, what messages call it. Reports an empty one, or one that an
/// earlier element has.
fn unique_name<T: Named>(
    what: &str,
    index: usize,
    elements: &[Element<T>],
    report: &mut Report<'_>,
) -> String {
    let element = &elements[index];
    let example = match what {
        "interface" => "\"inside\"",
        "service" => "\"health\"",
        _ => "\"egress\"",
    };
    let Some(name) = required(element, element.keys.name(), "name", example, report) else {
        return format!("{what} {}", index + 1);
    };
    let text = name.get_ref().as_str();
    let same = |earlier: &Element<T>| {
        earlier.keys.name().filter(|name| name.get_ref() == text).map(Spanned::span)
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        let hint = "names are shown in reports: give it a readable one";
        report.error(name.span(), format!("{text:?} cannot be a name"), hint);
    } else if let Some(first) = elements[..index].iter().find_map(same) {
        let hint = format!(
            "the first is on line {}: give one of them another name",
            report.line(first.start)
        );
        report.error(name.span(), format!("there are two {what}s named `{text}`"), hint);
    }
    text.to_owned()
}

/// The index of the element that `name` refers to.
fn resolve<T: Named>(
    what: &str,
    name: &Spanned<String>,
    elements: &[Element<T>],
    report: &mut Report<'_>,
) -> Option<usize> {
    let names = || elements.iter().map(|element| element.keys.name().map(Spanned::get_ref));
    let found = names().position(|known| known == Some(name.get_ref()));
    if found.is_none() {
        let known: Vec<&str> = names().flatten().map(String::as_str).collect();
        let hint = did_you_mean(name.get_ref(), &known, &format!("{what}s"));
        report.error(name.span(), format!("{what} `{}` is not defined", name.get_ref()), hint);
    }
    found
}

/// Refuses more elements than their ids can count.
fn at_most<T>(what: &str, limit: usize, elements: &[Element<T>], report: &mut Report<'_>) {
    if let Some(surplus) = elements.get(limit) {
        let message = format!("there are {} {what}s, at most {limit} are possible", elements.len());
        report.error(surplus.at.clone(), message, format!("this is {what} {}", limit + 1));
    }
}

/// What two prefixes share: the smaller of them, if the other contains it.
fn overlap<'p>(one: &'p IpNet, other: &'p IpNet) -> Option<&'p IpNet> {
    match (one.contains(other), other.contains(one)) {
        (true, _) => Some(other),
        (_, true) => Some(one),
        _ => None,
    }
}

/// A value together with its place, to compare it with others later.
#[derive(Clone, Debug)]
struct Placed<V> {
    at: Range<usize>,
    value: V,
}
