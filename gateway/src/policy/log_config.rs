//! The section `policies.log` of the configuration: whether and for how long decisions stay on record.

use serde::Deserialize;

/// The longest that they may be kept, in days: ten years.
const MOST_DAYS: u32 = 3_650;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionLogConfig {
    /// Whether decisions are written down.
    pub enabled: bool,
    /// For how many days.
    #[serde(deserialize_with = "days")]
    pub keep_days: u32,
}

impl Default for DecisionLogConfig {
    fn default() -> DecisionLogConfig {
        DecisionLogConfig { enabled: true, keep_days: 30 }
    }
}

fn days<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let days = u32::deserialize(deserializer)?;
    let fits = (1..=MOST_DAYS).contains(&days);
    fits.then_some(days).ok_or_else(|| serde::de::Error::custom(format!("must be 1 to {MOST_DAYS} days")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_kept_for_a_while_unless_somebody_says_otherwise() {
        for (text, read) in [
            ("{}", Some((true, 30))),
            ("{enabled: false}", Some((false, 30))),
            ("{keep_days: 3650}", Some((true, 3_650))),
            ("{keep_days: 0}", None),
            ("{keep_days: 3651}", None),
            ("{keep: 7}", None),
        ] {
            let config: Result<DecisionLogConfig, _> = serde_yaml_ng::from_str(text);
            assert_eq!(config.ok().map(|it| (it.enabled, it.keep_days)), read, "{text}");
        }
    }
}
