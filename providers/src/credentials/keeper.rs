//! Keeps keys as their sources have them now: reads files and the vault again and again, hands what is new to whoever shows it, and
//! takes a key back when its source has been silent for longer than its last word is good for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::vault::{Vault, VaultConfig, VaultError, VaultPath};
use super::watched::{Origin, Watched, Whence};
use super::{Secret, trimmed};
use crate::config::Fault;
use crate::fleet::Fleet;

/// How often files are read, and how long their last word is good, where no vault says otherwise.
const REFRESH: Duration = Duration::from_secs(60);
const MAX_STALE: Duration = Duration::from_secs(900);
/// Two looks are never closer than this, whatever a lease says.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Keeps the keys of one fleet after the other. One for the life of the house: what it knows outlives a fleet.
pub struct Keeper {
    /// Held by whoever reads: one at a time.
    vault: tokio::sync::Mutex<Option<Vault>>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    watched: Vec<Arc<Watched>>,
    known: HashMap<Origin, Known>,
    refresh: Duration,
    max_stale: Duration,
    /// When the vault's token wants renewing.
    due: Option<Duration>,
}

/// The last word of a source.
#[derive(Default)]
struct Known {
    text: Option<(Secret, Instant)>,
    trouble: Option<String>,
}

/// A key that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTrouble {
    /// Its place in the configuration, as in `providers[0].api_key`.
    pub place: String,
    /// Whose it is.
    pub provider: String,
    /// Lower case, names the thing; never the key.
    pub message: String,
    /// The source is away, rather than saying no.
    pub outage: bool,
}

/// How a key stands that is read again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStanding {
    pub provider: String,
    pub place: String,
    /// `file …` or `vault …`.
    pub source: String,
    /// It is known, and shown.
    pub known: bool,
    /// Since when its source was last heard.
    pub age: Option<Duration>,
    /// Why it could not be read the last time.
    pub trouble: Option<String>,
}

impl Keeper {
    /// Of the vault that is configured, if one is.
    ///
    /// # Errors
    /// Its configuration is at fault.
    pub fn new(config: Option<&VaultConfig>, env: &dyn Fn(&str) -> Option<String>) -> Result<Keeper, Vec<Fault>> {
        let vault = config.map(|it| Vault::new(it, env)).transpose()?;
        let refresh = config.map_or(REFRESH, VaultConfig::refresh);
        let max_stale = config.map_or(MAX_STALE, VaultConfig::max_stale);
        let book = Book { refresh, max_stale, ..Book::default() };
        Ok(Keeper { vault: tokio::sync::Mutex::new(vault), book: Mutex::new(book) })
    }

    /// From now on the vault is this one's. What is known stays known.
    pub async fn follow(&self, newer: Keeper) {
        let mut vault = self.vault.lock().await;
        let (Keeper { vault: other, book: rules }, mut book) = (newer, self.book());
        let rules = rules.into_inner().unwrap_or_else(PoisonError::into_inner);
        *vault = other.into_inner();
        (book.refresh, book.max_stale) = (rules.refresh, rules.max_stale);
    }

    /// What a fleet wants from a vault that is not configured.
    pub fn lacking(fleet: &Fleet) -> Vec<Fault> {
        let wanted = fleet.watched().into_iter().flat_map(|watched| {
            let vaults = |(origin, place): (&Origin, &str)| match origin {
                Origin::Vault(_) => Some(format!("{place}.vault")),
                Origin::File(_) => None,
            };
            watched.origins().filter_map(vaults).collect::<Vec<_>>()
        });
        let why = "there is no vault to read it from: a section 'vault' with its address is needed";
        wanted.map(|place| Fault::new(place, why)).collect()
    }

    /// From now on the keys of this fleet are kept, and no others; they are read once before this returns. Whatever cannot be read is
    /// told, and tried again with the rest.
    pub async fn adopt(&self, fleet: &Fleet) -> Vec<KeyTrouble> {
        {
            let mut book = self.book();
            book.watched = fleet.watched();
            let wanted: BTreeSet<Origin> =
                book.watched.iter().flat_map(|it| it.origins().map(|(origin, _)| origin.clone())).collect();
            book.known.retain(|origin, _| wanted.contains(origin));
        }
        self.round(Instant::now()).await
    }

    /// Reads again and again. Ends only when it is dropped.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(self.pause()).await;
            self.round(Instant::now()).await;
        }
    }

    /// How each key stands that can change.
    pub fn standing(&self) -> Vec<KeyStanding> {
        let (book, now) = (self.book(), Instant::now());
        let all = book.watched.iter().flat_map(|watched| watched.origins().map(move |it| (watched, it)));
        all.map(|(watched, (origin, place))| {
            let known = book.known.get(origin);
            KeyStanding {
                provider: watched.provider.clone(),
                place: place.to_owned(),
                source: origin.to_string(),
                known: watched.is_known(),
                age: known.and_then(|it| it.text.as_ref()).map(|(_, at)| now.saturating_duration_since(*at)),
                trouble: known.and_then(|it| it.trouble.clone()),
            }
        })
        .collect()
    }

    /// Reads everything once, and hands it out.
    async fn round(&self, now: Instant) -> Vec<KeyTrouble> {
        let mut vault = self.vault.lock().await;
        let watched = self.book().watched.clone();
        let origins: BTreeSet<&Origin> = watched.iter().flat_map(|it| it.origins().map(|(origin, _)| origin)).collect();
        let mut heard: HashMap<&Origin, Result<Secret, Unheard>> = HashMap::new();
        let mut entries: BTreeMap<&str, Vec<(&Origin, &VaultPath)>> = BTreeMap::new();
        for origin in origins {
            match origin {
                Origin::File(path) => drop(heard.insert(origin, file(path).await)),
                Origin::Vault(path) => entries.entry(path.entry.as_str()).or_default().push((origin, path)),
            }
        }
        let mut away: Option<VaultError> = None;
        for (entry, wanted) in entries {
            let fields: BTreeSet<&str> = wanted.iter().map(|(_, path)| path.field.as_str()).collect();
            let read = match (&mut *vault, &away) {
                (None, _) => Err(VaultError::Unprepared("there is no section 'vault' in the configuration".to_owned())),
                // Who does not answer one question is not asked the next: each would take its whole deadline.
                (_, Some(error)) => Err(error.clone()),
                (Some(vault), None) => vault.read(entry, &fields, now).await,
            };
            if let Err(error) = &read
                && error.is_outage()
            {
                away = Some(error.clone());
            }
            for (origin, path) in wanted {
                let field = read.as_ref().map_err(Clone::clone).and_then(|it| {
                    let missing = || VaultError::NoField { entry: path.entry.clone(), field: path.field.clone() };
                    it.get(&path.field).cloned().ok_or_else(missing)
                });
                heard.insert(
                    origin,
                    field.map_err(|error| Unheard { outage: error.is_outage(), why: error.to_string() }),
                );
            }
        }
        let mut book = self.book();
        book.due = vault.as_ref().and_then(|it| it.due(now));
        book.note(&watched, heard, now)
    }

    fn pause(&self) -> Duration {
        let mut byte = [0];
        // Without randomness all processes look at once, which is no harm.
        let _ = SystemRandom::new().fill(&mut byte);
        let book = self.book();
        let jittered = book.refresh.mul_f64(0.8 + 0.4 * f64::from(byte[0]) / 255.0);
        book.due.map_or(jittered, |due| due.min(jittered)).max(LEAST_PAUSE)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a source said nothing.
struct Unheard {
    why: String,
    outage: bool,
}

async fn file(path: &std::path::Path) -> Result<Secret, Unheard> {
    let unheard = |why: String| Unheard { why, outage: false };
    let text = tokio::fs::read_to_string(path).await.map(Zeroizing::new);
    let text = text.map_err(|e| unheard(format!("the file {} cannot be read: {}", path.display(), e.kind())))?;
    trimmed(&text).ok_or_else(|| unheard(format!("the file {} is empty", path.display())))
}

impl Book {
    /// Writes down what was heard, and makes of it what it is for.
    fn note(
        &mut self,
        watched: &[Arc<Watched>],
        heard: HashMap<&Origin, Result<Secret, Unheard>>,
        now: Instant,
    ) -> Vec<KeyTrouble> {
        let mut silent: HashMap<&Origin, Unheard> = HashMap::new();
        for (origin, heard) in heard {
            let known = self.known.entry(origin.clone()).or_default();
            match heard {
                Ok(text) => {
                    if known.trouble.take().is_some() {
                        tracing::info!(source = %origin, "a key can be read again");
                    }
                    known.text = Some((text, now));
                }
                Err(unheard) => {
                    if known.trouble.as_ref() != Some(&unheard.why) {
                        tracing::warn!(source = %origin, why = unheard.why, "a key cannot be read");
                    }
                    known.trouble = Some(unheard.why.clone());
                    silent.insert(origin, unheard);
                }
            }
        }
        let mut troubles = Vec::new();
        for watched in watched {
            for (origin, place) in watched.origins() {
                if let Some(Unheard { why, outage }) = silent.get(origin) {
                    let (place, provider) = (place.to_owned(), watched.provider.clone());
                    troubles.push(KeyTrouble { place, provider, message: why.clone(), outage: *outage });
                }
            }
            troubles.extend(self.hand(watched, now));
        }
        troubles
    }

    /// Makes a thing of what is known, or takes it back.
    fn hand(&self, watched: &Watched, now: Instant) -> Option<KeyTrouble> {
        let text = |origin: &Origin| {
            let (text, at) = self.known.get(origin)?.text.as_ref()?;
            (now.saturating_duration_since(*at) <= self.max_stale).then(|| text.clone())
        };
        let texts = watched.parts.iter().map(|part| match &part.from {
            Whence::Environment(secret) => Some(secret.clone()),
            Whence::Elsewhere(origin) => text(origin),
        });
        let Some(texts) = texts.collect::<Option<Vec<Secret>>>() else {
            if watched.empty() {
                tracing::error!(
                    provider = watched.provider,
                    place = watched.place(),
                    "a key is withdrawn: its source has been silent for too long; calls go elsewhere until it speaks again"
                );
            }
            return None;
        };
        let was_known = watched.is_known();
        match watched.fill(texts) {
            Ok(true) => {
                let what = if was_known { "a key has changed and is in use" } else { "a key is in use" };
                tracing::info!(provider = watched.provider, place = watched.place(), what);
                None
            }
            Ok(false) => None,
            Err(message) => {
                tracing::warn!(
                    provider = watched.provider,
                    place = watched.place(),
                    why = message,
                    "a new key is not taken"
                );
                let (place, provider) = (watched.place().to_owned(), watched.provider.clone());
                Some(KeyTrouble { place, provider, message, outage: false })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ProviderConfig;

    fn fleet(provider: &str) -> Fleet {
        let provider: ProviderConfig = serde_yaml_ng::from_str(provider).unwrap();
        Fleet::build(&[provider], &|_| Some("fixed".to_owned())).unwrap()
    }

    fn keyed(file: &Path) -> Fleet {
        fleet(&format!("{{ id: a, kind: openai, api_key: {{ file: {file:?} }} }}"))
    }

    fn is_open(fleet: &Fleet) -> bool {
        fleet.provider("a").unwrap().wire.is_open()
    }

    fn keeper() -> Keeper {
        Keeper::new(None, &|_| None).unwrap()
    }

    #[tokio::test]
    async fn a_key_outlives_its_source_by_the_bound_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "k-1").unwrap();
        let (keeper, fleet, now) = (keeper(), keyed(&file), Instant::now());
        keeper.book().watched = fleet.watched();
        assert!(keeper.round(now).await.is_empty() && is_open(&fleet));
        std::fs::remove_file(&file).unwrap();
        let trouble = keeper.round(now + MAX_STALE).await;
        assert!(is_open(&fleet) && trouble[0].place == "providers[0].api_key", "{trouble:?}");
        keeper.round(now + MAX_STALE + Duration::from_millis(1)).await;
        assert!(!is_open(&fleet));
        let standing = keeper.standing().swap_remove(0);
        assert!(!standing.known && standing.trouble.is_some_and(|it| it.contains("cannot be read")));
        std::fs::write(&file, "k-2").unwrap();
        keeper.round(now + MAX_STALE * 2).await;
        assert!(is_open(&fleet));
    }

    #[tokio::test]
    async fn a_new_fleet_is_given_what_is_known_although_its_source_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let chain = folder.path().join("id");
        std::fs::write(&chain, "AKIA").unwrap();
        let config = format!(
            "{{ id: a, kind: bedrock, settings: {{ aws_region: eu-west-1 }}, \
             aws: {{ access_key_id: {{ file: {chain:?} }}, secret_access_key: {{ vault: kv/a#secret }} }} }}"
        );
        let (keeper, first, second) = (keeper(), fleet(&config), fleet(&config));
        assert_eq!(Keeper::lacking(&first).len(), 1);
        assert_eq!(keeper.adopt(&first).await.len(), 1, "there is no vault");
        assert!(!is_open(&first), "half a pair signs nothing");
        let secret = Origin::Vault(VaultPath::parse("kv/a#secret").unwrap());
        keeper.book().known.entry(secret).or_default().text = Some((Secret::new("s"), Instant::now()));
        keeper.adopt(&second).await;
        assert!(is_open(&second));
        let keys = second.provider("a").unwrap().wire.aws.as_ref().unwrap().get().unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.expose()), ("AKIA", "s"));
    }

    #[test]
    fn two_looks_are_a_little_apart_and_a_lease_may_hurry_them() {
        let keeper = keeper();
        for _ in 0..100 {
            let pause = keeper.pause();
            assert!(pause >= REFRESH.mul_f64(0.79) && pause <= REFRESH.mul_f64(1.21), "{pause:?}");
        }
        keeper.book().due = Some(Duration::from_secs(2));
        assert_eq!(keeper.pause(), Duration::from_secs(2));
        keeper.book().due = Some(Duration::ZERO);
        assert_eq!(keeper.pause(), LEAST_PAUSE);
    }
}
