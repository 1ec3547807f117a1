//! What is made of secrets, and made anew when they change: from where each part comes, and what becomes of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::google::ServiceAccount;
use super::vault::VaultPath;
use super::{AwsKeys, LiveKey, Secret};
use crate::config::{Fault, KeySource};
use crate::pem::LiveIdentity;

/// A thing that can change. Empty: its source is silent for longer than its last word is good for.
#[derive(Debug)]
pub struct Live<T>(ArcSwapOption<T>);

impl<T> Default for Live<T> {
    fn default() -> Live<T> {
        Live(ArcSwapOption::empty())
    }
}

impl<T> Live<T> {
    /// A thing that is known.
    pub fn new(thing: T) -> Live<T> {
        Live(ArcSwapOption::from_pointee(thing))
    }

    /// What it is now.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.load_full()
    }

    fn set(&self, thing: Option<T>) {
        self.0.store(thing.map(Arc::new));
    }
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Origin {
    File(PathBuf),
    Vault(VaultPath),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Vault(path) => write!(f, "vault {path}"),
        }
    }
}

/// One secret of several.
pub(crate) struct Part {
    /// Its place in the configuration.
    pub place: String,
    pub from: Whence,
}

pub(crate) enum Whence {
    /// The environment of a process does not change.
    Environment(Secret),
    Elsewhere(Origin),
}

/// What becomes of the secrets.
pub(crate) enum Sink {
    /// A key that goes into a header.
    Key(Arc<LiveKey>),
    /// A secret of any characters.
    Text(Arc<LiveKey>),
    Aws(Arc<Live<AwsKeys>>),
    Google(Arc<Live<ServiceAccount>>),
    /// A certificate and its key.
    Identity(Arc<LiveIdentity>),
}

impl Sink {
    fn fill(&self, texts: &[Secret]) -> Result<(), String> {
        match (self, texts) {
            (Sink::Key(key), [text]) => key.set(Some(header(text)?)),
            (Sink::Text(key), [text]) => key.set(Some(text.clone())),
            (Sink::Aws(keys), [id, secret, rest @ ..]) => keys.set(Some(AwsKeys {
                access_key_id: header(id)?.expose().to_owned(),
                secret_access_key: header(secret)?,
                session_token: rest.first().map(header).transpose()?,
            })),
            (Sink::Google(account), [text]) => account.set(Some(ServiceAccount::read(text.expose())?)),
            (Sink::Identity(live), [chain, key]) => live.replace(chain.expose().as_bytes(), key.expose().as_bytes())?,
            _ => return Err("is not complete".to_owned()),
        }
        Ok(())
    }

    fn empty(&self) {
        match self {
            Sink::Key(key) | Sink::Text(key) => key.set(None),
            Sink::Aws(keys) => keys.set(None),
            Sink::Google(account) => account.set(None),
            Sink::Identity(live) => live.clear(),
        }
    }
}

fn header(text: &Secret) -> Result<Secret, String> {
    match text.expose().bytes().all(|b| (0x21..0x7f).contains(&b)) {
        true => Ok(text.clone()),
        false => Err("the key has characters that no header can carry".to_owned()),
    }
}

/// A thing, its parts, and what it was last made of.
pub(crate) struct Watched {
    pub provider: String,
    pub parts: Vec<Part>,
    sink: Sink,
    made_of: Mutex<Vec<Secret>>,
}

impl Watched {
    /// Makes it if all its parts are here already; those in a vault are fetched later.
    pub(super) fn begin(
        provider: &str,
        sink: Sink,
        sources: Vec<(String, &KeySource)>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Watched, Vec<Fault>> {
        let (mut parts, mut texts, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for (place, source) in sources {
            match super::begin(provider, &place, source, env) {
                Ok((from, text)) => {
                    texts.extend(text);
                    parts.push(Part { place, from });
                }
                Err(fault) => faults.push(fault),
            }
        }
        let watched = Watched { provider: provider.to_owned(), parts, sink, made_of: Mutex::default() };
        if faults.is_empty() && texts.len() == watched.parts.len() {
            let place = watched.place().to_owned();
            watched.fill(texts).map_err(|why| vec![Fault::new(place, format!("provider {provider}: {why}"))])?;
        }
        if faults.is_empty() { Ok(watched) } else { Err(faults) }
    }

    /// The place of its first part, which stands for all.
    pub fn place(&self) -> &str {
        self.parts.first().map_or("", |part| &part.place)
    }

    /// What has to be read again for it.
    pub fn origins(&self) -> impl Iterator<Item = (&Origin, &str)> {
        self.parts.iter().filter_map(|part| match &part.from {
            Whence::Elsewhere(origin) => Some((origin, part.place.as_str())),
            Whence::Environment(_) => None,
        })
    }

    /// It can be read again, and may then differ.
    pub fn changes(&self) -> bool {
        self.origins().next().is_some()
    }

    /// Makes it of these, unless it is made of them already. Whether it has changed.
    pub fn fill(&self, texts: Vec<Secret>) -> Result<bool, String> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        let same = made_of.len() == texts.len() && made_of.iter().zip(&texts).all(|(a, b)| a.expose() == b.expose());
        if same {
            return Ok(false);
        }
        self.sink.fill(&texts)?;
        *made_of = texts;
        Ok(true)
    }

    /// Nothing is shown any more. Whether there was something.
    pub fn empty(&self) -> bool {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        self.sink.empty();
        !std::mem::take(&mut *made_of).is_empty()
    }

    /// There is something to show.
    pub fn is_known(&self) -> bool {
        !self.made_of.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
