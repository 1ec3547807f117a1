//! In which order a call tries its targets, and what it does when one fails. Pure.

#[cfg(test)]
mod sim;
mod strategy;
mod walk;

use std::sync::Arc;

use crate::fleet::Target;
use crate::health::{BreakerState, HealthView};
use crate::request::{Features, Task};
pub use strategy::{After, Hedge, Routing, Strategy};
pub use walk::{Asked, Move, RetryRules, Walk};

/// What a call wants.
pub struct Demand<'a> {
    /// In order of preference.
    pub targets: &'a [Arc<Target>],
    /// Asked only for a reason: see [`Instead`].
    pub instead: &'a [(Arc<Target>, Instead)],
    /// What the request needs a target to be able to do.
    pub features: Features,
    /// What is asked for.
    pub task: Task,
    /// About how many input tokens it has ([`Target::count_input`], not the bound, which is far above for most models).
    pub input: u64,
    /// A stream is asked for.
    pub stream: bool,
    /// How the order of preference comes about; none: as it is.
    pub routing: Option<&'a Routing>,
    /// All chance comes from it: another for every call.
    pub seed: u64,
    /// The same for calls that share the beginning of their prompt, and so a provider's prompt cache.
    pub kinship: u64,
    /// About what the call costs at each of `targets`, in nano-dollars; read by one strategy, and may be empty for all others.
    pub costs: &'a [i64],
}

impl<'a> Demand<'a> {
    /// A call that asks in the given order.
    pub fn of(targets: &'a [Arc<Target>], features: Features, task: Task, input: u64) -> Demand<'a> {
        let (stream, routing, seed, kinship) = (false, None, 0, 0);
        Demand { targets, instead: &[], features, task, input, stream, routing, seed, kinship, costs: &[] }
    }
}

/// For which reason a target is asked that otherwise is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// The prompt does not fit into the others.
    TooLong,
    /// The content filter of another has refused it.
    Filtered,
}

/// Where to try, in order, and what was set aside.
#[derive(Debug, Default)]
pub struct Plan {
    /// Try these.
    pub targets: Vec<Arc<Target>>,
    /// Try these when that happens.
    pub instead: Vec<(Arc<Target>, Instead)>,
    /// Do not try these; for the receipt and the refusal.
    pub set_aside: Vec<SetAside>,
}

/// A target that is not tried.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// Which.
    pub target: Arc<Target>,
    /// Why.
    pub why: Why,
}

/// Why a target is not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It takes no images.
    Images,
    /// It takes no tools.
    Tools,
    /// It does not do this at all.
    Task,
    /// Its breaker is open.
    Unwell,
}

impl Why {
    /// The name in receipts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Images => "takes_no_images",
            Why::Tools => "takes_no_tools",
            Why::Task => "does_not_serve_it",
            Why::Unwell => "unwell",
        }
    }
}

/// Targets that cannot serve the request are set aside; those whose window seems too small come after all others, for the count is an
/// estimate and the provider's own refusal is the better answer; unwell ones are set aside, but never the last hope. Where every
/// window seems too small, those that are there for long prompts come first.
pub fn plan(demand: &Demand<'_>, health: &HealthView, now: u64) -> Plan {
    let mut plan = Plan::default();
    let (mut fitting, mut cramped, mut unwell) = (Vec::new(), Vec::new(), Vec::new());
    for target in strategy::ordered(demand, health) {
        if let Some(why) = incapable(target, demand) {
            plan.set_aside.push(SetAside { target: Arc::clone(target), why });
            continue;
        }
        match health.sight(&target.name, demand.stream).state {
            BreakerState::Open { until } if now < until => unwell.push((until, Arc::clone(target))),
            BreakerState::Probing => unwell.push((u64::MAX, Arc::clone(target))),
            _ if fits(target, demand) => fitting.push(Arc::clone(target)),
            _ => cramped.push(Arc::clone(target)),
        }
    }
    let able = demand.instead.iter().filter(|(target, _)| incapable(target, demand).is_none());
    let too_long = |(_, why): &(Arc<Target>, Instead)| *why == Instead::TooLong;
    plan.instead = able.cloned().collect();
    if fitting.is_empty() && !cramped.is_empty() && plan.instead.iter().any(too_long) {
        let (roomier, others) = plan.instead.into_iter().partition(too_long);
        plan.instead = others;
        fitting = Vec::<(Arc<Target>, Instead)>::into_iter(roomier).map(|(target, _)| target).collect();
    }
    plan.targets = fitting;
    plan.targets.append(&mut cramped);
    if plan.targets.is_empty() {
        // The one that is to be well again soonest; of equals, the preferred.
        let soonest = unwell.iter().enumerate().min_by_key(|(i, (until, _))| (*until, *i)).map(|(i, _)| i);
        plan.targets.extend(soonest.map(|i| unwell.remove(i).1));
    }
    plan.set_aside.extend(unwell.into_iter().map(|(_, target)| SetAside { target, why: Why::Unwell }));
    plan
}

fn fits(target: &Target, demand: &Demand<'_>) -> bool {
    target.context.is_none_or(|context| demand.input < context)
}

fn incapable(target: &Target, demand: &Demand<'_>) -> Option<Why> {
    let features = &demand.features;
    if !target.serves(demand.task) {
        return Some(Why::Task);
    }
    match (target.images, target.tools) {
        (Some(false), _) if features.images => Some(Why::Images),
        (_, Some(false)) if features.tools => Some(Why::Tools),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fleet, ProviderConfig};

    fn targets() -> Vec<Arc<Target>> {
        let config: ProviderConfig = serde_yaml_ng::from_str(
            "{ id: up, kind: vllm, models: [{ id: big, context: 1000, images: true }, { id: small, context: 10, images: false, tools: false }, { id: open }] }",
        )
        .unwrap();
        let fleet = Fleet::build(&[config], &|_| None).unwrap();
        ["up/small", "up/big", "up/open"].iter().map(|it| fleet.target(it).unwrap()).collect()
    }

    fn check(features: Features, input: u64, health: HealthView, order: &[&str], aside: &[(&str, Why)]) {
        let targets = targets();
        let plan = plan(&Demand::of(&targets, features, Task::Chat, input), &health, 100);
        let got: Vec<_> = plan.targets.iter().map(|it| &*it.model).collect();
        let got_aside: Vec<_> = plan.set_aside.iter().map(|it| (&*it.target.model, it.why)).collect();
        assert_eq!((&got[..], &got_aside[..]), (order, aside));
    }

    #[test]
    fn the_given_order_stands_while_all_is_well() {
        check(Features::default(), 5, HealthView::default(), &["small", "big", "open"], &[]);
    }

    #[test]
    fn what_cannot_serve_is_set_aside_and_what_seems_too_small_comes_last() {
        let images = Features { images: true, ..Features::default() };
        let tools = Features { tools: true, ..Features::default() };
        check(images, 5, HealthView::default(), &["big", "open"], &[("small", Why::Images)]);
        check(tools, 5, HealthView::default(), &["big", "open"], &[("small", Why::Tools)]);
        check(Features::default(), 50, HealthView::default(), &["big", "open", "small"], &[]);
        check(Features::default(), 5_000, HealthView::default(), &["open", "small", "big"], &[]);
    }

    #[test]
    fn an_open_breaker_sets_aside_but_never_the_last_hope() {
        let open = |until| BreakerState::Open { until };
        let one = HealthView::default().with("up/big", open(200));
        check(Features::default(), 5, one, &["small", "open"], &[("big", Why::Unwell)]);
        let all =
            HealthView::default().with("up/small", open(300)).with("up/big", open(200)).with("up/open", open(200));
        check(Features::default(), 5, all, &["big"], &[("small", Why::Unwell), ("open", Why::Unwell)]);
        let over = HealthView::default().with("up/big", open(50)).with("up/small", BreakerState::Probing);
        check(Features::default(), 5, over, &["big", "open"], &[("small", Why::Unwell)]);
        let half = HealthView::default().with("up/small", BreakerState::HalfOpen);
        check(Features::default(), 5, half, &["small", "big", "open"], &[]);
    }

    #[test]
    fn what_is_there_for_long_prompts_is_asked_first_where_no_window_fits_and_else_only_after_a_refusal() {
        let all = targets();
        let instead = [(Arc::clone(&all[2]), Instead::TooLong), (Arc::clone(&all[1]), Instead::Filtered)];
        let planned = |input| {
            let features = Features::default();
            let demand = Demand { instead: &instead, ..Demand::of(&all[..2], features, Task::Chat, input) };
            let plan = plan(&demand, &HealthView::default(), 100);
            let names = |targets: &[Arc<Target>]| targets.iter().map(|it| it.model.clone()).collect::<Vec<_>>();
            let instead: Vec<_> = plan.instead.iter().map(|(target, why)| (target.model.clone(), *why)).collect();
            (names(&plan.targets), instead)
        };
        let (open, big) = (("open".to_owned(), Instead::TooLong), ("big".to_owned(), Instead::Filtered));
        assert_eq!(planned(5), (vec!["small".into(), "big".into()], vec![open.clone(), big.clone()]));
        assert_eq!(planned(50), (vec!["big".into(), "small".into()], vec![open, big.clone()]));
        assert_eq!(planned(5_000), (vec!["open".into(), "small".into(), "big".into()], vec![big]));
    }
}
