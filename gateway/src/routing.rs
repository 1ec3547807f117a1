//! The sections `models` and `retries`: which targets a name stands for, in which order they are asked, what is tried when one fails.

use std::fmt;
use std::sync::Arc;

use crate::limits::ModelLimits;
use providers::{After, Fleet, Hedge, Instead, RetryRules, Routing, Strategy, Target};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// A name that apps use, and the targets behind it in order of preference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    pub id: String,
    pub targets: Vec<TargetConfig>,
    /// How their order comes about; as they stand, if unset.
    #[serde(default)]
    pub strategy: Strategy,
    /// Models that are asked when the prompt does not fit into these.
    #[serde(default)]
    pub context_fallbacks: Vec<String>,
    /// Models that are asked when the content filter of one of these refuses the prompt.
    #[serde(default)]
    pub content_filter_fallbacks: Vec<String>,
    /// A second attempt beside a slow first one.
    #[serde(default)]
    pub hedge: Option<HedgeConfig>,
    /// Of each organisation's calls for it.
    #[serde(default)]
    pub limits: Option<ModelLimits>,
}

/// `provider/model`, or `{ target: provider/model, weight: 3 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    pub target: String,
    pub weight: u32,
}

impl<'de> Deserialize<'de> for TargetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TargetConfig, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            target: String,
            #[serde(default = "one")]
            weight: u32,
        }
        const fn one() -> u32 {
            1
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TargetConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("provider/model or { target: provider/model, weight: 1 }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TargetConfig, E> {
                Ok(TargetConfig { target: text.to_owned(), weight: 1 })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetConfig, A::Error> {
                let Given { target, weight } = Given::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TargetConfig { target, weight })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// When a second attempt starts: `{ after: p95 }` or `{ after_ms: 800 }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HedgeConfig {
    pub after: Option<AfterName>,
    pub after_ms: Option<u64>,
    #[serde(default = "HedgeConfig::usual")]
    pub most_percent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterName {
    P95,
}

impl HedgeConfig {
    const fn usual() -> u32 {
        5
    }

    fn read(&self) -> Result<Hedge, (&'static str, String)> {
        let after = match (self.after, self.after_ms) {
            (Some(AfterName::P95), None) => After::P95,
            (None, Some(millis @ 1..)) => After::Millis(millis),
            (None, Some(0)) => return Err((".after_ms", "must be above 0".to_owned())),
            _ => return Err(("", "give exactly one of after: p95 and after_ms".to_owned())),
        };
        match self.most_percent {
            most_percent @ 1..=100 => Ok(Hedge { after, most_percent }),
            _ => Err((".most_percent", "must be 1 to 100".to_owned())),
        }
    }
}

/// The section `retries`: asking the same target again within a call, when nobody else is left.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Requests to one target in one call, the first included.
    pub attempts: u32,
    /// So many requests beside the first ones, of a hundred of those, by target.
    pub budget_percent: u32,
    pub base_ms: u64,
    /// Nobody is waited for longer.
    pub max_ms: u64,
}

impl Default for RetryConfig {
    fn default() -> RetryConfig {
        let RetryRules { attempts, budget_percent, base_ms, max_ms } = RetryRules::default();
        RetryConfig { attempts, budget_percent, base_ms, max_ms }
    }
}

impl RetryConfig {
    pub fn rules(&self) -> RetryRules {
        let RetryConfig { attempts, budget_percent, base_ms, max_ms } = *self;
        RetryRules { attempts, budget_percent, base_ms, max_ms }
    }

    fn check(&self, fault: &mut dyn FnMut(String, String)) {
        for (name, value, least, most) in [
            ("attempts", u64::from(self.attempts), 1, 10),
            ("budget_percent", u64::from(self.budget_percent), 0, 100),
            ("base_ms", self.base_ms, 1, self.max_ms.max(1)),
            ("max_ms", self.max_ms, 1, 60_000),
        ] {
            if !(least..=most).contains(&value) {
                fault(format!("retries.{name}"), format!("must be {least} to {most}"));
            }
        }
    }
}

/// What the types cannot say.
pub fn check(models: &[ModelConfig], retries: &RetryConfig, fault: &mut dyn FnMut(String, String)) {
    retries.check(fault);
    for (i, model) in models.iter().enumerate() {
        for (j, target) in model.targets.iter().enumerate() {
            if target.weight == 0 || target.weight > 1_000_000 {
                let message = "must be 1 to 1000000; leave the target out where it is to get nothing".to_owned();
                fault(format!("models[{i}].targets[{j}].weight"), message);
            }
        }
        if let Some(Err((member, message))) = model.hedge.as_ref().map(HedgeConfig::read) {
            fault(format!("models[{i}].hedge{member}"), message);
        }
    }
}

/// How calls for one of our names find their way.
#[derive(Debug, Default)]
pub struct ModelRouting {
    pub routing: Routing,
    /// Names of models that are asked for a reason.
    pub instead: Vec<(String, Instead)>,
}

impl ModelRouting {
    /// Of a checked configuration; `aliases` are the names that fallbacks may mean beside targets.
    ///
    /// # Errors
    /// Each fallback that is neither, with its path within the model.
    pub fn build(
        model: &ModelConfig,
        fleet: &Fleet,
        aliases: &dyn Fn(&str) -> bool,
    ) -> Result<ModelRouting, Vec<(String, String)>> {
        let weights = model.targets.iter().map(|it| (it.target.clone(), it.weight)).collect();
        let hedge = model.hedge.as_ref().and_then(|it| it.read().ok());
        let mut instead = Vec::new();
        let mut faults = Vec::new();
        for (member, names, why) in [
            ("context_fallbacks", &model.context_fallbacks, Instead::TooLong),
            ("content_filter_fallbacks", &model.content_filter_fallbacks, Instead::Filtered),
        ] {
            for (j, name) in names.iter().enumerate() {
                if *name == model.id {
                    faults.push((format!("{member}[{j}]"), format!("'{name}' is this model itself")));
                } else if aliases(name) || fleet.target(name).is_some() {
                    instead.push((name.clone(), why));
                } else {
                    let message = format!("'{name}' is neither a model of this file nor one that a provider can serve");
                    faults.push((format!("{member}[{j}]"), message));
                }
            }
        }
        let routing = Routing { strategy: model.strategy, weights, hedge };
        if faults.is_empty() { Ok(ModelRouting { routing, instead }) } else { Err(faults) }
    }
}

/// Whether a policy left the configured order as it was: what it chose from it stands in that order still.
pub fn is_untouched<'a>(chosen: &[String], configured: impl Iterator<Item = &'a Arc<Target>>) -> bool {
    let mut chosen = chosen.iter().peekable();
    for target in configured {
        if chosen.peek().is_some_and(|name| **name == target.name) {
            chosen.next();
        }
    }
    chosen.peek().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn faults(models: &str) -> Vec<String> {
        let text = format!("providers: [{{ id: sim, kind: sim }}]\n{models}");
        let loaded = config::parse("alfred.yaml", &text, &[]);
        let mut found = loaded.faults;
        found.extend(crate::snapshot::routes("alfred.yaml", &loaded.config, &|_| None).err().into_iter().flatten());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_with_a_model_or_the_retries_is_told_with_its_place() {
        for (text, part) in [
            (
                "models: [{ id: a, targets: [sim/echo], strategy: fastest }]",
                "models[0].strategy: unknown variant `fastest`",
            ),
            (
                "models: [{ id: a, targets: [{ target: sim/echo, weight: 0 }] }]",
                "models[0].targets[0].weight: must be 1",
            ),
            ("models: [{ id: a, targets: [{ target: sim/echo, share: 1 }] }]", "models[0].targets[0]"),
            ("models: [{ id: a, targets: [{ target: nowhere/x }] }]", "models[0].targets[0]: 'nowhere/x'"),
            (
                "models: [{ id: a, targets: [sim/echo], context_fallbacks: [b] }]",
                "models[0].context_fallbacks[0]: 'b' is neither",
            ),
            ("models: [{ id: a, targets: [sim/echo], content_filter_fallbacks: [a] }]", "'a' is this model itself"),
            (
                "models: [{ id: a, targets: [sim/echo], hedge: { most_percent: 5 } }]",
                "models[0].hedge: give exactly one",
            ),
            (
                "models: [{ id: a, targets: [sim/echo], hedge: { after_ms: 0 } }]",
                "models[0].hedge.after_ms: must be above 0",
            ),
            ("models: [{ id: a, targets: [sim/echo], hedge: { after: p50 } }]", "models[0].hedge.after"),
            (
                "models: [{ id: a, targets: [sim/echo], hedge: { after: p95, most_percent: 0 } }]",
                "hedge.most_percent: must be 1",
            ),
            ("retries: { attempts: 0 }", "retries.attempts: must be 1 to 10"),
            ("retries: { base_ms: 500, max_ms: 400 }", "retries.base_ms: must be 1 to 400"),
            ("retries: { budget_percent: 101 }", "retries.budget_percent: must be 0 to 100"),
            ("retries: { max_ms: 60001 }", "retries.max_ms: must be 1 to 60000"),
            ("retries: { tries: 1 }", "retries.tries: unknown field"),
        ] {
            let found = faults(text);
            assert!(found.iter().any(|it| it.contains(part)), "{text}: {found:?}");
            assert!(found.iter().all(|it| it.starts_with("alfred.yaml")), "{found:?}");
        }
    }

    #[test]
    fn a_model_is_read_with_all_that_it_may_say() {
        let text = "models:\n  - id: b\n    targets: [sim/echo]\n  - id: a\n    strategy: least_busy\n    targets: [sim/echo, { target: sim/slow, weight: 3 }]\n    context_fallbacks: [b]\n    content_filter_fallbacks: [sim/echo]\n    hedge: { after: p95, most_percent: 7 }\nretries: { attempts: 3 }\n";
        assert_eq!(faults(text), Vec::<String>::new());
        let text = format!("providers: [{{ id: sim, kind: sim }}]\n{text}");
        let config = config::parse("alfred.yaml", &text, &[]).config;
        let routes = crate::snapshot::routes("alfred.yaml", &config, &|_| None).expect("routes");
        let model = &routes.routing["a"];
        assert_eq!(model.routing.strategy, Strategy::LeastBusy);
        assert_eq!(model.routing.weights, [("sim/echo".to_owned(), 1), ("sim/slow".to_owned(), 3)]);
        assert_eq!(model.routing.hedge, Some(Hedge { after: After::P95, most_percent: 7 }));
        assert_eq!(model.instead, [("b".to_owned(), Instead::TooLong), ("sim/echo".to_owned(), Instead::Filtered)]);
        assert_eq!(routes.retries, RetryRules { attempts: 3, ..RetryRules::default() });
    }

    #[test]
    fn an_order_is_untouched_where_what_is_left_of_it_stands_as_it_stood() {
        let providers: Vec<providers::ProviderConfig> =
            serde_yaml_ng::from_str("[{id: up, kind: vllm, models: [{id: a}, {id: b}, {id: c}]}]").expect("providers");
        let fleet = Fleet::build(&providers, &|_| None).expect("a fleet");
        let all: Vec<_> = ["up/a", "up/b", "up/c"].iter().map(|it| fleet.target(it).expect("a target")).collect();
        for (chosen, untouched) in [("abc", true), ("ac", true), ("c", true), ("", true), ("ba", false), ("ca", false)]
        {
            let chosen: Vec<_> = chosen.chars().map(|it| format!("up/{it}")).collect();
            assert_eq!(is_untouched(&chosen, all.iter()), untouched, "{chosen:?}");
        }
    }
}
