//! How the targets of a model come into an order: as configured, by chance and weight, by what was measured, by price, or so that
//! prompts that begin alike meet again. Pure: chance is a seed, measurements come with the view.

use std::sync::Arc;

use super::Demand;
use crate::chance::{drawn, weighed};
use crate::fleet::Target;
use crate::health::HealthView;

/// What decides the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// As configured.
    #[default]
    Ordered,
    /// Each is first as often as it weighs.
    Weighted,
    /// Whose first content comes soonest.
    LeastLatency,
    /// Who costs least for this call.
    LeastCost,
    /// Of two drawn by chance, the one that a further call would wait for least: peak latency times requests in flight.
    LeastBusy,
    /// Calls of one asker whose prompts begin alike go to the same target.
    Sticky,
}

/// What the configuration says of one model's targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// What decides the order.
    pub strategy: Strategy,
    /// The model's own targets by name, with their weights. Who is not among them comes after all who are.
    pub weights: Vec<(String, u32)>,
    /// Whether a slow first attempt gets company.
    pub hedge: Option<Hedge>,
}

/// A second attempt that starts while the first has not begun to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// When.
    pub after: After,
    /// So many calls of a hundred may have one.
    pub most_percent: u32,
}

/// When a second attempt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// When nineteen of twenty first contents of that target would have come; never while too little is known.
    P95,
    /// After so many milliseconds.
    Millis(u64),
}

impl Routing {
    fn weight(&self, target: &Target) -> Option<u32> {
        self.weights.iter().find(|(name, _)| *name == target.name).map(|(_, weight)| *weight)
    }
}

/// The targets in the order that the strategy gives them.
pub(super) fn ordered<'a>(demand: &Demand<'a>, health: &HealthView) -> Vec<&'a Arc<Target>> {
    let Some(routing) = demand.routing.filter(|it| it.strategy != Strategy::Ordered) else {
        return demand.targets.iter().collect();
    };
    let mut own: Vec<(usize, &Arc<Target>, u32)> = Vec::new();
    let mut others = Vec::new();
    for (i, target) in demand.targets.iter().enumerate() {
        match routing.weight(target) {
            Some(weight) => own.push((i, target, weight)),
            None => others.push(target),
        }
    }
    let stream = demand.stream;
    let rank = |seed: u64| move |target: &Target, weight: u32| weighed(drawn(seed, &target.name), weight);
    match routing.strategy {
        Strategy::Ordered => {}
        Strategy::Weighted => sort_by(&mut own, |(_, target, weight)| rank(demand.seed)(target, *weight)),
        // By rendezvous: whoever falls out moves only its own share, and each call finds the same next one.
        Strategy::Sticky => sort_by(&mut own, |(_, target, weight)| rank(demand.kinship)(target, *weight)),
        Strategy::LeastLatency => {
            sort_by(&mut own, |(_, target, _)| health.sight(&target.name, stream).latency.unwrap_or(0.0));
        }
        #[expect(clippy::cast_precision_loss, reason = "costs of one call are compared, not added")]
        Strategy::LeastCost => {
            sort_by(&mut own, |(i, _, _)| demand.costs.get(*i).map_or(f64::MAX, |cost| *cost as f64));
        }
        Strategy::LeastBusy => {
            let pressure = |target: &Target| health.sight(&target.name, stream).pressure;
            sort_by(&mut own, |(_, target, _)| weighed(drawn(demand.seed, &target.name), 1));
            if let [(_, one, _), (_, other, _), ..] = own.as_slice()
                && pressure(other) < pressure(one)
            {
                own.swap(0, 1);
            }
            // Whoever fails over looks for the least busy of the rest.
            if let Some(rest) = own.get_mut(1..) {
                sort_by(rest, |(_, target, _)| pressure(target));
            }
        }
    }
    own.into_iter().map(|(_, target, _)| target).chain(others).collect()
}

/// Stable: equals stay as they are.
fn sort_by<T>(items: &mut [T], key: impl Fn(&T) -> f64) {
    items.sort_by_cached_key(|item| Ordered(key(item)));
}

#[derive(PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Ordered) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Ordered) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Sight;
    use crate::request::{Features, Task};
    use crate::{Fleet, ProviderConfig};

    fn targets() -> Vec<Arc<Target>> {
        let config: ProviderConfig =
            serde_yaml_ng::from_str("{ id: up, kind: vllm, models: [{ id: a }, { id: b }, { id: c }, { id: d }] }")
                .unwrap();
        let fleet = Fleet::build(&[config], &|_| None).unwrap();
        ["up/a", "up/b", "up/c", "up/d"].iter().map(|it| fleet.target(it).unwrap()).collect()
    }

    fn routing(strategy: Strategy, weights: &[(&str, u32)]) -> Routing {
        let weights = weights.iter().map(|(name, weight)| (format!("up/{name}"), *weight)).collect();
        Routing { strategy, weights, hedge: None }
    }

    fn order(routing: &Routing, (seed, kinship): (u64, u64), costs: &[i64], health: &HealthView) -> String {
        let targets = targets();
        let plain = Demand::of(&targets, Features::default(), Task::Chat, 5);
        let demand = Demand { routing: Some(routing), seed, kinship, costs, stream: true, ..plain };
        ordered(&demand, health).iter().map(|it| &*it.model).collect()
    }

    const ALL: [(&str, u32); 4] = [("a", 1), ("b", 1), ("c", 1), ("d", 1)];

    #[test]
    fn each_is_first_as_often_as_it_weighs_and_a_stranger_comes_last() {
        let weighted = routing(Strategy::Weighted, &[("a", 1), ("b", 3), ("c", 6)]);
        let mut first = std::collections::BTreeMap::new();
        for seed in 0..10_000 {
            let order = order(&weighted, (seed, 0), &[], &HealthView::default());
            assert!(order.ends_with('d') && order.len() == 4);
            *first.entry(order.as_bytes()[0]).or_insert(0) += 1;
        }
        let [a, b, c] = [b'a', b'b', b'c'].map(|it| first[&it]);
        assert!((900..1_100).contains(&a) && (2_850..3_150).contains(&b) && (5_850..6_150).contains(&c), "{first:?}");
    }

    #[test]
    fn kin_meet_again_and_fall_back_together() {
        let sticky = routing(Strategy::Sticky, &ALL);
        let mut orders = std::collections::BTreeSet::new();
        for kin in 0..50 {
            let one = order(&sticky, (1, kin), &[], &HealthView::default());
            assert_eq!(one, order(&sticky, (2, kin), &[], &HealthView::default()), "whatever the call");
            orders.insert(one);
        }
        assert!(orders.len() > 10, "strangers spread: {orders:?}");
        // Without one of them, only what went there moves.
        let fewer = routing(Strategy::Sticky, &ALL[..3]);
        for kin in 0..50 {
            let (all, three) = (order(&sticky, (0, kin), &[], &HealthView::default()), {
                order(&fewer, (0, kin), &[], &HealthView::default())
            });
            assert_eq!(all.replace('d', ""), three.replace('d', ""));
        }
    }

    #[test]
    fn the_fastest_cheapest_or_least_busy_comes_first() {
        let seen = |latency, pressure| Sight { latency, pressure, ..Sight::default() };
        let health = HealthView::default()
            .with_sight("up/a", seen(Some(9e5), 9.0))
            .with_sight("up/b", seen(Some(1e5), 5.0))
            .with_sight("up/c", seen(None, 1.0))
            .with_sight("up/d", seen(Some(5e5), 7.0));
        let fastest = order(&routing(Strategy::LeastLatency, &ALL), (0, 0), &[], &health);
        assert_eq!(fastest, "cbda", "who was never asked is tried first");
        let cheapest = order(&routing(Strategy::LeastCost, &ALL), (0, 0), &[30, 20, 20, 10], &health);
        assert_eq!(cheapest, "dbca", "equals stay as configured");
        assert_eq!(order(&routing(Strategy::Ordered, &ALL), (3, 3), &[4, 3, 2, 1], &health), "abcd");
        let mut first = std::collections::BTreeMap::new();
        for seed in 0..1_000 {
            let order = order(&routing(Strategy::LeastBusy, &ALL), (seed, 0), &[], &health);
            *first.entry(order.chars().next().unwrap()).or_insert(0) += 1;
        }
        assert!(!first.contains_key(&'a'), "of any two the busiest is never the better: {first:?}");
        assert!(first[&'c'] > first[&'b'] && first[&'b'] > first[&'d'], "{first:?}");
    }
}
