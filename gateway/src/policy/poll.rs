//! Rules behind an address: asked again and again, and taken over when they are other than before and good. A bad answer changes
//! nothing, and is told once.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter};
use providers::Secret;
use reqwest::{Client, StatusCode, Url, header, redirect};

use super::desk::PollFault;
use super::source::{Fetched, House};
use crate::app::App;
use crate::config::Fault;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A bundle has to be there whole by then.
const DEADLINE: Duration = Duration::from_secs(30);
/// Nobody is asked more rarely, however often asking failed.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const POLL_SECONDS: u64 = 30;
/// How soon an address that comes with a change of the configuration is noticed.
const NOTICED: Duration = Duration::from_secs(1);
const LONGEST_ETAG: usize = 1_024;
const FETCHES: &str = "alfred_policy_bundle_fetches_total";

/// Where a bundle is, and how it is asked for.
#[derive(Clone)]
pub struct Address {
    pub url: String,
    token: Option<Secret>,
    every: Duration,
}

/// What asking brought.
pub enum Answer {
    /// It is what it was.
    Same,
    New {
        bytes: Vec<u8>,
        etag: Option<String>,
    },
}

impl Address {
    /// # Errors
    /// The member at fault, and why.
    pub fn read(
        url: &str,
        token_env: Option<&str>,
        poll_seconds: Option<u64>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Address, (&'static str, String)> {
        let parsed = Url::parse(url).map_err(|error| ("url", format!("is no address: {error}")))?;
        // Rules say who may do what: nobody on the way may write them. A machine's own loopback has no way.
        let is_near = parsed.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_near) {
            return Err(("url", "must begin with https:// (http:// is for this machine alone)".into()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(("url", "must hold no user or password: name a variable in token_env".into()));
        }
        let token = match token_env {
            None => None,
            Some(name) => match environment(name).filter(|it| !it.trim().is_empty()) {
                Some(text) => Some(Secret::new(text.trim())),
                None => return Err(("token_env", format!("the variable {name} is not set"))),
            },
        };
        let every = match poll_seconds.unwrap_or(POLL_SECONDS) {
            0 => return Err(("poll_seconds", "must be 1 or more".into())),
            seconds => Duration::from_secs(seconds.min(LONGEST_WAIT.as_secs())),
        };
        Ok(Address { url: url.to_owned(), token, every })
    }

    /// For logs and faults: queries may hold what is nobody's business.
    pub fn shown(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// Asks for the bundle; with the tag of the one that is known, only for another.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn ask(&self, known: Option<&str>) -> Result<Answer, String> {
        let most = policies::PackLimits::default().packed_bytes;
        let asked = tokio::time::timeout(DEADLINE, self.fetch(known, most)).await;
        asked.unwrap_or_else(|_| Err(format!("no whole answer within {} s", DEADLINE.as_secs())))
    }

    async fn fetch(&self, known: Option<&str>, most: usize) -> Result<Answer, String> {
        let client = client().map_err(|_| "the system's certificates cannot be read".to_owned())?;
        let mut request = client.get(&self.url).header(header::ACCEPT, "application/gzip, application/octet-stream");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(tag) = known {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let mut answer = request.send().await.map_err(|error| why(&error))?;
        match answer.status() {
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Answer::Same),
            StatusCode::OK => {}
            status => return Err(format!("answered {}", status.as_u16())),
        }
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let etag = tag.filter(|tag| tag.len() <= LONGEST_ETAG).map(str::to_owned);
        if answer.content_length().is_some_and(|length| length > most as u64) {
            return Err(format!("the bundle has more than {most} bytes"));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| why(&error))? {
            if bytes.len() + piece.len() > most {
                return Err(format!("the bundle has more than {most} bytes"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Answer::New { bytes, etag })
    }
}

fn client() -> Result<Client, reqwest::Error> {
    // It follows nobody elsewhere: it believes whom the configuration names.
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(DEADLINE)
        .user_agent("alfred")
        .build()
}

fn why(error: &reqwest::Error) -> String {
    let text = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "cannot connect",
        _ => "the connection broke",
    };
    text.to_owned()
}

/// Reads and compiles a bundle that came, beside what the terms say.
pub async fn taken(
    terms: &Arc<super::source::Terms>,
    address: &Address,
    bytes: Vec<u8>,
    etag: Option<String>,
) -> Result<House, Vec<Fault>> {
    let (terms, url, shown) = (Arc::clone(terms), address.url.clone(), address.shown().to_owned());
    let built = tokio::task::spawn_blocking(move || {
        let place = |it: policies::Fault| Fault {
            file: format!("{shown}: {}", it.path),
            line: it.line.and_then(|line| usize::try_from(line).ok()),
            path: String::new(),
            message: super::source::worded(&it),
        };
        let pack = terms.trusted.open(&bytes);
        let pack = pack.map_err(|found| found.into_iter().map(place).collect::<Vec<_>>())?;
        House::build(&terms, Some(Arc::new(Fetched { url, etag, pack }))).inspect(|house| house.set.warm())
    });
    built.await.unwrap_or_else(|_| Err(vec![said(address, "could not be compiled: the log has the cause".into())]))
}

/// A fault of the address itself.
pub fn said(address: &Address, message: String) -> Fault {
    Fault { file: address.shown().to_owned(), line: None, path: String::new(), message }
}

/// Asks until the house stops, whomever the configuration names by then.
pub async fn keep(app: Arc<App>) {
    describe_counter!(FETCHES, "bundles of rules that were asked for, by what became of them");
    for outcome in ["applied", "unchanged", "refused", "unreachable"] {
        counter!(FETCHES, "outcome" => outcome).absolute(0);
    }
    let mut asked: Option<(String, tokio::time::Instant)> = None;
    let mut failures: u32 = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(NOTICED) => {}
            () = app.stopping.cancelled() => return,
        }
        let house = Arc::clone(&app.rules.layers().house);
        let Some(address) = house.terms.address.clone() else {
            asked = None;
            continue;
        };
        let is_known = asked.as_ref().is_some_and(|(url, _)| *url == address.url);
        let wait = address.every.saturating_mul(1 << failures.min(8)).min(LONGEST_WAIT.max(address.every));
        if is_known && asked.as_ref().is_some_and(|(_, at)| at.elapsed() < wait) {
            continue;
        }
        if !is_known {
            failures = 0;
        }
        let tag = house.fetched.as_ref().filter(|it| it.url == address.url).and_then(|it| it.etag.clone());
        let outcome = tokio::select! {
            outcome = once(&app, &house, &address, tag.as_deref()) => outcome,
            () = app.stopping.cancelled() => return,
        };
        asked = Some((address.url.clone(), tokio::time::Instant::now()));
        failures = if outcome { 0 } else { failures.saturating_add(1) };
    }
}

/// Whether an answer came, good or bad.
async fn once(app: &Arc<App>, house: &Arc<House>, address: &Address, tag: Option<&str>) -> bool {
    let count = |outcome: &'static str| counter!(FETCHES, "outcome" => outcome).increment(1);
    let (bytes, etag) = match address.ask(tag).await {
        Ok(Answer::Same) => {
            count("unchanged");
            app.rules.poll_fault.clear();
            return true;
        }
        Ok(Answer::New { bytes, etag }) => (bytes, etag),
        Err(message) => {
            count("unreachable");
            app.rules.poll_fault.tell(PollFault::new(app.clock().now(), vec![said(address, message)]));
            return false;
        }
    };
    let new = match taken(&house.terms, address, bytes, etag).await {
        Ok(new) => new,
        Err(faults) => {
            count("refused");
            app.rules.poll_fault.tell(PollFault::new(app.clock().now(), faults));
            return true;
        }
    };
    let is_other = new.set.revision() != house.set.revision();
    match app.adopt_house(new).await {
        Ok(true) => {
            count(if is_other { "applied" } else { "unchanged" });
            app.rules.poll_fault.clear();
        }
        // The configuration has changed meanwhile: its own rules come, and are asked for.
        Ok(false) => {}
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "new rules cannot be put on record, and so not into force"
            );
        }
    }
    true
}
