//! What is allowed but has no effect: no rule at all, a rule behind another, a pool without a rule. What is
//! behind a rule that says otherwise contradicts it, and is refused.

use toml::Spanned;

use crate::model::Model;
use crate::pool::{Allocation, Filtering, Pool, PoolId};
use crate::report::Report;
use crate::rule::{Action, Matcher, Rule};

/// Only for rules without errors: a condition that could not be read stands for any.
pub(super) fn warn(rules: &[Rule], pools: &[Pool], model: &Model, report: &mut Report<'_>) {
    if rules.is_empty() {
        let hint = "add a [[rule]]: what no rule matches is dropped (`no_rule`)";
        report.warning(0..0, "there is no rule: every new session will be dropped", hint);
        return;
    }
    warn_pools(rules, model, report);
    check_rules(rules, pools, model, report);
    warn_slices(rules, pools, model, report);
}

/// Of a deterministic pool only the hosts of its `source` have ports: others get none.
fn warn_slices(rules: &[Rule], pools: &[Pool], model: &Model, report: &mut Report<'_>) {
    for (rule, element) in rules.iter().zip(&model.rules) {
        let Action::SourceNat(id) = rule.action else { continue };
        let Some(pool) = pools.get(usize::from(id.0)) else { continue };
        let Allocation::Deterministic(plan) = &pool.allocation else { continue };
        let sources = &rule.matcher.source;
        let beyond = sources.iter().find(|source| !plan.source.contains(*source));
        let who = match beyond {
            Some(source) => source.to_string(),
            None if sources.is_empty() => "every host".to_owned(),
            None => continue,
        };
        let at = element.place("source").unwrap_or_else(|| element.at.clone());
        let (name, hosts) = (&pool.name, plan.source);
        let message =
            format!("rule `{}` has {who}, pool `{name}` only ports for {hosts}", rule.name);
        let hint = format!("others are dropped: write source = [\"{hosts}\"] in the rule");
        report.warning(at, message, hint);
    }
}

fn warn_pools(rules: &[Rule], model: &Model, report: &mut Report<'_>) {
    for (index, pool) in model.pools.iter().enumerate() {
        let action = Action::SourceNat(PoolId(index as u16));
        let Some(name) = pool.keys.name.as_ref().map(Spanned::get_ref) else { continue };
        if rules.iter().all(|rule| rule.action != action) {
            let hint = format!("add pool = \"{name}\" to a [[rule]], or remove the pool");
            report.warning(pool.at.clone(), format!("no rule uses the pool `{name}`"), hint);
        }
    }
}

/// A rule is useless if earlier ones match all that it matches, in both directions. If one of them does
/// something else with it, the two contradict each other: whoever wrote a `drop` behind a `source-nat` means
/// that nothing of it leaves, and all of it would.
fn check_rules(rules: &[Rule], pools: &[Pool], model: &Model, report: &mut Report<'_>) {
    let through: Vec<Option<Matcher>> = rules.iter().map(Rule::through).collect();
    let inbound: Vec<Option<Matcher>> = rules.iter().map(Rule::inbound).collect();
    let claims = |rule: &Rule| matches!(rule.action, Action::Static(_) | Action::PortForward(_));
    let last_claim = rules.iter().rposition(claims);
    let open = pools.iter().any(|pool| pool.filtering != Filtering::AddressAndPortDependent);
    for (index, rule) in rules.iter().enumerate() {
        // A drop rule matters to what comes in if something could come in behind it.
        let lets_in = open || last_claim > Some(index) || rule.action != Action::Drop;
        let own_inbound = inbound[index].as_ref().filter(|_| lets_in);
        let directions = [(&through, through[index].as_ref()), (&inbound, own_inbound)];
        let asked = directions.into_iter().filter_map(|(all, own)| Some((all, own?)));
        let covers: Option<Vec<usize>> = asked
            .map(|(all, own)| {
                all[..index].iter().position(|other| other.as_ref().is_some_and(|o| o.covers(own)))
            })
            .collect();
        let Some(mut covers) = covers else { continue };
        let does_otherwise = |at: &usize| {
            std::mem::discriminant(&rules[*at].action) != std::mem::discriminant(&rule.action)
        };
        covers.sort_unstable_by_key(|at| (does_otherwise(at), *at));
        let Some(earlier) = covers.pop() else { continue };
        let (name, first) = (&rule.name, &rules[earlier].name);
        let message = format!("rule `{name}` is never reached: `{first}` matches all of it");
        let line = report.line(model.rules[earlier].at.start);
        let hint = format!("the first match wins: move it before line {line}, or remove it");
        let at = model.rules[index].at.clone();
        if does_otherwise(&earlier) {
            let message = format!("{message}, and does otherwise");
            report.error(at, message, hint);
        } else {
            report.warning(at, message, hint);
        }
    }
}
