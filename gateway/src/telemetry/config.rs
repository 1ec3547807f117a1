//! The `telemetry:` section, and the standard environment variables of OpenTelemetry where it is silent.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use serde::Deserialize;

use super::context::Sampler;
use crate::alerts::Source;
use crate::config::{Config, Fault};

/// What is measured of calls, and who is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Where traces go; nowhere, if neither this nor the environment says.
    pub otlp: OtlpConfig,
    pub service_name: Option<String>,
    /// Attributes of this process, beside its name.
    pub resource: BTreeMap<String, String>,
    /// The share of calls whose traces are kept whatever comes of them.
    pub sample_ratio: f64,
    /// Whether a client's own decision counts.
    pub parent: ParentConfig,
    /// What is kept beside that share.
    pub always: Vec<Always>,
    /// A call that takes longer is told in a line of the log; none, if left out.
    pub slow_call_ms: Option<u64>,
    /// Which providers are told what trace a call belongs to.
    pub propagate: Propagate,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig {
            otlp: OtlpConfig::default(),
            service_name: None,
            resource: BTreeMap::new(),
            sample_ratio: 1.0,
            parent: ParentConfig::Ignore,
            always: vec![Always::Errors, Always::Slow],
            slow_call_ms: None,
            propagate: Propagate::All(false),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// The collector's base address, as in `http://127.0.0.1:4318`.
    pub endpoint: Option<String>,
    pub headers: BTreeMap<String, Source>,
    pub timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParentConfig {
    /// Clients name the trace, and have no say in whether it is kept.
    Ignore,
    /// A client's `sampled` flag decides.
    Follow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Always {
    Errors,
    Slow,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Propagate {
    All(bool),
    /// To these providers alone.
    Only(Vec<String>),
}

impl Propagate {
    pub fn to(&self, provider: &str) -> bool {
        match self {
            Propagate::All(all) => *all,
            Propagate::Only(some) => some.iter().any(|it| it == provider),
        }
    }
}

/// Which calls have a line of their own in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallLog {
    #[default]
    Off,
    /// Those that failed by no fault of their client.
    Errors,
    All,
}

/// What was found good.
#[derive(Debug, Clone)]
pub struct Settings {
    pub collector: Option<Collector>,
    pub sampler: Sampler,
    pub keeps_errors: bool,
    pub keeps_slow: bool,
    pub slow: Option<Duration>,
    pub propagate: Propagate,
    pub calls: CallLog,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            collector: None,
            sampler: Sampler::new(1.0, false),
            keeps_errors: true,
            keeps_slow: true,
            slow: None,
            propagate: Propagate::All(false),
            calls: CallLog::Off,
        }
    }
}

/// Where traces go, and in whose name.
#[derive(Debug, Clone)]
pub struct Collector {
    pub url: Url,
    /// Marked as sensitive: they are not shown.
    pub headers: HeaderMap,
    pub timeout: Duration,
    pub resource: BTreeMap<String, String>,
}

/// Reads everything that the section names.
///
/// # Errors
/// Every fault found.
pub fn settings(file: &str, config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Vec<Fault>> {
    let said = &config.telemetry;
    let mut reader = Reader { file, env, faults: Vec::new() };
    if !(0.0..=1.0).contains(&said.sample_ratio) {
        reader.fault("telemetry.sample_ratio", "must be between 0 and 1");
    }
    if said.slow_call_ms == Some(0) {
        reader.fault("telemetry.slow_call_ms", "must be above 0; leave it out for no such lines");
    }
    if let Propagate::Only(some) = &said.propagate {
        for (i, id) in some.iter().enumerate() {
            if !config.providers.iter().any(|provider| provider.id == *id) {
                reader.fault(&format!("telemetry.propagate[{i}]"), &format!("'{id}' is no configured provider"));
            }
        }
    }
    let collector = reader.collector(said);
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    Ok(Settings {
        collector,
        sampler: Sampler::new(said.sample_ratio, said.parent == ParentConfig::Follow),
        keeps_errors: said.always.contains(&Always::Errors),
        keeps_slow: said.always.contains(&Always::Slow),
        slow: said.slow_call_ms.map(Duration::from_millis),
        propagate: said.propagate.clone(),
        calls: config.log.calls,
    })
}

struct Reader<'a> {
    file: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, path: &str, message: &str) {
        // What stands in the environment has no line in the file.
        let file = if path.starts_with("OTEL_") { "(environment)" } else { self.file };
        self.faults.push(Fault {
            file: file.to_owned(),
            line: None,
            path: path.to_owned(),
            message: message.to_owned(),
        });
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|text| !text.trim().is_empty())
    }

    fn collector(&mut self, said: &TelemetryConfig) -> Option<Collector> {
        let (path, base, whole) = match &said.otlp.endpoint {
            Some(text) => ("telemetry.otlp.endpoint", text.clone(), false),
            None if self.variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true")) => {
                return None;
            }
            None => match (
                self.variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
                self.variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
            ) {
                (Some(text), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text, true),
                (None, Some(text)) => ("OTEL_EXPORTER_OTLP_ENDPOINT", text, false),
                (None, None) => return None,
            },
        };
        let url = self.url(path, &base, whole);
        let headers = self.headers(said);
        if let (Some(url), false) = (&url, headers.is_empty())
            && url.scheme() == "http"
            && !is_this_machine(url)
        {
            self.fault(path, "must begin with https:// where headers are sent: http:// would show them to the network");
        }
        let timeout = match said.otlp.timeout_ms {
            Some(ms) if !(1..=60_000).contains(&ms) => {
                self.fault("telemetry.otlp.timeout_ms", "must be between 1 and 60000");
                Duration::ZERO
            }
            ms => Duration::from_millis(ms.unwrap_or(5_000)),
        };
        Some(Collector { url: url?, headers, timeout, resource: self.resource(said) })
    }

    /// The address is not repeated: a name and a password may be a part of it.
    fn url(&mut self, path: &str, text: &str, whole: bool) -> Option<Url> {
        match Url::parse(text.trim()) {
            Err(_) => self.fault(path, "is no address such as http://127.0.0.1:4318"),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                self.fault(path, "must begin with https:// or http://: traces are sent as OTLP over HTTP, not gRPC");
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.fault(path, "must not hold a name or a password: use headers");
            }
            Ok(mut url) => {
                let own = url.path().trim_end_matches('/').to_owned();
                if !whole && !own.ends_with("/v1/traces") {
                    url.set_path(&format!("{own}/v1/traces"));
                }
                return Some(url);
            }
        }
        None
    }

    fn headers(&mut self, said: &TelemetryConfig) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, source) in &said.otlp.headers {
            let path = format!("telemetry.otlp.headers.{name}");
            match source.read(self.env) {
                Ok(secret) => self.header(&mut headers, &path, name, secret.expose()),
                Err(message) => self.fault(&path, &message),
            }
        }
        const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
        if let (true, Some(text)) = (said.otlp.headers.is_empty(), self.variable(VARIABLE)) {
            for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
                match pair.split_once('=') {
                    Some((name, value)) => self.header(&mut headers, VARIABLE, name.trim(), &unescaped(value.trim())),
                    None => self.fault(VARIABLE, "must be name=value, separated by commas"),
                }
            }
        }
        headers
    }

    fn header(&mut self, headers: &mut HeaderMap, path: &str, name: &str, value: &str) {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (Err(_), _) => self.fault(path, "is no name of a header"),
            (_, Err(_)) => self.fault(path, "has a value that no header can carry"),
        }
    }

    fn resource(&mut self, said: &TelemetryConfig) -> BTreeMap<String, String> {
        const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let mut all = BTreeMap::new();
        for pair in self.variable(VARIABLE).iter().flat_map(|text| text.split(',')).filter(|it| !it.trim().is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) => drop(all.insert(name.trim().to_owned(), unescaped(value.trim()))),
                None => self.fault(VARIABLE, "must be name=value, separated by commas"),
            }
        }
        all.extend(said.resource.clone());
        let name = said.service_name.clone().or_else(|| self.variable("OTEL_SERVICE_NAME"));
        let name = name.or_else(|| all.remove("service.name")).unwrap_or_else(|| "alfred".to_owned());
        all.insert("service.name".to_owned(), name);
        all.insert("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        all
    }
}

/// `%41` is `A`: values are written as in W3C Baggage.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let mut byte = [0];
        if *first == b'%' && more.len() >= 2 && hex::decode_to_slice(&more[..2], &mut byte).is_ok() {
            bytes.push(byte[0]);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str, environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let config = crate::config::parse("alfred.yaml", yaml, &[]);
        assert!(config.faults.is_empty(), "{:?}", config.faults);
        let env = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, it)| (*it).to_owned());
        settings("alfred.yaml", &config.config, &env).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_said_means_no_traces_and_the_environment_may_say_where() {
        assert!(read("", &[]).expect("good").collector.is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        let named = [base, ("OTEL_SERVICE_NAME", "house"), ("OTEL_RESOURCE_ATTRIBUTES", "a=b%20c,service.name=other")];
        let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%3D1");
        for (yaml, environment, url, service, headers) in [
            ("", &[base][..], "http://127.0.0.1:4318/v1/traces", "alfred", 0),
            ("", &named, "http://127.0.0.1:4318/v1/traces", "house", 0),
            ("", &[base, secret], "http://127.0.0.1:4318/v1/traces", "alfred", 1),
            ("", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/x")], "http://a/x", "alfred", 0),
            ("telemetry: {otlp: {endpoint: 'http://b/in/'}}", &[base], "http://b/in/v1/traces", "alfred", 0),
            (
                "telemetry: {service_name: mine, otlp: {endpoint: 'http://b/v1/traces'}}",
                &named,
                "http://b/v1/traces",
                "mine",
                0,
            ),
        ] {
            let collector = read(yaml, environment).expect("good").collector.expect("a collector");
            assert_eq!((collector.url.as_str(), collector.resource["service.name"].as_str()), (url, service));
            assert_eq!(collector.headers.len(), headers);
            assert!(!format!("{collector:?}").contains("s=1"), "a secret shows");
        }
        let off = [base, ("OTEL_SDK_DISABLED", "true")];
        assert!(read("", &off).expect("good").collector.is_none());
    }

    #[test]
    fn every_fault_says_where() {
        for (yaml, environment, path) in [
            ("telemetry: {sample_ratio: 1.5}", &[][..], "telemetry.sample_ratio"),
            ("telemetry: {slow_call_ms: 0}", &[], "telemetry.slow_call_ms"),
            ("telemetry: {propagate: [nobody]}", &[], "telemetry.propagate[0]"),
            ("telemetry: {otlp: {endpoint: 'grpc://x'}}", &[], "telemetry.otlp.endpoint"),
            ("telemetry: {otlp: {endpoint: 'http://a:b@x'}}", &[], "telemetry.otlp.endpoint"),
            ("telemetry: {otlp: {endpoint: 'http://x', timeout_ms: 0}}", &[], "telemetry.otlp.timeout_ms"),
            (
                "telemetry: {otlp: {endpoint: 'http://x', headers: {k: {env: NOT_SET}}}}",
                &[],
                "telemetry.otlp.headers.k",
            ),
            (
                "telemetry: {otlp: {endpoint: 'http://x', headers: {k: {env: K}}}}",
                &[("K", "v")],
                "telemetry.otlp.endpoint",
            ),
            ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ] {
            let faults = read(yaml, environment).expect_err(yaml);
            assert!(faults.len() == 1 && faults[0].contains(&format!(": {path}: ")), "{yaml}: {faults:?}");
        }
    }
}
