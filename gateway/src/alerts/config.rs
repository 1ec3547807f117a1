//! The `alerts:` section of the configuration: whom to tell, of what, and by which means. Every fault has its place.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ledger::{Id, Org, alert};
use providers::Secret;
use reqwest::Url;
use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::mail::{Mailer, Post, Tls};
use super::sink::{Means, Sink};
use crate::config::Fault;

/// Somebody to be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// The name that deliveries are listed under. A new name is a new sink.
    pub id: String,
    pub kind: MeansConfig,
    /// Only these organisations' alerts; all, if left out.
    pub orgs: Option<Vec<String>>,
    /// Only these events; all, if left out.
    pub events: Option<Vec<String>>,
    /// Where a webhook is. May be secret itself, as Slack's are.
    pub url: Option<Word>,
    /// What a webhook's body is signed with.
    pub secret: Option<Source>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub tls: Option<Tls>,
    pub user: Option<String>,
    pub password: Option<Source>,
    pub from: Option<String>,
    #[serde(default)]
    pub to: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeansConfig {
    /// JSON, signed with HMAC-SHA256.
    Webhook,
    /// `{"text": …}`, as Slack and those compatible with it take it.
    Slack,
    Smtp,
}

/// Where a secret is. Exactly one of the two.
#[derive(Debug, Clone)]
pub struct Source(Place);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    env: Option<String>,
    file: Option<PathBuf>,
}

impl Source {
    /// The secret itself.
    ///
    /// # Errors
    /// Why it cannot be had, as it follows the path in a fault.
    pub fn read(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Secret, String> {
        let text = match (&self.0.env, &self.0.file) {
            (Some(name), None) => env(name).ok_or_else(|| format!("the environment variable {name} is not set")),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map_err(|error| format!("the file {} cannot be read: {}", file.display(), error.kind())),
            _ => Err("give exactly one of env and file".to_owned()),
        };
        match text.map(Secret::new)? {
            secret if secret.expose().trim().is_empty() => Err("is empty".to_owned()),
            secret => Ok(Secret::new(secret.expose().trim())),
        }
    }
}

/// A text that may stand in the configuration, or be somewhere else.
#[derive(Clone)]
pub enum Word {
    Here(String),
    There(Source),
}

/// What stands here may be a secret all the same, as the addresses of Slack are.
impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Word::Here(_) => f.write_str("Here(…)"),
            Word::There(source) => f.debug_tuple("There").field(source).finish(),
        }
    }
}

/// The usual slip is the secret itself in this place: the error must not repeat it.
impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Word::deserialize(deserializer)? {
            Word::There(source) => Ok(source),
            Word::Here(_) => Err(D::Error::custom(
                "a secret must not stand in the configuration itself: use { env: VARIABLE } or { file: PATH }",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Word;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("{ env: VARIABLE } or { file: PATH }")
            }

            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(Word::Here(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Word, A::Error> {
                Place::deserialize(MapAccessDeserializer::new(map)).map(|place| Word::There(Source(place)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads everything that the section names.
///
/// # Errors
/// Every fault found.
pub fn sinks(
    file: &str,
    configured: &[SinkConfig],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Sink>, Vec<Fault>> {
    let mut reader = Reader { file, env, faults: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut sinks = Vec::new();
    for (i, sink) in configured.iter().enumerate() {
        let path = format!("alerts[{i}]");
        let in_form = sink.id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !in_form || !(1..=64).contains(&sink.id.len()) {
            reader.fault(&path, "id", "must have 1 to 64 letters, digits, '-', '_' or '.'");
        }
        if !seen.insert(sink.id.as_str()) {
            reader.fault(&path, "id", &format!("'{}' is there twice", sink.id));
        }
        let orgs = reader.orgs(&path, sink);
        let events = reader.events(&path, sink);
        if let Some(means) = reader.means(&path, sink) {
            sinks.push(Sink { id: sink.id.clone(), orgs, events, means });
        }
    }
    if reader.faults.is_empty() { Ok(sinks) } else { Err(reader.faults) }
}

struct Reader<'a> {
    file: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, path: &str, member: &str, message: &str) {
        let path = format!("{path}.{member}");
        self.faults.push(Fault { file: self.file.to_owned(), line: None, path, message: message.to_owned() });
    }

    fn orgs(&mut self, path: &str, sink: &SinkConfig) -> Option<BTreeSet<Id<Org>>> {
        let orgs = sink.orgs.as_ref()?.iter().enumerate();
        let read = orgs.filter_map(|(i, text)| match text.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.fault(path, &format!("orgs[{i}]"), &format!("is {error}"));
                None
            }
        });
        Some(read.collect())
    }

    fn events(&mut self, path: &str, sink: &SinkConfig) -> Option<BTreeSet<String>> {
        let events = sink.events.as_ref()?.iter().enumerate();
        let read = events.filter_map(|(i, word)| {
            let known = alert::KINDS.contains(&word.as_str());
            if !known {
                let kinds = alert::KINDS.join(", ");
                self.fault(path, &format!("events[{i}]"), &format!("'{word}' is no event; known are {kinds}"));
            }
            known.then(|| word.clone())
        });
        Some(read.collect())
    }

    fn means(&mut self, path: &str, sink: &SinkConfig) -> Option<Means> {
        let of_mail = [
            ("host", sink.host.is_some()),
            ("port", sink.port.is_some()),
            ("tls", sink.tls.is_some()),
            ("user", sink.user.is_some()),
            ("password", sink.password.is_some()),
            ("from", sink.from.is_some()),
            ("to", !sink.to.is_empty()),
        ];
        let of_web = [("url", sink.url.is_some())];
        let of_signed = [("secret", sink.secret.is_some())];
        let (foreign, name): (Vec<_>, _) = match sink.kind {
            MeansConfig::Webhook => (of_mail.to_vec(), "webhook"),
            MeansConfig::Slack => (of_mail.into_iter().chain(of_signed).collect(), "slack"),
            MeansConfig::Smtp => (of_web.into_iter().chain(of_signed).collect(), "smtp"),
        };
        for (member, _) in foreign.into_iter().filter(|(_, given)| *given) {
            self.fault(path, member, &format!("means nothing to a sink of kind {name}"));
        }
        match sink.kind {
            MeansConfig::Webhook => {
                let url = self.url(path, sink);
                let secret = self.needed(path, "secret", sink.secret.as_ref(), "to sign with");
                let (url, secret) = (url?, secret?);
                Some(Means::Webhook { http: self.client(path)?, url, secret })
            }
            MeansConfig::Slack => {
                let url = self.url(path, sink)?;
                Some(Means::Slack { http: self.client(path)?, url })
            }
            MeansConfig::Smtp => self.mailer(path, sink).map(|mailer| Means::Smtp(Box::new(mailer))),
        }
    }

    fn url(&mut self, path: &str, sink: &SinkConfig) -> Option<Url> {
        let text = match &sink.url {
            None => {
                self.fault(path, "url", "is needed: where to send to");
                return None;
            }
            Some(Word::Here(text)) => Secret::new(text.as_str()),
            Some(Word::There(source)) => self.read(path, "url", source)?,
        };
        // The address is not repeated: it may be a secret.
        match Url::parse(text.expose()) {
            Err(_) => self.fault(path, "url", "is no URL such as https://example.com/alerts"),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                self.fault(path, "url", "must begin with https:// or http://");
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.fault(path, "url", "must not hold a name or a password");
            }
            Ok(url) if is_link_local(&url) => {
                self.fault(path, "url", "must not name a link-local address, where clouds keep their credentials");
            }
            Ok(url) if url.scheme() == "http" && !is_this_machine(&url) => {
                self.fault(path, "url", "must begin with https://: http:// is for this machine alone");
            }
            Ok(url) => return Some(url),
        }
        None
    }

    fn client(&mut self, path: &str) -> Option<reqwest::Client> {
        let built = super::sink::client();
        if built.is_err() {
            self.fault(path, "url", "cannot be spoken to securely: this system has no certificates to trust");
        }
        built.ok()
    }

    fn mailer(&mut self, path: &str, sink: &SinkConfig) -> Option<Mailer> {
        let before = self.faults.len();
        if sink.host.as_deref().is_none_or(str::is_empty) {
            self.fault(path, "host", "is needed: the mail server");
        }
        if sink.from.is_none() {
            self.fault(path, "from", "is needed: the address to send from");
        }
        if sink.to.is_empty() {
            self.fault(path, "to", "must name at least one address");
        }
        if sink.user.is_some() != sink.password.is_some() {
            self.fault(path, "user", "and password come together");
        }
        let password = match &sink.password {
            Some(source) => self.read(path, "password", source),
            None => None,
        };
        if self.faults.len() > before {
            return None;
        }
        let post = Post {
            host: sink.host.clone()?,
            port: sink.port,
            tls: sink.tls.unwrap_or_default(),
            login: sink.user.clone().zip(password),
            from: sink.from.clone()?,
            to: sink.to.clone(),
        };
        match Mailer::new(post) {
            Ok(mailer) => Some(mailer),
            Err((member, message)) => {
                self.fault(path, &member, &message);
                None
            }
        }
    }

    fn needed(&mut self, path: &str, member: &str, source: Option<&Source>, what_for: &str) -> Option<Secret> {
        match source {
            Some(source) => self.read(path, member, source),
            None => {
                self.fault(path, member, &format!("is needed {what_for}: {{ env: VARIABLE }} or {{ file: PATH }}"));
                None
            }
        }
    }

    fn read(&mut self, path: &str, member: &str, source: &Source) -> Option<Secret> {
        source.read(self.env).map_err(|message| self.fault(path, member, &message)).ok()
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_link_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local() || address.to_ipv4_mapped().is_some_and(|it| it.is_link_local())
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<Sink>, Vec<String>> {
        let loaded = crate::config::parse("alfred.yaml", yaml, &[]);
        let mut faults: Vec<String> = loaded.faults.iter().map(ToString::to_string).collect();
        let env = |name: &str| match name {
            "HOOK" => Some("hush\n".to_owned()),
            "CHAT" => Some("https://chat.example.com/services/T0/B0/canary".to_owned()),
            "BLANK" => Some(" ".to_owned()),
            _ => None,
        };
        match sinks("alfred.yaml", &loaded.config.alerts, &env) {
            Ok(sinks) if faults.is_empty() => Ok(sinks),
            Ok(_) => Err(faults),
            Err(found) => {
                faults.extend(found.iter().map(ToString::to_string));
                Err(faults)
            }
        }
    }

    #[test]
    fn a_sink_of_each_kind_is_read() {
        let sinks = read(
            "alerts:\n  - { id: ops, kind: webhook, url: 'https://example.com/a', secret: { env: HOOK }, events: [breaker] }\n  \
             - { id: chat, kind: slack, url: { env: CHAT }, orgs: [org_00000000000000000000000000000001] }\n  \
             - { id: mail, kind: smtp, host: 127.0.0.1, port: 2525, tls: none, from: alfred@example.com, to: [ops@example.com] }\n",
        )
        .expect("no faults");
        let ids: Vec<&str> = sinks.iter().map(|sink| sink.id.as_str()).collect();
        assert_eq!(ids, ["ops", "chat", "mail"]);
        assert!(!format!("{:?}", sinks[1]).contains("canary"), "{:?}", sinks[1]);
    }

    #[test]
    fn every_fault_names_its_place_and_repeats_no_secret() {
        let check = |sink: &str, expected: &str| {
            let faults = read(&format!("alerts:\n  - {{ id: a, {sink} }}\n")).expect_err(sink);
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected} in {faults:#?}");
            assert!(!faults.iter().any(|fault| fault.contains("canary")), "{faults:#?}");
        };
        let hook = "kind: webhook, secret: { env: HOOK }";
        check("kind: pigeon", "alerts[0].kind: unknown variant `pigeon`");
        check(&format!("{hook}, color: red, url: 'https://a.example'"), "alerts[0]");
        check(hook, "alerts[0].url: is needed");
        check(&format!("{hook}, url: 'ftp://a.example'"), "alerts[0].url: must begin with https://");
        check(&format!("{hook}, url: 'https://me:canary@a.example'"), "alerts[0].url: must not hold a name");
        check(&format!("{hook}, url: 'http://169.254.169.254/latest'"), "alerts[0].url: must not name a link-local");
        check(&format!("{hook}, url: 'http://a.example/canary'"), "alerts[0].url: must begin with https://: http://");
        check("kind: slack, url: 'http://10.0.0.1/canary'", "alerts[0].url: must begin with https://: http://");
        check(&format!("{hook}, url: canary"), "alerts[0].url: is no URL");
        check("kind: webhook, url: 'https://a.example'", "alerts[0].secret: is needed");
        check("kind: webhook, url: 'https://a.example', secret: canary", "must not stand in the configuration");
        check("kind: webhook, url: 'https://a.example', secret: { env: NONE }", "variable NONE is not set");
        check("kind: webhook, url: 'https://a.example', secret: { env: BLANK }", "alerts[0].secret: is empty");
        check("kind: webhook, url: 'https://a.example', secret: { file: /no/where }", "file /no/where cannot be read");
        check("kind: webhook, url: 'https://a.example', secret: { env: A, file: b }", "exactly one of env and file");
        check("kind: slack, url: 'https://a.example', secret: { env: HOOK }", "means nothing to a sink of kind slack");
        check(&format!("{hook}, url: 'https://a.example', events: [fire]"), "events[0]: 'fire' is no event");
        check(&format!("{hook}, url: 'https://a.example', orgs: [acme]"), "orgs[0]: is not an id");
        let mail = "kind: smtp, host: mail.example.com, from: a@example.com";
        check(mail, "alerts[0].to: must name");
        check(&format!("{mail}, to: [nobody]"), "alerts[0].to[0]: is no address");
        check(&format!("{mail}, to: [b@example.com], user: x"), "alerts[0].user: and password come together");
        check(&format!("{mail}, to: [b@example.com], tls: none"), "alerts[0].tls: must not be none");
    }

    #[test]
    fn without_tls_only_this_machine_is_told() {
        for host in ["127.0.0.1:9", "[::1]:9", "localhost", "127.8.8.8"] {
            let yaml = format!("alerts:\n  - {{ id: a, kind: slack, url: 'http://{host}/hook' }}\n");
            assert_eq!(read(&yaml).map(|sinks| sinks.len()), Ok(1), "{host}");
        }
    }

    #[test]
    fn an_address_that_stands_in_the_configuration_is_never_printed() {
        let yaml = "alerts:\n  - { id: a, kind: slack, url: 'https://hooks.example/canary' }\n";
        let loaded = crate::config::parse("alfred.yaml", yaml, &[]);
        let printed = format!("{:?}", loaded.config);
        assert!(printed.contains("alerts") && !printed.contains("canary"), "{printed}");
    }

    #[test]
    fn names_are_there_once_and_faults_have_lines() {
        let faults = read(
            "alerts:\n  - id: a\n    kind: slack\n    url: { env: CHAT }\n  - id: a\n    kind: slack\n    url: ftp://x\n",
        );
        let faults = faults.expect_err("twice");
        assert!(faults.iter().any(|fault| fault.contains("alerts[1].id: 'a' is there twice")), "{faults:?}");
    }
}
