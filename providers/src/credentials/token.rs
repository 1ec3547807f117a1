//! Tokens that are fetched: kept until shortly before they expire, fetched once at a time, and used to their end if no newer one can
//! be had. The fetching itself is handed in; `send/token.rs` does it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use url::Url;
use zeroize::Zeroizing;

use super::entra::Client;
use super::google::ServiceAccount;
use super::{Live, Secret};
use crate::error::{Class, ProviderError};

/// So long a call waits for a token, its own fetching or another's.
const PATIENCE: Duration = Duration::from_secs(10);
/// And so long for a newer one than it has.
const PATIENCE_AHEAD: Duration = Duration::from_secs(3);
/// A token is renewed so long before it expires; a fifth of its life, if that is less.
const AHEAD: Duration = Duration::from_secs(300);
/// It is no longer shown so long before: it still has to travel, and clocks differ.
const MARGIN: Duration = Duration::from_secs(10);
/// After renewing it has failed, it is not tried again for so long.
const REST: Duration = Duration::from_secs(30);

/// What buys a token.
pub(crate) enum Grant {
    Google(Arc<Live<ServiceAccount>>),
    Entra(Client),
}

/// What is posted for a token.
pub(crate) struct TokenRequest {
    pub url: Url,
    pub form: Zeroizing<String>,
}

/// What came back.
pub(crate) struct Granted {
    pub token: Secret,
    pub lasts: Duration,
}

/// The tokens of one provider.
pub(crate) struct TokenSource {
    grant: Grant,
    held: Mutex<Held>,
    /// Held by the one who fetches.
    flight: tokio::sync::Mutex<()>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    patience: Duration,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    failed: Option<(Instant, ProviderError)>,
}

struct Token {
    secret: Secret,
    renew_from: Instant,
    valid_until: Instant,
}

/// How the token stands that is held.
enum Standing {
    Fresh(Secret),
    Aging(Secret),
    None,
}

impl TokenSource {
    pub(super) fn new(grant: Grant) -> TokenSource {
        TokenSource {
            grant,
            held: Mutex::default(),
            flight: tokio::sync::Mutex::new(()),
            clock: Box::new(Instant::now),
            patience: PATIENCE,
        }
    }

    /// The token to show now. `now` is the wall clock's time, for what is signed.
    pub(crate) async fn current<F>(
        &self,
        now: SystemTime,
        fetch: impl FnOnce(TokenRequest) -> F,
    ) -> Result<Secret, ProviderError>
    where
        F: Future<Output = Result<Granted, ProviderError>>,
    {
        let asked = (self.clock)();
        match self.standing() {
            Standing::Fresh(secret) => return Ok(secret),
            Standing::Aging(secret) => {
                // One call renews it ahead of need; all others go on with what is there.
                let Ok(_flight) = self.flight.try_lock() else { return Ok(secret) };
                if let Standing::Fresh(newer) = self.standing() {
                    return Ok(newer);
                }
                return Ok(self.renew(now, fetch, PATIENCE_AHEAD.min(self.patience)).await.unwrap_or(secret));
            }
            Standing::None => {}
        }
        let _flight = timeout(self.patience, self.flight.lock()).await.map_err(|_| late())?;
        if let Standing::Fresh(secret) | Standing::Aging(secret) = self.standing() {
            return Ok(secret);
        }
        // Who waited for a fetching that failed does not fetch after it: fifty calls would knock fifty times.
        if let Some((_, error)) = self.held().failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        self.renew(now, fetch, self.patience).await
    }

    /// The provider does not take this token any more, whatever its date.
    pub(crate) fn forget(&self, token: &Secret) {
        let mut held = self.held();
        if held.token.as_ref().is_some_and(|it| it.secret.expose() == token.expose()) {
            held.token = None;
        }
    }

    async fn renew<F>(
        &self,
        now: SystemTime,
        fetch: impl FnOnce(TokenRequest) -> F,
        patience: Duration,
    ) -> Result<Secret, ProviderError>
    where
        F: Future<Output = Result<Granted, ProviderError>>,
    {
        let sent = (self.clock)();
        let request = match &self.grant {
            Grant::Google(account) => account.get().map(|it| it.request(now)),
            Grant::Entra(client) => client.request().map(Some),
        };
        let unsigned =
            || ProviderError::new(Class::Misconfigured, "the service account's key cannot sign a request for a token");
        let request = request.ok_or_else(unknown)?.ok_or_else(unsigned)?;
        let granted = timeout(patience, fetch(request)).await.unwrap_or_else(|_| Err(late()));
        let mut held = self.held();
        match granted {
            Ok(Granted { token, lasts }) => {
                let (ahead, margin) = (AHEAD.min(lasts / 5), MARGIN.min(lasts / 10));
                let token =
                    Token { secret: token, renew_from: sent + (lasts - ahead), valid_until: sent + (lasts - margin) };
                let secret = token.secret.clone();
                *held = Held { token: Some(token), failed: None };
                Ok(secret)
            }
            Err(error) => {
                let failed = (self.clock)();
                if let Some(token) = &mut held.token {
                    token.renew_from = failed + REST;
                }
                held.failed = Some((failed, error.clone()));
                Err(error)
            }
        }
    }

    fn standing(&self) -> Standing {
        let (held, now) = (self.held(), (self.clock)());
        match &held.token {
            Some(token) if now >= token.valid_until => Standing::None,
            Some(token) if now >= token.renew_from => Standing::Aging(token.secret.clone()),
            Some(token) => Standing::Fresh(token.secret.clone()),
            None => Standing::None,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Its source has been silent for too long, or has never spoken.
pub(crate) fn unknown() -> ProviderError {
    ProviderError::new(Class::Misconfigured, "the provider's key is not known at present")
}

fn late() -> ProviderError {
    ProviderError::new(Class::Connect, "the provider's token server did not answer in time")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::config::EntraConfig;
    use crate::credentials::LiveKey;

    /// A source whose clock the server's tests move.
    fn source(server: &Server) -> Arc<TokenSource> {
        let config: EntraConfig =
            serde_yaml_ng::from_str("{ tenant: t, client_id: c, client_secret: { env: K } }").unwrap();
        let plain =
            TokenSource::new(Grant::Entra(Client::new(&config, Arc::new(LiveKey::new(Secret::new("s")))).unwrap()));
        let (begun, moved) = (Instant::now(), Arc::clone(&server.clock));
        let clock = move || {
            let ticks = moved.fetch_add(1, Ordering::SeqCst);
            begun + Duration::from_millis(ticks)
        };
        Arc::new(TokenSource { clock: Box::new(clock), patience: Duration::from_millis(200), ..plain })
    }

    /// A token server that counts, takes a moment, and gives tokens for an hour while it is well.
    #[derive(Clone, Default)]
    struct Server {
        /// The clock's, in milliseconds: it moves by one each time it is read, and by hand.
        clock: Arc<AtomicU64>,
        asked: Arc<AtomicUsize>,
        ill: Arc<AtomicUsize>,
    }

    impl Server {
        async fn ask(&self, source: &TokenSource) -> Result<String, Class> {
            let it = self.clone();
            let fetch = |_| async move {
                let times = it.asked.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
                match it.ill.load(Ordering::SeqCst) {
                    0 => Ok(Granted { token: Secret::new(format!("t{times}")), lasts: Duration::from_secs(3_600) }),
                    1 => Err(ProviderError::new(Class::Misconfigured, "no")),
                    _ => std::future::pending().await,
                }
            };
            let told = source.current(SystemTime::UNIX_EPOCH, fetch).await;
            told.map(|it| it.expose().to_owned()).map_err(|it| it.class)
        }

        async fn fifty(&self, source: &Arc<TokenSource>) -> Vec<Result<String, Class>> {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..50 {
                let (it, source) = (self.clone(), Arc::clone(source));
                calls.spawn(async move { it.ask(&source).await });
            }
            calls.join_all().await
        }

        fn later(&self, seconds: u64) {
            self.clock.fetch_add(seconds * 1_000, Ordering::SeqCst);
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_token_is_kept_renewed_ahead_of_need_and_dropped_when_it_has_expired() {
        let server = Server::default();
        let source = source(&server);
        for (wait, expected) in [(0, "t1"), (3_000, "t1"), (299, "t1"), (2, "t2"), (3_500, "t3"), (4_000, "t4")] {
            server.later(wait);
            assert_eq!(server.ask(&source).await.as_deref(), Ok(expected), "after {wait} s more");
        }
        assert_eq!(server.asked(), 4);
    }

    #[tokio::test]
    async fn fifty_calls_at_once_fetch_one_token_or_one_failure() {
        let server = Server::default();
        let source = source(&server);
        server.ill.store(1, Ordering::SeqCst);
        assert!(server.fifty(&source).await.iter().all(|it| *it == Err(Class::Misconfigured)));
        assert_eq!(server.asked(), 1);
        server.ill.store(0, Ordering::SeqCst);
        assert!(server.fifty(&source).await.iter().all(|it| it.as_deref() == Ok("t2")));
        assert_eq!(server.asked(), 2);
    }

    #[tokio::test]
    async fn where_renewing_fails_the_old_token_serves_to_its_end() {
        let server = Server::default();
        let source = source(&server);
        assert_eq!(server.ask(&source).await.as_deref(), Ok("t1"));
        server.ill.store(1, Ordering::SeqCst);
        server.later(3_400);
        assert!(server.fifty(&source).await.iter().all(|it| it.as_deref() == Ok("t1")));
        assert_eq!(server.asked(), 2, "one tries, and the next only after a rest");
        server.later(31);
        assert_eq!(server.ask(&source).await.as_deref(), Ok("t1"));
        assert_eq!(server.asked(), 3);
        server.later(300);
        assert_eq!(server.ask(&source).await, Err(Class::Misconfigured));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let server = Server::default();
        let source = source(&server);
        server.ill.store(2, Ordering::SeqCst);
        let begun = Instant::now();
        assert!(server.fifty(&source).await.iter().all(|it| *it == Err(Class::Connect)));
        assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
        server.ill.store(0, Ordering::SeqCst);
        assert_eq!(server.ask(&source).await.as_deref().map(|it| &it[..1]), Ok("t"));
    }

    #[tokio::test]
    async fn a_token_that_the_provider_refuses_is_forgotten() {
        let server = Server::default();
        let source = source(&server);
        assert_eq!(server.ask(&source).await.as_deref(), Ok("t1"));
        source.forget(&Secret::new("older"));
        assert_eq!(server.ask(&source).await.as_deref(), Ok("t1"));
        source.forget(&Secret::new("t1"));
        assert_eq!(server.ask(&source).await.as_deref(), Ok("t2"));
    }
}
