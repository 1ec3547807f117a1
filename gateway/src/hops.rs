//! Where else than at its target a call's content may come to rest: the section `regions`, and what a bound on regions makes of it.
//!
//! A place whose region was not said lies outside of every bound: nobody knows where it is. The one exception is this process itself.
//! Every call passes through it, so that a bound would else refuse all of them on the day that it is set, and whoever runs the process
//! knows where it runs; once its region is said, it is held to it like any other.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::alerts::SinkConfig;

/// Where what is not a target lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegionConfig {
    /// This process, and the answers that it keeps in its memory.
    pub process: Option<String>,
    /// The ledger's database, and with it the log of decisions.
    pub database: Option<String>,
    /// Whoever is sent the traces.
    pub telemetry: Option<String>,
    /// Those who are sent alerts, by the name of the sink.
    pub alerts: BTreeMap<String, String>,
}

impl RegionConfig {
    /// What the types cannot say.
    pub fn check(&self, alerts: &[SinkConfig], fault: &mut dyn FnMut(String, String)) {
        let single = [("process", &self.process), ("database", &self.database), ("telemetry", &self.telemetry)];
        let single = single.into_iter().filter_map(|(name, region)| Some((name.to_owned(), region.as_ref()?)));
        for (path, region) in single.chain(self.alerts.iter().map(|(id, region)| (format!("alerts.{id}"), region))) {
            if region.is_empty() || region.len() > 64 {
                fault(format!("regions.{path}"), "must have 1 to 64 characters, or be left out".to_owned());
            }
        }
        for id in self.alerts.keys().filter(|id| !alerts.iter().any(|sink| sink.id == **id)) {
            fault(format!("regions.alerts.{id}"), "there is no sink of that name under 'alerts'".to_owned());
        }
    }

    /// Every hop by its name, as rules see it; empty where nothing was said.
    pub fn hops(&self, alerts: &[SinkConfig]) -> BTreeMap<String, String> {
        let said = |region: &Option<String>| region.clone().unwrap_or_default();
        let own = [
            ("process", said(&self.process)),
            ("cache", said(&self.process)),
            ("database", said(&self.database)),
            ("telemetry", said(&self.telemetry)),
        ];
        let sinks = alerts
            .iter()
            .map(|sink| (format!("alerts.{}", sink.id), self.alerts.get(&sink.id).cloned().unwrap_or_default()));
        own.into_iter().map(|(name, region)| (name.to_owned(), region)).chain(sinks).collect()
    }
}

/// The hops that lie outside of what a call is bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outside {
    pub process: bool,
    pub cache: bool,
    pub database: bool,
    pub telemetry: bool,
}

impl Outside {
    /// Of a call that was refused for where it would have gone: nobody knows any more what would have been inside.
    pub const EVERY: Outside = Outside { process: true, cache: true, database: true, telemetry: true };

    /// Of a call that is bound to these regions, or to none.
    pub fn of(hops: &BTreeMap<String, String>, bound: Option<&[String]>) -> Outside {
        let Some(bound) = bound else { return Outside::default() };
        let region = |hop: &str| hops.get(hop).map(String::as_str).unwrap_or_default();
        let lies_outside = |hop: &str| region(hop).is_empty() || !bound.iter().any(|inside| inside == region(hop));
        Outside {
            process: !region("process").is_empty() && lies_outside("process"),
            cache: lies_outside("cache"),
            database: lies_outside("database"),
            telemetry: lies_outside("telemetry"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_was_not_said_lies_outside_but_for_the_process_itself() {
        let hops = |text: &str| config::parse("alfred.yaml", text, &[]).config.regions.hops(&[]);
        let said = hops("regions: { process: eu, database: us }");
        let eu = ["eu".to_owned(), "ch".to_owned()];
        for (hops, bound, outside) in [
            (&said, None, Outside::default()),
            (&said, Some(&eu[..]), Outside { database: true, telemetry: true, ..Outside::default() }),
            (&said, Some(&eu[1..]), Outside::EVERY),
            (&said, Some(&[][..]), Outside::EVERY),
            (&hops(""), Some(&eu[..]), Outside { process: false, ..Outside::EVERY }),
            (&hops(""), None, Outside::default()),
        ] {
            assert_eq!(Outside::of(hops, bound), outside, "{hops:?} {bound:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_regions_is_told_with_its_place() {
        for (text, part) in [
            ("regions: { proces: eu }", "regions.proces: unknown field"),
            ("regions: { process: '' }", "regions.process: must have 1 to 64"),
            ("regions: { alerts: { ops: eu } }", "regions.alerts.ops: there is no sink"),
            ("regions: { process: [eu] }", "regions.process: "),
        ] {
            let faults = config::parse("alfred.yaml", text, &[]).faults;
            let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|it| it.contains(part)), "{text}: {told:?}");
        }
    }
}
